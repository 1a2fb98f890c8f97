"""gw-fastpath alone, black box: its RPC in our hand, scapy at both ends, and a second implementation of
ESP (python-cryptography) as the peer. The topology is drawn in fastpath_lab.py."""
import os
import socket
import struct
import time

import pytest

import fastpath_lab as lab_module
from fastpath_lab import (HOST_MAC, PEER_MAC, VNET_MAC, WAN_MAC, Ether, FastpathLab, IP, IPv6, PeerSa, Raw, UDP, add_sa,
                          packed, pb, poll, run)
from scapy.all import ICMP, TCP

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

GW4, PEER4, GW6, PEER6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
IN_SPI, OUT_SPI = 0x1001, 0x2001
HOST4, SITE4, HOST6, SITE6 = "10.1.0.10", "10.9.0.5", "fd00:1::10", "fd00:9::5"


class Tunnel:
    """A tunnel with one SA pair, as charon and gwd would make it, and the peer's two ends."""

    def __init__(self, lab, v6=False, udp=False, key_bits=256, number=1, epoch=1, keys=None, fresh=True, **more):
        self.lab, self.number = lab, number
        self.gw, self.peer = (GW6, PEER6) if v6 else (GW4, PEER4)
        self.keys = keys or (os.urandom(key_bits // 8 + 4), os.urandom(key_bits // 8 + 4))
        self.udp = udp
        self.in_spi, self.out_spi = IN_SPI + 16 * number, OUT_SPI + 16 * number
        self.sent = PeerSa(self.in_spi, self.keys[0], self.peer, self.gw, (4500, 4500) if udp else None)
        self.received = PeerSa(self.out_spi, self.keys[1], self.gw, self.peer, (4500, 4500) if udp else None)
        self.ike = lab.rpc(pb.ROLE_IKE, epoch)
        self.control = lab.rpc(pb.ROLE_CONTROL)
        self.configure()
        self.add_sas(fresh, **more)

    def configure(self):
        self.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=self.number, name=f"site{self.number}", device=f"tun{self.number}",
                                                mtu=1400, mss_clamp=1360))
        tunnel = dict(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[self.number])
        self.control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=packed("10.9.0.0"), prefix_length=16, **tunnel), pb.Route(prefix=packed("fd00:9::"), prefix_length=32, **tunnel),
            pb.Route(prefix=packed("10.1.0.0"), prefix_length=24, kind=pb.NEXT_HOP_VNET),
            pb.Route(prefix=packed("fd00:1::"), prefix_length=64, kind=pb.NEXT_HOP_VNET)]))

    def add_sas(self, fresh=True, **more):
        """The inbound SA's Response of AddSa and the outbound one's."""
        inbound = self.ike.ok(add_sa=add_sa(self.in_spi, self.peer, self.gw, self.keys[0], True, self.number, self.udp, fresh=fresh, **more))
        outbound = self.ike.ok(add_sa=add_sa(self.out_spi, self.gw, self.peer, self.keys[1], False, self.number, self.udp, fresh=fresh, **more))
        self.ike.ok(activate_outbound=pb.ActivateOutbound(id=self.out_id))
        return inbound, outbound

    @property
    def in_id(self):
        return pb.SaId(spi=self.in_spi, dst=packed(self.gw))

    @property
    def out_id(self):
        return pb.SaId(spi=self.out_spi, dst=packed(self.peer))

    def frame(self, outer):
        return Ether(src=PEER_MAC, dst=WAN_MAC, type=0x800 if outer[0] >> 4 == 4 else 0x86dd) / Raw(outer)

    def from_peer(self, inner, **seal):
        self.lab.wan.send(self.frame(self.sent.seal(bytes(inner), **seal)))

    def at_host(self, seconds=2.0, src=(SITE4, SITE6)):
        """The next decrypted packet that reaches the VNet host."""
        frame = self.lab.vnet.receive(lambda f: (f.haslayer(IP) and f[IP].src in src) or (f.haslayer(IPv6) and f[IPv6].src in src), seconds)
        return frame and (frame.getlayer(IP) or frame.getlayer(IPv6))

    def from_host(self, inner):
        self.lab.vnet.send(Ether(src=HOST_MAC, dst=VNET_MAC) / inner)

    def at_peer(self, seconds=2.0):
        """(inner packet, sequence, iv) of the next ESP packet that reaches the peer, authenticated."""
        frame = self.lab.wan.receive(self.received.matches, seconds)
        if frame is None:
            return None
        inner, sequence, iv = self.received.open(frame)
        return (IP if inner[0] >> 4 == 4 else IPv6)(inner), sequence, iv

    def info(self):
        return next(t for t in self.control.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels if t.tunnel_id == self.number)

    def drops(self):
        """Without the device's own router solicitations and multicast reports, which come when they like."""
        return {d.reason: d.packets for d in self.info().drops if d.reason != "not_forwardable"}

    def warm_up(self):
        """Until both fast ways are open: neighbours known on both sides."""
        # Devices that just came up send after the kernel's link watch has run, up to a second later.
        for inner in (IP(src=SITE4, dst=HOST4) / UDP(), IPv6(src=SITE6, dst=HOST6) / UDP()):
            poll("the slow path delivers", lambda: self.from_peer(inner) or self.at_host(0.3), 10)
        poll("neighbours are known", self._fast, 10)
        self.lab.wan.drain()
        self.lab.vnet.drain()

    def _fast(self):
        before = self.info().slow_path_packets
        for inner in (IP(src=SITE4, dst=HOST4) / UDP(), IPv6(src=SITE6, dst=HOST6) / UDP()):
            self.from_peer(inner)
            self.at_host(0.5)
        self.from_host(IP(src=HOST4, dst=SITE4) / UDP())
        self.at_peer(0.5)
        counters = self.control.ok(get_counters=pb.GetCounters()).counters
        return self.info().slow_path_packets == before and counters.wan_tx_packets > 0


