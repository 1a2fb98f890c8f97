"""Floods at the wan port, both kinds of port, beside live tunnels: BGP, BFD and IKE stay up, memory stays bounded, and the
counters say what happened. How much good traffic passes at the generator's full rate is for `./dev bench flood`; here the
attacker is held to a rate that leaves the machine to the other tests."""
import json
import os
import time

import pytest

from gateway import PORT_KINDS
from lab import BIN, GW_WAN4, Site, poll
from world import World

pytestmark = [pytest.mark.timeout(240), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

FIRST, SECOND = SITES = [Site(1), Site(2)]
RATE = 20_000   # packets a second
SECONDS = 3.0   # three times what BFD (300 ms x 3) allows
GROWTH = 16 << 20
# What each flood ends as; of the others charon or the kernel has the say. Cleartext for BGP and BFD: gw_guard, test below.
COUNTED = {"unknown-spi": ("unknown_spi",), "bad-icv": ("icv",), "replay": ("replay",), "ike-init": (),
           "fragments": (), "clear": ()}


def timers(site):
    return {"bgp": {"addresses": {"gw-a": {"local": site.inner_gw, "peer": site.inner_site}}, "keepalive": "3s", "hold": "9s",
                    "bfd": {"interval": "300ms", "multiplier": 3}}}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_flood-{request.param}", SITES, ports=request.param, bfd=(FIRST, SECOND),
               connections={site.name: timers(site) for site in SITES}) as ready:
        for site in SITES:
            poll(f"BFD with {site.name}", lambda site=site: bfd(ready, site).startswith("up"), 20, 0.2)
        yield ready


def bfd(world, site):
    return next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == site.inner_site).get("bfd", "")


def resident(world):
    with open(f"/proc/{world.gateway.fastpath_pid()}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def flood(world, kind, seconds=SECONDS, rate=RATE):
    """Runs to its end; what it says of itself."""
    mac = world.lab.ns["gw"].run("cat", "/sys/class/net/eth0/address").strip()
    said = json.loads(world.lab.ns["wan"].run(BIN / "gw-flood", kind, "--interface", "gw", "--mac", mac, "--to", GW_WAN4,
                                              "--inner", FIRST.inner_gw, "--seconds", seconds, "--rate", rate))
    assert said["sent"] > 1000
    return said


@pytest.mark.parametrize("kind", COUNTED)
def test_sessions_live_through_a_flood(world, kind):
    sessions = {site.name: world.offices[site.name].router.lasting_session() for site in SITES}
    before, memory = world.gateway.drops(), resident(world)
    with world.probes.load(*SITES, rate=100) as load:  # live packets to take as a pattern; and for later, whoever looks
        said = flood(world, kind)
    for site in SITES:
        world.offices[site.name].router.assert_uninterrupted_since(sessions[site.name])
        assert bfd(world, site).startswith("up")
        assert world.gateway.tunnel_up(site)
    assert resident(world) - memory < GROWTH
    grown = {reason: count - before.get(reason, 0) for reason, count in world.gateway.drops().items()}
    for reason in COUNTED[kind]:
        assert grown.get(reason, 0) > said["sent"] / 4, f"{said}, {grown}"
    assert all(r.received > 0 for r in load.results), load.results


def test_ike_goes_on_in_a_flood_of_ike(world):
    """Sources that nobody knows ask for IKE SAs; a site rekeys meanwhile."""
    rekeys = world.gateway.tunnel(FIRST).get("rekeys", 0)
    mac = world.lab.ns["gw"].run("cat", "/sys/class/net/eth0/address").strip()
    attacker = world.lab.spawn("wan", "flood-ike", [BIN / "gw-flood", "ike-init", "--interface", "gw", "--mac", mac, "--to", GW_WAN4,
                                                    "--seconds", 8, "--rate", RATE])
    try:
        time.sleep(0.5)
        world.offices[FIRST.name].vpn.rekey_child()
        poll("the CHILD_SA is rekeyed", lambda: world.gateway.tunnel(FIRST).get("rekeys", 0) != rekeys, 10, 0.2)
    finally:
        attacker.stop()
    assert world.gateway.tunnel_up(FIRST) and world.gateway.tunnel_up(SECOND)


def dropped_in_the_clear(world):
    """By gw_guard's chain for what comes in at the wan: comment -> packets."""
    rules = json.loads(world.lab.ns["gw"].run("nft", "-j", "list", "chain", "inet", "gw_guard", "wan"))["nftables"]
    found = {}
    for rule in (entry["rule"] for entry in rules if "rule" in entry):
        packets = sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
        found[rule["comment"]] = found.get(rule["comment"], 0) + packets
    return found


def test_bgp_and_bfd_of_sites_are_not_taken_from_the_wan(world):
    """Whatever their source, to the gateway's address or a tunnel's: the kernel would give them to bgpd and bfdd."""
    before = dropped_in_the_clear(world)
    said = flood(world, "clear", 1.0)
    after = dropped_in_the_clear(world)
    grown = {comment: count - before[comment] for comment, count in after.items()}
    assert grown["BGP in the clear"] > said["sent"] / 8 and grown["BFD in the clear"] > said["sent"] / 8, f"{said}, {grown}"
    assert world.lab.ns["gw"].run("ss", "-Htn", "state", "syn-recv").strip() == ""


@pytest.mark.parametrize("how", ["flush ruleset", "delete table inet gw_guard", "flush chain inet gw_guard forward"])
def test_a_guard_that_another_program_flushes_comes_back(world, how):
    """Whoever loads a firewall of his own flushes everything first, and the VNet's packets could leave in the clear."""
    def guard():
        return world.lab.ns["gw"].run("nft", "-s", "-t", "list", "table", "inet", "gw_guard", check=False)
    before = guard()
    assert "not in the clear" in before
    world.lab.ns["gw"].run("nft", *how.split())
    poll("the guard is as it was", lambda: guard() == before, 5, 0.02)
