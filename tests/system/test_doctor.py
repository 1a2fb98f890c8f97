"""gwctl doctor: a healthy gateway has no finding; each failure is made for real, and found by its name with its evidence."""

import contextlib
import json
import tarfile
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from doctor import findings, report, wait_found, wait_healthy
from gateway import GWCTL, INSTANCE, connection_name, tunnel_name
from lab import LabError, Site, command, poll
from peers import psk
from world import World

BIRD, OTHER = SITES = [Site(1), Site(2)]
MD5 = "md5-of-the-lab-42"
MAX_ROUTES = 10


def bgp(site, **more):
    return {"bgp": {"addresses": {INSTANCE: {"local": site.inner_gw, "peer": site.inner_site}}, "keepalive": "3s", "hold": "90s",
                    "no_bfd": True, "max_routes": MAX_ROUTES, **more}}


@pytest.fixture(scope="module")
def world():
    with World("test_doctor", SITES, connections={s.name: bgp(s) for s in SITES}) as ready:
        yield ready


@pytest.fixture(autouse=True)
def healthy_before(world):
    wait_healthy(world.gateway)


@contextlib.contextmanager
def bird_with(world, *changes: tuple[str, str]):
    """The site's router with something else in its configuration: (before, after)."""
    router = world.offices[BIRD.name].router
    conf = router.dir / "bird.conf"
    before = text = conf.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    conf.write_text(text)
    router.birdc("configure")
    try:
        yield router
    finally:
        conf.write_text(before)
        router.birdc("configure")


def announcing(*prefixes: str) -> tuple[str, str]:
    first = f'ipv4; route {BIRD.prefixes[0]} via "eth1";'
    return first, first + "".join(f' route {prefix} via "eth1";' for prefix in prefixes)


@contextlib.contextmanager
def wan_rule(world, rule: str):
    """Something in the internet that drops packets and says nothing."""
    wan = world.lab.ns["wan"]
    wan.run("nft", "-f", "-", stdin=f"table ip doctor {{\nchain hop {{ type filter hook forward priority 0;\n{rule}\n}}\n}}\n")
    try:
        yield
    finally:
        wan.run("nft", "delete", "table", "ip", "doctor")


def test_a_healthy_gateway_has_no_findings(world):
    said = world.gateway.ctl("doctor")  # exit code 0
    assert "no findings" in said, said
    rules = report(world.gateway)["rules"]
    assert {"MtuBlackHole", "VpnErSessionDown", "AsnMismatch", "RouteNotInFrr"} <= set(rules), rules


def test_tunnels_are_proven_while_nobody_uses_them(world):
    for site in SITES:
        proof = poll("a proof", lambda site=site: (p := world.gateway.tunnel(site)["proof"])["proven_unix_ms"] != "0" and p, 15)
        assert proof["method"] == "echo" and proof["full_bytes"] == 1400, proof
    poll("several answers", lambda: world.gateway.tunnel(BIRD)["proof"]["small_answered"] >= 3, 30)
    proof = world.gateway.tunnel(BIRD)["proof"]
    assert proof["full_answered"] >= 1 and proof["small_answered"] == proof["small_sent"], proof
    assert time.time() * 1000 - int(proof["proven_unix_ms"]) < 12_000, proof
    assert "gw_tunnel_proven_timestamp_seconds" in world.gateway.metrics()


@contextlib.contextmanager
def hanging(pid: int):
    """It is there, and answers nothing."""
    command(["kill", "-STOP", pid])
    try:
        yield
    finally:
        command(["kill", "-CONT", pid])


def test_charon_hangs(world):
    """Named as not running, and no tunnel is blamed for it."""
    with hanging(world.gateway.charon.process.pid):
        found = wait_found(world.gateway, "ServiceNotRunning", "charon", 40)
        assert "rekeying" in found["consequence"], found
        assert "ConnectionsNotConnected" not in {name for name, _ in findings(world.gateway)}


