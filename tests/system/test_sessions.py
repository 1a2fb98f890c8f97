"""BGP sessions of every shape through real tunnels, BIRD and FRR at the other end: over a loopback of the site's router with several
hops, over one address of the gateway that several sites have in common, with a TCP MD5 password, over IPv6 addresses with IPv4 routes
(RFC 8950); and a session that ends with its tunnel's SA."""
import copy
import time

import pytest

from gateway import INSTANCE
from lab import GW_ASN, Site, poll
from world import World

LOOPBACK, MD5, SIX, CISCO, PLAIN = SITES = [Site(1), Site(2), Site(3), Site(4), Site(5)]
LOOPBACK_PEER = "10.10.31.254"
# The listing of the clouds' interoperability articles (docs/coexistence.md): of the gateway one address for all its tunnels, and the
# site's router has the address of the tunnel's own device, on link with nothing.
GW_ADDRESS, CISCO_TUNNEL, PLAIN_TUNNEL = "10.10.30.254", "10.2.30.125", "10.2.30.129"
SIX_GW, SIX_SITE = "fd00:21::1", "fd00:21::2"
PASSWORD, WRONG = "correct-horse-battery", "staple"
TIMERS = {"keepalive": "3s", "hold": "9s"}


@pytest.fixture(scope="module")
def world():
    ends = [(MD5, MD5.inner_gw, MD5.inner_site), (CISCO, GW_ADDRESS, CISCO_TUNNEL), (PLAIN, GW_ADDRESS, PLAIN_TUNNEL)]
    connections = {site.name: {"bgp": {**TIMERS, "addresses": {INSTANCE: {"local": local, "peer": peer}}}}
                   for site, local, peer in ends}
    with World("test_sessions", SITES, wait=False, frr=(CISCO,), bfd=(CISCO,), connections=connections) as ready:
        shape(ready)
        yield ready


def shape(world):
    gateway = world.gateway
    secret = gateway.etc / "secrets" / "md5"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD + "\n")
    doc = gateway.doc
    doc["sites"][0]["devices"][0].update(loopback=LOOPBACK_PEER, multihop=5)
    doc["sites"][3]["devices"][0].update(multihop=5)
    doc["connections"][1]["bgp"]["md5_file"] = "secrets/md5"
    doc["connections"][2]["bgp"]["addresses"] = {INSTANCE: {"local": SIX_GW, "peer": SIX_SITE}}
    gateway.ctl("apply", gateway.write(doc))
    world.lab.ns[LOOPBACK.name].ip(f"addr add {LOOPBACK_PEER}/32 dev lo")
    world.lab.ns[SIX.name].ip(f"addr add {SIX_SITE}/64 dev ipsec0 nodad")
    # Several hops away: BIRD looks the next hop up, among the connected routes.
    rewrite(world, LOOPBACK, lambda text: text.replace(
        f"local {LOOPBACK.inner_site} as", f"local {LOOPBACK_PEER} as").replace("hold time 30;", "multihop 5; hold time 30;")
        + 'protocol direct { ipv4; ipv6; interface "ipsec0"; }\n')
    rewrite(world, MD5, lambda text: text.replace("hold time 30;", f'password "{PASSWORD}"; hold time 30;'))
    rewrite(world, SIX, lambda text: text.replace(SIX.inner_site + " as", SIX_SITE + " as").replace(
        SIX.inner_gw + " as", SIX_GW + " as").replace("ipv4 { import all;", "ipv4 { import all; extended next hop on;"))


    for site, address in ((CISCO, CISCO_TUNNEL), (PLAIN, PLAIN_TUNNEL)):
        world.lab.ns[site.name].ip(f"addr del {site.inner_site}/30 dev ipsec0", f"addr add {address}/32 dev ipsec0",
                                   f"route add {GW_ADDRESS}/32 dev ipsec0 src {address}")
    as_cisco_says(world.offices[CISCO.name].router.frr)
    rewrite(world, PLAIN, lambda text: text.replace(f"local {PLAIN.inner_site} as", f"local {PLAIN_TUNNEL} as").replace(
        f"neighbor {PLAIN.inner_gw} as", f"neighbor {GW_ADDRESS} as").replace("hold time 30;", "multihop 5; hold time 30;")
        + f'protocol static gateway {{ ipv4; route {GW_ADDRESS}/32 via "ipsec0"; }}\n')


def as_cisco_says(frr):
    """Word for word what the listing has for the tunnel, in FRR's words; ipsec0 is its Tunnel30, and the route is the kernel's."""
    gateway = f"neighbor {GW_ADDRESS}"
    frr.vtysh("conf t", f"router bgp {CISCO.asn}", f"no neighbor {CISCO.inner_gw}", f"{gateway} remote-as {GW_ASN}",
              f"{gateway} ebgp-multihop 5", f"{gateway} update-source ipsec0", f"{gateway} timers 3 9", f"{gateway} timers connect 1",
              f"{gateway} bfd 3 100 100", "address-family ipv4 unicast", f"{gateway} activate", f"network {CISCO.prefixes[0]}")


def rewrite(world, site, change):
    """The site's operator edits BIRD's configuration."""
    bird = world.offices[site.name].router
    path = bird.dir / "bird.conf"
    path.write_text(change(path.read_text()))
    assert "Reconfigur" in bird.birdc("configure")


def row(world, neighbor):
    return next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == neighbor)


def wait_established(world, neighbor, seconds=30):
    poll(f"session with {neighbor} (now: {row(world, neighbor)})",
         lambda: row(world, neighbor)["state"] == "Established", seconds, 0.2)


