"""Processes die, sites die, secrets differ: what the operator is told, and that traffic goes on."""

import os
import signal
import time

import pytest

from gateway import INSTANCE, PORT_KINDS, RETRANSMISSIONS
from lab import Site, poll
from peers import psk
from probes import Capture
from world import World

# site1: we may initiate to it. site2: the gateway only answers it (initiate: responder-only).
OPEN, RESPONDED = SITES = [Site(1), Site(2)]

DPD_DELAY = 2.0  # at both ends
# The gateway gives a silent site up after this time.
DETECTION = DPD_DELAY + RETRANSMISSIONS
# The lab's sites retransmit after 1.0, 1.4, 2.0, 2.7 and 3.8 s.
SITE_DETECTION = DPD_DELAY + 10.9
# A site that only initiates itself has to notice that our charon is new; its ESP goes on meanwhile.
RESPONDER_BOUND = SITE_DETECTION + 5
# BFD asks a peer that does not answer once a second (RFC 5880 6.8.3): the site of `responded` would hardly ever hear nothing
# for the second after which it looks for its dead peer.
QUIET_BGP = {"addresses": {INSTANCE: {"local": RESPONDED.inner_gw, "peer": RESPONDED.inner_site}},
             "keepalive": "3s", "hold": "30s", "no_bfd": True}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_failures-{request.param}", SITES, ports=request.param, connections={"site2": {"initiate": "responder-only", "bgp": QUIET_BGP}},
               vpn={"site1": {"initiate": False}, "site2": {"connection": "dpd_delay = 1s"}}) as ready:
        yield ready


def settled(world, *sites):
    for site in sites or SITES:
        world.wait_up(site)


def test_kill_gwd_loses_nothing(world):
    settled(world)
    routers = {s.name: world.offices[s.name].router.lasting_session() for s in SITES}
    spis = {s.name: {sa["spi"] for sa in world.gateway.sas(s)} for s in SITES}
    with world.probes.load(rate=500) as load:
        time.sleep(1)
        old = world.gateway.gwd.kill()
        world.gateway.gwd.wait_restarted(old)
        settled(world)
        time.sleep(2)
    load.assert_no_loss()
    for site in SITES:
        world.offices[site.name].router.assert_uninterrupted_since(routers[site.name])
        assert {sa["spi"] for sa in world.gateway.sas(site)} == spis[site.name], "the tunnel was built anew"


def test_kill_bgpd_loses_nothing(world):
    settled(world)
    routers = [world.offices[s.name].router for s in SITES]
    before = [router.session_since() for router in routers]
    with world.probes.load(rate=500) as load:
        time.sleep(1)
        old = world.gateway.bgpd().kill()
        world.gateway.bgpd().wait_restarted(old)
        poll("BGP is back at the sites", lambda: all(
            r.established() and r.session_since() != b for r, b in zip(routers, before, strict=True)), 20, 0.2)
        settled(world)
        poll("new sessions are let in", lambda: "gw_bgp_start" not in world.gateway.ns.run("nft", "list", "tables"), 5)
        time.sleep(3)
    load.assert_no_loss()


def test_a_peer_is_not_refused_while_bgpd_does_not_know_the_interfaces(world):
    """zebra stands still, so bgpd is without interfaces: it would answer a new session with a NOTIFICATION, and the site's
    router would drop what it has kept of ours."""
    settled(world)
    bgpd, zebra = world.gateway.bgpd(), world.gateway.frr.processes["zebra"]
    before = bgpd.log.stat().st_size
    with world.probes.load(rate=500) as load:
        time.sleep(1)
        os.kill(zebra.pid, signal.SIGSTOP)
        try:
            bgpd.wait_restarted(bgpd.kill())
            time.sleep(1.5)  # both sites' routers try once a second
        finally:
            os.kill(zebra.pid, signal.SIGCONT)
        poll("BGP is back at the sites", lambda: all(world.offices[s.name].router.established() for s in SITES), 20, 0.2)
        settled(world)
        time.sleep(3)
    load.assert_no_loss()
    said = bgpd.log.read_bytes()[before:].decode(errors="replace")
    assert "NOTIFICATION: sent" not in said and "nexthop_set failed" not in said, said


