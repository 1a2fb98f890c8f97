"""bgp-delta: a tunnel's neighbour taken from and given to bgpd among 500 established ones (../system/many_neighbours.py).
bgp-to-fastpath: from an UPDATE to a forwarded packet (bgp_latency.py). bgp-full-table: an Internet table (bgp_table.py)."""
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from bgp_latency import measure  # noqa: E402
from bgp_table import full_table  # noqa: E402
from many_neighbours import ManyNeighbours  # noqa: E402

COUNT, RUNS = 500, 30
ROUNDS = 200


def delta():
    with ManyNeighbours("bench_bgp_delta", COUNT) as lab:
        times = lab.measure(RUNS)
        after = lab.sessions()
    if len(after) != COUNT:
        raise RuntimeError(f"BIRD has {len(after)} sessions, not {COUNT}")
    both = sorted(times["remove_ms"] + times["add_ms"])
    return {"value": both[-1], "unit": "ms", "reference": "the same, median", "reference_value": statistics.median(both),
            "ratio": 0.0, "runs": RUNS, "spread": (both[-1] - both[0]) / statistics.median(both),
            "note": f"the slowest of {RUNS} removals and {RUNS} additions among {COUNT} established sessions; median: remove "
                    f"{statistics.median(times['remove_ms']):.2f} ms, add {statistics.median(times['add_ms']):.2f} ms."}


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def to_fastpath():
    found = measure(ROUNDS)
    ours, kernel = [a for a, _ in found], [b for _, b in found]
    return {"value": quantile(ours, 0.99), "unit": "ms", "reference": "FRR's own way: the kernel's route, p99",
            "reference_value": quantile(kernel, 0.99), "ratio": quantile(kernel, 0.99) / quantile(ours, 0.99),
            "runs": ROUNDS, "spread": (quantile(ours, 0.99) - quantile(ours, 0.5)) / quantile(ours, 0.99),
            "note": f"UPDATE on the tunnel's device to the first packet forwarded, {ROUNDS} announcements; median "
                    f"{quantile(ours, 0.5):.2f} ms, FRR's kernel route {quantile(kernel, 0.5):.1f} ms."}


BENCHMARKS = {
    "bgp-delta": ("one tunnel's BGP neighbour added or removed among 500, slowest", delta),
    "bgp-full-table": ("a whole Internet table from a site's UPDATEs into the forwarding table", full_table),
    "bgp-to-fastpath": ("from a BGP UPDATE to a forwarded packet, p99", to_fastpath),
}
