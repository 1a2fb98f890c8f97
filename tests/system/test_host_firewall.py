"""The appliance's firewall follows gateway.yaml: what gwd writes for it, its script, its rules, in a namespace with a port for
each role. Packets decide, not the text of the rules.

  outside router 192.0.2.1, stranger .9 --- wan | appliance | vnet --- inside 10.0.0.9
"""

import os
import sys
from pathlib import Path

import pytest

from lab import Namespace, command

APPLIANCE = Path(__file__).resolve().parents[2] / "images/appliance"
ROUTER4, STRANGER4, ROUTER6, STRANGER6 = "192.0.2.1", "192.0.2.9", "2001:db8::1", "2001:db8::9"
WAN4, WAN6, VNET4, INSIDE4 = "192.0.2.4", "2001:db8::4", "10.0.0.4", "10.0.0.9"
TCP, UDP = "tcp", "udp"

# Answers "open" for a packet that arrives: a TCP port where nobody listens answers with a reset, a UDP one with an ICMP error;
# what the firewall drops is silence.
KNOCK = """
import socket, sys
kind, source, target, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(0.5)
s.bind((source, 0))
try:
    s.connect((target, int(port)))
    if kind == "udp":
        s.send(b"?")
        s.recv(1)
    print("open")
except ConnectionRefusedError:
    print("open")
except (TimeoutError, socket.timeout):
    print("dropped")
"""


class Appliance:
    def __init__(self):
        prefix = f"fw{os.getpid() % 100000}"
        self.ns, self.outside, self.inside = (Namespace(prefix, role) for role in ("gw", "outside", "inside"))
        self.ns.sysctl({"net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0})  # each closed UDP port answers
        for port, other, own, theirs in (("wan", self.outside, (f"{WAN4}/24", f"{WAN6}/64"),
                                          (f"{ROUTER4}/24", f"{STRANGER4}/24", f"{ROUTER6}/64", f"{STRANGER6}/64")),
                                         ("vnet", self.inside, (f"{VNET4}/24",), (f"{INSIDE4}/24",))):
            self.ns.ip(f"link add {port} type veth peer name eth0 netns {other.name}", f"link set {port} up",
                       *(f"addr add {a} dev {port}" for a in own))
            other.ip("link set eth0 up", *(f"addr add {a} dev eth0" for a in theirs))

    def close(self):
        for namespace in (self.ns, self.outside, self.inside):
            command(["ip", "netns", "del", namespace.name], check=False)

    def follow(self, said_by_gwd: str):
        """As gw-host-ports.service, when gwd has written another file."""
        Path("/run/gw").mkdir(exist_ok=True)
        Path("/run/gw/fastpath.env").write_text(said_by_gwd)
        rules = Path("/etc/nftables.conf")
        scripts = Path("/usr/lib/gw")
        script = (f"touch {rules}; mount --bind {APPLIANCE}/etc/nftables.conf {rules}; mkdir -p {scripts}; "
                  f"mount --bind {APPLIANCE}{scripts} {scripts}; exec {scripts}/host-ports")
        return self.ns.run("unshare", "--mount", "sh", "-ec", script)

    def knock(self, kind: str, port: int, source: str, target: str) -> str:
        namespace = self.inside if source == INSIDE4 else self.outside
        return namespace.run(sys.executable, "-c", KNOCK, kind, source, target, port).strip()


@pytest.fixture(scope="module")
def appliance():
    made = Appliance()
    try:
        yield made
    finally:
        made.close()


PORTS = 'GW_FASTPATH_PORTS="--wan wan --vnet vnet --instance 0"\n'
ROUTERS = f'GW_WAN_ROUTERS="{ROUTER4} {ROUTER6}"\n'


def test_the_wans_routers_alone_may_speak_bgp_and_bfd(appliance):
    appliance.follow(PORTS + ROUTERS)
    for kind, port in ((TCP, 179), (UDP, 3784)):
        assert appliance.knock(kind, port, ROUTER4, WAN4) == "open"
        assert appliance.knock(kind, port, ROUTER6, WAN6) == "open"
        assert appliance.knock(kind, port, STRANGER4, WAN4) == "dropped"
        assert appliance.knock(kind, port, STRANGER6, WAN6) == "dropped"
        assert appliance.knock(kind, port, INSIDE4, VNET4) == "open"
    assert appliance.knock(TCP, 22, ROUTER4, WAN4) == "dropped"
    assert appliance.knock(UDP, 4500, STRANGER4, WAN4) == "open"


def test_routers_that_are_not_in_the_document_any_more_are_strangers(appliance):
    appliance.follow(PORTS + ROUTERS)
    appliance.follow(PORTS)
    assert appliance.knock(TCP, 179, ROUTER4, WAN4) == "dropped"
    assert appliance.knock(UDP, 3784, ROUTER6, WAN6) == "dropped"


def test_the_sync_channels_port_is_the_documents(appliance):
    appliance.follow(PORTS)
    assert appliance.knock(TCP, 9621, INSIDE4, VNET4) == "open", "the default"
    said = appliance.follow(PORTS + 'GW_SYNC_PORT="9700"\n')
    assert "sync port: 9700" in said
    for kind in (TCP, UDP):
        assert appliance.knock(kind, 9700, INSIDE4, VNET4) == "open"
        assert appliance.knock(kind, 9621, INSIDE4, VNET4) == "dropped"
        assert appliance.knock(kind, 9700, STRANGER4, WAN4) == "dropped"
