"""What a peer can send, packet by packet: each is delivered as it should be, or dropped for exactly one reason that is
counted exactly once. The peer's ESP is its own implementation (esp_peer.py)."""
import os
import struct

import pytest

import esp_peer
from esp_peer import ChaCha, Gcm, Separate, trailer
from fastpath_lab import PEER_MAC, WAN_MAC, packed, pb, run
from fastpath_peer import GW4, GW6, PEER4, PEER6
from packet_station import NAT_T, inner, mac, routed, station, wan_frame  # noqa: F401 (station is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

OUTERS = {"v4": dict(v6=False, udp=False), "v4-udp": dict(v6=False, udp=True), "v6": dict(v6=True, udp=False),
          "v6-udp": dict(v6=True, udp=True)}
TRANSFORMS = [Gcm(128), Gcm(192), Gcm(256), Gcm(256, 8), Gcm(256, 12), ChaCha(),
              *(Separate("AES_CBC", bits, integrity) for bits, integrity in
                ((128, "HMAC_SHA1_96"), (256, "HMAC_SHA2_256_128"), (192, "HMAC_SHA2_384_192"), (256, "HMAC_SHA2_512_256"))),
              Separate("TRIPLE_DES_CBC", 192, "HMAC_SHA1_96"), Separate("NULL_CIPHER", 0, "HMAC_SHA2_256_128")]


def name_of(transform):
    return "-".join(str(v) for v in (transform.name, transform.bits, getattr(transform, "integrity", "")) if v).lower()


VARIANTS = [pytest.param(dict(OUTERS[name]), id=name) for name in OUTERS] + [
    pytest.param(dict(transform=t, esn=esn, udp=i % 2 == 1), id=f"{name_of(t)}-{'esn' if esn else 'short'}")
    for i, t in enumerate(TRANSFORMS) for esn in (True, False)]


@pytest.fixture(params=VARIANTS)
def wire(request, station):  # noqa: F811
    with station.wire(**request.param) as made:
        yield made


@pytest.fixture(params=[pytest.param(how, id=name) for name, how in OUTERS.items()])
def plain(request, station):  # noqa: F811
    """AES-256-GCM with ESN, over each kind of outer header."""
    with station.wire(**request.param) as made:
        yield made


# --- authentic, and right ------------------------------------------------------------------------------

def test_every_size_is_delivered_as_it_was_sent(wire):
    packets = [inner(version, os.urandom(size)) for version in (4, 6) for size in (*range(0, 67), 500, 1000, 1330)]
    for packet in packets:
        wire.send_inner(packet)
    assert wire.at_host(len(packets)) == [routed(p) for p in packets]
    wire.expect(delivered=len(packets))
    sa = wire.sa_info(wire.in_id)
    assert (sa.counters.packets, sa.counters.bytes, sa.sequence) == (len(packets), sum(map(len, packets)), len(packets))


def padded(packet, pad):
    return trailer(packet, 4 if packet[0] >> 4 == 4 else 41, pad=pad)


def test_any_right_padding_is_taken_off(wire):
    """RFC 4303 2.4: up to 255 bytes, 1, 2, 3, ..."""
    align = wire.to_gw.transform.align
    packet = inner(4, b"padded")
    pads = [pad for pad in range(256) if (len(packet) + pad + 2) % align == 0]
    for pad in pads:
        wire.send_text(padded(packet, pad))
    assert wire.at_host(len(pads)) == [routed(packet)] * len(pads)
    wire.expect(delivered=len(pads))


@pytest.mark.parametrize("version", [4, 6])
def test_traffic_flow_padding_is_cut_off(wire, version):
    """RFC 4303 2.7: bytes behind the inner packet's own length, zero or not."""
    packet = inner(version, b"content")
    for extra in (1, 2, 100, 1000):
        wire.send_inner(packet + os.urandom(extra))
    assert wire.at_host(4) == [routed(packet)] * 4
    wire.expect(delivered=4)


# --- authentic, and wrong ------------------------------------------------------------------------------

