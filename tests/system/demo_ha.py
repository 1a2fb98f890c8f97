#!/usr/bin/env python3
"""./dev demo ha: two instances carry traffic, one of them is killed under it; numbers, and one picture of what happened.

The lab is the one of the HA tests (ha_lab.py has the drawing), the sites are stock strongSwan with BIRD. 1,000 packets a second each
way in 8 flows. Everything on gw-a is killed with kill -9 and stays dead for some seconds, then it is started again.
"""

from __future__ import annotations

import argparse
import sys
import time

import lab as lab_module
from coexistence_lab import VNET_PREFIX
from demo import BOLD, GREEN, PLAIN, RED, START, Failed, show, step
from ha import HaWorld
from ha_lab import DUAL, GW_A, GW_B
from lab import TOP, LabError, poll
from probes import Load
from reaction import RouteWatch
from timeline import Mark, Timeline

BEFORE, DEAD = 1.0, 3.0  # s
# Killed without a word: BFD's 150 ms, what BGP, the kernels and BIRD need after it, and a busy machine.
MOST_LOST_MS = 1000
RED_MARK = "#c8352b"
PICTURE = TOP / "build/ha-timeline.svg"


def who_reacted(watches, start: float) -> list[Mark]:
    marks = []
    for who, (watch, way, prefix) in watches.items():
        if left := watch.first_without(way, prefix, start):
            marks.append(Mark(left, f"{who} sends nothing to gw-a any more", "#1f5fa8"))
    return marks


def kill_under_traffic(world: HaWorld, load: Load) -> tuple[float, list[Mark]]:
    watches = {"the VNet's router": (RouteWatch(world.lab.ns["rs1"].name).start(), f"via {GW_A.vnet4}", DUAL.prefixes[0]),
               "the site's router": (RouteWatch(world.lab.ns[DUAL.name].name).start(), "dev tun-a", VNET_PREFIX)}
    try:
        with load:
            time.sleep(BEFORE)
            start = time.time()
            world.of(GW_A).kill()
            step("kill -9 of everything on gw-a")
            time.sleep(DEAD)
            show(world.of(GW_B).ctl("show", "tunnels"))
            back = time.time()
            step("gw-a is started again")
            world.of(GW_A).revive()
            marks = [Mark(start, "kill -9 of everything on gw-a", RED_MARK), Mark(back, "gw-a is started again")]
            poll("gw-a's tunnel is up", lambda: world.of(GW_A).tunnel_up(DUAL), 30, 0.1)
            marks.append(Mark(time.time(), "its tunnel is up"))
            poll("the VNet's router uses gw-a again", lambda: GW_A.vnet4 in world.vnet.next_hops(DUAL.prefixes[0]), 30, 0.1)
            marks.append(Mark(time.time(), "the VNet's router uses it again"))
            time.sleep(1)
    finally:
        for watch, *_ in watches.values():
            watch.stop()
    return start, marks + who_reacted(watches, start)


def lost_between(flow, begin: float, end: float) -> int:
    return sum(took < 0 for sent, took in flow if begin <= sent < end)


def report(load: Load, start: float, marks: list[Mark]) -> tuple[float, int]:
    """(the worst flow's outage in ms, packets lost when gw-a came back)"""
    flows, back = load.answers(), next(m.at for m in marks if "started again" in m.text)
    step("What happened, in ms after the kill")
    show("\n".join(f"{(m.at - start) * 1000:>8.0f}  {m.text}" for m in sorted(marks, key=lambda m: m.at)))
    step("What each flow lost (packets of 250 a second)")
    worst, returned = 0.0, 0
    for name, flow in flows.items():
        lost, later = lost_between(flow, start - 0.1, back), lost_between(flow, back, flow[-1][0])
        worst, returned = max(worst, lost * 1000 / load.rate), returned + later
        show(f"{name:<22} {len(flow):>6} sent, lost after the kill {lost:>4} ({lost * 1000 / load.rate:.0f} ms), on return {later}")
    return worst, returned


def run(world: HaWorld):
    world.settle_all()
    step("Both instances are up; the site has a tunnel to each, BGP and BFD (50 ms x 3) in both")
    show(world.of(GW_A).ctl("show", "tunnels"))
    show(world.of(GW_B).ctl("show", "tunnels"))
    load = world.load(DUAL).record()
    start, marks = kill_under_traffic(world, load)
    worst, returned = report(load, start, marks)
    last = max(m.at for m in marks) - start
    Timeline("An instance is killed under traffic (site with a tunnel to each instance)", start, -0.5, last + 0.5, load.answers(), marks,
             ["green: every packet was answered; red: none; 250 packets a second in each flow"]).write(PICTURE)
    Timeline("The first second of it", start, -0.1, 0.9, load.answers(), marks,
             ["green: every packet was answered; red: none; 10 ms each"]).write(PICTURE.with_name("ha-timeline-second.svg"))
    show(f"pictures: {PICTURE.relative_to(TOP)}, {PICTURE.with_name('ha-timeline-second.svg').relative_to(TOP)}")
    if worst > MOST_LOST_MS or returned:
        raise Failed(f"the worst flow lost {worst:.0f} ms (at most {MOST_LOST_MS}), {returned} packets were lost on return (none)")
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo ha", description=__doc__.split("\n\n")[0])
    parser.parse_args()
    lab_module.unwind_on_signals()
    try:
        step("Building the lab: two instances, a VNet with a router, a site with two tunnels")
        with HaWorld("demo-ha", ports="auto", sites=(DUAL,)) as world:
            worst = run(world)
        print(f"{GREEN}{BOLD}demo ha: traffic went on after {worst:.0f} ms, nothing was lost on return; "
              f"{time.monotonic() - START:.0f} s in all{PLAIN}", flush=True)
    except KeyboardInterrupt:
        return 130
    except (Failed, LabError) as fault:
        print(f"{RED}{BOLD}demo ha: FAILED: {fault}{PLAIN}\ndemo: logs: build/logs/demo-ha/", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
