"""The circuit port of gw-fastpath where each test has a lab of its own: other MTUs, and none at all. The topology is drawn in
circuit_lab.py."""
import itertools
import os
import time

import pytest
from scapy.all import ICMP, IP, IPv6

from circuit_lab import CircuitLab, datagram
from fastpath_lab import PORT_KINDS, FastpathLab, pb, poll, run
from packet_station import routed

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

KINDS = list(itertools.product(PORT_KINDS, PORT_KINDS))
IDS = ["vnet-{}-circuit-{}".format(*k) for k in KINDS]


def payload(f):
    return bytes(f.payload)


@pytest.mark.parametrize("kinds", KINDS, ids=IDS)
def test_too_big_for_the_circuit(kinds, tmp_path):
    """The sender is told the circuit's MTU; what may be cut is."""
    lab = CircuitLab(tmp_path, kinds, circuit_mtu=1400)
    try:
        lab.circuit_routes()
        lab.circuit.drain()
        lab.vnet.drain()
        fits = datagram(4, bytes(1400 - 28))
        lab.from_vnet(fits)
        assert payload(lab.at_circuit()) == routed(fits)
        lab.from_vnet(datagram(4, bytes(1400 - 27)))
        told = lab.at_vnet(lambda f: ICMP in f)
        assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, 1400)
        lab.from_vnet(datagram(6, bytes(1400)))
        told = lab.at_vnet(lambda f: IPv6 in f and f[IPv6].nh == 58 and payload(f)[40] == 2)
        assert int.from_bytes(payload(told)[44:48], "big") == 1400
        lab.from_vnet(datagram(4, bytes(1400), flags=0))
        pieces = [lab.at_circuit(lambda f: IP in f)[IP] for _ in range(2)]
        assert [(p.frag * 8, bool(p.flags.MF)) for p in pieces] == [(0, True), (1376, False)]
    finally:
        assert lab.close() == 0


def test_what_the_driver_does_not_take_is_counted(tmp_path):
    """The other end of a veth that stops taking XDP frames: known a second later, and until then counted."""
    lab = CircuitLab(tmp_path, ("xsk", "xsk"))
    try:
        lab.circuit_routes()
        packet = datagram(4)

        def sent_by_xdp():
            lab.circuit.drain()
            run("ip", "netns", "exec", "fpc", "ethtool", "-K", "circuit0", "gro", "off")
            before = lab.counters().get("redirect_failed", 0)
            lab.from_vnet(packet)
            lost = not lab.at_circuit(lambda f: payload(f) == routed(packet), 0.2)
            counted = lab.counters().get("redirect_failed", 0) - before
            assert counted == lost
            run("ip", "netns", "exec", "fpc", "ethtool", "-K", "circuit0", "gro", "on")
            time.sleep(1.2)
            return lost
        poll("XDP sends the frame", sent_by_xdp, 20)
        run("ip", "netns", "exec", "fpc", "ethtool", "-K", "circuit0", "gro", "off")
        time.sleep(1.5)
        lab.from_vnet(packet)
        assert lab.at_circuit(lambda f: payload(f) == routed(packet)), "as a socket buffer, then"
    finally:
        assert lab.close() == 0


def test_without_a_circuit_there_is_nothing_to_open(tmp_path):
    lab = FastpathLab(tmp_path)
    try:
        control = lab.rpc(pb.ROLE_CONTROL)
        refused = control.refused(pb.INVALID_ARGUMENT, put_settings=pb.PutSettings(circuit_transit=True))
        assert refused.field == "circuit_transit" and "--circuit" in refused.message
        control.ok(put_settings=pb.PutSettings())
        route = pb.Route(prefix=bytes((10, 40, 0, 0)), prefix_length=16, kind=pb.NEXT_HOP_CIRCUIT, gateways=[bytes((192, 0, 2, 9))])
        refused = control.refused(pb.INVALID_ARGUMENT, update_routes=pb.UpdateRoutes(add=[route]))
        assert refused.field == "add[0].kind" and "--circuit" in refused.message
        observer = lab.rpc(pb.ROLE_OBSERVER)
        assert observer.refused(pb.INVALID_ARGUMENT, put_settings=pb.PutSettings()).field == "hello.role"
        assert not any(p.side == "circuit" for p in observer.ok(list_ports=pb.ListPorts()).ports.ports)
    finally:
        assert lab.close() == 0
