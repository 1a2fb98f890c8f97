"""One running gw-fastpath for many packet tests: a test takes a Wire (a fresh tunnel with a fresh SA pair, the peer's end
of it in esp_peer.py), sends frames, and states what must have become of every one of them: delivered, or dropped for a
reason that is counted exactly once. The topology is drawn in fastpath_lab.py."""
import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections import Counter

import pytest

import esp_peer
import fastpath_lab as lab_module
from esp_peer import EspSa, Gcm, payload_of
from fastpath_lab import HOST_MAC, PEER_MAC, PORT_KINDS, VNET_MAC, WAN_MAC, FastpathLab, add_sa, packed, pb, poll
from fastpath_peer import GW4, GW6, HOST4, HOST6, PEER4, PEER6, SITE4, SITE6

NAT_T = 4500
SETTLE = 0.02  # s; what is delivered although it must not be needs no longer
PATIENCE = 3.0


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def wan_frame(packet: bytes):
    return mac(WAN_MAC) + mac(PEER_MAC) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def vnet_frame(packet: bytes):
    return mac(VNET_MAC) + mac(HOST_MAC) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def inner(version=4, payload=b"", to_host=True, tos=0, ttl=64, ports=(1000, 2000), src=None, dst=None, **fields):
    """A UDP packet between a site and a VNet host, one hop old on arrival (`delivered` says what becomes of it)."""
    site, host = (SITE4, HOST4) if version == 4 else (SITE6, HOST6)
    source, destination = (packed(a) for a in ((src or site, dst or host) if to_host else (src or host, dst or site)))
    return esp_peer.ip(source, destination, 17, esp_peer.udp(source, destination, ports, payload), tos=tos, ttl=ttl, **fields)


def routed(packet: bytes, tos=None):
    """`packet` after a router: TTL or hop limit one less, the IPv4 checksum right."""
    packet = bytearray(packet)
    if packet[0] >> 4 == 4:
        packet[8] -= 1
        if tos is not None:
            packet[1] = tos
        header = (packet[0] & 15) * 4
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack(">H", esp_peer.ones_complement(bytes(packet[:header])))
    else:
        packet[7] -= 1
        if tos is not None:
            packet[0:2] = struct.pack(">H", 0x6000 | tos << 4 | packet[1] & 15)
    return bytes(packet)


def without_id(packet: bytes):
    """Where DF is set the id means nothing (RFC 6864 4.1), and merging and cutting may number packets: 0, as `inner` has it."""
    if packet[0] >> 4 != 4 or not packet[6] & 0x40 or packet[4:6] == b"\0\0":
        return packet
    header = (packet[0] & 15) * 4
    assert esp_peer.ones_complement(packet[:header]) == 0
    plain = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
    return plain[:10] + struct.pack(">H", esp_peer.ones_complement(plain[:header])) + plain[12:]


def is_upkeep(packet: bytes):
    """Neighbour discovery and multicast reports: the link's own, in both namespaces."""
    return packet[0] >> 4 == 6 and (packet[6] == 58 and packet[40] in range(130, 144) or packet[6] == 0)


def is_icmp_error(packet: bytes):
    """What a router says about a packet that it did not forward (RFC 792, RFC 4443); not the packet."""
    if packet[0] >> 4 == 4:
        return packet[9] == 1 and packet[(packet[0] & 15) * 4] in (3, 11, 12)
    return packet[6] == 58 and packet[40] < 128


