"""gw-fastpath alone, black box: one source that asks for new IKE SAs without end, on both kinds of port. Charon gets what a
site could mean; other sources, and what belongs to an IKE SA that exists, are not kept waiting. The limit in detail is in
tests/packet/ike_flood_test.cpp."""
import os

import pytest
from scapy.all import IP, UDP, Ether, Raw

from fastpath_lab import PEER_MAC, WAN_MAC
from fastpath_peer import GW4, lab  # noqa: F401 (a fixture)
from ike_end import IkeEnd, message

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

BURST = 100  # ebpf/abi/xdp.h
FLOOD, SITE = "203.0.113.66", "203.0.113.7"


def frame(src, payload, port):
    return bytes(Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src=src, dst=GW4) / UDP(sport=port, dport=port) / Raw(payload))


def new_sa(port):
    """IKE_SA_INIT: the responder has no SPI yet."""
    asked = bytearray(message(400, exchange=34, port=port))
    at = 8 if port == 500 else 12
    asked[at:at + 8] = bytes(8)
    return bytes(asked)


@pytest.mark.parametrize("port", [500, 4500])
def test_a_flood_of_new_ike_sas_is_one_sources_own_problem(lab, port):
    ike = IkeEnd(lab)
    flood = frame(FLOOD, new_sa(port), port)
    for _ in range(5 * BURST):
        lab.wan.send(flood)
    lab.wan.send(frame(SITE, new_sa(port), port))
    lab.wan.send(frame(FLOOD, message(300, port=port), port))
    got = []
    while (datagram := ike.receive(1.0)) is not None:
        got.append(datagram)
    asked = sum(source == FLOOD and payload == new_sa(port) for _, source, payload in got)
    assert BURST <= asked < 2 * BURST
    assert (port, SITE, new_sa(port)) in got, "another site"
    assert (port, FLOOD, message(300, port=port)) in got, "of an IKE SA that exists"
    assert lab.counters()["ike_flood"] == 5 * BURST - asked
    ike.close()
