#!/usr/bin/env python3
"""./dev bench [NAME...] [--json] [--list]: runs benchmarks and prints a table, or JSON lines.

Benchmarks come from two places:
  * gw-bench (C++), which lists its own names: see bench.hpp;
  * every tests/bench/<area>_bench.py, which has BENCHMARKS = {name: (summary, function)}; the function takes
    nothing and returns the result as a dict with the keys of FIELDS (without "name"), or raises.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys

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
    return {f: result[f] for f in FIELDS}


def scaled(value):
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {letter}"
    return f"{value:.2f} "


def table_line(r):
    measured = scaled(r["value"]) + r["unit"]
    against = scaled(r["reference_value"]) + r["unit"]
    return f"{r['name']:<18} {measured:>18} {against:>18} {r['ratio']:>7.3f} {r['spread'] * 100:>6.1f} %  {r['reference']}"


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Run benchmarks by name; all without a name.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", action="store_true", help="only print the names")
    args = parser.parse_args()
    known = {**cpp_benchmarks(), **python_benchmarks()}
    if args.list:
        for name, (summary, _) in known.items():
            print(f"{name:<18} {summary}")
        return 0
    unknown = [n for n in args.names if n not in known]
    if unknown:
        raise BenchError(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}")
    if not args.json:
        print(f"{'name':<18} {'measured':>18} {'reference':>18} {'ratio':>7} {'spread':>8}  against")
    failed = 0
    for name in args.names or known:
        try:
            result = checked(name, known[name][1]())
        except Exception as error:  # one benchmark that fails does not hide the others
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = 1
            continue
        print(json.dumps(result) if args.json else table_line(result), flush=True)
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
