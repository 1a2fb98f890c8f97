"""Everybody around the instances of the coexistence lab: sites with two tunnels, circuit routers, the VNet's router.

Stock strongSwan, FRR and BIRD, configured as their operators would: the site with both paths as in the cloud's
interoperability article (Cisco): local preference 200 on the circuit, loopback peers with ebgp-multihop 5.
"""

from __future__ import annotations

import json

from coexistence_lab import (CIRCUIT_ASN, CIRCUIT_ROUTERS, ROUTER_ASN, VNET_ROUTER, CircuitRouter, CoexistenceLab,
                             Instance, inner, inner6)
from lab import GW_ASN, Site, command, poll
from peers import Frr, StrongSwanSite, psk

BFD_MS, BFD_MULTIPLIER = 100, 3
COMMON = """ no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp bestpath as-path multipath-relax
"""


class TunnelEnd(StrongSwanSite):
    """A charon that carries one of the site's tunnels; its TUN device is the site router's."""

    class Role(Site):
        """The site as StrongSwanSite knows it, in the namespace of this tunnel."""

        @property
        def name(self):
            return f"site{self.index}{self.letter}"

    def __init__(self, lab: CoexistenceLab, site: Site, instance: Instance, **options):
        """options: of StrongSwanSite."""
        self.owner, self.instance, self.device = site, instance, f"tun-{instance.letter}"
        role = self.Role(site.index)
        role.letter = instance.letter
        super().__init__(lab, role, gateway=instance.wan4, secret=psk(site), **options)

    @property
    def identity(self):
        return f"{self.owner.name}.example"

    def start(self):
        self.ns.run("ip", "link", "del", "ipsec0", check=False)  # the stand-in of the last time
        super().start()

    def set_device(self):
        router = self.lab.ns[self.owner.name]
        self.ns.ip(f"link set ipsec0 netns {router.name} name {self.device}",
                   "link add ipsec0 type bridge", "link set ipsec0 up")  # a stand-in for charon's own routes
        local, peer = inner(self.owner, self.instance)
        router.ip(f"link set {self.device} up mtu 1400")
        # Loopback peers: the gateway's is reached through the tunnel. Else: both ends of the device.
        router.ip(f"route add {local}/32 dev {self.device}" if self.owner.loopback
                  else f"addr add {peer}/30 dev {self.device}",
                  f"route add {inner6(self.instance)}/128 dev {self.device}")


class CiscoLike:
    """The router of a site with a circuit and tunnels. The circuit has local preference 200, so it is preferred as long as
    it is there; as the gateway prefers it, too, both ways take the same path."""

    def __init__(self, lab: CoexistenceLab, site: Site):
        self.lab, self.site = lab, site
        self.frr = Frr(lab, site.name)
        self.frr.start("zebra")
        self.frr.start("bfdd")
        self.frr.start("bgpd", conf=self.config())

    def config(self) -> str:
        circuit = [router.to_site for router in CIRCUIT_ROUTERS]
        tunnels = [inner(self.site, instance)[0] for instance in self.lab.ends_of_tunnels]
        lines = ["bgp community-list standard GSHUT permit graceful-shutdown", "bgp as-path access-list OWN permit ^$",
                 f"router bgp {self.site.asn}", f" bgp router-id {self.site.loopback}", COMMON]
        for peer in circuit:
            lines += [f" neighbor {peer} remote-as {CIRCUIT_ASN}"]
        for peer in tunnels:
            lines += [f" neighbor {peer} remote-as {GW_ASN}", f" neighbor {peer} ebgp-multihop 5",
                      f" neighbor {peer} update-source {self.site.loopback}"]
        for peer in circuit + tunnels:
            lines += [f" neighbor {peer} timers 3 9", f" neighbor {peer} timers connect 1", f" neighbor {peer} advertisement-interval 0",
                      f" neighbor {peer} bfd {BFD_MULTIPLIER} {BFD_MS} {BFD_MS}"]
        for family, network in (("ipv4", self.site.prefixes[0]), ("ipv6", self.site.prefixes[1])):
            lines += [f" address-family {family} unicast", f"  network {network}", "  maximum-paths 4"]
            for peer in circuit + tunnels:
                through = "CIRCUIT" if peer in circuit else f"TUNNEL{tunnels.index(peer)}" if family == "ipv6" else "TUNNEL"
                lines += [f"  neighbor {peer} activate", f"  neighbor {peer} filter-list OWN out", f"  neighbor {peer} route-map {through} in"]
            lines += [" exit-address-family"]
        lines += ["exit"]
        # An IPv6 next hop over an IPv4 session in a tunnel says nothing: it is what is routed into the tunnel.
        hops = {f"TUNNEL{n}": f" set ipv6 next-hop global {inner6(i)}" for n, i in enumerate(self.lab.ends_of_tunnels)}
        for name, preference in (("CIRCUIT", 200), ("TUNNEL", 100), *((name, 100) for name in hops)):
            hop = [hops[name]] if name in hops else []
            lines += [f"route-map {name} permit 5", " match community GSHUT", " set local-preference 0", *hop, "exit",
                      f"route-map {name} permit 10", f" set local-preference {preference}", *hop, "exit"]
        return "\n".join(lines)

    def announce_default(self, asked: bool):
        """Never: lyon's does that."""

    def routes(self) -> dict[str, set[str]]:
        return frr_routes(self.frr)

    def devices(self, prefix: str) -> set[str]:
        """The devices that its best routes to a prefix lead into."""
        entries = json.loads(self.frr.vtysh(f"show {'ipv6' if ':' in prefix else 'ip'} route {prefix} json")).get(prefix, [])
        return {hop["interfaceName"] for e in entries if e.get("selected") for hop in e["nexthops"] if hop.get("fib") and "interfaceName" in hop}