def changed(packet, at, value):
    """`value` in place of the bytes at `at`; an IPv4 header's checksum made right again."""
    packet = bytearray(packet)
    packet[at:at + len(value)] = value
    header = (packet[0] & 15) * 4
    if packet[0] >> 4 == 4 and at != 10 and header <= len(packet):
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack(">H", esp_peer.ones_complement(bytes(packet[:header])))
    return bytes(packet)


I4, I6 = inner(4, b"sixteen bytes  !"), inner(6, b"sixteen bytes  !")

# What the plaintext is, by the cipher's alignment; the reason it must be dropped for.
MALFORMED = [
    ("pad length 255 of a packet that is shorter", lambda a: trailer(I4, 4, a, pad_length=255), "pad"),
    ("pad length one more than there is", lambda a: (lambda t: t[:-2] + bytes([len(t) - 1, 4]))(trailer(I4, 4, a)), "pad"),
    ("nothing but a pad length", lambda a: trailer(b"", 4, a, pad_length=a), "pad"),
    ("pad bytes of zeros", lambda a: trailer(I4, 4, pad=a - (len(I4) + 2) % a + a, pad_bytes=bytes(a - (len(I4) + 2) % a + a)), "pad"),
    ("last pad byte wrong", lambda a: (lambda t: t[:-3] + bytes([t[-3] ^ 1]) + t[-2:])(padded(I4, 2 * a - (len(I4) + 2) % a)), "pad"),
    ("first pad byte wrong", lambda a: (lambda t, n: t[:-2 - n] + b"\x02" + t[-1 - n:])(
        padded(I4, 2 * a - (len(I4) + 2) % a), 2 * a - (len(I4) + 2) % a), "pad"),
    ("dummy packet, empty", lambda a: trailer(b"", 59, a), "dummy"),
    ("dummy packet with content", lambda a: trailer(os.urandom(200), 59, a), "dummy"),
    *((f"next header {n}", lambda a, n=n: trailer(I4, n, a), "next_header") for n in (0, 1, 6, 17, 50, 58, 60, 255)),
    ("IPv6 said to be IPv4", lambda a: trailer(I6, 4, a), "malformed_inner"),
    ("IPv4 said to be IPv6", lambda a: trailer(I4, 41, a), "malformed_inner"),
    ("no inner packet", lambda a: trailer(b"", 4, a), "malformed_inner"),
    ("no inner packet, IPv6", lambda a: trailer(b"", 41, a), "malformed_inner"),
    *((f"{n} bytes of an IPv4 header", lambda a, n=n: trailer(I4[:n], 4, a), "malformed_inner") for n in (1, 2, 8, 19)),
    *((f"{n} bytes of an IPv6 header", lambda a, n=n: trailer(I6[:n], 41, a), "malformed_inner") for n in (1, 19, 20, 39)),
    ("IPv4 total length beyond the packet", lambda a: trailer(changed(I4, 2, struct.pack(">H", len(I4) + 1)), 4, a), "malformed_inner"),
    ("IPv4 total length 65535", lambda a: trailer(changed(I4, 2, b"\xff\xff"), 4, a), "malformed_inner"),
    ("IPv4 total length below the header's", lambda a: trailer(changed(I4, 2, b"\x00\x13"), 4, a), "malformed_inner"),
    ("IPv4 total length 0", lambda a: trailer(changed(I4, 2, b"\x00\x00"), 4, a), "malformed_inner"),
    ("IPv4 header length 16", lambda a: trailer(changed(I4, 0, b"\x44"), 4, a), "malformed_inner"),
    ("IPv4 header length 0", lambda a: trailer(changed(I4, 0, b"\x40"), 4, a), "malformed_inner"),
    ("IPv4 header length beyond the total", lambda a: trailer(changed(I4, 0, b"\x4f"), 4, a), "malformed_inner"),
    ("IPv4 checksum", lambda a: trailer(changed(I4, 10, bytes([I4[10] ^ 1])), 4, a), "malformed_inner"),
    ("IPv4 checksum 0", lambda a: trailer(changed(I4, 10, b"\0\0"), 4, a), "malformed_inner"),
    ("version 5", lambda a: trailer(changed(I4, 0, b"\x55"), 4, a), "malformed_inner"),
    ("version 0", lambda a: trailer(changed(I4, 0, b"\x05"), 4, a), "malformed_inner"),
    ("IPv6 payload length beyond the packet", lambda a: trailer(changed(I6, 4, struct.pack(">H", len(I6) - 39)), 41, a), "malformed_inner"),
    ("IPv6 payload length 65535", lambda a: trailer(changed(I6, 4, b"\xff\xff"), 41, a), "malformed_inner"),
    ("version 7", lambda a: trailer(changed(I6, 0, b"\x70"), 41, a), "malformed_inner"),
    ("source is the gateway", lambda a: trailer(inner(4, src="10.1.0.1"), 4, a), "spoofed_source"),
    ("source is a VNet host", lambda a: trailer(inner(4, src="10.1.0.99"), 4, a), "spoofed_source"),
    ("source is a VNet host, IPv6", lambda a: trailer(inner(6, src="fd00:1::99"), 41, a), "spoofed_source"),
    ("source is multicast", lambda a: trailer(inner(4, src="239.1.1.1"), 4, a), "spoofed_source"),
]


