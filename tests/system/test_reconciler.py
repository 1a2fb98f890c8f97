"""FRR's routes against gwd's: what somebody does to FRR behind gwd's back is noticed within two seconds, said, and healed where
asking bgpd again is enough; forwarding never notices."""
import pytest

from gateway import tunnel_name
from lab import Site, poll
from world import World

SITE, OTHER = SITES = [Site(1), Site(2)]
SOON = 4.0  # s: a second of quiet, FRR's own 60 ms, and a machine that does something else, too


@pytest.fixture(scope="module")
def world():
    with World("test_reconciler", SITES) as ready:
        yield ready


def trouble(world):
    return world.gateway.zebra().get("problem", "")


def wait_same(world, seconds=SOON):
    world.gateway.wait_routes_as_in_frr(seconds)


def differences(world):
    line = next(line for line in world.gateway.metrics().splitlines() if line.startswith("gw_route_differences{"))
    return float(line.split()[-1])


def alarms(world):
    return world.gateway.gwd.log.read_text().count("RoutesDiffer")


def bgpd(world, *lines):
    world.gateway.frr.vtysh("conf t", "router bgp 65515", *lines)


def deny(world, site):
    """A route-map of somebody else's, applied."""
    world.gateway.frr.vtysh("conf t", "route-map SOMEBODY deny 10")
    bgpd(world, "address-family ipv4 unicast", f"neighbor {site.inner_site} route-map SOMEBODY in")
    world.gateway.frr.vtysh(f"clear bgp ipv4 unicast {site.inner_site} soft in")


@pytest.fixture
def undone(world):
    wait_same(world, 20)
    with world.probes.load(rate=200) as load:
        yield
    load.assert_no_loss()
    bgpd(world, "address-family ipv4 unicast", f"no neighbor {SITE.inner_site} route-map SOMEBODY in")
    world.gateway.frr.vtysh("conf t", "no route-map SOMEBODY")
    world.gateway.frr.vtysh("clear bgp ipv4 unicast * soft in")
    wait_same(world, 20)


def test_healthy_sides_are_the_same(world):
    wait_same(world, 20)
    assert differences(world) == 0
    assert world.gateway.zebra()["detail"] == f"{sum(len(s.prefixes) for s in SITES)} routes"


def test_what_frr_lost_is_said(world, undone):
    deny(world, SITE)
    poll("the alarm is there", lambda: trouble(world), SOON, 0.05)
    text = trouble(world)
    assert "RoutesDiffer" in text and SITE.prefixes[0] in text and "missing" in text, text
    assert f"gwd: {world.gateway.tunnel(SITE)['device']}; FRR: no route" in text, text
    assert differences(world) == 1
    assert tunnel_name(OTHER) not in text
    # Nothing that gwd may do heals this; the session is left alone, for bgpd has no route that it forgot to choose.
    since = world.offices[SITE.name].router.session_since()
    poll("gwd has asked bgpd to look again", lambda: "asked to look at all routes again" in world.gateway.gwd.log.read_text(), 8)
    assert trouble(world)
    world.offices[SITE.name].router.assert_uninterrupted_since(since)


def test_what_bgpd_only_has_to_look_at_again_is_healed(world, undone):
    """With `route-map delay-timer 0` a changed route-map is applied when bgpd is asked to, not before: here nobody asked."""
    before = alarms(world)
    deny(world, SITE)
    world.gateway.frr.vtysh("conf t", "no route-map SOMEBODY deny 10")
    world.gateway.frr.vtysh("conf t", "route-map SOMEBODY permit 10")
    poll("the alarm was there", lambda: alarms(world) > before, SOON, 0.05)
    wait_same(world, 15)


def test_zebra_starts_anew(world):
    """Its routes are compared again when they are all there; that they were away for a moment is no alarm."""
    wait_same(world, 20)
    before = alarms(world)
    process = world.gateway.frr.processes["zebra"]
    process.wait_restarted(process.kill())
    poll("zebra is connected again", lambda: world.gateway.zebra()["connected"], 20, 0.2)
    wait_same(world, 30)
    assert alarms(world) == before
