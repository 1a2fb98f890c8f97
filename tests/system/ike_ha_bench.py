#!/usr/bin/env python3
"""How long an IKE takeover and a full sync take, by the number of tunnels: ike_ha_bench.py [N...] (1 100 1000).

Takeover is from the order to charon's answer that every IKE SA is established (twice: as charon measures it, and as gwd
sees it); the dead instance's process is killed before. Fast paths are recorders: gw-fastpath's part is measured elsewhere.
"""
import sys
import tempfile
import time

from ike_ha_lab import HOME, HaLab
from plugin_lab import Node

SETTINGS = "ikesa_table_size = 4096\n ikesa_table_segments = 16"  # as ike::charon_settings() has them


def established(node, state):
    return sum(sa["state"] == state for m in node.vici.stream("list-sas", "list-sa") for sa in m.values())


def measure(count):
    lab = HaLab(tempfile.mkdtemp(), charon_settings=SETTINGS)
    try:
        lab.start()
        begun = time.monotonic()
        for number in range(1, count + 1):
            lab.tunnel(1, number)
        for number in range(1, count + 1):
            lab.initiate(lab.a, number)
        Node.until(lambda: established(lab.b, "PASSIVE") == count, f"{count} passive IKE SAs", 120)
        setup = time.monotonic() - begun
        lab.links("down")
        begun = time.monotonic()
        lab.links("up")
        lab.wait_synced()
        again = time.monotonic() - begun
        lab.b.kill()
        lab.b.recorder.drop()
        lab.b.start()
        begun = time.monotonic()
        Node.until(lambda: established(lab.b, "PASSIVE") == count, f"{count} passive IKE SAs after a restart", 60)
        restart = time.monotonic() - begun
        lab.a.kill()
        lab.links("kill", "a")
        lab.move_address(HOME["a"], "a", "b")
        begun = time.monotonic()
        moved = lab.links("take", "b", HOME["a"])
        seen = time.monotonic() - begun
        assert moved["ike_sas"] == count, moved
        assert established(lab.b, "ESTABLISHED") == count
        return setup, moved["us"] / 1000, seen * 1000, again * 1000, restart * 1000
    finally:
        lab.close()


def main():
    counts = [int(word) for word in sys.argv[1:]] or [1, 100, 1000]
    print(f"{'tunnels':>8} {'up in s':>8} {'takeover ms':>12} {'seen ms':>8} {'full sync again ms':>19} {'to a new charon ms':>19}")
    for count in counts:
        setup, charon, seen, again, restart = measure(count)
        print(f"{count:8} {setup:8.1f} {charon:12.1f} {seen:8.1f} {again:19.0f} {restart:19.0f}", flush=True)


if __name__ == "__main__":
    main()
