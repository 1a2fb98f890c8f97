"""The machine that a benchmark runs on: what it is, and whether it is left alone."""
import os
import pathlib
import platform
import time


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def describe():
    memory = next(int(line.split()[1]) for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
                  if line.startswith("MemTotal"))
    virtual = "virtual machine" if "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text() else "bare metal"
    return {"cpu": cpu_model(), "cpus": os.cpu_count(), "memory": f"{memory / 2**20:.0f} GiB", "kind": virtual,
            "kernel": platform.release()}


def busy_share(seconds=1.0):
    """Of all CPUs, 0 to 1."""
    def read():
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]
    total, idle = read()
    time.sleep(seconds)
    total2, idle2 = read()
    return 1 - (idle2 - idle) / max(total2 - total, 1)


def wait_until_quiet(limit_s=20, share=0.08):
    """The busy share in the end: above `share` if the machine did not get quiet in time."""
    deadline = time.monotonic() + limit_s
    while True:
        busy = busy_share()
        if busy <= share or time.monotonic() > deadline:
            return busy
