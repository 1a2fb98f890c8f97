#!/usr/bin/env python3
"""Runs every fuzzer for some seconds: run.py [SECONDS]. New inputs stay in build/fuzz-corpus; a crash is kept
there, too, and fails the run. Add what found a bug to tests/fuzz/seeds/<name>."""
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    failed = []
    fuzzers = sorted((TOP / "build/fuzz/fuzz").glob("fuzz_*"))
    for fuzzer in fuzzers:
        name = fuzzer.name.removeprefix("fuzz_")
        corpus = TOP / "build/fuzz-corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        print(f"==> {name}: {seconds} s", flush=True)
        done = subprocess.run(
            [fuzzer, f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10", "-verbosity=0", "-print_final_stats=1",
             f"-artifact_prefix={corpus}/", corpus, TOP / "tests/fuzz/seeds" / name], check=False)
        if done.returncode != 0:
            failed.append(name)
    passed = len(fuzzers) - len(failed)
    print(f"{passed} passed, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed or not fuzzers else 0


if __name__ == "__main__":
    sys.exit(main())