def test_authentic_but_malformed(wire):
    """Each is dropped for its reason; the SA goes on, and the number is spent."""
    align = wire.to_gw.transform.align
    for what, text_of, reason in MALFORMED:
        text = text_of(align)
        wire.send_text(text)
        try:
            wire.expect(**{reason: 1})
        except AssertionError as wrong:
            raise AssertionError(f"{what}: {wrong}") from None
    assert wire.at_host(0) == []
    wire.send_inner(I4)
    assert wire.at_host(1) == [routed(I4)]
    wire.expect(delivered=1)
    assert wire.sa_info(wire.in_id).sequence == len(MALFORMED) + 1


def test_inner_packets_cut_at_every_length(wire):
    """Whole ESP, padding right, and an inner packet of which only the first bytes are there."""
    for whole in (I4, I6):
        for length in range(len(whole)):
            wire.send_inner(whole[:length], next_header=4 if whole is I4 else 41)
    wire.expect(malformed_inner=len(I4) + len(I6))
    assert wire.at_host(0) == []


# --- not authentic ---------------------------------------------------------------------------------------

def test_every_damaged_byte_is_refused_and_the_window_stays(wire):
    """The packet itself, sent after its damaged copies, is new."""
    wire.send_inner(I4)
    wire.at_host(1)
    wire.expect(delivered=1)
    good = wire.to_gw.seal(I6, 40)
    damaged = 0
    for at in range(8, len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        wire.send(wire.outer(bytes(bad)))
        damaged += 1
    wire.expect(icv=damaged)
    assert wire.sa_info(wire.in_id).sequence == 1
    wire.send_inner(I4, 2)
    wire.send(wire.outer(good))
    assert wire.at_host(2) == [routed(I4), routed(I6)]
    wire.expect(delivered=2)


@pytest.mark.parametrize("ahead", [1, 63, 64, 65, 4096, 1 << 20, (1 << 31) - 2])
def test_a_forged_number_does_not_move_the_window(wire, ahead):
    wire.send_inner(I4, 100)
    wire.at_host(1)
    wire.expect(delivered=1)
    forged = bytearray(wire.to_gw.seal(I4, 100 + ahead))
    forged[-1] ^= 0x80
    wire.refused("icv", wire.outer(bytes(forged)))
    wire.send_inner(I4, 100 - wire.window + 1)  # the left edge
    wire.send_inner(I4, 100 + ahead)            # the number itself
    assert wire.at_host(2) == [routed(I4)] * 2
    wire.expect(delivered=2)


def test_another_sas_key_or_number_is_refused(wire):
    other = esp_peer.EspSa(wire.to_gw.spi, wire.to_gw.transform, wire.esn)
    wire.refused("icv", wire.outer(other.seal(I4)))
    if wire.esn:  # the same 32 bits of the number, another high half
        wire.refused("icv", wire.outer(wire.to_gw.seal(I4, (1 << 32) + 7)))
    whole = wire.to_gw.seal(I4, 7)
    wire.refused("icv", wire.outer(whole[:4] + struct.pack(">I", 8) + whole[8:]))


# --- runts, strangers -------------------------------------------------------------------------------------

def test_runts_at_every_length(wire):
    """ESP cut short, the lengths of IP and UDP in agreement: too short for what every packet has, or not authentic. In
    UDP, less than 4 bytes are not ESP at all (RFC 3948 2.2): the kernel's."""
    whole = wire.to_gw.seal(I4)
    t = wire.to_gw.transform
    shortest = 8 + t.iv_bytes + (2 if t.align == 4 else t.align) + t.icv
    for length in range(4 if wire.udp else 0, len(whole)):
        wire.send(wire.outer(whole[:length]))
        got = wire.settle(1)
        if length < shortest:
            assert got == {"drop truncated": 1}, f"{length} of {len(whole)} bytes"
        else:  # a block cipher's text that is no whole blocks is cut short, too
            assert got == {"drop icv": 1} or (t.align > 4 and got == {"drop truncated": 1}), f"{length} of {len(whole)} bytes: {got}"
    assert wire.at_host(0) == []


def test_wrong_spi_family_destination(station):  # noqa: F811
    run("ip", "-n", "fpg", "addr", "replace", "192.0.2.9/24", "dev", "wan")
    try:
        with station.wire() as four, station.wire(v6=True) as six:
            for wire in (four, six):
                wire.before = wire.counts()
                stranger = esp_peer.EspSa(0xdead0001)
                wire.refused("unknown_spi", wire.outer(stranger.seal(I4)))
                event = station.observer.event("unknown_spi", 1)
                assert event is None or event.id.spi == 0xdead0001  # rate limited
                for spi in (1, 255):  # reserved: never installed
                    wire.refused("unknown_spi", wire.outer(esp_peer.EspSa(spi).seal(I4)))
            four.before = four.counts()
            # The SPI of one family over the other.
            four.refused("unknown_spi", esp_peer.ip(packed(PEER6), packed(GW6), 50, four.to_gw.seal(I4)))
            four.refused("unknown_spi", esp_peer.ip(packed(PEER4), packed(GW4), 50, six.to_gw.seal(I4)))
            # Another address of ours; somebody else's is the kernel's.
            four.refused("unknown_spi", esp_peer.ip(packed(PEER4), packed("192.0.2.9"), 50, four.to_gw.seal(I4)))
            four.send(esp_peer.ip(packed(PEER4), packed("192.0.2.77"), 50, four.to_gw.seal(I4)))
            assert four.at_host(0) == []
            four.expect()
    finally:
        run("ip", "-n", "fpg", "addr", "del", "192.0.2.9/24", "dev", "wan")


def test_outer_headers_that_differ_and_do_not_matter(station):  # noqa: F811
    """Options, link-layer padding, TTL, the source, and ESP with or without UDP: the SA decides."""
    with station.wire() as wire:
        good = [wire.outer(wire.to_gw.seal(I4), ttl=1), wire.outer(wire.to_gw.seal(I4), options=b"\x01\x01\x01\x00"),
                wire.outer(wire.to_gw.seal(I4)) + bytes(18),
                esp_peer.ip(packed("203.0.113.77"), packed(GW4), 50, wire.to_gw.seal(I4)),
                esp_peer.ip(packed(PEER4), packed(GW4), 17, esp_peer.udp(packed(PEER4), packed(GW4), (4500, NAT_T), wire.to_gw.seal(I4)))]
        for packet in good:
            wire.send(packet)
        assert wire.at_host(len(good)) == [routed(I4)] * len(good)
        wire.expect(delivered=len(good))
        assert station.ike.event("mapping", 0.1) is None, "an SA without UDP has no NAT to follow"
        empty = wire.outer(wire.to_gw.seal(b"", next_header=59))
        wire.refused("dummy", empty + bytes(60 - 14 - len(empty)) if len(empty) < 46 else empty)


def test_outer_headers_that_lie(station):  # noqa: F811
    with station.wire() as wire:
        esp = wire.to_gw.seal(I4)
        if station.kind == "xsk":
            wire.refused("malformed_outer", wire.outer(esp, checksum=0x1234))
        else:
            wire.send(wire.outer(esp, checksum=0x1234))
        for lie in (dict(total=20 + len(esp) + 1), dict(total=19), dict(ihl=4), dict(version=6), dict(ihl=15, total=30)):
            wire.send(wire.outer(esp, **lie))  # the kernel counts these: IpInHdrErrors
        assert wire.at_host(0) == []
        wire.expect()
        wire.refused("truncated" if len(esp) < 100 else "icv", wire.outer(esp, total=20 + 30))
        wire.send(wire.outer(esp))
        assert wire.at_host(1) == [routed(I4)], "none of them was taken for it"
        wire.expect(delivered=1)


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
def test_datagrams_that_are_not_esp(station, v6):  # noqa: F811
    """RFC 3948 2: keepalives, IKE behind its marker, less than a marker, empty; UDP lengths that lie."""
    with station.wire(v6=v6, udp=True) as wire:
        src, dst = packed(wire.peer), packed(wire.gw)

        def datagram(payload, ports=(NAT_T, NAT_T), **lie):
            return esp_peer.ip(src, dst, 17, esp_peer.udp(src, dst, ports, payload, **lie))
        for _ in range(3):
            wire.refused("nat_keepalive", datagram(b"\xff"))
        wire.refused("nat_keepalive", datagram(b"\xff") + bytes(17))
        for payload in (b"", b"\x00", b"\xfe", b"\xff\xff", b"\xff" * 3, bytes(4), bytes(4) + b"IKE" * 20):
            wire.send(datagram(payload))
        esp = wire.to_gw.seal(I4)
        wire.send(datagram(esp, length=8 + len(esp) + 1))  # the kernel's to refuse
        wire.send(datagram(esp, length=7))
        wire.send(datagram(esp, ports=(NAT_T, 4501)))  # nobody's port
        wire.send(datagram(esp, ports=(NAT_T, 500)))
        assert wire.at_host(0) == []
        # charon is away in this lab; a socket reads the short ones as ESP that is too short
        wire.expect(ike_away=3, **{"not_ike" if station.kind == "xsk" else "truncated": 5})
        for length in range(4, 8 + 8 + 2 + 16):
            wire.refused("truncated", datagram(esp[:length]))
        wire.send(datagram(esp))
        assert wire.at_host(1) == [routed(I4)]
        wire.expect(delivered=1)


# --- selectors, lifetimes ------------------------------------------------------------------------------

def span(first, last, protocol=0, ports=(0, 65535)):
    return pb.Selector(first=packed(first), last=packed(last), protocol=protocol, first_port=ports[0], last_port=ports[1])


SELECTORS = ([span("10.1.0.0", "10.1.0.255", 17, (2000, 2010)), span("fd00:1::", "fd00:1::ffff")],
             [span("10.9.0.5", "10.9.0.9", 17, (1000, 1000)), span("fd00:9::5", "fd00:9::9")])


def test_only_what_was_negotiated_arrives(station):  # noqa: F811
    """RFC 4301 5.2 step 4: both addresses, protocol and ports; both ends of each range belong to it."""
    fragment = changed(inner(4, bytes(40)), 6, struct.pack(">H", 0x0010))
    rows = [
        (inner(4), True), (inner(4, src="10.9.0.9"), True), (inner(4, src="10.9.0.4"), False), (inner(4, src="10.9.0.10"), False),
        (inner(4, ports=(1000, 2010)), True), (inner(4, ports=(1000, 1999)), False), (inner(4, ports=(1000, 2011)), False),
        (inner(4, ports=(1001, 2000)), False), (changed(inner(4), 9, b"\x06"), False), (fragment, False),
        (inner(6), True), (inner(6, src="fd00:9::9"), True), (inner(6, src="fd00:9::a"), False), (inner(6, ports=(7, 7)), True),
        (inner(4, dst="10.1.1.10"), False), (inner(6, dst="fd00:1:0:0:1::"), False)]
    with station.wire(selectors=SELECTORS) as wire:
        for i, (packet, passes) in enumerate(rows):
            wire.send_inner(packet)
            assert wire.at_host(1 if passes else 0) == ([routed(packet)] if passes else []), f"row {i}"
            wire.expect(**(dict(delivered=1) if passes else dict(ts_mismatch=1)))


def test_a_hard_lifetime_ends_it_exactly(station):  # noqa: F811
    with station.wire(lifetime=pb.Lifetime(soft_packets=5, hard_packets=10)) as wire:
        with station.stopped():
            for _ in range(30):
                wire.send_inner(I4)
        assert wire.at_host(10) == [routed(I4)] * 10
        wire.expect(delivered=10, hard_expired=20)
    with station.wire(lifetime=pb.Lifetime(hard_bytes=3 * len(I4))) as wire:
        for _ in range(5):
            wire.send_inner(I4)
        wire.expect(delivered=3, hard_expired=2)


# --- congestion and DSCP ---------------------------------------------------------------------------------

NOT_ECT, ECT1, ECT0, CE = range(4)
# RFC 6040 figure 4: inner (rows) and outer (columns: Not-ECT, ECT(0), ECT(1), CE); None: dropped.
FIGURE_4 = {NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None), ECT0: (ECT0, ECT0, ECT1, CE), ECT1: (ECT1, ECT1, ECT1, CE), CE: (CE, CE, CE, CE)}