def test_bgpd_hangs(world):
    """Named as not running, and no session is blamed for it."""
    pid = int(world.gateway.ns.run("cat", world.gateway.frr.dir / "bgpd.pid"))
    with hanging(pid):
        found = wait_found(world.gateway, "ServiceNotRunning", "bgpd", 40)
        assert "learned by BGP" in found["consequence"] and found["severity"] == "error", found
        assert "BgpSessionDown" not in {name for name, _ in findings(world.gateway)}


def test_a_site_that_is_gone(world):
    office = world.offices[BIRD.name]
    office.vpn.stop()
    try:
        found = wait_found(world.gateway, "ConnectionsNotConnected", tunnel_name(BIRD), 30)
        assert found["severity"] == "critical" and BIRD.public4 in found["evidence"][0], found
        error = world.gateway.fails("doctor")  # exit code 1
        assert "status 1" in error, error
    finally:
        office.vpn.start()


def test_esp_is_dropped_and_ike_is_not(world):
    """IKE and its dead peer detection see nothing wrong; ESP from the site does not arrive."""
    with wan_rule(world, f"ip saddr {BIRD.public4} ip protocol esp drop"):
        found = wait_found(world.gateway, "TunnelBlackHole", tunnel_name(BIRD), 60)
    assert "none came in" in found["evidence"][0], found
    assert any("encapsulation: udp" in line for line in found["remedy"]), found


@pytest.mark.timeout(200)
def test_large_packets_vanish(world):
    """A hop with a smaller MTU that reports nothing; the size that passes is measured."""
    limit = 1320  # of the outer packet
    with wan_rule(world, f"ip daddr {BIRD.public4} ip protocol esp ip length > {limit} drop"):
        found = wait_found(world.gateway, "MtuBlackHole", tunnel_name(BIRD), 60)
        assert any("of 1400 bytes: 0 of" in line for line in found["evidence"]), found
        line = f"connections[{connection_name(BIRD)}].mtu: "

        def measured():
            now = findings(world.gateway).get(("MtuBlackHole", tunnel_name(BIRD)), {"remedy": [""]})
            return now["remedy"][0].startswith(line) and int(now["remedy"][0].removeprefix(line))
        poll("a size that passes", measured, 20, 0.5)
        time.sleep(30)  # until the search is over
        mtu = measured()
        # ESP adds between 56 and 80 bytes to a packet, depending on its padding.
        assert limit - 96 <= mtu <= limit - 52, mtu


def test_another_as_number(world):
    with bird_with(world, (f"as {BIRD.asn};", "as 65099;")):
        found = wait_found(world.gateway, "AsnMismatch", tunnel_name(BIRD), 30)
        assert ("BgpSessionDown", tunnel_name(BIRD)) not in findings(world.gateway)
    assert str(BIRD.asn) in " ".join(found["evidence"] + found["remedy"]), found


def test_the_device_expects_another_as_number_of_ours(world):
    with bird_with(world, (f"neighbor {BIRD.inner_gw} as 65515;", f"neighbor {BIRD.inner_gw} as 65001;")):
        found = wait_found(world.gateway, "AsnMismatch", tunnel_name(BIRD), 30)
    assert "gateway.asn" in found["remedy"][0], found


def test_a_tunnel_without_its_session(world):
    router = world.offices[BIRD.name].router
    router.birdc("disable", "gw")
    try:
        found = wait_found(world.gateway, "BgpSessionDown", tunnel_name(BIRD), 30)
        assert any("answered" in line for line in found["evidence"]), found
    finally:
        router.birdc("enable", "gw")


