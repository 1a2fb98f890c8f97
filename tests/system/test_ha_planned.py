"""Planned work on a pair loses nothing: endpoints that are moved, an instance that is drained and comes back, under packets both ways and
under TCP. What leaves both instances is watched: no nonce twice, and sequence numbers go on where they were. ha_lab.py has the drawing."""

import time

import pytest

from coexistence import eventually
from gateway import PORT_KINDS
from ha import HaWorld, negotiated
from ha_lab import DUAL, GW_A, GW_B, SINGLE, STATIC
from lab import poll
from nonce_checker import NonceChecker
from probes import TcpStream

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
RATE = 100       # packets a second of each flow; there are four each way
BFD_MS = 150
MOST_STALL = 250  # ms: what TCP may stand still for on a busy machine; `bench ha` has the real bound
VNET_HOST = "10.0.0.100"
IDS = {"argnames": "site", "argvalues": [SINGLE, STATIC, DUAL], "ids": ["bgp", "static", "dual"]}


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with HaWorld(f"test_ha_planned-{request.param}", ports=request.param, bfd_ms=BFD_MS, sites=(DUAL, SINGLE, STATIC),
                 ha={"failback": "manual", "heartbeat": f"{BFD_MS}ms"}) as ready:
        ready.settle_all()
        yield ready


@pytest.fixture(autouse=True)
def at_home(world):
    yield
    for instance in (GW_A, GW_B):
        if instance.wan4 not in world.of(instance).owned():
            world.of(instance).ctl("ha", "takeover", instance.wan4)
    for instance in (GW_A, GW_B):
        eventually(f"{instance.name} has its endpoint", lambda i=instance: world.of(i).owned() == {i.wan4})
    world.settle_all()


def move(world, source, target):
    world.of(source).ctl("ha", "move", GW_A.wan4, target.name)
    poll(f"{target.name} has {GW_A.wan4}", lambda: GW_A.wan4 in world.of(target).owned(), 20, 0.02)
    world.settle()  # a site's router whose session is not open again has no graceful restart to offer


class Watched:
    """Load and TCP on a site, and what both instances send to it."""

    def __init__(self, world, site):
        self.load = world.load(site, rate=RATE)
        self.stream = TcpStream(world.lab, (f"host{site.index}", site.host4), ("host", VNET_HOST))
        self.nonces = NonceChecker([(world.lab.ns["wan"].name, "eth0")])

    def __enter__(self):
        for part in (self.nonces, self.load, self.stream):
            part.__enter__()
        time.sleep(0.5)
        return self

    def __exit__(self, *exception):
        for part in (self.stream, self.load, self.nonces):
            part.__exit__(*exception)

    def verify(self):
        self.load.assert_no_loss()
        assert not self.stream.broken and self.stream.longest_stall_ms < MOST_STALL, \
            f"TCP stood still for {self.stream.longest_stall_ms:.0f} ms {self.stream.broken}"
        self.nonces.verify()
        assert self.nonces.duplicate_sequences == 0


@pytest.mark.parametrize(**IDS)
def test_a_move_there_and_back_loses_nothing(world, site):
    before = negotiated(world, site)
    with Watched(world, site) as watched:
        move(world, GW_A, GW_B)
        time.sleep(1)
        move(world, GW_B, GW_A)
        time.sleep(1)
    watched.verify()
    assert negotiated(world, site) == before, "IKE was negotiated anew"


DRAIN_WAIT = 2.0  # s: what a move takes if nobody sees that the sites have moved


def said(world, words: str) -> int:
    return world.of(GW_A).gwd.log.read_text().count(words)


def seconds_of_move(world, site) -> float:
    """From gw-a to gw-b, under load."""
    with Watched(world, site) as watched:
        begun = time.monotonic()
        world.of(GW_A).ctl("ha", "move", GW_A.wan4, GW_B.name)
        poll("gw-b has it", lambda: GW_A.wan4 in world.of(GW_B).owned(), 20, 0.02)
        took = time.monotonic() - begun
        time.sleep(1)
    watched.verify()
    return took


def test_an_endpoint_whose_sites_have_one_tunnel_moves_at_once(world):
    router = world.routers[DUAL.name]
    router.birdc("disable", "gw_b")
    try:
        time.sleep(1)  # gw-b has said so to gw-a
        before = said(world, "no site has another tunnel")
        assert seconds_of_move(world, SINGLE) < DRAIN_WAIT
        assert said(world, "no site has another tunnel") == before + 1
    finally:
        router.birdc("enable", "gw_b")


