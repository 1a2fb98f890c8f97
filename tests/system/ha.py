"""Two instances that are one gateway, whole: the lab, both instances, everybody around them, probes. ha_lab.py has the drawing."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import signal

from coexistence import (ECHO_PORT_HOSTS, SPOKE_PREFIX, VNET_PREFIX, VNET_ROUTER, Coexistence, CoexistenceGateway, connection_of,
                         instance_of, session, site_of)
from coexistence_lab import ROUTER_ASN, Instance, inner
from coexistence_peers import BFD_MULTIPLIER, COMMON, TunnelEnd, TunnelRouter, VnetRouter, frr_routes
from gateway import GWCTL, METRICS, require_programs, tunnel_name
from ha_lab import GW_A, INSTANCES, SITES, HaLab
from lab import BIN, GW_ASN, LabError, Site, command, poll
from nonce_checker import NonceChecker
from peers import Frr

BFD_MS = 50


def ha_document(sites=SITES, bfd_ms=BFD_MS, **changes) -> dict:
    """gateway.yaml of both. changes: keys of `gateway` that are added or replaced."""
    gateway = {"name": "hub-lab", "asn": GW_ASN, "instances": [instance_of(i) | {"sync": i.sync} for i in INSTANCES],
               "ha": {"failback_delay": "2s", "heartbeat": f"{bfd_ms}ms"}}
    return {
        "version": 1,
        "gateway": gateway | changes,
        "vnet": {"prefixes": [VNET_PREFIX], "next_hop": VNET_ROUTER,
                 "routers": [{"name": "rs1", "address": VNET_ROUTER, "asn": ROUTER_ASN, "bgp": session(bfd_ms)}],
                 "peerings": [{"name": "spoke-1", "prefixes": [SPOKE_PREFIX], "use_remote_gateways": True}]},
        "management": {"metrics": METRICS},
        "sites": [ha_site_of(s) for s in sites],
        "connections": [ha_connection_of(s, bfd_ms) for s in sites],
    }


def bfd_of(site: Site, bfd_ms: int) -> int:
    """What is slower than in the product is slower everywhere: a site with one tunnel waits longer than a takeover lasts."""
    return site.bfd_ms * bfd_ms // BFD_MS


def ha_site_of(site: Site) -> dict:
    out = site_of(site)
    if not site.bfd_ms:
        del out["asn"]
        out["static"] = [site.prefixes[0]]
    return out


def ha_connection_of(site: Site, bfd_ms: int) -> dict:
    out = connection_of(site, INSTANCES)
    if site.bfd_ms:
        out |= {"bgp": out["bgp"] | session(bfd_of(site, bfd_ms))}
    else:
        del out["bgp"]
    if len(site.tunnels_to) == 1:
        out["initiate"] = "responder-only"  # the other instance is not to try
    return out


class HaGateway(CoexistenceGateway):
    def __init__(self, lab: HaLab, instance: Instance, doc: dict, ports: str):
        super().__init__(lab, instance, doc, ports)
        self.fastpath_options = (*self.fastpath_options, "--instance", instance.index)

    def ha(self) -> dict:
        """gwctl's word on the two instances; empty while gwd is away."""
        try:
            return self.json("ha", "show")
        except LabError:
            return {}

    def owned(self) -> set[str]:
        return {e["address"] for e in self.ha().get("endpoints", []) if e.get("owner") == self.instance}

    def processes(self):
        """Those with a supervisor, as far as they were started."""
        return [self.fastpath, self.charon.process, self.gwd, *self.frr.processes.values()]

    def kill(self):
        """kill -9 of everything at once; nobody starts it again. The kernel of this instance lives on."""
        for process in self.processes():
            process.abandon()
        self.lab.signal_all(self.at, signal.SIGKILL)
        self.reap()

    def reap(self):
        for process in self.processes():
            process.popen.wait(5)

    is_off = False

    def is_whole(self) -> bool:
        return all(process.alive for process in self.processes()) and bool(self.fastpath_pid())

    def power_off(self):
        self.is_off = True
        for process in self.processes():
            process.abandon()
        self.lab.remove_instance(self.at)
        self.reap()

    def revive(self):
        """After kill() or stop(): everything is started again, as by its supervisor."""
        self.fastpath_socket.unlink(missing_ok=True)
        self.start()

    def revive_control(self):
        """After lose_control()."""
        self.start_charon()
        self.start_gwd()
        self.start_frr()

    def power_on(self):
        """A machine that boots: what was on its disk is there, what was in memory (/run) is not."""
        self.lab.rebuild_instance(self.at)
        shutil.rmtree(self.lab.run / f"fastpath-state{self.suffix}", ignore_errors=True)
        self.ns = self.lab.ns[self.role]
        self.is_off = False
        self.revive()

    def stop(self):
        """As before a reboot: endpoints go to the other instance first, then all stops in the order of its dependencies."""
        self.ctl("ha", "drain")
        poll(f"{self.instance} has no endpoint", lambda: self.ha() and not self.owned(), 20)
        self.stop_undrained()

    def stop_undrained(self):
        """As `systemctl stop` of all by somebody who does not know: charon deletes its SAs."""
        for process in (self.gwd, *reversed(self.frr.processes.values()), self.charon.process, self.fastpath):
            process.stop()

    def lose_fastpath(self):
        """kill -9 of gw-fastpath; nobody starts it again."""
        pid = self.fastpath_pid()
        self.fastpath.abandon()
        self.fastpath.kill()
        os.kill(pid, signal.SIGKILL)
        self.fastpath.popen.wait(5)

    def hang_fastpath(self, hangs: bool = True):
        os.kill(self.fastpath_pid(), signal.SIGSTOP if hangs else signal.SIGCONT)

    def lose_control(self):
        """kill -9 of everything but gw-fastpath; nobody starts it again."""
        for process in self.processes():
            if process is not self.fastpath:
                process.abandon()
        self.lab.signal_all(self.at, signal.SIGKILL, but="gw-fastpath")

    def pause(self):
        self.lab.signal_all(self.at, signal.SIGSTOP)

    def resume(self):
        self.lab.signal_all(self.at, signal.SIGCONT)


