"""A trace says what would become of a packet. Here every packet that is traced is sent as well, on both kinds of port, and
both are compared: the drop that is named is counted, once, and no other; what leaves arrives where the trace said. A
trace by itself counts and sends nothing. The topology is drawn in circuit_lab.py."""
import os
import struct

import pytest

import esp_peer
from circuit_lab import FAR, ROUTER, CircuitLab, datagram
from fastpath_lab import WAN_MAC, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, HOST6, PEER4, SITE4, SITE6
from packet_station import Station, inner, routed, wan_frame

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

KINDS = ("xsk", "gso")
HOST, SITE = {4: HOST4, 6: HOST6}, {4: SITE4, 6: SITE6}
LEAVES, DROPPED, KERNEL, DECRYPTED = pb.TRACE_LEAVES, pb.TRACE_DROPPED, pb.TRACE_KERNEL, pb.TRACE_DECRYPTED


@pytest.fixture(scope="module", params=KINDS)
def station(request, tmp_path_factory):
    kind = request.param
    lab = CircuitLab(tmp_path_factory.mktemp(f"trace-{kind}"), (kind, kind), wan=kind)
    if kind == "gso":  # a packet socket is to see packets
        for ns, device in (("fpw", "wan0"), ("fpv", "vnet0"), ("fpc", "circuit0")):
            run("ip", "netns", "exec", ns, "ethtool", "-K", device, "gro", "off")
    try:
        made = Station(lab, kind)
        lab.control = made.control
        lab.circuit_routes()
        yield made
    finally:
        status, log = lab.close(), lab.log.read_text()
    assert status == 0 and "Sanitizer" not in log and "runtime error" not in log


@pytest.fixture
def wire(station):
    with station.wire() as made:
        station.lab.circuit.drain()
        yield made


def query(packet: bytes, **more):
    """What `gwctl trace` asks about this very packet."""
    v4 = packet[0] >> 4 == 4
    protocol, at = (packet[9], 20) if v4 else (packet[6], 40)
    ports = struct.unpack(">HH", packet[at:at + 4]) if protocol in (6, 17) else (0, 0)
    return dict(source=packet[12:16] if v4 else packet[8:24], destination=packet[16:20] if v4 else packet[24:40], protocol=protocol,
                source_port=ports[0], destination_port=ports[1], size=len(packet), may_be_cut=v4 and not packet[6] & 0x40) | more


def traced(wire, came_from, packet: bytes, verdict, **more):
    """The trace of it, which has left nothing behind."""
    kind = getattr(pb, f"TRACE_FROM_{came_from.upper()}")
    reply = wire.station.observer.ok(trace=pb.Trace(**{"from": kind}, tunnel_id=wire.number if came_from == "tunnel" else 0,
                                                    **query(packet, **more))).trace
    print(f"{reply.summary}\n" + "\n".join(f"  {s.check}: {pb.TraceResult.Name(s.result)} {s.detail}" for s in reply.steps))
    wire.expect()
    assert reply.verdict == verdict, reply.summary
    failed = [s.check for s in reply.steps if s.result == pb.TRACE_FAIL]
    assert len(failed) == (verdict == DROPPED), "a drop has one check that fails, and nothing else has any"
    return reply


def send(wire, came_from, packet: bytes):
    if came_from == "tunnel":
        wire.send_inner(packet)
    elif came_from == "circuit":
        wire.station.lab.from_circuit(packet)
    elif came_from == "wan":
        wire.lab.wan.send(wan_frame(packet))
    else:
        wire.from_host(packet)


def dropped(wire, came_from, packet: bytes, reason):
    """Both say so."""
    reply = traced(wire, came_from, packet, DROPPED)
    assert reply.reason == reason
    send(wire, came_from, packet)
    wire.expect(**{reason: 1})


def to_site(version=4, payload=b"p" * 40, **more):
    return inner(version, payload, to_host=False, **more)


