"""bgp-full-table: a site announces a whole Internet table, and withdraws it by ending its session.

   site --901,899 + 160,147 prefixes--> bgpd -> BMP -> gwd -> gw-fastpath;  bgpd -> zebra -> kernel, and to the other site's router

Meanwhile the other site's packets are forwarded: what they lose, and the longest time without one, is in the note.
"""
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import time
from ipaddress import ip_network

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from bgp_speaker import UPDATE, Speaker, attribute, message, path_bytes, prefix_bytes  # noqa: E402
from lab import BIN, Site, poll  # noqa: E402
from world import World  # noqa: E402

GOOD, PEER = Site(1), Site(2)
OF_ONE_PATH = 8  # prefixes that share attributes: the real table has about that many
RATE = 1000      # packets a second of each of the other site's four flows
LIMIT = 1_000_000
TOO_LATE = 180.0  # s


def table():
    """Prefixes as text, IPv4 first; without those in which the lab's own addresses are."""
    lines = subprocess.run([BIN / "gw-bench", "--tool", "internet-table"], capture_output=True, text=True, check=True).stdout
    lab = {4: [ip_network(n) for n in ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "192.168.0.0/16", "198.51.100.0/24", "203.0.113.0/24")],
           6: [ip_network(n) for n in ("2001:db8::/32", "fc00::/7", "fe80::/10")]}
    networks = map(ip_network, lines.split())
    return [str(n) for n in networks if not any(n.overlaps(own) for own in lab[n.version])]


def update(batch, n):
    """Of prefixes of one family; n: makes the path another one."""
    attributes = attribute(0x40, 1, b"\0") + attribute(0x40, 2, path_bytes((PEER.asn, 3356 + n % 977, 100_000 + n % 70_001)))
    nlri = b"".join(map(prefix_bytes, batch))
    if ":" in batch[0]:
        value = b"\0\2\1\x10" + bytes.fromhex("20010db8000000770000000000000001") + b"\0" + nlri
        attributes, nlri = attributes + struct.pack("!BBH", 0x90, 14, len(value)) + value, b""
    else:
        attributes += attribute(0x40, 3, bytes(map(int, PEER.inner_site.split("."))))
    return message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + nlri)


def forwards(world, prefix):
    said = world.gateway.ctl("--json", "routes", "effective", prefix, check=False, timeout=TOO_LATE)
    return any(r["prefix"] == prefix and r.get("in_fastpath") for r in json.loads(said or "{}").get("routes", []))


def until(world, prefixes, wanted, start):
    """Seconds from start until gw-fastpath has all of these, or none."""
    poll(f"{prefixes[0]} and {len(prefixes) - 1} more in gw-fastpath: {wanted}",
         lambda: all(forwards(world, p) == wanted for p in prefixes), TOO_LATE, 0.1)
    return time.monotonic() - start


def measure():
    """Seconds to announce, seconds to withdraw, the loads meanwhile, prefixes."""
    prefixes = table()
    families = [[p for p in prefixes if (":" in p) == v6] for v6 in (False, True)]
    messages = [update(batch, n) for family in families for n, batch in enumerate(itertools.batched(family, OF_ONE_PATH))]
    ends = {"addresses": {"gw-a": {"local": PEER.inner_gw, "peer": PEER.inner_site}}, "no_bfd": True, "max_routes": LIMIT}
    with World("bench_bgp_full_table", [GOOD, PEER], connections={PEER.name: {"bgp": ends}}, ports="auto") as world:
        world.offices[PEER.name].router.process.stop()
        poll("BIRD's session is gone", lambda: not world.gateway.bgp_established(PEER), 20)
        peer = Speaker(world.lab.ns[PEER.name].name, PEER.inner_site, PEER.inner_gw, PEER.asn, PEER.inner_site)
        if not peer.established.wait(20):
            raise RuntimeError("the site's session is not established")
        last = [families[0][-1], families[1][-1]]
        with world.probes.load(GOOD, rate=RATE) as coming:
            start = time.monotonic()
            peer.send(b"".join(messages))
            announced = until(world, last, True, start)
            time.sleep(2)
        with world.probes.load(GOOD, rate=RATE) as going:
            start = time.monotonic()
            peer.close()
            withdrawn = until(world, last, False, start)
            time.sleep(2)
    return announced, withdrawn, (coming, going), len(prefixes)


def full_table():
    announced, withdrawn, loads, prefixes = measure()
    lost = [sum(r.lost for r in load.results) for load in loads]
    gaps = [load.longest_gap() * 1000 for load in loads]
    return {"value": announced, "unit": "s", "reference": "all withdrawn", "reference_value": withdrawn, "ratio": 0.0, "runs": 1,
            "spread": 0.0, "note": f"{prefixes:,} prefixes, {OF_ONE_PATH} to an UPDATE; the other site's {4 * RATE:,} packets a second meanwhile: "
                                   f"lost {lost[0]} and {lost[1]}, longest gap of a flow {gaps[0]:.0f} and {gaps[1]:.0f} ms."}
