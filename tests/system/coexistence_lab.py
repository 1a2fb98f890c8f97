"""The lab of coexistence: instances that share a VNet and a private circuit, sites that have one path or both.

                  VNet 10.0.0.0/24 (a bridge)          circuit (a bridge), AS 12076
   spoke --- rs1 ----+                              +--- primary   192.168.30.18/29 ----+
   10.1.0.4  .1      +---- eth1 gw-a .4 eth2 -------+                                   |
             AS      |          eth0                +--- secondary 192.168.30.26/29 --+ |
   host -----65100---+---- eth1 gw-b .5 eth2 -------+                                 | |
   10.0.0.100        |          eth0                                                  | |
                     |           |                                                    | |
                     |      the internet (wan), as in lab.py                          | |
                     |        |       |        |                                      | |
                     |     site1   site2    site3                                     | |
                     |     paris   lyon     a VNet-to-VNet gateway, AS 65516          | |
                     |     AS 65021  65022                                            | |
                     |      ^-- its router's links to both circuit routers -----------+-+
   with two pairs:   +---- er-a .6, er-b .7 have the circuit, gw-a and gw-b have the tunnels

Every site has a tunnel to each instance that has tunnels. kernel-libipsec cannot tell two tunnels with the same
selectors apart, so a charon in a namespace of its own carries each; both have the site's public address (the
internet routes by the instance), and their TUN devices, tun-a and tun-b, are in the namespace of the site's router:
a router with two tunnel interfaces.

Everything inside is IPv4 and IPv6: routers tell both families in their IPv4 sessions. `family` is the one that is looked at.
The VNet's subnet is 2001:db8:10::/64, the circuit's 2001:db8:30::/64; hosts have the last number of their IPv4 addresses.

Silent failures: `detach` takes a port off its bridge, `cut` drops what an instance and a site say to each other
in the internet; nobody's link goes down.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab import Lab, Namespace, Site

VNET_PREFIX, VNET_HOST, VNET_ROUTER = "10.0.0.0/16", "10.0.0.100", "10.0.0.1"
SPOKE_PREFIX, SPOKE_HOST, SPOKE_ROUTER = "10.1.0.0/16", "10.1.0.4", "10.1.0.1"
VNET_PREFIX6, VNET_HOST6, VNET_ROUTER6 = "2001:db8:10::/48", "2001:db8:10::100", "2001:db8:10::1"
SPOKE_PREFIX6, SPOKE_HOST6, SPOKE_ROUTER6 = "2001:db8:11::/48", "2001:db8:11::4", "2001:db8:11::1"
ROUTER_ASN, CIRCUIT_ASN, BRANCH_ASN = 65100, 12076, 65516


@dataclass(frozen=True)
class Instance:
    """One gateway of the lab, and which of the two paths it ends."""

    name: str
    index: int  # from 0
    tunnels: bool = True
    circuit: bool = True

    @property
    def letter(self):
        return self.name[-1]

    @property
    def wan4(self):
        return f"203.0.113.{16 * self.index + 10}"

    @property
    def wan_router(self):
        return f"203.0.113.{16 * self.index + 1}"

    @property
    def vnet4(self):
        return f"10.0.0.{4 + self.index}"

    @property
    def tells_vnet(self):
        return self.circuit

    @property
    def vnet6(self):
        return f"2001:db8:10::{4 + self.index}"

    @property
    def circuit6(self):
        """gwd sets addresses that sessions use; this one is the operator's, and bgpd names it as next hop."""
        return f"2001:db8:30::{self.letter}"


CONVERGED = (Instance("gw-a", 0), Instance("gw-b", 1))
TWO_PAIRS = (Instance("gw-a", 0, circuit=False), Instance("gw-b", 1, circuit=False),
             Instance("er-a", 2, tunnels=False), Instance("er-b", 3, tunnels=False))


@dataclass(frozen=True)
class CircuitRouter:
    name: str
    index: int  # from 0

    @property
    def address(self):
        return f"192.168.30.{18 + 8 * self.index}"

    def local(self, instance: Instance) -> str:
        """The address of an instance in this router's subnet."""
        return f"192.168.30.{17 + 8 * self.index + 2 * (instance.letter == 'b')}"

    @property
    def to_site(self):
        return f"172.16.{1 + self.index}.1"

    @property
    def site_end(self):
        return f"172.16.{1 + self.index}.2"

    @property
    def address6(self):
        return f"2001:db8:30::{18 + 8 * self.index}"

    @property
    def to_site6(self):
        return f"2001:db8:16:{1 + self.index}::1"

    @property
    def site_end6(self):
        return f"2001:db8:16:{1 + self.index}::2"


