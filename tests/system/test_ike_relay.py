"""IKE on UDP 4500 of a gso port, where ESP comes by the same sockets: it reaches charon's socket whichever worker finds it, and
however much of it there is, the gateway goes on with everything else."""
import socket
import struct
import subprocess
import sys
import time

import pytest
from scapy.all import IP, UDP, Raw

from fastpath_lab import FastpathLab, pb, poll, run
from fastpath_peer import HOST4, PEER4, SITE4, Tunnel

SOL_UDP, UDP_SEGMENT = 17, 103
MARKER = bytes(4)  # RFC 3948 2.2

# Sends what comes on standard input as one train of pieces of this size, from UDP port 4500.
SEND_TRAIN = f"""
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("{PEER4}", 4500))
s.connect(("192.0.2.1", 4500))
s.sendmsg([sys.stdin.buffer.read()], [({SOL_UDP}, {UDP_SEGMENT}, struct.pack("H", int(sys.argv[1])))])
"""

FLOOD = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
s.connect(("192.0.2.1", 4500))
train = (bytes(4) + bytes([1]) * 36) * 60  # of IKE SAs that exist, says the responder's SPI: the guard lets them pass
while True:
    s.sendmsg([train], [({SOL_UDP}, {UDP_SEGMENT}, struct.pack("H", 40))])
"""


def in_peer(script, *arguments, **more):
    return subprocess.Popen(["ip", "netns", "exec", "fpw", sys.executable, "-c", script, *map(str, arguments)], **more)


@pytest.fixture
def lab(tmp_path):
    made = FastpathLab(tmp_path, ports="gso", options=("--workers", 2), queues=2)
    # Trains cross a veth whole.
    run("ip", "netns", "exec", "fpw", "ethtool", "-K", "wan0", "tx", "on", "tx-udp-segmentation", "on")
    try:
        yield made
    finally:
        status = made.close()
        print(made.log.read_text()[-8000:])
        assert status in (0, None), f"gw-fastpath ended with {status}"


@pytest.fixture
def charon(lab):
    """The socket plugin's connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(5)
        connection.connect(str(lab.dir / "ike.sock"))
        yield connection


def ike_at(charon):
    """The next IKE message: what follows the relay's header."""
    return charon.recv(70000)[44:]


def esp(tunnel):
    inner = IP(src=SITE4, dst=HOST4) / UDP(sport=1000, dport=2000) / Raw(b"data" * 25)
    return tunnel.sent.seal(bytes(inner))[28:]


def test_dpd_behind_data_in_one_train_reaches_charon_from_every_worker(lab, charon):
    first = Tunnel(lab, udp=True)
    tunnels = [first, Tunnel(lab, number=2, like=first, udp=True)]
    assert [w.tunnels for w in first.control.ok(get_counters=pb.GetCounters()).counters.workers] == [1, 1]
    for tunnel in tunnels:
        data = [esp(tunnel) for _ in range(3)]
        dpd = MARKER + b"informational of " + tunnel.number.to_bytes(2, "big")
        sender = in_peer(SEND_TRAIN, len(data[0]), stdin=subprocess.PIPE)
        sender.communicate(b"".join(data) + dpd, timeout=10)
        assert sender.returncode == 0
        assert ike_at(charon) == dpd
        assert first.at_host() is not None
    assert all(w.packets >= 3 for w in first.control.ok(get_counters=pb.GetCounters()).counters.workers), "one owned both"


def test_a_flood_of_ike_keeps_no_worker_from_its_other_work(lab, charon):
    tunnel = Tunnel(lab, udp=True)
    senders = [in_peer(FLOOD) for _ in range(3)]
    try:
        received = lab.rpc(pb.ROLE_OBSERVER)
        poll("the flood arrives", lambda: any(
            d.reason.startswith("ike_") and d.packets > 1000
            for d in received.ok(get_counters=pb.GetCounters()).counters.drops), 20)
        for _ in range(5):  # each needs every worker
            began = time.monotonic()
            tunnel.configure()
            assert time.monotonic() - began < 3, "a worker does not come to its commands"
        assert all(sender.poll() is None for sender in senders), "the flood has ended early"
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