def test_a_site_that_turns_to_its_other_tunnel_is_waited_for_until_then(world):
    """Its BIRD obeys GRACEFUL_SHUTDOWN, as the RFC asks it to (8326, 4.1)."""
    router = world.routers[DUAL.name]
    conf = router.dir / "bird.conf"
    whole = conf.read_text()
    conf.write_text(whole.replace("ipv4 { import all;", "ipv4 { import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; };"))
    router.birdc("configure")
    try:
        before = said(world, "have turned to that (1 tunnels)")
        assert seconds_of_move(world, DUAL) < DRAIN_WAIT
        assert said(world, "have turned to that (1 tunnels)") == before + 1
    finally:
        conf.write_text(whole)
        router.birdc("configure")


def sessions_opened(world):
    """In tunnels, as either instance's bgpd says."""
    return sum("ADJCHANGE: neighbor 169.254." in line and line.endswith(" Up")
               for instance in (GW_A, GW_B) for line in (world.lab.logs / f"bgpd-{instance.name}.log").read_text().splitlines())


def test_drain_and_undrain_lose_nothing(world):
    """Nor do the ends of the sites' sessions, which both begin anew, get into each other's way: each opens once (ADR 26)."""
    before = sessions_opened(world)
    with Watched(world, SINGLE) as watched:
        world.of(GW_A).ctl("ha", "drain")
        poll("gw-b has both endpoints", lambda: world.of(GW_B).owned() == {GW_A.wan4, GW_B.wan4}, 20)
        world.settle()
        time.sleep(1)
        world.of(GW_A).ctl("ha", "undrain")
        poll("gw-a has its endpoint again", lambda: world.of(GW_A).owned() == {GW_A.wan4}, 20)
        world.settle()
        time.sleep(1)
    watched.verify()
    assert sessions_opened(world) == before + 2 * 2, "two sites, there and back"


def test_sequence_numbers_go_on_where_they_were(world):
    """After a takeover they jump by millions. All instances' packets to the site are in one list."""
    with NonceChecker([(world.lab.ns["wan"].name, "eth0")]) as nonces, world.load(STATIC, rate=RATE):
        time.sleep(0.5)
        move(world, GW_A, GW_B)
        time.sleep(0.5)
        move(world, GW_B, GW_A)
        time.sleep(0.5)
    by_sa: dict = {}
    for spi, destination, sequence in nonces.sequences:
        by_sa.setdefault((spi, destination), []).append(sequence)
    assert by_sa
    for numbers in by_sa.values():
        numbers.sort()
        steps = [after - before for before, after in zip(numbers, numbers[1:])]
        assert max(steps, default=0) < 1000, f"a jump of {max(steps)}"


def test_return_traffic_by_the_other_instance_needs_no_state(world):
    """The site sends to gw-a, the VNet answers through gw-b."""
    there = (DUAL.prefixes[0], "via", GW_B.vnet4, "dev", "eth0", "metric", "1")
    back = ("10.0.0.0/16", "dev", "tun-a", "metric", "1")
    rs1, site = world.lab.ns["rs1"], world.lab.ns[DUAL.name]
    rs1.ip(" ".join(("route add", *there)))
    site.ip(" ".join(("route add", *back)))
    try:
        before = {i: world.of(i).json("show", "counters") for i in (GW_A, GW_B)}
        with world.load(DUAL, rate=RATE) as load:
            time.sleep(1.5)
        load.assert_no_loss()
        packets = 4 * RATE  # of the flows that begin at one end, in a second
        grown = {i: {way: int(after[way]) - int(before[i][way]) for way in ("wan_rx_packets", "wan_tx_packets")}
                 for i, after in ((i, world.of(i).json("show", "counters")) for i in (GW_A, GW_B))}
        assert grown[GW_A]["wan_rx_packets"] > packets > grown[GW_A]["wan_tx_packets"], grown
        assert grown[GW_B]["wan_tx_packets"] > packets > grown[GW_B]["wan_rx_packets"], grown
    finally:
        rs1.ip(" ".join(("route del", *there)))
        site.ip(" ".join(("route del", *back)))
