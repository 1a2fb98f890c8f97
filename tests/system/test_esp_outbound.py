"""What leaves for a peer, opened by the peer's own ESP: every header field, padding, numbers, and what must not leave. The
last part is about SAs whose numbers are nearly used up: their records are edited while gw-fastpath is down."""
import mmap
import os
import struct

import pytest

from esp_peer import ones_complement
from fastpath_lab import pb
from packet_station import inner, routed, station  # noqa: F401 (station is a fixture)
from test_esp_inbound import OUTERS, SELECTORS, VARIANTS, changed

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture(params=VARIANTS)
def wire(request, station):  # noqa: F811
    with station.wire(**request.param) as made:
        yield made


@pytest.fixture(params=[pytest.param(how, id=name) for name, how in OUTERS.items()])
def plain(request, station):  # noqa: F811
    with station.wire(**request.param) as made:
        yield made


def to_site(version=4, payload=b"", **fields):
    return inner(version, payload, to_host=False, **fields)


def outer_class(packet):
    return packet[1] if packet[0] >> 4 == 4 else struct.unpack(">H", packet[:2])[0] >> 4 & 0xff


# --- every packet --------------------------------------------------------------------------------------

def test_every_size(wire):
    packets = [to_site(version, os.urandom(size)) for version in (4, 6) for size in (*range(0, 67), 500, 1000, 1330)]
    for packet in packets:
        wire.from_host(packet)
    got = wire.at_peer(len(packets))
    assert [g[0] for g in got] == [routed(p) for p in packets]
    assert [g[1] for g in got] == list(range(1, len(packets) + 1)), "sequence numbers, without a hole"
    t = wire.from_gw.transform
    for packet, (_, _, _, outer) in zip(packets, got):
        v4 = outer[0] >> 4 == 4
        assert outer[8 if v4 else 7] == 64, "TTL or hop limit"
        assert not v4 or outer[6:8] == b"\x40\x00", "DF, no fragment"
        around = (20 if v4 else 40) + (8 if wire.udp else 0) + 8 + t.iv_bytes + t.icv
        assert len(outer) == around + (len(packet) + 2 + t.align - 1) // t.align * t.align, "no more padding than needed"
    wire.expect(sent=len(packets))
    sa = wire.sa_info(wire.out_id)
    assert (sa.counters.packets, sa.counters.bytes, sa.sequence) == (len(packets), sum(map(len, packets)), len(packets))


def test_dscp_and_ecn_go_outside(plain):
    """RFC 4301 5.1.2.1 and RFC 6040 4.1 (normal mode): all 256 values, each family in each."""
    packets = [to_site(version, tos=tos) for version in (4, 6) for tos in range(256)]
    for packet in packets:
        plain.from_host(packet)
    got = plain.at_peer(len(packets))
    assert [outer_class(g[3]) for g in got] == [*range(256), *range(256)]
    assert [g[0] for g in got] == [routed(p) for p in packets], "and stay inside"
    plain.expect(sent=len(packets))


def test_what_a_forwarder_leaves_alone(plain):
    """DF or not, fragments, the IPv6 flow label, odd protocols: inside as they came; outside DF in any case."""
    packets = [to_site(4, flags=0), to_site(4, flags=0x4000), changed(to_site(4, bytes(64)), 6, b"\x20\x00"),
               changed(to_site(4, bytes(64)), 6, b"\x00\x10"), changed(to_site(4), 9, b"\xfd"), changed(to_site(6), 1, b"\x0b\xcd\xef"),
               changed(to_site(6), 6, b"\xfd"), changed(to_site(6), 6, b"\x3b")]
    for packet in packets:
        plain.from_host(packet)
    assert [g[0] for g in plain.at_peer(len(packets))] == [routed(p) for p in packets]
    plain.expect(sent=len(packets))


def test_a_burst_of_257(wire):
    packets = [to_site(4 + 2 * (i % 2), struct.pack(">I", i) + bytes(i % 50)) for i in range(257)]
    with wire.station.stopped():
        for packet in packets:
            wire.from_host(packet)
    got = wire.at_peer(257)
    assert [g[0] for g in got] == [routed(p) for p in packets]
    assert [g[1] for g in got] == list(range(1, 258))
    wire.expect(sent=257)


