"""Keys change under load and not one packet is lost."""

import time

import pytest

from gateway import PORT_KINDS
from lab import Site, poll
from world import World

NATIVE, UDP, ASKED = SITES = [Site(1), Site(2), Site(3)]


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    """One IKE SA a site: only one end initiates it. The first two sites rekey every 3 s, the third when told."""
    every_3s = {"child": "rekey_time = 3s \n life_time = 30s \n rand_time = 0s"}
    vpn = {"site1": every_3s, "site2": every_3s | {"connection": "encap = yes"}, "site3": {"initiate": False}}
    connections = {"site1": {"initiate": "responder-only"},
                   "site2": {"initiate": "responder-only", "udp_encapsulation": True},
                   "site3": {"initiate": "initiator-only"}}
    with World(f"test_rekey-{request.param}", SITES, ports=request.param, vpn=vpn, connections=connections) as ready:
        yield ready


@pytest.mark.parametrize("site", [NATIVE, UDP], ids=["native ESP", "ESP in UDP"])
def test_child_rekey_every_3_seconds_under_load_loses_nothing(world, site):
    spis = set()
    with world.probes.load(site, rate=500) as load:
        end = time.monotonic() + 16
        while time.monotonic() < end:
            spis |= {sa["spi"] for sa in world.gateway.sas(site) if sa["direction"] == "out"}
            time.sleep(0.5)
    load.assert_no_loss()
    assert len(spis) >= 5, f"outbound SPIs seen: {spis}"


def test_ike_rekey_under_load_loses_nothing(world):
    before = world.offices["site3"].router.lasting_session()
    with world.probes.load(ASKED, rate=500) as load:
        for _ in range(3):
            time.sleep(1)
            world.offices["site3"].vpn.rekey_ike()
        time.sleep(1)
    load.assert_no_loss()
    assert world.gateway.tunnel_up(ASKED)
    world.offices["site3"].router.assert_uninterrupted_since(before)


def test_child_rekey_in_both_directions_at_once_loses_nothing(world):
    """The site rekeys as fast as it can; collisions and leftovers of delayed deletes included."""
    with world.probes.load(ASKED, rate=500) as load:
        for _ in range(5):
            world.offices["site3"].vpn.rekey_child()
            time.sleep(0.3)
        time.sleep(1)
    load.assert_no_loss()


def test_old_sas_are_gone_after_their_delay(world):
    """One inbound and one outbound SA are left once the rekeyed ones' 5 s delay is over."""
    def settled():
        sas = world.gateway.sas(ASKED)
        return sorted(sa["direction"] for sa in sas) == ["in", "out"]
    poll("one SA each way", settled, 12, 0.5)
