"""Between the circuit and tunnels, and from one tunnel into another: closed unless opened, judged and counted the same on
every kind of port. The topology is drawn in circuit_lab.py; the tunnels' sites are in packet_station.py."""
import contextlib
import os

import pytest
from scapy.all import ICMP, IP

from circuit_lab import FAR, ROUTER_MAC, CircuitLab, datagram
from fastpath_lab import pb, run
from fastpath_peer import SITE4, SITE6
from packet_station import Station, inner, routed

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SITE = {4: SITE4, 6: SITE6}
KINDS = [("xsk", "xsk", "xsk"), ("gso", "gso", "gso"), ("gso", "xsk", "gso"), ("xsk", "gso", "xsk")]  # wan, vnet, circuit


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(k) for k in KINDS])
def station(request, tmp_path_factory):
    wan, vnet, circuit = request.param
    lab = CircuitLab(tmp_path_factory.mktemp("transit"), (vnet, circuit), wan=wan, options=("--workers", "2") if wan == "gso" == vnet else (),
                     circuit_mtu=1300)
    for ns, device in (("fpw", "wan0"), ("fpv", "vnet0"), ("fpc", "circuit0")):
        if "gso" in request.param:  # a packet socket is to see packets
            run("ip", "netns", "exec", ns, "ethtool", "-K", device, "gro", "off" if (wan, vnet, circuit)[("fpw", "fpv", "fpc").index(ns)] == "gso" else "on")
    try:
        made = Station(lab, wan)
        lab.control = made.control
        lab.circuit_routes()
        yield made
    finally:
        status, log = lab.close(), lab.log.read_text()
    assert status == 0 and "Sanitizer" not in log and "runtime error" not in log


@pytest.fixture(autouse=True)
def quiet(station):
    station.lab.circuit.drain()


@contextlib.contextmanager
def transit(station):
    station.control.ok(put_settings=pb.PutSettings(circuit_transit=True))
    try:
        yield
    finally:
        station.control.ok(put_settings=pb.PutSettings())


@pytest.mark.parametrize("version", [4, 6])
def test_closed_unless_opened(station, version):
    with station.wire() as wire:
        wire.send_inner(inner(version, src=SITE[version], dst=FAR[version]))
        wire.expect(transit_closed=1)
        station.lab.from_circuit(datagram(version, to_circuit=False, dst=SITE[version]))
        wire.expect(transit_closed=1)
        # Whatever would make it the kernel's: it is not forwarded around us.
        station.lab.from_circuit(datagram(version, to_circuit=False, dst=SITE[version], ttl=1))
        wire.expect(transit_closed=1)
        assert station.lab.at_circuit(lambda f: True, 0.1) is None


@pytest.mark.parametrize("version", [4, 6])
def test_open_both_ways(station, version):
    lab = station.lab
    with station.wire() as wire, transit(station):
        before = lab.all_counters()
        out = inner(version, b"to the circuit", src=SITE[version], dst=FAR[version])
        wire.send_inner(out)
        got = lab.at_circuit()
        assert (got.dst, bytes(got.payload)) == (ROUTER_MAC, routed(out))
        back = datagram(version, to_circuit=False, dst=SITE[version])
        lab.from_circuit(back)
        assert [p[0] for p in wire.at_peer(1)] == [routed(back)]
        wire.expect(delivered=1, sent=1)
        after = lab.all_counters()
        assert (after.circuit_tx_packets - before.circuit_tx_packets, after.circuit_rx_packets - before.circuit_rx_packets) == (1, 1)
        assert after.vnet_tx_packets == before.vnet_tx_packets and after.vnet_rx_packets == before.vnet_rx_packets


def test_open_is_not_without_rules(station):
    """Nobody speaks for the VNet, whichever way he comes."""
    with station.wire() as wire, transit(station):
        station.lab.from_circuit(datagram(4, to_circuit=False, src="10.1.0.77", dst=SITE4))
        wire.expect(spoofed_source=1)
        wire.send_inner(inner(4, src="10.1.0.77", dst=FAR[4]))
        wire.expect(spoofed_source=1)


