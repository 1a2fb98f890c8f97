"""The lab of two instances that are one gateway: what they share, and every way in which one of them can be lost.

                  VNet 10.0.0.0/24 (a bridge)              the internet's subnet 203.0.113.0/24 (a bridge)
   spoke --- rs1 ----+                                                       +--- wan, a router .1
   10.1.0.4  .1      +---- eth1 .4 gw-a eth0 203.0.113.10 -------------------+     |   |   |   |
             AS      |           eth3, eth4: sync networks, two bridges      |     |   |   |  site4 plain
   host -----65100---+---- eth1 .5 gw-b eth0 203.0.113.11 -------------------+     |   |  site3 static
   10.0.0.100                    10.255.0.1, .2 and 10.255.1.1, .2                 |  site2 single
                                                                                  site1 dual

   dual    a tunnel to each instance, BIRD, BFD 50 ms x 3: BGP and BFD move its traffic
   single  one tunnel, to gw-a: stock strongSwan and FRR, graceful restart, BFD 300 ms x 3: gw-b has to take the endpoint over
   static  the same without BGP
   plain   the same as single, without graceful restart

Namespaces, tunnels' ends and routers of sites as in coexistence_lab.py. gw-b's tunnels to the sites that have only one
are in the document (a connection is between a site and all instances) and nobody ever opens them.

Losing an instance: `kill` (kill -9 of everything; its kernel lives), `power_off` (its ports and its namespace are gone),
`pause` (SIGSTOP to everything), `unplug` (its ports are off their bridges: links stay up, nothing arrives).
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from coexistence_lab import CoexistenceLab, Instance
from lab import Namespace, Site, command, poll

WAN_ROUTER = "203.0.113.1"
SYNC_NETWORKS = 2


@dataclass(frozen=True)
class HaInstance(Instance):
    circuit: bool = False

    @property
    def wan4(self):
        """Its endpoint, which gwd puts on the interface of whoever has it."""
        return f"203.0.113.{10 + self.index}"

    @property
    def own_wan4(self):
        return f"203.0.113.{2 + self.index}"

    @property
    def tells_vnet(self):
        return True

    @property
    def sync(self):
        return [f"10.255.{path}.{1 + self.index}" for path in range(SYNC_NETWORKS)]


GW_A, GW_B = INSTANCES = (HaInstance("gw-a", 0), HaInstance("gw-b", 1))


class DualSite(Site):
    circuit, loopback, kind, tunnels_to, bfd_ms = False, "", "site", INSTANCES, 50


class SingleSite(Site):
    """bfd_ms: what gwd suggests for such sites: three of it are more than a takeover lasts."""

    circuit, loopback, kind, tunnels_to, bfd_ms, graceful_restart = False, "", "site", (GW_A,), 300, True


class StaticSite(SingleSite):
    bfd_ms = 0


class PlainSite(SingleSite):
    graceful_restart = False


class HastySite(SingleSite):
    """Its BFD gives up before a takeover is over."""

    bfd_ms = 50


DUAL, SINGLE, STATIC, PLAIN = SITES = (DualSite(1), SingleSite(2), StaticSite(3), PlainSite(4))


class HaLab(CoexistenceLab):
    circuit_routers = ()
    wan_router = WAN_ROUTER

    @staticmethod
    def own_wan4(instance: HaInstance) -> str:
        """Its own address on the wan, which stays with it."""
        return instance.own_wan4

    def __init__(self, name: str, sites=SITES):
        super().__init__(name, INSTANCES, sites)

    def ends_of(self, site: Site) -> list[Instance]:
        return list(site.tunnels_to)

    def _build_networks(self):
        networks = ["vnet", "wan", *(f"s{path}" for path in range(SYNC_NETWORKS))]
        for bridge in networks:
            self.ns["switch"].ip(f"link add {bridge} type bridge", f"link set {bridge} up")
        self.link("wan", "eth0", "switch", "router-wan")
        self.ns["switch"].ip("link set router-wan master wan")
        self.ns["wan"].ip(f"addr add {self.wan_router}/24 dev eth0")
        # What the sites leave to a card that is not there has to be whole before XDP sees it.
        self.ns["wan"].run("ethtool", "-K", "eth0", "gro", "on", "tx", "off")

    def _build_instance(self, instance: Instance):
        role = instance.name
        self.plug(role, "eth0", "wan", f"{self.own_wan4(instance)}/24")
        self.plug(role, "eth1", "vnet", f"{instance.vnet4}/24")
        for path, address in enumerate(instance.sync):
            self.plug(role, f"eth{3 + path}", f"s{path}", f"{address}/24")
        self.ns[role].ip(f"route add default via {self.wan_router}")

    # --- losing an instance -----------------------------------------------------------------------------

    @classmethod
    def ports(cls, instance: Instance, *networks: str) -> list[str]:
        """networks: "wan", "vnet", "s0", "s1"; none: all."""
        return [cls.port(instance.name, n) for n in networks or ("wan", "vnet", "s0", "s1")]

    def unplug(self, instance: Instance, *networks: str):
        self.detach(*self.ports(instance, *networks))
        self._loses_now()

    def plug_in(self, instance: Instance, *networks: str):
        for network in networks or ("wan", "vnet", "s0", "s1"):
            self.attach(network, self.port(instance.name, network))

    def part(self, instance: Instance):
        """The instances hear each other on no path, and everybody else as before: their port is closed (gateway.ha.port)."""
        rules = [f"add rule ip part {hook} {protocol} {end} 9621 drop"
                 for hook in ("input", "output") for protocol in ("tcp", "udp") for end in ("dport", "sport")]
        chains = [f"add chain ip part {hook} {{ type filter hook {hook} priority -10; }}" for hook in ("input", "output")]
        self.ns[instance.name].run("nft", "-f", "-", stdin="\n".join(["add table ip part", *chains, *rules, ""]))

    def rejoin(self, instance: Instance):
        self.ns[instance.name].run("nft", "-f", "-", stdin="add table ip part\ndelete table ip part\n")

    # When something of an instance was lost, the first time since this was None: what the lab needs to find whom to kill is no reaction.
    lost_at: float | None = None

    def _loses_now(self):
        if self.lost_at is None:
            self.lost_at = time.time()

    def signal_all(self, instance: Instance, number: int, but: str = ""):
        """To every process of an instance, in one go. but: the name of a program that is spared."""
        found = self.ns[instance.name].pids()
        self._loses_now()
        for pid in found:
            try:
                if not but or but not in program(pid):
                    os.kill(pid, number)
            except ProcessLookupError:
                pass  # it ended meanwhile

    def remove_instance(self, instance: Instance):
        """Silent on all ports at once; then its processes; then the namespace, with what is in the kernel. A link takes the kernel tens of
        milliseconds to remove, and a machine without power is not half there."""
        self.detach(*self.ports(instance))
        self._loses_now()
        self.ns["switch"].ip(*(f"link del {port}" for port in self.ports(instance)))
        namespace = self.ns[instance.name]
        self.signal_all(instance, signal.SIGKILL)
        poll(f"everything in {namespace.name} ended", lambda: not namespace.pids(), 5)
        command(["ip", "netns", "del", namespace.name])

    def rebuild_instance(self, instance: Instance):
        self.ns[instance.name] = Namespace(self.prefix, instance.name)
        self._build_instance(instance)
        self._make_router(instance.name)


def program(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace")
