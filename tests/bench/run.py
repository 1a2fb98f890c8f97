#!/usr/bin/env python3
"""./dev bench [NAME...] [--json] [--list] [--record] [--calibrate]: runs benchmarks and prints a table, or JSON lines.

What each has to reach is in targets.py. --record writes the table and a plot into docs/benchmarks.md; --calibrate
makes the figures of raw ipsec-mb the known ones of this CPU (known_cpus.json), which later runs are checked against.

Benchmarks come from two places:
  * gw-bench (C++), which lists its own names: see bench.hpp;
  * every tests/bench/<area>_bench.py, which has BENCHMARKS = {name: (summary, function)}; the function takes
    nothing and returns the result as a dict with the keys of FIELDS (without "name"), or raises. A "note" is optional.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import machine
import record
from targets import TARGETS, calibrate, place, why_invalid

HERE = pathlib.Path(__file__).resolve().parent
BINARY = HERE.parents[1] / "build" / "release" / "bin" / "gw-bench"
FIELDS = ("name", "value", "unit", "reference", "reference_value", "ratio", "runs", "spread")


class BenchError(Exception):
    """Said to the user in one line."""


def cpp_benchmarks():
    if not BINARY.exists():
        raise BenchError(f"{BINARY} is not built; ./dev bench builds it, or: ./dev build release gw-bench")
    listing = subprocess.run([BINARY, "--list"], capture_output=True, text=True, check=True).stdout
    return {name: (summary, lambda name=name: run_cpp(name))
            for name, summary in (line.split("\t", 1) for line in listing.splitlines())}


def run_cpp(name):
    done = subprocess.run([BINARY, name], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip() or f"gw-bench {name} ended with {done.returncode}")
    return json.loads(done.stdout)


def python_benchmarks():
    found = {}
    for path in sorted(HERE.glob("*_bench.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(HERE))
        spec.loader.exec_module(module)
        found.update(module.BENCHMARKS)
    return found


def checked(name, result):
    result = {**result, "name": name}
    missing = [f for f in FIELDS if f not in result]
    if missing:
        raise BenchError(f"{name}: its result has no {', '.join(missing)}")
    target = TARGETS.get(name)
    result["invalid"] = why_invalid(result, machine.cpu_model())
    result["verdict"] = "invalid" if result["invalid"] else target.verdict(result) if target else ""
    return {f: result[f] for f in (*FIELDS, "verdict", "invalid", "note") if result.get(f) is not None}


def scaled(value):
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {letter}"
    return f"{value:.2f} "


def bounds(name):
    target = TARGETS.get(name)
    if not target:
        return ("", "")
    return tuple(f"{b:g}" if target.field == "ratio" else scaled(b).strip() for b in (target.least, target.aim))


def table_line(r):
    measured = scaled(r["value"]) + r["unit"]
    against = scaled(r["reference_value"]) + r["unit"]
    least, aim = bounds(r["name"])
    line = (f"{r['name']:<18} {measured:>18} {against:>18} {r['ratio']:>7.3f} {least:>8} {aim:>7} {r['verdict']:<8} "
            f"{r['spread'] * 100:>5.1f} %  {r['reference']}")
    return line + (f"\n{'':<18} invalid: {r['invalid']}" if r.get("invalid") else "")


HEADER = (f"{'name':<18} {'measured':>18} {'reference':>18} {'ratio':>7} {'at least':>8} {'aim':>7} {'verdict':<8} "
          f"{'spread':>7}  against")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Run benchmarks by name; all without a name.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--record", action="store_true", help="write the results into docs/benchmarks.md; rows of other benchmarks stay")
    parser.add_argument("--calibrate", action="store_true",
                        help="make raw ipsec-mb's figures of this run the known ones of this CPU (quiet machine!)")
    return parser.parse_args()


def family(asked, known):
    return [asked] if asked in known else [n for n in known if n.startswith(asked + "-")] or [asked]


def run_all(names, known, as_json):
    results, failed = [], 0
    for name in names:
        try:
            results.append(checked(name, known[name][1]()))
        except Exception as error:  # one benchmark that fails does not hide the others
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = 1
            continue
        print(json.dumps(results[-1]) if as_json else table_line(results[-1]), flush=True)
    return results, failed


def main():
    args = parse_arguments()
    known = {**cpp_benchmarks(), **python_benchmarks()}
    # "failover" is all of failover-*.
    names = sorted({n for asked in args.names for n in family(asked, known)} if args.names else known, key=place)
    if args.list:
        for name in names:
            print(f"{name:<18} {known[name][0]}")
        return 0
    unknown = [n for n in names if n not in known]
    if unknown:
        raise BenchError(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}")
    busy = machine.wait_until_quiet()
    if busy > 0.08:
        print(f"bench: {busy * 100:.0f} % of the CPUs are busy with something else: expect invalid results",
              file=sys.stderr)
    if args.record:
        os.environ["GW_BENCH_RECORD"] = "1"  # some run longer for the record
    if not args.json:
        print(HEADER)
    results, failed = run_all(names, known, args.json)
    if args.calibrate:
        print(f"known from now on for {machine.cpu_model()}, ns: {calibrate(results, machine.cpu_model())}",
              file=sys.stderr)
    if args.record and results:
        command = " ".join(["./dev bench", *args.names])
        record.write(results, {**machine.describe(), "busy": busy}, command)
        print(f"written: {record.PAGE} and {record.PLOT}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