class FrrSite:
    """FRR behind the one tunnel of a site."""

    def __init__(self, lab: HaLab, site: Site, bfd_ms: int):
        self.lab, self.site = lab, site
        self.frr = Frr(lab, site.name)
        self.frr.start("zebra")
        self.frr.start("bfdd")
        self.peer, self.own = inner(site, site.tunnels_to[0])
        self.frr.start("bgpd", conf="\n".join([
            f"router bgp {site.asn}", f" bgp router-id {site.lan4}.1", COMMON.rstrip("\n"),
            " bgp graceful-restart" if site.graceful_restart else " bgp graceful-restart-disable",
            f" neighbor {self.peer} remote-as {GW_ASN}", f" neighbor {self.peer} timers 3 9", f" neighbor {self.peer} timers connect 1",
            f" neighbor {self.peer} advertisement-interval 0", f" neighbor {self.peer} bfd {BFD_MULTIPLIER} {bfd_ms} {bfd_ms}",
            " address-family ipv4 unicast", f"  network {site.prefixes[0]}", f"  neighbor {self.peer} activate", " exit-address-family", "exit"]))

    def routes(self) -> dict[str, set[str]]:
        return frr_routes(self.frr)

    def session(self) -> dict:
        """bgpd's word on the session; its uptime tells whether it is still the same one."""
        return json.loads(self.frr.vtysh(f"show bgp neighbors {self.peer} json"))[self.peer]

    def stale(self) -> set[str]:
        """Prefixes that it has from before its peer was gone and has not heard again: when that happens once more they go (RFC 4724 4.2)."""
        routes = json.loads(self.frr.vtysh("show bgp ipv4 unicast json")).get("routes", {})
        return {prefix for prefix, paths in routes.items() if any(path.get("stale") for path in paths)}

    def session_age_s(self) -> float:
        session = self.session()
        return session.get("bgpTimerUpMsec", 0) / 1000 if session["bgpState"] == "Established" else 0.0


class StaticRouter:
    """A site whose administrator wrote the routes down."""

    def __init__(self, lab: HaLab, site: Site):
        device = f"tun-{site.tunnels_to[0].letter}"
        lab.ns[site.name].ip(*(f"route add {prefix} dev {device}" for prefix in (VNET_PREFIX, SPOKE_PREFIX)))


