"""gw-fastpath alone, black box: what fits. Path MTU discovery outside, ICMP and cutting inside, MSS, and how the gateway
looks in a traceroute. The topology is drawn in fastpath_lab.py; the router test adds

    fpg wan ---- wan0 fpw (a router) rt0 ---- rt1 fpx 203.0.113.2 (the peer), MTU 1300
"""
import os
import struct

import pytest
from scapy.all import (ICMP, IP, TCP, UDP, Ether, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment, Raw,
                       defragment)

from fastpath_lab import PEER_MAC, WAN_MAC, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, HOST6, SITE4, SITE6, Tunnel, lab, packets  # noqa: F401 (lab is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def esp_frame(tunnel):
    """One of our packets as a router would see it."""
    tunnel.lab.wan.drain()
    tunnel.from_host(packets(4, bytes(600))[1])
    frame = tunnel.lab.wan.receive(tunnel.received.matches)
    assert frame is not None
    return bytes(frame.payload)


def too_big(quoted: bytes, mtu):
    """What a router on the way says about it."""
    if quoted[0] >> 4 == 4:
        return IP(src="198.51.100.254", dst=GW4) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quoted[:48])
    return IPv6(src="2001:db8:fe::1", dst="2001:db8::1") / ICMPv6PacketTooBig(mtu=mtu) / Raw(quoted[:100])


def from_router(lab, packet):
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / packet)


def at_vnet(lab, layer, seconds=2.0):
    return lab.vnet.receive(lambda f: f.haslayer(layer) and f.haslayer(IP if layer is ICMP else IPv6), seconds)


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_a_router_that_says_too_big_is_believed(lab, v6, udp):
    tunnel = Tunnel(lab, v6=v6, udp=udp)
    tunnel.warm_up()
    assert (tunnel.info().path_mtu, tunnel.info().inner_mtu) == (0, 1400)
    from_router(lab, too_big(esp_frame(tunnel), 1350))
    poll("the path MTU is known", lambda: tunnel.info().path_mtu == 1350)
    inner = tunnel.info().inner_mtu
    assert 1250 < inner < 1350 - 36, "room for the headers, and no more"
    assert int(run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/mtu")) == max(inner, 1280)

    # The largest packet fits, outside as well; one byte more and the sender is told.
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=1, dport=2) / Raw(bytes(inner - 28)))
    frame = lab.wan.receive(tunnel.received.matches)
    assert frame is not None and len(frame.payload) <= 1350
    lab.vnet.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=7, dport=2) / Raw(bytes(inner - 27)))
    error = at_vnet(lab, ICMP)
    assert error is not None and error[IP].src == "10.1.0.1" and error[IP].dst == HOST4
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, inner)
    tunnel.from_host(IPv6(src=HOST6, dst=SITE6) / UDP(sport=7, dport=2) / Raw(bytes(1400)))
    error = at_vnet(lab, ICMPv6PacketTooBig)
    assert error is not None and error[IPv6].src == "fd00:1::1" and error[ICMPv6PacketTooBig].mtu == max(inner, 1280)
    assert tunnel.out_drops() == {"too_big"}

    # A TCP handshake in either direction learns what fits.
    tunnel.from_host(IP(src=HOST4, dst=SITE4) / TCP(flags="S", options=[("MSS", 1460)]))
    assert dict(tunnel.at_peer()[0][TCP].options)["MSS"] == inner - 40
    tunnel.from_peer(IP(src=SITE4, dst=HOST4) / TCP(flags="SA", options=[("MSS", 1460)]))
    assert dict(tunnel.at_host()[TCP].options)["MSS"] == inner - 40