def into_tunnel(wire, came_from, packet: bytes, way=None):
    """It leaves by the tunnel that the trace names, with the SA that it names."""
    way = way or wire
    reply = traced(wire, came_from, packet, LEAVES)
    assert (reply.side, reply.tunnel_id, reply.spi, reply.next_hop) == ("wan", way.number, way.from_gw.spi, way.peer)
    send(wire, came_from, packet)
    got = way.at_peer(1)
    assert [p[0] for p in got] == [routed(packet)]
    return reply, got[0]


# --- from the VNet into tunnels ----------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [4, 6])
def test_into_the_tunnel(wire, version):
    reply, (_, sequence, _, outer) = into_tunnel(wire, "vnet", to_site(version))
    wire.expect(sent=1)
    detail = {s.check: s.detail for s in reply.steps}
    assert detail["sequence"] == f"the next one is {sequence}"
    assert f", {len(outer)} bytes;" in detail["encapsulation"], "of the packet that really left"


def test_in_udp(station):
    with station.wire(udp=True) as wire:
        reply, (_, _, _, outer) = into_tunnel(wire, "vnet", to_site())
        detail = {s.check: s.detail for s in reply.steps}
        assert "ESP in UDP" in detail["encapsulation"] and f", {len(outer)} bytes;" in detail["encapsulation"]


def test_no_outbound_sa(wire):
    wire.station.ike.ok(del_sa=pb.DelSa(id=wire.out_id))
    dropped(wire, "vnet", to_site(), "no_outbound_sa")


@pytest.mark.parametrize("version", [4, 6])
def test_too_big(station, version):
    with station.wire(mtu=1300) as wire:
        header = 28 if version == 4 else 48
        into_tunnel(wire, "vnet", to_site(version, b"b" * (1300 - header)))
        wire.expect(sent=1)
        dropped(wire, "vnet", to_site(version, b"b" * (1301 - header)), "too_big")


def test_cut_before_encryption(station):
    with station.wire(mtu=1300, fragment=True) as wire:
        packet = to_site(4, b"c" * 1400, flags=0)
        reply = traced(wire, "vnet", packet, LEAVES)
        assert "cut into 2" in next(s.detail for s in reply.steps if s.check == "size")
        send(wire, "vnet", packet)
        assert len(wire.at_peer(2)) == 2
        wire.expect(sent=2)
        dropped(wire, "vnet", to_site(4, b"c" * 1400), "too_big")  # DF


def test_outside_the_selectors(station):
    site = [pb.Selector(first=packed("10.9.0.0"), last=packed("10.9.0.255"), last_port=65535)]
    host = [pb.Selector(first=packed("10.1.0.0"), last=packed("10.1.0.255"), last_port=65535)]
    with station.wire(selectors=(host, site)) as wire:
        into_tunnel(wire, "vnet", to_site())
        wire.expect(sent=1)
        dropped(wire, "vnet", to_site(dst="10.9.1.5"), "ts_mismatch")
        dropped(wire, "tunnel", inner(src="10.9.1.5"), "ts_mismatch")


