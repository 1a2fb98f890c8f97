"""No packet is lost sight of: whatever mixture arrives on both sides, what was delivered and what was dropped, reason by
reason, is what was sent; and no counter ever goes back."""
import os
import random
import struct
import threading
import time
from collections import Counter

import pytest

from esp_peer import EspSa, trailer
from fastpath_lab import pb
from packet_station import inner, routed, station  # noqa: F401 (station is a fixture)
from test_esp_inbound import SELECTORS

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def damaged(esp):
    return esp[:-1] + bytes([esp[-1] ^ 0x55])


class Mixture:
    """Random packets from the peer and from the host, each with what must become of it."""

    def __init__(self, wire, seed):
        self.wire, self.random = wire, random.Random(seed)
        self.wanted = Counter()
        self.to_host, self.to_peer = [], []
        self.sent = 0
        self.recorded = []

    def payload(self):
        self.sent += 1
        return struct.pack(">I", self.sent) + self.random.randbytes(self.random.choice((0, 1, 40, 500, 1300)))

    def from_peer(self):
        version = self.random.choice((4, 6))
        kind = self.random.choice(("good", "good", "good", "good", "icv", "replay", "pad", "next_header", "dummy", "malformed_inner",
                                   "truncated", "unknown_spi", "spoofed_source", "ts_mismatch", "ecn"))
        wire, packet = self.wire, inner(version, self.payload(), ports=(1000, 2000))
        good = kind == "good" or (kind == "replay" and not self.recorded)
        if good:
            self.wanted["in"] += 1
            self.to_host.append(routed(packet))
            self.recorded = [wire.outer(wire.to_gw.seal(packet))]
            return wire.send(self.recorded[0])
        self.wanted[f"drop {kind}"] += 1
        sa = wire.to_gw
        wire.send(self.recorded[0] if kind == "replay" else wire.outer(
            damaged(sa.seal(packet, sa.sequence + 1)) if kind == "icv" else
            sa.seal(packet, pad_length=255, pad=2) if kind == "pad" and len(packet) < 200 else
            sa.seal_text(trailer(packet, 4, pad=6, pad_bytes=bytes(6))) if kind == "pad" else
            sa.seal(packet, next_header=6) if kind == "next_header" else
            sa.seal(packet, next_header=59) if kind == "dummy" else
            sa.seal(packet[:30], next_header=4 if version == 4 else 41) if kind == "malformed_inner" else
            sa.seal(packet, sa.sequence + 1)[:20] if kind == "truncated" else
            EspSa(0xabcdef01).seal(packet) if kind == "unknown_spi" else
            sa.seal(inner(version, src="10.9.0.200" if version == 4 else "fd00:9::200")) if kind == "ts_mismatch" else
            sa.seal(inner(4, src="10.9.0.5", dst="10.1.0.10")) if kind == "ecn" else
            sa.seal(inner(4, src="10.1.0.10", dst="10.1.0.11")), **(dict(tos=3) if kind == "ecn" else {})))

    def from_host(self):
        version = self.random.choice((4, 6))
        kind = self.random.choice(("good", "good", "good", "ts_mismatch"))
        packet = inner(version, self.payload(), to_host=False, ports=(2000, 1000),
                       dst=None if kind == "good" else "10.9.0.200" if version == 4 else "fd00:9::200")
        if kind == "good":
            self.wanted["out"] += 1
            self.to_peer.append(routed(packet))
        else:
            self.wanted[f"drop {kind}"] += 1
        self.wire.from_host(packet)


class Watcher(threading.Thread):
    """Reads all counters all the time; remembers any that went back."""

    def __init__(self, lab):
        super().__init__()
        self.rpc = lab.rpc(pb.ROLE_OBSERVER)
        self.gone_back, self.readings, self.ends = [], 0, False

    def read(self):
        counters = self.rpc.ok(get_counters=pb.GetCounters()).counters
        found = Counter({d.reason: d.packets for d in counters.drops})
        for name in ("wan_rx_packets", "wan_tx_packets", "vnet_rx_packets", "vnet_tx_packets", "uptime_ms"):
            found[name] = getattr(counters, name)
        for t in self.rpc.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels:
            for name in ("in_packets", "in_bytes", "out_packets", "out_bytes", "slow_path_packets"):
                found[t.tunnel_id, name] = getattr(t, name)
        return found

    def run(self):
        before = self.read()
        while not self.ends:
            now = self.read()
            self.gone_back += [f"{what}: {value} -> {now[what]}" for what, value in before.items() if now[what] < value]
            before = now
            self.readings += 1


@pytest.mark.parametrize("how", [dict(), dict(udp=True, esn=False), dict(v6=True, window=1024)], ids=["v4", "v4-udp-short", "v6-1024"])
def test_a_random_mixture(station, how):  # noqa: F811
    local, remote = ([pb.Selector.FromString(s.SerializeToString()) for s in side] for side in SELECTORS)
    for side in (local, remote):  # any protocol and port; the spoofed source is allowed by the selectors
        for s in side:
            s.protocol, s.first_port, s.last_port = 0, 0, 65535
    remote.append(pb.Selector(first=bytes((10, 1, 0, 10)), last=bytes((10, 1, 0, 10)), last_port=65535))
    with station.wire(selectors=(local, remote), **how) as wire:
        watcher = Watcher(station.lab)
        watcher.start()
        mixture = Mixture(wire, seed=len(how))
        for _ in range(20):
            with station.stopped():
                for _ in range(mixture.random.choice((1, 63, 64, 65, 200))):
                    mixture.from_peer() if mixture.random.random() < 0.6 else mixture.from_host()
            time.sleep(0.005)
        got = wire.settle(sum(mixture.wanted.values()))
        watcher.ends = True
        watcher.join()
        assert got == dict(mixture.wanted)
        arrived = wire.at_host(len(mixture.to_host))
        for version in (4, 6):  # two flows: each in its order
            assert [p for p in arrived if p[0] >> 4 == version] == [p for p in mixture.to_host if p[0] >> 4 == version]
        assert [g[0] for g in wire.at_peer(len(mixture.to_peer))] == mixture.to_peer
        assert watcher.gone_back == [] and watcher.readings > 0
        sent_in = sum(v for k, v in mixture.wanted.items() if k != "out")
        assert sent_in > 500 and mixture.sent > 1000


def test_overload_is_counted(station):  # noqa: F811
    """More than all rings hold, at a standstill: the rest is lost, and counted."""
    with station.wire() as wire:
        count = 6000
        frame = [wire.outer(wire.to_gw.seal(inner(4, struct.pack(">I", i)))) for i in range(count)]
        with station.stopped():
            for packet in frame:
                wire.send(packet)
                wire.from_host(inner(4, to_host=False))
        got = wire.settle(2 * count)
        assert sum(got.values()) == 2 * count, got
        assert set(got) <= {"in", "out", "drop handover_full", "drop no_frame", "drop tx_full"}, got
        assert len(wire.at_host(got["in"])) == got["in"]
        assert len(wire.at_peer(got["out"])) == got["out"]


def test_counters_outlive_their_tunnel(station):  # noqa: F811
    """What a tunnel's packets were dropped for still counts when the tunnel is gone and its place is taken by another."""
    watcher = Watcher(station.lab)
    before = watcher.read()
    for _ in range(3):
        with station.wire() as wire:
            wire.refused("icv", wire.outer(damaged(wire.to_gw.seal(inner()))))
    time.sleep(0.05)
    after = watcher.read()
    assert after["icv"] == before["icv"] + 3
    assert all(after[what] >= value for what, value in before.items() if isinstance(what, str))