def frr_routes(frr: Frr) -> dict[str, set[str]]:
    """Prefix -> the neighbours that its best paths are from. Of the family that is looked at."""
    shown = json.loads(frr.vtysh(f"show bgp ipv{frr.lab.family} unicast json")).get("routes", {})
    return {prefix: {p.get("peerId", "") for p in paths if p.get("bestpath") or p.get("multipath")} for prefix, paths in shown.items()}


class TunnelRouter:
    """BIRD at a site that has only tunnels."""

    def __init__(self, lab: CoexistenceLab, site: Site, bfd_ms: int = BFD_MS):
        self.lab, self.site, self.bfd_ms = lab, site, bfd_ms
        self.dir = lab.private_dir(f"bird-{site.name}")
        self.has_default = False  # announced beside its network
        (self.dir / "bird.conf").write_text(self.config())
        self.process = lab.spawn(site.name, f"bird-{site.name}", ["bird", "-f", "-c", self.dir / "bird.conf", "-s", self.dir / "ctl",
                                                                 "-P", self.dir / "pid"])
        poll("BIRD's control socket", (self.dir / "ctl").exists, 5)

    def config(self) -> str:
        text = f"""
log stderr all;
router id {self.site.lan4}.1;
protocol device {{ scan time 1; }}
protocol bfd {{ interface "tun-*" {{ interval {self.bfd_ms} ms; multiplier {BFD_MULTIPLIER}; }}; }}
protocol static lan4 {{ ipv4; route {self.site.prefixes[0]} via "eth1"; {self.default_route("0.0.0.0/0")} }}
protocol static lan6 {{ ipv6; route {self.site.prefixes[1]} via "eth1"; {self.default_route("::/0")} }}
protocol kernel k4 {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel k6 {{ merge paths on; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
"""
        for instance in self.lab.ends_of(self.site):
            local, peer = inner(self.site, instance)
            text += f"""
protocol bgp {instance.name.replace('-', '_')} {{
  local {peer} as {self.site.asn};
  neighbor {local} as {GW_ASN};
  connect delay time 1; connect retry time 2; error wait time 1, 4;
  hold time 9; keepalive time 3;
  bfd on;
  graceful restart aware;
  ipv4 {{ import all; export where proto = "lan4"; next hop self; }};
  # The kernel wants a gateway in each way of a multipath route: any address that is at the tunnel's other end.
  ipv6 {{ import filter {{ ifname = "tun-{instance.letter}"; gw = fe80::1; accept; }}; export where proto = "lan6"; next hop address {self.site.lan6}::1; }};
}}
"""
        return text

    def default_route(self, everything: str) -> str:
        return f'route {everything} via "eth1";' if self.has_default else ""

    def birdc(self, *argv) -> str:
        return command(["birdc", "-s", self.dir / "ctl", *argv])

    def announce_default(self, asked: bool):
        if asked == self.has_default:
            return
        self.has_default = asked
        (self.dir / "bird.conf").write_text(self.config())
        self.birdc("configure")

    def routes(self) -> dict[str, set[str]]:
        """Prefix -> instances that told it."""
        found: dict[str, set[str]] = {}
        prefix = ""
        for line in self.birdc("show", "route", "table", f"master{self.lab.family}").splitlines():
            words = line.split()
            if words and "/" in words[0]:
                prefix = words[0]
            for word in words:
                if word.startswith("[gw_"):
                    found.setdefault(prefix, set()).add(word[1:].replace("_", "-"))
        return found


