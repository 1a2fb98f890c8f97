"""ha-sync-cost, ha-sync-lag: a worker that encrypts with 10,000 SAs in turn, with and without their positions being told to the
other instance every 5 ms, through both gwds' sync channels (sync_bench.cpp)."""
import functools
import json
import pathlib
import subprocess

BINARY = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "gw-bench"


@functools.cache
def measured():
    done = subprocess.run([BINARY, "--tool", "sync-cost"], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"gw-bench --tool sync-cost ended with {done.returncode}")
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # among log lines


def cost():
    m = measured()
    return {"value": m["with"], "unit": "packets/s", "reference": "the same, nothing told", "reference_value": m["without"],
            "ratio": m["ratio"], "runs": m["windows"], "spread": m["spread"],
            "note": f"10,000 SAs, {m['reports']:,.0f} positions told a second; both instances' other threads took {100 * m['cpu']:.0f} % of one CPU for it."}


def lag():
    m = measured()
    return {"value": m["lag_p99_ms"], "unit": "ms", "reference": "the worst of all", "reference_value": m["lag_worst_ms"], "ratio": 0.0,
            "runs": m["windows"], "spread": 0.0, "note": f"from a report until it is acknowledged; {m['reports']:,.0f} positions a second."}


BENCHMARKS = {"ha-sync-cost": ("cost of telling the other instance where 10,000 SAs are", cost),
              "ha-sync-lag": ("how late the other instance is, p99, 10,000 SAs", lag)}
