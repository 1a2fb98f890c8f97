"""failover-*: how long until packets take the other way, and what is lost meanwhile (tests/system/coexistence.py).

Circuit and tunnels to paris, tunnels to lyon, BFD 100 ms x 3, 1,000 packets a second each way in 4 flows, of IPv4 and of IPv6 at
the same time. failover-EVENT: one converged pair, IPv4; -ipv6: the IPv6 of the same events. failover-xsk-EVENT: on xsk ports;
failover-two-pairs-EVENT: an ER pair and a VPN pair; both take the worse of the two families. These run once, and 20 times with
--record, as the others; `./dev bench failover-xsk` runs one set alone.
The reaction is ours alone: from the event (silent failures) or from the BGP UPDATE that told it (withdrawals) until gw-fastpath
forwards by the new route, on the instance that was last. The loss is everybody's: also until the site's router has noticed.
"""
import functools
import os
import pathlib
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

RECORDED_RUNS, RUNS, RUNS_OF_OTHERS = 20, 3, 1
FAMILIES = (4, 6)
WARM_UP, AFTER = 0.5, 1.0  # s
SLOWEST = 20.0             # s until everything is as it was


@dataclass(frozen=True)
class Setup:
    name: str  # in front of the events'; "": the one that is measured most
    ports: str
    two_pairs: bool = False

    def runs(self):
        if os.environ.get("GW_BENCH_RECORD"):
            return RECORDED_RUNS
        return int(os.environ.get("GW_BENCH_RUNS", RUNS)) if not self.name else RUNS_OF_OTHERS


# auto: gw-fastpath chooses, as in production.
SETUPS = {setup.name: setup for setup in (Setup("", "auto"), Setup("xsk", "xsk"), Setup("two-pairs", "auto", two_pairs=True))}


@dataclass
class Event:
    """What happens, to whom, and where the packets go then. `to` and `back`: kinds of forwarding entries, by instance."""

    name: str
    summary: str
    router: str  # whose routing is in the end-to-end loss
    site: object
    begin: Callable
    end: Callable
    to: dict
    back: dict
    told_by: str = ""  # "circuit": our clock starts with its routers' UPDATEs; "": with the event
    prepare: Callable = lambda world: None
    clean_up: Callable = lambda world: None


@dataclass
class Step:
    """Of one family."""

    reaction_ms: float
    lost_there: int  # VNet to site, of 1,000 a second: milliseconds
    lost_back: int   # site to VNet
    lost: int        # all, of the answers as well


def events(setup):
    import coexistence_lab as lab
    a, b = lab.CONVERGED

    def kinds(with_tunnels, with_circuit):
        """Of an instance with tunnels, and of one of a pair that has the circuit alone."""
        er_pair = {i.name: with_circuit for i in lab.TWO_PAIRS if i.circuit} if setup.two_pairs else {}
        return {a.name: with_tunnels, b.name: with_tunnels} | er_pair
    # To the pair that has the circuit, the tunnels are behind the VNet, and the reverse.
    by_circuit = kinds("vnet", "circuit") if setup.two_pairs else kinds("circuit", "")
    by_tunnels = kinds("tunnels", "vnet")

    def prefer(word):
        return lambda world: world.apply(lambda doc: doc["coexistence"].update(prefer=word))

    circuit = {"site": lab.PARIS, "router": "paris: FRR", "to": by_tunnels, "back": by_circuit}
    return [
        Event("circuit-withdrawn", "the circuit's routers withdraw the site", begin=lambda w: w.circuit.links_to_sites("down"),
              end=lambda w: w.circuit.links_to_sites("up"), told_by="circuit", **circuit),
        Event("circuit-silent", "the circuit dies without a word", begin=lambda w: w.lab.detach(*w.circuit.ports()),
              end=lambda w: w.lab.attach("circuit", *w.circuit.ports()), **circuit),
        Event("tunnel-silent", "one of lyon's two tunnels dies without a word", "lyon: BIRD", lab.LYON,
              begin=lambda w: w.lab.cut((a, lab.LYON)), end=lambda w: w.lab.heal(),
              to=by_tunnels | {a.name: "vnet"}, back=by_tunnels),
        Event("tunnels-silent", "both tunnels of paris die without a word while they are preferred", "paris: FRR", lab.PARIS,
              begin=lambda w: w.lab.cut((a, lab.PARIS), (b, lab.PARIS)), end=lambda w: w.lab.heal(),
              to=by_circuit, back=by_tunnels, prepare=prefer("vpn"), clean_up=prefer("circuit")),
        Event("planned", "the circuit's routers announce work on it (RFC 8326)", begin=lambda w: w.circuit.graceful_shutdown(True),
              end=lambda w: w.circuit.graceful_shutdown(False), told_by="circuit", **circuit),
        Event("policy", "the operator prefers the VPN, and the circuit again", begin=prefer("vpn"), end=prefer("circuit"), **circuit),
    ]


