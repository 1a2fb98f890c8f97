"""gwctl doctor where a circuit and tunnels stand side by side: each failure made for real, found by its name; backups are proven;
what-if knows beforehand what an apply will do. coexistence_lab.py has the drawing."""

import json
import time
from contextlib import contextmanager

import pytest

from coexistence import Coexistence
from coexistence_lab import CIRCUIT_ASN, CIRCUIT_ROUTERS, CONVERGED, LYON, PARIS, ROUTER_ASN, TWO_PAIRS, VNET_ROUTER, inner
from doctor import findings, wait_found, wait_healthy
from lab import command, poll

GW_A, GW_B = CONVERGED
PARIS_AT_A = f"site1-ce1/{GW_A.name}"
PART_OF_PARIS = PARIS.prefixes[0].replace("/24", "/25")


@pytest.fixture(scope="module")
def world():
    with Coexistence("test_doctor_coexistence") as ready:
        yield ready


@pytest.fixture(autouse=True)
def healthy_before(request):
    """Of the tests of the one pair."""
    if "world" in request.fixturenames:
        wait_healthy(*request.getfixturevalue("world").gateways.values(), seconds=90)


@contextmanager
def no_bgp_between(world, role: str, *addresses: str):
    """Nothing else is dropped: the network is fine, a firewall somewhere is not."""
    ns = world.lab.ns[role]
    both = "{ " + ", ".join(addresses) + " }"
    ns.run("nft", "-f", "-", stdin=f"""table ip doctor {{
        chain incoming {{
          type filter hook input priority 0;
          ip saddr {both} tcp dport 179 drop
          ip saddr {both} tcp sport 179 drop
        }}
        chain outgoing {{
          type filter hook output priority 0;
          ip daddr {both} tcp dport 179 drop
          ip daddr {both} tcp sport 179 drop
        }}
      }}
      """)
    try:
        yield
    finally:
        ns.run("nft", "delete", "table", "ip", "doctor")


@contextmanager
def router_with(router, before: list[str], after: list[str]):
    router.frr.vtysh("conf t", *before)
    try:
        yield
    finally:
        router.frr.vtysh("conf t", *after)


def test_healthy_instances_have_no_findings(world):
    for gateway in world.gateways.values():
        assert "no findings" in gateway.ctl("doctor")  # exit code 0


def test_the_waiting_tunnels_are_proven(world):
    """The circuit carries all of paris' traffic; its tunnels are known to work all the same."""
    for gateway in world.gateways.values():
        proof = gateway.tunnel(PARIS)["proof"]
        assert proof["method"] in ("bfd", "echo"), proof
        assert time.time() * 1000 - int(proof["proven_unix_ms"]) < 15_000, proof


@pytest.mark.timeout(180)
def test_a_backup_that_nobody_has_proven(world):
    """Paris' device drops echoes and has no BFD: BGP is up, and that is all one knows."""
    gateway = world.gateways[GW_A.name]

    def no_bfd(doc):
        bgp = next(c for c in doc["connections"] if c["device"] == f"{PARIS.name}/ce1")["bgp"]
        bgp.pop("bfd")
        bgp["no_bfd"] = True
    router, paris = world.routers[PARIS.name], world.lab.ns[PARIS.name]
    tunnels = [inner(PARIS, instance)[0] for instance in CONVERGED]
    asn = f"router bgp {PARIS.asn}"
    with router_with(router, [asn, *(f"no neighbor {t} bfd" for t in tunnels)], [asn, *(f"neighbor {t} bfd 3 100 100" for t in tunnels)]):
        world.apply(no_bfd)
        paris.run("nft", "-f", "-", stdin="table ip doctor {\nchain incoming { type filter hook input priority 0;\n"
                  'iifname "tun-*" icmp type echo-request drop\n}\n}\n')
        try:
            found = wait_found(gateway, "BackupNotProven", PARIS_AT_A, 100)
            assert "ago" in found["evidence"][0] and "site1" in found["consequence"], found
            proven = int(gateway.tunnel(PARIS)["proof"]["proven_unix_ms"]) / 1000
            assert time.time() - proven > 55, "and show tunnels says so"
        finally:
            paris.run("nft", "delete", "table", "ip", "doctor")
            world.restore()


def test_a_circuit_router_is_gone(world):
    gateway = world.gateways[GW_A.name]
    primary = CIRCUIT_ROUTERS[0]
    with no_bgp_between(world, GW_A.name, primary.address):
        found = wait_found(gateway, "CircuitSessionDown", f"er1-primary/{GW_A.name}")
        assert found["severity"] == "error" and "redundancy" in found["consequence"], found


