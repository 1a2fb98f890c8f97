"""Endpoints that move by BGP: the wan's router hears from whoever has one, and nothing else. ha_bgp.py has the drawing."""

import copy
import json
import re
import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import negotiated, outage
from ha_bgp import LEAKS, BgpWorld, endpoint6, host_route, own4, own6
from ha_lab import DUAL, GW_A, GW_B, INSTANCES, SINGLE
from lab import poll

pytestmark = pytest.mark.timeout(240)
RATE = 125  # packets a second of each flow; there are four each way
BFD_MS = 150
MOST = 1.5  # s, of a takeover on a busy machine; `bench ha` has the real ones
MOST_BOTH = 1.5  # s: the old owner of an endpoint withdraws it a second after it was handed over
FIRST_MED = 4_000_000_000
ENDPOINTS = [GW_A.wan4, endpoint6(GW_A)]


@pytest.fixture(scope="module", params=[PORT_KINDS[0], pytest.param(PORT_KINDS[1], marks=pytest.mark.long)])
def world(request):
    with BgpWorld(f"test_ha_bgp-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=(DUAL, SINGLE),
                  ha={"failback": "manual", "heartbeat": f"{BFD_MS}ms"}) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def at_home(world):
    yield
    world.restore_all()
    for instance in INSTANCES:
        for address in world.endpoints(instance):
            if address not in world.of(instance).owned():
                poll(f"{instance.name} answers", lambda i=instance: world.of(i).ha(), 20)
                world.of(instance).ctl("ha", "takeover", address)
    world.settle_all()


def move(world, address, source, target):
    world.of(source).ctl("ha", "move", address, target.name)
    poll(f"{target.name} has {address}", lambda: address in world.of(target).owned(), 20, 0.02)


def own(address, instance):
    return (own6 if ":" in address else own4)(instance)


# --- what is said, and what is not -----------------------------------------------------------------------


def test_the_router_hears_endpoints_and_nothing_else(world):
    for instance in INSTANCES:
        for family, address in zip((4, 6), world.endpoints(instance)):
            told = world.router.received(instance, family)
            assert set(told) == {host_route(address)}, f"{instance.name} by IPv{family}"
            path = world.router.path(address)
            assert path["aspath"]["string"] == "65515" and not path.get("community"), path
            assert FIRST_MED - 2**20 < path["metric"] <= FIRST_MED, path


def test_nobody_else_is_told_an_endpoint(world):
    endpoints = {host_route(a) for i in INSTANCES for a in world.endpoints(i)}
    for instance in INSTANCES:
        gateway = world.of(instance)
        for peer in gateway.json("show", "bgp")["peers"]:
            if peer["state"] == "Established" and peer["kind"] != "wan":
                assert not endpoints & gateway.told(peer["neighbor"]), f"{instance.name} tells {peer['source']}"
    assert not endpoints & set(world.vnet.routes())


def test_who_hears_an_endpoint_is_shown(world):
    for instance in INSTANCES:
        gateway, metrics = world.of(instance), world.of(instance).metrics()
        announced = {e["address"]: e.get("announced_to", []) for e in gateway.ha()["endpoints"]}
        own_addresses = world.endpoints(instance)
        assert announced == {address: [f"wan:edge{6 if ':' in address else 4}/{instance.name}"] if address in own_addresses else []
                             for other in INSTANCES for address in world.endpoints(other)}
        for address, sessions in announced.items():
            assert re.search(rf'gw_ha_endpoint_announced_sessions{{address="{re.escape(address)}",.*}} {len(sessions)}\n', metrics)
        assert f"announced to {announced[own_addresses[0]][0]}" in gateway.ctl("ha", "show")