class Watches:
    """One of each for every instance."""

    def __init__(self, world):
        from coexistence_lab import CIRCUIT_ROUTERS
        from reaction import ForwardingWatch, UpdateWatch
        self.forwarding = {n: ForwardingWatch(g.fastpath_socket).start() for n, g in world.gateways.items()}
        self.updates = {n: UpdateWatch(world.lab.ns[n].name).start() for n in world.gateways}
        self.told_by = {n: {r.address for r in CIRCUIT_ROUTERS} for n in world.gateways}

    def close(self):
        for watch in (*self.forwarding.values(), *self.updates.values()):
            watch.stop()

    def are(self, prefixes, kinds):
        return all(self.forwarding[name].kind(prefix) == kind for name, kind in kinds.items() for prefix in prefixes)

    def note(self, world, event, start):
        """For whoever wants to know why a step was slow."""
        from reaction import kind_of
        with open(world.lab.logs / "steps.log", "a") as log:
            for name, watch in self.forwarding.items():
                ways = [f"{(c.at - start) * 1000:.0f} {kind_of(c.entry)}" for c in list(watch.changes)
                        if c.prefix in event.site.prefixes and c.at >= start]
                heard = {peer: round((at - start) * 1000) for peer, at in self.updates[name].first_since(start).items()}
                log.write(f"{event.name} {name}: ms after the event {', '.join(ways)}; first UPDATE of {heard}\n")

    def told(self, name, start):
        """When the circuit's routers told this instance; the pair without a circuit is told by the other one, whose clock counts."""
        def by_circuit(instance):
            return [t for peer, t in self.updates[instance].first_since(start).items() if peer in self.told_by[instance]]
        return by_circuit(name) or [t for instance in self.updates for t in by_circuit(instance)]

    def reaction_ms(self, event, kinds, prefix, before, start):
        """Of the slowest instance whose forwarding is another than before. Who was told has reacted when its forwarding is first
        another; who finds out by itself, when it stays so."""
        worst = 0.0
        for name, kind in kinds.items():
            changes = self.forwarding[name].changes_to(kind, prefix, start)
            if before[name] == kind or not changes:
                continue
            if event.told_by:
                told = self.told(name, start)
                changed = next((t for t in changes if t >= max(told, default=start)), changes[-1])
                worst = max(worst, changed - max((t for t in told if t <= changed), default=start))
            else:
                worst = max(worst, changes[-1] - start)
        return worst * 1000


def step(world, watches, event, action, kinds):
    """`action` leads to forwarding of these `kinds`: our reaction in ms, and what was lost meanwhile, by family."""
    from lab import poll
    prefixes = event.site.prefixes
    before = {prefix: {name: watches.forwarding[name].kind(prefix) for name in kinds} for prefix in prefixes}
    with world.load(event.site, families=FAMILIES) as load:
        time.sleep(WARM_UP)
        start = time.time()
        action(world)
        poll(f"{event.name}: forwarding is {kinds}", lambda: watches.are(prefixes, kinds), SLOWEST, 0.02)
        time.sleep(AFTER)
    watches.note(world, event, start)
    steps = {}
    each = len(load.results) // len(FAMILIES)
    for n, (family, prefix) in enumerate(zip(FAMILIES, prefixes, strict=True)):
        flows = load.results[n * each:(n + 1) * each]
        # Flows take turns: one from the VNet, one from the site. A request that was lost has no answer that could be.
        there, back = (sum(r.lost_there for r in flows[way::2]) for way in (0, 1))
        steps[family] = Step(watches.reaction_ms(event, kinds, prefix, before[prefix], start), there, back, sum(r.lost for r in flows))
    return steps


def one(world, watches, event, runs):
    """(the failures, the returns): of each run, the steps by family"""
    event.prepare(world)
    world.settle()
    failures, returns = [], []
    for _ in range(runs):
        failures.append(step(world, watches, event, event.begin, event.to))
        world.settle(but=event.site)
        returns.append(step(world, watches, event, event.end, event.back))
        world.settle()
    event.clean_up(world)
    return failures, returns


