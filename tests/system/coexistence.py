"""Circuit and VPN side by side, whole: the lab, all instances, everybody around them, probes. coexistence_lab.py has the drawing."""

from __future__ import annotations

import copy
import json
import time

import yaml

from coexistence_lab import (BRANCH, CIRCUIT_ROUTERS, CONVERGED, LYON, PARIS, ROUTER_ASN, SITES, SPOKE_HOST, SPOKE_HOST6, SPOKE_PREFIX,
                             SPOKE_PREFIX6, TWO_PAIRS, VNET_HOST, VNET_HOST6, VNET_PREFIX, VNET_PREFIX6, VNET_ROUTER, VNET_ROUTER6,
                             CoexistenceLab, Instance, inner)
from coexistence_peers import BFD_MS, BFD_MULTIPLIER, CiscoLike, Circuit, TunnelEnd, TunnelRouter, VnetRouter
from gateway import METRICS, Gateway, connection_name, require_programs
from lab import BIN, GW_ASN, LabError, Site, poll
from probes import Load

NAMES = {PARIS.name: "paris", LYON.name: "lyon", BRANCH.name: "hub-west"}
HOSTS = {4: {"host": VNET_HOST, "spoke": SPOKE_HOST}, 6: {"host": VNET_HOST6, "spoke": SPOKE_HOST6}}
ECHO_PORT_HOSTS = HOSTS[4]


class Net:
    """One family of the lab: its prefixes and addresses by the names that tests use."""

    def __init__(self, family: int):
        self.family = family
        first = family == 4
        self.P, self.L, self.B = (site.prefixes[0 if first else 1] for site in (PARIS, LYON, BRANCH))
        self.VNET, self.SPOKE = (VNET_PREFIX, SPOKE_PREFIX) if first else (VNET_PREFIX6, SPOKE_PREFIX6)
        self.HUB = {self.VNET, self.SPOKE}
        self.everything = "0.0.0.0/0" if first else "::/0"

    def host(self, site: Site) -> str:
        return site.host4 if self.family == 4 else site.host6

    def at(self, instance: Instance) -> str:
        """Its address on the VNet."""
        return instance.vnet4 if self.family == 4 else instance.vnet6

    def next_hops(self, has: tuple[Instance, ...], tells: tuple[Instance, ...]) -> set[str]:
        """Of the VNet's router: those that have the path, whoever told. IPv6 over an IPv4 session has the next hop of who told."""
        return self.on_vnet(*(has if self.family == 4 else tells))

    def on_vnet(self, *instances: Instance) -> set[str]:
        return {self.at(i) for i in instances}


def document(instances, sites=SITES, **changes) -> dict:
    """gateway.yaml of one pair: of all `instances`, which end the same paths. changes: top-level keys that are replaced."""
    tunnels, circuit = instances[0].tunnels, instances[0].circuit
    doc = {
        "version": 1,
        "gateway": {"name": "hub-lab", "asn": GW_ASN, "instances": [instance_of(i) for i in instances]},
        "vnet": {"prefixes": [VNET_PREFIX, VNET_PREFIX6], "next_hop": VNET_ROUTER, "next_hop6": VNET_ROUTER6},  # the router knows the spokes
        "management": {"metrics": METRICS},
        "coexistence": {"role": "converged" if tunnels and circuit else "vpn-pair" if tunnels else "er-pair"},
    }
    publishes = circuit
    doc["vnet"]["peerings"] = [{"name": "spoke-1", "prefixes": [SPOKE_PREFIX, SPOKE_PREFIX6], "use_remote_gateways": True}]
    if publishes:
        doc["vnet"]["routers"] = [{"name": "rs1", "address": VNET_ROUTER, "asn": ROUTER_ASN, "bgp": session()}]
    if not (tunnels and circuit):
        doc["coexistence"]["partner"] = [i.vnet4 for i in TWO_PAIRS if i not in instances]
    if circuit:
        doc["circuits"] = [{"name": "er1", "peers": [
            {"name": r.name, "address": r.address, "local": {i.name: {"address": f"{r.local(i)}/29"} for i in instances}} for r in CIRCUIT_ROUTERS],
            "bgp": session()}]
    if tunnels:
        doc["sites"] = [site_of(s) for s in sites]
        doc["connections"] = [connection_of(s, instances) for s in sites]
    doc.update(copy.deepcopy(changes))
    return doc


def session(bfd_ms: int = BFD_MS) -> dict:
    return {"keepalive": "3s", "hold": "9s", "bfd": {"interval": f"{bfd_ms}ms", "multiplier": BFD_MULTIPLIER}}


def instance_of(instance: Instance) -> dict:
    out = {"name": instance.name, "wan": {"interface": "eth0", "endpoints": [{"address": instance.wan4}]},
           "vnet": {"interface": "eth1", "address": instance.vnet4}}
    if instance.circuit:
        out["circuit"] = {"interface": "eth2"}
    return out


