"""Whoever asks first opens the BGP session of a tunnel (ADR 26). Connections of our own, from ports that no daemon uses, beside real
bgpd and BIRD: the first goes at once, the other side's waits, and whoever is not answered keeps nobody waiting."""
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


@pytest.mark.parametrize(("first", "second", "chain"), [("gw", SITE.name, "site_asks"), (SITE.name, "gw", "we_ask")])
def test_the_second_waits_for_the_first(world, first, second, chain):
    poll("nobody asks any more", lambda: not waiting(world), 10, 0.2)
    before = held_back(world, chain)
    assert connect(world, first, 40001) < AT_ONCE
    took = connect(world, second, 40002)
    assert AT_ONCE < took < 3 * TURN, took
    assert held_back(world, chain) > before
    poll("nobody asks any more", lambda: not waiting(world), 10, 0.2)
    assert connect(world, second, 40003) < AT_ONCE, "nobody had asked before"


def test_a_site_that_does_not_answer_is_not_kept_from_connecting(world):
    """Its firewall drops what the gateway sends; the gateway's connection is asked for again and again, and holds it back once."""
    poll("nobody asks any more", lambda: not waiting(world), 10, 0.2)
    site = world.lab.ns[SITE.name]
    site.run("nft", "-f", "-", stdin="table inet deaf { chain input { type filter hook input priority -10; "
                                     "tcp dport 179 tcp flags & (syn | ack) == syn drop\n }\n}\n")
    try:
        connect(world, "gw", 40004, blocking=False)
        poll("the gateway has asked", lambda: waiting(world), 5, 0.05)
        assert connect(world, SITE.name, 40005) < 2 * TURN
        assert connect(world, SITE.name, 40006) < AT_ONCE, "held back twice by one connection"
    finally:
        site.run("nft", "delete", "table", "inet", "deaf")


def test_the_session_is_there_afterwards(world):
    poll("BGP is established", lambda: world.gateway.tunnel(SITE).get("bgp_state") == "Established", 60, 0.2)
