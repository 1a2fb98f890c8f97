"""Half of an instance is dead: its data path while its gwd lives, or gwd, charon and FRR while its data path lives. Sites with a tunnel to
each instance and sites with one. ha_lab.py has the drawing."""

import json
import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import HaWorld, negotiated, outage
from ha_lab import DUAL, GW_A, GW_B, SINGLE, STATIC
from lab import poll

SITES = (DUAL, SINGLE, STATIC)
IDS = {"argnames": "site", "argvalues": SITES, "ids": ["dual", "graceful", "static"]}
RATE = 125
BFD_MS, MOST = 150, 1.5  # s: a bound for a busy machine; `bench ha` has the real ones
BOTH = {GW_A.wan4, GW_B.wan4}
CONTROL_GRACE = 5  # s


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_half-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=SITES) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    yield
    world.as_new()


def ike_sas(world, site) -> list[str]:
    return [negotiated(world, site, instance) for instance in site.tunnels_to]


def gw_b_has_both(world):
    eventually("gw-b has both endpoints", lambda: world.of(GW_B).owned() == BOTH)


def goes_on(world, site, lose):
    before = ike_sas(world, site)
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        lose()
        gw_b_has_both(world)
        time.sleep(3)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    world.settle_of(GW_B)
    assert ike_sas(world, site) == before, "IKE was negotiated anew"


def established(gateway) -> dict[str, int]:
    """When each of its BGP sessions was opened: Unix time, as bgpd counts back to it, a second more or less."""
    return {peer: told["bgpTimerUpEstablishedEpoch"] for peer, told in json.loads(gateway.frr.vtysh("show bgp neighbors json")).items()
            if told.get("bgpState") == "Established"}


@pytest.mark.parametrize(**IDS)
def test_a_gwd_that_is_started_anew_touches_nothing(world, site):
    """It learns what gw-fastpath has before it orders anything: endpoints, devices and BGP sessions stay."""
    gateway = world.of(GW_A)
    before, sessions = ike_sas(world, site), established(gateway)
    assert len(sessions) >= 3
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        gateway.gwd.wait_restarted(gateway.gwd.kill())
        poll("gwd answers again", gateway.answers, 15)
        eventually("gw-a has its endpoint", lambda: gateway.owned() == {GW_A.wan4})
        time.sleep(4)
    load.assert_no_loss()
    assert established(gateway) == pytest.approx(sessions, abs=2)
    assert ike_sas(world, site) == before, "IKE was negotiated anew"


@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_the_data_path_dies_and_gwd_lives(world, site):
    """gw-fastpath is gone and nobody starts it again: gwd gives away what it has."""
    goes_on(world, site, world.of(GW_A).lose_fastpath)


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_the_data_path_hangs_and_gwd_lives(world, site):
    """It is there and does nothing. When it goes on it finds out that it was replaced, and sends nothing."""
    gateway = world.of(GW_A)
    goes_on(world, site, gateway.hang_fastpath)
    gateway.hang_fastpath(False)


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_control_dies_and_the_data_path_lives(world, site):
    """Nothing is lost by that, and nothing moves: gwd may be back in a moment, so the other instance waits (control_grace)."""
    before = ike_sas(world, site)
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).lose_control()
        time.sleep(4)
        assert world.of(GW_B).owned() == {GW_B.wan4}
    if site is not DUAL:  # its router and the VNet's turn to gw-b, each when it hears of it
        load.assert_no_loss()
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    assert ike_sas(world, site) == before, "IKE was negotiated anew"


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_control_that_stays_dead_is_replaced(world, site):
    """After control_grace, and before the DPD of the site has sent its last question (the lab's: 7.1 s after the first), for charon is dead
    as well."""
    before = ike_sas(world, site)
    with world.load(site, rate=RATE) as load:
        world.of(GW_A).lose_control()
        time.sleep(CONTROL_GRACE - 3)
        assert world.of(GW_B).owned() == {GW_B.wan4}, "nothing moves before"
        poll("gw-b has both endpoints", lambda: world.of(GW_B).owned() == BOTH, 6, 0.1)
        time.sleep(10)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    world.settle_of(GW_B)
    assert ike_sas(world, site) == before, "IKE was negotiated anew"
