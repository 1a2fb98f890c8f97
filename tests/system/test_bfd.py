"""BFD in the tunnels, with BIRD's and FRR's at the other end: a path that dies silently takes its routes along long before
BGP's hold time; other sessions do not notice."""
import time

import pytest

from gateway import INSTANCE, PORT_KINDS
from lab import Site, poll
from world import World

BIRD, PLAIN, FRR = SITES = [Site(1), Site(2), Site(3)]
UP = "up 100ms x 3"
# The hold time is 30 s, and charon's dead peer detection takes several seconds: what is faster than this was BFD.
# How fast exactly is for `./dev bench`.
SOON = 3.0


def timers(site):
    return {"addresses": {INSTANCE: {"local": site.inner_gw, "peer": site.inner_site}}, "keepalive": "3s", "hold": "30s"}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_bfd-{request.param}", SITES, ports=request.param, frr=(FRR,), bfd=(BIRD, FRR),
               connections={site.name: {"bgp": {**timers(site), "bfd": {}}} for site in (BIRD, FRR)}) as ready:
        yield ready


def bfd(world, site):
    peers = world.gateway.json("show", "bgp")["peers"]
    return next(p.get("bfd", "") for p in peers if p["neighbor"] == site.inner_site)


def routes_of(world, site):
    """What gwd would send into the site's tunnel."""
    return [c for route in world.gateway.json("show", "routes")["routes"] for c in route["candidates"]
            if c["source"].startswith(site.name)]


def wait_bfd(world, site, text, seconds=15):
    poll(f"BFD with {site.name}: {text} (now: {bfd(world, site)})", lambda: bfd(world, site) == text, seconds, 0.2)


@pytest.mark.parametrize("site", [BIRD, FRR], ids=["bird", "frr"])
def test_a_router_that_speaks_bfd_is_watched(world, site):
    wait_bfd(world, site, UP)


def test_one_that_is_not_asked_is_not_watched(world):
    wait_bfd(world, PLAIN, "off")


def test_a_session_costs_nothing_while_all_is_well(world):
    for site in (BIRD, FRR):
        wait_bfd(world, site, UP)
    with world.probes.load(rate=200) as load:
        time.sleep(3)
    load.assert_no_loss()


@pytest.mark.parametrize("site", [BIRD, FRR], ids=["bird", "frr"])
def test_a_tunnel_that_dies_silently_loses_its_routes_at_once(world, site):
    wait_bfd(world, site, UP)
    office = world.offices[site.name]
    since = world.offices[PLAIN.name].router.lasting_session()
    office.vpn.die()
    start = time.monotonic()
    poll("the routes are gone", lambda: not routes_of(world, site), SOON, 0.02)
    print(f"{site.name}: routes gone after {(time.monotonic() - start) * 1000:.0f} ms")
    peer = next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == site.inner_site)
    assert "BFD" in peer.get("last_error", ""), peer
    world.offices[PLAIN.name].router.assert_uninterrupted_since(since)
    office.vpn.start()
    world.wait_up(site, 40)
    wait_bfd(world, site, UP)


def test_it_can_be_switched_off_and_on(world):
    """BIRD ends its BGP session when the other end's BFD says AdminDown, which RFC 5882 4.2 asks it not to; it comes back."""
    wait_bfd(world, BIRD, UP)
    since = world.offices[PLAIN.name].router.lasting_session()
    doc = world.gateway.doc
    connection = next(c for c in doc["connections"] if c["device"] == f"{BIRD.name}/ce1")
    bfd = connection["bgp"].pop("bfd")
    world.gateway.ctl("apply", world.gateway.write(doc))
    wait_bfd(world, BIRD, "off")
    world.wait_up(BIRD)
    connection["bgp"]["bfd"] = bfd
    world.gateway.ctl("apply", world.gateway.write(doc))
    wait_bfd(world, BIRD, UP)
    world.wait_up(BIRD)
    world.offices[PLAIN.name].router.assert_uninterrupted_since(since)
