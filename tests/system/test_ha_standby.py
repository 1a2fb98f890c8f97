"""Active/standby: one instance has the endpoints of both, the other one holds what it needs to take them over. Which it is, and whether
there is one at all, changes by a commit under traffic, and loses nothing. ha_lab.py has the drawing."""

import time

import pytest

from coexistence import eventually
from coexistence_lab import VNET_ROUTER
from gateway import PORT_KINDS
from ha import HaWorld, negotiated, outage
from ha_lab import GW_A, GW_B, INSTANCES, SINGLE, STATIC, DualSite
from lab import poll
from nonce_checker import NonceChecker



class BothTunnelsToOne(DualSite):
    """Its two tunnels move together: its BFD waits for that, as that of a site with one tunnel."""

    bfd_ms = 300


DUAL = BothTunnelsToOne(1)
SITES = (DUAL, SINGLE, STATIC)
BOTH = {GW_A.wan4, GW_B.wan4}
RATE = 125  # packets a second of each flow; there are four each way
BFD_MS, MOST = 150, 1.5  # s: a bound for a busy machine; `bench ha` has the real ones
STANDBY = {"mode": "active-standby", "preferred": GW_A.name}
# Who is preferred; none: each has its own. Every change between two of them is there, and the other instance commits each second one.
MODES = [{"mode": "active-standby", "preferred": GW_B.name}, {"mode": "active-active"}, STANDBY, {"mode": "active-active"},
         {"mode": "active-standby", "preferred": GW_B.name}, STANDBY]


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_standby-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=SITES, **STANDBY) as ready:
        ready.settle_all()
        yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    yield
    world.as_new()


def all_ike_sas(world) -> list[str]:
    return [negotiated(world, site, instance) for site in SITES for instance in site.tunnels_to]


def established(world, instance) -> set[str]:
    return {peer for peer, state in world.of(instance).sessions().items() if state == "Established"}


@pytest.mark.timeout(240)
def test_the_preferred_one_has_all_and_the_other_is_ready(world):
    for instance in INSTANCES:
        shown = world.of(instance).ha()
        assert (shown["mode"], shown["preferred"]) == ("active-standby", GW_A.name)
        assert {(e["address"], e["owner"], e["preferred"]) for e in shown["endpoints"]} == {(a, GW_A.name, GW_A.name) for a in BOTH}
        assert "active-standby, gw-a preferred" in world.of(instance).ctl("ha", "show")
    assert established(world, GW_B) == {VNET_ROUTER, GW_A.vnet4}, "tunnels are where their endpoint is"
    for site in SITES:
        assert world.vnet.next_hops(site.prefixes[0]) == {GW_A.vnet4}
    peer, = world.of(GW_A).ha()["peers"]
    assert peer["has_all_of_ours"] and not peer.get("unfit"), "it could take over"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("site", [DUAL, SINGLE, STATIC], ids=["dual", "single", "static"])
def test_the_standby_takes_all_and_gives_it_back(world, site):
    before = all_ike_sas(world)
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).kill()
        eventually("gw-b has both endpoints", lambda: world.of(GW_B).owned() == BOTH)
        time.sleep(3)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    world.settle_of(GW_B)
    with world.load(site, rate=RATE) as returning:
        world.of(GW_A).revive()
        eventually("gw-a has both endpoints", lambda: world.of(GW_A).owned() == BOTH, 40)
        time.sleep(1)
    returning.assert_no_loss()
    assert all_ike_sas(world) == before, "IKE was negotiated anew"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_without_the_standby_nothing_is_lost(world):
    before = all_ike_sas(world)
    with world.load(DUAL, rate=RATE) as dual, world.load(STATIC, rate=RATE) as static:
        time.sleep(0.5)
        world.of(GW_B).kill()
        time.sleep(3)
        world.of(GW_B).revive()
        eventually("gw-b could take over again", lambda: any(p.get("has_all_of_ours") for p in world.of(GW_A).ha().get("peers", [])), 30)
    for load in (dual, static):
        load.assert_no_loss()
    assert all_ike_sas(world) == before, "IKE was negotiated anew"


@pytest.mark.long  # as all that counts every packet of a pair: a starved machine loses some
@pytest.mark.timeout(300)
def test_a_commit_changes_the_mode_and_loses_nothing(world):
    before = all_ike_sas(world)
    with NonceChecker([(world.lab.ns["wan"].name, "eth0")]) as nonces, \
            world.load(DUAL, rate=RATE) as dual, world.load(SINGLE, rate=RATE) as single, world.load(STATIC, rate=RATE) as static:
        time.sleep(0.5)
        for n, mode in enumerate(MODES):
            world.commit(INSTANCES[n % 2], **mode)
            poll(f"endpoints are as in {mode}", world.all_at_home, 30, 0.05)
            world.settle()  # a site's router whose session is not open again has no graceful restart to offer
            time.sleep(1)
    for load in (dual, single, static):
        load.assert_no_loss()
    nonces.verify(at_least=1000)
    assert nonces.duplicate_sequences == 0
    assert all_ike_sas(world) == before, "IKE was negotiated anew"
