"""A real bgpd beside routes/: sessions of every kind, bgpd configured by bgp/'s rendering, speakers that say what a test
wants and know what they were told, and gw-policy, which says what it all should come to.

Tunnels, circuit and VNet are three subnets on one link:  169.254.21.0/24, 192.168.30.0/24, 10.0.1.0/24.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bgp_speaker import Route, Speaker, established, update
from lab import BIN, GW_ASN, GW_VNET4, Lab
from peers import Frr

TUNNELS, CIRCUIT, VNET = "169.254.21", "192.168.30", "10.0.1"
GATEWAY = {TUNNELS: f"{TUNNELS}.1", CIRCUIT: f"{CIRCUIT}.1", VNET: GW_VNET4}
INTERNAL = range(65515 << 16 | 1200, (65515 << 16 | 1200) + 20)
KINDS = ["vnet", "static", "vpn", "circuit", "branch", "partner", "spoke"]  # routes::SourceKind


def class_mark(kind: str) -> int:
    return INTERNAL[KINDS.index(kind)]


ISOLATED = INTERNAL[10]
CHOOSE_AFTER = 0.5  # s, as gwd's BgpController


@dataclass(frozen=True)
class Peer:
    name: str
    kind: str
    site: str
    subnet: str
    host: int
    asn: int

    @property
    def address(self):
        return f"{self.subnet}.{self.host}"

    @property
    def address6(self):
        return f"2001:db8:10:1::{self.host}"

    @property
    def router_id(self):
        return f"192.0.2.{self.host}"

    @property
    def ibgp(self):
        return self.asn == GW_ASN


PEERS = [
    Peer("paris-ce1/gw-a", "vpn", "paris", TUNNELS, 101, 65021),
    Peer("paris-ce2/gw-a", "vpn", "paris", TUNNELS, 102, 65024),
    Peer("berlin-ce1/gw-a", "vpn", "berlin", TUNNELS, 103, 65022),
    Peer("lyon-ce1/gw-a", "vpn", "lyon", TUNNELS, 104, 65021),  # Paris' AS at another site
    Peer("rome-ce1/gw-a", "vpn", "rome", TUNNELS, 105, 4200000001),
    Peer("hub2/gw-a", "branch", "hub2", TUNNELS, 106, 65516),
    Peer("hub3/gw-a", "branch", "hub3", TUNNELS, 107, 65514),
    Peer("er1-primary/gw-a", "circuit", "-", CIRCUIT, 108, 12076),
    Peer("er1-secondary/gw-a", "circuit", "-", CIRCUIT, 109, 12076),
    Peer("vnet:rs1/gw-a", "vnet", "-", VNET, 110, 65100),
    Peer("instance:gw-b", "partner", "-", VNET, 111, GW_ASN),
    Peer("partner:10.0.1.112", "partner", "-", VNET, 112, GW_ASN),
]
BY_NAME = {peer.name: peer for peer in PEERS}
VNET_NETWORKS = ["10.0.0.0/16", "2001:db8:10::/48"]
ORIGINS = {  # name: kind, site, prefixes; 10.61.0.0/24 and 10.1.0.0/16 are said by peers, too
    "vnet": ("vnet", "-", VNET_NETWORKS),
    "spoke:spoke-1": ("spoke", "-", ["10.1.0.0/16", "2001:db8:11::/48"]),
    "static:oslo-ce1/gw-a": ("static", "oslo", ["10.61.0.0/24", "10.61.1.0/24", "2001:db8:61::/48"]),
    "static:oslo-ce2/gw-a": ("static", "oslo", ["10.61.0.0/24"]),
    "static:paris-old/gw-a": ("static", "paris", ["10.61.2.0/24"]),
}


class Vty:
    """bgpd's own vty socket, as bgp/vty_client uses it: no vtysh in between."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.unread = b""
        self.run("enable")

    def _answer(self, line: str) -> str:
        while (end := re.search(rb"\0\0\0(.)", self.unread, re.DOTALL)) is None:
            part = self.socket.recv(1 << 20)
            assert part, f"bgpd closed the vty at: {line}"
            self.unread += part
        text, status = self.unread[:end.start()].decode(), end[1][0]
        self.unread = self.unread[end.end():]
        assert status == 0, f"{line}: status {status}: {text}"
        return text

    def run(self, *lines: str) -> str:
        """All at once, as gwd does it: bgpd takes 10 ms for the way there and back. The answer to the last one."""
        self.socket.sendall(b"".join(line.encode() + b"\0" for line in lines))
        return [self._answer(line) for line in lines][-1]

    def configure(self, lines: list[str]):
        self.run("configure terminal", *lines, "end")

    def show(self, what: str) -> dict:
        return json.loads(self.run(f"show {what} json"))