def wait_carries(world, site, neighbor):
    """IPv4 only where the router is several hops away: it would look an IPv6 next hop up that is at the other end of its device."""
    wait_established(world, neighbor)
    for family in (4, 6) if site in (MD5, SIX) else (4,):
        poll(f"{site.name} answers, IPv{family}", lambda family=family: world.probes.reachable(site, family), 20, 0.2)


def test_a_loopback_behind_several_hops(world):
    wait_carries(world, LOOPBACK, LOOPBACK_PEER)
    route = world.gateway.ns.run("ip", "route", "get", LOOPBACK_PEER)
    assert f"dev {world.gateway.tunnel(LOOPBACK)['device']}" in route, route
    running = world.gateway.frr.vtysh("show running-config")
    assert f"neighbor {LOOPBACK_PEER} ebgp-multihop 5" in running
    assert f"neighbor {LOOPBACK_PEER} update-source {LOOPBACK.inner_gw}" in running


def test_one_address_of_the_gateway_for_several_tunnels(world):
    """The listing's roles: the gateway's address is the one that is routed through the tunnel, by a static route of each site."""
    running = world.gateway.frr.vtysh("show running-config")
    for site, neighbor in ((CISCO, CISCO_TUNNEL), (PLAIN, PLAIN_TUNNEL)):
        wait_carries(world, site, neighbor)
        route = world.gateway.ns.run("ip", "route", "get", neighbor)
        assert f"dev {world.gateway.tunnel(site)['device']}" in route and f"src {GW_ADDRESS}" in route, route
        assert f"neighbor {neighbor} update-source {GW_ADDRESS}" in running
        assert row(world, neighbor)["local_address"] == GW_ADDRESS
    assert f"neighbor {CISCO_TUNNEL} ebgp-multihop 5" in running and f"neighbor {PLAIN_TUNNEL} ebgp-multihop" not in running
    # A router with `ebgp-multihop` speaks the BFD of several hops (RFC 5883), and is answered in kind.
    poll(f"BFD (now: {row(world, CISCO_TUNNEL)})", lambda: row(world, CISCO_TUNNEL).get("bfd", "").startswith("up"), 15, 0.2)


def test_without_one_of_the_tunnels_the_others_keep_the_address(world):
    wait_carries(world, CISCO, CISCO_TUNNEL)
    wait_carries(world, PLAIN, PLAIN_TUNNEL)
    since = time.monotonic() - int(row(world, CISCO_TUNNEL)["connected_seconds"])

    def uninterrupted():
        return abs(time.monotonic() - int(row(world, CISCO_TUNNEL)["connected_seconds"]) - since) < 2.5  # it counts whole ones
    doc = copy.deepcopy(world.gateway.doc)
    doc["connections"][4]["disabled"] = True
    with world.probes.load(CISCO, rate=200, families=(4,)) as load:
        world.gateway.ctl("apply", world.gateway.write(doc))
        try:
            world.probes_run(3)
            assert row(world, PLAIN_TUNNEL)["state"] == "Disabled"
            assert uninterrupted(), row(world, CISCO_TUNNEL)
        finally:
            world.gateway.ctl("apply", world.gateway.write(world.gateway.doc))
    load.assert_no_loss()
    wait_carries(world, PLAIN, PLAIN_TUNNEL)
    assert uninterrupted(), row(world, CISCO_TUNNEL)


def test_a_password(world):
    wait_carries(world, MD5, MD5.inner_site)


def test_ipv4_routes_over_an_ipv6_session(world):
    wait_carries(world, SIX, SIX_SITE)
    kernel = world.gateway.ns.run("ip", "route", "show", SIX.prefixes[0])
    assert "via inet6" in kernel or f"dev {world.gateway.tunnel(SIX)['device']}" in kernel, kernel


def test_frr_forwards_as_gwd_does(world):
    for site, neighbor in ((LOOPBACK, LOOPBACK_PEER), (MD5, MD5.inner_site), (SIX, SIX_SITE), (CISCO, CISCO_TUNNEL),
                           (PLAIN, PLAIN_TUNNEL)):
        wait_carries(world, site, neighbor)
    world.gateway.wait_routes_as_in_frr(10)


def test_a_wrong_password_is_not_let_in(world):
    """Nothing is answered to a segment whose digest is wrong (RFC 2385 2): the sentence says where to look."""
    wait_established(world, MD5.inner_site)
    rewrite(world, MD5, lambda text: text.replace(PASSWORD, WRONG))
    poll("the session is down", lambda: row(world, MD5.inner_site)["state"] != "Established", 15, 0.2)
    time.sleep(3)
    peer = row(world, MD5.inner_site)
    assert peer["state"] != "Established"
    assert "md5" in peer["last_error"].lower(), peer
    assert PASSWORD not in world.gateway.gwd.log.read_text() and WRONG not in world.gateway.gwd.log.read_text()
    rewrite(world, MD5, lambda text: text.replace(WRONG, PASSWORD))
    wait_carries(world, MD5, MD5.inner_site)


def test_the_session_ends_with_the_sa(world):
    """The carrier follows the SA: nobody waits for the hold time."""
    wait_established(world, MD5.inner_site)
    vpn = world.offices[MD5.name].vpn
    vpn.stop()  # it says goodbye, and does not come back at once
    start = time.monotonic()
    poll("the session is down", lambda: row(world, MD5.inner_site)["state"] != "Established", 3, 0.02)
    print(f"session down after {(time.monotonic() - start) * 1000:.0f} ms")
    vpn.start()
    wait_established(world, MD5.inner_site, 40)
    wait_carries(world, MD5, MD5.inner_site)
