"""routes-merge, routes-memory, routes-policy: the merge with a full Internet table from four sources (1,062,046
prefixes, 4.2 million routes, all attributes of their own in each source), on one core."""
import json
import pathlib
import statistics
import subprocess

BINARY = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "gw-bench"
RUNS = 3


def runs(name):
    out = []
    for _ in range(RUNS):
        done = subprocess.run([BINARY, "--tool", name], capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"gw-bench --tool {name} ended with {done.returncode}")
        out.append(json.loads(done.stdout))
    return out


def result(all_runs, key, unit, reference="", reference_value=0.0, note=""):
    values = sorted(r[key] for r in all_runs)
    middle = statistics.median(values)
    return {"value": middle, "unit": unit, "reference": reference, "reference_value": reference_value, "ratio": 0.0,
            "runs": RUNS, "spread": (values[-1] - values[0]) / middle, "note": note}


def merge():
    r = runs("routes-merge")
    load = statistics.median(x["load_per_s"] for x in r)
    return result(r, "updates_per_s", "updates/s", "the first load of the table", load,
                  f"{r[0]['prefixes']:,} prefixes from four sources; drained after every UPDATE of 5 prefixes.")


def memory():
    r = runs("routes-memory")
    return result(r, "bytes_per_route", "B/route", "of one prefix with its four routes", r[0]["bytes_per_prefix"],
                  f"{r[0]['routes']:,.0f} routes, {r[0]['attribute_sets']:,} sets of attributes, those included.")


def policy():
    r = runs("routes-policy")
    what_if = statistics.median(x["what_if_s"] for x in r)
    return result(r, "seconds", "s", "what-if with another policy", what_if,
                  f"{r[0]['moved']:,} of {r[0]['prefixes']:,} prefixes move.")


def what_if():
    r = runs("routes-policy")
    whole = statistics.median(x["what_if_s"] for x in r)
    survey = statistics.median(x["survey_s"] for x in r)
    return result(r, "slice_ms", "ms", "the whole table at once", whole * 1000,
                  f"Nothing else in gwd waits longer for `gwctl routes what-if` ({whole:.1f} s) and `gwctl doctor` ({survey:.1f} s).")


BENCHMARKS = {
    "routes-merge": ("updates of a full table from four sources, merged, one core", merge),
    "routes-memory": ("memory a route, full table from four sources, attributes included", memory),
    "routes-policy": ("policy change: every route of a full table from four sources judged anew", policy),
    "routes-what-if": ("what-if and doctor on a full table: the longest slice of their look at it", what_if),
}
