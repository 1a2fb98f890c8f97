"""ha-*: what a pair loses when one of its instances is lost, or taken out of service on purpose (tests/system/ha.py).

Probes of 1,000 packets a second each way in 4 flows. A row has one kind of site: what moves its traffic is another mechanism.
  ha-dual   a tunnel to each instance: BGP and BFD, 50 ms x 3. Ours is until the instance that lives has the dead one's endpoint:
            both tunnels end there. The VNet's router and the site's move by BFD of their own, each in its own time.
  ha-single one tunnel, to the instance that is lost: the other one takes its endpoint over. Ours is what a site without BGP loses;
            what a router with graceful restart, one without it, and one whose BFD is faster than a takeover add is in the note.
  ha-etcd   the same site without BGP, killed, with leases in an etcd: the other instance waits until the lease has ended.
  ha-drain  one tunnel, without BGP and with: its endpoint is moved to the other instance and back, its instance is drained and
            undrained, and both instances are restarted one after the other. Beside the probes, TCP with data every 5 ms.
"""
import datetime
import functools
import os
import pathlib
import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Callable

from failover_bench import median_and_worst
from standstill import Standstill

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

RECORDED_RUNS, RUNS = 20, 3
RECORDED_BESIDE = 5        # of what is only in the note
WARM_UP, AFTER = 0.5, 2.0  # s
PORTS = "auto"             # gw-fastpath chooses, as in production
STANDSTILL_MS = 30         # of the machine: a fifth of what failures are noticed by


@dataclass
class Event:
    """How gw-a is lost, and how it comes back."""

    name: str
    lose: Callable
    back: Callable
    unplanned: bool = True
    beside: bool = False  # fewer runs, in the note alone: nothing has to move, or only half of the instance is dead


@dataclass
class Step:
    ours_ms: float     # 0: nothing had to change
    vnet_ms: float     # until the VNet's router sends nothing to the lost instance
    routers_ms: float  # the site's
    lost_there: int    # VNet to site, of 1,000 a second: milliseconds
    lost_back: int
    duplicated: int
    outage_ms: float   # of the flow that was hit worst
    returned: int      # packets lost when the instance came back


def events():
    from ha_lab import GW_A

    def plug_in(world):
        world.lab.plug_in(GW_A)
        world.settle_all()

    def start_again(world):
        world.of(GW_A).kill()
        world.bring_back(GW_A)

    return [
        Event("kill -9 of everything", lambda w: w.of(GW_A).kill(), lambda w: w.bring_back(GW_A)),
        Event("power off", lambda w: w.of(GW_A).power_off(), lambda w: w.bring_back(GW_A, "power_on")),
        Event("all links silent", lambda w: w.lab.unplug(GW_A), plug_in),
        Event("stopped by its supervisor", lambda w: w.of(GW_A).stop(), lambda w: w.bring_back(GW_A),
              unplanned=False),
        Event("data path dead, control alive", lambda w: w.of(GW_A).lose_fastpath(), start_again, beside=True),
        Event("control dead, data path alive", lambda w: w.of(GW_A).lose_control(),
              lambda w: w.bring_back(GW_A, "revive_control"), beside=True),
        Event("sync networks cut", lambda w: w.lab.unplug(GW_A, "s0", "s1"), plug_in, beside=True),
    ]


def runs_of(event, recorded=None):
    return runs_asked(RECORDED_BESIDE if event.beside else recorded or RECORDED_RUNS)