def test_congestion_marks_as_rfc_6040_has_them(plain):
    for version in (4, 6):
        for mine, row in FIGURE_4.items():
            for theirs, wanted in zip((NOT_ECT, ECT0, ECT1, CE), row):
                # 46 and 10: the inner DSCP stays, the outer one is the network's (RFC 2983).
                packet = inner(version, b"mark", tos=46 << 2 | mine)
                plain.send(plain.outer(plain.to_gw.seal(packet), tos=10 << 2 | theirs))
                if wanted is None:
                    plain.expect(ecn=1)
                    assert plain.at_host(0) == []
                else:
                    assert plain.at_host(1) == [routed(packet, 46 << 2 | wanted)], f"inner {mine}, outer {theirs}"
                    plain.expect(delivered=1)


# --- link layer, bursts -----------------------------------------------------------------------------------

def test_a_burst_of_257(wire):
    """More than a burst, more than a crypto burst, not a multiple of either: all, in order, once."""
    packets = [inner(4 + 2 * (i % 2), struct.pack(">I", i) + bytes(i % 50)) for i in range(257)]
    with wire.station.stopped():
        for packet in packets:
            wire.send_inner(packet)
    got = wire.at_host(257)
    for version in (4, 6):  # two flows: each in its order
        assert [p for p in got if p[0] >> 4 == version] == [routed(p) for p in packets if p[0] >> 4 == version]
    wire.expect(delivered=257)