def test_nothing_is_learned_on_the_wan(world):
    """The router says a default route and a site's network, in its sessions."""
    for instance in INSTANCES:
        gateway = world.of(instance)
        for family in (4, 6):
            said = world.router.frr.vtysh(f"show bgp ipv{family} unicast neighbors {(own6 if family == 6 else own4)(instance)} advertised-routes")
            assert all(prefix in said for prefix in LEAKS[family]), said
        peers = {p["source"]: p for p in gateway.json("show", "bgp")["peers"]}
        assert peers[f"wan:edge4/{instance.name}"]["kind"] == "wan"
        assert not peers[f"wan:edge4/{instance.name}"].get("routes_received")
        for family in (4, 6):
            table = json.loads(gateway.frr.vtysh(f"show bgp ipv{family} unicast json"))["routes"]
            assert not [p for paths in table.values() for p in paths if p.get("peerId") in ("192.0.2.1", "2001:db8:1::1")]
        assert LEAKS[4][0] not in {r["prefix"] for r in gateway.json("show", "routes")["routes"]}
        assert " proto bgp" not in gateway.ns.run("ip", "route", "show", "default")
    for instance in INSTANCES:
        world.of(instance).wait_routes_as_in_frr()


# --- moves -----------------------------------------------------------------------------------------------


def both(heard, first, second) -> float:
    """Seconds for which both announced it, in a move from one to the other."""
    begun = next(h.at for h in heard if h.peer == second and h.announced)
    ended = next(h.at for h in heard if h.peer == first and not h.announced)
    return ended - begun


@pytest.mark.parametrize("site", [SINGLE, DUAL], ids=["single", "dual"])
def test_a_planned_move_loses_nothing(world, site):
    before, begun = negotiated(world, site), time.time()
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        move(world, GW_A.wan4, GW_A, GW_B)
        eventually("the router sends to gw-b", lambda: world.leads_to(GW_A.wan4, GW_B))
        world.settle()
        time.sleep(1)
        move(world, GW_A.wan4, GW_B, GW_A)
        eventually("the router sends to gw-a", lambda: world.leads_to(GW_A.wan4, GW_A))
        time.sleep(1)
    load.assert_no_loss()
    assert negotiated(world, site) == before, "IKE was negotiated anew"
    heard = world.router.heard_of(GW_A.wan4, begun)
    assert [(h.peer, h.announced) for h in heard] == [
        (own4(GW_B), True), (own4(GW_A), False), (own4(GW_A), True), (own4(GW_B), False)], heard
    assert 0 < both(heard, own4(GW_A), own4(GW_B)) < MOST_BOTH, heard
    assert 0 < both(heard[2:], own4(GW_B), own4(GW_A)) < MOST_BOTH, heard


def test_an_ipv6_endpoint_moves_alone(world):
    begun = time.time()
    move(world, endpoint6(GW_A), GW_A, GW_B)
    eventually("the router sends to gw-b", lambda: world.leads_to(endpoint6(GW_A), GW_B))
    eventually("gw-a has withdrawn it", lambda: not world.router.received(GW_A, 6))
    assert world.leads_to(GW_A.wan4, GW_A)
    assert not world.router.heard_of(GW_A.wan4, begun)
    heard = world.router.heard_of(endpoint6(GW_A), begun)
    assert [(h.peer, h.announced) for h in heard] == [(own6(GW_B), True), (own6(GW_A), False)], heard


def test_drain_and_undrain_lose_nothing(world):
    with world.load(SINGLE, rate=RATE) as load:
        world.of(GW_A).ctl("ha", "drain")
        poll("gw-b has all", lambda: world.of(GW_B).owned() >= set(ENDPOINTS), 20)
        eventually("gw-a announces nothing", lambda: not world.router.received(GW_A, 4) and not world.router.received(GW_A, 6))
        world.settle()
        time.sleep(1)
        world.of(GW_A).ctl("ha", "undrain")
        poll("gw-a has its own again", lambda: world.of(GW_A).owned() == set(ENDPOINTS), 20)
        time.sleep(1)
    load.assert_no_loss()


def takeover(world, lose) -> list:
    before, begun = negotiated(world, SINGLE), time.time()
    with world.load(SINGLE, rate=RATE) as load:
        time.sleep(0.5)
        lose()
        eventually("gw-b has all", lambda: world.of(GW_B).owned() >= set(ENDPOINTS))
        for address in ENDPOINTS:
            eventually(f"the router sends {address} to gw-b", lambda a=address: world.leads_to(a, GW_B))
        time.sleep(3)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    assert negotiated(world, SINGLE) == before, "IKE was negotiated anew"
    return world.router.heard_of(GW_A.wan4, begun)


