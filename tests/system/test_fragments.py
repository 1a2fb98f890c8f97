"""gw-fastpath alone, black box: outer fragments. The topology is drawn in fastpath_lab.py; what can go wrong with
fragments in detail is in tests/unit/ebpf/ip."""
import os
import random
import socket
import struct

import pytest
from scapy.all import IP, UDP, Ether, IPOption_NOP, IPv6, IPv6ExtHdrFragment, Raw, fragment

import esp_peer
from fastpath_lab import PEER_MAC, WAN_MAC, poll, run
from fastpath_peer import GW4, PEER4, Tunnel, lab, packets, xsk_only  # noqa: F401 (lab is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def pieces_of(outer: bytes, size, identification):
    """The packet in fragments of at most `size` bytes of payload, without scapy's own ideas about what is in it."""
    if outer[0] >> 4 == 4:
        packet = IP(outer)
        packet.id, packet.flags = identification, 0
        del packet.chksum
        return [bytes(f) for f in fragment(IP(bytes(packet)), size)]
    header, payload = outer[:40], outer[40:]
    parts = []
    for at in range(0, len(payload), size):
        chunk = payload[at:at + size]
        more = at + size < len(payload)
        part = struct.pack(">BBHI", header[6], 0, at | more, identification) + chunk
        parts.append(header[:4] + struct.pack(">HB", len(part), 44) + header[7:40] + part)
    return parts


def send(lab, piece):
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC, type=0x800 if piece[0] >> 4 == 4 else 0x86dd) / Raw(piece))


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_fragments_of_esp_are_put_together(lab, v6, udp):
    tunnel = Tunnel(lab, v6=v6, udp=udp)
    tunnel.warm_up()
    for number, (order, size) in enumerate([("forwards", 1000), ("backwards", 1000), ("shuffled", 104), ("forwards", 704)]):
        payload = bytes([number]) * 1300
        parts = pieces_of(tunnel.sent.seal(bytes(packets(4)[0] / Raw(payload[7:]))), size, 4000 + number)
        assert len(parts) > 1
        if order == "backwards":
            parts.reverse()
        if order == "shuffled":
            random.Random(1).shuffle(parts)
        for part in parts:
            send(lab, part)
        got = tunnel.at_host()
        assert got is not None and bytes(got[UDP].payload)[7:] == payload[7:], order
    assert tunnel.drops() == {}
    if lab.kind == "xsk":  # on a gso port the kernel puts them together, and tells nobody
        counters = tunnel.control.ok(get_counters={}).counters
        assert sum(w.rejoined for w in counters.workers) == 4


def test_many_packets_in_pieces_at_once(lab):
    """Two tunnels' worth of interleaved pieces; every packet arrives once."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    # The kernel (gso) takes pieces of one sender with more than 64 others between them for leftovers (RFC 4963).
    run("ip", "netns", "exec", "fpg", "sysctl", "-qw", "net.ipv4.ipfrag_max_dist=0")
    parts = []
    for i in range(60):
        parts += [(i, p) for p in pieces_of(tunnel.sent.seal(bytes(packets(4, struct.pack(">H", i) + bytes(1200))[0])), 800, i)]
    rng = random.Random(7)
    rng.shuffle(parts)
    for _, part in parts:
        send(lab, part)
    seen = set()
    while (got := tunnel.at_host(1.0)) is not None:
        number = struct.unpack(">H", bytes(got[UDP].payload)[:2])[0]
        assert number not in seen
        seen.add(number)
    # A shuffle this wild leaves some sequence numbers behind a window of 64: those are replays, not losses.
    assert len(seen) + tunnel.drops().get("replay", 0) == 60


def test_overlapping_fragments_are_refused(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    parts = pieces_of(tunnel.sent.seal(bytes(packets(4, bytes(1200))[0])), 600, 77)
    evil = bytearray(parts[1])
    if lab.kind == "xsk":
        evil[100] ^= 0xff
        order = (parts[0], parts[1], bytes(evil), *parts[2:])
    else:  # of what it has the kernel reads no second copy, which ESP's ICV judges; this one goes beyond
        evil[6:8] = struct.pack(">H", struct.unpack(">H", evil[6:8])[0] - 1)
        evil[10:12] = bytes(2)
        evil[10:12] = struct.pack(">H", esp_peer.ones_complement(bytes(evil[:20])))
        order = (parts[0], bytes(evil), *parts[1:])
    for part in order:
        send(lab, part)
    if lab.kind == "xsk":
        poll("counted", lambda: lab.counters().get("fragment_overlap", 0) == len(parts) + 1)
    else:
        poll("counted", lambda: lab.counters().get("kernel_reassembly", 0) > 0)
    assert tunnel.at_host(0.3) is None
    assert tunnel.drops() == {}, "no SA is blamed for it"


def test_the_rest_that_never_comes(lab):
    for family in ("ipv4.ipfrag_time", "ipv6.ip6frag_time"):
        run("ip", "netns", "exec", "fpg", "sysctl", "-qw", f"net.{family}=5")
    reason = "fragment_timeout" if lab.kind == "xsk" else "kernel_reassembly"
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    send(lab, pieces_of(tunnel.sent.seal(bytes(packets(4, bytes(1200))[0])), 600, 78)[0])
    poll("it is counted", lambda: lab.counters().get(reason) == 1, 20)


def test_other_udp_in_pieces_is_the_kernels(lab):
    """XDP cannot tell later fragments of DNS answers or of IKE from those of ESP in UDP: the kernel has them all."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    with open("/run/netns/fpg") as ns, open("/proc/self/ns/net") as own:
        os.setns(ns.fileno(), os.CLONE_NEWNET)
        dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        os.setns(own.fileno(), os.CLONE_NEWNET)
    dns.bind((GW4, 5353))
    dns6.bind(("2001:db8::1", 5353))
    answer = bytes(range(256)) * 6
    for number, outer in enumerate((IP(src="203.0.113.53", dst=GW4) / UDP(sport=53, dport=5353) / Raw(answer),
                                    IPv6(src="2001:db8::2", dst="2001:db8::1") / UDP(sport=53, dport=5353) / Raw(answer))):
        for part in pieces_of(bytes(outer), 800, 90 + number):
            send(lab, part)
    for s, sender in ((dns, "203.0.113.53"), (dns6, "2001:db8::2")):
        s.settimeout(2)
        data, source = s.recvfrom(4096)
        assert data == answer and source[:2] == (sender, 53)
        s.close()


