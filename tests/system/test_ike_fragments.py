"""gw-fastpath alone, black box: IKE messages larger than a packet (RFC 7296 2: chains of certificates, no RFC 7383), both
ways, between the wire and charon's end of the relay. On an xsk port gw-fastpath puts the pieces together, on a gso port
the kernel does."""
import os
import random

import pytest
from scapy.all import IP, UDP, IPv6, IPv6ExtHdrFragment, Raw, defragment

from fastpath_peer import GW4, GW6, PEER4, PEER6, Tunnel, lab  # noqa: F401 (lab is a fixture)
from ike_end import IkeEnd, message
from test_fragments import pieces_of, send

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
def test_a_message_in_pieces_reaches_charon(lab, v6):
    tunnel = Tunnel(lab, v6=v6)  # a peer with SAs; strangers below
    tunnel.warm_up()
    ike = IkeEnd(lab)
    for number, (size, port, peer) in enumerate([(1600, 4500, None), (3000, 4500, None), (9000, 4500, None), (16000, 4500, None),
                                                 (5000, 500, None), (5000, 4500, "2001:db8:99::9" if v6 else "203.0.113.9")]):
        peer = peer or (PEER6 if v6 else PEER4)
        payload = message(size, port=port)
        outer = IPv6(src=peer, dst=GW6) if v6 else IP(src=peer, dst=GW4)
        parts = pieces_of(bytes(outer / UDP(sport=port, dport=port) / Raw(payload)), 1400, 700 + number)
        random.Random(number).shuffle(parts)
        for part in parts:
            send(lab, part)
        assert ike.receive() == (port, peer, payload), f"{size} bytes from {peer}"
    ike.close()


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
def test_a_message_of_charons_leaves_in_pieces(lab, v6):
    tunnel = Tunnel(lab, v6=v6)
    tunnel.warm_up()
    ike = IkeEnd(lab)
    gw, peer = (GW6, PEER6) if v6 else (GW4, PEER4)
    for port in (500, 4500):
        payload = message(4000, port=port)
        ike.send(payload, port, v6)
        got = b""
        pieces = []
        while len(got) < len(payload) + 8:
            layer = IPv6 if v6 else IP
            frame = lab.wan.receive(lambda f: f.haslayer(layer) and f[layer].src == gw and f[layer].dst == peer)
            assert frame is not None, f"port {port}: only {len(got)} bytes"
            assert len(frame[layer]) <= 1500
            pieces.append(frame[layer])
            got += bytes(frame[IPv6ExtHdrFragment].payload if v6 else frame[IP].payload)
        if not v6:
            assert bytes(defragment(pieces)[0][UDP].payload) == payload
        assert got[8:] == payload and int.from_bytes(got[:2], "big") == port
    ike.close()