def test_a_session_that_is_up_and_says_nothing(world):
    """The device's BGP hangs: TCP and the tunnel are fine, and nothing that it would say comes. Without BFD the hold time has to
    run out; until then its routes stay in use, and afterwards they are gone."""
    router = world.offices[BIRD.name].router
    hold = 30  # BIRD's: the smaller one
    router.lasting_session()
    pid = router.process.pid
    command(["kill", "-STOP", pid])
    try:
        start = time.monotonic()
        found = wait_found(world.gateway, "BgpSessionStuck", tunnel_name(BIRD), hold)
        assert time.monotonic() - start > hold / 2, "two keepalives have to be missed"
        assert "Established" in found["evidence"][0] and "a KEEPALIVE is due every 10 s" in found["evidence"][0], found
        assert any("answered" in line for line in found["evidence"]), found
        assert any("clear bgp" in line for line in found["remedy"]), found
        route = json.loads(world.gateway.ctl("--json", "routes", "effective", BIRD.prefixes[0]))["routes"][0]
        assert any(c["source"] == tunnel_name(BIRD) and c["place"] == "best" for c in route["candidates"]), route
        wait_found(world.gateway, "BgpSessionDown", tunnel_name(BIRD), hold)
        assert ("BgpSessionStuck", tunnel_name(BIRD)) not in findings(world.gateway)
    finally:
        command(["kill", "-CONT", pid])


def test_a_route_limit_comes_near(world):
    with bird_with(world, announcing(*(f"10.150.{n}.0/24" for n in range(MAX_ROUTES - 2)))):
        found = wait_found(world.gateway, "RouteLimitNear", tunnel_name(BIRD), 20)
    assert f"{MAX_ROUTES - 1} IPv4 routes" in found["evidence"][0] and found["severity"] == "warning", found


@contextlib.contextmanager
def document_with(world, change):
    doc = json.loads(json.dumps(world.gateway.doc))
    change(doc)
    world.gateway.ctl("apply", world.gateway.write(doc))
    try:
        yield
    finally:
        world.gateway.ctl("apply", world.gateway.write(world.gateway.doc))


TOO_MANY = announcing(*(f"10.150.{n}.0/24" for n in range(MAX_ROUTES + 1)))


def test_a_route_limit_is_reached_and_only_said_so(world):
    def only_warn(doc):
        doc["connections"][0]["bgp"]["limit_action"] = "warn"
    with document_with(world, only_warn), bird_with(world, TOO_MANY):
        poll("all are used", lambda: len([p for p in world.gateway.learned(BIRD) if "." in p]) == MAX_ROUTES + 2, 20, 0.5)
        found = wait_found(world.gateway, "RouteLimitNear", tunnel_name(BIRD), 20)
        assert found["severity"] == "error" and f"{MAX_ROUTES + 2} IPv4 routes" in found["evidence"][0], found
        assert world.gateway.bgp_established(BIRD)


@pytest.mark.timeout(120)
def test_a_route_limit_ends_the_session(world):
    """Nobody waits for bgpd's five minutes: a larger limit opens the session again."""
    def larger(doc):
        doc["connections"][0]["bgp"]["max_routes"] = 2 * MAX_ROUTES
    with contextlib.ExitStack() as document:
        with bird_with(world, TOO_MANY):
            limit = ("RouteLimitNear", tunnel_name(BIRD))
            found = poll("the limit is blamed", lambda: (f := findings(world.gateway).get(limit, {})).get("severity") == "critical" and f, 30, 0.5)
            assert "was ended" in found["consequence"], found
            assert ("BgpSessionDown", tunnel_name(BIRD)) not in findings(world.gateway)
            assert world.gateway.bgp_established(OTHER)
            document.enter_context(document_with(world, larger))
            poll("the session is back", lambda: world.gateway.bgp_established(BIRD), 20, 0.5)
        poll("it announces less", lambda: len(world.gateway.learned(BIRD)) < MAX_ROUTES, 20, 0.5)


