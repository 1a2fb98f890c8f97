"""A gw-fastpath that is replaced while packets flow: the lab of fastpath_lab.py, 1,000 packets a second each way, and what
became of them."""
import re
import select
import socket
import struct
import subprocess
import threading
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.all import IP, UDP, Ether, Raw

from fastpath_lab import FASTPATH, HOST_MAC, VNET_MAC, pb, poll
from fastpath_peer import HOST4, SITE4

MARK = b"handover"


def replace(lab, options=(), wait=True):
    """Starts the successor, with these options instead of those or beside them; with `wait`, until the old one has ended.
    The old and the new process."""
    old = lab.process
    command = [*old.args]
    for name, value in zip(options[::2], options[1::2]):
        if name in command:
            command[command.index(name) + 1] = value
        else:
            command += [name, value]
    new = subprocess.Popen([*command, "--replace"], stdout=lab.log.open("ab"), stderr=subprocess.STDOUT)
    if wait:
        poll("the old one ends", lambda: old.poll() is not None, 20)
        lab.process = new
        forget_clients(lab)
    return old, new


def upgrade(lab):
    """As `systemctl reload gw-fastpath`; its status and what it says."""
    options = lab.process.args[lab.process.args.index(str(lab.program)) + 1:]
    done = subprocess.run(["ip", "netns", "exec", lab.ns, str(FASTPATH), *options, "--upgrade"],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).strip()


def forget_clients(lab):
    for client in lab.clients:
        client.close()
    lab.clients = []


def waits_us(lab):
    """How long packets waited at each handover, as the successors say."""
    return [int(m) for m in re.findall(r"packets waited for (\d+) us", lab.log.read_text())]


class Traffic:
    """Both ways, numbered, one every millisecond, until the block ends; `lost` and `gap_ms` (the longest silence) then."""

    def __init__(self, lab, tunnel, seconds):
        self.count = int(seconds * 1000)
        self.lab = lab
        self.inward = list(sealed(tunnel, self.count))
        out = bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / inner(HOST4, SITE4))
        self.outward = [numbered(out, i) for i in range(self.count)]
        self.tunnel = tunnel
        self.at_host, self.at_peer = {}, {}
        self.sequences = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]

    def __enter__(self):
        self.lab.wan.drain()
        self.lab.vnet.drain()
        for thread in self.threads:
            thread.start()
        time.sleep(0.2)
        return self

    def _send(self):
        start = time.monotonic()
        for i in range(self.count):
            time.sleep(max(0, start + i / 1000 - time.monotonic()))
            self.lab.wan.socket.send(self.inward[i])
            self.lab.vnet.socket.send(self.outward[i])
        self.sent_all = True

    def _receive(self):
        links = [self.lab.wan.socket, self.lab.vnet.socket]
        while not self.stop.is_set():
            for ready in select.select(links, [], [], 0.05)[0]:
                data, address = ready.recvfrom(65535)
                now = time.monotonic()
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                if ready is self.lab.vnet.socket:
                    at = data.find(MARK)
                    if at >= 0:
                        self.at_host.setdefault(struct.unpack_from(">I", data, at + len(MARK))[0], now)
                else:
                    self.at_peer[len(self.at_peer)] = (now, data)

    def __exit__(self, *exception):
        self.threads[0].join()
        time.sleep(0.5)
        self.stop.set()
        self.threads[1].join()
        arrived = {}
        for now, data in self.at_peer.values():
            at = data.find(struct.pack(">I", self.tunnel.received.spi))
            if at < 0:
                continue
            key, head = self.tunnel.received.key, data[at:at + 16]
            plain = AESGCM(key[:-4]).decrypt(key[-4:] + head[8:], data[at + 16:], head[:8][:4] + bytes(4) + head[4:8])
            self.sequences.append(struct.unpack(">I", head[4:8])[0])
            at = plain.find(MARK)
            if at >= 0:
                arrived.setdefault(struct.unpack_from(">I", plain, at + len(MARK))[0], now)
        self.lost = 2 * self.count - len(self.at_host) - len(arrived)
        self.gap_ms = max(longest(self.at_host), longest(arrived))
        assert len(set(self.sequences)) == len(self.sequences), "a sequence number was used twice"


def inner(src, dst):
    packet = IP(src=src, dst=dst) / UDP(sport=7, dport=7, chksum=0) / Raw(MARK + bytes(68))
    return IP(bytes(packet))


def numbered(packet: bytes, i: int) -> bytes:
    at = packet.index(MARK) + len(MARK)
    return packet[:at] + struct.pack(">I", i) + packet[at + 4:]


def sealed(tunnel, count):
    """As PeerSa.seal() does it, for many: the outer headers are built once."""
    sa, plain = tunnel.sent, bytes(inner(SITE4, HOST4))
    like = bytes(tunnel.frame(sa.seal(plain)))
    at = like.index(struct.pack(">I", sa.spi))
    pad = -(len(plain) + 2) % 4
    tail = bytes(range(1, pad + 1)) + bytes([pad, 4])
    aead = AESGCM(sa.key[:-4])
    for i in range(count):
        sa.sequence += 1
        iv = struct.pack(">Q", 0x1000000 + sa.sequence)
        text = aead.encrypt(sa.key[-4:] + iv, numbered(plain, i) + tail, struct.pack(">IQ", sa.spi, sa.sequence))
        yield like[:at] + struct.pack(">II", sa.spi, sa.sequence) + iv + text


def longest(times):
    """The longest time between two arrivals, ms."""
    order = sorted(times.values())
    return max((b - a) * 1000 for a, b in zip(order, order[1:])) if len(order) > 1 else float("inf")
