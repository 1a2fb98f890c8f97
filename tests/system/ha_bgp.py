"""Two instances whose endpoints move by BGP: the lab of ha_lab.py, with other addresses between the instances and the wan's router.

   gw-a eth0 192.0.2.2, 2001:db8:1::2 --+                                        endpoints, on nobody's link:
                                        +-- wan 192.0.2.1, 2001:db8:1::1         203.0.113.10, 2001:db8:e::10  of gw-a
   gw-b eth0 192.0.2.3, 2001:db8:1::3 --+   FRR, AS 65300, BFD                   203.0.113.11, 2001:db8:e::11  of gw-b

The router has a session of each family with each instance. It announces a default route and a site's network to them,
as no provider should, and keeps all that it is told. IPv6 endpoints have no tunnels: they are announced and moved.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone

from coexistence import session
from coexistence_peers import BFD_MULTIPLIER, COMMON
from ha import HaWorld, ha_document
from ha_lab import GW_A, GW_B, INSTANCES, SINGLE, HaInstance, HaLab
from lab import GW_ASN, poll
from peers import Frr

ROUTER4, ROUTER6, ROUTER_ASN = "192.0.2.1", "2001:db8:1::1", 65300
LEAKS = {4: ["0.0.0.0/0", SINGLE.prefixes[0]], 6: ["::/0", SINGLE.prefixes[1]]}  # what the router says and should not


def own4(instance: HaInstance) -> str:
    return f"192.0.2.{2 + instance.index}"


def own6(instance: HaInstance) -> str:
    return f"2001:db8:1::{2 + instance.index}"


def endpoint6(instance: HaInstance) -> str:
    return f"2001:db8:e::{10 + instance.index}"


def host_route(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def routers_of(instance: HaInstance, bfd_ms: int) -> list[dict]:
    return [{"name": f"edge{family}", "address": router, "local": local, "asn": ROUTER_ASN, "bgp": session(bfd_ms)}
            for family, router, local in ((4, ROUTER4, own4(instance)), (6, ROUTER6, own6(instance)))]


class BgpLab(HaLab):
    wan_router = ROUTER4
    own_wan4 = staticmethod(own4)

    def _build_networks(self):
        super()._build_networks()
        self.ns["wan"].ip(f"addr add {ROUTER6}/64 dev eth0 nodad")

    def _build_instance(self, instance: HaInstance):
        super()._build_instance(instance)
        self.ns[instance.name].ip(f"addr add {own6(instance)}/64 dev eth0 nodad", f"route add default via {ROUTER6}")


@dataclass
class Heard:
    """One line of an UPDATE, as the router's bgpd logged it."""

    at: float  # s, of the wall clock
    peer: str
    prefix: str
    announced: bool