@pytest.fixture
def lab(tmp_path):
    made = FastpathLab(tmp_path)
    try:
        yield made
    finally:
        status = made.close()
        print(made.log.read_text()[-8000:])
        assert status in (0, None), f"gw-fastpath ended with {status}"


@pytest.fixture
def kept_lab(tmp_path):
    made = FastpathLab(tmp_path, keeper=True)
    try:
        yield made
    finally:
        status = made.close()
        print(made.log.read_text()[-8000:])
        assert status in (0, None), f"keeper ended with {status}"


def packets(version, payload=b"payload"):
    if version == 4:
        return (IP(src=SITE4, dst=HOST4, ttl=64) / UDP(sport=1000, dport=2000) / Raw(payload),
                IP(src=HOST4, dst=SITE4, ttl=64) / UDP(sport=2000, dport=1000) / Raw(payload))
    return (IPv6(src=SITE6, dst=HOST6, hlim=64) / UDP(sport=1000, dport=2000) / Raw(payload),
            IPv6(src=HOST6, dst=SITE6, hlim=64) / UDP(sport=2000, dport=1000) / Raw(payload))


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


def test_ike_and_keepalives_are_not_esp(lab):
    """IKE on 4500 reaches a socket on the gateway; a keepalive is counted and gone."""
    tunnel = Tunnel(lab, udp=True)
    with open("/run/netns/fpg") as ns, open("/proc/self/ns/net") as own:
        os.setns(ns.fileno(), os.CLONE_NEWNET)
        charon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        charon.bind(("", 4500))
        os.setns(own.fileno(), os.CLONE_NEWNET)
    charon.settimeout(2)
    ike = bytes(4) + b"IKE_SA_INIT"
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src=PEER4, dst=GW4) / UDP(sport=4500, dport=4500) / Raw(ike))
    assert charon.recv(100) == ike
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src=PEER4, dst=GW4) / UDP(sport=4500, dport=4500) / Raw(b"\xff"))
    poll("keepalive counted", lambda: lab.counters().get("nat_keepalive") == 1)
    assert tunnel.drops() == {}
    charon.close()


# --- tunnels and SAs over their life -----------------------------------------------------------------

def test_rekey_moves_traffic_without_loss(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    keys = (os.urandom(36), os.urandom(36))
    tunnel.ike.ok(add_sa=add_sa(0x5001, PEER4, GW4, keys[0], True))
    tunnel.ike.ok(add_sa=add_sa(0x5002, GW4, PEER4, keys[1], False))
    new_in, new_out = PeerSa(0x5001, keys[0], PEER4, GW4), PeerSa(0x5002, keys[1], GW4, PEER4)
    to_host, to_site = packets(4)
    tunnel.from_host(to_site)
    assert tunnel.at_peer(), "the old SA sends until the new one is activated"
    tunnel.ike.ok(activate_outbound=pb.ActivateOutbound(id=pb.SaId(spi=0x5002, dst=packed(PEER4))))
    tunnel.from_host(to_site)
    frame = lab.wan.receive(new_out.matches)
    assert new_out.open(frame)[0][:1] == b"\x45"
    tunnel.from_peer(to_host)
    assert tunnel.at_host(), "the old inbound SA still receives"
    lab.wan.send(tunnel.frame(new_in.seal(bytes(to_host))))
    assert tunnel.at_host()
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.in_id))
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
    assert tunnel.info().carrier and tunnel.info().active_spi == 0x5002