def test_reports_that_nobody_on_the_path_would_send(lab):
    """A forger off the path knows neither SPI nor sequence number."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    real = esp_frame(tunnel)
    spi, sequence = struct.unpack(">II", real[20:28])
    for what, quoted in {
        "another SPI": real[:20] + struct.pack(">II", spi ^ 1, sequence),
        "not sent yet": real[:20] + struct.pack(">II", spi, sequence + 1000),
        "sequence number 0": real[:20] + struct.pack(">II", spi, 0),
        "the inbound SA": real[:20] + struct.pack(">II", tunnel.in_spi, sequence),
        "another source": real[:12] + packed("192.0.2.9") + real[16:28],
        "a quote without ESP": real[:24],
        "UDP, which this SA is not": bytes(IP(src=GW4, dst=tunnel.peer) / UDP(sport=4500, dport=4500) / Raw(real[20:28])),
    }.items():
        from_router(lab, too_big(quoted, 1200))
    bad_sum = bytearray(bytes(too_big(real, 1200)))
    bad_sum[22] ^= 1
    from_router(lab, Raw(bytes(bad_sum)))
    from_router(lab, too_big(real, 1380))
    poll("the honest one is believed", lambda: tunnel.info().path_mtu == 1380)
    from_router(lab, too_big(real, 1450))
    esp_frame(tunnel)
    assert tunnel.info().path_mtu == 1380, "a report never raises it"


def test_a_flood_of_forged_reports_leaves_the_honest_one_its_turn(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    real = esp_frame(tunnel)
    forged = bytes(Ether(src=PEER_MAC, dst=WAN_MAC) / too_big(real[:20] + bytes(8), 1200))
    for _ in range(1000):
        lab.wan.send(forged)
    from_router(lab, too_big(real, 1380))
    poll("the honest one is believed", lambda: tunnel.info().path_mtu == 1380)


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_what_the_kernel_believes_does_not_count(lab, v6, udp):
    """It takes anybody's word for a path MTU; the sockets of a gso port probe, and the gateway judges."""
    tunnel = Tunnel(lab, v6=v6, udp=udp)
    tunnel.warm_up()
    run("ip", *(["-6"] if v6 else []), "-n", "fpg", "route", "replace", "2001:db8::/64" if v6 else "192.0.2.0/24", "dev", "wan", "mtu", "1280")
    for size in (1300, 1400):
        tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=1, dport=2) / Raw(bytes(size - 28)))
        frame = lab.wan.receive(tunnel.received.matches)
        assert frame is not None and len(tunnel.received.open(frame)[0]) == size
        assert v6 or frame[IP].flags.DF
    assert tunnel.drops() == {}


def test_a_wan_port_that_gets_a_smaller_mtu(lab):
    """No router has to say it: senders inside are told at once, and nothing is sent that the port refuses."""
    tunnel = Tunnel(lab, udp=True)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "link", "set", "wan", "mtu", "1300")
    poll("inside it is less, too", lambda: tunnel.info().inner_mtu < 1300 - 36)
    inner = tunnel.info().inner_mtu
    lab.vnet.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=7, dport=2) / Raw(bytes(inner - 27)))
    error = at_vnet(lab, ICMP)
    assert error is not None and (error[ICMP].code, error[ICMP].nexthopmtu) == (4, inner)
    lab.wan.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=7, dport=2) / Raw(bytes(inner - 28)))
    frame = lab.wan.receive(tunnel.received.matches)
    assert frame is not None and len(frame[IP]) <= 1300
    assert set(tunnel.drops()) == {"too_big"}


