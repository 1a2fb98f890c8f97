"""BFD in the tunnels, with BIRD's and FRR's at the other end and with none: a path that dies silently takes its routes along
long before BGP's hold time; other sessions do not notice; a router without BFD is on BGP's timers."""
import json
import time

import pytest

from gateway import INSTANCE, PORT_KINDS
from lab import Site, poll
from peers import same_moment
from world import World

BIRD, PLAIN, FRR = SITES = [Site(1), Site(2), Site(3)]
UP, UNANSWERED = "up 100ms x 3", "not answered"
# The hold time is 30 s, and charon's dead peer detection takes several seconds: what is faster than this was BFD.
# How fast exactly is for `./dev bench`.
SOON = 3.0
DETACHED = 10.0  # s in which a session whose BFD alone is broken is back on timers


def timers(site):
    return {"addresses": {INSTANCE: {"local": site.inner_gw, "peer": site.inner_site}}, "keepalive": "3s", "hold": "30s"}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_bfd-{request.param}", SITES, ports=request.param, frr=(FRR,), bfd=(BIRD, FRR),
               connections={site.name: {"bgp": timers(site)} for site in SITES}) as ready:
        yield ready


def peer(world, site):
    peers = world.gateway.json("show", "bgp")["peers"]
    return next(p for p in peers if p["neighbor"] == site.inner_site)


def bfd(world, site):
    return peer(world, site).get("bfd", "")


def watched(world, site):
    """bgpd will end the session when BFD goes down."""
    return any(line.startswith(f" neighbor {site.inner_site} bfd")
               for line in world.gateway.frr.vtysh("show running-config").splitlines())


def routes_of(world, site):
    """What gwd would send into the site's tunnel."""
    return [c for route in world.gateway.json("show", "routes")["routes"] for c in route["candidates"]
            if c["source"].startswith(site.name)]


def wait_bfd(world, site, text, seconds=15):
    poll(f"BFD with {site.name}: {text} (now: {bfd(world, site)})", lambda: bfd(world, site) == text, seconds, 0.2)


def wait_watched(world, site):
    wait_bfd(world, site, UP)
    poll(f"bgpd watches the BFD of {site.name}", lambda: watched(world, site), 5)


@pytest.mark.parametrize("site", [BIRD, FRR], ids=["bird", "frr"])
def test_a_router_that_speaks_bfd_is_watched(world, site):
    wait_watched(world, site)


def test_one_that_does_not_answer_is_on_timers(world):
    """Its session came up, and stays up, although BFD is asked for: bgpd is not told to wait for it."""
    since = world.offices[PLAIN.name].router.lasting_session()
    wait_bfd(world, PLAIN, UNANSWERED)
    assert not watched(world, PLAIN)
    world.offices[PLAIN.name].router.assert_uninterrupted_since(since)


def test_a_session_costs_nothing_while_all_is_well(world):
    for site in (BIRD, FRR):
        wait_watched(world, site)
    with world.probes.load(rate=200) as load:
        time.sleep(3)
    load.assert_no_loss()


@pytest.mark.parametrize("site", [BIRD, FRR], ids=["bird", "frr"])
def test_a_tunnel_that_dies_silently_loses_its_routes_at_once(world, site):
    wait_watched(world, site)
    office = world.offices[site.name]
    since = world.offices[PLAIN.name].router.lasting_session()
    office.vpn.die()
    start = time.monotonic()
    poll("the routes are gone", lambda: not routes_of(world, site), SOON, 0.02)
    print(f"{site.name}: routes gone after {(time.monotonic() - start) * 1000:.0f} ms")
    assert "BFD" in peer(world, site).get("last_error", ""), peer(world, site)
    world.offices[PLAIN.name].router.assert_uninterrupted_since(since)
    office.vpn.start()
    world.wait_up(site, 40)
    wait_watched(world, site)