class Wire:
    """A tunnel with one SA pair, and the peer's two ends of it."""

    def __init__(self, station, number, transform=Gcm(), v6=False, udp=False, esn=True, window=64, mtu=1400, selectors=None,
                 peer_port=NAT_T, fragment=False, **more):
        self.station, self.lab, self.number = station, station.lab, number
        self.gw, self.peer = (GW6, PEER6) if v6 else (GW4, PEER4)
        self.udp, self.peer_port, self.window, self.esn = udp, peer_port, window, esn
        self.to_gw = EspSa(0x10000 + number, transform, esn)
        self.from_gw = EspSa(0x20000 + number, transform, esn)
        self.more, self.selectors = more, selectors
        self.mtu, self.fragment = mtu, fragment
        self.configure()
        self.add_sas()
        self.before = self.counts()

    def configure(self):
        self.station.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=self.number, name=f"site{self.number}", device=f"tun{self.number}", mtu=self.mtu,
                                                        fragment=self.fragment))
        way = dict(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[self.number])
        self.station.control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=packed("10.9.0.0"), prefix_length=16, **way), pb.Route(prefix=packed("fd00:9::"), prefix_length=32, **way)]))

    def installed_again(self):
        """After a restart, as charon's plugin and gwd do it."""
        self.configure()
        self.add_sas(fresh=False)
        self.before = self.counts()

    # --- SAs ---

    def request(self, sa, inbound, **more):
        src, dst = (self.peer, self.gw) if inbound else (self.gw, self.peer)
        ports = (self.peer_port, NAT_T) if inbound else (NAT_T, self.peer_port)
        message = add_sa(sa.spi, src, dst, sa.key, inbound, self.number, self.udp, ports, esn=self.esn, window=self.window,
                         **{**self.more, **more})
        set_transform(message, sa)
        if self.selectors:
            local, remote = self.selectors
            del message.local_selectors[:], message.remote_selectors[:]
            message.local_selectors.extend(local)
            message.remote_selectors.extend(remote)
        return message

    def add_sas(self, fresh=True):
        self.station.ike.ok(add_sa=self.request(self.to_gw, True, fresh=fresh))
        self.station.ike.ok(add_sa=self.request(self.from_gw, False, fresh=fresh))
        self.station.ike.ok(activate_outbound=pb.ActivateOutbound(id=self.out_id))

    @property
    def in_id(self):
        return pb.SaId(spi=self.to_gw.spi, dst=packed(self.gw))

    @property
    def out_id(self):
        return pb.SaId(spi=self.from_gw.spi, dst=packed(self.peer))

    def remove(self):
        for sa in (self.in_id, self.out_id):
            self.station.ike.call(del_sa=pb.DelSa(id=sa))
        self.station.control.call(del_tunnel=pb.DelTunnel(tunnel_id=self.number))

    # --- the peer sends ---

    def outer(self, esp: bytes, **fields):
        """The IP packet around ESP, as this tunnel's peer sends it."""
        src, dst = packed(self.peer), packed(self.gw)
        if not self.udp:
            return esp_peer.ip(src, dst, 50, esp, **fields)
        datagram = esp_peer.udp(src, dst, (self.peer_port, NAT_T), esp, checksum=0 if len(src) == 4 else None)
        return esp_peer.ip(src, dst, 17, datagram, **fields)

    def send(self, packet: bytes):
        """A packet (from the outer IP header on) arrives from the peer."""
        self.lab.wan.send(wan_frame(packet))

    def send_inner(self, packet: bytes, sequence=None, **odd):
        self.send(self.outer(self.to_gw.seal(packet, sequence, **odd)))

    def send_text(self, text: bytes, sequence=None):
        self.send(self.outer(self.to_gw.seal_text(text, sequence)))

    def from_host(self, packet: bytes):
        """A packet of the VNet host."""
        self.lab.vnet.send(vnet_frame(packet))

    # --- what arrived ---

    def at_host(self, count):
        """The next `count` packets for the VNet host, and whatever comes right after."""
        return [without_id(p) for p in self.station.collect(self.lab.vnet, VNET_MAC, count)]

    def at_peer(self, count):
        """Likewise for the peer, opened: (inner packet, sequence, iv, outer packet)."""
        opened = []
        for packet in self.station.collect(self.lab.wan, WAN_MAC, count):
            esp = self.esp_of(packet)
            text, sequence, iv = self.from_gw.open(esp)
            payload, next_header = payload_of(text, self.from_gw.transform.align)
            assert next_header == (4 if payload[0] >> 4 == 4 else 41)
            opened.append((payload, sequence, iv, packet))
        return opened

    def esp_of(self, packet: bytes):
        """Checks the outer headers on the way."""
        if packet[0] >> 4 == 4:
            assert packet[0] == 0x45 and esp_peer.ones_complement(packet[:20]) == 0
            length, protocol, source, destination = struct.unpack(">H", packet[2:4])[0], packet[9], packet[12:16], packet[16:20]
            rest = packet[20:length]
        else:
            length, protocol, source, destination = struct.unpack(">H", packet[4:6])[0], packet[6], packet[8:24], packet[24:40]
            rest = packet[40:40 + length]
        assert (source, destination) == (packed(self.gw), packed(self.peer))
        assert protocol == (17 if self.udp else 50)
        if not self.udp:
            return rest
        ports, length, checksum = struct.unpack(">HH", rest[:4]), *struct.unpack(">HH", rest[4:8])
        assert ports == (NAT_T, self.peer_port) and length == len(rest)
        if packet[0] >> 4 == 4 and self.station.kind == "xsk":
            assert checksum == 0, "RFC 3948 2.1"
        else:
            assert rest == esp_peer.udp(source, destination, ports, rest[8:]), "checksum"
        return rest[8:]

    # --- the ledger ---

    def counts(self):
        """Everything that is counted: packets of this tunnel, and drops by reason anywhere."""
        info = self.info()
        counted = Counter({f"drop {d.reason}": d.packets for d in self.station.counters().drops})
        counted["in"], counted["out"] = info.in_packets, info.out_packets
        return counted

    def info(self):
        tunnels = self.station.control.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels
        return next(t for t in tunnels if t.tunnel_id == self.number)

    def sa_info(self, sa_id):
        return next(s for s in self.station.ike.ok(list_sas=pb.ListSas()).sas.sas if s.id == sa_id)

    def delta(self, now):
        gone_back = {k: (v, now[k]) for k, v in self.before.items() if now[k] < v}
        assert not gone_back, f"counters went backwards: {gone_back}"
        return {k: v - self.before[k] for k, v in now.items() if v != self.before[k]}

    def settle(self, packets):
        """What is counted since the last time, once it is that many packets (or time is up)."""
        end = time.monotonic() + PATIENCE
        while sum((got := self.delta(now := self.counts())).values()) < packets and time.monotonic() < end:
            time.sleep(0.001)
        self.before = now
        return got

    def expect(self, delivered=0, sent=0, **drops):
        """The counters say exactly this since the last time, and nothing else."""
        wanted = {"in": delivered, "out": sent} | {f"drop {reason}": count for reason, count in drops.items()}
        wanted = {what: count for what, count in wanted.items() if count}
        got = self.settle(sum(wanted.values()))
        assert got == wanted, f"counted {got}, not {wanted}"

    def refused(self, reason, packet: bytes):
        """`packet` is dropped for `reason`, once, and nothing is delivered for it."""
        self.send(packet)
        self.expect(**{reason: 1})
        assert self.at_host(0) == []