def test_several_tunnels_by_the_flows_hash(station):
    with station.wire() as first, station.wire() as second:
        station.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(
            prefix=packed("10.9.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[first.number, second.number])]))
        first.before, second.before = first.counts(), second.counts()
        ways = set()
        for port in range(1, 17):
            packet = to_site(ports=(port, 2000))
            reply = traced(first, "vnet", packet, LEAVES)
            ways.add(reply.tunnel_id)
            way = first if reply.tunnel_id == first.number else second
            send(first, "vnet", packet)
            assert [p[0] for p in way.at_peer(1)] == [routed(packet)], "by the other tunnel than the trace says"
            way.expect(sent=1)
        assert ways == {first.number, second.number}, "16 flows of two tunnels"


def test_the_endpoint_is_anothers(wire):
    claims = [pb.EndpointClaim(address=packed(GW4), ownership=pb.OWNERSHIP_STANDBY, lease_epoch=1)]
    wire.station.control.ok(put_endpoints=pb.PutEndpoints(endpoints=claims))
    try:
        dropped(wire, "vnet", to_site(), "standby")
        dropped(wire, "tunnel", inner(), "standby")
    finally:
        wire.station.control.ok(put_endpoints=pb.PutEndpoints())
    into_tunnel(wire, "vnet", to_site())


def test_a_rate_that_is_used_up(wire):
    """A burst passes, then nothing does; traces take nothing of it."""
    wire.station.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=wire.number, name=f"site{wire.number}", device=f"tun{wire.number}", mtu=wire.mtu,
                                                    rate_out_bps=1_000_000))
    packet = to_site(4, b"r" * 1300)
    question = pb.Trace(**{"from": pb.TRACE_FROM_VNET}, **query(packet))

    def ask():
        return wire.station.observer.ok(trace=question).trace
    assert {ask().verdict for _ in range(200)} == {LEAVES}, "200 packets are more than a burst"

    def used_up():
        for _ in range(300):
            wire.from_host(packet)
        reply = ask()
        return reply.verdict == DROPPED and reply
    assert poll("the trace meets the rate", used_up, 20).reason == "rate_tunnel"
    wire.station.collect(wire.lab.wan, WAN_MAC, 0)
    assert wire.delta(wire.counts())["drop rate_tunnel"] > 0, "as the packets did"


# --- not into a tunnel ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("destination", ["10.77.0.1", "10.1.0.1"])
def test_no_route_and_our_own_address_are_the_kernels(wire, destination):
    packet = to_site(dst=destination)
    traced(wire, "vnet", packet, KERNEL)
    send(wire, "vnet", packet)
    assert wire.at_peer(0) == []
    wire.expect()


@pytest.mark.parametrize("version", [4, 6])
def test_between_the_vnet_and_the_circuit(wire, version):
    lab = wire.station.lab
    there, back = datagram(version), datagram(version, to_circuit=False)
    reply = traced(wire, "vnet", there, LEAVES)
    assert (reply.side, reply.next_hop) == ("circuit", ROUTER[version])
    send(wire, "vnet", there)
    assert bytes(lab.at_circuit().payload) == routed(there)
    reply = traced(wire, "circuit", back, LEAVES)
    assert (reply.side, reply.next_hop) == ("vnet", HOST[version])
    send(wire, "circuit", back)
    assert bytes(lab.at_vnet().payload) == routed(back)
    wire.expect()


def test_transit_between_circuit_and_tunnel(wire):
    lab = wire.station.lab
    there = datagram(4, to_circuit=False, dst=SITE4)
    out = inner(4, src=SITE4, dst=FAR[4])
    dropped(wire, "circuit", there, "transit_closed")
    dropped(wire, "tunnel", out, "transit_closed")
    wire.station.control.ok(put_settings=pb.PutSettings(circuit_transit=True))
    try:
        into_tunnel(wire, "circuit", there)
        wire.expect(sent=1)
        reply = traced(wire, "tunnel", out, LEAVES)
        assert (reply.side, reply.next_hop) == ("circuit", ROUTER[4])
        send(wire, "tunnel", out)
        assert bytes(lab.at_circuit().payload) == routed(out)
        wire.expect(delivered=1)
    finally:
        wire.station.control.ok(put_settings=pb.PutSettings())


def test_the_circuit_speaks_for_nobody_of_ours(wire):
    dropped(wire, "circuit", datagram(4, to_circuit=False, src="10.1.0.77"), "spoofed_source")
    dropped(wire, "circuit", datagram(4, to_circuit=False, dst="10.40.0.10", src="10.40.0.11"), "hairpin")


# --- out of a tunnel ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [4, 6])
def test_to_a_host(wire, version):
    packet = inner(version, b"to the host")
    reply = traced(wire, "tunnel", packet, LEAVES)
    assert (reply.side, reply.next_hop) == ("vnet", HOST[version])
    send(wire, "tunnel", packet)
    assert wire.at_host(1) == [routed(packet)]
    wire.expect(delivered=1)