def test_both_directions_at_once(wire):
    packets = [inner(4, struct.pack(">I", i)) for i in range(300)]
    answers = [to_site(6, struct.pack(">I", i)) for i in range(300)]
    with wire.station.stopped():
        for packet, answer in zip(packets, answers):
            wire.send_inner(packet)
            wire.from_host(answer)
    assert wire.at_host(300) == [routed(p) for p in packets]
    assert [g[0] for g in wire.at_peer(300)] == [routed(p) for p in answers]
    wire.expect(delivered=300, sent=300)


# --- what does not leave -----------------------------------------------------------------------------

def refused(wire, reason, packet):
    wire.from_host(packet)
    wire.expect(**{reason: 1})
    assert wire.at_peer(0) == []


def test_only_what_was_negotiated_leaves(station):  # noqa: F811
    with station.wire(selectors=SELECTORS) as wire:
        def back(version, ports=(2000, 1000), **fields):
            return to_site(version, ports=ports, **fields)
        rows = [(back(4), True), (back(4, (2010, 1000)), True), (back(4, (2011, 1000)), False), (back(4, (1999, 1000)), False),
                (back(4, (2000, 1001)), False), (back(4, dst="10.9.0.9"), True), (back(4, dst="10.9.0.10"), False),
                (back(4, dst="10.9.0.4"), False), (back(4, src="10.1.1.0"), False), (changed(back(4), 9, b"\x06"), False),
                (changed(to_site(4, bytes(40)), 6, b"\x00\x10"), False), (back(6, (1, 2)), True), (back(6, dst="fd00:9::a"), False)]
        for i, (packet, passes) in enumerate(rows):
            wire.from_host(packet)
            assert [g[0] for g in wire.at_peer(1 if passes else 0)] == ([routed(packet)] if passes else []), f"row {i}"
            wire.expect(**(dict(sent=1) if passes else dict(ts_mismatch=1)))


def test_hard_lifetimes(station):  # noqa: F811
    with station.wire(lifetime=pb.Lifetime(hard_packets=10)) as wire:
        with station.stopped():
            for _ in range(30):
                wire.from_host(to_site())
        assert len(wire.at_peer(10)) == 10
        wire.expect(sent=10, hard_expired=20)


def test_without_an_sa_nothing_leaves(station):  # noqa: F811
    with station.wire() as wire:
        station.ike.ok(del_sa=pb.DelSa(id=wire.out_id))
        refused(wire, "no_outbound_sa", to_site())
        refused(wire, "no_outbound_sa", to_site(6))
        acquire = station.ike.event("acquire", 1)
        assert acquire and acquire.tunnel_id == wire.number


def test_broken_packets_of_a_host(station):  # noqa: F811
    """A checksum that is wrong is found here or by the kernel; headers that lie about their length are the kernel's."""
    with station.wire() as wire:
        packet = to_site(4, b"content")
        wire.from_host(packet[:10] + bytes([packet[10] ^ 1]) + packet[11:])
        for lie in (changed(packet, 2, b"\xff\xff"), changed(packet, 2, b"\x00\x13"), changed(packet, 0, b"\x44"), packet[:19],
                    changed(to_site(6), 4, b"\xff\xff"), to_site(6)[:39]):
            wire.from_host(lie)
        assert wire.at_peer(0) == []
        assert wire.settle(1) in ({}, {"drop malformed_inner": 1})
        wire.from_host(packet + bytes(17))  # Ethernet padding
        assert [g[0] for g in wire.at_peer(1)] == [routed(packet)]
        wire.expect(sent=1)