def test_a_new_session_that_says_nothing_closes_it(station):
    control = station.control
    with station.wire() as wire:
        control.ok(put_settings=pb.PutSettings(circuit_transit=True))
        station.control = station.lab.control = station.lab.rpc(pb.ROLE_CONTROL)
        packet = datagram(4, to_circuit=False, dst=SITE4)
        station.lab.from_circuit(packet)
        assert [p[0] for p in wire.at_peer(1)] == [routed(packet)], "until it has said all it has to say"
        wire.before = wire.counts()
        wire.configure()
        station.control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=bytes((10, 1, 0, 0)), prefix_length=24, kind=pb.NEXT_HOP_VNET)]))
        station.lab.circuit_routes_only()
        station.control.ok(sync_done=pb.SyncDone())
        station.lab.from_circuit(packet)
        wire.expect(transit_closed=1)


def test_too_big_for_the_tunnel_and_for_the_circuit(station):
    lab = station.lab
    with station.wire(mtu=1200) as wire, transit(station):
        lab.from_circuit(datagram(4, bytes(1250), to_circuit=False, dst=SITE4))
        told = lab.at_circuit(lambda f: ICMP in f)
        assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, 1200)
        wire.expect(too_big=1)
        # The other way the kernel answers, through the tunnel's device.
        run("ip", "-n", "fpg", "route", "replace", "10.9.0.0/16", "dev", f"tun{wire.number}")
        wire.send_inner(inner(4, bytes(1350), src=SITE4, dst=FAR[4]))
        answer = IP(wire.at_peer(1)[0][0])
        assert (answer.dst, answer[ICMP].type, answer[ICMP].code, answer[ICMP].nexthopmtu) == (SITE4, 3, 4, 1300)


# --- site to site --------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("udp", [False, True], ids=["native", "udp"])
def test_from_one_tunnel_into_another(station, version, udp):
    """Not by the kernel: it has no such routes here. One hop, counted in both tunnels."""
    with station.wire(udp=udp) as one, station.wire(udp=not udp) as two:
        prefix, length, far = ("10.8.0.0", 16, "10.8.0.5") if version == 4 else ("fd00:8::", 32, "fd00:8::5")
        station.lab.route(prefix, length, pb.NEXT_HOP_TUNNELS, tunnel_ids=[two.number])
        own = ("10.9.0.0", 16) if version == 4 else ("fd00:9::", 32)
        station.lab.route(*own, pb.NEXT_HOP_TUNNELS, tunnel_ids=[one.number])
        one.before, two.before = one.counts(), two.counts()
        packets = [inner(version, bytes(size), src=SITE[version], dst=far) for size in (0, 100, 1200)]
        for packet in packets:
            one.send_inner(packet)
        assert [p[0] for p in two.at_peer(3)] == [routed(p) for p in packets]
        assert one.settle(3) == {"in": 3} and two.settle(3) == {"out": 3}
        back = inner(version, b"back", src=far, dst=SITE[version])
        two.send_inner(back)
        assert [p[0] for p in one.at_peer(1)] == [routed(back)]


def test_never_back_into_the_tunnel_it_came_from(station):
    with station.wire() as wire:
        for version in (4, 6):
            wire.send_inner(inner(version, src=SITE[version], dst="10.9.7.7" if version == 4 else "fd00:9::77"))
            wire.expect(hairpin=1)
        assert wire.at_peer(0) == []


def test_site_to_site_too_big(station):
    """The sender hears of it, through his own tunnel."""
    with station.wire() as one, station.wire(mtu=1000) as two:
        station.lab.route("10.8.0.0", 16, pb.NEXT_HOP_TUNNELS, tunnel_ids=[two.number])
        station.lab.route("10.9.0.0", 16, pb.NEXT_HOP_TUNNELS, tunnel_ids=[one.number])
        run("ip", "-n", "fpg", "route", "replace", "10.9.0.0/16", "dev", f"tun{one.number}")
        one.send_inner(inner(4, bytes(1100), src=SITE4, dst="10.8.0.5"))
        answer = IP(one.at_peer(1)[0][0])
        assert (answer.dst, answer[ICMP].type, answer[ICMP].code, answer[ICMP].nexthopmtu) == (SITE4, 3, 4, 1000)