def test_a_loop(world):
    """A network that is reached only through another one with our AS number."""
    export = 'export where proto = "lan4"; next hop self;'
    looped = ('export filter { if proto != "lan4" then reject; if net = 10.160.0.0/24 then bgp_path.prepend(65515); accept; }; '
              "next hop self;")
    with bird_with(world, (export, looped), announcing("10.160.0.0/24")):
        found = wait_found(world.gateway, "AsnLoop", tunnel_name(BIRD), 20)
    assert "10.160.0.0/24" in found["evidence"][0], found


def test_a_site_that_claims_the_vnet(world):
    with bird_with(world, announcing("10.0.7.0/24")):
        found = wait_found(world.gateway, "GatewaySubnetRouteLoop", tunnel_name(BIRD), 20)
    assert "10.0.7.0/24" in found["evidence"][0], found


@pytest.mark.timeout(150)
def test_a_table_that_is_full():
    """gw-fastpath has room for 16 /24 networks with longer prefixes in them; the site announces 20."""
    with World("test_doctor_full", [BIRD], connections={BIRD.name: bgp(BIRD, max_routes=100)}, fastpath=("--fib-v4-groups", "16")) as small:
        wait_healthy(small.gateway)
        with bird_with(small, announcing(*(f"10.170.{n}.0/25" for n in range(20)))):
            poll("a finding", lambda: any(n == "RouteNotInFastPath" for n, _ in findings(small.gateway)), 30, 0.5)
            found = next(f for (n, _), f in findings(small.gateway).items() if n == "RouteNotInFastPath")
            assert found["severity"] == "critical" and "10.170." in found["evidence"][0] and "--fib-v4-groups" in found["remedy"][0], found


