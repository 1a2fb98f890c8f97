"""Whether the machine itself stood still: a hypervisor takes a virtual CPU away, or all of them, for tens or hundreds of milliseconds.

A process for each CPU, of real-time priority, sleeps for 2 ms again and again and says when that took much longer: nothing that runs
on the machine can keep it from its CPU for so long, so what did was below it. Failure detectors with 150 ms then see failures that
nobody made. A run of a benchmark that was hit is made once more, and the note says how often.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

SLEEP_S = 0.002
PRIORITY = 90
MOST = 3  # times that a run is made before it counts as it is


def watch(limit_s, path):
    """In a process of its own: writes down the moment (monotonic) at which a standstill ended, and its length."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    file = os.open(path, os.O_WRONLY | os.O_APPEND)  # all write to it, each a line at a time
    before = time.monotonic()
    while True:
        time.sleep(SLEEP_S)
        now = time.monotonic()
        if now - before > limit_s:
            os.write(file, f"{now} {now - before}\n".encode())
        before = now


class Standstill:
    """Of the whole `with`. limit_ms: what is shorter does no harm to the benchmark."""

    def __init__(self, limit_ms):
        self.limit_ms, self.repeated, self.kept, self.worst_ms = limit_ms, 0, 0, 0.0
        handle, name = tempfile.mkstemp(prefix="standstill-")
        os.close(handle)
        self._file = pathlib.Path(name)
        self._watches = []

    def __enter__(self):
        for cpu in sorted(os.sched_getaffinity(0)):
            self._watches.append(subprocess.Popen(
                ["taskset", "-c", str(cpu), sys.executable, __file__, str(self.limit_ms / 1000), self._file]))
        return self

    def __exit__(self, *exception):
        for process in self._watches:
            process.kill()
            process.wait()
        self._file.unlink()

    def longest_ms(self, since, until):
        """Of those that had a part of this time (monotonic) in them; 0: none above the limit."""
        found = [tuple(map(float, line.split())) for line in self._file.read_text().splitlines()]
        return max((1000 * length for end, length in found if end >= since and end - length <= until), default=0.0)

    def undisturbed(self, run, time_of=None):
        """What run() gives, from a time in which the machine did not stand still (or from its third time). time_of(result): when
        (from, until) that would have mattered; always, if there is none."""
        for attempt in range(MOST):
            start = time.monotonic()
            result = run()
            stood = self.longest_ms(*(time_of(result) if time_of else (start, time.monotonic())))
            if not stood:
                return result
            self.worst_ms = max(self.worst_ms, stood)
            print(f"the machine stood still for {stood:.0f} ms", file=sys.stderr, flush=True)
            if attempt + 1 < MOST:
                self.repeated += 1
        self.kept += 1
        return result

    def note(self):
        """For the row, empty if there is nothing to say."""
        if not self.worst_ms:
            return ""
        kept = f", {self.kept} count nevertheless" if self.kept else ""
        return f" The machine stood still for more than {self.limit_ms:g} ms (up to {self.worst_ms:.0f}) in {self.repeated + self.kept} runs, which were made once more{kept}."


if __name__ == "__main__":
    watch(float(sys.argv[1]), sys.argv[2])