class Watches:
    """Of everybody around the instance that is lost."""

    def __init__(self, world, site):
        from coexistence_lab import VNET_PREFIX
        from ha_lab import GW_A
        from reaction import RouteWatch
        self.vnet = (RouteWatch(world.lab.ns["rs1"].name).start(), f"via {GW_A.vnet4}", site.prefixes[0])
        self.site = (RouteWatch(world.lab.ns[site.name].name).start(), "dev tun-a", VNET_PREFIX)

    def close(self):
        for watch, *_ in (self.vnet, self.site):
            watch.stop()

    @staticmethod
    def taken_over_ms(world, start):
        """When gw-b's gw-fastpath said that it has gw-a's endpoint."""
        from ha_lab import GW_A, GW_B
        said = re.compile(rf"^(\S+) gw-fastpath info ha: endpoint {re.escape(GW_A.wan4)} is ours", re.MULTILINE)
        log = (world.lab.logs / f"gw-fastpath-{GW_B.name}.log").read_text(errors="replace")
        times = (datetime.datetime.fromisoformat(text).timestamp() for text in said.findall(log))
        return next(((at - start) * 1000 for at in times if at >= start - 0.001), 0.0)  # written in whole milliseconds

    @staticmethod
    def reaction_ms(watched, start):
        watch, way, prefix = watched
        left = watch.first_without(way, prefix, start)
        return (left - start) * 1000 if left else 0.0


def step(world, site, event):
    watches = Watches(world, site)
    try:
        with world.load(site) as load:
            time.sleep(WARM_UP)
            start, world.lab.lost_at = time.time(), None
            event.lose(world)
            start = world.lab.lost_at or start
            time.sleep(max(0.0, start + AFTER - time.time()))
        ours = watches.taken_over_ms(world, start)
        vnet, routers = watches.reaction_ms(watches.vnet, start), watches.reaction_ms(watches.site, start)
    finally:
        watches.close()
    with world.load(site) as returning:
        event.back(world)
    there, back = (sum(r.lost_there for r in load.results[way::2]) for way in (0, 1))
    return Step(ours, vnet, routers, there, back, sum(r.duplicated for r in load.results), 1000 * max(r.lost for r in load.results) / load.rate,
                sum(r.lost for r in returning.results))


def show(event, steps):
    columns = (("ours", "ours_ms"), ("VNet's router", "vnet_ms"), ("site's router", "routers_ms"), ("lost there", "lost_there"), ("back", "lost_back"),
               ("outage ms", "outage_ms"), ("duplicates", "duplicated"), ("lost on return", "returned"))
    text = ", ".join(f"{title} {median_and_worst([getattr(s, name) for s in steps])}" for title, name in columns)
    print(f"{event.name:<26} {text}", file=sys.stderr, flush=True)


def runs_asked(recorded=RECORDED_RUNS):
    """GW_BENCH_RUNS: another number, also of a row that is recorded; the note of ha-drain has it."""
    return int(os.environ.get("GW_BENCH_RUNS", recorded if os.environ.get("GW_BENCH_RECORD") else RUNS))


@functools.cache
def dual():
    from ha import HaWorld
    from ha_lab import DUAL
    found = {}
    with HaWorld("bench_ha_dual", ports=PORTS, sites=(DUAL,)) as world, Standstill(STANDSTILL_MS) as machine:
        world.settle_all()
        for event in events():
            found[event.name] = [machine.undisturbed(lambda event=event: step(world, DUAL, event)) for _ in range(runs_of(event))]
            show(event, found[event.name])
    return found, machine.note()


def ha_dual():
    found, standstill = dual()
    beside = {e.name for e in events() if e.beside or not e.unplanned}
    steps = [s for name, all_of_one in found.items() if name not in beside for s in all_of_one]
    times = [s.ours_ms for s in steps]
    notes = [f"{name}: ours {median_and_worst([s.ours_ms for s in of])} ms, the VNet's router {median_and_worst([s.vnet_ms for s in of])} ms, outage {median_and_worst([s.outage_ms for s in of])} ms, lost there {median_and_worst([s.lost_there for s in of])}, "
             f"back {median_and_worst([s.lost_back for s in of])}, on return {max(s.returned for s in of)}" for name, of in found.items()]
    return {"value": statistics.median(times), "worst": max(times), "unit": "ms", "reference": "the site's router (BIRD)",
            "reference_value": statistics.median(s.routers_ms for s in steps), "ratio": 0.0, "runs": len(steps),
            "spread": (max(times) - min(times)) / max(statistics.median(times), 0.001),
            "note": f"worst {max(times):.0f} ms; packets of 1,000 a second each way, median / worst. {'; '.join(notes)}.{standstill}"}