def test_kill_charon_loses_nothing_where_we_may_initiate(world):
    settled(world)
    before = world.offices[OPEN.name].router.lasting_session()
    orphans = {sa["spi"] for sa in world.gateway.sas(OPEN)}
    with world.probes.load(OPEN, rate=500) as load:
        time.sleep(1)
        old = world.gateway.charon.process.kill()
        world.gateway.charon.process.wait_restarted(old)
        poll("a new IKE SA", lambda: ({sa["spi"] for sa in world.gateway.sas(OPEN)} - orphans), 10, 0.2)
        settled(world, OPEN)
        # Until the site has noticed that its old IKE SA is dead, too.
        time.sleep(SITE_DETECTION + 2)
    load.assert_no_loss()
    world.offices[OPEN.name].router.assert_uninterrupted_since(before)
    left = {sa["spi"] for sa in world.gateway.sas(OPEN)}
    assert not left & orphans, "the dead charon's SAs are still there"


def test_kill_charon_with_a_site_that_only_initiates_itself(world):
    """ESP goes on with the orphaned SAs as long as the site sends; when it is quiet it asks, gets no answer, and comes back."""
    settled(world)
    orphans = {sa["spi"] for sa in world.gateway.sas(RESPONDED)}
    with world.probes.load(RESPONDED, rate=500) as load:
        old = world.gateway.charon.process.kill()
        world.gateway.charon.process.wait_restarted(old)
        time.sleep(5)
        tunnel = world.gateway.tunnel(RESPONDED)
        assert tunnel["state"] == "esp-only" and "the site, which alone initiates" in tunnel["reason"], tunnel
    load.assert_no_loss()
    # What the site receives proves to it that we are alive: its dead peer detection starts only now, in the second
    # between two of BGP's keepalives (every 3 s from each side).
    start = time.monotonic()
    poll("the site came back by itself",
         lambda: {sa["spi"] for sa in world.gateway.sas(RESPONDED)} - orphans, RESPONDER_BOUND, 0.2)
    print(f"responder-only site back after {time.monotonic() - start:.1f} s (bound {RESPONDER_BOUND:.1f} s)")
    settled(world, RESPONDED)


def test_kill_fastpath_recovers_within_2_seconds_and_keeps_bgp(world):
    settled(world)
    routers = {s.name: world.offices[s.name].router.lasting_session() for s in SITES}
    old = world.gateway.fastpath_pid()
    assert old
    with world.probes.load(rate=500) as load:
        time.sleep(1)
        world.gateway.kill_fastpath()
        poll("gw-fastpath restarted", lambda: world.gateway.fastpath_pid() not in (0, old), 5)
        time.sleep(4)
    print(f"nothing passed for {load.longest_gap() * 1000:.0f} ms, of which the lab's keeper waits 50 (systemd: 150)")
    assert load.longest_gap() < 2, [str(r) for r in load.results]
    for site in SITES:
        world.offices[site.name].router.assert_uninterrupted_since(routers[site.name])
    settled(world)
    with world.probes.load(rate=500) as load:
        time.sleep(2)
    load.assert_no_loss()


def test_wrong_psk_is_named(world):
    settled(world, OPEN, RESPONDED)
    office = world.offices[RESPONDED.name]
    office.vpn.stop()
    try:
        office.vpn.secret = "not-the-right-psk-at-all"
        office.vpn.start()
        row = world.wait_down(RESPONDED, 20)
        poll("the reason", lambda: world.gateway.tunnel(RESPONDED).get("fault") == "Authentication", 20, 0.2)
        row = world.gateway.tunnel(RESPONDED)
        assert "pre-shared key" in row["reason"], row
        assert "pre-shared key" in world.gateway.ctl("show", "tunnels")
        for secret in (office.vpn.secret, psk(RESPONDED)):
            assert secret not in world.gateway.ctl("show", "tunnels") + world.gateway.ctl("--json", "show", "tunnels")
        assert world.gateway.tunnel_up(OPEN), "the other tunnel suffered"
    finally:
        office.vpn.stop()
        office.vpn.secret = psk(RESPONDED)
        office.vpn.start()
    settled(world, RESPONDED)