CIRCUIT_ROUTERS = (CircuitRouter("primary", 0), CircuitRouter("secondary", 1))


class Paris(Site):
    """Both a circuit and tunnels; BGP in the tunnels is between loopbacks, as in the interoperability article."""

    circuit, loopback, kind = True, "10.10.30.254", "site"


class Lyon(Site):
    circuit, loopback, kind = False, "", "site"


class Branch(Site):
    """Another VNet's gateway."""

    circuit, loopback, kind = False, "", "vnet"

    @property
    def asn(self):
        return BRANCH_ASN


PARIS, LYON, BRANCH = SITES = (Paris(1), Lyon(2), Branch(3))


def inner(site: Site, instance: Instance) -> tuple[str, str]:
    """The addresses of a tunnel's two ends: the instance's and the site's. BGP is between them, or with the site's loopback."""
    net = f"169.254.{21 + instance.index}"
    return f"{net}.{4 * site.index + 1}", f"{net}.{4 * site.index + 2}"


def inner6(instance: Instance) -> str:
    """What a site's router takes for the instance's end of its tunnel: any address that it routes into it does."""
    return f"2001:db8:21:{1 + instance.index}::1"


class CoexistenceLab(Lab):
    circuit_routers: tuple = CIRCUIT_ROUTERS

    def __init__(self, name: str, instances=CONVERGED, sites=SITES):
        self.instances = instances
        self.family = 4
        super().__init__(name, list(sites))

    @property
    def ends_of_tunnels(self):
        return [i for i in self.instances if i.tunnels]

    def ends_of(self, site: Site) -> list[Instance]:
        """The instances that a site has a tunnel to."""
        return self.ends_of_tunnels

    def _build(self):
        for role in ("switch", "wan", "rs1", "host", "spoke", *(i.name for i in self.instances), *(r.name for r in self.circuit_routers)):
            self.ns[role] = Namespace(self.prefix, role)
        self._build_networks()
        for instance in self.instances:
            self._build_instance(instance)
        self._build_vnet()
        for site in self.sites:
            self._build_site(site)
        for router in self.circuit_routers:
            self._build_circuit_router(router)
        for role in ("wan", "rs1", *(i.name for i in self.instances), *(r.name for r in self.circuit_routers), *(s.name for s in self.sites)):
            self._make_router(role)
        # IPv6 has no switch for sending redirects (RFC 4861 4.5): they are not listened to.
        for role in ("host", *(i.name for i in self.instances)):
            self.ns[role].sysctl({f"net.ipv6.conf.{device}.accept_redirects": 0
                                  for device in self.ns[role].run("ls", "/proc/sys/net/ipv6/conf").split()})

    def _build_networks(self):
        for bridge in ("vnet", "circuit"):
            self.ns["switch"].ip(f"link add {bridge} type bridge", f"link set {bridge} up")

    def _make_router(self, role: str):
        self.ns[role].forward()
        # A router on a stick (rs1) would tell hosts to go around it.
        self.ns[role].sysctl({"net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.default.send_redirects": 0,
                              "net.ipv4.fib_multipath_hash_policy": 1})
        for device in self.ns[role].run("ls", "/proc/sys/net/ipv4/conf").split():
            self.ns[role].sysctl({f"net.ipv4.conf.{device}.send_redirects": 0})
        self.ns[role].sysctl({"net.ipv6.fib_multipath_hash_policy": 1, "net.ipv6.conf.all.keep_addr_on_down": 1,
                              "net.ipv6.conf.default.keep_addr_on_down": 1})

    @staticmethod
    def port(role: str, bridge: str) -> str:
        """What the port of a bridge is called that somebody is plugged in."""
        return role if bridge == "vnet" else f"{role}-{'er' if bridge == 'circuit' else bridge}"

    def plug(self, role: str, device: str, bridge: str, *addresses: str):
        port = self.port(role, bridge)
        self.link(role, device, "switch", port)
        self.ns["switch"].ip(f"link set {port} master {bridge}")
        # What receives frames that XDP redirected needs NAPI, which GRO turns on.
        self.ns["switch"].run("ethtool", "-K", port, "gro", "on")
        self.ns[role].ip(*(f"addr add {address} dev {device}" for address in addresses))

    def _build_instance(self, instance: Instance):
        role = instance.name
        self.link(role, "eth0", "wan", role)
        self.ns[role].ip(f"addr add {instance.wan4}/28 dev eth0", f"route add default via {instance.wan_router}")
        self.ns["wan"].ip(f"addr add {instance.wan_router}/28 dev {role}")
        self.ns["wan"].run("ethtool", "-K", role, "gro", "on", "tx", "off")
        self.plug(role, "eth1", "vnet", f"{instance.vnet4}/24", f"{instance.vnet6}/64")
        if instance.circuit:
            self.plug(role, "eth2", "circuit", f"{instance.circuit6}/64")  # gwd sets the IPv4 addresses

    def _build_vnet(self):
        self.plug("rs1", "eth0", "vnet", f"{VNET_ROUTER}/24", f"{VNET_ROUTER6}/64")
        self.plug("host", "eth0", "vnet", f"{VNET_HOST}/24", f"{VNET_HOST6}/64")
        self.link("rs1", "eth1", "spoke", "eth0")
        self.addresses("rs1", "eth1", f"{SPOKE_ROUTER}/16", f"{SPOKE_ROUTER6}/48")
        self.addresses("spoke", "eth0", f"{SPOKE_HOST}/16", f"{SPOKE_HOST6}/48", SPOKE_ROUTER, SPOKE_ROUTER6)
        self.ns["host"].ip(f"route add default via {VNET_ROUTER}", f"route add default via {VNET_ROUTER6}")

    def _build_site(self, site: Site):
        host = f"host{site.index}"
        for role in (site.name, host, *(f"{site.name}{i.letter}" for i in self.ends_of(site))):
            self.ns[role] = Namespace(self.prefix, role)
        self.link(host, "eth0", site.name, "eth1")
        self.addresses(site.name, "eth1", f"{site.lan4}.1/24", f"{site.lan6}::1/64")
        self.addresses(host, "eth0", f"{site.host4}/24", f"{site.host6}/64", f"{site.lan4}.1", f"{site.lan6}::1")
        if site.loopback:
            # The session is IPv4; without an IPv6 address there bgpd would have no next hop for IPv6.
            self.ns[site.name].ip(f"addr add {site.loopback}/32 dev lo", f"addr add {site.lan6[:-1]}ff::254/128 dev lo")
        for instance in self.ends_of(site):
            device = f"{site.name}{instance.letter}"
            self.link(device, "eth0", "wan", device)
            self.ns[device].ip(f"addr add {site.wan4}/28 dev eth0", f"route add default via {site.router4}")
            table = 100 * (1 + instance.index) + site.index
            self.ns["wan"].ip(f"addr add {site.router4}/32 dev {device}", f"route add {site.wan4}/32 dev {device} table {table}",
                              f"rule add from {instance.wan4} to {site.wan4} lookup {table}")

    def _build_circuit_router(self, router: CircuitRouter):
        self.plug(router.name, "eth0", "circuit", f"{router.address}/29", f"{router.address6}/64")
        for site in (s for s in self.sites if s.circuit):
            self.link(router.name, "eth1", site.name, router.name)
            self.addresses(router.name, "eth1", f"{router.to_site}/30", f"{router.to_site6}/64")
            self.addresses(site.name, router.name, f"{router.site_end}/30", f"{router.site_end6}/64")

    # --- silent failures ------------------------------------------------------------------------------

    def detach(self, *ports: str):
        self.ns["switch"].ip(*(f"link set {port} nomaster" for port in ports))

    def attach(self, bridge: str, *ports: str):
        self.ns["switch"].ip(*(f"link set {port} master {bridge}" for port in ports))

    def cut(self, *pairs: tuple[Instance, Site]):
        """Nothing passes between them until heal()."""
        rules = "".join(f"ip saddr {a} ip daddr {b} drop\n" for i, s in pairs for a, b in ((i.wan4, s.wan4), (s.wan4, i.wan4)))
        self.ns["wan"].run("nft", "-f", "-", stdin="add table ip cut\nflush table ip cut\n"
                           f"table ip cut {{ chain both_ways {{ type filter hook forward priority 0;\n{rules} }}\n}}\n")

    def heal(self):
        self.ns["wan"].run("nft", "-f", "-", stdin="add table ip cut\ndelete table ip cut\n")
