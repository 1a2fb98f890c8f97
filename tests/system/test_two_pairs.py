"""An ER pair that has the circuit and tells the VNet, a VPN pair that has the tunnels: together what one pair with both is."""

import time

import pytest

from coexistence import Coexistence, assert_no_difference, eventually
from coexistence_lab import LYON, PARIS, TWO_PAIRS

SITES = (PARIS, LYON)
VPN_A, VPN_B, ER_A, ER_B = TWO_PAIRS
VPN_PAIR, ER_PAIR = (VPN_A, VPN_B), (ER_A, ER_B)


@pytest.fixture(scope="module")
def world():
    with Coexistence("test_two_pairs", ports="gso", two_pairs=True, sites=SITES) as ready:
        yield ready


@pytest.fixture(autouse=True, params=(4, 6), ids=("ipv4", "ipv6"))
def net(world, request):
    world.lab.family = request.param
    return world.net


@pytest.fixture(autouse=True)
def healthy(world):
    world.settle()
    yield
    world.restore_all()


def test_only_the_er_pair_tells_the_vnet(world, net):
    for name in (VPN_A.name, VPN_B.name):
        assert "10.0.0.1" not in world.gateways[name].sessions()
    eventually("rs1 has both sites", lambda: set(world.vnet.routes()) == {net.P, net.L})


def test_the_vnet_sends_each_packet_to_the_pair_that_has_the_path(world, net):
    """Not to the one that told: nothing goes through two gateways. (IPv6 does: Net.next_hops.)"""
    eventually("paris by the ER pair", lambda: world.vnet.next_hops(net.P) == net.on_vnet(*ER_PAIR))
    eventually("lyon by the VPN pair", lambda: world.vnet.next_hops(net.L) <= net.next_hops(VPN_PAIR, ER_PAIR) and world.vnet.next_hops(net.L))


def all_by(world, pair, prefix, others):
    """Both instances of the pair send by these of the other pair."""
    wanted = {f"partner:{other.vnet4}" for other in others}
    for instance in pair:
        eventually(f"{instance.name} sends to {prefix} by {wanted}", lambda g=world.gateways[instance.name]: g.best(prefix) == wanted)


def test_each_pair_is_told_by_the_other(world, net):
    all_by(world, VPN_PAIR, net.P, ER_PAIR)  # the circuit is preferred here, too
    for instance in VPN_PAIR:
        assert f"site1-ce1/{instance.name}" in world.gateways[instance.name].candidates(net.P)
    all_by(world, ER_PAIR, net.L, VPN_PAIR)


def test_the_export_table_holds_across_pairs(world, net):
    """Circuit and tunnels stay closed to each other, although the partner in the middle knows both."""
    for router in world.circuit.frr:
        eventually(f"{router} has the hub", lambda r=router: set(world.circuit.routes(r)) == net.HUB | {net.P})
    eventually("lyon has the hub", lambda: set(world.routers[LYON.name].routes()) == net.HUB)
    assert not world.pings("host2", net.host(PARIS))


@pytest.mark.parametrize("role", ["host", "spoke"])
@pytest.mark.parametrize("site", SITES, ids=["paris", "lyon"])
def test_nothing_is_lost_while_all_is_well(world, net, role, site):
    with world.load(site, role=role, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()


def test_frr_agrees_with_gwd(world):
    assert_no_difference(world)


def test_the_vpn_pair_takes_over_from_the_er_pair_and_gives_back(world, net):
    paris = world.routers[PARIS.name]
    world.circuit.links_to_sites("down")
    eventually("rs1 sends to the VPN pair", lambda: world.vnet.next_hops(net.P) and world.vnet.next_hops(net.P) <= net.next_hops(VPN_PAIR, ER_PAIR))
    all_by(world, ER_PAIR, net.P, VPN_PAIR)
    eventually("paris sends into its tunnels", lambda: paris.devices(net.VNET) == {"tun-a", "tun-b"})
    with world.load(PARIS, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    with world.load(PARIS, rate=100) as load:
        world.circuit.links_to_sites("up")
        eventually("rs1 sends to the ER pair", lambda: world.vnet.next_hops(net.P) == net.on_vnet(*ER_PAIR))
        eventually("paris sends into the circuit", lambda: paris.devices(net.VNET) == {"primary", "secondary"})
        time.sleep(0.5)
    load.assert_no_loss()


def test_an_instance_without_its_tunnel_is_not_told_to_the_vnet(world, net):
    world.lab.cut((VPN_A, LYON))
    eventually("lyon by gw-b alone", lambda: world.vnet.next_hops(net.L) == net.next_hops((VPN_B,), ER_PAIR))
    all_by(world, ER_PAIR, net.L, (VPN_B,))
    with world.load(LYON, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    world.lab.heal()
    eventually("and by gw-a again", lambda: net.next_hops((VPN_A,), ER_PAIR) <= world.vnet.next_hops(net.L), 20)


def test_packets_for_a_site_without_any_path_never_loop(world, net):
    """Four instances that may each believe in another one, until all know that nobody has a tunnel to lyon."""
    before = world.vnet_packets()
    with world.load(LYON, copies=2, rate=250) as load:
        time.sleep(0.3)
        world.lab.cut((VPN_A, LYON), (VPN_B, LYON))
        eventually("nobody has a path", lambda: not any(g.best(net.L) for g in world.gateways.values()))
        time.sleep(1)
        words = world.lab.ns["host"].run("ping", "-c", "5", "-i", "0.1", "-W", "1", net.host(LYON), check=False)
    assert "Time to live exceeded" not in words and "Hop limit" not in words, words
    sent = sum(r.sent for r in load.results)
    # A packet and its answer cross at most both pairs, and with a hand-over another instance of each.
    assert world.vnet_packets() - before < 5 * sent, world.drops()
    world.lab.heal()
    eventually("lyon has its paths again", lambda: all(g.best(net.L) for g in world.gateways.values()), 30)
