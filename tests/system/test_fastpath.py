"""gw-fastpath alone, black box: packets. Its RPC in our hand, scapy at both ends. The topology is drawn in
fastpath_lab.py, the peer is in fastpath_peer.py; SAs over their life: test_sa_life.py, restarts: test_fastpath_control.py."""
import os
import socket
import struct
import subprocess
import tempfile
import time

import pytest
from scapy.all import ICMP, IP, TCP, UDP, Ether, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, Raw

import fastpath_lab as lab_module
from fastpath_lab import HOST_MAC, PEER_MAC, VNET_MAC, WAN_MAC, add_sa, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, HOST6, PEER4, SITE4, SITE6, PeerSa, Tunnel, lab, packets  # noqa: F401 (lab is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

# --- both directions ---------------------------------------------------------------------------------

@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize("outer", [4, 6], ids=["outer4", "outer6"])
def test_both_ways(lab, outer, udp):
    tunnel = Tunnel(lab, v6=outer == 6, udp=udp)
    tunnel.warm_up()
    for version in (4, 6):
        for payload in (b"", b"x", os.urandom(1300)):
            to_host, to_site = packets(version, payload)
            tunnel.from_peer(to_host)
            got = tunnel.at_host()
            assert got is not None and bytes(got[UDP].payload)[:len(payload)] == payload
            assert (got.ttl if version == 4 else got.hlim) == 63
            tunnel.from_host(to_site)
            got = tunnel.at_peer()
            assert got is not None and bytes(got[0][UDP].payload) == payload
            assert (got[0].ttl if version == 4 else got[0].hlim) == 63
            if version == 4:
                assert bytes(IP(bytes(got[0]))) == bytes(got[0]), "header checksum"
    assert tunnel.drops() == {}


@pytest.mark.parametrize("bits", [128, 192])
def test_shorter_keys(lab, bits):
    tunnel = Tunnel(lab, key_bits=bits)
    tunnel.warm_up()
    sas = tunnel.control.ok(list_sas=pb.ListSas()).sas.sas
    assert {s.algorithm for s in sas} == {f"AES_GCM_16-{bits}"}


def test_local_delivery_and_answer(lab):
    """A ping to the gateway's own VNet address goes through the TUN device and back."""
    tunnel = Tunnel(lab)
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    tunnel.from_peer(IP(src=SITE4, dst="10.1.0.1") / ICMP(id=7, seq=1) / Raw(b"ping"))
    got = tunnel.at_peer()
    assert got and got[0].src == "10.1.0.1" and got[0][ICMP].type == 0
    assert tunnel.info().slow_path_packets >= 2


def test_ttl_one_is_answered_by_the_kernel(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    tunnel.from_peer(IP(src=SITE4, dst=HOST4, ttl=1) / UDP(sport=5, dport=6))
    got = tunnel.at_peer()
    assert got and got[0][ICMP].type == 11, "time exceeded, through the tunnel"
    tunnel.from_host(IP(src=HOST4, dst=SITE4, ttl=1) / UDP(sport=5, dport=6))
    answer = lab.vnet.receive(lambda f: f.haslayer(ICMP) and f[ICMP].type == 11)
    assert answer and answer[IP].dst == HOST4


def test_too_big_for_the_tunnel_is_answered_by_the_kernel(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=5, dport=6) / Raw(bytes(1373)))
    answer = lab.vnet.receive(lambda f: f.haslayer(ICMP) and f[ICMP].type == 3)
    assert answer and answer[ICMP].code == 4 and answer[ICMP].nexthopmtu == 1400