def set_transform(message, sa):
    """The algorithm's fields of AddSa, by the names of esp_peer's transforms."""
    message.encryption = pb.Encryption.Value(sa.transform.name)
    if sa.transform.integrity_bytes:
        message.integrity = pb.Integrity.Value(sa.transform.integrity)
        message.key, message.integrity_key = sa.key[:-sa.transform.integrity_bytes], sa.key[-sa.transform.integrity_bytes:]



class Station:
    """A gw-fastpath that is warm: neighbours on both sides are known."""

    def __init__(self, lab, kind):
        self.lab, self.kind = lab, kind
        self.number = 0
        for link in (lab.wan, lab.vnet):
            link.socket.setsockopt(socket.SOL_SOCKET, lab_module.SO_RCVBUFFORCE, 32 << 20)
        self._connect()
        for device, address, lladdr in (("wan", PEER4, PEER_MAC), ("wan", PEER6, PEER_MAC), ("vnet", HOST4, HOST_MAC), ("vnet", HOST6, HOST_MAC)):
            lab_module.run("ip", "-n", "fpg", "neigh", "replace", address, "lladdr", lladdr, "dev", device, "nud", "permanent")
        self._warm_up()

    def _connect(self):
        self.ike, self.control = self.lab.rpc(pb.ROLE_IKE), self.lab.rpc(pb.ROLE_CONTROL)
        self.observer = self.lab.rpc(pb.ROLE_OBSERVER)
        self.control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=packed("10.1.0.0"), prefix_length=24, kind=pb.NEXT_HOP_VNET),
            pb.Route(prefix=packed("fd00:1::"), prefix_length=64, kind=pb.NEXT_HOP_VNET)]))

    def restart(self, meanwhile=lambda: None):
        """kill -9, and up again; wires are to be configured anew."""
        self.lab.kill()
        meanwhile()
        self.lab.start()
        self._connect()

    def _warm_up(self):
        with self.wire() as first:
            # Devices that just came up send after the kernel's link watch has run, up to a second later.
            for version in (4, 6):
                def both_ways():
                    first.send_inner(inner(version))
                    self.lab.vnet.send(vnet_frame(inner(version, to_host=False)))
                    return first.at_host(1) and first.at_peer(1)
                poll("the fast way is open", both_ways, 10)

    @contextlib.contextmanager
    def wire(self, **how):
        self.number += 1
        made = Wire(self, self.number, **how)
        self.drain()
        made.before = made.counts()
        try:
            yield made
        finally:
            made.remove()

    def counters(self):
        return self.observer.ok(get_counters=pb.GetCounters()).counters

    def drain(self):
        self.lab.wan.drain()
        self.lab.vnet.drain()

    def collect(self, link, from_mac, count):
        """IP packets that gw-fastpath's side sent on this link: at least `count` within PATIENCE, and those after it
        within SETTLE."""
        found = []
        end = time.monotonic() + (PATIENCE if count else SETTLE)
        while (left := end - time.monotonic()) > 0 and select.select([link.socket], [], [], left)[0]:
            data, address = link.socket.recvfrom(65535)
            if address[2] == socket.PACKET_OUTGOING or data[6:12] != mac(from_mac) or data[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                continue
            if is_upkeep(data[14:]) or is_icmp_error(data[14:]):
                continue
            found.append(data[14:])
            if len(found) >= count:
                end = min(end, time.monotonic() + SETTLE)
        return found

    @contextlib.contextmanager
    def stopped(self):
        """gw-fastpath stands still: what is sent meanwhile is one burst."""
        pid = self.lab.fastpath_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module", params=PORT_KINDS)
def station(request, tmp_path_factory):
    options = ("--wan-port", request.param, "--vnet-port", request.param, "--allow-legacy-crypto", "--null-encryption-for-tests")
    lab = FastpathLab(tmp_path_factory.mktemp(f"station-{request.param}"), options=options)
    if request.param == "gso":  # what a packet socket sees is what a card would have sent, not superpackets
        for device in ("wan", "vnet"):
            lab_module.run("ip", "netns", "exec", "fpg", "ethtool", "-K", device, "gso", "off", "tso", "off", "tx-udp-segmentation", "off", "tx", "off")
        for ns, device in (("fpw", "wan0"), ("fpv", "vnet0")):
            lab_module.run("ip", "netns", "exec", ns, "ethtool", "-K", device, "gro", "off")
    status = None
    try:
        yield Station(lab, request.param)
    finally:
        status = lab.close()
        log = lab.log.read_text()
        print(log[-3000:])
    assert status == 0, f"gw-fastpath ended with {status}"
    assert "Sanitizer" not in log and "runtime error" not in log