def test_spoofed_sources(wire):
    for source in ("10.1.0.99", "10.1.0.1", "127.0.0.1", "0.0.0.1", "169.254.7.7"):
        dropped(wire, "tunnel", inner(src=source), "spoofed_source")
    dropped(wire, "tunnel", inner(6, src="fd00:1::77"), "spoofed_source")


def test_multicast_and_broadcast(wire):
    dropped(wire, "tunnel", inner(dst="239.1.2.3"), "multicast")
    dropped(wire, "tunnel", inner(dst="10.1.0.255"), "multicast")


def test_for_the_gateway_itself(wire):
    packet = inner(dst="10.1.0.1")
    reply = traced(wire, "tunnel", packet, KERNEL)
    assert "for the gateway itself" in reply.summary
    send(wire, "tunnel", packet)
    wire.expect(delivered=1)
    assert wire.at_host(0) == []


def test_back_into_the_same_tunnel(wire):
    dropped(wire, "tunnel", inner(dst="10.9.7.7"), "hairpin")


def test_into_another_tunnel(station):
    with station.wire() as second, station.wire() as first:
        station.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(
            prefix=packed("10.8.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[second.number])]))
        first.before = first.counts()
        into_tunnel(first, "tunnel", inner(dst="10.8.0.1"), way=second)
        first.expect(delivered=1)
        station.ike.ok(del_sa=pb.DelSa(id=second.out_id))
        packet = inner(dst="10.8.0.1")
        assert traced(first, "tunnel", packet, DROPPED).reason == "no_outbound_sa"
        send(first, "tunnel", packet)
        first.expect(delivered=1, no_outbound_sa=1)


def test_a_tunnel_without_an_inbound_sa(wire):
    packet = inner()
    sealed = wire.outer(wire.to_gw.seal(packet))
    wire.station.ike.ok(del_sa=pb.DelSa(id=wire.in_id))
    assert traced(wire, "tunnel", packet, DROPPED).reason == "unknown_spi"
    wire.send(sealed)
    wire.expect(unknown_spi=1)


# --- from the wan -------------------------------------------------------------------------------------------------

def test_by_the_wan(wire):
    esp = esp_peer.ip(packed(PEER4), packed(GW4), 50, struct.pack(">II", wire.to_gw.spi, 1) + b"\0" * 32)
    reply = traced(wire, "wan", esp, DECRYPTED)
    assert (reply.tunnel_id, reply.spi) == (wire.number, wire.to_gw.spi)
    stranger = esp_peer.ip(packed("192.0.2.77"), packed(GW4), 50, struct.pack(">II", 0x77777777, 1) + b"\0" * 32)
    dropped(wire, "wan", stranger, "unknown_spi")
    ping = esp_peer.ip(packed(PEER4), packed(GW4), 17, esp_peer.udp(packed(PEER4), packed(GW4), (5353, 53), b"who is there"))
    traced(wire, "wan", ping, KERNEL)
    send(wire, "wan", ping)
    wire.expect()


# --- what makes no sense ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("field, odd", [
    ("from", {"from": pb.TRACE_FROM_UNSPECIFIED}),
    ("tunnel_id", {"from": pb.TRACE_FROM_TUNNEL, "tunnel_id": 4711}),
    ("source", {"source": b"\1\2\3"}),
    ("destination", {"destination": packed("fd00::1")}),
    ("protocol", {"protocol": 256, "source_port": 0, "destination_port": 0}),
    ("source_port", {"source_port": 65536}),
    ("destination_port", {"destination_port": 70000}),
    ("source_port", {"protocol": 1}),
    ("size", {"size": 27}),
    ("size", {"size": 3501}),
    ("size", {"size": 0}),
])
def test_bad_input_is_named(wire, field, odd):
    question = {"from": pb.TRACE_FROM_VNET} | query(to_site()) | odd
    response = wire.station.observer.call(trace=pb.Trace(**question))
    assert response.status.code in (pb.INVALID_ARGUMENT, pb.NOT_FOUND) and response.status.field == field, response.status