def test_a_burst_with_every_second_one_bad(wire):
    packets = []
    with wire.station.stopped():
        for i in range(200):
            packet = inner(4, struct.pack(">I", i))
            sealed = bytearray(wire.to_gw.seal(packet))
            if i % 2:
                sealed[-1] ^= 1
            else:
                packets.append(packet)
            wire.send(wire.outer(bytes(sealed)))
    assert wire.at_host(100) == [routed(p) for p in packets]
    wire.expect(delivered=100, icv=100)


def test_frames_of_many_tunnels_in_one_burst(station):  # noqa: F811
    """Each is opened with its own SA's key, whatever the neighbours in the burst are."""
    with station.wire() as first, station.wire(v6=True, udp=True) as second, station.wire(esn=False, udp=True) as third:
        wires = (first, second, third)
        packets = [inner(4, struct.pack(">I", i)) for i in range(192)]
        with station.stopped():
            for i, packet in enumerate(packets):
                wires[i % 3].send_inner(packet)
        assert sorted(first.at_host(192)) == sorted(routed(p) for p in packets)
        for wire in wires:
            assert wire.info().in_packets == 64 and not wire.info().drops


def test_vlan_tags_and_foreign_frames(station):  # noqa: F811
    """A priority tag (VLAN 0) is no other network; ARP and other types are not ours to count."""
    with station.wire() as wire:
        tag = b"\x81\x00\x00\x00"
        frame = wan_frame(wire.outer(wire.to_gw.seal(I4)))
        station.lab.wan.send(mac(WAN_MAC) + mac(PEER_MAC) + b"\x88\xb5" + bytes(60))
        station.lab.wan.send(frame[:12] + tag + frame[12:])
        assert wire.at_host(1) == [routed(I4)]
        wire.expect(delivered=1)
