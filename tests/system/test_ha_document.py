"""Documents that change two instances which are one gateway while they forward: timing, endpoints that come and go, no second
instance any more. ha_lab.py has the drawing."""

import copy
import time

import pytest

from coexistence import ECHO_PORT_HOSTS, eventually
from gateway import PORT_KINDS
from ha import HaWorld, negotiated
from ha_lab import GW_A, GW_B, INSTANCES, SINGLE
from lab import poll

pytestmark = pytest.mark.timeout(240)
RATE = 125  # packets a second of each flow; there are four each way
BFD_MS = 150
ADDED = "203.0.113.12"


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_document-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=(SINGLE,)) as ready:
        ready.settle_all()
        yield ready


@pytest.fixture(autouse=True)
def as_before(world):
    yield
    world.restore_all()
    for instance in INSTANCES:
        gateway = world.of(instance)
        poll(f"gwd of {instance.name} answers", lambda g=gateway: g.json("status"), 20, 0.2)
        gateway.ctl("apply", "--alone", gateway.write(gateway.doc))
    world.settle_all()


def changed(world, change) -> dict:
    doc = copy.deepcopy(world.of(GW_A).doc)
    change(doc["gateway"])
    return doc


def apply(world, doc: dict, *flags: str, at=GW_A):
    world.of(at).ctl("apply", *flags, world.of(at).write(doc))


def hear_each_other(world) -> bool:
    return all(p.get("sync") and p.get("data") and p.get("has_all_of_ours") and not p.get("unfit")
               for i in INSTANCES for p in world.of(i).ha().get("peers", [{}]))


def on_the_wan(world, instance) -> bool:
    return f" {ADDED}/32 " in world.lab.ns[instance.name].run("ip", "-4", "addr", "show", "dev", "eth0")


def test_another_heartbeat_loses_nothing(world):
    """What two processes agree about begins anew, on both; what gw-fastpath has stays where it is."""
    before = negotiated(world, SINGLE)
    with world.load(SINGLE, rate=RATE) as load:
        time.sleep(0.5)
        apply(world, changed(world, lambda g: g["ha"].update(heartbeat=f"{BFD_MS + 10}ms")))
        time.sleep(1)
        poll("both hear each other", lambda: hear_each_other(world), 20, 0.1)
        assert world.all_at_home()
        time.sleep(3)
        assert world.all_at_home()
    load.assert_no_loss()
    assert negotiated(world, SINGLE) == before, "IKE was negotiated anew"


def test_an_endpoint_comes_and_goes_while_the_other_instance_is_away(world):
    def add(gateway):
        gateway["instances"][0]["wan"]["endpoints"].append({"address": ADDED})

    world.of(GW_B).kill()
    eventually("gw-a has all endpoints", lambda: world.of(GW_A).owned() == {GW_A.wan4, GW_B.wan4}, 20)
    with world.load(SINGLE, rate=RATE) as load:
        time.sleep(0.5)
        apply(world, changed(world, add), "--alone")
        states = lambda: {e["address"]: e["state"] for e in world.of(GW_A).ha()["endpoints"]}  # noqa: E731
        eventually("it is carried here", lambda: states().get(ADDED) == "owned", 10)
        assert on_the_wan(world, GW_A)
        apply(world, world.of(GW_A).doc, "--alone")
        eventually("its address is gone from the wan", lambda: not on_the_wan(world, GW_A), 10)
        assert ADDED not in states()
        time.sleep(1)
    load.assert_no_loss()


def test_a_gateway_without_a_second_instance_is_not_held_back(world):
    """gw-fastpath of one of several instances waits for gwd's word after its start; here there is nobody to wait for."""
    def alone(gateway):
        gateway.pop("ha")
        for instance in gateway["instances"]:
            instance.pop("sync")

    def passes() -> bool:
        return world.pings(next(iter(ECHO_PORT_HOSTS)), SINGLE.host4)

    apply(world, changed(world, alone), "--alone", at=GW_B)
    apply(world, changed(world, alone), "--alone")
    eventually("HA is off", lambda: not world.of(GW_A).ha(), 10)
    eventually("packets pass: the VNet's router has its routes again", passes, 20)
    world.of(GW_A).fastpath.kill()
    eventually("packets pass again", passes, 20)