def site_of(site: Site) -> dict:
    device = {"name": "ce1", "address": site.wan4, "identity": f"{site.name}.example"}
    if site.loopback:
        device |= {"loopback": site.loopback, "multihop": 5}
    return {"name": site.name, "asn": site.asn, "devices": [device]} | ({"kind": "vnet"} if site.kind == "vnet" else {})


def connection_of(site: Site, instances) -> dict:
    ends = {i.name: dict(zip(("local", "peer"), inner(site, i))) for i in instances}
    return {"name": connection_name(site), "device": f"{site.name}/ce1", "secret": {"psk_file": f"secrets/{site.name}.psk"},
            "ike": {"encryption": "GCMAES256", "integrity": "SHA384", "dh_group": "ECP384"},
            "ipsec": {"encryption": "GCMAES256", "pfs": "ECP384"}, "dpd": {"delay": "2s"},
            "bgp": {"addresses": ends} | session()}


SOON = 10  # s: BGP and BFD have said it all by then


def eventually(what, condition, seconds=SOON):
    try:
        poll(what, condition, seconds, 0.1)
    except LabError as late:
        raise AssertionError(str(late)) from late


class CoexistenceGateway(Gateway):
    """An instance of the lab, with a circuit port where it has one."""

    def __init__(self, lab: CoexistenceLab, instance: Instance, doc: dict, ports: str):
        options = ("--circuit", "eth2", "--circuit-port", ports) if instance.circuit else ()
        super().__init__(lab, doc, ports, options, instance=instance.name, role=instance.name)
        self.at = instance

    def candidates(self, prefix: str) -> dict[str, bool]:
        """The sources that offer a route to it, and whether it is used."""
        rows = self.json("show", "routes").get("routes", [])
        row = next((r for r in rows if r["prefix"] == prefix), {})
        return {c["source"]: bool(c.get("best")) for c in row.get("candidates", [])}

    def best(self, prefix: str) -> set[str]:
        """The sources whose routes to it are used."""
        return {source for source, used in self.candidates(prefix).items() if used}

    def show_ports(self) -> list[dict]:
        return self.json("show", "interfaces").get("ports", [])

    def sessions(self) -> dict[str, str]:
        """Peer address -> state."""
        return {p["neighbor"]: p["state"] for p in self.json("show", "bgp").get("peers", [])}

    def told(self, peer: str) -> set[str]:
        rows = self.json("show", "bgp", "advertised", peer).get("routes", [])
        return {row["network"] for row in rows}


