"""The other end of a tunnel, for the tests of gw-fastpath alone: ESP by a second implementation
(python-cryptography), and a tunnel as charon and gwd would make it. See fastpath_lab.py."""
import os
import struct
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.all import IP, UDP, Ether, IPv6, Raw

from fastpath_lab import HOST_MAC, PEER_MAC, PORT_KINDS, VNET_MAC, WAN_MAC, FastpathLab, add_sa, packed, pb, poll

GW4, PEER4, GW6, PEER6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
IN_SPI, OUT_SPI = 0x1001, 0x2001
HOST4, SITE4, HOST6, SITE6 = "10.1.0.10", "10.9.0.5", "fd00:1::10", "fd00:9::5"


class PeerSa:
    """The other end of an SA, independent of our codec: `cryptography`'s AES-GCM by RFC 4106, ESN."""

    def __init__(self, spi, key, src, dst, udp=None):
        self.spi, self.key, self.src, self.dst, self.udp = spi, key, src, dst, udp
        self.sequence = 0
        self.seen_ivs = set()

    def _aead(self):
        return AESGCM(self.key[:-4])

    def seal(self, inner: bytes, sequence=None, iv=None, next_header=None) -> bytes:
        """An outer IP packet that carries `inner`."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        iv = iv or struct.pack(">Q", 0x1000000 + sequence)
        pad = -(len(inner) + 2) % 4
        if next_header is None:
            next_header = 4 if inner[0] >> 4 == 4 else 41
        text = inner + bytes(range(1, pad + 1)) + bytes([pad, next_header])
        aad = struct.pack(">IQ", self.spi, sequence)
        sealed = self._aead().encrypt(self.key[-4:] + iv, text, aad)
        esp = struct.pack(">II", self.spi, sequence & 0xffffffff) + iv + sealed
        ip = IPv6(src=self.src, dst=self.dst) if ":" in self.src else IP(src=self.src, dst=self.dst, flags="DF")
        if self.udp:
            return bytes(ip / UDP(sport=self.udp[0], dport=self.udp[1], chksum=0 if ip.version == 4 else None) / Raw(esp))
        if ip.version == 4:
            ip.proto = 50
        else:
            ip.nh = 50
        return bytes(ip / Raw(esp))

    def open(self, frame):
        """(inner packet bytes, sequence, iv) of an outer frame for this SA; asserts that it authenticates."""
        outer = frame[IPv6] if frame.haslayer(IPv6) else frame[IP]
        payload = bytes(outer[UDP].payload) if self.udp else bytes(outer.payload)
        spi, low = struct.unpack(">II", payload[:8])
        assert spi == self.spi, f"SPI {spi:#x}"
        iv = payload[8:16]
        text = self._aead().decrypt(self.key[-4:] + iv, payload[16:], struct.pack(">IQ", spi, low))
        assert iv not in self.seen_ivs, f"IV {iv.hex()} was used twice"
        self.seen_ivs.add(iv)
        return text[:len(text) - 2 - text[-2]], low, iv

    def matches(self, frame):
        layer = frame.getlayer(IPv6) or frame.getlayer(IP)
        if layer is None or layer.dst != self.dst:
            return False
        if self.udp:
            return frame.haslayer(UDP) and frame[UDP].dport == self.udp[1]
        return (layer.nh if layer.version == 6 else layer.proto) == 50


class Tunnel:
    """A tunnel with one SA pair, as charon and gwd would make it, and the peer's two ends."""

    def __init__(self, lab, v6=False, udp=False, key_bits=256, number=1, epoch=1, keys=None, fresh=True, like=None, peer=None, **more):
        """`like`: another tunnel of the same charon and gwd; each has one connection."""
        self.lab, self.number = lab, number
        self.gw, self.peer = (GW6, PEER6) if v6 else (GW4, PEER4)
        self.peer = peer or self.peer
        self.keys = keys or (os.urandom(key_bits // 8 + 4), os.urandom(key_bits // 8 + 4))
        self.udp = udp
        self.in_spi, self.out_spi = IN_SPI + 16 * number, OUT_SPI + 16 * number
        self.sent = PeerSa(self.in_spi, self.keys[0], self.peer, self.gw, (4500, 4500) if udp else None)
        self.received = PeerSa(self.out_spi, self.keys[1], self.gw, self.peer, (4500, 4500) if udp else None)
        self.ike = like.ike if like else lab.rpc(pb.ROLE_IKE, epoch)
        self.control = like.control if like else lab.rpc(pb.ROLE_CONTROL)
        self.configure()
        self.add_sas(fresh, **more)

    def configure(self):
        self.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=self.number, name=f"site{self.number}", device=f"tun{self.number}",
                                                mtu=1400, mss_clamp=1360, peer=packed(self.peer)))
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
        """Both directions."""
        info = self.info()
        counts = Counter()
        for drop in [*info.drops, *info.out_drops]:
            counts[drop.reason] += drop.packets
        return dict(counts)

    def out_drops(self):
        return {d.reason for d in self.info().out_drops}

    def warm_up(self):
        """Until both fast ways are open: neighbours known on both sides."""
        # Devices that just came up send after the kernel's link watch has run, up to a second later.
        for inner in (IP(src=SITE4, dst=HOST4) / UDP(), IPv6(src=SITE6, dst=HOST6) / UDP()):
            poll("the slow path delivers", lambda: self.from_peer(inner) or self.at_host(0.3), 10)
        poll("neighbours are known", self._fast, 10)
        self._let_the_last_arrive()
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

    def _let_the_last_arrive(self):
        """On a busy machine packets of the warm-up may still be under way: a test would take one for its own."""
        last = os.urandom(8)
        self.from_peer(IP(src=SITE4, dst=HOST4) / UDP() / Raw(last))
        poll("the last to the host", lambda: (got := self.at_host()) is not None and last in bytes(got))
        self.from_host(IP(src=HOST4, dst=SITE4) / UDP() / Raw(last))
        poll("the last to the peer", lambda: (got := self.at_peer()) is not None and last in bytes(got[0]))
        counted = []

        def settled():  # a packet is counted once it is sent: it may be here before
            counted.append(self.info().out_packets)
            return counted[-1] in counted[-3:-1]
        poll("all are counted", settled)


def packets(version, payload=b"payload"):
    if version == 4:
        return (IP(src=SITE4, dst=HOST4, ttl=64) / UDP(sport=1000, dport=2000) / Raw(payload),
                IP(src=HOST4, dst=SITE4, ttl=64) / UDP(sport=2000, dport=1000) / Raw(payload))
    return (IPv6(src=SITE6, dst=HOST6, hlim=64) / UDP(sport=1000, dport=2000) / Raw(payload),
            IPv6(src=HOST6, dst=SITE6, hlim=64) / UDP(sport=2000, dport=1000) / Raw(payload))


def lab_on(tmp_path, ports, keeper=False):
    made = FastpathLab(tmp_path, ports=ports, keeper=keeper)
    try:
        yield made
    finally:
        status = made.close()
        print(made.log.read_text()[-8000:])
        assert status in (0, None), f"gw-fastpath ended with {status}"


@pytest.fixture(params=PORT_KINDS)
def lab(request, tmp_path):
    """On both kinds of port: what a tunnel's ends see is the same."""
    yield from lab_on(tmp_path, request.param)


@pytest.fixture(params=PORT_KINDS)
def kept_lab(request, tmp_path):
    yield from lab_on(tmp_path, request.param, keeper=True)


# For a test that is about one kind of port; the reason belongs beside it.
xsk_only = pytest.mark.parametrize("lab", ["xsk"], indirect=True)