class Reference:
    """gw-policy."""

    def __init__(self):
        self.process = subprocess.Popen([BIN / "gw-policy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for p in PEERS:
            self.say(f"peer {p.name} {p.kind} {p.site} {p.address} {GATEWAY[p.subnet]} {p.asn} {p.router_id}")
        for name, (kind, site, prefixes) in ORIGINS.items():
            self.say(f"origin {name} {kind} {site} {' '.join(prefixes)}")

    def say(self, line: str):
        self.process.stdin.write(line + "\n")

    def ask(self, line: str) -> list[str]:
        self.say(line)
        self.process.stdin.flush()
        out = []
        while (answer := self.process.stdout.readline()) != ".\n":
            assert answer, f"gw-policy ended at: {line}"
            out.append(answer.rstrip("\n"))
        return out

    def tell(self, peer: Peer, prefix: str, route: Route | None):
        if route is None:
            return self.say(f"withdraw {peer.name} {prefix}")
        path = ",".join("{" + ",".join(map(str, sorted(p))) + "}" if isinstance(p, frozenset) else str(p)
                        for p in route.path)
        words = [route.origin, route.med, route.local_preference, ",".join(map(str, route.communities)) or None,
                 path or None]
        self.say(f"announce {peer.name} {prefix} {next_hop(peer, prefix)} "
                 f"{' '.join('-' if w is None else str(w) for w in words)}")

    def policy(self, lines: list[str]) -> list[str]:
        """Sets it; bgpd's commands to get there."""
        for line in lines:
            self.say(line)
        commands = self.ask("apply")
        assert not any(c.startswith("invalid:") for c in commands), commands[0]
        return commands

    def routes(self) -> dict:
        """(prefix, source) -> what import made of it"""
        out = {}
        for line in self.ask("routes"):
            words, _, policy_line = line.partition(" | ")
            prefix, source, *rest = words.split()
            out[prefix, source] = (*rest, policy_line)
        return out

    def told(self) -> dict:
        """(peer, prefix) -> the route it is told"""
        out = {}
        for line in self.ask("told"):
            words, _, policy_line = line.partition(" | ")
            peer, prefix, *rest = words.split()
            out[peer, prefix] = (*rest, policy_line)
        return out

    def close(self):
        self.process.stdin.close()
        self.process.wait(5)


def next_hop(peer: Peer, prefix: str) -> str:
    return peer.address6 if ":" in prefix else peer.address


class Bench:
    def __init__(self, lab: Lab):
        self.lab = lab
        for subnet in (TUNNELS, CIRCUIT):
            lab.ns["gw"].ip(f"addr add {GATEWAY[subnet]}/24 dev eth1")
        for peer in PEERS:
            lab.ns["vnet"].ip(f"addr add {peer.address}/24 dev eth0", f"addr add {peer.address6}/64 dev eth0")
        self.isolated: set[str] = set()  # names of sources
        self.reference = Reference()
        self.reference.policy(plain_policy())
        self.frr = Frr(lab, "gw")
        self.frr.start("zebra")
        self.frr.start("bgpd", conf="\n".join(self.reference.ask("file")))
        self.vty = Vty(self.frr.dir / "bgpd.vty")
        self.speakers = {p.name: self.connect(p) for p in PEERS}

    def connect(self, peer: Peer) -> Speaker:
        return established(self.lab.ns["vnet"].name, peer.address, GATEWAY[peer.subnet], peer.asn, peer.router_id)

    def set_policy(self, lines: list[str]) -> list[str]:
        commands = self.reference.policy(lines)
        self.isolated = {line.split()[1] for line in lines if line.startswith("session ") and "isolate=yes" in line}
        self.vty.configure(commands)
        time.sleep(CHOOSE_AFTER)
        self.vty.configure(self.reference.ask("again"))
        return commands

    def tell(self, peer: Peer, prefix: str, route: Route | None):
        self.reference.tell(peer, prefix, route)
        self.speakers[peer.name].send(update(prefix, route, next_hop(peer, prefix)))

    def say_again(self, name: str):
        """A fresh session for this peer, silent so far."""
        self.speakers[name].close()
        self.speakers[name] = self.connect(BY_NAME[name])

    def established(self) -> dict[str, int]:
        """name -> connections since bgpd started"""
        peers = self.vty.show("bgp neighbors")
        return {p.name: peers[p.address]["connectionsEstablished"] for p in PEERS
                if peers[p.address]["bgpState"] == "Established"}

    def close(self):
        self.reference.close()
        self.vty.socket.close()
        for speaker in self.speakers.values():
            speaker.close()


def plain_policy(*words: str) -> list[str]:
    return [" ".join(["policy", *(f"vnet={p}" for p in VNET_NETWORKS), *words])]
