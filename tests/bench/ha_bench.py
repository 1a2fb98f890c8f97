"""ha-*: what a pair loses when one of its instances is lost, or taken out of service on purpose (tests/system/ha.py).

Probes of 1,000 packets a second each way in 4 flows. A row has one kind of site: what moves its traffic is another mechanism.
  ha-dual   a tunnel to each instance: BGP and BFD, 50 ms x 3. Ours is all but the site's router: until the VNet's router and
            the instance that lives send nothing to the dead one any more.
"""
import functools
import os
import pathlib
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Callable

from failover_bench import median_and_worst

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

RECORDED_RUNS, RUNS = 20, 3
WARM_UP, AFTER = 0.5, 2.0  # s
PORTS = "auto"             # gw-fastpath chooses, as in production


@dataclass
class Event:
    """How gw-a is lost, and how it comes back."""

    name: str
    lose: Callable
    back: Callable


@dataclass
class Step:
    ours_ms: float     # 0: nothing had to change
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

    return [
        Event("kill -9 of everything", lambda w: w.of(GW_A).kill(), lambda w: w.bring_back(GW_A)),
        Event("power off", lambda w: w.of(GW_A).power_off(), lambda w: w.bring_back(GW_A, "power_on")),
        Event("all links silent", lambda w: w.lab.unplug(GW_A), plug_in),
        Event("stopped by its supervisor", lambda w: w.of(GW_A).stop(), lambda w: w.bring_back(GW_A)),
    ]


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
    def reaction_ms(watched, start):
        watch, way, prefix = watched
        left = watch.first_without(way, prefix, start)
        return (left - start) * 1000 if left else 0.0


def step(world, site, event):
    watches = Watches(world, site)
    try:
        with world.load(site) as load:
            time.sleep(WARM_UP)
            start = time.time()
            event.lose(world)
            time.sleep(max(0.0, start + AFTER - time.time()))
        ours, routers = watches.reaction_ms(watches.vnet, start), watches.reaction_ms(watches.site, start)
    finally:
        watches.close()
    with world.load(site) as returning:
        event.back(world)
    there, back = (sum(r.lost_there for r in load.results[way::2]) for way in (0, 1))
    return Step(ours, routers, there, back, sum(r.duplicated for r in load.results), 1000 * max(r.lost for r in load.results) / load.rate,
                sum(r.lost for r in returning.results))


def show(event, steps):
    columns = (("ours", "ours_ms"), ("site's router", "routers_ms"), ("lost there", "lost_there"), ("back", "lost_back"),
               ("outage ms", "outage_ms"), ("duplicates", "duplicated"), ("lost on return", "returned"))
    text = ", ".join(f"{title} {median_and_worst([getattr(s, name) for s in steps])}" for title, name in columns)
    print(f"{event.name:<26} {text}", file=sys.stderr, flush=True)


@functools.cache
def dual():
    from ha import HaWorld
    from ha_lab import DUAL
    runs = RECORDED_RUNS if os.environ.get("GW_BENCH_RECORD") else int(os.environ.get("GW_BENCH_RUNS", RUNS))
    found = {}
    with HaWorld("bench_ha", ports=PORTS, sites=(DUAL,)) as world:
        world.settle_all()
        for event in events():
            found[event.name] = [step(world, DUAL, event) for _ in range(runs)]
            show(event, found[event.name])
    return found


def ha_dual():
    found = dual()
    steps = [s for all_of_one in found.values() for s in all_of_one]
    times = [s.ours_ms for s in steps]
    notes = [f"{name}: outage {median_and_worst([s.outage_ms for s in of])} ms, lost there {median_and_worst([s.lost_there for s in of])}, "
             f"back {median_and_worst([s.lost_back for s in of])}, on return {max(s.returned for s in of)}" for name, of in found.items()]
    return {"value": statistics.median(times), "worst": max(times), "unit": "ms", "reference": "the site's router (BIRD)",
            "reference_value": statistics.median(s.routers_ms for s in steps), "ratio": 0.0, "runs": len(steps),
            "spread": (max(times) - min(times)) / max(statistics.median(times), 0.001),
            "note": f"worst {max(times):.0f} ms; packets of 1,000 a second each way, median / worst. {'; '.join(notes)}."}


BENCHMARKS = {"ha-dual": ("a pair loses an instance, site with two tunnels", ha_dual)}
