"""gw-fastpath's end under traffic, black box: SAs are wiped and freed only after the last packet was worked on. What
leaves until the end authenticates under the SA's key; a wiped key is one that everybody knows."""
import os
import signal
import socket
import struct
import threading

import pytest
from cryptography.exceptions import InvalidTag
from scapy.all import IP, UDP, Ether, Raw

import fastpath_lab
from fastpath_lab import HOST_MAC, VNET_MAC, FastpathLab, poll
from fastpath_peer import HOST4, SITE4, Tunnel

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

# Taking down takes long enough to be met: an SA and a device for each.
TUNNELS = 40
ENOUGH = 200


class Flood:
    """The VNet host sends without a pause."""

    def __init__(self, lab):
        frame = bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / IP(src=HOST4, dst=SITE4) / UDP(sport=1000, dport=2000) / Raw(b"secret" * 20))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(lab.vnet.socket, frame))

    def _send(self, link, frame):
        while not self._stop.is_set():
            try:
                link.send(frame)
            except OSError:  # its queue is full
                continue

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture(params=["xsk", "gso"])
def busy_lab(request, tmp_path):
    lab = FastpathLab(tmp_path, ports=request.param)
    lab.wan.socket.setsockopt(socket.SOL_SOCKET, fastpath_lab.SO_RCVBUFFORCE, 256 << 20)
    yield lab
    lab.close()


def sort_out(lab, sa):
    """How many packets of the SA authenticate, and those that do not."""
    good, bad = 0, []
    for frame in lab.wan.all(sa.matches):
        try:
            sa.open(frame)
            good += 1
        except (InvalidTag, AssertionError, struct.error):
            bad.append(bytes(frame).hex())
    return good, bad


def test_sigterm_under_traffic(busy_lab):
    lab = busy_lab
    first = Tunnel(lab)
    for number in range(2, TUNNELS):
        Tunnel(lab, number=number, like=first)
    first.configure()  # the routes are its again
    first.warm_up()
    with Flood(lab):
        poll("traffic flows", lambda: first.info().out_packets > ENOUGH)
        lab.process.send_signal(signal.SIGTERM)
        status = lab.process.wait(30)
    good, bad = sort_out(lab, first.received)
    assert good > ENOUGH
    assert len(bad) == 0, f"not under the SA's key; the first: {bad[0]}"
    assert status == 0, lab.log.read_text()[-4000:]