def test_the_whole_circuit_is_gone(world):
    gateway = world.gateways[GW_A.name]
    with no_bgp_between(world, GW_A.name, *(r.address for r in CIRCUIT_ROUTERS)):
        for router in CIRCUIT_ROUTERS:
            found = wait_found(gateway, "CircuitSessionDown", f"er1-{router.name}/{GW_A.name}")
            poll("both are down", lambda: all(f["severity"] == "critical" for (n, _), f in findings(gateway).items()
                                              if n == "CircuitSessionDown"), 20, 0.5)
            assert found["consequence"], found


def test_a_router_of_the_vnet_is_gone(world):
    gateway = world.gateways[GW_A.name]
    with no_bgp_between(world, GW_A.name, VNET_ROUTER):
        found = wait_found(gateway, "VnetSessionDown", f"vnet:rs1/{GW_A.name}")
        assert found["severity"] == "error" and "not told" in found["consequence"], found
        assert ("VnetSessionDown", f"vnet:rs1/{GW_B.name}") not in findings(world.gateways[GW_B.name])


@pytest.mark.timeout(180)
def test_a_firewall_that_lets_bgp_pass_and_not_bfd(world):
    """BFD ends the session; it comes back on BGP's timers, and that is what the finding says. (BIRD: an FRR that watches BFD
    itself keeps BGP down until BFD is up.)"""
    gateway, lyon = world.gateways[GW_A.name], world.lab.ns[LYON.name]
    lyon.run("nft", "-f", "-", stdin="table ip doctor {\nchain incoming { type filter hook input priority 0;\n"
             'iifname "tun-a" udp dport { 3784, 4784 } drop\n}\n}\n')
    try:
        found = wait_found(gateway, "BfdNotAnswered", f"site2-ce1/{GW_A.name}", 90)
        assert found["severity"] == "warning" and "hold time of 9 s" in found["consequence"], found
        assert "BGP with it is up" in found["evidence"][0] and any("3784" in line for line in found["remedy"]), found
        assert [name for name, _ in findings(gateway)] == ["BfdNotAnswered"], "of this one session, and nothing else is wrong"
    finally:
        lyon.run("nft", "delete", "table", "ip", "doctor")


def test_a_route_that_somebody_set_by_hand(world):
    """The kernel's routes come before BGP's: bgpd goes on telling a way that this machine's own packets do not take."""
    gateway = world.gateways[GW_A.name]
    by_hand = f"{PARIS.prefixes[0]} dev eth1 metric 1"
    gateway.ns.ip(f"route add {by_hand}")
    try:
        poll("a finding", lambda: any(name == "RouteNotInFrr" for name, _ in findings(gateway)), 30, 0.5)
        found = next(f for (name, _), f in findings(gateway).items() if name == "RouteNotInFrr")
        assert found["subject"] == "1 prefix" and PARIS.prefixes[0] in found["evidence"][0], found
        assert "gwd: eth2; FRR: " in found["evidence"][0], found
        with world.load(PARIS, rate=100) as load:
            time.sleep(1)
        load.assert_no_loss()  # gw-fastpath follows gwd alone
    finally:
        gateway.ns.ip(f"route del {by_hand}")


def test_the_instances_have_lost_each_other(world):
    with no_bgp_between(world, GW_A.name, GW_B.vnet4):
        for mine, other in ((GW_A, GW_B), (GW_B, GW_A)):
            found = wait_found(world.gateways[mine.name], "InstanceSessionDown", f"instance:{other.name}")
            assert "look healthy" in found["evidence"][1], found


def test_a_more_specific_prefix_in_the_tunnels(world):
    router = world.routers[PARIS.name]
    circuit = [r.to_site for r in CIRCUIT_ROUTERS]
    asn = [f"router bgp {PARIS.asn}", "address-family ipv4 unicast"]
    with router_with(router, ["ip prefix-list PART permit " + PART_OF_PARIS, "route-map NO-PART deny 5", "match ip address prefix-list PART",
                              "route-map NO-PART permit 10", "exit", *asn, *(f"neighbor {c} route-map NO-PART out" for c in circuit),
                              f"network {PART_OF_PARIS}"],
                     [*asn, f"no network {PART_OF_PARIS}", *(f"no neighbor {c} route-map NO-PART out" for c in circuit), "exit", "exit",
                      "no route-map NO-PART", "no ip prefix-list PART"]):
        for name in (GW_A.name, GW_B.name):
            found = wait_found(world.gateways[name], "MoreSpecificViaVpn", f"site1-ce1/{name}")
            assert f"{PART_OF_PARIS} is learned here and lies inside {PARIS.prefixes[0]} of er1-" in found["evidence"][0], found
            assert f"gwctl routes effective {PART_OF_PARIS}" in found["remedy"], found