class Circuit:
    """Two circuit routers, each with a session to every instance that has the circuit, and to the sites."""

    def __init__(self, lab: CoexistenceLab):
        self.lab, self.links = lab, "up"
        self.frr: dict[str, Frr] = {}
        self.sites = [s for s in lab.sites if s.circuit]
        for router in CIRCUIT_ROUTERS:
            frr = self.frr[router.name] = Frr(lab, router.name)
            frr.start("zebra")
            frr.start("bfdd")
            frr.start("bgpd", conf=self.config(router))

    def instances(self):
        return [i for i in self.lab.instances if i.circuit]

    def config(self, router: CircuitRouter) -> str:
        gateways = [router.local(i) for i in self.instances()]
        lines = ["bgp route-map delay-timer 0", *self.telling(True), f"router bgp {CIRCUIT_ASN}", f" bgp router-id {router.address}", COMMON]
        for peer, asn in [(g, GW_ASN) for g in gateways] + [(router.site_end, s.asn) for s in self.sites]:
            lines += [f" neighbor {peer} remote-as {asn}", f" neighbor {peer} timers 3 9", f" neighbor {peer} timers connect 1",
                      f" neighbor {peer} advertisement-interval 0", f" neighbor {peer} bfd {BFD_MULTIPLIER} {BFD_MS} {BFD_MS}"]
        for family in ("ipv4", "ipv6"):
            lines += [f" address-family {family} unicast", "  maximum-paths 4"]
            for peer in gateways + [router.site_end for _ in self.sites]:
                lines += [f"  neighbor {peer} activate"] + [f"  neighbor {peer} route-map TO-GW out"] * (peer in gateways)
            lines += [" exit-address-family"]
        return "\n".join([*lines, "exit"])

    @staticmethod
    def telling(asked: bool) -> list[str]:
        return [f"no route-map TO-GW {'deny' if asked else 'permit'} 10", f"route-map TO-GW {'permit' if asked else 'deny'} 10", "exit"]

    def routes(self, router: str = "primary") -> dict[str, set[str]]:
        return frr_routes(self.frr[router])

    def ports(self) -> list[str]:
        """Of the circuit's bridge, towards the routers."""
        return [f"{router.name}-er" for router in CIRCUIT_ROUTERS]

    def links_to_sites(self, state: str):
        """"down": the provider's side fails; routers and sites see it at once. The same as before: nothing happens."""
        if state == self.links:
            return
        self.links = state
        if state == "up":  # bgpd tells of a route before zebra has it (10 ms), and would lose what comes meanwhile
            for frr in self.frr.values():
                frr.vtysh("conf t", *self.telling(False))
        for router in CIRCUIT_ROUTERS:
            self.lab.ns[router.name].ip(f"link set eth1 {state}")
        if state == "up":
            for name, frr in self.frr.items():
                for prefix in self.sites[0].prefixes:
                    poll(f"{name} forwards to {prefix}", lambda ns=self.lab.ns[name], p=prefix: ns.run("ip", "-6" if ":" in p else "-4", "route", "show", p), 15)
                frr.vtysh("conf t", *self.telling(True))
                frr.vtysh("clear bgp ipv4 unicast * soft out", "clear bgp ipv6 unicast * soft out")

    def graceful_shutdown(self, asked: bool):
        """Planned work (RFC 8326): what the routers say has the community from now on."""
        for frr in self.frr.values():
            frr.vtysh("conf t", f"router bgp {CIRCUIT_ASN}", f"{'' if asked else 'no '}bgp graceful-shutdown")


class VnetRouter:
    """The VNet's router: learns from the instances that publish, which are those with the circuit, and spreads flows over next hops."""

    def __init__(self, lab: CoexistenceLab, bfd_ms: int = BFD_MS):
        self.lab = lab
        self.frr = Frr(lab, "rs1")
        self.frr.start("zebra")
        self.frr.start("bfdd")
        lines = [f"router bgp {ROUTER_ASN}", f" bgp router-id {VNET_ROUTER}", COMMON]
        peers = [i.vnet4 for i in lab.instances if i.tells_vnet]
        for peer in peers:
            lines += [f" neighbor {peer} remote-as {GW_ASN}", f" neighbor {peer} timers 3 9", f" neighbor {peer} timers connect 1",
                      f" neighbor {peer} advertisement-interval 0", f" neighbor {peer} bfd {BFD_MULTIPLIER} {bfd_ms} {bfd_ms}"]
        for family in ("ipv4", "ipv6"):
            lines += [f" address-family {family} unicast", "  maximum-paths 8"]
            for peer in peers:
                lines += [f"  neighbor {peer} activate", f"  neighbor {peer} route-map GW-{family} in"]
            lines += [" exit-address-family"]
        lines += ["exit", "bgp community-list standard GSHUT permit graceful-shutdown"]
        for family, tell in (("ipv4", []), ("ipv6", [" set ipv6 next-hop prefer-global"])):
            lines += [f"route-map GW-{family} permit 5", " match community GSHUT", " set local-preference 0", *tell, "exit",
                      f"route-map GW-{family} permit 10", *tell, "exit"]
        self.frr.start("bgpd", conf="\n".join(lines))

    def routes(self) -> dict[str, set[str]]:
        return frr_routes(self.frr)

    def next_hops(self, prefix: str) -> set[str]:
        entries = json.loads(self.frr.vtysh(f"show {'ipv6' if ':' in prefix else 'ip'} route {prefix} json")).get(prefix, [])
        return {hop["ip"] for e in entries if e.get("selected") for hop in e["nexthops"] if hop.get("active")}


