"""IKEv1 main mode with a pre-shared key, for devices that have nothing else: up from either end, rekeyed under load."""

import time

import pytest

from lab import Site, poll
from world import World

SITE_ASKS, GATEWAY_ASKS = SITES = [Site(1), Site(2)]
# Quick mode has one pair of networks and one group, here that of the lab (document()).
VPN = {"connection": "version = 1 \n proposals = aes256-sha256-modp2048",
       "child": "esp_proposals = aes256gcm16-ecp384 \n local_ts = 0.0.0.0/0 \n remote_ts = 0.0.0.0/0"}


def ikev1(initiate):
    return {"ike": {"version": 1, "encryption": "AES256", "integrity": "SHA256", "dh_group": "DHGroup14"},
            "initiate": initiate}


@pytest.fixture(scope="module")
def world():
    connections = {"site1": ikev1("responder-only"), "site2": ikev1("initiator-only")}
    vpn = {"site1": VPN, "site2": VPN | {"initiate": False}}
    with World("test_ikev1", SITES, vpn=vpn, connections=connections, wait=False) as ready:
        for site in SITES:
            poll(f"tunnel of {site.name} up", lambda site=site: ready.gateway.tunnel_up(site), 30)
            poll(f"{site.name} answers a ping", lambda site=site: ready.probes.reachable(site, 4), 30, 0.2)
        yield ready


@pytest.mark.parametrize("site", SITES, ids=["site asks", "gateway asks"])
def test_tunnel_is_ikev1_and_carries_bgp(world, site):
    assert "IKEv1" in world.offices[site.name].vpn.charon.swanctl("--list-sas")
    poll("BGP", lambda: world.gateway.bgp_established(site), 20, 0.2)


@pytest.mark.parametrize("site", SITES, ids=["site asks", "gateway asks"])
def test_rekeying_loses_nothing(world, site):
    vpn = world.offices[site.name].vpn
    with world.probes.load(site, rate=500, families=(4,)) as load:
        for _ in range(2):
            time.sleep(1)
            vpn.rekey_child()
        vpn.rekey_ike()  # in IKEv1 a new main mode, which adopts the children
        time.sleep(2)
    load.assert_no_loss()
    assert world.gateway.tunnel_up(site)
