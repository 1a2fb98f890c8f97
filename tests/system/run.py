#!/usr/bin/env python3
"""Runs the system tests, some modules at a time: run.py [--jobs N] [--modules NAME,...] [arguments of pytest].

Most tests wait: for timers of IKE and BGP, for packets that must not come. Each module is one pytest in a mount namespace
with a /run and a /tmp of its own, and so with names of network namespaces of its own; a module's tests run one after
the other, as they share a world. The output of a module that did not plainly pass is shown; all are in build/logs/.

Some wait for real time: where few tests fail, they run once more when nothing presses, and it is said which did. What fails
again, or too many, fails the run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOGS = HERE.parents[1] / "build" / "logs"

# The long ones first, or the last of them runs alone in the end.
LONG = ("test_coexistence", "test_failures", "test_doctor_coexistence", "test_handover", "test_esp_inbound", "test_doctor", "test_plugin",
        "test_bfd", "test_hostile_bgp", "test_rekey", "test_fastpath", "test_config", "test_esp_replay", "test_interop_kernel")
# Two instances with their routers and sites, who notice each other's silence after 150 ms; and floods. Never more than
# MOST_HEAVY at a time; and as long as there are any, something else runs beside them.
HEAVY = re.compile(r"test_(ha_|two_pairs|flood|many_neighbours)")
MOST_HEAVY = 2

OWN_NAMESPACE = """
set -e
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=0755 run /run
mkdir -p /run/netns /run/lock /run/gw/bpf /run/frr
mount -t bpf bpf /run/gw/bpf
exec "$@"
"""
NO_TESTS = 5  # pytest's status when none was chosen
MOST_AGAIN = 12  # tests that may have a second try
FAILED = re.compile(r"^(?:FAILED|ERROR): (test_\w+\.py::.*); logs: ", re.MULTILINE)  # conftest.py's words
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")


def modules(chosen: str) -> list[str]:
    names = sorted(path.stem for path in HERE.glob("test_*.py"))
    if chosen:
        unknown = set(chosen.split(",")) - set(names)
        if unknown:
            sys.exit(f"run.py: no such module: {', '.join(sorted(unknown))}")
        names = chosen.split(",")
    return sorted(names, key=lambda name: LONG.index(name) if name in LONG else len(LONG))


def run_module(name: str, arguments: list[str], tests: list[str] | None = None) -> tuple[int, Path]:
    """tests: only these, of a second try."""
    log = LOGS / f"{name}.{'again' if tests else 'pytest'}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_NAMESPACE, "sh", sys.executable, "-m", "pytest",
               *(str(HERE / test) for test in tests or [f"{name}.py"]), "-p", "no:cacheprovider", "-q", "-rsxX", "--durations=8", *arguments]
    with log.open("wb") as output:
        return subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode, log


class Waiting:
    """Modules that wait for their turn: heavy ones as soon as they may, then the others."""

    def __init__(self, names: list[str]):
        self.heavy = [name for name in names if HEAVY.match(name)]
        self.light = [name for name in names if not HEAVY.match(name)]
        self.heavy_running = 0
        self.changed = threading.Condition()

    def take(self) -> str | None:
        with self.changed:
            while True:
                if self.heavy and self.heavy_running < MOST_HEAVY:
                    self.heavy_running += 1
                    return self.heavy.pop(0)
                if self.light:
                    return self.light.pop(0)
                if not self.heavy:
                    return None
                self.changed.wait()

    def done(self, name: str):
        with self.changed:
            if HEAVY.match(name):
                self.heavy_running -= 1
            self.changed.notify_all()


class Run:
    def __init__(self, names: list[str], arguments: list[str]):
        self.arguments = arguments
        self.waiting = Waiting(names)
        self.lock = threading.Lock()
        self.counts: dict[str, int] = {}
        self.failed: dict[str, list[str]] = {}  # module -> its tests that failed, as pytest names them

    def work(self):
        while (name := self.waiting.take()) is not None:
            start = time.monotonic()
            status, log = run_module(name, self.arguments)
            self.waiting.done(name)
            with self.lock:
                self.finished(name, status, log.read_text(errors="replace"), time.monotonic() - start)

    def finished(self, name: str, status: int, output: str, seconds: float):
        if status == NO_TESTS:
            return
        last = output.rstrip().rpartition("\n")[2]
        counts = {kind.removesuffix("s") if kind == "errors" else kind: int(n) for n, kind in COUNT.findall(last)}
        for kind, n in counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + n
        if status != 0:
            self.failed[name] = FAILED.findall(output)
        if status != 0 or set(counts) != {"passed"}:
            print(output)
        words = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or f"pytest ended with {status}"
        print(f"{name}: {words} in {seconds:.0f} s", flush=True)


    def try_again(self):
        """One module at a time. A module without a name of a test that failed broke in another way."""
        if not self.failed or sum(map(len, self.failed.values())) > MOST_AGAIN:
            return
        for name, tests in list(self.failed.items()):
            if not tests:
                continue
            print(f"once more, alone: {' '.join(tests)}", flush=True)
            status, log = run_module(name, self.arguments, tests)
            if status == 0:
                del self.failed[name]
                print(f"{name}: they pass alone; what they said first is above", flush=True)
            else:
                print(log.read_text(errors="replace"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=min(cores, 4), help="modules at a time")
    parser.add_argument("--modules", default="", help="only these, with commas between them")
    options, arguments = parser.parse_known_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    run = Run(modules(options.modules), arguments)
    workers = [threading.Thread(target=run.work, daemon=True) for _ in range(max(1, options.jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    run.try_again()
    words = ", ".join(f"{n} {kind}" for kind, n in sorted(run.counts.items())) or "none ran"
    print(f"system tests: {words} in {time.monotonic() - start:.0f} s, {options.jobs} modules at a time")
    for name in run.failed:
        print(f"FAILED: {name}; output: build/logs/{name}.pytest, logs: build/logs/{name}*/")
    return 1 if run.failed or not run.counts else 0


if __name__ == "__main__":
    sys.exit(main())
