"""The smallest BGP speaker: says exactly what a test wants a router to hear (RFC 4271, 4760, 6793), and nothing else.

It knows what it was told (its Adj-RIB-In). Many of them run in one process; a speaker's socket lives in the namespace it
was made for.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from lab import LabError

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


@dataclass(frozen=True)
class Heard:
    """A route as a router told it."""

    path: tuple
    origin: int
    med: int | None
    local_preference: int | None
    communities: frozenset
    next_hop: str
    others: frozenset  # codes of attributes that are none of the above


def message(kind: int, body: bytes = b"") -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(flags: int, code: int, value: bytes) -> bytes:
    return struct.pack("!BBB", flags, code, len(value)) + value


def prefix_bytes(prefix: str) -> bytes:
    network = ipaddress.ip_network(prefix)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def read_prefixes(data: bytes, size: int) -> list[str]:
    """size: of an address, 4 or 16."""
    out, at = [], 0
    while at < len(data):
        length = data[at]
        end = at + 1 + (length + 7) // 8
        address = ipaddress.ip_address(data[at + 1:end].ljust(size, b"\0"))
        out.append(f"{address}/{length}")
        at = end
    return out


def read_path(data: bytes) -> tuple:
    out, at = [], 0
    while at < len(data):
        kind, count = data[at], data[at + 1]
        asns = struct.unpack(f"!{count}I", data[at + 2:at + 2 + 4 * count])
        out += [frozenset(asns)] if kind == 1 else asns
        at += 2 + 4 * count
    return tuple(out)


def read_attributes(data: bytes) -> dict[int, bytes]:
    out, at = {}, 0
    while at < len(data):
        flags, code = data[at], data[at + 1]
        length, start = (struct.unpack("!H", data[at + 2:at + 4])[0], at + 4) if flags & 0x10 else (data[at + 2], at + 3)
        out[code] = data[start:start + length]
        at = start + length
    return out


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
    v6 = ":" in prefix
    nlri = prefix_bytes(prefix)
    if route is None and v6:
        gone = attribute(0x80, 15, b"\0\2\1" + nlri)
        return message(UPDATE, b"\0\0" + struct.pack("!H", len(gone)) + gone)
    if route is None:
        return message(UPDATE, struct.pack("!H", len(nlri)) + nlri + b"\0\0")
    attributes = attribute(0x40, 1, bytes([route.origin])) + attribute(0x40, 2, path_bytes(route.path))
    if not v6:
        attributes += attribute(0x40, 3, socket.inet_aton(next_hop))
    if route.med is not None:
        attributes += attribute(0x80, 4, struct.pack("!I", route.med))
    if route.local_preference is not None:
        attributes += attribute(0x40, 5, struct.pack("!I", route.local_preference))
    if route.communities:
        attributes += attribute(0xC0, 8, b"".join(struct.pack("!I", c) for c in route.communities))
    if v6:
        attributes += attribute(0x80, 14, b"\0\2\1\x10" + socket.inet_pton(socket.AF_INET6, next_hop) + b"\0" + nlri)
        nlri = b""
    return message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + nlri)


class Speaker:
    """One session, opened by us; always reads what the router says, so that it never blocks.

    capabilities: more of them, each with code and length.
    """

    def __init__(self, namespace: str, address: str, router: str, asn: int, router_id: str, capabilities: bytes = b""):
        self.address, self.asn, self.router_id = address, asn, router_id
        self.socket: socket.socket | None = None
        self.notification: bytes | None = None
        self.heard: dict[str, Heard] = {}
        self.updates = 0  # heard so far
        self._in_namespace(namespace, router)
        four_bytes = struct.pack("!BBI", 65, 4, asn)
        multiprotocol = b"".join(struct.pack("!BBHBB", 1, 4, family, 0, 1) for family in (1, 2))
        capabilities += four_bytes + multiprotocol
        parameters = struct.pack("!BB", 2, len(capabilities)) + capabilities
        self.send(message(OPEN, struct.pack("!BHH4sB", 4, asn if asn < 65536 else AS_TRANS, 180,
                                            socket.inet_aton(router_id), len(parameters)) + parameters))
        self.established = threading.Event()
        self.closed = threading.Event()
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
                elif kind == UPDATE:
                    self._hear(body)
        except (EOFError, OSError):
            pass
        finally:
            self.closed.set()

    def _hear(self, body: bytes):
        gone = struct.unpack("!H", body[:2])[0]
        end = 4 + gone + struct.unpack("!H", body[2 + gone:4 + gone])[0]
        found = read_attributes(body[4 + gone:end])
        withdrawn, told = read_prefixes(body[2:2 + gone], 4), read_prefixes(body[end:], 4)
        next_hop = socket.inet_ntoa(found[3]) if 3 in found else ""
        if 15 in found and found[15][:3] == b"\0\2\1":
            withdrawn += read_prefixes(found[15][3:], 16)
        if 14 in found and found[14][:3] == b"\0\2\1":
            length = found[14][3]
            next_hop = str(ipaddress.ip_address(found[14][4:20]))
            told += read_prefixes(found[14][5 + length:], 16)
        for prefix in withdrawn:
            self.heard.pop(prefix, None)
        if told:
            def number(code):
                return struct.unpack("!I", found[code])[0] if code in found else None
            communities = found.get(8, b"")
            route = Heard(read_path(found.get(2, b"")), found[1][0], number(4), number(5),
                          frozenset(struct.unpack(f"!{len(communities) // 4}I", communities)), next_hop,
                          frozenset(found) - {1, 2, 3, 4, 5, 8, 14, 15})
            self.heard.update(dict.fromkeys(told, route))
        if withdrawn or told:
            self.updates += 1

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # the reader waits in it: closing alone ends nothing
        self.socket.close()


def established(namespace: str, address: str, router: str, asn: int, router_id: str, capabilities: bytes = b"", *,
                seconds: float = 20) -> Speaker:
    """bgpd refuses whoever comes before zebra has told it the interfaces, or while it is busy with the end of the session before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        speaker = Speaker(namespace, address, router, asn, router_id, capabilities)
        while not speaker.closed.wait(0.02) and time.monotonic() < end:
            if speaker.established.is_set():
                return speaker
        speaker.close()
        time.sleep(0.2)
    raise LabError(f"no session of {address} with {router} within {seconds:g} s")


def of_site(lab, site, capabilities: bytes = b"") -> Speaker:
    """In place of a site's router, through its tunnel."""
    return established(lab.ns[site.name].name, site.inner_site, site.inner_gw, site.asn, site.inner_site, capabilities)