def test_kill_of_everything(world):
    """gw-a offered graceful restart: the router keeps its announcement as stale, and prefers the newer claim's."""
    heard = takeover(world, world.of(GW_A).kill)
    assert [(h.peer, h.announced) for h in heard][:1] == [(own4(GW_B), True)], heard
    world.of(GW_A).revive()
    eventually("gw-a is back and announces nothing", lambda: world.of(GW_A).ha() and not world.router.received(GW_A, 4), 30)
    assert world.leads_to(GW_A.wan4, GW_B)


@pytest.mark.long
def test_power_off(world):
    takeover(world, world.of(GW_A).power_off)
    world.of(GW_A).power_on()


@pytest.mark.long
def test_all_links_silent(world):
    takeover(world, lambda: world.lab.unplug(GW_A))


# --- what does not move anything -------------------------------------------------------------------------


def test_a_restart_of_gwd_withdraws_nothing(world):
    gateway, begun = world.of(GW_A), time.time()
    gateway.gwd.wait_restarted(gateway.gwd.kill())
    poll("gwd answers again", gateway.answers, 15)
    eventually("gw-a has its endpoints", lambda: gateway.owned() == set(ENDPOINTS))
    time.sleep(3)
    for address in ENDPOINTS:
        assert not [h for h in world.router.heard_of(address, begun) if not h.announced]


def test_a_restart_of_bgpd_loses_nothing(world):
    """The router keeps what it was told (graceful restart), and bgpd comes back with it."""
    gateway, begun = world.of(GW_A), time.time()
    with world.load(SINGLE, rate=RATE) as load:
        bgpd = gateway.bgpd()
        bgpd.wait_restarted(bgpd.kill())
        eventually("the router hears it again", lambda: world.router.heard_of(GW_A.wan4, begun), 45)
        world.settle()
        time.sleep(1)
    load.assert_no_loss()
    assert world.leads_to(GW_A.wan4, GW_A)
    assert all(h.announced for h in world.router.heard_of(GW_A.wan4, begun))


def test_a_session_that_was_reset_hears_it_again(world):
    begun = time.time()
    world.router.frr.vtysh(f"clear bgp {own4(GW_A)}")
    eventually("the router hears it again", lambda: any(h.peer == own4(GW_A) for h in world.router.heard_of(GW_A.wan4, begun)), 20)
    assert not world.alarms(GW_A)


def test_an_endpoint_that_is_announced_to_nobody_is_an_alarm(world):
    world.router.shut(GW_A)
    for address, edge in zip(ENDPOINTS, ("edge4", "edge6")):
        eventually(f"an alarm for {address}", lambda a=address, e=edge: f"announced to nobody: wan:{e}/gw-a is" in world.alarms(GW_A).get(a, ""), 20)
    assert not world.alarms(GW_B)
    world.router.shut(GW_A, off=False)
    eventually("the alarms end", lambda: not world.alarms(GW_A), 20)
    for address in ENDPOINTS:
        eventually("the router hears it", lambda a=address: world.leads_to(a, GW_A), 20)


def test_a_commit_changes_how_an_endpoint_moves(world):
    """The IPv6 one, which no site needs: by a neighbour advertisement, and by BGP again."""
    gateway = world.of(GW_A)
    doc = copy.deepcopy(gateway.doc)
    doc["gateway"]["instances"][0]["wan"]["endpoints"][1]["move"] = "garp"
    with world.load(SINGLE, rate=RATE) as load:
        gateway.ctl("apply", gateway.write(doc))
        eventually("it is withdrawn", lambda: not world.router.received(GW_A, 6))
        assert set(world.router.received(GW_A, 4)) == {host_route(GW_A.wan4)}
        gateway.ctl("apply", gateway.write(gateway.doc))
        eventually("it is announced", lambda: set(world.router.received(GW_A, 6)) == {host_route(endpoint6(GW_A))})
        time.sleep(1)  # packets that might be lost
    load.assert_no_loss()
    assert gateway.owned() == set(ENDPOINTS)
