"""An ER pair that has the circuit and tells the VNet, a VPN pair that has the tunnels: together what one pair with both is."""

import time

import pytest

from coexistence import Coexistence, eventually
from coexistence_lab import LYON, PARIS, SPOKE_PREFIX, TWO_PAIRS, VNET_PREFIX

SITES = (PARIS, LYON)
P, L = (site.prefixes[0] for site in SITES)
HUB = {VNET_PREFIX, SPOKE_PREFIX}
VPN_A, VPN_B, ER_A, ER_B = TWO_PAIRS
VPN_PAIR, ER_PAIR = {VPN_A.vnet4, VPN_B.vnet4}, {ER_A.vnet4, ER_B.vnet4}


@pytest.fixture(scope="module")
def world():
    with Coexistence("test_two_pairs", ports="gso", two_pairs=True, sites=SITES) as ready:
        yield ready


@pytest.fixture(autouse=True)
def healthy(world):
    world.settle()
    yield
    world.restore_all()


def test_only_the_er_pair_tells_the_vnet(world):
    for name in (VPN_A.name, VPN_B.name):
        assert "10.0.0.1" not in world.gateways[name].sessions()
    eventually("rs1 has both sites", lambda: set(world.vnet.routes()) == {P, L})


def test_the_vnet_sends_each_packet_to_the_pair_that_has_the_path(world):
    """Not to the one that told: nothing goes through two gateways."""
    eventually("paris by the ER pair", lambda: world.vnet.next_hops(P) == ER_PAIR)
    eventually("lyon by the VPN pair", lambda: world.vnet.next_hops(L) <= VPN_PAIR and world.vnet.next_hops(L))


def test_each_pair_is_told_by_the_other(world):
    def by_partner(name, prefix):
        used = world.gateways[name].best(prefix)
        return used and all(source.startswith("partner:") for source in used)
    for name in (VPN_A.name, VPN_B.name):  # the circuit is preferred here, too
        eventually(f"{name} sends to paris by the ER pair", lambda n=name: by_partner(n, P))
        assert f"site1-ce1/{name}" in world.gateways[name].candidates(P)
    for name in (ER_A.name, ER_B.name):
        eventually(f"{name} sends to lyon by the VPN pair", lambda n=name: by_partner(n, L))


def test_the_export_table_holds_across_pairs(world):
    """Circuit and tunnels stay closed to each other, although the partner in the middle knows both."""
    for router in world.circuit.frr:
        eventually(f"{router} has the hub", lambda r=router: set(world.circuit.routes(r)) == HUB | {P})
    eventually("lyon has the hub", lambda: set(world.routers[LYON.name].routes()) == HUB)
    assert not world.pings("host2", PARIS.host4)


@pytest.mark.parametrize("role", ["host", "spoke"])
@pytest.mark.parametrize("site", SITES, ids=["paris", "lyon"])
def test_nothing_is_lost_while_all_is_well(world, role, site):
    with world.load(site, role=role, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()


def test_the_vpn_pair_takes_over_from_the_er_pair_and_gives_back(world):
    paris = world.routers[PARIS.name]
    world.circuit.links_to_sites("down")
    eventually("rs1 sends to the VPN pair", lambda: world.vnet.next_hops(P) and world.vnet.next_hops(P) <= VPN_PAIR)
    eventually("paris sends into its tunnels", lambda: paris.devices(VNET_PREFIX) == {"tun-a", "tun-b"})
    with world.load(PARIS, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    with world.load(PARIS, rate=100) as load:
        world.circuit.links_to_sites("up")
        eventually("rs1 sends to the ER pair", lambda: world.vnet.next_hops(P) == ER_PAIR)
        eventually("paris sends into the circuit", lambda: paris.devices(VNET_PREFIX) == {"primary", "secondary"})
        time.sleep(0.5)
    load.assert_no_loss()


def test_an_instance_without_its_tunnel_is_not_told_to_the_vnet(world):
    world.lab.cut((VPN_A, LYON))
    eventually("lyon by gw-b alone", lambda: world.vnet.next_hops(L) == {VPN_B.vnet4})
    with world.load(LYON, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    world.lab.heal()
    eventually("and by gw-a again", lambda: VPN_A.vnet4 in world.vnet.next_hops(L), 20)
