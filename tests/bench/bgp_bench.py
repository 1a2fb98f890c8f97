"""bgp-delta: a tunnel's neighbour taken from and given to bgpd among 500 established ones (../system/many_neighbours.py)."""
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from many_neighbours import ManyNeighbours  # noqa: E402

COUNT, RUNS = 500, 30


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


BENCHMARKS = {"bgp-delta": ("one tunnel's BGP neighbour added or removed among 500, slowest", delta)}
