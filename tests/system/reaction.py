"""When an instance heard and when its forwarding changed: what the failover bench and tests measure a reaction with.

UpdateWatch    takes every BGP UPDATE that reaches the instance, with the kernel's time of arrival
ForwardingWatch asks gw-fastpath for its forwarding table about a thousand times a second
RouteWatch     hears of every change of a router's kernel routes: when a neighbour of ours has reacted

Both run in threads until stop(); times are seconds of CLOCK_REALTIME, the clock of the kernel's timestamps. What they show is
gw-fastpath's own word, not gwd's: a route counts as changed when packets are forwarded by it.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import re
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fastpath_lab import Rpc, pb

ETH_P_IP, SO_TIMESTAMPNS, SO_ATTACH_FILTER = 0x800, 35, 26
UPDATE = 2
POLL_EVERY = 0.001  # s
# ip[9] = TCP, either port 179; offsets are from the IP header
BGP_ONLY = [(0x30, 0, 0, 9), (0x15, 0, 6, 6), (0xb1, 0, 0, 0), (0x48, 0, 0, 0), (0x15, 2, 0, 179), (0x48, 0, 0, 2), (0x15, 0, 1, 179),
            (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)]


class Watch:
    """A thread that runs until stop()."""

    def __init__(self, name: str):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        self.stopping.set()
        self.thread.join(5)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


@dataclass
class Update:
    at: float
    peer: str


class UpdateWatch(Watch):
    def __init__(self, namespace: str):
        super().__init__(f"updates of {namespace}")
        self.updates: list[Update] = []
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
            os.setns(other.fileno(), os.CLONE_NEWNET)
            try:
                self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            finally:
                os.setns(own.fileno(), os.CLONE_NEWNET)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in BGP_ONLY))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(BGP_ONLY), ctypes.addressof(program)))
        self.socket.settimeout(0.2)

    def run(self):
        while not self.stopping.is_set():
            try:
                packet, ancillary, _, address = self.socket.recvmsg(65535, 64)
            except TimeoutError:
                continue
            if address[2] != socket.PACKET_OUTGOING and self.has_update(packet):
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                self.updates.append(Update(seconds + nanoseconds / 1e9, socket.inet_ntoa(packet[12:16])))
        self.socket.close()

    @staticmethod
    def has_update(packet: bytes) -> bool:
        header = 4 * (packet[0] & 15)
        data = packet[header + 4 * (packet[header + 12] >> 4):int.from_bytes(packet[2:4], "big")]
        while len(data) >= 19 and data[:16] == b"\xff" * 16:
            if data[18] == UPDATE:
                return True
            data = data[max(19, int.from_bytes(data[16:18], "big")):]
        return False

    def first_since(self, start: float) -> dict[str, float]:
        """Peer -> when its first UPDATE since `start` came."""
        found: dict[str, float] = {}
        for update in self.updates:
            if update.at >= start:
                found.setdefault(update.peer, update.at)
        return found


@dataclass
class Change:
    at: float  # not later: the last look that still saw the old one was POLL_EVERY before
    prefix: str
    entry: tuple  # (kind, tunnel ids, gateways); () when the route went


@dataclass
class ForwardingWatch(Watch):
    path: Path
    changes: list[Change] = field(default_factory=list)
    table: dict[str, tuple] = field(default_factory=dict)

    def __post_init__(self):
        super().__init__(f"forwarding of {self.path}")
        self.rpc = Rpc(self.path, pb.ROLE_OBSERVER, name="failover watch")
        self.look()
        self.changes.clear()

    def look(self):
        routes = self.rpc.ok(list_routes=pb.ListRoutes()).routes.routes
        now = time.time()
        table = {prefix_of(r): entry_of(r) for r in routes}
        for prefix in table.keys() | self.table.keys():
            if table.get(prefix, ()) != self.table.get(prefix, ()):
                self.changes.append(Change(now, prefix, table.get(prefix, ())))
        self.table = table

    def run(self):
        while not self.stopping.is_set():
            self.look()
            time.sleep(POLL_EVERY)
        self.rpc.close()

    def kind(self, prefix: str) -> str:
        """"tunnels", "vnet", "circuit" or "": where packets for the prefix go now."""
        return kind_of(self.table.get(prefix, ()))

    def changes_to(self, kind: str, prefix: str, start: float) -> list[float]:
        """When packets for the prefix began to go to `kind`, since `start`."""
        found, before = [], ""
        for change in list(self.changes):
            if change.prefix != prefix:
                continue
            now = kind_of(change.entry)
            if change.at >= start and now == kind != before:
                found.append(change.at)
            before = now
        return found


class RouteWatch(Watch):
    LINE = re.compile(r"\[(\S+)\] (Deleted )?(\d+\.\d+\.\d+\.\d+(?:/\d+)?) (.*)")

    def __init__(self, namespace: str):
        super().__init__(f"routes of {namespace}")
        self.changes: list[tuple[float, str, str]] = []  # (when, prefix, "" or the ways of its route in ip's words)
        self.monitor = subprocess.Popen(["ip", "-n", namespace, "-ts", "-4", "monitor", "route"], stdout=subprocess.PIPE, text=True)

    def run(self):
        for line in self.monitor.stdout:
            if found := self.LINE.match(line):
                when, deleted, prefix, ways = found.groups()
                self.changes.append((datetime.datetime.fromisoformat(when).timestamp(), prefix, "" if deleted else ways))
            elif self.changes and line.lstrip().startswith("nexthop"):
                when, prefix, ways = self.changes[-1]
                self.changes[-1] = (when, prefix, f"{ways} {line.strip()}")

    def stop(self):
        self.monitor.terminate()
        self.monitor.wait(5)
        super().stop()

    def first_without(self, way: str, prefix: str, start: float) -> float | None:
        """When the route to a prefix no longer led by `way` ("via 10.0.0.4", "dev tun-a"), since `start`."""
        for when, changed, ways in list(self.changes):
            if when >= start and changed == prefix and not re.search(rf"\b{re.escape(way)}\b", ways):
                return when
        return None


def prefix_of(route) -> str:
    family = socket.AF_INET if len(route.prefix) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, route.prefix)}/{route.prefix_length}"


def entry_of(route) -> tuple:
    gateways = getattr(route, "gateways", None)
    hops = tuple(bytes(g) for g in gateways) if gateways is not None else (bytes(route.gateway),)
    return route.kind, tuple(route.tunnel_ids), hops


def kind_of(entry: tuple) -> str:
    return pb.NextHopKind.Name(entry[0]).removeprefix("NEXT_HOP_").lower() if entry else ""