def router_of(lab: HaLab, site: Site, bfd_ms: int):
    if not site.bfd_ms:
        return StaticRouter(lab, site)
    if len(site.tunnels_to) == 1:
        return FrrSite(lab, site, bfd_of(site, bfd_ms))
    return TunnelRouter(lab, site, bfd_of(site, bfd_ms))


class HaWorld(Coexistence):
    """with HaWorld("name") as world: both instances are up, all sessions Established, packets pass. changes: of gateway.yaml's `gateway`.

    bfd_ms: of BFD, and of the heartbeat between the instances. The product's 50 ms x 3 are for a machine that does nothing else.
    """

    families = (4,)
    lab_class = HaLab

    def __init__(self, name: str, *, ports: str = "xsk", sites=SITES, bfd_ms: int = BFD_MS, **changes):  # noqa: super().__init__ has the other world's parts
        require_programs()
        self.lab = self.lab_class(name, sites)
        self.gateways: dict[str, HaGateway] = {}
        self.ends: dict[tuple[str, str], TunnelEnd] = {}
        self.routers: dict = {}
        self.preferred = self.preferred_by(changes)
        try:
            for instance in INSTANCES:
                self.gateways[instance.name] = HaGateway(self.lab, instance, self.document(sites, bfd_ms, **changes), ports)
            self.make_certificates()
            for gateway in self.gateways.values():
                gateway.start()
            self.vnet = VnetRouter(self.lab, bfd_ms)
            for site in sites:
                for instance in site.tunnels_to:
                    # Where both may start a tunnel, they do when it has died, and end one of the two: the gateway's test of that is elsewhere.
                    single = len(site.tunnels_to) == 1
                    self.ends[site.name, instance.name] = TunnelEnd(self.lab, site, instance, initiate=single, persistent=single)
                self.routers[site.name] = router_of(self.lab, site, bfd_ms)
            for role, address in (*ECHO_PORT_HOSTS.items(), *((f"host{s.index}", s.host4) for s in sites)):
                self.lab.spawn(role, f"echo-{role}", [BIN / "gw-probe", "echo", "--at", address, 4242])
        except BaseException:
            self.close()
            raise

    def document(self, sites, bfd_ms: int, **changes) -> dict:
        return ha_document(sites, bfd_ms, **changes)

    def make_certificates(self):
        folder = self.lab.private_dir("certificates")
        command([GWCTL, "ha", "init", "--gateway", "hub-lab", "--dir", folder, *self.gateways])
        for gateway in self.gateways.values():
            shutil.copytree(folder, gateway.etc / "ha")

    def of(self, instance: Instance) -> HaGateway:
        return self.gateways[instance.name]

    # --- which of them has what, while all is well -------------------------------------------------------

    @staticmethod
    def preferred_by(gateway: dict) -> Instance | None:
        """Who has all endpoints, by gateway.yaml's `gateway`; None: each has its own."""
        if gateway.get("mode") != "active-standby":
            return None
        return next(i for i in INSTANCES if i.name == gateway.get("preferred", INSTANCES[0].name))

    def carrier_of(self, instance: Instance) -> Instance:
        """Who has the endpoint of an instance."""
        return self.preferred or instance

    def owned_by(self, instance: Instance) -> set[str]:
        """The endpoints that it has."""
        return {i.wan4 for i in INSTANCES if self.carrier_of(i) is instance}

    def all_at_home(self) -> bool:
        return all(self.of(i).owned() == self.owned_by(i) for i in INSTANCES)

    def commit(self, at: Instance, **changes):
        """gwctl apply of a document with another `gateway`, on one of them, which asks the other one. changes: as the constructor's."""
        gateway = self.of(at)
        doc = copy.deepcopy(gateway.doc)
        doc["gateway"] = {key: value for key, value in doc["gateway"].items() if key not in ("mode", "preferred")} | changes
        gateway.ctl("apply", gateway.write(doc))
        self.preferred = self.preferred_by(changes)

    def tunnel_up(self, site: Site, instance: Instance) -> bool:
        """The site's tunnel to an endpoint, at whoever has that."""
        try:
            rows = self.of(self.carrier_of(instance)).json("show", "tunnels").get("tunnels", [])
        except LabError:
            return False
        return any(row["name"] == tunnel_name(site, instance.name) and row.get("state") == "up" for row in rows)

    def wait_up(self, timeout: float = 45):
        for site in self.lab.sites:
            for instance in site.tunnels_to:
                poll(f"tunnel {tunnel_name(site, instance.name)} up", lambda s=site, i=instance: self.tunnel_up(s, i), timeout)
        for gateway in self.gateways.values():
            poll(f"all sessions of {gateway.instance} Established", lambda g=gateway: self.all_established(g), timeout, 0.2)
        for site in self.lab.sites:
            for role in ECHO_PORT_HOSTS:
                poll(f"{role} reaches {site.name}", lambda r=role, s=site: self.pings(r, s.host4), timeout, 0.2)

    def never_up(self, gateway: HaGateway) -> set[str]:
        """Of either instance: whoever has its endpoint has its sessions."""
        return {inner(s, i)[1] for s in self.lab.sites for i in INSTANCES if i not in s.tunnels_to}

    @contextlib.contextmanager
    def watched(self):
        """Every packet that either instance sends to the sites is looked at; one repeated nonce fails in the end."""
        with NonceChecker([(self.lab.ns["wan"].name, "eth0")]) as nonces:
            yield nonces
        with open(self.lab.logs / "nonces.log", "a") as log:
            log.write(f"packets by instance {dict(nonces.packets)}, repeated nonces {len(nonces.repeated)}, "
                      f"duplicate sequence numbers {nonces.duplicate_sequences}\n")
        nonces.verify(at_least=1000)

    # --- until it is as it should be ---------------------------------------------------------------------

    def bring_back(self, instance: Instance, how: str = "revive"):
        """Until everything is as before."""
        getattr(self.of(instance), how)()
        self.settle_all()

    def settle_all(self):
        poll("each endpoint is where it belongs", self.all_at_home, 45, 0.2)
        self.wait_up()
        self.settle()
        for site in self.lab.sites:
            wanted = {self.carrier_of(i).vnet4 for i in site.tunnels_to}
            poll(f"rs1 sends {site.name}'s packets to {wanted}", lambda s=site, w=wanted: self.vnet.next_hops(s.prefixes[0]) == w, 20, 0.2)

    def settle_of(self, instance: Instance, timeout: float = 30):
        """All its sessions, while the other one is away."""
        other = next(i for i in INSTANCES if i is not instance)
        spared = self.never_up(self.of(instance)) | {other.vnet4}

        def established() -> bool:
            return all(state == "Established" for peer, state in self.of(instance).sessions().items() if peer not in spared)
        poll(f"all sessions of {instance.name} Established", established, timeout, 0.2)
        self.wait_refreshed()

    def settle(self, timeout: float = 30, but: Site | None = None):
        super().settle(timeout, but)
        self.wait_refreshed()

    def wait_refreshed(self, timeout: float = 20):
        """Until no site's router has routes of a session that has ended: it drops them when the next one ends, too, before they came again."""
        for name, router in self.routers.items():
            if isinstance(router, FrrSite):
                poll(f"{name} has heard its routes again", lambda r=router: not r.stale(), timeout, 0.2)

    def as_new(self):
        """Whatever a test did is undone, and everything is settled."""
        self.restore_all()
        self.settle_all()

    def restore_all(self):
        for gateway in self.gateways.values():
            if gateway.is_off:
                gateway.power_on()
            elif not gateway.is_whole():
                gateway.kill()
                gateway.revive()
        for instance in INSTANCES:
            self.lab.plug_in(instance)
        self.lab.heal()


def outage(load) -> float:
    """Seconds, of the flow that was hit worst. Also of one whose packets never came through again, which has no gap."""
    return max(r.lost for r in load.results) / load.rate


def negotiated(world: HaWorld, site: Site, instance: Instance = GW_A) -> str:
    """The IKE SA of its tunnel as the site knows it: another text if it was negotiated anew."""
    lines = world.ends[site.name, instance.name].charon.swanctl("--list-sas").splitlines()
    return next(line for line in lines if line.startswith("gw:"))