def outage(world, site, event, after):
    """(ms of the flow that was hit worst, packets lost on return)."""
    with world.load(site) as load:
        time.sleep(WARM_UP)
        event.lose(world)
        time.sleep(after)
    with world.load(site) as returning:
        event.back(world)
    return 1000 * max(r.lost for r in load.results) / load.rate, sum(r.lost for r in returning.results)


def outages(machine, world, site, event, after, runs):
    return [machine.undisturbed(lambda: outage(world, site, event, after)) for _ in range(runs)]


def ha_single():
    from ha import HaWorld
    from ha_lab import PLAIN, SINGLE, STATIC, HastySite
    bgp_comes_back = 4.0  # s
    sites = ((STATIC, "without BGP", AFTER), (SINGLE, "graceful restart", AFTER + bgp_comes_back),
             (PLAIN, "no graceful restart", AFTER + bgp_comes_back), (HastySite(5), "BFD 50 ms x 3", AFTER + bgp_comes_back))
    notes, ours = [], []
    with HaWorld("bench_ha_single", ports=PORTS, sites=tuple(site for site, *_ in sites)) as world, Standstill(STANDSTILL_MS) as machine:
        world.settle_all()
        for event in [e for e in events() if e.unplanned]:
            for site, words, after in sites:
                found = outages(machine, world, site, event, after, runs_of(event, None if site is STATIC else RECORDED_BESIDE))
                times = [ms for ms, _ in found]
                ours += times if site is STATIC and not event.beside else []
                notes.append(f"{event.name}, {words}: {median_and_worst(times)} ms, lost on return {max(lost for _, lost in found)}")
                print(notes[-1], file=sys.stderr, flush=True)
    return {"value": statistics.median(ours), "worst": max(ours), "unit": "ms", "reference": "", "reference_value": 0.0, "ratio": 0.0,
            "runs": len(ours), "spread": (max(ours) - min(ours)) / max(statistics.median(ours), 0.001),
            "note": f"worst {max(ours):.0f} ms; outage of the flow that was hit worst, median / worst. {'; '.join(notes)}.{machine.note()}"}


def ha_etcd():
    from ha_etcd import EXPIRY, TTL, EtcdWorld
    from ha_lab import STATIC
    kill = events()[0]
    with EtcdWorld("bench_ha_etcd", ports=PORTS, sites=(STATIC,)) as world, Standstill(STANDSTILL_MS) as machine:
        world.settle_all()
        found = outages(machine, world, STATIC, kill, TTL + AFTER, runs_asked())
    times = [ms for ms, _ in found]
    return {"value": statistics.median(times), "worst": max(times), "unit": "ms", "reference": "the lease's TTL", "reference_value": 1000 * TTL,
            "ratio": 0.0, "runs": len(times), "spread": (max(times) - min(times)) / max(statistics.median(times), 0.001),
            "note": f"worst {max(times):.0f} ms; {kill.name}, without BGP, TTL {TTL} s, which was renewed up to a third of it before; etcd looks every "
                    f"{1000 * EXPIRY:.0f} ms for leases that have ended. Lost on return {max(lost for _, lost in found)}.{machine.note()}"}


@dataclass
class Planned:
    lost: int
    duplicated: int
    stall_ms: float


def move(world, source, target):
    from ha_lab import GW_A
    from lab import poll
    world.of(source).ctl("ha", "move", GW_A.wan4, target.name)
    poll(f"{target.name} has it", lambda: GW_A.wan4 in world.of(target).owned(), 20, 0.05)
    world.settle()
    time.sleep(WARM_UP)


def there_and_back(world):
    from ha_lab import GW_A, GW_B
    move(world, GW_A, GW_B)
    move(world, GW_B, GW_A)


