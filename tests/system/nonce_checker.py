"""Watches what gateways send and fails on one repeated nonce: the explicit IV of every ESP packet (RFC 4106 3.1) is
seen once for (SPI, destination), whichever instance sends it. Duplicate sequence numbers are counted apart: those cost
a drop at the peer and nothing else.

    with NonceChecker([("fpw", "wan0"), ("fqw", "wan0")]) as checker:
        ...
    checker.verify()
"""
import os
import select
import socket
import struct
import threading
import time
from collections import Counter

from fastpath_lab import SO_RCVBUFFORCE

UDP_NAT_T = 4500
SO_TIMESTAMPNS = 35  # and the kind of the message that comes of it


def esp_of(frame: bytes):
    """(destination address, ESP header and IV) of an Ethernet frame; None if it is no ESP."""
    at, kind = 14, struct.unpack_from(">H", frame, 12)[0]
    while kind in (0x8100, 0x88a8) and len(frame) >= at + 4:
        kind = struct.unpack_from(">H", frame, at + 2)[0]
        at += 4
    if kind == 0x0800 and len(frame) >= at + 20:
        protocol, dst, end = frame[at + 9], frame[at + 16:at + 20], at + 4 * (frame[at] & 15)
    elif kind == 0x86dd and len(frame) >= at + 40:
        protocol, dst, end = frame[at + 6], frame[at + 24:at + 40], at + 40
    else:
        return None
    if protocol == 17:
        if len(frame) < end + 12 or struct.unpack_from(">H", frame, end + 2)[0] != UDP_NAT_T:
            return None
        end += 8
        if frame[end:end + 4] == bytes(4):  # IKE
            return None
    elif protocol != 50:
        return None
    return (dst, frame[end:end + 16]) if len(frame) >= end + 16 else None


def kernel_time(extra):
    (_, _, data), = (message for message in extra if message[:2] == (socket.SOL_SOCKET, SO_TIMESTAMPNS))
    seconds, nanoseconds = struct.unpack("qq", data)
    return time.monotonic() - (time.time() - seconds - nanoseconds / 1e9)


class NonceChecker:
    def __init__(self, places):
        """`places`: (namespace, interface) of the outer network behind each gateway."""
        self.sockets = []
        for namespace, interface in places:
            with open("/proc/self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
                os.setns(other.fileno(), os.CLONE_NEWNET)
                try:
                    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
                    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                    sock.bind((interface, 0))
                finally:
                    os.setns(own.fileno(), os.CLONE_NEWNET)
            self.sockets.append(sock)
        self.at = 0.0          # time.monotonic() when the kernel had the packet that see() is about: this thread may be late
        self.ivs = {}          # (SPI, destination, IV) -> where it was seen
        self.sequences = set()
        self.packets = Counter()  # by instance, as the IV says
        self.duplicate_sequences = 0
        self.repeated = []
        self.lost = 0
        self._end = os.pipe()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        os.write(self._end[1], b"x")
        self._thread.join()
        for sock in self.sockets:
            _, drops = struct.unpack("II", sock.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
            self.lost += drops
            sock.close()

    def _watch(self):
        while True:
            ready, _, _ = select.select([*self.sockets, self._end[0]], [], [])
            if ready == [self._end[0]]:
                return
            for sock in ready:
                if sock != self._end[0]:
                    frame, extra, _, address = sock.recvmsg(65535, 128)
                    if address[2] != socket.PACKET_OUTGOING:
                        self.at = kernel_time(extra)
                        self.see(frame, self.sockets.index(sock))

    def see(self, frame, place):
        found = esp_of(frame)
        if found is None:
            return
        dst, esp = found
        spi, sequence, iv = struct.unpack(">IIQ", esp)
        self.packets[iv >> 60] += 1
        name = (spi, dst, iv)
        if name in self.ivs:
            self.repeated.append((f"{spi:08x}", f"{iv:016x}", self.ivs[name], place))
        self.ivs[name] = place
        if (spi, dst, sequence) in self.sequences:
            self.duplicate_sequences += 1
        self.sequences.add((spi, dst, sequence))

    def verify(self, at_least=1):
        assert not self.repeated, f"repeated nonces (SPI, IV, where, where): {self.repeated[:5]}"
        assert self.lost == 0, "packets that were not looked at"
        assert sum(self.packets.values()) >= at_least, f"only {dict(self.packets)} packets were seen"