def median_and_worst(values):
    return f"{statistics.median(values):6.0f} / {max(values):6.0f}"


def show(event, failures, returns):
    for words, runs in ((event.summary, failures), ("... and back", returns)):
        for family in FAMILIES:
            steps = [run[family] for run in runs]
            print(f"{words:<72.72} IPv{family}: reaction {median_and_worst([s.reaction_ms for s in steps])} ms, lost there "
                  f"{median_and_worst([s.lost_there for s in steps])}, back {median_and_worst([s.lost_back for s in steps])}  "
                  f"({event.router})", file=sys.stderr, flush=True)


@functools.cache
def measured(setup):
    """The one run that all rows of a setup are of: what measure() found, or what went wrong."""
    try:
        return measure(setup), None
    except Exception as fault:  # each row says it
        return {}, fault


def results(row, name):
    found, fault = measured(SETUPS[row.setup])
    if fault:
        raise fault
    event, failures, returns = found[name]
    return event, [row.of(run) for run in failures], [row.of(run) for run in returns]


@dataclass(frozen=True)
class Row:
    """Which setup, and which family: none: the worse of both."""

    setup: str = ""
    family: int | None = 4

    def of(self, run):
        if self.family:
            return run[self.family]
        steps = list(run.values())
        return Step(*(max(getattr(s, field) for s in steps) for field in ("reaction_ms", "lost_there", "lost_back", "lost")))

    def name(self, event):
        front = f"failover-{self.setup}-" if self.setup else "failover-"
        return f"{front}{event}{'-ipv6' if self.family == 6 else ''}"


def measure(setup):
    """Event name -> (event, failures, returns)"""
    from coexistence import Coexistence
    with Coexistence(f"bench_failover{'-' * bool(setup.name)}{setup.name}", ports=setup.ports, two_pairs=setup.two_pairs) as world:
        watches = Watches(world)
        found = {}
        try:
            for event in events(setup):
                found[event.name] = (event, *one(world, watches, event, setup.runs()))
                show(*found[event.name])
        finally:
            watches.close()
    return found


def reaction(row, name):
    event, failures, _ = results(row, name)
    times = [s.reaction_ms for s in failures]
    lost = [max(s.lost_there, s.lost_back) for s in failures]
    middle = statistics.median(times)
    return {"value": middle, "worst": max(times), "unit": "ms", "reference": f"outage, with {event.router}",
            "reference_value": statistics.median(lost), "ratio": 0.0, "runs": len(times),
            "spread": (max(times) - min(times)) / max(middle, 0.001),
            "note": f"{event.summary}; worst {max(times):.0f} ms; lost of 1,000 packets/s, VNet to site "
                    f"{median_and_worst([s.lost_there for s in failures])}, site to VNet "
                    f"{median_and_worst([s.lost_back for s in failures])} (median / worst)."}


def loss(row, names, only_returns):
    """The worst of all."""
    rows = [results(row, name) for name in names]
    steps = [s for _, failures, returns in rows for s in (returns if only_returns else failures + returns)]
    times = statistics.median(s.reaction_ms for s in steps)
    return {"value": max(s.lost for s in steps), "unit": "packets", "reference": "of these sent", "reference_value": 0.0, "ratio": 0.0,
            "runs": len(steps), "spread": 0.0, "note": f"reaction {times:.0f} ms (median); routers: {', '.join(sorted({e.router for e, *_ in rows}))}."}


FAILURES = ("circuit-withdrawn", "circuit-silent", "tunnel-silent", "tunnels-silent")
ROWS = (Row(), Row(family=6), Row("xsk", None), Row("two-pairs", None))
WORDS = {Row(): "", Row(family=6): ", IPv6", Row("xsk", None): ", xsk ports", Row("two-pairs", None): ", two pairs"}


def benchmarks():
    found = {}
    for row in ROWS:
        for name in FAILURES:
            found[row.name(name)] = (f"our reaction: {name.replace('-', ' ')}{WORDS[row]}", functools.partial(reaction, row, name))
        for name, words, events_of, only_returns in (
                ("return", "packets lost when the failed path is back", FAILURES, True),
                ("planned", "packets lost by planned work on the circuit and back", ("planned",), False),
                ("policy", "packets lost by preferring the VPN and back", ("policy",), False)):
            found[row.name(name)] = (words + WORDS[row], functools.partial(loss, row, events_of, only_returns))
    return found


BENCHMARKS = benchmarks()