class Listener:
    """A UDP socket in the gateway's namespace."""

    def __init__(self, port):
        with open("/run/netns/fpg") as ns, open("/proc/self/ns/net") as own:
            os.setns(ns.fileno(), os.CLONE_NEWNET)
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            os.setns(own.fileno(), os.CLONE_NEWNET)
        self.socket.bind(("0.0.0.0", port))

    def received(self, seconds):
        self.socket.settimeout(seconds)
        try:
            data, source = self.socket.recvfrom(65535)
        except TimeoutError:
            return None
        return len(data), source[0]


def test_fragments_are_no_way_around_the_hosts_filters(lab):
    """What the kernel puts together came in by the wan port, for its firewall and its checks of the source alike."""
    Tunnel(lab).warm_up()
    run("ip", "netns", "exec", "fpg", "nft", "table inet f { chain i { type filter hook input priority 0; "
        'iifname "lo" accept; udp dport 9999 counter drop; }; }')
    closed, open_one = Listener(9999), Listener(9998)
    number = 500

    def pieces(port, length, src=PEER4):
        nonlocal number
        number += 1
        for part in pieces_of(bytes(IP(src=src, dst=GW4) / UDP(sport=5, dport=port) / Raw(bytes(length))), 1200, number):
            send(lab, part)
    pieces(9999, 1500)
    assert closed.received(0.5) is None, "the firewall's"
    for src in ("127.0.0.1", GW4, "10.1.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"):
        pieces(9998, 1500, src)
    assert open_one.received(0.5) is None, "nobody's address"
    for length in (1500, 1700, 3000, 20000):
        pieces(9998, length)
        assert open_one.received(2) == (length, PEER4)


@xsk_only
def test_fragments_of_esp_from_nobodys_address_are_refused(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    for count, src in enumerate(("127.0.0.1", GW4, "10.1.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"), 1):
        send(lab, bytes(IP(src=src, dst=GW4, proto=50, id=count, flags="MF") / Raw(bytes(64))))
        poll("counted", lambda: lab.counters().get("spoofed_source", 0) == count)
    assert lab.counters().get("fragment_timeout", 0) == 0 and tunnel.drops() == {}


@xsk_only
def test_a_first_fragment_with_more_options_than_the_others(lab):
    """The whole is larger than the lengths in the later headers say: it must fit a packet buffer all the same."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    payload = bytes(1472), bytes(300)  # 60 + 1772 > 2048 - 256 >= 20 + 1772
    first = IP(src=PEER4, dst=GW4, proto=50, id=9, flags="MF", options=[IPOption_NOP() for _ in range(40)]) / Raw(payload[0][:1400])
    middle = IP(src=PEER4, dst=GW4, proto=50, id=9, flags="MF", frag=175) / Raw(payload[0][1400:])
    last = IP(src=PEER4, dst=GW4, proto=50, id=9, frag=184) / Raw(payload[1])
    for part in (first, middle, last):
        send(lab, bytes(part))
    poll("counted", lambda: lab.counters().get("too_big", 0) == 3)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host() is not None


@xsk_only
def test_a_fragment_twice_is_counted_and_harms_nothing(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    parts = pieces_of(tunnel.sent.seal(bytes(packets(4, bytes(1200))[0])), 600, 79)
    for part in (parts[0], parts[0], *parts[1:]):
        send(lab, part)
    assert tunnel.at_host() is not None
    assert lab.counters().get("fragment_repeated") == 1


def test_strangers_do_not_crowd_out_a_peer(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    parts = pieces_of(tunnel.sent.seal(bytes(packets(4, b"mine" + bytes(1200))[0])), 700, 5)
    send(lab, parts[0])
    for i in range(2000):
        stranger = IP(src=f"203.0.{i // 250}.{i % 250 + 1}", dst=GW4, proto=50, id=i, flags="MF") / Raw(bytes(64))
        send(lab, bytes(stranger))
    for part in parts[1:]:
        send(lab, part)
    got = tunnel.at_host()
    assert got is not None and bytes(got[UDP].payload)[:4] == b"mine"
    if lab.kind == "xsk":  # the kernel (gso) has room for many, and a hash that nobody can aim at
        assert lab.counters().get("fragment_limit", 0) > 1000