@pytest.mark.timeout(150)
def test_a_site_that_prefers_its_tunnels(world):
    """Local preference 200 on the wrong side: what paris sends comes by the tunnels, the answers go by the circuit."""
    router = world.routers[PARIS.name]
    with router_with(router, ["route-map TUNNEL permit 10", "set local-preference 300"],
                     ["route-map TUNNEL permit 10", "set local-preference 100"]):
        router.frr.vtysh("clear bgp ipv4 unicast * soft in")
        poll("paris sends by its tunnels", lambda: router.devices("10.0.0.0/16") <= {"tun-a", "tun-b"}, 20, 0.5)
        with world.load(PARIS, rate=100):
            found = [f for gateway in world.gateways.values()
                     for f in [wait_found(gateway, "AsymmetricPath", tunnel_name_at(gateway))]]
    for one in found:
        assert "came out of the tunnel" in one["evidence"][0] and "by the circuit" in one["evidence"][1], one
        assert "local-preference 200" in one["remedy"][0], one
    router.frr.vtysh("clear bgp ipv4 unicast * soft in")


@pytest.mark.timeout(150)
def test_a_site_that_prefers_the_circuit_and_a_gateway_that_prefers_tunnels(world):
    """The reverse: what goes to paris goes by the tunnels, what comes from it by the circuit."""
    world.apply(lambda doc: doc["coexistence"].update(prefer="vpn"))
    try:
        for gateway in world.gateways.values():
            poll(f"{gateway.instance} sends by its tunnel", lambda g=gateway: g.best(PARIS.prefixes[0]) == {tunnel_name_at(g)}, 20, 0.2)
        assert world.routers[PARIS.name].devices("10.0.0.0/16") == {r.name for r in CIRCUIT_ROUTERS}
        with world.load(PARIS, rate=100):
            found = [wait_found(gateway, "AsymmetricPath", tunnel_name_at(gateway)) for gateway in world.gateways.values()]
    finally:
        world.restore()
    for one in found:
        assert "went into it" in one["evidence"][0] and "the gateway prefers the tunnel" in one["evidence"][1], one
        assert "coexistence.prefer: circuit" in one["remedy"][0], one


def test_bfdd_hangs(world):
    """gw-fastpath runs the sessions: none of them ends, and nobody would be told of a new one."""
    gateway = world.gateways[GW_A.name]
    pid = int(gateway.ns.run("cat", gateway.frr.dir / "bfdd.pid"))
    command(["kill", "-STOP", pid])
    try:
        found = wait_found(gateway, "ServiceNotRunning", "bfdd")
        assert "hold time" in found["consequence"], found
        assert [name for name, _ in findings(gateway)] == ["ServiceNotRunning"], "and nothing else is wrong"
    finally:
        command(["kill", "-CONT", pid])