class WanRouter:
    """FRR on the wan. It logs every UPDATE that it hears, with microseconds."""

    LINE = re.compile(r"^(\S+ \S+) BGP: .*?(\S+?)\(\S*\) (?:rcvd UPDATE about (\S+) IPv[46] unicast -- (withdrawn)|rcvd (\S+) IPv[46] unicast)")

    def __init__(self, lab: BgpLab, bfd_ms: int):
        self.lab = lab
        self.frr = Frr(lab, "wan")
        self.frr.start("zebra")
        self.frr.start("bfdd")
        lines = ["log timestamp precision 6", "debug bgp updates in", "bgp route-map delay-timer 0", f"router bgp {ROUTER_ASN}",
                 f" bgp router-id {ROUTER4}", COMMON.rstrip("\n"), " bgp graceful-restart"]
        peers = [(family, own(i)) for i in INSTANCES for family, own in (("ipv4", own4), ("ipv6", own6))]
        for _, peer in peers:
            lines += [f" neighbor {peer} remote-as {GW_ASN}", f" neighbor {peer} timers 3 9", f" neighbor {peer} timers connect 1",
                      f" neighbor {peer} advertisement-interval 0", f" neighbor {peer} bfd {BFD_MULTIPLIER} {bfd_ms} {bfd_ms}"]
        for name, number in (("ipv4", 4), ("ipv6", 6)):
            lines += [f" address-family {name} unicast", f"  network {LEAKS[number][1]}"]
            for family, peer in peers:
                lines += [f"  neighbor {peer} activate", f"  neighbor {peer} soft-reconfiguration inbound"]
                lines += [f"  neighbor {peer} default-originate"] * (family == name)
            lines += [" exit-address-family"]
        self.frr.start("bgpd", "--log-level", "debug", conf="\n".join([*lines, "exit"]))

    def received(self, instance: HaInstance, family: int) -> dict[str, dict]:
        """All that an instance has told it in its session of this family, of both address families, before any filter."""
        peer, found = (own4 if family == 4 else own6)(instance), {}
        for name in ("ipv4", "ipv6"):
            found |= json.loads(self.frr.vtysh(f"show bgp {name} unicast neighbors {peer} received-routes json")).get("receivedRoutes", {})
        return found

    def path(self, address: str) -> dict:
        """Of the best route to an endpoint; empty: none."""
        shown = self.frr.vtysh(f"show bgp {'ipv6' if ':' in address else 'ipv4'} unicast {host_route(address)} json")
        return next((p for p in json.loads(shown or "{}").get("paths", []) if p.get("bestpath", {}).get("overall")), {})

    def next_hop(self, address: str) -> str:
        """Where the kernel of the router sends an endpoint's packets; a link-local address is "fe80"."""
        words = self.lab.ns["wan"].run("ip", "route", "get", address, check=False).split()
        hop = words[words.index("via") + 1] if "via" in words else ""
        return "fe80" if hop.startswith("fe80:") else hop

    def heard(self) -> list[Heard]:
        found = []
        for line in self.frr.processes["bgpd"].log.read_text(errors="replace").splitlines():
            match = self.LINE.match(line)
            if match:
                at = datetime.strptime(match[1], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=timezone.utc).timestamp()
                found.append(Heard(at, match[2], match[3] or match[5], not match[4]))
        return found

    def heard_of(self, address: str, since: float = 0.0) -> list[Heard]:
        return [h for h in self.heard() if h.prefix == host_route(address) and h.at >= since]

    def configure(self, *lines: str):
        self.frr.vtysh("conf t", f"router bgp {ROUTER_ASN}", *lines)

    def shut(self, instance: HaInstance, off: bool = True):
        """Both sessions with it."""
        self.configure(*(f"{'' if off else 'no '}neighbor {own(instance)} shutdown" for own in (own4, own6)))


class BgpWorld(HaWorld):
    lab_class = BgpLab

    def __init__(self, name: str, *, bfd_ms: int, **options):
        self.router: WanRouter | None = None
        super().__init__(name, bfd_ms=bfd_ms, **options)
        try:
            self.router = WanRouter(self.lab, bfd_ms)
        except BaseException:
            self.close()
            raise

    def document(self, sites, bfd_ms: int, **changes) -> dict:
        doc = ha_document(sites, bfd_ms, **changes)
        for instance, words in zip(INSTANCES, doc["gateway"]["instances"]):
            words["wan"]["endpoints"] = [{"address": address, "move": "bgp"} for address in self.endpoints(instance)]
            words["wan"]["routers"] = routers_of(instance, bfd_ms)
        return doc

    @staticmethod
    def endpoints(instance: HaInstance) -> list[str]:
        return [instance.wan4, endpoint6(instance)]

    def owned_by(self, instance: HaInstance) -> set[str]:
        return {address for i in INSTANCES if self.carrier_of(i) is instance for address in self.endpoints(i)}

    def settle_all(self):
        super().settle_all()
        for instance in INSTANCES:
            for address in self.endpoints(instance):
                poll(f"the wan's router sends {address} to {instance.name}", lambda i=instance, a=address: self.leads_to(a, i), 20)

    def leads_to(self, address: str, instance: HaInstance) -> bool:
        """The router's best route, and (IPv4: an IPv6 next hop is a link-local address) where its kernel sends packets."""
        own = (own6 if ":" in address else own4)(instance)
        best = self.router.path(address).get("peer", {}).get("peerId")
        return best == own and self.router.next_hop(address) in (own, *(["fe80"] if ":" in address else []))

    def alarms(self, instance: HaInstance) -> dict[str, str]:
        """Address -> what HaActionFailed says of it."""
        return {a.get("address", ""): a["text"] for a in self.of(instance).ha().get("alarms", []) if a["kind"] == "HaActionFailed"}

    def restore_all(self):
        for instance in INSTANCES:
            self.router.shut(instance, off=False)
        super().restore_all()


