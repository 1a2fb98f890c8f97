"""From an UPDATE to a forwarded packet: a site's router announces a prefix that a VNet host keeps sending to.

   VNet host --4,000 packets/s--> [gw-fastpath] --ESP--> site;  UPDATE: site -> tunnel device -> bgpd -> BMP -> gwd -> gw-fastpath

Three clocks that are one, the kernel's stamps of captured packets: the UPDATE on the tunnel's device, the first big ESP packet
behind the gateway, and (the reference, FRR's own way) the route in the gateway's kernel, by netlink.
"""
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from bgp_speaker import Route, Speaker, prefix_bytes, update  # noqa: E402
from lab import Site, poll  # noqa: E402
from world import World  # noqa: E402

SITE = Site(1)
PAYLOAD = 1100  # bytes: no other ESP packet of the lab is as long
SO_TIMESTAMPNS, ETH_P_ALL = 35, 3
RTMGRP_IPV4_ROUTE, RTM_NEWROUTE = 0x40, 24
WAIT = 2.0  # s for one announcement

SENDER = """
import os, select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
target, payload, due = None, bytes(%d), time.monotonic()
os.set_blocking(0, False)
while True:
    line = os.read(0, 64) if select.select([0], [], [], 0)[0] else None
    if line == b"":
        break
    target = line.decode().split()[-1] if line else target
    if target:
        try:
            s.sendto(payload, (target, 9))
        except OSError:
            pass
    due = max(due + 0.00025, time.monotonic() - 0.01)
    time.sleep(max(0, due - time.monotonic()))
""" % PAYLOAD


def inside(namespace, make):
    """What make() returns, made in the namespace: a socket stays where it was made."""
    found = []

    def run():
        with open(f"/run/netns/{namespace.name}") as handle:
            os.setns(handle.fileno(), os.CLONE_NEWNET)
        found.append(make())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def capture(device):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((device, 0))
    s.settimeout(WAIT)
    return s


def route_monitor():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.bind((0, RTMGRP_IPV4_ROUTE))
    s.settimeout(WAIT)
    return s


def drain(s):
    s.setblocking(False)
    try:
        while True:
            s.recv(65536)
    except BlockingIOError:
        s.settimeout(WAIT)


def first(s, wanted):
    """When the first such packet passed, in seconds (CLOCK_REALTIME)."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        data, control, _, _ = s.recvmsg(65536, 128)
        if wanted(data):
            seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
            return seconds + nanoseconds / 1e9
    raise RuntimeError(f"nothing within {WAIT} s")


def route_appeared(s, prefix):
    needle = socket.inet_aton(prefix.split("/")[0])
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        data = s.recv(65536)
        if struct.unpack("=IH", data[:6])[1] == RTM_NEWROUTE and needle in data:
            return time.time()
    raise RuntimeError(f"the kernel has no route to {prefix} within {WAIT} s")


def measure(rounds):
    """[(ms to the first forwarded packet, ms to the kernel's route)]"""
    found = []
    with World("bench_bgp_to_fastpath", [SITE]) as world:
        world.offices[SITE.name].router.process.stop()
        poll("BIRD's session is gone", lambda: not world.gateway.bgp_established(SITE), 20)
        device = world.gateway.tunnel(SITE)["device"]
        tunnel = inside(world.lab.ns["gw"], lambda: capture(device))
        wire = inside(world.lab.ns["wan"], lambda: capture("gw"))
        kernel = inside(world.lab.ns["gw"], route_monitor)
        peer = Speaker(world.lab.ns[SITE.name].name, SITE.inner_site, SITE.inner_gw, SITE.asn, SITE.inner_site)
        if not peer.established.wait(20):
            raise RuntimeError("the site's session is not established")
        time.sleep(3)  # the first UPDATEs of a session wait for each other
        sender = subprocess.Popen(world.lab.argv("vnet", "gw-probe-sender", [sys.executable, "-c", SENDER]),
                                  stdin=subprocess.PIPE)
        try:
            for n in range(rounds):
                found.append(one_round(f"10.{200 + n // 256}.{n % 256}.0/24", peer, sender, tunnel, wire, kernel))
        finally:
            sender.stdin.close()
            sender.wait(5)
            peer.close()
    return found


def one_round(prefix, peer, sender, tunnel, wire, kernel):
    sender.stdin.write((prefix.replace(".0/24", ".1") + "\n").encode())
    sender.stdin.flush()
    time.sleep(0.02)
    for s in (tunnel, wire, kernel):
        drain(s)
    needle = prefix_bytes(prefix)
    peer.send(update(prefix, Route((SITE.asn,)), SITE.inner_site))
    heard = first(tunnel, lambda data: data.endswith(needle))
    sent = first(wire, lambda data: len(data) > PAYLOAD)
    installed = route_appeared(kernel, prefix)
    return (sent - heard) * 1000, (installed - heard) * 1000
