"""A session that goes down takes its routes along, and bgpd 10.3 stops telling BMP what other sessions say after that
(docs/findings/frr.md, "BMP stands still"). gwd opens the stream anew: the others are heard, and nobody notices. The peers are
speakers of ours; the third site is a real router with traffic."""
import itertools
import time

import pytest

from bgp_speaker import Route, of_site, update
from lab import Site, poll
from world import World

STEADY, LOST, REAL = SITES = [Site(1), Site(2), Site(3)]
KEPT, TAKEN_BACK = "10.66.0.0/16", "10.67.0.0/16"
OPEN = []
SOON = 2.0  # s: 150 ms, 100 ms until bgpd connects again, and a machine that does something else, too


@pytest.fixture(scope="module")
def world():
    with World("test_lost_sessions", SITES) as ready:
        for site in (STEADY, LOST):
            ready.offices[site.name].router.process.stop()
        yield ready


@pytest.fixture(autouse=True)
def the_real_site_notices_nothing(world):
    router = world.offices[REAL.name].router
    since = router.lasting_session()
    with world.probes.load(REAL, rate=200) as load:
        yield
    while OPEN:
        OPEN.pop().close()
    load.assert_no_loss()
    router.assert_uninterrupted_since(since)


def speaker(world, site, prefixes):
    peer = of_site(world.lab, site)
    OPEN.append(peer)
    peer.send(b"".join(update(prefix, Route((site.asn,)), site.inner_site) for prefix in prefixes))
    poll(f"{len(prefixes)} routes of {site.name}", lambda: learned(world, site) == set(prefixes), 20, 0.1)
    return peer


def learned(world, site):
    return set(world.gateway.heard_from(site))


def some(count):
    return [f"10.{70 + i // 256}.{i % 256}.0/24" for i in range(count)]


def reopened(world):
    return world.gateway.gwd.log.read_text().count("is opened anew")


@pytest.mark.parametrize("routes", [8, 3000])
def test_what_another_session_says_is_heard(world, routes):
    lost, steady = speaker(world, LOST, some(routes)), speaker(world, STEADY, [KEPT, TAKEN_BACK])
    differed = world.gateway.gwd.log.read_text().count("RoutesDiffer")
    lost.close()
    time.sleep(0.3)  # bgpd has let go of its routes
    steady.send(update(TAKEN_BACK, None, STEADY.inner_site))
    poll(f"{TAKEN_BACK} is withdrawn", lambda: learned(world, STEADY) == {KEPT}, SOON, 0.05)
    assert not learned(world, LOST)
    assert world.gateway.gwd.log.read_text().count("RoutesDiffer") == differed
    steady.close()


def test_a_session_that_ends_in_between_is_missed(world):
    """It goes down while bgpd is not connected: nobody says so, and it is not there when the others are told."""
    for moment in (0.17, 0.21, 0.25):
        lost, steady = speaker(world, LOST, some(8)), speaker(world, STEADY, [KEPT])
        lost.close()
        time.sleep(moment)
        steady.close()
        poll("both have lost their routes", lambda: not learned(world, LOST) and not learned(world, STEADY), 6, 0.1)
        time.sleep(1.2)


def test_a_session_that_flaps_does_not_keep_bgpd_busy(world):
    before, start = reopened(world), time.monotonic()
    for _ in itertools.takewhile(lambda _: time.monotonic() < start + 8, itertools.count()):
        speaker(world, LOST, some(8)).close()
    assert 1 <= reopened(world) - before <= time.monotonic() - start + 1
