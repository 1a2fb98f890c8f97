"""Endpoints that are moved by an operator's program, e.g. through a cloud's address API: planned, after a loss, and when the program
fails or hangs. ha_hook.py has the drawing."""

import time

import pytest

from coexistence import ECHO_PORT_HOSTS, eventually
from gateway import PORT_KINDS
from ha import negotiated, outage
from ha_hook import REFUSAL, HookWorld
from ha_lab import GW_A, GW_B, INSTANCES, STATIC
from lab import poll

pytestmark = pytest.mark.timeout(240)
RATE = 125
BFD_MS = 150
MOST = 1.5  # s, of a takeover on a busy machine: as by a gratuitous ARP, and the program's own time
HOOK_TIMEOUT_MS = 1000


@pytest.fixture(scope="module", params=[PORT_KINDS[0], pytest.param(PORT_KINDS[1], marks=pytest.mark.long)])
def world(request):
    with HookWorld(f"test_ha_hook-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=(STATIC,),
                   ha={"failback": "manual", "heartbeat": f"{BFD_MS}ms", "hook_timeout": f"{HOOK_TIMEOUT_MS}ms"}) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def at_home(world):
    yield
    world.restore_all()
    for instance in INSTANCES:
        if instance.wan4 not in world.of(instance).owned():
            poll(f"{instance.name} answers", lambda i=instance: world.of(i).ha(), 20)
            world.of(instance).ctl("ha", "takeover", instance.wan4)
    world.settle_all()


def move(world, source, target):
    world.of(source).ctl("ha", "move", GW_A.wan4, target.name)
    poll(f"{target.name} has {GW_A.wan4}", lambda: GW_A.wan4 in world.of(target).owned(), 20, 0.02)


def leads_to(world, instance, seconds=10):
    eventually(f"{GW_A.wan4} leads to {instance.name}", lambda: world.leads_to(GW_A.wan4, instance), seconds)


def carries(world):
    """Packets pass; and the site's IKE is answered, which gives up 11 s after its first question."""
    with world.load(STATIC, rate=RATE) as load:
        time.sleep(1)
    load.assert_no_loss()
    charon = world.ends[STATIC.name, GW_A.name].charon
    eventually("the site's IKE waits for nothing", lambda: "active:" not in charon.swanctl("--list-sas"))


def test_a_planned_move_loses_nothing(world):
    """The old owner's `release` comes behind the new owner's `take`: there is no moment without a way."""
    before, begun = negotiated(world, STATIC), time.time()
    with world.load(STATIC, rate=RATE) as load:
        time.sleep(0.5)
        for source, target in ((GW_A, GW_B), (GW_B, GW_A)):
            move(world, source, target)
            leads_to(world, target)
            eventually("the old owner has released it", lambda s=source: world.api.calls(begun)[-1].instance == s.name)
        time.sleep(1)
    load.assert_no_loss()
    assert [(call.method, call.instance) for call in world.api.calls(begun)] == [
        ("PUT", GW_B.name), ("DELETE", GW_A.name), ("PUT", GW_A.name), ("DELETE", GW_B.name)]
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


def test_drain_and_undrain_lose_nothing(world):
    with world.load(STATIC, rate=RATE) as load:
        world.of(GW_A).ctl("ha", "drain")
        leads_to(world, GW_B)
        time.sleep(1)
        world.of(GW_A).ctl("ha", "undrain")
        leads_to(world, GW_A)
        time.sleep(1)
    load.assert_no_loss()


def test_kill_of_everything(world):
    """And its return moves nothing."""
    before = negotiated(world, STATIC)
    with world.load(STATIC, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).kill()
        leads_to(world, GW_B)
        time.sleep(1)
    assert outage(load) < MOST, "\n".join(map(str, load.results))
    with world.load(STATIC, rate=RATE) as load:
        world.of(GW_A).revive()
        eventually("gw-a is back", lambda: any(p.get("sync") for p in world.of(GW_A).ha().get("peers", [])), 30)
        time.sleep(1)
    load.assert_no_loss()
    assert world.leads_to(GW_A.wan4, GW_B)
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


def test_a_restart_of_gwd_moves_nothing(world):
    gateway, begun = world.of(GW_A), time.time()
    with world.load(STATIC, rate=RATE) as load:
        gateway.gwd.wait_restarted(gateway.gwd.kill())
        eventually("it is told again", lambda: ("PUT", GW_A.wan4) in [(c.method, c.address) for c in world.api.calls(begun)], 20)
        time.sleep(1)
    load.assert_no_loss()
    assert ("DELETE", GW_A.wan4) not in [(c.method, c.address) for c in world.api.calls(begun) if c.instance == GW_A.name]


def test_a_program_that_fails_is_run_again_and_its_words_are_an_alarm(world):
    world.api.fault("refuse")
    begun = time.time()
    world.of(GW_A).ctl("ha", "move", GW_A.wan4, GW_B.name)

    def refused():
        return [c.at for c in world.api.calls(begun) if (c.method, c.instance, c.status) == ("PUT", GW_B.name, 503)]
    eventually("three times", lambda: len(refused()) == 3)
    pauses = [after - before for before, after in zip(refused(), refused()[1:])]
    assert pauses[0] >= 1 and pauses[1] >= 2, pauses
    said = world.alarms(GW_B)[GW_A.wan4]
    assert f"{world.program} ended with status 22: " in said and REFUSAL in said
    assert world.leads_to(GW_A.wan4, GW_A)
    world.api.fault("")
    leads_to(world, GW_B)
    for instance in INSTANCES:
        eventually(f"{instance.name} has no alarm", lambda i=instance: not world.alarms(i))
    carries(world)


def test_a_program_that_hangs_is_killed_with_its_children(world):
    world.api.fault("hang")
    begun = time.time()
    world.of(GW_A).ctl("ha", "move", GW_A.wan4, GW_B.name)
    words = f"{world.program} had not ended after {HOOK_TIMEOUT_MS} ms and was killed"
    eventually("an alarm", lambda: words in world.alarms(GW_B).get(GW_A.wan4, ""))

    def tries() -> int:
        return len([c for c in world.api.calls(begun) if (c.method, c.instance) == ("PUT", GW_B.name)])
    most = 0
    while tries() < 2:
        most = max(most, len(world.running(GW_B)))
        assert time.time() < begun + 15, "it is not run again"
    assert most == 1, "of what was killed something goes on"
    world.api.fault("")
    leads_to(world, GW_B)
    for instance in INSTANCES:
        eventually(f"{instance.name} has no alarm", lambda i=instance: not world.alarms(i))
        assert not world.running(instance)
    # On a busy machine the program hung for longer than the site's IKE waits: it negotiates anew then.
    eventually("packets pass", lambda: world.pings(next(iter(ECHO_PORT_HOSTS)), STATIC.host4), 30)
    carries(world)
