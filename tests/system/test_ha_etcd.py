"""Leases in a real etcd: never two that send for an endpoint, whatever is lost; the price is the rest of the lease. ha_etcd.py has the drawing."""

import signal
import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import negotiated, outage
from ha_etcd import BELIEVED, EXPIRY, RENEWED, TTL, EtcdWorld, Owners
from ha_lab import DUAL, GW_A, GW_B, INSTANCES, STATIC
from lab import poll

pytestmark = pytest.mark.timeout(240)
RATE = 125
BFD_MS = 150
BUSY = 1.0  # s, of a machine that does other things as well; `bench ha-etcd` has the real ones
SLACK = 0.1  # s, between what is seen of etcd and of packets
BOTH = {GW_A.wan4, GW_B.wan4}
THERE_AND_BACK = [GW_A.name, GW_B.name, GW_A.name]


@pytest.fixture(scope="module", params=[PORT_KINDS[0], pytest.param(PORT_KINDS[1], marks=pytest.mark.long)])
def world(request):
    with EtcdWorld(f"test_ha_etcd-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=(DUAL, STATIC)) as ready:
        ready.settle_all()
        with ready.watched():
            yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    yield
    world.as_new()


def have(world, instance, endpoints, seconds=15):
    eventually(f"{instance.name} has {endpoints or 'nothing'}", lambda: world.of(instance).owned() == endpoints, seconds)


def names(turns) -> list[str]:
    return [turn.instance for turn in turns]


# --- planned ---------------------------------------------------------------------------------------------


def test_a_planned_move_loses_nothing(world):
    before = negotiated(world, STATIC)
    with world.senders() as senders, world.load(STATIC, rate=RATE) as load:
        time.sleep(0.5)
        for source, target in ((GW_A, GW_B), (GW_B, GW_A)):
            world.of(source).ctl("ha", "move", GW_A.wan4, target.name)
            poll(f"{target.name} has {GW_A.wan4}", lambda t=target: GW_A.wan4 in world.of(t).owned(), 20, 0.02)
            assert world.etcd.holder(GW_A.wan4) == target.name
            world.settle()
            time.sleep(0.5)
    load.assert_no_loss()
    assert names(senders.turns(STATIC)) == THERE_AND_BACK
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


@pytest.mark.long
def test_a_restart_of_gwd_loses_nothing(world):
    """It has its leases again before those that its fast path goes by have ended."""
    gateway = world.of(GW_A)
    with world.senders() as senders, world.load(STATIC, rate=RATE) as load:
        gateway.gwd.wait_restarted(gateway.gwd.kill())
        poll("gwd answers again", gateway.answers, 15)
        have(world, GW_A, {GW_A.wan4})
        time.sleep(TTL)
    load.assert_no_loss()
    assert names(senders.turns(STATIC)) == [GW_A.name]


# --- an instance is lost ---------------------------------------------------------------------------------


def taken_over(world, lose):
    """gw-b sends for gw-a's endpoint when its lease has ended, and not before."""
    with world.etcd.history(GW_A.wan4) as history, world.senders() as senders, world.load(STATIC, rate=RATE) as load:
        time.sleep(0.5)
        begun = time.monotonic()
        lose()
        have(world, GW_B, BOTH)
        time.sleep(1)
    turns = senders.turns(STATIC)
    assert names(turns) == [GW_A.name, GW_B.name], turns
    assert [holder for _, holder in history.holders] == ["", GW_B.name]
    free = history.holders[0][0]
    assert begun + TTL - RENEWED - SLACK < free < turns[1].first + SLACK
    assert turns[0].last < free
    assert outage(load) < TTL + EXPIRY + BUSY, "\n".join(map(str, load.results))
    return turns


def test_kill_of_everything(world):
    before = negotiated(world, STATIC)
    taken_over(world, world.of(GW_A).kill)
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"
    world.of(GW_A).revive()


def test_an_instance_that_was_replaced_wakes_up(world):
    """It stood still for longer than its lease: what wakes up sends nothing, and gets its endpoint back in order."""
    before = negotiated(world, STATIC)
    with world.etcd.history(GW_A.wan4) as history, world.senders() as senders, world.load(STATIC, rate=RATE) as load:
        time.sleep(0.5)
        world.of(GW_A).pause()
        have(world, GW_B, BOTH)
        time.sleep(0.5)
        world.of(GW_A).resume()
        have(world, GW_B, {GW_B.wan4}, 30)
        have(world, GW_A, {GW_A.wan4})
        time.sleep(1)
    turns = senders.turns(STATIC)
    assert names(turns) == THERE_AND_BACK, turns
    assert [holder for _, holder in history.holders] == ["", GW_B.name, GW_A.name]
    assert turns[0].last < history.holders[0][0] < turns[1].first + SLACK
    assert outage(load) < TTL + EXPIRY + BUSY, "\n".join(map(str, load.results))
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


@pytest.mark.long
def test_a_fast_path_without_gwd_stops_when_its_lease_ends(world):
    """gwd hangs, with its sockets open. The data path goes on, and nobody renews."""
    begun = time.monotonic()
    turns = taken_over(world, lambda: world.of(GW_A).gwd.signal(signal.SIGSTOP))
    assert turns[0].last - begun > BELIEVED - RENEWED, "it forwards as long as it may"
    world.of(GW_A).gwd.signal(signal.SIGCONT)
    have(world, GW_A, {GW_A.wan4}, 30)


# --- networks are cut ------------------------------------------------------------------------------------


def test_cut_off_from_each_other_each_keeps_its_own(world):
    """What leaves both owning everything with the embedded lease (test_ha_split)."""
    with Owners(world) as owners, world.senders() as senders, \
            world.load(STATIC, rate=RATE) as single, world.load(DUAL, rate=RATE) as dual:
        time.sleep(0.5)
        world.lab.part(GW_B)
        for instance in INSTANCES:
            eventually(f"{instance.name} hears nobody", lambda i=instance: "HaPeerDead" in world.alarms(i))
        time.sleep(2 * TTL)
        world.lab.rejoin(GW_B)
        for instance in INSTANCES:
            eventually(f"{instance.name} hears the other one", lambda i=instance: "HaPeerDead" not in world.alarms(i))
        time.sleep(0.5)
    for load in (single, dual):
        load.assert_no_loss()
    assert names(senders.turns(STATIC)) == [GW_A.name]
    assert not owners.two()
    for instance in INSTANCES:
        assert owners.of(instance) == {frozenset({instance.wan4})}


def test_cut_off_from_etcd_alone_it_gives_its_endpoint_up(world):
    """It is heard and forwards, and nobody gives it an endpoint that it could not hold."""
    before = negotiated(world, STATIC)
    with Owners(world) as owners:
        taken_over(world, lambda: world.lab.keep_from_etcd(GW_A))
        assert "does not answer" in world.alarms(GW_A)["HaLeaseService"]
        with world.load(STATIC, rate=RATE) as load:
            time.sleep(3 * TTL)  # failback_delay is 2 s
        load.assert_no_loss()
        with world.senders() as senders, world.load(STATIC, rate=RATE) as load:
            world.lab.let_to_etcd()
            have(world, GW_A, {GW_A.wan4}, 30)
            time.sleep(1)
        load.assert_no_loss()
    assert names(senders.turns(STATIC)) == [GW_B.name, GW_A.name]
    assert not owners.two()
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


def test_without_etcd_both_stop_when_their_leases_end(world):
    """That is what "never both" costs. They send until then, and again when it is back."""
    before = negotiated(world, STATIC)
    with Owners(world) as owners, world.senders() as senders, \
            world.load(STATIC, rate=RATE), world.load(DUAL, rate=RATE):
        time.sleep(0.5)
        stopped = time.monotonic()
        world.etcd.kill()
        for instance in INSTANCES:
            have(world, instance, set())
            eventually("an alarm", lambda i=instance: "HaLeaseService" in world.alarms(i))
        time.sleep(0.5)
        back = time.monotonic()
        world.etcd.start()
        eventually("each has its own", world.all_at_home, 20)
        for site in (STATIC, DUAL):
            eventually(f"{site.name} is reached", lambda s=site: world.pings("host", s.host4))
    first, second = senders.between(0, stopped + TTL), senders.between(back, time.monotonic())
    assert not senders.between(stopped + TTL, back), "sent by nobody's lease"
    assert first[-1][0] > stopped + BELIEVED - RENEWED - SLACK, "they stopped too soon"
    for site in (STATIC, DUAL):
        assert site.wan4 in {destination for _, destination, _ in second}
    assert not owners.two()
    for instance in INSTANCES:
        assert "HaLeaseService" not in world.alarms(instance)
    assert negotiated(world, STATIC) == before, "IKE was negotiated anew"


@pytest.mark.long
def test_the_alarm_says_why_etcd_does_not_answer(world):
    """Not why it did not at first: a connection that broke off. Sites' IKE may be negotiated anew; it takes longer than their DPD."""
    world.etcd.kill()
    for instance in INSTANCES:
        eventually("the alarm's words", lambda i=instance: "connect: Connection refused" in world.alarms(i).get("HaLeaseService", ""), 20)
    world.etcd.start()
    eventually("each has its own", world.all_at_home, 20)
    for site in (STATIC, DUAL):
        eventually(f"{site.name} is reached", lambda s=site: world.pings("host", s.host4), 60)
