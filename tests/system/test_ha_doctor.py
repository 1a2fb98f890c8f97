"""gwctl doctor on a pair: nothing to find while all is well; a site whose packets come in by one instance and leave by the other is named by
either of them, as information. ha_lab.py has the drawing."""

import json
import time

import pytest

from coexistence import eventually
from ha import HaWorld
from ha_lab import DUAL, GW_A, GW_B, INSTANCES

RATE = 100  # packets a second of each flow
LOOKS = 30  # s: gwd looks at the counters every 5 s, tells the other instance, and what was before is a small part of it


@pytest.fixture(scope="module")
def world():
    with HaWorld("test_ha_doctor", sites=(DUAL,), bfd_ms=150) as ready:
        ready.settle_all()
        yield ready


def findings(world, instance) -> list[dict]:
    return json.loads(world.of(instance).ctl("--json", "doctor", check=False)).get("findings", [])


def wrong(world, instance) -> list[str]:
    return [f"{f['name']} {f['subject']}" for f in findings(world, instance) if f["severity"] != "info"]


def asymmetric(world, instance) -> dict:
    return next((f for f in findings(world, instance) if f["name"] == "AsymmetricInstances"), {})


@pytest.mark.timeout(240)
def test_a_healthy_pair_has_nothing_wrong(world):
    """Both ends of the site spread flows over two tunnels, each for itself: whether they agree is chance, and no fault."""
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(11)  # two looks
        for instance in INSTANCES:
            eventually(f"{instance.name} finds nothing wrong", lambda i=instance: not wrong(world, i), LOOKS)
            assert asymmetric(world, instance).get("severity", "info") == "info"
    load.assert_no_loss()


@pytest.mark.timeout(240)
def test_a_site_that_comes_in_by_one_and_leaves_by_the_other_is_named(world):
    """The site sends to gw-a, the VNet answers through gw-b."""
    there = (DUAL.prefixes[0], "via", GW_B.vnet4, "dev", "eth0", "metric", "1")
    back = ("10.0.0.0/16", "dev", "tun-a", "metric", "1")
    rs1, site = world.lab.ns["rs1"], world.lab.ns[DUAL.name]
    rs1.ip(" ".join(("route add", *there)))
    site.ip(" ".join(("route add", *back)))
    try:
        with world.load(DUAL, rate=RATE) as load:
            for instance in INSTANCES:
                eventually(f"{instance.name} names {DUAL.name}", lambda i=instance: asymmetric(world, i), 2 * LOOKS)
            for instance in INSTANCES:
                found = asymmetric(world, instance)
                assert found["severity"] == "info" and found["subject"] == f"site {DUAL.name}", found
                assert "arrive at gw-a and leave by gw-b" in found["consequence"], found
                assert any("/gw-a: " in line for line in found["evidence"]) and any("/gw-b: " in line for line in found["evidence"]), found
                assert not wrong(world, instance)
        load.assert_no_loss()
        world.of(GW_A).ctl("doctor")  # exit code 0
    finally:
        rs1.ip(" ".join(("route del", *there)))
        site.ip(" ".join(("route del", *back)))


@pytest.mark.timeout(240)
def test_an_active_standby_pair_has_nothing_wrong(world):
    """Endpoints that are not where their home is are where they belong."""
    world.commit(GW_A, mode="active-standby", preferred=GW_B.name)
    try:
        world.settle_all()
        for instance in INSTANCES:
            eventually(f"{instance.name} finds nothing wrong", lambda i=instance: not wrong(world, i), LOOKS)
        eventually("both sessions of the site wait for a takeover, and their BFD is too soon",
                   lambda: sorted(f["subject"] for f in findings(world, GW_B) if f["name"] == "BfdBeforeTakeover")
                   == sorted(f"{DUAL.name}-ce1/{i.name}" for i in INSTANCES), LOOKS)
    finally:
        world.commit(GW_A, mode="active-active")
        world.settle_all()
    eventually("with active-active it has another way", lambda: not [
        f for i in INSTANCES for f in findings(world, i) if f["name"] == "BfdBeforeTakeover"], LOOKS)
