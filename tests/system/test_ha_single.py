"""Sites with one tunnel, to gw-a's endpoint: gw-b takes the endpoint over, with its SAs and BGP sessions, and the site's IKE is not asked.
ha_lab.py has the drawing."""

import signal
import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import HaWorld, negotiated, outage
from ha_lab import GW_A, GW_B, PLAIN, SINGLE, STATIC
from lab import poll

RATE = 250
# s: bounds for a busy machine; `bench ha` has the real ones. Without graceful restart BGP has to come back first.
MOST = {SINGLE.name: 1.5, STATIC.name: 1.5, PLAIN.name: 6.0}
BFD_MS = 150
CONTROL_GRACE = 5  # s
IDS = {"argnames": "site", "argvalues": [SINGLE, STATIC, PLAIN], "ids": ["graceful", "static", "plain"]}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_single-{request.param}", ports=request.param, bfd_ms=BFD_MS) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    yield
    world.as_new()


def alarms(world) -> int:
    """How often gw-b has said that FRR's routes are not gwd's."""
    return world.of(GW_B).gwd.log.read_text().count("RoutesDiffer")


def gw_b_has_both(world):
    eventually("gw-b has both endpoints", lambda: world.of(GW_B).owned() == {GW_A.wan4, GW_B.wan4})


def goes_on(world, site, lose, after=3.0):
    before = negotiated(world, site)
    with world.load(site, rate=RATE) as load:
        time.sleep(0.5)
        lose()
        gw_b_has_both(world)
        time.sleep(after)
    assert outage(load) < MOST[site.name], "\n".join(map(str, load.results))
    assert negotiated(world, site) == before, "IKE was negotiated anew"


@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_kill_of_everything(world, site):
    goes_on(world, site, world.of(GW_A).kill)
    world.of(GW_A).revive()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_routes_that_frr_is_about_to_have_are_no_alarm(world):
    """gwd holds the site's routes until its session is open again, and knows them from bgpd before zebra does."""
    before = alarms(world)
    goes_on(world, SINGLE, world.of(GW_A).kill)
    assert alarms(world) == before, "RoutesDiffer"
    world.of(GW_A).revive()


@pytest.mark.timeout(120)
def test_a_fast_path_that_stood_still_for_a_moment_hears_the_other_instance(world):
    """Its session with gwd goes on and nobody's claims change, so that nothing is said anew by itself."""
    gw_a = world.of(GW_A)
    gw_a.ctl("ha", "drain")
    gw_b_has_both(world)
    time.sleep(0.5)
    gw_a.fastpath.signal(signal.SIGSTOP)
    time.sleep(0.6)
    gw_a.fastpath.signal(signal.SIGCONT)
    eventually("gw-a has noticed", lambda: "gw-fastpath does not answer" in gw_a.gwd.log.read_text())
    eventually("gw-a hears gw-b's packets", lambda: any(p.get("data") for p in gw_a.ha().get("peers", [])), 3)
    gw_a.ctl("ha", "undrain")
    eventually("gw-a has its endpoint again", lambda: gw_a.owned() == {GW_A.wan4}, 20)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_power_off(world):
    goes_on(world, SINGLE, world.of(GW_A).power_off)
    world.of(GW_A).power_on()


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(**IDS)
def test_stop_by_somebody_who_did_not_drain(world, site):
    """charon sends no DELETE for what the other instance has."""
    goes_on(world, site, world.of(GW_A).stop_undrained)
    world.of(GW_A).revive()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_restart_of_charon_loses_nothing(world):
    """On purpose: SIGTERM. It deletes nothing, and gets its SAs back from the other instance."""
    before = negotiated(world, STATIC)
    charon = world.of(GW_A).charon.process
    with world.load(STATIC, rate=RATE) as load:
        old = charon.pid
        charon.signal(signal.SIGTERM)
        charon.wait_restarted(old)
        time.sleep(3)
    load.assert_no_loss()
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_an_instance_without_charon_gives_its_endpoint_away(world):
    """It forwards on, so nothing is lost. charon gets back what the other one has when it is there again."""
    before = negotiated(world, STATIC)
    charon = world.of(GW_A).charon.process
    with world.load(STATIC, rate=RATE) as load:
        charon.abandon()
        charon.kill()
        charon.popen.wait(5)
        gw_b_has_both(world)
        time.sleep(1)
        charon.start()
        eventually("gw-a has its endpoint again", lambda: world.of(GW_A).owned() == {GW_A.wan4}, 30)
        time.sleep(1)
    load.assert_no_loss()
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


@pytest.mark.long
@pytest.mark.timeout(240)
def test_all_links_silent(world):
    goes_on(world, SINGLE, lambda: world.lab.unplug(GW_A))


@pytest.mark.long
@pytest.mark.timeout(240)
def test_an_instance_that_was_replaced_wakes_up(world):
    """It finds out before it sends, and gets its endpoint back when it is fit again."""
    before = negotiated(world, SINGLE)
    with world.load(SINGLE, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).pause()
        gw_b_has_both(world)
        # Here it goes home after 2 s, by default after a minute. A router that has not heard its routes again by then drops them (RFC 4724 4.2).
        world.settle_of(GW_B)
        world.of(GW_A).resume()
        eventually("gw-a has its endpoint again", lambda: world.of(GW_A).owned() == {GW_A.wan4}, 20)
        time.sleep(1)
    assert outage(load) < MOST[SINGLE.name], "\n".join(map(str, load.results))
    assert negotiated(world, SINGLE) == before, "IKE was negotiated anew"


@pytest.mark.timeout(180)
def test_without_the_sync_networks_everybody_keeps_what_is_theirs(world):
    """However long: each gw-fastpath says that its gwd is there, and a gwd that is started anew hears it from its own."""
    a, b = world.of(GW_A), world.of(GW_B)

    def claims():
        return a.owned() == {GW_A.wan4} and b.owned() == {GW_B.wan4}

    with world.load(SINGLE, rate=RATE) as load:
        world.lab.unplug(GW_A, "s0", "s1")
        for _ in range(CONTROL_GRACE + 3):
            time.sleep(1)
            assert claims()
        b.gwd.wait_restarted(b.gwd.kill())
        poll("gwd answers again", b.answers, 15)
        for _ in range(5):
            time.sleep(1)
            assert claims()
        world.lab.plug_in(GW_A, "s0", "s1")
        time.sleep(1)
    load.assert_no_loss()
    world.settle_of(GW_B)
