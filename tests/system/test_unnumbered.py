"""BGP over link-local addresses in the tunnels (`unnumbered: true`), FRR as the sites' routers: both have the same link-local address.
The peers learn each other's from router advertisements that cross the tunnel; both families are forwarded, BFD watches, and a
numbered session beside them notices nothing."""
import time

import pytest

from gateway import PORT_KINDS
from lab import Site, poll
from world import World

FIRST, SECOND, NUMBERED = SITES = [Site(1), Site(2), Site(3)]
UNNUMBERED = (FIRST, SECOND)
THEIR_LINK_LOCAL = "fe80::2"  # of both
LEARNING = 45.0  # s: zebra advertises every 10 s
SOON = 3.0


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    bgp = {"unnumbered": True, "keepalive": "3s", "hold": "30s"}
    with World(f"test_unnumbered-{request.param}", SITES, ports=request.param, frr=UNNUMBERED, bfd=UNNUMBERED, unnumbered=UNNUMBERED,
               wait=False, connections={site.name: {"bgp": dict(bgp)} for site in UNNUMBERED},
               vpn={site.name: {"link_local": THEIR_LINK_LOCAL} for site in UNNUMBERED}) as ready:
        yield ready


def device(world, site):
    return world.gateway.tunnel(site)["device"]


def peer(world, site):
    name = device(world, site) if site in UNNUMBERED else site.inner_site
    return next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == name)


def wait_carries(world, site):
    poll(f"tunnel of {site.name} up (now: {world.gateway.tunnel(site)})", lambda: world.gateway.tunnel_up(site), 30)
    poll(f"session of {site.name} (now: {peer(world, site)})", lambda: peer(world, site)["state"] == "Established", LEARNING, 0.2)
    for family in (4, 6):
        poll(f"{site.name} answers, IPv{family}", lambda family=family: world.probes.reachable(site, family), 20, 0.2)


def routes_of(world, site):
    return {route["prefix"] for route in world.gateway.json("show", "routes")["routes"]
            for c in route["candidates"] if c["source"].startswith(site.name) and c["place"] != "refused"}


def test_both_families_are_forwarded(world):
    for site in SITES:
        wait_carries(world, site)
    for site in UNNUMBERED:
        assert routes_of(world, site) == set(site.prefixes)
        addresses = world.gateway.ns.run("ip", "-6", "-br", "addr", "show", "dev", device(world, site))
        assert addresses.count("fe80::") == 1 and peer(world, site)["local_address"] in addresses, addresses
    kernel = world.gateway.ns.run("ip", "route", "show", FIRST.prefixes[0])
    assert f"dev {device(world, FIRST)}" in kernel, kernel
    rows = world.gateway.json("show", "bgp", "learned", device(world, FIRST))["routes"]
    assert {row["network"] for row in rows} >= set(FIRST.prefixes), rows


def test_frr_forwards_as_gwd_does(world):
    for site in SITES:
        wait_carries(world, site)
    world.gateway.wait_routes_as_in_frr(10)


def wait_watched(world, site):
    poll(f"BFD of {site.name} (now: {peer(world, site)})", lambda: peer(world, site).get("bfd") == "up 100ms x 3", 20, 0.2)
    poll("bgpd watches it", lambda: f" neighbor {device(world, site)} bfd" in world.gateway.frr.vtysh("show running-config"), 5, 0.2)


def test_bfd_finds_a_dead_path_of_one_and_leaves_the_other_alone(world):
    for site in UNNUMBERED:
        wait_carries(world, site)
        wait_watched(world, site)
    ns = world.lab.ns[FIRST.name]  # its device stays: zebra 10.3 crashes when one that it advertises on is deleted
    ns.run("nft", "-f", "-", stdin="""
        table inet dead {
          chain in { type filter hook input priority 0; iifname "eth0" drop; }
          chain out { type filter hook output priority 0; oifname "eth0" drop; }
        }
        """)
    start = time.monotonic()
    poll("the routes are gone", lambda: not routes_of(world, FIRST), SOON, 0.02)
    print(f"routes gone after {(time.monotonic() - start) * 1000:.0f} ms")
    assert peer(world, SECOND)["state"] == "Established" and routes_of(world, SECOND) == set(SECOND.prefixes)
    ns.run("nft", "delete", "table", "inet", "dead")
    wait_carries(world, FIRST)
    wait_watched(world, FIRST)


def restart(process):
    process.wait_restarted(process.kill())


def test_a_new_gwd_takes_the_sessions_over(world):
    for site in UNNUMBERED:
        wait_carries(world, site)
        wait_watched(world, site)
    up = {site.name: int(peer(world, site)["connected_seconds"]) for site in SITES}
    with world.probes.load(rate=200) as load:
        restart(world.gateway.gwd)
        poll("gwd answers", world.gateway.answers, 10, 0.1)
        for site in SITES:
            wait_carries(world, site)
        time.sleep(1)
    load.assert_no_loss()
    for site in UNNUMBERED:
        assert int(peer(world, site)["connected_seconds"]) >= up[site.name], "the session was started anew"
        assert routes_of(world, site) == set(site.prefixes)


def test_a_new_bgpd_has_them_again(world):
    """What bfdd says of a bgpd that ends (test_bfd) may cost the watched ones their session: they are back in seconds."""
    for site in SITES:
        wait_carries(world, site)
    with world.probes.load(NUMBERED, rate=200) as load:
        restart(world.gateway.bgpd())
        for site in SITES:
            wait_carries(world, site)
        time.sleep(1)
    load.assert_no_loss()
    for site in UNNUMBERED:
        wait_watched(world, site)
        assert routes_of(world, site) == set(site.prefixes)


def test_numbered_and_back(world):
    """A document with addresses, applied, and the old one again."""
    wait_carries(world, FIRST)
    doc = world.gateway.doc
    connection = next(c for c in doc["connections"] if c["device"] == f"{FIRST.name}/ce1")
    bgp = connection["bgp"]
    connection["bgp"] = {"addresses": {"gw-a": {"local": FIRST.inner_gw, "peer": FIRST.inner_site}}}
    world.gateway.ctl("apply", world.gateway.write(doc))
    assert "interface v6only" not in "\n".join(
        line for line in world.gateway.frr.vtysh("show running-config").splitlines() if device(world, FIRST) + " " in line)
    connection["bgp"] = bgp
    world.gateway.ctl("apply", world.gateway.write(doc))
    for site in SITES:
        wait_carries(world, site)


def test_a_removed_one_takes_nothing_along(world):
    """zebra 10.3 crashes when a device goes that it advertises on."""
    for site in SITES:
        wait_carries(world, site)
    gone = device(world, SECOND)
    zebra = world.gateway.frr.processes["zebra"].pid
    doc = dict(world.gateway.doc)
    doc["connections"] = [c for c in doc["connections"] if c["device"] != f"{SECOND.name}/ce1"]
    with world.probes.load(FIRST, NUMBERED, rate=200) as load:
        world.gateway.ctl("apply", world.gateway.write(doc))
        poll("its device is gone", lambda: gone not in world.gateway.ns.run("ip", "-br", "link"), 10, 0.1)
        time.sleep(2)
    load.assert_no_loss()
    assert world.gateway.frr.processes["zebra"].pid == zebra
    world.gateway.ctl("apply", world.gateway.write(world.gateway.doc))
    wait_carries(world, SECOND)