def test_fragments_of_a_host_are_cut_further(station):  # noqa: F811
    """RFC 791 3.2: pieces of a piece lie where it lay. What no sender makes (more to follow and no multiple of 8; beyond
    65535, where the next offset would be 0) is not cut, and its sender hears nothing."""
    more, mtu = 0x2000, 1000
    with station.wire(mtu=mtu, fragment=True) as wire:
        for flags, offset in ((more, 0), (more, 100), (0, 100), (0, (65535 - 20 - 1408) // 8)):
            content = os.urandom(1400)
            wire.from_host(to_site(4, content, flags=flags | offset))
            pieces = [g[0] for g in wire.at_peer(2)]
            headers = [struct.unpack(">HHH", p[2:8]) for p in pieces]
            assert [h[2] for h in headers] == [more | offset, flags | offset + (mtu - 20) // 8 * 8 // 8]
            assert [len(p) for p in pieces] == [h[0] for h in headers] and max(h[0] for h in headers) <= mtu
            assert b"".join(p[20:] for p in pieces)[8:] == content  # behind the UDP header
            wire.expect(sent=2)
        for flags, length in ((more, 1401), (more | 3, 1401), (0x1fff, 1400), (more | 0x1fff, 1400)):
            wire.from_host(to_site(4, os.urandom(length), flags=flags))
            assert wire.at_peer(0) == []
            wire.expect(malformed_inner=1)


# --- numbers that end --------------------------------------------------------------------------------------

HEADER_BYTES, OUTBOUND = 4096, 1  # ebpf/esp/runtime_rules.hpp and runtime_record.hpp
NEXT_SEQUENCE_AT, REPLAY_TOP_AT, DIRECTION_AT = 64, 88, 25
WRAP = 1 << 32


def edit_record(station, spi, field_at, value):  # noqa: F811
    """Writes one 64-bit field of the SA's record, as if it had been in use for that long."""
    with open(station.lab.state / "runtime", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        record_bytes = struct.unpack_from("=I", memory, 16)[0]
        places = [at for at in range(HEADER_BYTES, len(memory), record_bytes)
                  if struct.unpack_from("=II", memory, at) != (0, 0) and struct.unpack_from("=I", memory, at + 4)[0] == spi]
        assert len(places) == 1, "the SA's record"
        assert (memory[places[0] + DIRECTION_AT] == OUTBOUND) == (field_at == NEXT_SEQUENCE_AT)
        struct.pack_into("=Q", memory, places[0] + field_at, value)


def restarted_with(wire, sa, field_at, value):
    wire.station.restart(lambda: edit_record(wire.station, sa.spi, field_at, value))
    wire.installed_again()


def expiries(station):  # noqa: F811
    found = []
    while (event := station.ike.event("expire", 0.2)) is not None:
        found.append((event.reason, event.hard))
    return found


@pytest.mark.parametrize("udp", [False, True], ids=["native", "udp"])
def test_extended_numbers_go_on_over_2_to_the_32(station, udp):  # noqa: F811
    with station.wire(udp=udp) as wire:
        restarted_with(wire, wire.from_gw, NEXT_SEQUENCE_AT, WRAP - 5)
        wire.from_gw.highest = WRAP - 5
        packets = [to_site(4, bytes([i])) for i in range(12)]
        for packet in packets:
            wire.from_host(packet)
        got = wire.at_peer(12)
        assert [g[0] for g in got] == [routed(p) for p in packets]
        assert [g[1] for g in got] == list(range(WRAP - 5, WRAP + 7)), "the peer's ICV covers the high half"
        wire.expect(sent=12)
        assert expiries(station) == []
        if not udp and station.kind == "xsk":  # a raw socket's kernel chooses the id
            for _, sequence, _, outer in got:
                assert struct.unpack(">H", outer[4:6])[0] == sequence & 0xffff and ones_complement(outer[:20]) == 0


@pytest.mark.parametrize("esn,last", [(False, WRAP - 1), (True, (1 << 64) - 2)], ids=["short", "esn"])
def test_the_last_number_is_the_last(station, esn, last):  # noqa: F811
    """RFC 4303 3.3.3: the counter never cycles. Soft expiry long before, hard at the end, and nothing after, not even after
    another restart."""
    with station.wire(esn=esn) as wire:
        restarted_with(wire, wire.from_gw, NEXT_SEQUENCE_AT, last - 2)
        wire.from_gw.highest = last - 2
        wire.from_host(to_site())
        assert [g[1] for g in wire.at_peer(1)] == [last - 2]
        assert expiries(station) == [("sequence", False)]
        with station.stopped():
            for _ in range(9):
                wire.from_host(to_site())
        assert [g[1] for g in wire.at_peer(2)] == [last - 1, last]
        wire.expect(sent=3, seq_exhausted=7)
        assert expiries(station) == [("sequence", True)]
        station.restart()
        wire.installed_again()
        wire.from_host(to_site())
        wire.expect(seq_exhausted=1)
        assert wire.at_peer(0) == []


def test_a_window_far_up_survives_a_restart(station):  # noqa: F811
    with station.wire() as wire:
        top = 7 * WRAP + 3
        restarted_with(wire, wire.to_gw, REPLAY_TOP_AT, top)
        packet = inner()
        wire.send_inner(packet, top + 1)
        wire.send_inner(packet, top - 1)
        assert wire.at_host(2) == [routed(packet)] * 2
        wire.expect(delivered=2)
        wire.refused("icv", wire.outer(wire.to_gw.seal(packet, top + WRAP + 5)))
