"""gw-fastpath alone, black box, on both kinds of port: one source that asks for new IKE SAs without end, and a new source for each
message. Charon gets what a site could mean; other sites, and what belongs to an IKE SA that exists, are not kept waiting. The limits
in detail are in tests/packet/ike_flood_test.cpp."""
import os
import time

import pytest
from scapy.all import IP, UDP, Ether, Raw

from fastpath_lab import PEER_MAC, WAN_MAC, packed, pb
from fastpath_peer import GW4, Tunnel, lab  # noqa: F401 (a fixture)
from ike_end import IkeEnd, message

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

BURST, STRANGERS_BURST, STRANGERS_A_SECOND, PEER_BURST, PEER_A_SECOND = 100, 500, 500, 2000, 500  # ebpf/abi/xdp.h
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
    site = Tunnel(lab, peer=SITE)
    Tunnel(lab, number=2, like=site, peer=FLOOD)  # somebody speaks in the name of a site
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


def test_who_forges_a_sites_address_gets_no_more_than_a_site(lab):
    ike = IkeEnd(lab)
    site = Tunnel(lab, peer=SITE)
    Tunnel(lab, number=2, like=site, peer=FLOOD)
    forged, sent = frame(FLOOD, message(300), 4500), 2 * PEER_BURST
    begin, passed = time.monotonic(), 0
    for number in range(sent):
        lab.wan.send(forged)
        if number % 50 == 0:  # charon's queue is none of this test's
            while ike.receive(0) is not None:
                passed += 1
    took = time.monotonic() - begin
    lab.wan.send(frame(SITE, message(300), 4500))
    got = []
    while (datagram := ike.receive(1.0)) is not None:
        got.append(datagram)
    passed += sum(source == FLOOD for _, source, _ in got)
    assert PEER_BURST <= passed <= PEER_BURST + PEER_A_SECOND * took + 20
    assert (4500, SITE, message(300)) in got
    assert lab.counters()["ike_flood"] == sent - passed
    ike.close()


def test_a_peer_is_one_for_as_long_as_a_tunnel_has_it(lab):
    def heard():
        for _ in range(3 * BURST):
            lab.wan.send(frame(SITE, message(300), 4500))
        count = 0
        while ike.receive(0.5) is not None:
            count += 1
        return count
    ike = IkeEnd(lab)
    first = Tunnel(lab, peer=SITE)
    Tunnel(lab, number=2, like=first, peer=SITE)
    assert heard() == 3 * BURST
    first.control.ok(del_tunnel=pb.DelTunnel(tunnel_id=1))
    assert heard() == 3 * BURST, "the other tunnel has it yet"
    first.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=2, name="site2", device="tun2", mtu=1400, mss_clamp=1360, peer=packed(FLOOD)))
    assert BURST <= heard() < 2 * BURST, "a stranger now"
    ike.close()


@pytest.mark.parametrize("port", [500, 4500])
@pytest.mark.parametrize("claims", ["a new IKE SA", "an IKE SA that exists"])
def test_forged_sources_leave_charon_to_the_sites(lab, port, claims):
    ike = IkeEnd(lab)
    Tunnel(lab, peer=SITE)
    payload = new_sa(port) if claims == "a new IKE SA" else message(400, port=port)
    frames = [frame(f"100.64.{i >> 8}.{i & 255}", payload, port) for i in range(4 * STRANGERS_BURST)]
    begin = time.monotonic()
    for forged in frames:
        lab.wan.send(forged)
    took = time.monotonic() - begin
    from_site = message(300, port=port)
    lab.wan.send(frame(SITE, from_site, port))
    lab.wan.send(frame(SITE, new_sa(port), port))
    got = []
    while (datagram := ike.receive(1.0)) is not None:
        got.append(datagram)
    strangers = sum(source.startswith("100.64.") for _, source, _ in got)
    assert STRANGERS_BURST <= strangers <= STRANGERS_BURST + STRANGERS_A_SECOND * took + 20
    assert (port, SITE, from_site) in got and (port, SITE, new_sa(port)) in got
    assert lab.counters()["ike_flood"] == len(frames) - strangers
    ike.close()
