"""Whoever asks first opens the BGP session of a tunnel (ADR 26). Connections of our own, from ports that no daemon uses, beside real
bgpd and BIRD: the first goes at once, the other side's waits, and whoever is not answered, or has ended, keeps nobody waiting."""
import contextlib
import os

import pytest

from gateway import PORT_KINDS
from lab import Site, poll
from world import World

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SITE = Site(1)
TURN = 2.0     # s
AT_ONCE = 0.8  # s: less than a second, when a SYN is sent again

# connect OURS PORT THEIRS: how long it took.
CONNECT = """
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.settimeout(12)
start = time.monotonic()
s.connect((sys.argv[3], 179))
print(time.monotonic() - start)
"""


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_session_turns-{request.param}", [SITE], ports=request.param) as ready:
        poll("nobody asks any more", lambda: not waiting(ready), 10, 0.2)
        yield ready


def waiting(world):
    listed = world.lab.ns["gw"].run("nft", "list", "set", "inet", "gw_guard", "our_turn")
    return "tun" in listed + world.lab.ns["gw"].run("nft", "list", "set", "inet", "gw_guard", "the_sites_turn").replace("the_sites_turn", "")


def connect(world, role, port, *, blocking=True):
    ours, theirs = (SITE.inner_gw, SITE.inner_site) if role == "gw" else (SITE.inner_site, SITE.inner_gw)
    argv = ["python3", "-c", CONNECT, ours, str(port), theirs]
    return float(world.lab.ns[role].run(*argv, timeout=20)) if blocking else world.lab.spawn(role, f"connect-{port}", argv)


def held_back(world, chain):
    line = next(line for line in world.lab.ns["gw"].run("nft", "list", "chain", "inet", "gw_guard", chain).splitlines() if "counter" in line)
    return int(line.split("packets")[1].split()[0])


@contextlib.contextmanager
def deaf(world, role):
    """Nobody there is told of connections that begin; behind the gateway's own rules."""
    world.lab.ns[role].run("nft", "-f", "-", stdin="table inet deaf { chain input { type filter hook input priority 10; "
                                                   "tcp dport 179 tcp flags & (syn | ack) == syn drop\n }\n}\n")
    try:
        yield
    finally:
        world.lab.ns[role].run("nft", "delete", "table", "inet", "deaf")


@pytest.mark.parametrize(("first", "second", "chain", "port"), [("gw", SITE.name, "site_asks", 40010), (SITE.name, "gw", "we_ask", 40020)])
def test_the_second_waits_for_the_first_and_only_once(world, first, second, chain, port):
    """The first is not answered, asks again and again, and holds the other one back once."""
    poll("nobody asks any more", lambda: not waiting(world), 10, 0.2)
    before = held_back(world, chain)
    with deaf(world, second):
        connect(world, first, port, blocking=False)
        poll("it has asked", lambda: waiting(world), 5, 0.05)
        took = connect(world, second, port + 1)
        assert AT_ONCE < took < 2 * TURN, took
        assert held_back(world, chain) > before
        assert connect(world, second, port + 2) < AT_ONCE, "held back twice by one connection"


@pytest.mark.parametrize(("first", "second", "port"), [("gw", SITE.name, 40030), (SITE.name, "gw", 40040)])
def test_a_connection_that_ends_gives_its_turn_back(world, first, second, port):
    poll("nobody asks any more", lambda: not waiting(world), 10, 0.2)
    assert connect(world, first, port) < AT_ONCE
    poll("the turn is given back", lambda: not waiting(world), TURN / 2, 0.02)
    assert connect(world, second, port + 1) < AT_ONCE


def test_the_session_is_there_afterwards(world):
    poll("BGP is established", lambda: world.gateway.tunnel(SITE).get("bgp_state") == "Established", 60, 0.2)
