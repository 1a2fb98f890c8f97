"""Two instances, and a site with a tunnel to each: BGP and BFD take its traffic to the one that lives. Sites with one
tunnel are there, too: test_ha_single.py. ha_lab.py has the drawing."""

import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import HaWorld, outage
from ha_lab import DUAL, GW_A, GW_B, STATIC
from lab import poll

D = DUAL.prefixes[0]
# s. BFD needs 450 ms to notice, bgpd, zebra and BIRD some more; the machine of a test run is busy.
BFD_MS, MOST = 150, 1.5
RATE = 250
MOVE = 0.05  # s: gw-a's endpoint goes home when gw-a is back


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_dual-{request.param}", ports=request.param, bfd_ms=BFD_MS) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    yield
    world.as_new()


def survives(world, lose, bring_back, after: float = 2.0):
    """Traffic of the dual site goes on, next to nothing is lost when the instance is back."""
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(0.5)
        lose()
        time.sleep(after)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    eventually("rs1 sends all to gw-b", lambda: world.vnet.next_hops(D) == {GW_B.vnet4})
    eventually("gw-b has its own way to the site", lambda: "site1-ce1/gw-b" in world.of(GW_B).best(D))
    with world.load(DUAL, rate=RATE) as load:
        bring_back()
    assert outage(load) <= MOVE, "\n".join(map(str, load.results))


@pytest.mark.timeout(180)
def test_kill_of_everything(world):
    survives(world, world.of(GW_A).kill, lambda: world.bring_back(GW_A))


@pytest.mark.long
@pytest.mark.timeout(180)
def test_power_off(world):
    survives(world, world.of(GW_A).power_off, lambda: world.bring_back(GW_A, "power_on"))


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("networks", [(), ("wan",)], ids=["all", "wan"])
def test_links_go_silent(world, networks):
    def back():
        world.lab.plug_in(GW_A, *networks)
        world.settle_all()
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(0.5)
        world.lab.unplug(GW_A, *networks)
        time.sleep(2)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    with world.load(DUAL, rate=RATE) as load:
        back()
    assert outage(load) <= MOVE, "\n".join(map(str, load.results))


@pytest.mark.long
@pytest.mark.timeout(180)
def test_pause_and_resume(world):
    """Everything on an instance stands still for a second, as a machine that is moved to another host."""
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).pause()
        time.sleep(1)
        world.of(GW_A).resume()
        time.sleep(1)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    world.settle_all()


def stopped(world, stop) -> float:
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(0.5)
        stop()
        time.sleep(1)
    eventually("rs1 sends all to gw-b", lambda: world.vnet.next_hops(D) == {GW_B.vnet4})
    with world.load(DUAL, rate=RATE) as returning:
        world.bring_back(GW_A)
    assert outage(returning) <= MOVE, "\n".join(map(str, returning.results))
    return outage(load)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_planned_stop(world):
    assert stopped(world, world.of(GW_A).stop) <= MOVE


@pytest.mark.long
@pytest.mark.timeout(180)
def test_stop_by_somebody_who_did_not_drain(world):
    """charon says nothing to the sites: the other instance takes over SAs that they still have."""
    assert stopped(world, world.of(GW_A).stop_undrained) < MOST


@pytest.mark.long
def test_the_sync_networks_carry_no_traffic_of_sites(world):
    with world.load(DUAL, rate=RATE) as load:
        world.lab.unplug(GW_A, "s0", "s1")
        time.sleep(1)
        world.lab.plug_in(GW_A, "s0", "s1")
        poll("still there", lambda: world.pings("host", DUAL.host4), 5)
    load.assert_no_loss()


@pytest.mark.long
def test_a_gwd_that_was_started_anew_knows_which_tunnels_are_down(world):
    """gw-b has a tunnel to the static site in its document that nobody opens: it must not attract that site's traffic."""
    gateway = world.of(GW_B)
    with world.load(STATIC, rate=RATE) as load:
        gateway.gwd.wait_restarted(gateway.gwd.kill())
        poll("gwd answers again", gateway.answers, 15)
        time.sleep(3)
        assert world.vnet.next_hops(STATIC.prefixes[0]) == {GW_A.vnet4}
    load.assert_no_loss()