def test_site_dies_and_comes_back(world):
    """Its death is noticed by DPD within the bound, its routes go, and it comes back by itself."""
    settled(world)
    office = world.offices[OPEN.name]
    start = time.monotonic()
    office.vpn.die()
    try:
        row = world.wait_down(OPEN, DETECTION + 3)
        print(f"DPD noticed after {time.monotonic() - start:.1f} s (bound {DETECTION:.1f} s)")
        assert row["reason"], row
        assert row.get("fault") == "PeerReachability", row
        poll("its routes are gone", lambda: not set(OPEN.prefixes) & routed(world), 5, 0.2)
        assert world.gateway.tunnel_up(RESPONDED), "the other tunnel suffered"
    finally:
        office.vpn.start()
    world.wait_up(OPEN, 40)


def test_nothing_leaks_in_the_clear_while_a_tunnel_is_down(world):
    """No SA: packets to the site are dropped; they never leave by the default route unencrypted."""
    settled(world)
    office = world.offices[RESPONDED.name]
    office.vpn.stop()
    try:
        world.wait_down(RESPONDED, 5)
        ns = world.lab.ns["vnet"]
        with Capture(world.lab) as wan:
            for target in (RESPONDED.host4, RESPONDED.host6):
                ns.run("ping", "-c", "3", "-i", "0.2", "-W", "1", target, check=False)
        leaked = wan.count(f"host {RESPONDED.host4} or host {RESPONDED.host6}")
        assert leaked == 0, wan.others()
    finally:
        office.vpn.start()
    world.wait_up(RESPONDED)


def routed(world) -> set[str]:
    """Prefixes with a usable candidate."""
    rows = world.gateway.json("show", "routes").get("routes", [])
    return {row["prefix"] for row in rows if any(c.get("best") for c in row.get("candidates", []))}


def test_site_restarts_cleanly(world):
    settled(world)
    office = world.offices[RESPONDED.name]
    office.vpn.stop()
    try:
        world.wait_down(RESPONDED, 5)
    finally:
        office.vpn.start()
    world.wait_up(RESPONDED)


def test_everything_dies_at_once_and_returns(world):
    """Power comes back to all control processes together; the fast path kept forwarding."""
    settled(world)
    gateway = world.gateway
    with world.probes.load(OPEN, rate=200) as load:
        time.sleep(0.5)
        for process in (gateway.gwd, gateway.charon.process, gateway.bgpd()):
            process.kill()
        settled(world, OPEN)
        time.sleep(2)
    load.assert_no_loss()


def test_the_gateway_listens_on_nothing_unexpected(world):
    """On the wan: IKE only. BGP and BFD (RFC 5881, 5883, 7881) listen for tunnels; the API and metrics are local."""
    out = world.gateway.ns.run("ss", "-Hltun")
    open_ports = {line.split()[4].rsplit(":", 1)[1] for line in out.splitlines()
                  # What BFD sends from is bound to the tunnel's device and address.
                  if not line.split()[4].startswith(("127.", "[::1]")) and "%tun" not in line}
    assert open_ports <= {"500", "4500", "179", "3784", "3785", "4784", "7784"}, out


def test_a_site_announces_the_network_of_its_own_address(world):
    """The best route to the site leads into its own tunnel: ESP and IKE leave by wan all the same, and keys are renewed."""
    settled(world, OPEN)
    gateway, vpn = world.gateway, world.offices[OPEN.name].vpn
    spis = {sa["spi"] for sa in gateway.sas(OPEN)}
    route = (f"{OPEN.public4}/32", "dev", gateway.tunnel(OPEN)["device"])
    with world.probes.load(OPEN, rate=200) as load:
        gateway.ns.run("ip", "route", "add", *route)
        try:
            assert gateway.tunnel(OPEN)["device"] in gateway.ns.run("ip", "route", "get", OPEN.public4)
            vpn.rekey_ike()
            vpn.rekey_child()
            poll("other keys", lambda: not spis & {sa["spi"] for sa in gateway.sas(OPEN)}, 10, 0.2)
            time.sleep(SITE_DETECTION)  # dead peer detection of both ends would have noticed
            assert gateway.tunnel_up(OPEN)
        finally:
            gateway.ns.run("ip", "route", "del", *route)
    load.assert_no_loss()