@contextlib.contextmanager
def forgotten_by_packets(world, network: str):
    """The entry of an IPv4 /24 in the memory that packets are looked up in is empty. gw-fastpath does not know: in its books, and
    for whoever asks it to list its routes, all is well."""
    pid = world.gateway.fastpath_pid()
    maps = {line.split()[1] for fd in Path(f"/proc/{pid}/fdinfo").iterdir() for line in fd.read_text().splitlines() if line.startswith("map_id:")}
    info = [json.loads(command(["bpftool", "-j", "map", "show", "id", m])) for m in maps]
    root = next(m for m in info if m["name"] == "fib_v4_root")
    address = int(IPv4Network(network).network_address) >> 8
    in_block = root["bytes_value"] // 2
    key = [f"{b:#04x}" for b in (address // in_block).to_bytes(4, "little")]
    where = ["bpftool", "-j", "map", "lookup", "id", root["id"], "key", *key]
    before = json.loads(command(where))["value"]

    def write(value):
        command(["bpftool", "map", "update", "id", root["id"], "key", *key, "value", *value])
    at = address % in_block * 2
    assert int(before[at], 16) or int(before[at + 1], 16), "there is a route"
    write([*before[:at], "0x00", "0x00", *before[at + 2:]])
    try:
        yield
    finally:
        write(before)


def test_packets_meet_no_route_although_all_books_have_it(world):
    with forgotten_by_packets(world, BIRD.prefixes[0]):
        found = wait_found(world.gateway, "RouteNotInFastPath", "1 prefix", 20)
    assert found["evidence"] == [f"{BIRD.prefixes[0]}: missing; gwd: {tunnel_name(BIRD)}; packets meet: no route"], found
    assert any("restart gw-fastpath" in line for line in found["remedy"]), found


@contextlib.contextmanager
def route_map_of_somebody_else(world, action: str):
    """Behind gwd's back, in place of the one that gwd gave bgpd for what BIRD says (the neighbour's own, or its group's)."""
    frr, neighbor = world.gateway.frr, f"neighbor {BIRD.inner_site}"
    lines = [line.strip() for line in frr.vtysh("show running-config").split("address-family ipv4")[1].splitlines()]
    own = [line for line in lines if line.startswith(f"{neighbor} route-map ") and line.endswith(" in")]

    def use(line):
        frr.vtysh("conf t", "router bgp 65515", "address-family ipv4 unicast", line)
        frr.vtysh(f"clear bgp ipv4 unicast {BIRD.inner_site} soft in")
    frr.vtysh("conf t", f"route-map SOMEBODY {action} 10")
    use(f"{neighbor} route-map SOMEBODY in")
    try:
        yield
    finally:
        use(own[0] if own else f"no {neighbor} route-map SOMEBODY in")
        frr.vtysh("conf t", "no route-map SOMEBODY")


def test_a_route_that_frr_has_lost(world):
    with route_map_of_somebody_else(world, "deny"):
        found = wait_found(world.gateway, "RouteNotInFrr", "1 prefix", 20)
        assert found["evidence"][0].startswith(f"{BIRD.prefixes[0]}: missing") and "FRR: no route" in found["evidence"][0], found
        assert [name for name, _ in findings(world.gateway)] == ["RouteNotInFrr"], "and no program is blamed for it"


def test_a_route_that_only_frr_has(world):
    """gwd refuses what lies inside the VNet; a bgpd that does not would tell others of it."""
    with bird_with(world, announcing("10.0.7.0/24")):
        wait_found(world.gateway, "GatewaySubnetRouteLoop", tunnel_name(BIRD), 20)
        with route_map_of_somebody_else(world, "permit"):
            found = wait_found(world.gateway, "RouteNotInFrr", "1 prefix", 20)
            assert found["evidence"][0].startswith("10.0.7.0/24: extra"), found


def test_a_bundle_has_it_all_and_no_secret(world):
    office = world.offices[OTHER.name]
    path = world.lab.run / "bundle.tar.gz"
    office.vpn.stop()
    try:
        wait_found(world.gateway, "ConnectionsNotConnected", tunnel_name(OTHER), 30)
        # Secrets where operators leave them: in comments of the document.
        text = world.gateway.config.read_text()
        world.gateway.config.write_text(text + f"# the key of {OTHER.name} is {psk(OTHER)}\n")
        world.gateway.ctl("apply", world.gateway.config)
        said = world.gateway.ctl("support-bundle", path)
        assert "without secrets" in said, said
        here = sorted(findings(world.gateway))
    finally:
        office.vpn.start()
        world.gateway.write(world.gateway.doc)
        world.gateway.ctl("apply", world.gateway.config)
    with tarfile.open(path) as bundle:
        members = {m.name.split("/")[1]: bundle.extractfile(m).read() for m in bundle.getmembers()}
    assert {"snapshot.json", "doctor.txt", "gateway.yaml", "bgpd-running.conf", "gwd.log", "ip-link.txt", "versions.txt"} <= set(members)
    assert b"router bgp 65515" in members["bgpd-running.conf"], members["bgpd-running.conf"]
    assert b"gwd" in members["gwd.log"] and b"sites:" in members["gateway.yaml"]
    for name, content in members.items():
        for site in SITES:
            assert psk(site).encode() not in content, f"{name} holds a PSK"
    # Examined elsewhere, without gwd: nobody listens on this socket.
    elsewhere = world.lab.ns["vnet"].run(GWCTL, "--socket", "/nonexistent", "--json", "doctor", "--bundle", path, check=False)
    assert sorted((f["name"], f["subject"]) for f in json.loads(elsewhere)["findings"]) == here


@pytest.mark.timeout(120)
def test_a_password_of_bgp_is_in_no_bundle(world):
    """An MD5 password at both ends, and the bundle while it is in use."""
    secret = world.gateway.etc / "secrets" / "md5"
    secret.touch(mode=0o600)
    secret.write_text(MD5 + "\n")
    doc = json.loads(json.dumps(world.gateway.doc))
    doc["connections"][0]["bgp"]["md5_file"] = "secrets/md5"
    path = world.lab.run / "bundle-md5.tar.gz"
    with bird_with(world, (f"local {BIRD.inner_site} as {BIRD.asn};", f'local {BIRD.inner_site} as {BIRD.asn}; password "{MD5}";')):
        world.gateway.ctl("apply", world.gateway.write(doc))
        try:
            poll("the session with a password", lambda: world.gateway.bgp_established(BIRD), 40, 0.5)
            world.gateway.ctl("support-bundle", path)
        finally:
            world.gateway.ctl("apply", world.gateway.write(world.gateway.doc))
    with tarfile.open(path) as bundle:
        for member in bundle.getmembers():
            assert MD5.encode() not in bundle.extractfile(member).read(), f"{member.name} holds the password"
        running = bundle.extractfile(next(m for m in bundle.getmembers() if m.name.endswith("bgpd-running.conf"))).read()
    assert b"password <secret>" in running, running


def test_the_snapshot_is_whole(world):
    snapshot = json.loads(world.gateway.ns.run("curl", "-sf", "--unix-socket", world.gateway.socket, "http://gwd/v1/snapshot"))
    assert snapshot["version"] == 1 and snapshot["prefers"] == "circuit"
    assert {t["tunnel"]["name"] for t in snapshot["tunnels"]} == {tunnel_name(s) for s in SITES}
    sessions = {s["name"]: s for s in snapshot["sessions"]}
    for site in SITES:
        session = sessions[tunnel_name(site)]
        assert session["kind"] == "vpn tunnel" and session["max_routes"] == MAX_ROUTES and session["site"] == site.name, session
        assert int(session["routes_best"]) == len(site.prefixes), session
    assert {r["prefix"] for r in snapshot["routes"]["sample"]} >= set(BIRD.prefixes)
    assert len(snapshot["sas"]["sas"]) >= 4 and snapshot["interfaces"]["interfaces"]
    assert "psk_file" in snapshot["configuration"]


def test_what_if_a_document_ran(world):
    """Without the other site; nothing is touched."""
    before = world.gateway.json("routes", "effective")["routes"]
    doc = json.loads(json.dumps(world.gateway.doc))
    doc["sites"] = [s for s in doc["sites"] if s["name"] != OTHER.name]
    doc["connections"] = [c for c in doc["connections"] if c["name"] != connection_name(OTHER)]
    doc["vnet"]["prefixes"].append("10.70.0.0/16")
    doc["policy"] = [{"name": "no-lan", "direction": "import", "match": {"site": BIRD.name, "prefixes": [{"prefix": BIRD.prefixes[0]}]},
                      "action": "refuse"}]
    doc["connections"][0]["bgp"]["max_routes"] = 1
    path = world.gateway.etc / "new.yaml"
    path.write_text(json.dumps(doc))  # JSON is YAML
    what = world.gateway.json("routes", "what-if", "-f", path)
    assert what["sessions_gone"] == [tunnel_name(OTHER)] and what["sessions_new"] == [], what
    moves = {(m["prefix"], m["kind"], tuple(m["to"])) for m in what["moves"]}
    assert moves == {*((p, "lost", ()) for p in OTHER.prefixes), (BIRD.prefixes[0], "lost", ()), ("10.70.0.0/16", "appears", ("vnet",))}
    assert {(c["site"], c["lost"], c["prefixes"]) for c in what["cut_off"]} == {(OTHER.name, "2", "2"), (BIRD.name, "1", "2")}
    assert [(x["source"], x["family"], x["state"]) for x in what["limits"]] == [(tunnel_name(BIRD), "ipv6", "reached")], what["limits"]
    path.write_text("version: 2")
    assert "version" in world.gateway.fails("routes", "what-if", "-f", path)
    assert [r["prefix"] for r in world.gateway.json("routes", "effective")["routes"]] == [r["prefix"] for r in before]


def test_nothing_is_asked_of_a_bundle_that_is_none(world):
    with pytest.raises(LabError, match="neither a support bundle nor a snapshot"):
        world.gateway.ctl("doctor", "--bundle", world.gateway.config)
