"""`gwctl capture` on gw-fastpath alone, for tests: a running one, what it wrote, and tunnels to look into."""
import contextlib
import signal
import subprocess

import pytest

import pcapng
from fastpath_lab import PRESET, TOP
from packet_station import station  # noqa: F401 (station: fixture)

GWCTL = TOP / "build" / PRESET / "bin" / "gwctl"
RAW_IP = 101


class Gwctl:
    """A running `gwctl capture`, which captures when this is made."""

    def __init__(self, lab, *words, stdout=subprocess.PIPE, wait=True):
        self.process = subprocess.Popen([str(w) for w in (GWCTL, "--socket", lab.dir / "gwd.sock", "capture", *words)],
                                        stdout=stdout, stderr=subprocess.PIPE)
        self.said = b""
        if wait:
            self.said = self.process.stderr.readline()
            assert b"capturing for at most" in self.said, self.said

    def end(self, send=signal.SIGINT, seconds=15):
        """Its exit code, standard output and what it said."""
        if send and self.process.poll() is None:
            self.process.send_signal(send)
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, (self.said + err).decode()


@contextlib.contextmanager
def capturing(lab, *words, **how):
    gwctl = Gwctl(lab, *words, **how)
    try:
        yield gwctl
    finally:
        if gwctl.process.poll() is None:
            gwctl.process.kill()
            gwctl.process.communicate()


def captured(file):
    return pcapng.read(file.read_bytes())


def esp_of(packet: bytes):
    """What follows the outer header, UDP included."""
    header = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
    assert protocol in (17, 50)
    return packet[header + (8 if protocol == 17 else 0):]


def addresses_of(packet: bytes):
    return packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]


@pytest.fixture(params=["v4", "v4-udp", "v6", "v6-udp"])
def wire(request, station):  # noqa: F811
    with station.wire(v6="v6" in request.param, udp="udp" in request.param) as made:
        yield made


@pytest.fixture
def plain(station):  # noqa: F811
    with station.wire() as made:
        yield made