def test_carrier_follows_the_sa(lab):
    tunnel = Tunnel(lab)
    assert lab.carrier("tun1")
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
    assert not lab.carrier("tun1")
    event = tunnel.control.event("tunnel_state")
    while event and event.carrier:
        event = tunnel.control.event("tunnel_state")
    assert event and event.tunnel_id == 1
    tunnel.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=1, name="site1", device="tun1", mtu=1400, carrier=pb.CARRIER_ALWAYS))
    assert lab.carrier("tun1")
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    tunnel.from_host(IP(src=HOST4, dst=SITE4) / UDP())
    acquire = tunnel.ike.event("acquire")
    assert acquire and acquire.tunnel_id == 1 and acquire.dst == packed(SITE4)
    assert tunnel.drops()["no_outbound_sa"] >= 1


def test_expire_events(lab):
    tunnel = Tunnel(lab, lifetime=pb.Lifetime(soft_packets=3, hard_packets=5))
    for _ in range(7):
        tunnel.from_peer(IP(src=SITE4, dst=HOST4) / UDP())
    soft = tunnel.ike.event("expire")
    hard = tunnel.ike.event("expire")
    assert soft and not soft.hard and soft.reason == "packets" and soft.id == tunnel.in_id
    assert hard and hard.hard
    assert tunnel.drops()["hard_expired"] == 2


def test_nat_rebinding_is_reported_and_moved_only_on_request(lab):
    tunnel = Tunnel(lab, udp=True)
    tunnel.warm_up()
    tunnel.sent.udp = (61000, 4500)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host(), "the packet itself is good"
    mapping = tunnel.ike.event("mapping")
    assert mapping and mapping.src.port == 61000 and mapping.id == tunnel.in_id
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer(), "still to the old port"
    tunnel.ike.ok(update_sa=pb.UpdateSa(id=tunnel.out_id, new_src=pb.Endpoint(address=packed(GW4), port=4500),
                                        new_dst=pb.Endpoint(address=packed(PEER4), port=61000), udp_encapsulation=True))
    tunnel.received.udp = (4500, 61000)
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer()


