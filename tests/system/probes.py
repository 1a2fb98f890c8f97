"""What the tests look at traffic with: UDP echo probes, TCP copies with checksums, captures of the wan."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lab import BIN, VNET_HOST4, VNET_HOST6, Lab, LabError, Process, Site, command, poll

# What may be seen on the wan: ESP, IKE and ESP-in-UDP, address resolution. Nothing else.
ALLOWED = {
    "esp": "ip proto 50 or ip6 proto 50",
    "udp4500": "udp port 4500",
    "ike": "udp port 500",
    "arp_nd": "arp or (icmp6 and ip6[40] >= 133 and ip6[40] <= 137) or (ip6 multicast and ip6 proto 0)",
}
PORT = 4242


@dataclass
class ProbeResult:
    flow: str
    sent: int
    received: int
    lost: int
    lost_there: int
    duplicated: int
    reordered: int
    longest_gap_ms: float
    gap_at_ms: float
    first_lost: list

    def __str__(self):
        where = f" ({self.lost_there} on the way there; first {self.first_lost[:5]})" if self.lost else ""
        return (f"{self.flow}: {self.received}/{self.sent}, lost {self.lost}{where}, duplicated {self.duplicated}, "
                f"longest gap {self.longest_gap_ms} ms")


class Probes:
    """Echo servers on the VNet host and on site hosts, and flows between them.

    with probes.load(site) as load: ...; load.results holds one ProbeResult a flow afterwards.
    """

    def __init__(self, lab: Lab, sites: list[Site] | None = None):
        self.lab = lab
        self.sites = sites or lab.sites
        self.evidence = dict  # () -> counters by name; a failed Load shows which grew
        self.serve("vnet", VNET_HOST4, VNET_HOST6)
        for site in self.sites:
            self.serve(f"host{site.index}", site.host4, site.host6)

    def serve(self, role: str, *addresses: str):
        for address in addresses:
            self.lab.spawn(role, f"echo-{role}-{'v6' if ':' in address else 'v4'}",
                           [BIN / "gw-probe", "echo", "--at", address, PORT])

    def load(self, *sites: Site, rate: int = 1000, families=(4, 6)) -> Load:
        """rate: packets a second of each flow; there are four a site: both directions, v4 and v6."""
        flows = []
        for site in sites or self.sites:
            for family in families:
                vnet, host = (VNET_HOST4, site.host4) if family == 4 else (VNET_HOST6, site.host6)
                flows += [("vnet", host, f"vnet->{site.name} v{family}"), (f"host{site.index}", vnet, f"{site.name}->vnet v{family}")]
        return Load(self.lab, flows, rate, self.evidence)

    def reachable(self, site: Site, family: int = 4) -> bool:
        target = site.host4 if family == 4 else site.host6
        try:
            self.lab.ns["vnet"].run("ping", "-c", "1", "-W", "1", target)
            return True
        except LabError:
            return False


class Load:
    def __init__(self, lab: Lab, flows: list[tuple[str, str, str]], rate: int, evidence=dict):
        """flows: (the sender's namespace, the address it sends to, a name). rate: of each."""
        self.lab, self.flows, self.rate, self.results, self.evidence = lab, flows, rate, [], evidence
        self.recording: list[Path] = []

    def record(self) -> Load:
        """When each datagram was sent and answered: answers()."""
        self.recording = [self.lab.run / f"probe-times-{n}" for n in range(len(self.flows))]
        return self

    def answers(self) -> dict[str, list[tuple[float, float]]]:
        """By flow: seconds of CLOCK_REALTIME when a datagram was sent, and how long its answer took; -1: there was none."""
        found = {}
        for (_, _, name), file in zip(self.flows, self.recording):
            rows = (line.split() for line in file.read_text().splitlines())
            found[name] = [(int(sent) / 1e9, int(took) / 1e6 if int(took) >= 0 else -1.0) for sent, took in rows]
        return found

    def __enter__(self):
        self.before = self.evidence()
        self.senders = [(name, subprocess.Popen(
            self.lab.argv(role, "gw-probe", [BIN / "gw-probe", "send", "--to", target, PORT, "--rate", self.rate, *self.times_of(n)]),
            stdout=subprocess.PIPE, text=True)) for n, (role, target, name) in enumerate(self.flows)]
        self.started = time.monotonic()
        return self

    def times_of(self, flow: int) -> list:
        return ["--times", self.recording[flow]] if self.recording else []

    def __exit__(self, kind, *_):
        for _, sender in self.senders:
            sender.send_signal(signal.SIGTERM)
        for name, sender in self.senders:
            try:
                out, _ = sender.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                sender.kill()
                continue
            if out.strip():
                values = json.loads(out)
                self.results.append(ProbeResult(name, *(values[k] for k in (
                    "sent", "received", "lost", "lost_there", "duplicated", "reordered", "longest_gap_ms",
                    "gap_at_ms", "first_lost"))))
        after = self.evidence()
        self.grown = {name: after[name] - self.before.get(name, 0) for name in after
                      if after[name] != self.before.get(name, 0)}
        with open(self.lab.logs / "probes.log", "a") as log:
            log.writelines(f"{result}\n" for result in self.results)
            log.write(f"counters that grew: {self.grown}\n")
        if kind is None and len(self.results) != len(self.senders):
            raise LabError("a gw-probe sender gave no result")

    def assert_no_loss(self):
        """Also fails when the load was so thin that nothing was measured."""
        thin = [r for r in self.results if r.sent < self.rate * 0.5]
        bad = [r for r in self.results if r.lost or r.duplicated]
        if thin or bad:
            raise AssertionError("\n  ".join(["packets lost or duplicated:" if bad else "too little load:",
                                              *(str(r) for r in bad or thin), f"drop counters that grew: {self.grown}"]))

    def longest_gap(self) -> float:
        """Seconds; of all flows."""
        return max(r.longest_gap_ms for r in self.results) / 1000


@dataclass
class Copy:
    bytes: int
    seconds: float
    sent_sha256: str
    received_sha256: str

    @property
    def gbit_per_s(self):
        return self.bytes * 8 / self.seconds / 1e9


def tcp_copy(lab: Lab, source: tuple[str, str], sink: tuple[str, str], size: int, timeout: float = 120) -> Copy:
    """Copies `size` random bytes over TCP from source to sink, each (namespace role, address)."""
    here = os.path.abspath(__file__)
    server = subprocess.Popen(lab.ns[sink[0]].exec_argv(["python3", here, "sink", sink[1], size]),
                              stdout=subprocess.PIPE, text=True)
    try:
        poll("the TCP sink listens", lambda: ":5201" in lab.ns[sink[0]].run("ss", "-Hltn", "sport", "=", "5201"), 5)
        sent = json.loads(lab.ns[source[0]].run("python3", here, "source", sink[1], size, timeout=timeout))
        out, _ = server.communicate(timeout=10)
    finally:
        server.kill()
        server.wait()
    got = json.loads(out)
    return Copy(got["bytes"], got["seconds"], sent["sha256"], got["sha256"])


class TcpStream:
    """A TCP connection with a little data every few milliseconds, as an interactive one: how long it stood still at worst.

    with TcpStream(lab, ("host1", address), ("host", address)) as stream: ...; then stream.longest_stall_ms, stream.broken
    """

    PORT, EVERY = 5202, 0.005

    def __init__(self, lab: Lab, source: tuple[str, str], sink: tuple[str, str]):
        self.lab, self.source, self.sink = lab, source, sink
        self.longest_stall_ms, self.broken = 0.0, ""

    def __enter__(self):
        here = os.path.abspath(__file__)
        self.server = subprocess.Popen(self.lab.argv(self.sink[0], "gw-probe-tcp", ["python3", here, "stream-sink", self.sink[1], 0]),
                                       stdout=subprocess.PIPE, text=True)
        poll("the TCP sink listens", lambda: f":{self.PORT}" in self.lab.ns[self.sink[0]].run("ss", "-Hltn", f"sport = :{self.PORT}"), 5)
        self.client = subprocess.Popen(self.lab.argv(self.source[0], "gw-probe-tcp", ["python3", here, "stream-source", self.sink[1], 0]))
        time.sleep(0.5)
        return self

    def __exit__(self, kind, *_):
        self.client.send_signal(signal.SIGTERM)
        try:
            out, _ = self.server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            out, _ = self.server.communicate()
        self.client.wait(5)
        result = json.loads(out) if out.strip() else {"stall_ms": float("inf"), "chunks": 0, "broken": "the sink gave no result"}
        self.longest_stall_ms, self.broken = result["stall_ms"], result["broken"]
        if kind is None and result["chunks"] < 50:
            raise LabError(f"the TCP stream carried next to nothing: {result}")


def _stream_sink(address: str) -> dict:
    listener = socket.create_server((address, TcpStream.PORT), family=_family(address))
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.settimeout(10)
    longest, chunks, broken, last = 0.0, 0, "", time.monotonic()
    try:
        while connection.recv(65536):
            now = time.monotonic()
            longest, last, chunks = max(longest, now - last), now, chunks + 1
    except OSError as fault:
        broken, longest = str(fault), max(longest, time.monotonic() - last)
    return {"stall_ms": longest * 1000, "chunks": chunks, "broken": broken}


def _stream_source(address: str):
    connection = socket.create_connection((address, TcpStream.PORT), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    due = time.monotonic()
    while not ended:
        connection.sendall(b"x" * 512)
        due += TcpStream.EVERY
        time.sleep(max(0.0, due - time.monotonic()))
    connection.close()


def _family(address: str):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _sink(address: str, size: int) -> dict:
    listener = socket.create_server((address, 5201), family=_family(address))
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.settimeout(20)
    digest, got, start = hashlib.sha256(), 0, time.monotonic()
    while got < size and (data := connection.recv(1 << 20)):
        digest.update(data)
        got += len(data)
    connection.sendall(b".")  # the source's clock and ours both end when all has arrived
    return {"bytes": got, "seconds": time.monotonic() - start, "sha256": digest.hexdigest()}


def _source(address: str, size: int) -> dict:
    connection = socket.create_connection((address, 5201), timeout=20)
    digest, left = hashlib.sha256(), size
    block = os.urandom(1 << 20)
    while left:
        # A fresh tail for every block, so that no two blocks are equal and a swap would be seen.
        piece = (os.urandom(64) + block[64:])[:min(left, 1 << 20)]
        connection.sendall(piece)
        digest.update(piece)
        left -= len(piece)
    connection.recv(1)
    return {"sha256": digest.hexdigest()}


class Capture:
    """tcpdump on the wan router's interface to the gateway.

    with Capture(lab) as wan: ...; wan.summary() -> {"esp": n, ..., "other": n}
    """

    def __init__(self, lab: Lab, *, snap: int = 128):
        self.lab, self.snap = lab, snap
        self.name = f"tcpdump-{sum(p.name.startswith('tcpdump') for p in lab.processes) + 1}"
        self.file = lab.run / f"{self.name}.pcap"

    def __enter__(self):
        self.process: Process = self.lab.spawn(
            "wan", self.name, ["tcpdump", "-i", "gw", "-n", "-U", "-s", self.snap, "-B", "65536", "-Z", "root",
                               "-w", self.file])
        poll("tcpdump listens", lambda: "listening on" in self.process.log.read_text(), 5)
        return self

    def __exit__(self, *_):
        time.sleep(1.2)  # the kernel hands over a part-filled block after a second
        self.process.signal(signal.SIGINT)
        self.process.popen.wait(10)

    def count(self, expression: str) -> int:
        out = command(["tcpdump", "-nn", "-r", self.file, "--count", expression], timeout=60)
        return int(out.split()[0])

    def summary(self) -> dict:
        counts = {name: self.count(expression) for name, expression in ALLOWED.items()}
        counts["other"] = self.count("not (" + " or ".join(f"({e})" for e in ALLOWED.values()) + ")")
        return counts

    def others(self, limit: int = 5) -> str:
        """The first packets that should not be there, in tcpdump's words."""
        unwanted = "not (" + " or ".join(f"({e})" for e in ALLOWED.values()) + ")"
        return command(["tcpdump", "-nn", "-c", limit, "-r", self.file, unwanted], check=False)

    def contains(self, needle: bytes) -> bool:
        return needle in self.file.read_bytes()


if __name__ == "__main__":
    import sys

    role, where, amount = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if role == "stream-source":
        _stream_source(where)
    else:
        print(json.dumps(_sink(where, amount) if role == "sink" else _source(where, amount) if role == "source" else _stream_sink(where)))
