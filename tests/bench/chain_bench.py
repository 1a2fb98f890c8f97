"""Benchmarks of whole gateways: host - gateway = gateway - host, all on two CPUs (chain_lab.py).

Each repeat runs both systems one after the other on the same links, so that a busy machine disturbs both.
"""
from statistics import median

from chain_lab import Chain, Gateways, Libipsec, Routing, WireguardGo

REPEATS = 3
SECONDS = 4.0
PAYLOADS = (64, 512)
# Offered packets a second, upwards by the root of two; the most that arrive count. Well beyond a system's limit less
# arrives: the host's own sending takes the CPU.
OFFERED = tuple(int(50_000 * 2 ** (step / 2)) for step in range(9))
PAST_THE_BEST = 0.8  # of the most: no need to go on
GATEWAYS = ()  # options of gw-fastpath: none, so the kind of the ports is chosen automatically


def tcp(chain):
    return chain.tcp_bits(SECONDS)


def most_packets(chain, payload):
    best = 0.0
    for offered in OFFERED:
        arrived = chain.udp_packets(payload, offered)
        best = max(best, arrived)
        if arrived < PAST_THE_BEST * best:
            break
    return best


def udp(chain):
    """The mean over the payloads, each weighted the same."""
    rates = [most_packets(chain, payload) for payload in PAYLOADS]
    return len(rates) / sum(1 / r for r in rates)


def measure(system, load, *options):
    with Chain() as chain, system(chain, *options):
        return load(chain)


def compare(load, reference, unit):
    ours, theirs = [], []
    for _ in range(REPEATS):
        theirs.append(measure(reference, load))
        ours.append(measure(Gateways, load, *GATEWAYS))
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {"value": median(ours), "unit": unit, "reference": reference.name, "reference_value": median(theirs),
            "ratio": median(ratios), "runs": REPEATS, "spread": (max(ratios) - min(ratios)) / median(ratios)}


BENCHMARKS = {
    "chain-wireguard-go": ("TCP through two gateways on two CPUs, against wireguard-go", lambda: compare(tcp, WireguardGo, "bit/s")),
    "chain-libipsec": ("the same against strongSwan's kernel-libipsec", lambda: compare(tcp, Libipsec, "bit/s")),
    "chain-udp": ("the same, UDP of 64 and 512 bytes in 8 flows, against wireguard-go", lambda: compare(udp, WireguardGo, "packet/s")),
    "chain-routing": ("TCP against plain routing without crypto", lambda: compare(tcp, Routing, "bit/s")),
}