def drain(world, instance):
    from lab import poll
    gateway = world.of(instance)
    gateway.ctl("ha", "drain")
    poll(f"{instance.name} has no endpoint", lambda: gateway.ha() and not gateway.owned(), 30, 0.05)
    world.settle()
    time.sleep(AFTER)


def undrain(world, instance):
    from lab import poll
    gateway = world.of(instance)
    gateway.ctl("ha", "undrain")
    poll(f"{instance.name} has its endpoint again", lambda: instance.wan4 in gateway.owned(), 30, 0.05)
    world.settle()
    time.sleep(WARM_UP)


def drain_and_undrain(world):
    from ha_lab import GW_A
    drain(world, GW_A)
    undrain(world, GW_A)


def can_receive(gateway, other):
    """The other instance could take over from this one: it holds its state."""
    peers = gateway.ha().get("peers", [])
    return any(p.get("instance") == other.name and p.get("has_all_of_ours") and not p.get("unfit") for p in peers)


def rolling_restart(world):
    from ha_lab import GW_A, GW_B
    from lab import poll
    for instance, other in ((GW_A, GW_B), (GW_B, GW_A)):
        drain(world, instance)
        world.of(instance).stop()
        world.of(instance).revive()
        poll(f"{instance.name} is up to date", lambda i=instance, o=other: can_receive(world.of(o), i), 60, 0.2)
        # A gwd that was started anew is not drained any more; without failback its endpoint waits for the operator.
        world.of(instance).ctl("ha", "move", instance.wan4, instance.name)
        poll(f"{instance.name} has its endpoint again", lambda i=instance: i.wan4 in world.of(i).owned(), 30, 0.05)
        world.settle()
        time.sleep(WARM_UP)


PLANNED = {"move there and back": there_and_back, "drain and undrain": drain_and_undrain, "rolling restart": rolling_restart}


def planned(world, site, work):
    from coexistence_lab import VNET_HOST
    from probes import TcpStream
    stream = TcpStream(world.lab, (f"host{site.index}", site.host4), ("host", VNET_HOST))
    with world.load(site) as load, stream:
        time.sleep(WARM_UP)
        work(world)
        time.sleep(WARM_UP)
    if stream.broken:
        print(f"TCP broke: {stream.broken}", file=sys.stderr, flush=True)
    return Planned(sum(r.lost for r in load.results), sum(r.duplicated for r in load.results),
                   stream.longest_stall_ms if not stream.broken else float("inf"))


def ha_drain():
    from ha import HaWorld
    from ha_lab import SINGLE, STATIC
    found, notes = [], []
    with HaWorld("bench_ha_drain", ports=PORTS, sites=(SINGLE, STATIC), ha={"failback": "manual"}) as world, Standstill(STANDSTILL_MS) as machine:
        world.settle_all()
        for name, work in PLANNED.items():
            for site, words in ((STATIC, "without BGP"), (SINGLE, "BGP")):
                steps = [machine.undisturbed(lambda site=site, work=work: planned(world, site, work)) for _ in range(runs_asked(RECORDED_RUNS // 2))]
                found += steps
                notes.append(f"{name}, {words}: lost {median_and_worst([s.lost for s in steps])}, "
                             f"TCP stood still for {median_and_worst([s.stall_ms for s in steps])} ms")
                print(notes[-1], file=sys.stderr, flush=True)
    lost = [s.lost for s in found]
    return {"value": max(lost), "unit": "packets", "reference": "of 1,000 a second each way", "reference_value": 0.0, "ratio": 0.0,
            "runs": len(found), "spread": 0.0, "note": f"median / worst of {runs_asked(RECORDED_RUNS // 2)} each; TCP with data every 5 ms. {'; '.join(notes)}.{machine.note()}"}


BENCHMARKS = {"ha-dual": ("a pair loses an instance, site with two tunnels", ha_dual),
              "ha-single": ("a pair loses an instance, site with one tunnel", ha_single),
              "ha-etcd": ("a pair with leases in etcd loses an instance, site with one tunnel", ha_etcd),
              "ha-drain": ("packets lost by planned work on a pair, site with one tunnel", ha_drain)}