def test_mss_is_clamped_both_ways(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    syn = [("MSS", 1460)]
    tunnel.from_host(IP(src=HOST4, dst=SITE4) / TCP(flags="S", options=syn))
    assert dict(tunnel.at_peer()[0][TCP].options)["MSS"] == 1360
    tunnel.from_peer(IP(src=SITE4, dst=HOST4) / TCP(flags="SA", options=syn))
    got = tunnel.at_host()
    assert dict(got[TCP].options)["MSS"] == 1360
    checksum = got[TCP].chksum
    del got[TCP].chksum
    assert IP(bytes(got))[TCP].chksum == checksum


@pytest.mark.parametrize("version", [4, 6])
def test_partial_checksums_of_local_senders_are_completed(lab, version):
    """veth and virtio within a machine: the sender's kernel leaves TCP's and UDP's checksum to a card that is not there."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "netns", "exec", "fpv", "ethtool", "-K", "vnet0", "tx", "on")
    site, via, family = (SITE4, "10.1.0.1", socket.AF_INET) if version == 4 else (SITE6, "fd00:1::1", socket.AF_INET6)
    run("ip", "-n", "fpv", "route", "add", site, "via", via)
    with open("/run/netns/fpv") as ns, open("/proc/self/ns/net") as own:
        os.setns(ns.fileno(), os.CLONE_NEWNET)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        os.setns(own.fileno(), os.CLONE_NEWNET)
    udp.sendto(b"left to the card", (site, 5000))
    tcp.setblocking(False)
    tcp.connect_ex((site, 5001))
    seen = set()
    while seen != {UDP, TCP}:
        got = tunnel.at_peer()
        assert got, f"only {seen} arrived"
        inner = got[0]
        layer = UDP if inner.haslayer(UDP) else TCP
        checksum = inner[layer].chksum
        del inner[layer].chksum
        assert type(inner)(bytes(inner))[layer].chksum == checksum
        seen.add(layer)
    udp.close()
    tcp.close()


# --- what must not pass ------------------------------------------------------------------------------

def test_replay_bad_icv_unknown_spi(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    to_host, _ = packets(4)
    once = tunnel.sent.seal(bytes(to_host))
    lab.wan.send(tunnel.frame(once))
    assert tunnel.at_host()
    lab.wan.send(tunnel.frame(once))
    assert tunnel.at_host(0.3) is None
    forged = bytearray(tunnel.sent.seal(bytes(to_host)))
    forged[-1] ^= 1
    lab.wan.send(tunnel.frame(bytes(forged)))
    assert tunnel.at_host(0.3) is None
    assert tunnel.drops() == {"replay": 1, "icv": 1}

    observer = lab.rpc(pb.ROLE_OBSERVER)
    stranger = PeerSa(0xdead, os.urandom(36), PEER4, GW4)
    lab.wan.send(tunnel.frame(stranger.seal(bytes(to_host))))
    event = observer.event("unknown_spi")
    assert event and event.id.spi == 0xdead and event.src.address == packed(PEER4)
    assert lab.counters()["unknown_spi"] == 1


def test_outside_the_selectors(lab):
    tunnel = Tunnel(lab)
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.in_id))
    narrow = add_sa(tunnel.in_spi, PEER4, GW4, tunnel.keys[0], True, fresh=True)
    del narrow.remote_selectors[:]
    narrow.remote_selectors.add(first=packed("10.9.7.0"), last=packed("10.9.7.255"), last_port=65535)
    tunnel.ike.ok(add_sa=narrow)
    tunnel.from_peer(IP(src=SITE4, dst=HOST4) / UDP())
    assert tunnel.at_host(0.3) is None
    assert tunnel.drops()["ts_mismatch"] == 1
    tunnel.from_peer(IP(src="10.9.7.1", dst=HOST4) / UDP())
    assert tunnel.at_host(src=("10.9.7.1",))


IKE_HEADER = struct.Struct("!BBBBHHI16s16s")  # ebpf/abi/ike_relay.h (the scope is host order, and 0 here)


def charon_of(lab):
    """charon's end of the IKE relay."""
    charon = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    charon.settimeout(2)
    charon.connect(str(lab.socket.parent / "ike.sock"))
    return charon


def test_ike_and_keepalives_are_not_esp(lab):
    """IKE on 500 and 4500 reaches charon, and its answer the peer; a keepalive is counted and gone."""
    tunnel = Tunnel(lab, udp=True)
    charon = charon_of(lab)
    poll("connected", lambda: "socket plugin connected" in lab.log.read_text())
    to_us = Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src=PEER4, dst=GW4, tos=0xb8)
    for port, ike in ((500, b"IKE_SA_INIT"), (4500, bytes(4) + b"IKE_AUTH")):
        lab.wan.send(to_us / UDP(sport=port, dport=port) / Raw(ike))
        expected = IKE_HEADER.pack(1, 4, 0xb8, 0, port, port, 0, packed(GW4), packed(PEER4)) + ike
        assert charon.recv(1000) == expected
        charon.send(expected)
        answer = lab.wan.receive(lambda f, port=port: f.haslayer(UDP) and f[UDP].sport == port)
        assert answer[IP].src == GW4 and answer[IP].tos == 0xb8 and bytes(answer[UDP].payload)[:len(ike)] == ike
    lab.wan.send(to_us / UDP(sport=4500, dport=4500) / Raw(b"\xff"))
    poll("keepalive counted", lambda: lab.counters().get("nat_keepalive") == 1)
    assert tunnel.drops() == {}
    charon.close()


SPOOFED = [  # sources that no site may send from, and why
    ("10.1.0.1", "the gateway"), ("10.1.0.99", "a VNet host"), ("127.0.0.1", "loopback"), ("0.0.0.0", "nobody"),
    ("224.1.1.1", "multicast"), ("240.0.0.1", "reserved"), ("169.254.7.7", "link-local, not for us"), ("192.0.2.1", "the gateway's outside"),
    ("fd00:1::1", "the gateway"), ("fd00:1::99", "a VNet host"), ("::1", "loopback"), ("::", "nobody"), ("ff0e::1", "multicast"),
    ("fe80::7", "link-local, not for us"), ("::ffff:10.1.0.99", "a VNet host's IPv4 address, to sockets of both families")]