class Coexistence:
    """with Coexistence("name") as world: everything is up, all sessions Established, packets pass.

    two_pairs: the circuit ends on a pair of its own. changes: keys of gateway.yaml (document()).
    """

    families = (4, 6)

    def __init__(self, name: str, *, ports: str = "xsk", two_pairs=False, sites=SITES, **changes):
        require_programs()
        instances = TWO_PAIRS if two_pairs else CONVERGED
        self.lab = CoexistenceLab(name, instances, sites)
        self.gateways: dict[str, CoexistenceGateway] = {}
        self.ends: dict[tuple[str, str], TunnelEnd] = {}
        self.routers: dict[str, CiscoLike | TunnelRouter] = {}
        try:
            for pair in ([instances] if not two_pairs else [instances[:2], instances[2:]]):
                self.start_pair(pair, document(pair, sites, **changes), ports)
            self.vnet = VnetRouter(self.lab)
            self.circuit = Circuit(self.lab)
            for site in sites:
                for instance in self.lab.ends_of_tunnels:
                    self.ends[site.name, instance.name] = TunnelEnd(self.lab, site, instance)
                self.routers[site.name] = (CiscoLike if site.circuit else TunnelRouter)(self.lab, site)
            for family, hosts in HOSTS.items():
                for role, address in (*hosts.items(), *((f"host{s.index}", Net(family).host(s)) for s in sites)):
                    self.lab.spawn(role, f"echo{family}-{role}", [BIN / "gw-probe", "echo", "--at", address, 4242])
        except BaseException:
            self.close()
            raise

    def start_pair(self, pair, doc: dict, ports: str):
        for instance in pair:
            gateway = self.gateways[instance.name] = CoexistenceGateway(self.lab, instance, doc, ports)
            gateway.start()

    @property
    def net(self) -> Net:
        """The family that is looked at: of everybody's routes, and of packets."""
        return Net(self.lab.family)

    @property
    def gateway(self):
        """Whose state conftest.py writes when a test fails: of all."""
        return self

    def dump(self, path):
        for name, gateway in self.gateways.items():
            gateway.dump(path.with_name(f"{path.stem}-{name}.txt"))

    def __enter__(self):
        try:
            self.wait_up()
        except BaseException:
            self.dump(self.lab.logs / "gateway-state.txt")
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lab.close()

    # --- its state ------------------------------------------------------------------------------------

    def wait_up(self, timeout: float = 45):
        for gateway in self.gateways.values():
            for site in self.lab.sites:
                if gateway.at in self.lab.ends_of(site):
                    poll(f"tunnel {site.name} of {gateway.instance} up", lambda g=gateway, s=site: g.tunnel_up(s), timeout)
            poll(f"all sessions of {gateway.instance} Established", lambda g=gateway: self.all_established(g), timeout, 0.2)
        for family in self.families:
            for role in HOSTS[family]:
                for site in self.lab.sites:
                    target = Net(family).host(site)
                    poll(f"{role} reaches {site.name} by IPv{family}", lambda r=role, t=target: self.pings(r, t), timeout, 0.2)

    def never_up(self, gateway: CoexistenceGateway) -> set[str]:
        """Addresses of its peers that are none while all is well: the other ends of tunnels that a site does not have."""
        return {inner(s, gateway.at)[1] for s in self.lab.sites if gateway.at not in self.lab.ends_of(s)}

    def all_established(self, gateway: CoexistenceGateway) -> bool:
        try:
            sessions = gateway.sessions()
        except LabError:
            return False
        return bool(sessions) and all(state == "Established" for peer, state in sessions.items() if peer not in self.never_up(gateway))

    def pings(self, role: str, target: str) -> bool:
        try:
            self.lab.ns[role].run("ping", "-c", "1", "-W", "1", target)
            return True
        except LabError:
            return False

    def vnet_packets(self) -> int:
        """Taken from the VNet by all instances together: each of them that a packet goes through counts it once."""
        return sum(int(p["rx_packets"]) for g in self.gateways.values() for p in g.show_ports() if p["side"] == "vnet")

    def drops(self) -> dict[str, int]:
        return {f"{name} {reason}": count for name, gateway in self.gateways.items() for reason, count in gateway.drops().items()}

    def settle(self, timeout: float = 30, but: Site | None = None):
        """Until every session is Established and BFD is up, so that nothing of the last event is under way. but: a site that is cut off."""
        spared = {inner(but, i)[1] for i in self.lab.ends_of_tunnels} | {but.loopback} if but else set()
        if but and but.circuit:
            spared |= {r.address for r in CIRCUIT_ROUTERS}

        def quiet(gateway):
            peers = gateway.json("show", "bgp").get("peers", [])
            return all(p["state"] == "Established" and p.get("bfd", "up").startswith(("up", "off"))
                       for p in peers if p["neighbor"] not in spared | self.never_up(gateway))
        for gateway in self.gateways.values():
            poll(f"{gateway.instance}: all sessions and BFD up", lambda g=gateway: quiet(g), timeout, 0.2)

    # --- what is done to it ---------------------------------------------------------------------------

    @staticmethod
    def flows(family: int, site: Site, role: str = "host", copies: int = 1) -> list[tuple[str, str, str]]:
        """Both ways, each `copies` times, so that hashes spread them over the instances."""
        here, there = HOSTS[family][role], Net(family).host(site)
        return [flow for n in range(copies) for flow in ((role, there, f"{role}->{site.name} {n}"),
                                                        (f"host{site.index}", here, f"{site.name}->{role} {n}"))]

    def load(self, site: Site, *, role: str = "host", copies: int = 4, rate: int = 250, families=()) -> Load:
        """families: one after the other in the results; none: the one that is looked at."""
        flows = [flow for family in families or (self.lab.family,) for flow in self.flows(family, site, role, copies)]
        return Load(self.lab, flows, rate, self.drops)

    def apply(self, change, names=None):
        """change(doc): to the document of every instance that is named; applied one after the other, as an operator would."""
        for name, gateway in self.gateways.items():
            if names and name not in names:
                continue
            doc = copy.deepcopy(gateway.doc)
            change(doc)
            gateway.ctl("apply", gateway.write(doc))

    def restore(self):
        """The documents of the start."""
        for gateway in self.gateways.values():
            gateway.ctl("apply", gateway.write(gateway.doc))

    def restore_all(self):
        """Whatever a test did that it may not have undone."""
        self.lab.heal()
        self.lab.attach("circuit", *self.circuit.ports())
        self.circuit.links_to_sites("up")
        self.circuit.graceful_shutdown(False)
        for router in self.routers.values():
            router.announce_default(False)
        if any(g.config.read_text() != yaml.safe_dump(g.doc, sort_keys=False) for g in self.gateways.values()):
            self.restore()


def shown(world: Coexistence) -> str:
    """For people: the documents, as yaml."""
    return "\n".join(yaml.safe_dump(g.doc, sort_keys=False) for g in world.gateways.values())


def tables(world: Coexistence) -> str:
    """For people: who has which routes."""
    found = {"rs1": world.vnet.routes(), **{r: world.circuit.routes(r) for r in world.circuit.frr},
             **{n: r.routes() for n, r in world.routers.items()}}
    return json.dumps({k: {p: sorted(s) for p, s in v.items()} for k, v in found.items()}, indent=1)


def assert_no_difference(world):
    """FRR's routes are gwd's on every instance, and stay so for longer than the alarm for numbers of routes waits."""
    for gateway in world.gateways.values():
        gateway.wait_routes_as_in_frr()
    end = time.monotonic() + 25
    while time.monotonic() < end:
        for name, gateway in world.gateways.items():
            zebra = gateway.zebra()
            assert not zebra.get("problem"), f"{name}: {zebra['problem']}"
        time.sleep(1)