def test_no_report_makes_the_path_unusable(lab):
    """Below the floor: every host may send 576 bytes (IPv6: 1280), whatever a router says."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    from_router(lab, too_big(esp_frame(tunnel), 68))
    poll("the floor", lambda: tunnel.info().path_mtu == 576)
    assert tunnel.info().inner_mtu == 576
    for inner in (IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=1, dport=2) / Raw(bytes(576 - 28)),
                  IPv6(src=HOST6, dst=SITE6) / UDP(sport=1, dport=2) / Raw(bytes(1280 - 48))):
        lab.wan.drain()
        tunnel.from_host(inner)
        pieces = []
        while not pieces or pieces[-1].flags.MF:
            frame = lab.wan.receive(lambda f: f.haslayer(IP) and f[IP].dst == tunnel.peer)
            assert frame is not None, "more pieces"
            assert len(frame[IP]) <= 576 and not frame[IP].flags.DF
            pieces.append(frame[IP])
        whole = defragment(pieces)[0]
        opened = tunnel.received.open(Ether() / whole)[0]
        assert len(opened) == len(bytes(inner))
    assert tunnel.drops() == {}


def test_outer_ipv6_is_cut_at_the_source(lab):
    tunnel = Tunnel(lab, v6=True)
    tunnel.warm_up()
    from_router(lab, too_big(esp_frame(tunnel), 1280))
    poll("the path MTU is known", lambda: tunnel.info().path_mtu == 1280)
    lab.wan.drain()
    tunnel.from_host(IPv6(src=HOST6, dst=SITE6) / UDP(sport=1, dport=2) / Raw(bytes(1280 - 48)))
    pieces = [lab.wan.receive(lambda f: f.haslayer(IPv6ExtHdrFragment)) for _ in range(2)]
    assert all(p is not None and len(p[IPv6]) <= 1280 for p in pieces)
    payload = b"".join(bytes(p[IPv6ExtHdrFragment].payload) for p in pieces)
    whole = IPv6(src=pieces[0][IPv6].src, dst=pieces[0][IPv6].dst, nh=50) / Raw(payload)
    assert len(tunnel.received.open(Ether() / whole)[0]) == 1280


def test_traffic_flow_confidentiality_keeps_to_the_path(lab):
    """TFC padding to more than the path has room for would put every packet into two fragments."""
    tunnel = Tunnel(lab, tfc_pad_to=1400)
    tunnel.warm_up()
    from_router(lab, too_big(esp_frame(tunnel), 1350))
    poll("the path MTU is known", lambda: tunnel.info().path_mtu == 1350)
    lab.wan.drain()
    for length in (1, 100, 1000):
        tunnel.from_host(packets(4, bytes(length))[1])
        frame = lab.wan.receive(tunnel.received.matches)
        assert frame is not None and 1340 < frame[IP].len <= 1350 and frame[IP].frag == 0
        assert frame[IP].flags == "DF", "in one piece"


def test_ipv4_without_df_is_cut_where_the_tunnel_allows_it(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    big = IP(src=HOST4, dst=SITE4, id=77) / UDP(sport=5, dport=6) / Raw(os.urandom(1472))
    lab.vnet.drain()
    tunnel.from_host(big)
    error = at_vnet(lab, ICMP)
    assert error is not None and error[ICMP].nexthopmtu == 1400, "not allowed: as with DF"
    tunnel.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=1, name="site1", device="tun1", mtu=1400, mss_clamp=1360, fragment=True))
    lab.wan.drain()
    tunnel.from_host(big)
    pieces = [tunnel.at_peer()[0] for _ in range(2)]
    assert [len(p) for p in pieces] == [1396, 124] and all(p.ttl == 63 for p in pieces)
    whole = defragment(pieces)[0]
    assert bytes(whole[UDP].payload) == bytes(big[UDP].payload)
    df = big.copy()
    df.flags = "DF"
    tunnel.from_host(df)
    assert at_vnet(lab, ICMP) is not None, "DF is obeyed all the same"
    tunnel.from_host(IPv6(src=HOST6, dst=SITE6) / UDP(sport=1, dport=2) / Raw(bytes(1400)))
    assert at_vnet(lab, ICMPv6PacketTooBig) is not None, "IPv6 is never cut on the way"


def test_errors_are_not_answered_and_a_flood_is(lab):
    """RFC 1812 4.3.2.7 and 4.3.2.8."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    lab.vnet.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, flags="DF") / ICMP(type=3, code=1) / Raw(bytes(1450)))
    assert at_vnet(lab, ICMP, 0.5) is None
    for i in range(200):
        tunnel.from_host(IP(src=HOST4, dst=SITE4, id=i, flags="DF") / UDP(sport=7, dport=2) / Raw(bytes(1420)))
    answers = 0
    while at_vnet(lab, ICMP, 0.3) is not None:
        answers += 1
    assert 10 <= answers <= 120, answers


