"""Routes that policy refuses, and their withdrawal, which bgpd's BMP does not tell (FRR 10.3): when policy opens, what the peer still
announces is taken within a second, and what it has taken back is nowhere. The peer is a speaker of ours."""
import itertools
import json
import struct
import time

import pytest

from bgp_speaker import UPDATE, Route, attribute, message, of_site, path_bytes, prefix_bytes, update
from lab import Site, poll
from world import World

GOOD, PEER = SITES = [Site(1), Site(2)]
GHOST, REAL, SIXTH = "10.77.1.0/24", "10.77.2.0/24", "2001:db8:77::/48"
MANY = 100_000  # refused routes
RULE = {"name": "closed", "direction": "import", "match": {"connection": f"{PEER.name}-ce1"}, "action": "refuse"}


@pytest.fixture(scope="module")
def world():
    with World("test_ghost_routes", SITES, connections={PEER.name: {"bgp": {
            "addresses": {"gw-a": {"local": PEER.inner_gw, "peer": PEER.inner_site}}, "no_bfd": True, "max_routes": 200_000}}}) as ready:
        ready.offices[PEER.name].router.process.stop()
        yield ready


@pytest.fixture
def speaker(world):
    peer = of_site(world.lab, PEER)
    yield peer
    peer.close()
    apply(world, refuse=False)
    poll("its routes are gone", lambda: not candidates(world), 20, 0.1)


def apply(world, *, refuse):
    doc = json.loads(json.dumps(world.gateway.doc)) | {"policy": [RULE] if refuse else []}
    world.gateway.ctl("apply", world.gateway.write(doc))


def candidates(world):
    """prefix -> its fate, of what the peer has told."""
    return world.gateway.heard_from(PEER)


def fate(world, prefix):
    """One prefix, cheaply."""
    route = world.gateway.ctl("--json", "routes", "effective", prefix, check=False)
    return next((c["place"] for r in json.loads(route or "{}").get("routes", []) for c in r["candidates"]
                 if r["prefix"] == prefix and c["source"].startswith(PEER.name)), None)


def forwarded(world, prefix):
    return prefix in world.gateway.ns.run("ip", "-6" if ":" in prefix else "-4", "route", "show", prefix) or any(
        r["prefix"] == prefix and r.get("in_fastpath") for r in world.gateway.json("show", "routes")["routes"])


def announce(peer, *prefixes):
    peer.send(b"".join(update(p, Route((PEER.asn,)), "2001:db8::77" if ":" in p else PEER.inner_site) for p in prefixes))


def withdraw(peer, *prefixes):
    peer.send(b"".join(update(p, None, PEER.inner_site) for p in prefixes))


def test_a_policy_that_opens_takes_what_is_there_and_nothing_else(world, speaker):
    apply(world, refuse=True)
    announce(speaker, GHOST, REAL, SIXTH)
    poll("all are refused", lambda: candidates(world) == dict.fromkeys((GHOST, REAL, SIXTH), "refused"), 10, 0.1)
    withdraw(speaker, GHOST)
    time.sleep(1)  # bgpd has it; nothing is told
    since = time.monotonic()
    apply(world, refuse=False)
    applied = time.monotonic()
    while fate(world, REAL) != "best":
        assert fate(world, GHOST) in (None, "refused") and time.monotonic() < applied + 5
        time.sleep(0.02)
    print(f"accepted {(time.monotonic() - applied) * 1000:.0f} ms after apply's end, which took {(applied - since) * 1000:.0f} ms")
    assert time.monotonic() - applied < 1
    poll("both families", lambda: fate(world, SIXTH) == "best", 1, 0.02)
    assert not forwarded(world, GHOST)
    poll("forwarded", lambda: forwarded(world, REAL) and forwarded(world, SIXTH), 2, 0.1)
    # And what the Rib had of it goes.
    end = time.monotonic() + 30
    while GHOST in candidates(world):
        assert candidates(world)[GHOST] == "refused" and time.monotonic() < end
        time.sleep(0.2)
    assert candidates(world) == dict.fromkeys((REAL, SIXTH), "best")


def test_taken_back_between_two_policies(world, speaker):
    """Announced, refused and withdrawn while policy changes to and fro: whatever bgpd judged by in between, nothing stays."""
    for _ in range(5):
        apply(world, refuse=True)
        announce(speaker, GHOST)
        withdraw(speaker, GHOST)
        announce(speaker, REAL)
        apply(world, refuse=False)
        announce(speaker, GHOST)
        withdraw(speaker, GHOST)
        poll("the real one is there", lambda: fate(world, REAL) == "best", 2, 0.02)
        assert fate(world, GHOST) in (None, "refused") or poll(
            "a moment", lambda: fate(world, GHOST) in (None, "refused"), 1, 0.02)
        withdraw(speaker, REAL)
    poll("nothing is left", lambda: not candidates(world), 30, 0.2)  # 10 s of silence, and a look at the sessions


def packed(prefixes, announced):
    """UPDATEs of 800 prefixes each."""
    attributes = (attribute(0x40, 1, b"\0") + attribute(0x40, 2, path_bytes((PEER.asn,))) +
                  attribute(0x40, 3, bytes(map(int, PEER.inner_site.split(".")))))
    for batch in itertools.batched(prefixes, 800):
        nlri = b"".join(map(prefix_bytes, batch))
        yield message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + nlri if announced else
                      struct.pack("!H", len(nlri)) + nlri + b"\0\0")


def count(world):
    peer = next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == PEER.inner_site)
    return int(peer.get("routes_received", 0))


def test_a_hundred_thousand_of_them(world, speaker):
    """gwd goes on answering while bgpd tells them again; half of them are ghosts."""
    apply(world, refuse=True)
    prefixes = [f"{20 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24" for i in range(MANY)]
    speaker.send(b"".join(packed(prefixes, True)))
    poll("the last is refused", lambda: fate(world, prefixes[-1]) == "refused", 30, 0.2)
    time.sleep(1)
    speaker.send(b"".join(packed(prefixes[::2], False)))
    time.sleep(2)
    with world.probes.load(GOOD, rate=200) as load:
        apply(world, refuse=False)
        start, slowest = time.monotonic(), 0.0
        while fate(world, prefixes[-1]) != "best":
            asked = time.monotonic()
            world.gateway.json("status")
            slowest = max(slowest, time.monotonic() - asked)
            assert time.monotonic() < start + 20
        print(f"the last of {MANY // 2} after {(time.monotonic() - start) * 1000:.0f} ms; "
              f"gwctl status never took longer than {slowest * 1000:.0f} ms")
        routes = len(world.gateway.frr.vtysh("show ip route bgp").splitlines())
        assert slowest < 0.5, "gwd did not answer"
        for prefix in prefixes[::997]:
            assert fate(world, prefix) == ("best" if prefixes.index(prefix) % 2 else "refused"), prefix
    load.assert_no_loss()
    assert routes > 0
    poll("the ghosts are gone", lambda: fate(world, prefixes[0]) is None, 30, 0.5)
    assert fate(world, prefixes[1]) == "best"