def test_ecmp_spreads_flows_and_keeps_them(lab):
    first, second = Tunnel(lab), Tunnel(lab, number=2)
    first.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(
        prefix=packed("10.9.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1, 2])]))

    def way(port):
        lab.wan.drain()
        first.from_host(IP(src=HOST4, dst=SITE4) / UDP(sport=port, dport=9))
        frame = lab.wan.receive(lambda f: first.received.matches(f))
        spi = struct.unpack(">I", bytes(frame[IP].payload)[:4])[0]
        return 1 if spi == first.out_spi else 2

    before = {port: way(port) for port in range(100, 140)}
    assert set(before.values()) == {1, 2}
    first.control.ok(del_tunnel=pb.DelTunnel(tunnel_id=2))
    assert {way(port) for port in range(100, 140)} == {1}
    assert run("ip", "-n", "fpg", "link", "show", "tun2", check=False) == ""


# --- the RPC's rules ---------------------------------------------------------------------------------

def test_refusals_change_nothing(lab):
    tunnel = Tunnel(lab)
    before = tunnel.control.ok(list_sas=pb.ListSas()).sas.sas
    other_key = add_sa(tunnel.in_spi, PEER4, GW4, os.urandom(36), True)
    assert tunnel.ike.refused(pb.ALREADY_EXISTS, add_sa=other_key).field == "id"
    unrecorded = add_sa(0x7777, PEER4, GW4, os.urandom(36), False, fresh=False)
    tunnel.ike.refused(pb.NEEDS_REKEY, add_sa=unrecorded)
    assert tunnel.ike.refused(pb.INVALID_ARGUMENT, add_sa=add_sa(0x7778, PEER4, GW4, b"short", True)).field == "key"
    assert tunnel.control.refused(pb.INVALID_ARGUMENT, add_sa=add_sa(0x7779, PEER4, GW4, os.urandom(36), True)).field == "hello.role"
    tunnel.ike.refused(pb.NOT_FOUND, del_sa=pb.DelSa(id=pb.SaId(spi=0x9999, dst=packed(GW4))))
    assert tunnel.ike.refused(pb.INVALID_ARGUMENT, activate_outbound=pb.ActivateOutbound(id=tunnel.in_id)).field == "id"
    bad_batch = pb.UpdateRoutes(add=[pb.Route(prefix=packed("10.77.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1]),
                                     pb.Route(prefix=packed("10.78.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[99])])
    assert tunnel.control.refused(pb.NOT_FOUND, update_routes=bad_batch).field == "add[1].tunnel_ids"
    prefixes = [r.prefix for r in tunnel.control.ok(list_routes=pb.ListRoutes()).routes.routes]
    assert packed("10.77.0.0") not in prefixes
    after = tunnel.control.ok(list_sas=pb.ListSas()).sas.sas
    assert [(s.id.spi, s.tunnel_id) for s in after] == [(s.id.spi, s.tunnel_id) for s in before]
    assert "k" * 8 not in lab.log.read_text()


def test_frames_that_are_none(lab):
    client = lab.rpc(pb.ROLE_OBSERVER)
    client.send_raw(b"\xff\xff\xff not protobuf")
    assert client.read_frame().response.status.code == pb.MALFORMED
    client.send_raw(pb.ClientFrame(id=0, list_sas=pb.ListSas()).SerializeToString())
    assert client.read_frame().response.status.code == pb.MALFORMED
    client.ok(list_sas=pb.ListSas())  # the connection goes on
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(lab.socket))
    raw.sendall(struct.pack(">I", (1 << 20) + 1))
    raw.settimeout(3)
    assert raw.recv(10) == b"", "a frame beyond the limit ends the connection"
    raw.close()
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(lab.socket))
    payload = pb.ClientFrame(id=1, list_sas=pb.ListSas()).SerializeToString()
    silent.sendall(struct.pack(">I", len(payload)) + payload)
    silent.settimeout(3)
    answer = pb.ServerFrame.FromString(silent.recv(1000)[4:])
    assert answer.response.status.code == pb.MALFORMED, "no Hello first"
    silent.close()
    assert oct(os.stat(lab.socket).st_mode & 0o777) == "0o600"


def test_sync_done_sweeps_what_was_not_sent_again(lab):
    tunnel, other = Tunnel(lab), Tunnel(lab, number=2)
    # charon reconnects and has only tunnel 1's SAs; gwd reconnects and has only tunnel 1.
    tunnel.ike = lab.rpc(pb.ROLE_IKE, epoch=1)
    tunnel.add_sas(fresh=False)
    tunnel.ike.ok(sync_done=pb.SyncDone())
    assert {s.tunnel_id for s in tunnel.ike.ok(list_sas=pb.ListSas()).sas.sas} == {1}
    tunnel.control = lab.rpc(pb.ROLE_CONTROL)
    tunnel.configure()
    tunnel.control.ok(sync_done=pb.SyncDone())
    assert [t.tunnel_id for t in tunnel.control.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels] == [1]
    assert other.number == 2
    tunnel.warm_up()


def test_orphans_carry_on_until_the_new_sa_has_traffic(lab):
    tunnel = Tunnel(lab, epoch=1)
    tunnel.warm_up()
    charon = lab.rpc(pb.ROLE_IKE, epoch=2)
    charon.ok(sync_done=pb.SyncDone())
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host(), "an orphan receives"
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer(), "and sends"
    assert all(s.orphan for s in charon.ok(list_sas=pb.ListSas()).sas.sas)
    keys = (os.urandom(36), os.urandom(36))
    charon.ok(add_sa=add_sa(0x5001, PEER4, GW4, keys[0], True))
    charon.ok(add_sa=add_sa(0x5002, GW4, PEER4, keys[1], False))
    charon.ok(activate_outbound=pb.ActivateOutbound(id=pb.SaId(spi=0x5002, dst=packed(PEER4))))
    time.sleep(1.5)
    assert len(charon.ok(list_sas=pb.ListSas()).sas.sas) == 4, "the new SA has proved nothing yet"
    lab.wan.send(tunnel.frame(PeerSa(0x5001, keys[0], PEER4, GW4).seal(bytes(packets(4)[0]))))
    assert tunnel.at_host()
    poll("orphans end", lambda: {s.id.spi for s in charon.ok(list_sas=pb.ListSas()).sas.sas} == {0x5001, 0x5002}, 9)


# --- restarts ----------------------------------------------------------------------------------------

def test_kill_and_restart_keeps_carrier_and_never_repeats_an_iv(kept_lab):
    lab = kept_lab
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    to_host, to_site = packets(4)
    for _ in range(5):
        tunnel.from_host(to_site)
        assert tunnel.at_peer()
    captured = tunnel.sent.seal(bytes(to_host))
    lab.wan.send(tunnel.frame(captured))
    assert tunnel.at_host()
    changes = run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/carrier_changes")
    last_sequence = max(int.from_bytes(iv, "big") & 0xffffffffff for iv in tunnel.received.seen_ivs)

    old = lab.kill()
    started = time.monotonic()
    poll("the keeper starts it again", lambda: lab.fastpath_pid() not in (0, old), 10)
    lab.wait_ready()
    # `received` remembers every IV it has seen and refuses a second use.
    tunnel.ike, tunnel.control = lab.rpc(pb.ROLE_IKE, 1), lab.rpc(pb.ROLE_CONTROL)
    _, outbound = tunnel.add_sas(fresh=False)
    assert outbound.add_sa.iv_epoch == 2
    tunnel.configure()
    tunnel.ike.ok(sync_done=pb.SyncDone())
    tunnel.control.ok(sync_done=pb.SyncDone())
    took = time.monotonic() - started
    assert took < (2 if lab_module.PRESET == "release" else 20), f"{took:.1f} s"

    assert lab.carrier("tun1")
    assert run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/carrier_changes") == changes, "carrier never moved"
    sequences = []
    for _ in range(5):
        tunnel.from_host(to_site)
        got = tunnel.at_peer()
        assert got, "sends again"
        sequences.append(got[1])
        assert int.from_bytes(got[2], "big") >> 40 & 0xfffff == 2, "a new epoch"
    assert sequences == sorted(sequences) and sequences[0] > last_sequence, "the sequence goes on"
    lab.wan.drain()
    lab.vnet.drain()
    lab.wan.send(tunnel.frame(captured))
    assert tunnel.at_host(0.3) is None, "the replay window survived"
    tunnel.from_peer(to_host)
    assert tunnel.at_host()


def test_a_tunnel_that_is_gone_takes_its_kept_device_along(kept_lab):
    lab = kept_lab
    tunnel = Tunnel(lab)
    old = lab.kill()
    poll("the keeper starts it again", lambda: lab.fastpath_pid() not in (0, old), 10)
    lab.wait_ready()
    control = lab.rpc(pb.ROLE_CONTROL)
    assert lab.carrier("tun1"), "kept"
    control.ok(sync_done=pb.SyncDone())
    assert run("ip", "-n", "fpg", "link", "show", "tun1", check=False) == ""
    assert tunnel.number == 1


def test_a_reboot_forgets_and_asks_for_rekey(lab):
    """Without its records (a reboot empties tmpfs) a replayed key is refused, a fresh one taken."""
    tunnel = Tunnel(lab)
    lab.kill()
    run("rm", "-rf", lab.state)
    lab.start()
    ike = lab.rpc(pb.ROLE_IKE)
    ike.refused(pb.NEEDS_REKEY, add_sa=add_sa(tunnel.out_spi, GW4, PEER4, tunnel.keys[1], False, fresh=False))
    ike.ok(add_sa=add_sa(tunnel.out_spi, GW4, PEER4, os.urandom(36), False))


# --- the outside ---------------------------------------------------------------------------------------

def test_next_hop_changes_are_followed(lab):
    """A new MAC of the peer (fail-over there) and a route by a gateway: the outer packets follow."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    new_mac = "02:00:00:00:01:99"
    run("ip", "-n", "fpg", "neigh", "replace", PEER4, "lladdr", new_mac, "dev", "wan", "nud", "permanent")

    def goes_to(mac):
        lab.wan.drain()
        tunnel.from_host(packets(4)[1])
        frame = lab.wan.receive(tunnel.received.matches, 0.5)
        return frame is not None and frame.dst == mac
    poll("outer packets to the new MAC", lambda: goes_to(new_mac))
    run("ip", "-n", "fpg", "neigh", "add", "192.0.2.77", "lladdr", "02:00:00:00:01:77", "dev", "wan", "nud", "permanent")
    run("ip", "-n", "fpg", "route", "add", f"{PEER4}/32", "via", "192.0.2.77", "dev", "wan")
    poll("outer packets to the gateway", lambda: goes_to("02:00:00:00:01:77"))


def test_one_line_errors(tmp_path):
    def fails_with(*arguments):
        import subprocess
        done = subprocess.run([lab_module.FASTPATH, "--socket", tmp_path / "s", "--state-dir", tmp_path / "d", *arguments],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]
    assert fails_with("--wan", "nosuch0", "--vnet", "lo") == "gw-fastpath: interface 'nosuch0' does not exist"