def test_where_only_bfd_is_broken_the_session_comes_back_on_timers(world):
    """A path that BFD calls dead is dead until BGP shows otherwise; when BFD is back, it watches again. (FRR as the site's
    router would insist on its BFD and stay down.)"""
    site = BIRD
    wait_watched(world, site)
    ns = world.lab.ns[site.name]
    ns.run("nft", "-f", "-", stdin="""
        table inet nobfd {
          chain in { type filter hook input priority 0; udp dport 3784 drop; }
          chain out { type filter hook output priority 0; udp dport 3784 drop; }
        }
        """)
    poll("the session went down", lambda: not world.gateway.bgp_established(site), SOON, 0.02)
    poll(f"BGP with {site.name} is back on timers (now: {peer(world, site)})",
         lambda: world.gateway.bgp_established(site), DETACHED, 0.2)
    assert bfd(world, site) == UNANSWERED
    world.wait_up(site)
    since = world.offices[site.name].router.lasting_session()
    wait_bfd(world, site, UNANSWERED)
    ns.run("nft", "delete", "table", "inet", "nobfd")
    wait_watched(world, site)
    world.offices[site.name].router.assert_uninterrupted_since(since)


def test_a_new_bgpd_watches_what_the_old_one_watched(world):
    """When bgpd ends, bfdd lets go of every session that it watched (FRR 10.3, bfdd/ptm_adapter.c) and would tell the peers Down,
    for which BIRD without `bfd graceful` ends its BGP session. They are gw-fastpath's, which goes on and tells nobody: BGP restarts
    gracefully with either router, and no packet is lost."""
    for site in (BIRD, FRR):
        wait_watched(world, site)
        world.wait_up(site)
    with world.probes.load(PLAIN, FRR, BIRD, rate=200) as load:
        world.gateway.bgpd().wait_restarted(world.gateway.bgpd().kill())
        for site in (BIRD, FRR):
            wait_watched(world, site)
    load.assert_no_loss()
    world.wait_up(BIRD)


def bfd_since(world, site):
    """When the site's end says that its BFD session came up."""
    if site is BIRD:
        row = next(line for line in world.offices[site.name].router.birdc("show", "bfd", "sessions").splitlines()
                   if line.startswith(site.inner_gw))
        assert " Up " in row, row
        return row.split()[3]
    peers = json.loads(world.offices[site.name].router.frr.vtysh("show bfd peers json"))
    row = next(p for p in peers if p["peer"] == site.inner_gw)
    assert row["status"] == "up", row
    return time.time() - row["uptime"]  # in whole seconds


@pytest.mark.parametrize("who", ["bgpd", "gwd", "all"])
def test_on_the_wire_bfd_goes_on_without_the_control_plane(world, who):
    """The sessions are gw-fastpath's. What BGP makes of it is another matter (the tests before and after this one): when bfdd
    alone starts anew, it says Down to the bgpd that lived on before it has asked, BGP ends, and with it BIRD its BFD."""
    for site in (BIRD, FRR):
        wait_watched(world, site)
    time.sleep(1.1)
    before = {site.name: bfd_since(world, site) for site in (BIRD, FRR)}
    frr = world.gateway.frr.processes
    victims = {"bgpd": [frr["bgpd"]], "gwd": [world.gateway.gwd]}.get(
        who, [frr["bfdd"], frr["bgpd"], world.gateway.gwd])
    for victim, pid in [(v, v.kill()) for v in victims]:
        victim.wait_restarted(pid)
    for _ in range(10):
        time.sleep(0.3)
        for site in (BIRD, FRR):
            since = bfd_since(world, site)
            if site is FRR:
                assert abs(since - before[site.name]) <= 1.5
            else:
                assert same_moment(since, before[site.name])
    for site in (BIRD, FRR):
        wait_watched(world, site)


def test_after_bfdd_was_started_anew_it_watches_again(world):
    bfdd = world.gateway.frr.processes["bfdd"]
    bfdd.wait_restarted(bfdd.kill())
    for site in (BIRD, FRR):
        wait_watched(world, site)
        world.wait_up(site)


def test_it_can_be_switched_off_and_on(world):
    """BIRD ends its BGP session when the other end's BFD says AdminDown, which RFC 5882 4.2 asks it not to; it comes back."""
    wait_watched(world, BIRD)
    since = world.offices[PLAIN.name].router.lasting_session()
    doc = world.gateway.doc
    connection = next(c for c in doc["connections"] if c["device"] == f"{BIRD.name}/ce1")
    connection["bgp"]["no_bfd"] = True
    world.gateway.ctl("apply", world.gateway.write(doc))
    wait_bfd(world, BIRD, "off")
    world.wait_up(BIRD)
    del connection["bgp"]["no_bfd"]
    world.gateway.ctl("apply", world.gateway.write(doc))
    wait_watched(world, BIRD)
    world.wait_up(BIRD)
    world.offices[PLAIN.name].router.assert_uninterrupted_since(since)