def test_a_tunnel_without_sa_says_unreachable(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
    lab.vnet.drain()
    tunnel.from_host(packets(4)[1])
    error = at_vnet(lab, ICMP)
    assert error is not None and (error[ICMP].type, error[ICMP].code) == (3, 1)


def test_traceroute_shows_every_hop_both_ways(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    for command in (("addr", "add", "169.254.21.1/30", "dev", "tun1"), ("addr", "add", "fd00:21::1/126", "dev", "tun1", "nodad"),
                    ("route", "add", "10.9.0.0/16", "dev", "tun1"), ("route", "add", "fd00:9::/32", "dev", "tun1")):
        run("ip", "-n", "fpg", *command)
    # From the VNet: we are the first hop, the site's router the second.
    lab.vnet.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, ttl=1) / UDP(sport=33000, dport=33434))
    hop = at_vnet(lab, ICMP)
    assert hop is not None and (hop[IP].src, hop[ICMP].type) == ("10.1.0.1", 11)
    tunnel.from_host(IPv6(src=HOST6, dst=SITE6, hlim=1) / UDP(sport=33000, dport=33434))
    hop = at_vnet(lab, ICMPv6TimeExceeded)
    assert hop is not None and hop[IPv6].src == "fd00:1::1"
    lab.wan.drain()
    tunnel.from_host(IP(src=HOST4, dst=SITE4, ttl=2) / UDP(sport=33000, dport=33435))
    probe = tunnel.at_peer()[0]
    assert probe.ttl == 1
    tunnel.from_peer(IP(src="10.9.0.1", dst=HOST4) / ICMP(type=11) / Raw(bytes(probe)[:28]))
    hop = at_vnet(lab, ICMP)
    assert hop is not None and (hop[IP].src, hop[ICMP].type) == ("10.9.0.1", 11)
    # From the site: we are the hop behind its router, with the address of the tunnel.
    lab.wan.drain()
    for probe, error, ours in ((IP(src=SITE4, dst=HOST4, ttl=1), ICMP, "169.254.21.1"),
                               (IPv6(src=SITE6, dst=HOST6, hlim=1), ICMPv6TimeExceeded, "fd00:21::1")):
        tunnel.from_peer(probe / UDP(sport=33000, dport=33434))
        answer = tunnel.at_peer()
        assert answer is not None and answer[0].haslayer(error), answer
        assert answer[0].src == ours and answer[0].dst == probe.src
        if error is ICMP:
            assert answer[0][ICMP].type == 11
    tunnel.from_peer(IP(src=SITE4, dst=HOST4, ttl=2) / UDP(sport=33000, dport=33435))
    assert tunnel.at_host().ttl == 1


def test_a_real_router_with_a_small_link(lab):
    """The kernel of a router between us says it; nobody forges anything."""
    run("ip", "netns", "add", "fpx")
    try:
        run("ip", "-n", "fpw", "link", "add", "rt0", "type", "veth", "peer", "name", "rt1", "netns", "fpx")
        for ns, device, address in (("fpw", "rt0", "203.0.113.1/24"), ("fpx", "rt1", "203.0.113.2/24")):
            run("ip", "-n", ns, "addr", "add", address, "dev", device)
            run("ip", "-n", ns, "link", "set", device, "mtu", "1300", "up")
        run("ip", "netns", "exec", "fpw", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", "fpg", "route", "add", "203.0.113.0/24", "via", "192.0.2.2")
        tunnel = Tunnel(lab, peer="203.0.113.2")
        probe = IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=1, dport=2) / Raw(bytes(1300))

        def learned():
            tunnel.from_host(probe)
            return tunnel.info().path_mtu == 1300
        poll("the router's word is heard", learned, 20)
        inner = tunnel.info().inner_mtu
        lab.vnet.drain()
        tunnel.from_host(probe)
        error = at_vnet(lab, ICMP)
        assert error is not None and error[ICMP].nexthopmtu == inner < 1300
    finally:
        run("ip", "netns", "del", "fpx", check=False)
