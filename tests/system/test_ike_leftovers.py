"""What IKE leaves behind: IKE SAs without a CHILD SA, a site taken out while gwd dies, IKEv1's rekeyed CHILD SAs."""

import signal
import time

import pytest

from gateway import tunnel_name
from lab import Site, poll
from peers import ESP_PROPOSALS, psk
from vici import Vici
from world import World

REFUSED, REMOVED, OLD = SITES = [Site(1), Site(2), Site(3)]
V1 = {"ike": {"version": 1, "encryption": "AES256", "integrity": "SHA256", "dh_group": "DHGroup14"}}
V1_SITE = {"connection": "version = 1 \n proposals = aes256-sha256-modp2048",
           "child": "esp_proposals = aes256gcm16-ecp384 \n local_ts = 0.0.0.0/0 \n remote_ts = 0.0.0.0/0"}
NO_CHILD = "failed to establish CHILD_SA, keeping IKE_SA"
GRACE = 10  # s; IkeController::kChildlessGrace


@pytest.fixture(scope="module")
def world():
    quiet = {"initiate": False}
    with World("test_ike_leftovers", SITES, connections={OLD.name: V1}, wait=False,
               vpn={REFUSED.name: quiet, REMOVED.name: quiet, OLD.name: V1_SITE | quiet}) as ready:
        for site in SITES:
            poll(f"tunnel of {site.name} up", lambda site=site: ready.gateway.tunnel_up(site), 30)
            poll(f"{site.name} answers a ping", lambda site=site: ready.probes.reachable(site, 4), 30, 0.2)
        yield ready


def ike_sas(charon, name):
    """The IKE SAs of that connection."""
    with Vici(charon.vici) as vici:
        return [sa for message in vici.stream("list-sas", "list-sa") for key, sa in message.items() if key == name]


def test_attempts_whose_child_sa_is_refused_leave_few_ike_sas(world):
    """The site's operator has got the ESP algorithms wrong over night: every attempt makes an IKE SA, at both ends."""
    charon, vpn = world.gateway.charon, world.offices[REFUSED.name].vpn
    before = charon.logfile.read_text().count(NO_CHILD)
    vpn.esp_proposals = "aes192-sha384-noesn"
    vpn.load(psk(REFUSED))
    vpn.charon.swanctl("--terminate", "--ike", "gw")
    poll("five attempts", lambda: charon.logfile.read_text().count(NO_CHILD) >= before + 5, 30, 0.2)
    time.sleep(1)  # for what is on its way
    assert len(ike_sas(vpn.charon, "gw")) <= 3
    assert len(ike_sas(charon, tunnel_name(REFUSED))) <= 3
    vpn.esp_proposals = ESP_PROPOSALS
    vpn.load(psk(REFUSED))
    poll("the tunnel is up again", lambda: world.gateway.tunnel_up(REFUSED), 20)
    poll("one IKE SA is left, the tunnel's", lambda: len(ike_sas(vpn.charon, "gw")) == 1, GRACE + 20, 0.5)
    assert world.gateway.tunnel_up(REFUSED)


def test_a_site_is_taken_out_of_charon_although_gwd_dies_meanwhile(world):
    """charon has carried out the first of gwd's commands, and gwd is not there any more to give the others."""
    gateway, name = world.gateway, tunnel_name(REMOVED)
    document = {**gateway.doc, "sites": [s for s in gateway.doc["sites"] if s["name"] != REMOVED.name],
                "connections": [c for c in gateway.doc["connections"] if c["device"] != f"{REMOVED.name}/ce1"]}
    gateway.charon.process.signal(signal.SIGSTOP)
    try:
        gateway.ctl("apply", gateway.write(document))
        time.sleep(0.3)  # the command is in charon's socket; it has 2 s to answer
        gateway.gwd.abandon()
        gateway.gwd.kill()
        gateway.gwd.popen.wait(5)
    finally:
        gateway.charon.process.signal(signal.SIGCONT)

    def connections():
        with Vici(gateway.charon.vici) as vici:
            return {key for message in vici.stream("list-conns", "list-conn") for key in message}

    poll("charon has unloaded the connection", lambda: name not in connections(), 5)
    assert ike_sas(gateway.charon, name), "its SA is what gwd has to find"
    gateway.gwd.start()
    poll("the IKE SA is gone", lambda: not ike_sas(gateway.charon, name), 15, 0.2)
    with Vici(gateway.charon.vici) as vici:
        poll("the key is gone", lambda: name not in vici.request("get-shared").get("keys", []), 5, 0.2)
        assert tunnel_name(REFUSED) in vici.request("get-shared")["keys"]
    poll("the other tunnels are up", lambda: gateway.tunnel_up(REFUSED) and gateway.tunnel_up(OLD), 15)


def test_ikev1_tunnel_comes_back_when_the_site_deletes_what_a_rekeying_made(world):
    """charon keeps the rekeyed CHILD SA until its lifetime ends, without its outbound half: that is no tunnel."""
    charon = world.offices[OLD.name].vpn.charon
    world.offices[OLD.name].vpn.rekey_child()

    def children():
        return [child for sa in ike_sas(charon, "gw") for child in sa["child-sas"].values() if child["state"] == "INSTALLED"]

    def rekeyed():
        states = {child["state"] for sa in ike_sas(world.gateway.charon, tunnel_name(OLD)) for child in sa["child-sas"].values()}
        return states == {"INSTALLED", "REKEYED"}

    poll("the gateway has a rekeyed CHILD SA and its successor", rekeyed, 10, 0.2)
    poll("the site has one that is not rekeyed", lambda: len(children()) == 1, 10, 0.2)
    charon.swanctl("--terminate", "--child-id", children()[0]["uniqueid"])
    poll("the tunnel carries packets again", lambda: world.probes.reachable(OLD, 4), 15, 0.2)
    assert world.gateway.tunnel_up(OLD)
