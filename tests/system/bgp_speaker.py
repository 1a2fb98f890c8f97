"""The smallest BGP speaker: says exactly what a test wants a router to hear (RFC 4271, 6793), and nothing else.

Many of them run in one process; a speaker's socket lives in the namespace it was made for.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
AS_TRANS = 23456
IGP, EGP, INCOMPLETE = 0, 1, 2


@dataclass(frozen=True)
class Route:
    """path: AS numbers; a frozenset among them is an AS_SET."""

    path: tuple = ()
    origin: int = IGP
    med: int | None = None
    local_preference: int | None = None
    communities: tuple = field(default=())


def message(kind: int, body: bytes = b"") -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(flags: int, code: int, value: bytes) -> bytes:
    return struct.pack("!BBB", flags, code, len(value)) + value


def prefix_bytes(prefix: str) -> bytes:
    address, length = prefix.split("/")
    return bytes([int(length)]) + socket.inet_aton(address)[: (int(length) + 7) // 8]


def path_bytes(path: tuple) -> bytes:
    out, run = b"", []

    def flush():
        nonlocal run
        part = struct.pack("!BB", 2, len(run)) + b"".join(struct.pack("!I", a) for a in run) if run else b""
        run = []
        return part

    for item in path:
        if isinstance(item, frozenset):
            out += flush() + struct.pack("!BB", 1, len(item)) + b"".join(struct.pack("!I", a) for a in sorted(item))
        else:
            run.append(item)
    return out + flush()


def update(prefix: str, route: Route | None, next_hop: str) -> bytes:
    if route is None:
        gone = prefix_bytes(prefix)
        return message(UPDATE, struct.pack("!H", len(gone)) + gone + b"\0\0")
    attributes = attribute(0x40, 1, bytes([route.origin])) + attribute(0x40, 2, path_bytes(route.path))
    attributes += attribute(0x40, 3, socket.inet_aton(next_hop))
    if route.med is not None:
        attributes += attribute(0x80, 4, struct.pack("!I", route.med))
    if route.local_preference is not None:
        attributes += attribute(0x40, 5, struct.pack("!I", route.local_preference))
    if route.communities:
        attributes += attribute(0xC0, 8, b"".join(struct.pack("!I", c) for c in route.communities))
    return message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + prefix_bytes(prefix))


class Speaker:
    """One session, opened by us; reads (and forgets) what the router says, so that it never blocks."""

    def __init__(self, namespace: str, address: str, router: str, asn: int, router_id: str):
        self.address, self.asn, self.router_id = address, asn, router_id
        self.socket: socket.socket | None = None
        self.notification: bytes | None = None
        self._in_namespace(namespace, router)
        four_bytes = struct.pack("!BBI", 65, 4, asn)
        multiprotocol = struct.pack("!BBHBB", 1, 4, 1, 0, 1)
        capabilities = four_bytes + multiprotocol
        parameters = struct.pack("!BB", 2, len(capabilities)) + capabilities
        self.send(message(OPEN, struct.pack("!BHH4sB", 4, asn if asn < 65536 else AS_TRANS, 180,
                                            socket.inet_aton(router_id), len(parameters)) + parameters))
        self.established = threading.Event()
        threading.Thread(target=self._read, name=f"bgp {address}", daemon=True).start()

    def _in_namespace(self, namespace: str, router: str):
        failure = []

        def connect():  # setns() is the thread's own
            try:
                with open(f"/run/netns/{namespace}") as handle:
                    os.setns(handle.fileno(), os.CLONE_NEWNET)
                end = time.monotonic() + 10
                while self.socket is None:
                    try:
                        self.socket = socket.create_connection((router, 179), 5, (self.address, 0))
                    except ConnectionRefusedError:  # bgpd answers its vty before it listens
                        if time.monotonic() > end:
                            raise
                        time.sleep(0.1)
                self.socket.settimeout(None)
            except OSError as error:
                failure.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]

    def send(self, data: bytes):
        self.socket.sendall(data)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _read(self):
        try:
            while True:
                header = self._exactly(19)
                length, kind = struct.unpack("!HB", header[16:])
                body = self._exactly(length - 19)
                if kind == OPEN:
                    self.send(message(KEEPALIVE))
                elif kind == KEEPALIVE:
                    self.established.set()
                    self.send(message(KEEPALIVE))
                elif kind == NOTIFICATION:
                    self.notification = body
        except (EOFError, OSError):
            pass

    def close(self):
        self.socket.close()
