"""fib-v4, fib-v6: lookups of random addresses in a full Internet table against dpdk-test-fib (DIR24-8, trie) with
the same routes and addresses. fib-update, fib-update-stall: updates in random order while packets flow.

dpdk-test-fib runs every lookup function that this CPU has; the fastest one is the reference. Both sides take turns.
"""
import functools
import json
import pathlib
import re
import statistics
import subprocess
import tempfile

BINARY = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "gw-bench"
RUNS = 3
# Entry bytes and lookup function. Its IPv6 trie needs more nodes than 2-byte entries can name.
VARIANTS = {"v4": [("2", "s1"), ("2", "s3"), ("2", "v"), ("4", "s1"), ("4", "v")], "v6": [("4", "s"), ("4", "v")]}
MEMORY_MIB = {"v4": 1024, "v6": 2048}
GROUPS = {"v4": "4000", "v6": "250000"}


def tool(*arguments):
    done = subprocess.run([BINARY, "--tool", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"gw-bench --tool {arguments[0]} ended with {done.returncode}")
    return done.stdout


def dpdk_cycles(family, folder, variant):
    """Cycles of the time stamp counter per lookup; None: not on this CPU."""
    entry, function = variant
    command = ["dpdk-test-fib", "--no-huge", "--no-pci", "-m", str(MEMORY_MIB[family]), "--no-telemetry",
               "--log-level=1", "--force-max-simd-bitwidth=512", "--", *(["-6"] if family == "v6" else []),
               "-f", f"{folder}/routes-{family}.txt", "-t", f"{folder}/addresses-{family}.txt",
               "-b", "dir" if family == "v4" else "trie", "-e", entry, "-g", GROUPS[family], "-v", function]
    # Taking the routes out again, after the lookups, is of no interest here.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = []
    try:
        for line in process.stdout:
            output.append(line)
            found = re.match(r"AVG FIB lookup ([\d.]+)", line)
            if found:
                return float(found[1])
    finally:
        process.kill()
        process.wait()
    if "Can not init lookup function" in output[-1]:
        return None
    raise RuntimeError(f"dpdk-test-fib {family}: {output[-1].strip() if output else 'no output'}")


def lookups(family):
    with tempfile.TemporaryDirectory() as folder:
        tool("fib-files", folder)
        cycles = {v: dpdk_cycles(family, folder, v) for v in VARIANTS[family]}
        best = min((v for v in cycles if cycles[v]), key=lambda v: cycles[v])
        ours, theirs = [], []
        for i in range(RUNS):
            for side in ((0, 1) if i % 2 == 0 else (1, 0)):
                if side == 0:
                    details = json.loads(tool("fib-lookup", family))
                    ours.append(details["rate"])
                else:
                    theirs.append(dpdk_cycles(family, folder, best))
    theirs = [details["tsc_hz"] / c for c in theirs]
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    name = {"s": "scalar", "s1": "scalar", "s2": "scalar inline", "s3": "scalar uni", "v": "AVX-512"}[best[1]]
    kind = "DIR24-8" if family == "v4" else "trie"
    return {"value": statistics.median(ours), "unit": "lookups/s",
            "reference": f"dpdk-test-fib {kind}, {name}, {best[0]} B entries",
            "reference_value": statistics.median(theirs), "ratio": statistics.median(ratios), "runs": RUNS,
            "spread": (ratios[-1] - ratios[0]) / statistics.median(ratios),
            "note": f"{details['routes']:,} routes loaded in {details['load_s']:.2f} s, "
                    f"{details['control_bytes'] / details['routes']:.0f} B a route in the control thread"
                    + (f"; {details['v6_lines'] * 64 / 2**20:.1f} MiB of lines." if family == "v6" else
                       f"; {details['v4_groups']} groups.")}


@functools.cache
def updates():
    runs = [json.loads(tool("fib-update")) for _ in range(RUNS)]
    return {key: sorted(run[key] for run in runs) for key in runs[0]}


def fib_update():
    r = updates()
    rate = r["updates_per_s"]
    return {"value": statistics.median(rate), "unit": "updates/s", "reference": "packets meanwhile, of those without",
            "reference_value": statistics.median(r["packets_per_s"]),
            "ratio": statistics.median(r["packets_per_s"]) / statistics.median(r["quiet_packets_per_s"]),
            "runs": RUNS, "spread": (rate[-1] - rate[0]) / statistics.median(rate)}


def fib_update_stall():
    r = updates()
    differences = sorted(max(0.0, a - b) for a, b in zip(r["stall_us"], r["quiet_us"]))
    middle = statistics.median(differences)
    return {"value": middle, "unit": "us", "reference": "longest gap between bursts without updates",
            "reference_value": statistics.median(r["quiet_us"]), "ratio": 0.0, "runs": RUNS,
            "spread": (differences[-1] - differences[0]) / max(middle, 1.0)}


BENCHMARKS = {
    "fib-v4": ("IPv4 lookups, full table, random addresses, against DPDK's DIR24-8", functools.partial(lookups, "v4")),
    "fib-v6": ("IPv6 lookups, full table, random addresses, against DPDK's trie", functools.partial(lookups, "v6")),
    "fib-update": ("updates of the full table in random order while packets flow", fib_update),
    "fib-update-stall": ("how much longer packets wait at most while the table is updated", fib_update_stall),
}
