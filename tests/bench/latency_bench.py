"""latency-p50, latency-p99: how much later a packet arrives through two gateways than through plain forwarding, at
10 % of the packets that the gateways carry, ports chosen automatically (chain_lab.py). Systems take turns; a third one
shows what two processes cost that only copy.
"""
import functools
import pathlib
import statistics
import subprocess
import sys

from chain_lab import HOST_B, Chain, ChainError, Gateways, Routing, UserSpaceCopy, inside, run, until

PROBE = pathlib.Path(__file__).with_name("latency_probe.py")
PORT, RATE, SECONDS = 7007, 1000, 4
REPEATS = 3
PAYLOAD, FLOWS = 512, 8
LOAD = 0.1
CAPACITY_OFFERED = 400_000  # packets/s, more than the hosts can send on two CPUs


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def one_way(chain, load):
    """Microseconds of each probe that arrived, while `load` packets a second flow."""
    background = chain.start("chB", "iperf3", "-s", "-1")
    until("iperf3 listens", lambda: "5201" in run(*inside("chB", "ss", "-Hltn")))
    client = chain.start("chA", "iperf3", "-c", HOST_B, "-u", "-l", PAYLOAD, "-P", FLOWS, "-t", SECONDS + 4, "-b",
                         int(load * PAYLOAD * 8 / FLOWS))
    output = chain.dir / "probes"
    with output.open("wb") as sink:

        receiver = subprocess.Popen(inside("chB", sys.executable, PROBE, "receive", PORT, 10), stdout=sink)
        until("the receiver listens", lambda: str(PORT) in run(*inside("chB", "ss", "-Hlun")))
        run(*inside("chA", sys.executable, PROBE, "send", HOST_B, PORT, RATE * SECONDS, RATE))
        receiver.wait(20)
    for process in (client, background):
        chain.end(process)
    times = [int(line) / 1000 for line in output.read_text().split()]
    if len(times) < RATE * SECONDS * 0.9:
        raise ChainError(f"only {len(times)} of {RATE * SECONDS} probes arrived")
    return times


@functools.cache
def measure():
    """(quantile, system name) -> one value a repeat."""
    found = {}
    with Chain() as chain, Gateways(chain):
        load = LOAD * chain.udp_packets(PAYLOAD, CAPACITY_OFFERED, streams=FLOWS)
    for _ in range(REPEATS):
        for system in (Routing, UserSpaceCopy, Gateways):
            with Chain() as chain, system(chain):
                times = one_way(chain, load)
            for q in (0.5, 0.99):
                found.setdefault((q, system.name), []).append(quantile(times, q))
    return found, load


def added(q):
    found, load = measure()
    ours, plain = found[q, Gateways.name], found[q, Routing.name]
    differences = sorted(a - b for a, b in zip(ours, plain))
    copied = statistics.median(a - b for a, b in zip(found[q, UserSpaceCopy.name], plain))
    middle = statistics.median(differences)
    return {"value": middle, "unit": "us", "reference": "plain forwarding, the same packets",
            "reference_value": statistics.median(plain), "ratio": 0.0, "runs": REPEATS,
            "spread": (differences[-1] - differences[0]) / max(abs(middle), 1.0),
            "note": f"through both gateways, with {load:,.0f} packets of {PAYLOAD} B a second in {FLOWS} flows. Two "
                    f"processes that only copy between TUN and UDP ({UserSpaceCopy.name}) add {copied:.1f} us."}


BENCHMARKS = {
    "latency-p50": ("one-way latency that two gateways add at 10 % load, median", functools.partial(added, 0.5)),
    "latency-p99": ("the same, the slowest of a hundred", functools.partial(added, 0.99)),
}