class Passwords:
    """TCP MD5 (RFC 2385) between the instances and routers of one kind: what stands in the document and what the routers have."""

    def __init__(self, world, kind: str):
        self.world, self.of_circuit = world, kind == "circuit"
        routers = {r.name: (world.circuit.frr[r.name], [r.local(i) for i in CONVERGED]) for r in CIRCUIT_ROUTERS}
        self.routers = list(routers.values()) if self.of_circuit else [(world.vnet.frr, [i.vnet4 for i in CONVERGED])]
        self.asn = CIRCUIT_ASN if self.of_circuit else ROUTER_ASN

    def routers_have(self, password: str):
        """Empty: none."""
        for frr, instances in self.routers:
            frr.vtysh("conf t", f"router bgp {self.asn}",
                      *(f"neighbor {i} password {password}" if password else f"no neighbor {i} password" for i in instances))

    def write(self, password: str):
        for gateway in self.world.gateways.values():
            secret = gateway.etc / "secrets" / "md5"
            secret.touch(mode=0o600)
            secret.write_text(password + "\n")

    def instances_have(self, password: str):
        self.write(password)
        self.world.apply(lambda doc: (doc["circuits"][0] if self.of_circuit else doc["vnet"]["routers"][0])["bgp"].update(md5_file="secrets/md5"))

    def subjects(self, gateway) -> list[str]:
        return [f"er1-{r.name}/{gateway.instance}" for r in CIRCUIT_ROUTERS] if self.of_circuit else [f"vnet:rs1/{gateway.instance}"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind, finding", [("circuit", "CircuitSessionDown"), ("vnet router", "VnetSessionDown")])
def test_a_password_that_the_other_end_does_not_have(world, kind, finding):
    passwords, one, two = Passwords(world, kind), "correct-horse", "battery-staple"
    try:
        passwords.routers_have(one)
        passwords.instances_have(one)
        wait_healthy(*world.gateways.values(), seconds=60)
        for gateway in world.gateways.values():
            assert "password" in gateway.frr.vtysh("show running-config")
        passwords.routers_have(two)
        for gateway in world.gateways.values():
            for subject in passwords.subjects(gateway):
                found = wait_found(gateway, finding, subject)
                # Idle for the moment after the end of the session before; then nothing is answered (RFC 2385 2).
                poll("the password is named", lambda g=gateway, s=subject: "MD5 password" in findings(g)[finding, s]["evidence"][0], 20, 0.5)
                assert "Established" not in found["evidence"][0], found
        passwords.write(two)  # the document is the same, the file is not
        for gateway in world.gateways.values():
            changes = gateway.ctl("diff", gateway.config, check=False)
            for subject in passwords.subjects(gateway):
                assert f"~ {subject}: bgp.md5_file: the file holds another key" in changes, changes
        passwords.instances_have(two)
        wait_healthy(*world.gateways.values(), seconds=60)
        for gateway in world.gateways.values():
            said = gateway.gwd.log.read_text()
            assert one not in said and two not in said
    finally:
        passwords.routers_have("")
        world.restore()


def tunnel_name_at(gateway) -> str:
    return f"site1-ce1/{gateway.instance}"


def test_what_if_knows_what_the_apply_will_do(world):
    """Prefer the VPN: said beforehand, done, and the same."""
    gateway = world.gateways[GW_A.name]
    doc = json.loads(json.dumps(gateway.doc))
    doc["coexistence"]["prefer"] = "vpn"
    path = gateway.etc / "new.yaml"
    path.write_text(json.dumps(doc))
    what = gateway.json("routes", "what-if", "-f", path)
    moves = {m["prefix"]: set(m["to"]) for m in what["moves"]}
    assert moves.get(PARIS.prefixes[0]) == {PARIS_AT_A}, what["moves"]
    assert LYON.prefixes[0] not in moves, "it has no circuit"
    assert gateway.best(PARIS.prefixes[0]) == {f"er1-{r.name}/{GW_A.name}" for r in CIRCUIT_ROUTERS}
    gateway.ctl("apply", path)
    try:
        poll("what was foretold", lambda: gateway.best(PARIS.prefixes[0]) == {PARIS_AT_A}, 15, 0.2)
    finally:
        world.restore()
    poll("and back", lambda: gateway.best(PARIS.prefixes[0]) == {f"er1-{r.name}/{GW_A.name}" for r in CIRCUIT_ROUTERS}, 15, 0.2)


def test_what_if_the_circuit_went_with_the_document_that_drops_the_backup(world):
    """Both at once: a document without paris' tunnels, and then the circuit is down."""
    gateway = world.gateways[GW_A.name]
    doc = json.loads(json.dumps(gateway.doc))
    doc["connections"] = [c for c in doc["connections"] if c["device"] != f"{PARIS.name}/ce1"]
    doc["sites"] = [s for s in doc["sites"] if s["name"] != PARIS.name]
    path = gateway.etc / "new.yaml"
    path.write_text(json.dumps(doc))
    alone = gateway.json("routes", "what-if", "-f", path)
    assert alone["sessions_gone"] == [PARIS_AT_A]
    assert PARIS.prefixes[0] not in {m["prefix"] for m in alone["moves"]}, "the circuit carries it"
    both = gateway.json("routes", "what-if", "-f", path, "--circuit-down")
    assert (PARIS.prefixes[0], "lost") in {(m["prefix"], m["kind"]) for m in both["moves"]}, both["moves"]


@pytest.mark.timeout(240)
def test_the_pairs_have_lost_each_other():
    """The classic: every tunnel is up, every session of the circuit is up, and no traffic flows."""
    with Coexistence("test_doctor_two_pairs", two_pairs=True) as pairs:
        wait_healthy(*pairs.gateways.values(), seconds=90)
        gw_a, er_a, er_b = pairs.gateways["gw-a"], TWO_PAIRS[2], TWO_PAIRS[3]
        with no_bgp_between(pairs, "gw-a", er_a.vnet4, er_b.vnet4):
            for other in (er_a, er_b):
                found = wait_found(gw_a, "VpnErSessionDown", f"partner:{other.vnet4}")
                assert found["severity"] == "critical" and "3 of 3 tunnels up: they look healthy" in found["evidence"][1], found
            for er in (er_a, er_b):
                wait_found(pairs.gateways[er.name], "VpnErSessionDown", f"partner:{pairs.gateways['gw-a'].at.vnet4}")
        wait_healthy(*pairs.gateways.values(), seconds=90)