def test_a_site_cannot_speak_for_the_vnet_or_the_gateway(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    for source, why in SPOOFED:
        for dst4, dst6 in ((HOST4, HOST6), ("10.1.0.77", "fd00:1::77")):  # the fast way; by the kernel
            inner = IPv6(src=source, dst=dst6) if ":" in source else IP(src=source, dst=dst4)
            tunnel.from_peer(inner / UDP(sport=1, dport=2))
        assert tunnel.at_host(0.1, src=(source,)) is None, why
    assert tunnel.drops() == {"spoofed_source": 2 * len(SPOOFED)}


def test_link_local_ends_of_a_tunnel_talk(lab):
    """BGP in the tunnel: between addresses of 169.254/16, or fe80::."""
    tunnel = Tunnel(lab)
    for address in ("169.254.21.1/30", "fe80::21:1/64"):
        run("ip", "-n", "fpg", "addr", "add", address, "dev", "tun1", *(["nodad"] if ":" in address else []))
    tunnel.warm_up()
    tunnel.from_peer(IP(src="169.254.21.2", dst="169.254.21.1") / ICMP(id=7, seq=1) / Raw(b"ping"))
    got = tunnel.at_peer()
    assert got and got[0].src == "169.254.21.1" and got[0][ICMP].type == 0
    tunnel.from_peer(IPv6(src="fe80::21:2", dst="fe80::21:1") / ICMPv6EchoRequest(id=7, seq=1))
    got = poll("an answer to the IPv6 ping", tunnel.at_peer)
    while not got[0].haslayer(ICMPv6EchoReply):  # the device's own multicast reports
        got = tunnel.at_peer()
    assert got[0].src == "fe80::21:1"
    assert tunnel.drops() == {}


# --- load, and its absence ------------------------------------------------------------------------------

def test_idle_uses_no_cpu(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    time.sleep(0.5)
    before = lab.cpu_seconds()
    time.sleep(2)
    assert lab.cpu_seconds() - before < 0.1


def test_a_thousand_packets_in_one_go(lab):
    """Bursts from both sides at once: every packet arrives, in order, on the fast way."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    slow = tunnel.info().slow_path_packets
    count = 1000
    frames = [bytes(tunnel.frame(tunnel.sent.seal(bytes(packets(4, struct.pack(">I", i))[0])))) for i in range(count)]
    clear = [bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / packets(4, struct.pack(">I", i))[1]) for i in range(count)]
    for side in (lab.wan, lab.vnet):
        side.socket.setsockopt(socket.SOL_SOCKET, lab_module.SO_RCVBUFFORCE, 16 << 20)
    for a, b in zip(frames, clear):
        lab.wan.socket.send(a)
        lab.vnet.socket.send(b)
    arrived = [tunnel.at_host() for _ in range(count)]
    assert [struct.unpack(">I", bytes(p[UDP].payload)[:4])[0] for p in arrived] == list(range(count))
    arrived = [tunnel.at_peer() for _ in range(count)]
    assert [struct.unpack(">I", bytes(p[0][UDP].payload)[:4])[0] for p in arrived] == list(range(count))
    assert [p[1] for p in arrived] == list(range(arrived[0][1], arrived[0][1] + count))
    assert tunnel.info().slow_path_packets == slow
    assert tunnel.drops() == {}


def test_one_line_errors(tmp_path):
    def fails_with(*arguments, state=tmp_path / "d"):
        # A network namespace of its own: nothing ends up on this machine's lo.
        done = subprocess.run(["unshare", "--net", lab_module.FASTPATH, "--socket", tmp_path / "s", "--state-dir", state,
                               "--wan-port", "xsk", "--vnet-port", "xsk", *arguments],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]
    assert fails_with("--wan", "nosuch0", "--vnet", "lo") == "gw-fastpath: interface 'nosuch0' does not exist"
    with tempfile.TemporaryDirectory(dir=lab_module.TOP / "build") as disk:
        assert "tmpfs" not in run("stat", "-f", "-c", "%T", disk)
        assert fails_with("--wan", "lo", "--vnet", "lo", state=disk) == (
            f"gw-fastpath: state-dir: {disk} is not on tmpfs: a volume that is rolled back would repeat nonces; "
            "choose a directory below /run")
        assert "tmpfs" not in fails_with("--wan", "lo", "--vnet", "lo", "--state-on-disk-for-tests", state=disk)
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "none", small)
    try:
        line = fails_with("--wan", "lo", "--vnet", "lo", state=small)
        assert line.startswith("gw-fastpath: cannot allocate ") and line.endswith("No space left on device")
    finally:
        run("umount", small)
