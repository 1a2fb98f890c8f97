"""IKE of an endpoint address that moves: it comes to a gateway whose gw-fastpath has run for long, and goes away again. Both
kinds of port, both UDP ports, both families."""
import os
import socket
import struct

import pytest

from fastpath_lab import PORT_KINDS, FastpathLab, packed, run

MARKER = bytes(4)  # RFC 3948 2.2
PEER = {4: "192.0.2.2", 6: "2001:db8::2"}
MOVED = {4: "192.0.2.7", 6: "2001:db8::7"}
LENGTH = {4: 24, 6: 64}
HEADER = struct.Struct("!BBBxHH4s16s16s")  # gw_ike_datagram
IKE = bytes(8) + bytes([1] * 8) + bytes([46, 0x20, 37, 0x20]) + bytes(8)


@pytest.fixture(params=PORT_KINDS)
def lab(request, tmp_path):
    made = FastpathLab(tmp_path, ports=request.param)
    try:
        yield made
    finally:
        status = made.close()
        assert status in (0, None), f"gw-fastpath ended with {status}"


@pytest.fixture
def charon(lab):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(3)
        connection.connect(str(lab.dir / "ike.sock"))
        yield connection


def udp_in(namespace, family, address):
    with open("/proc/self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
        os.setns(other.fileno(), os.CLONE_NEWNET)
        try:
            made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((address, 0))
        finally:
            os.setns(own.fileno(), os.CLONE_NEWNET)
    made.settimeout(3)
    return made


def move(verb, family):
    options = ["nodad"] if family == 6 and verb == "add" else []
    run("ip", "-n", "fpg", "addr", verb, f"{MOVED[family]}/{LENGTH[family]}", "dev", "wan", *options)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [500, 4500])
def test_ike_follows_the_address(lab, charon, family, port):
    payload = (MARKER if port == 4500 else b"") + IKE
    with udp_in("fpw", family, PEER[family]) as peer:
        for _ in range(2):  # it comes, goes, and comes back
            move("add", family)
            peer.sendto(payload, (MOVED[family], port))
            message = charon.recv(70000)
            version, said_family, _, local_port, peer_port, _, local, remote = HEADER.unpack(message[:HEADER.size])
            assert (version, said_family, local_port, peer_port) == (1, family, port, peer.getsockname()[1])
            assert local == packed(MOVED[family]).ljust(16, b"\0") and remote == packed(PEER[family]).ljust(16, b"\0")
            assert message[HEADER.size:] == payload
            charon.send(message)  # as an answer: the header says the same both ways
            answer, source = peer.recvfrom(1000)
            assert (answer, source[0], source[1]) == (payload, MOVED[family], port)
            move("del", family)
            charon.send(message)  # what the former owner's charon still says does not leave with that source
            peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                peer.recvfrom(1000)
            peer.settimeout(3)
