"""What each benchmark has to reach, and what the reference reaches on CPUs that we know."""
import json
import pathlib

HIGHER, LOWER = "at least", "at most"


class Target:
    """`field`: which number of the result counts. `least` must be reached, `aim` is where the next round starts."""

    def __init__(self, field, least, aim, sense=HIGHER):
        self.field, self.least, self.aim, self.sense = field, least, aim, sense

    def reached(self, result, bound):
        value = result[self.field]
        return value >= bound if self.sense == HIGHER else value <= bound

    def verdict(self, result):
        if self.reached(result, self.aim):
            return "aim met"
        return "met" if self.reached(result, self.least) else "NOT MET"

    def share_of_aim(self, result):
        """1.0: the aim; more is better."""
        if self.aim == 0:
            return float(result[self.field] == 0)
        value = max(result[self.field], 1e-9)
        return value / self.aim if self.sense == HIGHER else self.aim / value

    def least_of_aim(self):
        if self.least == self.aim:
            return 1.0
        return self.least / self.aim if self.sense == HIGHER else self.aim / self.least


class Reaction(Target):
    """Milliseconds: the median and the worst, each with a bound."""

    def __init__(self, median, worst):
        super().__init__("value", median, median, LOWER)
        self.worst = worst

    def reached(self, result, bound):
        return super().reached(result, bound) and result["worst"] <= self.worst


def ratio(least, aim):
    return Target("ratio", least, aim)


TARGETS = {
    "esp-1408": ratio(0.72, 0.82),
    "esp-512": ratio(0.55, 0.68),
    "esp-64": ratio(0.28, 0.40),
    "esp-decap-1408": ratio(0.72, 0.82),
    "esp-decap-64": ratio(0.28, 0.38),
    "path-1408": ratio(0.55, 0.68),
    "path-64": ratio(0.16, 0.25),
    "sa-1k": ratio(0.60, 0.80),
    "sa-10k": ratio(0.55, 0.75),
    "sa-60k": ratio(0.50, 0.70),
    "workers-2": ratio(1.8, 1.8),
    "xsk-encap-1400": ratio(0.75, 0.85),
    "xsk-encap-60": ratio(0.80, 0.90),
    "chain-wireguard-go": ratio(8, 10),
    "chain-libipsec": ratio(8, 10),
    "chain-udp": ratio(4, 8),
    "chain-routing": ratio(0.48, 0.60),
    "fib-v4": ratio(0.8, 1.0),
    "fib-v6": ratio(0.8, 1.0),
    "fib-update": Target("value", 0.5e6, 1e6),
    "fib-update-stall": Target("value", 1000, 100, LOWER),
    "routes-merge": Target("value", 1e6, 1.5e6),
    "routes-memory": Target("value", 200, 110, LOWER),
    "routes-policy": Target("value", 1.0, 0.8, LOWER),
    "routes-what-if": Target("value", 50, 20, LOWER),
    "bgp-delta": Target("value", 10, 5, LOWER),
    "bgp-to-fastpath": Target("value", 5, 2, LOWER),
    "failover-circuit-withdrawn": Reaction(10, 30),
    "failover-circuit-silent": Reaction(320, 350),
    "failover-tunnel-silent": Reaction(320, 350),
    "failover-tunnels-silent": Reaction(320, 350),
    "failover-return": Target("value", 0, 0, LOWER),
    "failover-planned": Target("value", 0, 0, LOWER),
    "failover-policy": Target("value", 0, 0, LOWER),
    "ha-dual": Reaction(160, 200),
    "ha-single": Reaction(350, 500),
    "ha-etcd": Reaction(2500, 2800),  # a TTL of 2 s; the worst: 500 ms until etcd looks, 200 ms until gwd does
    "ha-drain": Target("value", 0, 0, LOWER),
    "ha-fastpath-restart": Reaction(10, 10),
    "ha-sync-cost": ratio(0.98, 0.99),
    "ha-sync-lag": Target("value", 10, 5, LOWER),
    "ha-takeovers": Target("value", 0, 0, LOWER),
    "soak-xsk": Target("value", 2, 0.5, LOWER),
    "soak-gso": Target("value", 2, 0.5, LOWER),
    "flood-xsk": Target("value", 1, 0.1, LOWER),
    "flood-gso": Target("value", 1, 0.1, LOWER),
    "latency-p50": Target("value", 30, 15, LOWER),
    "latency-p99": Target("value", 200, 60, LOWER),
}

# IPv6 and xsk ports have the same bounds. With two pairs one tells the other by BGP: nothing may be lost, either.
FAILOVER = {name: target for name, target in TARGETS.items() if name.startswith("failover-")}
TARGETS |= {f"{name}-ipv6": target for name, target in FAILOVER.items()}
TARGETS |= {name.replace("failover-", "failover-xsk-"): target for name, target in FAILOVER.items()}
TARGETS |= {name.replace("failover-", "failover-two-pairs-"): target for name, target in FAILOVER.items()
            if not isinstance(target, Reaction)}


def place(name):
    """In the order of the targets; what has none of its own, behind the one that its name begins with."""
    listed = [i for i, target in enumerate(TARGETS) if name == target or name.startswith(target + "-")]
    return (listed[-1] if listed else len(TARGETS), name)

# Rows whose reference is raw ipsec-mb: which row's known figure is theirs.
RAW_ROWS = {
    "esp-1408": "esp-1408", "esp-512": "esp-512", "esp-64": "esp-64",
    "esp-decap-1408": "esp-decap-1408", "esp-decap-64": "esp-decap-64",
    "path-1408": "esp-1408", "path-64": "esp-64",
}
KNOWN_CPUS = pathlib.Path(__file__).with_name("known_cpus.json")
TOLERANCE = 0.15


def known_cpus():
    """CPU model -> row -> ns per packet of raw ipsec-mb, on a quiet machine."""
    return json.loads(KNOWN_CPUS.read_text())


def why_invalid(result, cpu):
    """A sentence if the reference is not what this CPU does when it is left alone; None if all is well or unknown."""
    known = known_cpus().get(cpu, {}).get(RAW_ROWS.get(result["name"]))
    if known is None or not result["reference_value"]:
        return None
    measured = 1e9 / result["reference_value"]
    if abs(measured / known - 1) <= TOLERANCE:
        return None
    return (f"raw ipsec-mb took {measured:.1f} ns, {100 * (measured / known - 1):+.0f} % off the {known:.1f} ns of "
            f"this CPU: the machine was busy (or throttled)")


def calibrate(results, cpu):
    """Makes these results' references the known figures of this CPU."""
    cpus = known_cpus()
    figures = cpus.setdefault(cpu, {})
    for r in results:
        if RAW_ROWS.get(r["name"]) == r["name"]:
            figures[r["name"]] = round(1e9 / r["reference_value"], 1)
    KNOWN_CPUS.write_text(json.dumps(cpus, indent=2, sort_keys=True) + "\n")
    return figures
