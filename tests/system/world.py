"""A whole world in one call: the lab, the gateway, sites with their routers, probes. Tests and the demo use it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from gateway import Gateway, document, require_programs
from lab import GW_WAN4, GW_WAN6, Lab, LabError, Site, poll
from peers import Bird, FrrRouter, StrongSwanSite
from probes import Probes


@dataclass
class Office:
    """What stands at a site: the VPN device and the router behind it."""

    site: Site
    vpn: StrongSwanSite
    router: Bird | FrrRouter


class World:
    """with World("name", [Site(1)]) as world: all tunnels up, BGP established, probes' echo servers running.

    vpn: keyword arguments of StrongSwanSite by site name; connections: fields of gateway.yaml's connection by
    site name; outer6: sites whose tunnel goes over IPv6; frr: sites whose router is FRR instead of BIRD; bfd: whose router speaks BFD;
    wait=False: leaves the waiting to the caller; ports: the kind of the gateway's ports ("xsk", "gso", "auto");
    fastpath: more options of gw-fastpath; unnumbered: sites whose FRR speaks BGP over the link-local addresses of its tunnel.
    """

    def __init__(self, name: str, sites: list[Site], *, vpn: dict | None = None, connections: dict | None = None,
                 outer6: tuple = (), frr: tuple = (), bfd: tuple = (), wait=True, ports: str = "xsk", fastpath: tuple = (),
                 unnumbered: tuple = ()):
        require_programs()
        self.lab = Lab(name, sites)
        self.vpn, self.outer6, self.frr, self.bfd, self.wait = vpn or {}, outer6, frr, bfd, wait
        self.unnumbered = unnumbered
        self.offices: dict[str, Office] = {}
        try:
            self.gateway = Gateway(self.lab, document(sites, connections, outer6), ports, fastpath)
            self.gateway.start()
            for site in sites:
                if not site.uml:
                    self.open_office(site)
            self.probes = Probes(self.lab, [s for s in sites if not s.uml])
            self.probes.evidence = self.drop_counters
        except BaseException:
            self.close()
            raise

    def open_office(self, site: Site) -> Office:
        connection = next(c for c in self.gateway.doc["connections"] if c["device"] == f"{site.name}/ce1")
        options = {"gateway": GW_WAN6 if site in self.outer6 else GW_WAN4,
                   "persistent": connection.get("initiate") == "responder-only"} | self.vpn.get(site.name, {})
        vpn = StrongSwanSite(self.lab, site, **options)
        if site in self.frr:
            router = FrrRouter(self.lab, site, bfd=site in self.bfd, unnumbered=site in self.unnumbered)
        else:
            router = Bird(self.lab, site, bfd=site in self.bfd)
        self.offices[site.name] = Office(site, vpn, router)
        return self.offices[site.name]

    def __enter__(self):
        try:
            for site in self.lab.sites:
                if self.wait and site.name in self.offices:
                    self.wait_up(site)
        except BaseException:
            self.gateway.dump(self.lab.logs / "gateway-state.txt")
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lab.close()

    def drop_counters(self) -> dict[str, int]:
        """Whoever may have dropped a packet: gw-fastpath by reason, sockets of the sites' charons, interfaces."""
        counters = {f"gateway {reason}": count for reason, count in (self.gateway.drops() or {}).items()}
        for role, ns in self.lab.ns.items():
            for table in ("raw", "raw6", "udp", "udp6"):
                lines = ns.run("cat", f"/proc/net/{table}").splitlines()[1:]
                counters[f"{role} {table} sockets"] = sum(int(line.split()[-1]) for line in lines)
            for link in json.loads(ns.run("ip", "-s", "-j", "link")):
                for way in ("rx", "tx"):
                    counters[f"{role} {link['ifname']} {way}"] = link["stats64"][way]["dropped"]
        return counters

    def wait_up(self, site: Site, timeout: float = 30):
        """Until IKE and BGP are up, both ends have each other's routes, and packets pass."""
        gateway = self.gateway
        end = time.monotonic() + timeout

        def left():
            return max(0.1, end - time.monotonic())

        poll(f"tunnel of {site.name} up (now: {gateway.tunnel(site)})", lambda: gateway.tunnel_up(site), left())
        poll(f"BGP with {site.name} Established", lambda: gateway.bgp_established(site), left(), 0.2)
        poll(f"routes of {site.name} learned", lambda: set(site.prefixes) <= gateway.learned(site), left(), 0.2)
        for family in (4, 6):
            poll(f"{site.name} answers a ping of the VNet host, IPv{family}",
                 lambda family=family: self.probes.reachable(site, family), left(), 0.2)

    def wait_down(self, site: Site, timeout: float) -> dict:
        """Until gwctl shows the tunnel as not up; its row."""
        try:
            poll(f"tunnel of {site.name} down", lambda: self.gateway.tunnel(site).get("state", "up") != "up", timeout)
        except LabError as late:
            raise AssertionError(str(late)) from late
        return self.gateway.tunnel(site)

    @staticmethod
    def probes_run(seconds: float):
        """Lets a load run."""
        time.sleep(seconds)
