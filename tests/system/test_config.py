"""Configuration under way: apply, confirm, roll back, refuse; a tunnel that did not change does not notice."""

import copy
import os
import signal
import time

import pytest

import doctor
from gateway import GWCTL, PORT_KINDS, connection_name, tunnel_name
from lab import LabError, Site, poll
from world import World

KEPT, CHANGED = SITES = [Site(1), Site(2)]


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_config-{request.param}", SITES, ports=request.param) as ready:
        yield ready


@pytest.fixture(autouse=True)
def first_document_again(world):
    """Every test begins and ends with the document that the world was started with."""
    yield
    apply(world, world.gateway.doc)
    for site in SITES:
        world.wait_up(site)


def changed(world, **fields) -> dict:
    """The first document with other fields in the second site's connection."""
    doc = copy.deepcopy(world.gateway.doc)
    next(c for c in doc["connections"] if c["name"] == connection_name(CHANGED)).update(fields)
    return doc


def apply(world, doc, *options) -> str:
    """As an operator: edit the file, apply it."""
    return world.gateway.ctl("apply", *options, world.gateway.write(doc))


def revision(world) -> int:
    return int(world.gateway.json("status")["revision"])


def mtu(world, site) -> int:
    return int(world.gateway.tunnel(site).get("mtu", 0))


def test_apply_changes_one_tunnel_and_the_other_does_not_flap(world):
    gateway = world.gateway
    spis = {sa["spi"] for sa in gateway.sas(KEPT)}
    session = world.offices[KEPT.name].router.lasting_session()
    with world.probes.load(KEPT, rate=500) as load:
        said = apply(world, changed(world, mtu=1380))
        assert "mtu" in said and "1380" in said, said
        poll("the new MTU", lambda: mtu(world, CHANGED) == 1380, 5)
        time.sleep(2)
    load.assert_no_loss()
    assert {sa["spi"] for sa in gateway.sas(KEPT)} == spis
    world.offices[KEPT.name].router.assert_uninterrupted_since(session)


def test_diff_shows_what_an_apply_would_do_and_does_nothing(world):
    number = revision(world)
    world.gateway.write(changed(world, mtu=1300))
    said = world.gateway.ctl("diff", world.gateway.config, check=False)
    assert "mtu" in said and "1300" in said, said
    assert revision(world) == number
    assert mtu(world, CHANGED) != 1300


def test_rollback(world):
    number, before = revision(world), mtu(world, CHANGED)
    apply(world, changed(world, mtu=1360))
    poll("the new MTU", lambda: mtu(world, CHANGED) == 1360, 5)
    world.gateway.ctl("rollback")
    poll("the old MTU", lambda: mtu(world, CHANGED) == before, 5)
    assert revision(world) > number


def test_unconfirmed_apply_goes_back_by_itself(world):
    before = mtu(world, CHANGED)
    apply(world, changed(world, mtu=1340), "--confirm", "4s")
    poll("the new MTU", lambda: mtu(world, CHANGED) == 1340, 3)
    poll("back by itself", lambda: mtu(world, CHANGED) == before, 10)


def test_confirmed_apply_stays(world):
    apply(world, changed(world, mtu=1390), "--confirm", "4s")
    world.gateway.ctl("confirm")
    time.sleep(6)
    assert mtu(world, CHANGED) == 1390


def test_unconfirmed_apply_goes_back_although_gwd_died_meanwhile(world):
    before = mtu(world, CHANGED)
    apply(world, changed(world, mtu=1330), "--confirm", "5s")
    old = world.gateway.gwd.kill()
    world.gateway.gwd.wait_restarted(old)
    poll("back by itself", lambda: mtu(world, CHANGED) == before, 15)


def test_bad_document_is_refused_with_file_line_and_field(world):
    number = revision(world)
    doc = changed(world, mtu=1350, ipsec={"encryption": "ROT13"})
    world.gateway.write(doc)
    line = next(n for n, text in enumerate(world.gateway.config.read_text().splitlines(), 1) if "ROT13" in text)
    for words in (("validate",), ("apply",)):
        said = world.gateway.fails(*words, world.gateway.config)
        assert f"gateway.yaml:{line}" in said, said
        assert "encryption" in said and "GCMAES256" in said, said
    assert revision(world) == number
    assert mtu(world, CHANGED) != 1350, "part of a bad document was applied"


def test_every_fault_is_named_at_once(world):
    doc = changed(world, mtu=99999, device="nowhere/ce9")
    doc["gateway"]["asn"] = 23456
    doc["colour"] = "blue"
    world.gateway.write(doc)
    said = world.gateway.fails("validate", world.gateway.config)
    for part in ("mtu", "nowhere/ce9", "asn", "colour"):
        assert part in said, said


def test_tunnel_is_removed_and_added_while_the_other_carries_traffic(world):
    gateway = world.gateway
    full = gateway.doc
    without = copy.deepcopy(full)
    without["connections"] = [c for c in full["connections"] if c["name"] != connection_name(CHANGED)]
    spis = {sa["spi"] for sa in gateway.sas(KEPT)}
    with world.probes.load(KEPT, rate=500) as load:
        apply(world, without)
        poll("the tunnel is gone", lambda: not gateway.tunnel(CHANGED), 5)
        poll("its SAs are gone", lambda: not gateway.sas(CHANGED), 5)
        apply(world, full)
        world.wait_up(CHANGED)
    load.assert_no_loss()
    assert {sa["spi"] for sa in gateway.sas(KEPT)} == spis


def test_disabled_connection_is_kept_down(world):
    apply(world, changed(world, disabled=True))
    poll("disabled", lambda: world.gateway.tunnel(CHANGED).get("state") == "disabled", 5)
    time.sleep(2)
    assert world.gateway.tunnel(CHANGED)["state"] == "disabled", "the site's own attempts must not bring it up"


def test_sighup_reloads_the_file(world):
    world.gateway.write(changed(world, mtu=1320))
    os.kill(world.gateway.gwd.pid, signal.SIGHUP)
    poll("the new MTU", lambda: mtu(world, CHANGED) == 1320, 5)
    world.gateway.write(world.gateway.doc)
    os.kill(world.gateway.gwd.pid, signal.SIGHUP)
    poll("the old MTU", lambda: mtu(world, CHANGED) != 1320, 5)


def test_applied_configuration_survives_a_restart_of_gwd(world):
    number = revision(world)
    old = world.gateway.gwd.kill()
    world.gateway.gwd.wait_restarted(old)
    poll("gwd answers", world.gateway.answers, 10)
    assert revision(world) == number
    for site in SITES:
        world.wait_up(site)


def test_gwctl_says_clearly_that_gwd_is_not_there(world):
    with pytest.raises(LabError) as fault:
        world.gateway.ns.run(GWCTL, "--socket", "/run/no-such.sock", "show", "tunnels")
    assert "status 3" in str(fault.value) and "gwctl: " in str(fault.value), fault.value
    assert str(fault.value).count("/run/no-such.sock") == 2, "the message names the socket"


def test_a_rate_changes_in_force_without_a_lost_packet(world):
    gateway = world.gateway
    with world.probes.load(rate=200) as load:
        for rate in ("10Mbit/s", "1.25Gbit/s"):
            said = apply(world, changed(world, rate=rate))
            assert "rate" in said and rate in said, said
            time.sleep(1)
    load.assert_no_loss()
    poll("the rate is in force", lambda: "rate 1.25 Gbit/s in, 1.25 Gbit/s out" in gateway.ctl("show", "tunnels", "--details"), 5)


def test_over_the_rate_packets_are_lost_and_bgp_is_not(world):
    """More than ten times the rate; the other tunnel has its own."""
    gateway = world.gateway
    sessions = {site.name: world.offices[site.name].router.lasting_session() for site in SITES}
    apply(world, changed(world, rate="64kbit/s"))
    with world.probes.load(CHANGED, rate=2000) as over, world.probes.load(KEPT, rate=200) as kept:
        time.sleep(5)
    assert all(r.lost > r.sent / 4 for r in over.results), over.results
    kept.assert_no_loss()
    for site in SITES:
        world.offices[site.name].router.assert_uninterrupted_since(sessions[site.name])
    tunnel = gateway.tunnel(CHANGED)
    assert int(tunnel["over_rate_in"]) + int(tunnel["over_rate_out"]) > 1000
    assert "gw_tunnel_egress_over_rate" in gateway.metrics()
    doctor.wait_found(gateway, "RateExceeded", tunnel_name(CHANGED), 20)


@pytest.mark.parametrize("rate, why", [("0Mbit/s", "would let nothing pass"), ("100Gbit/s", "is more than the link of eth0 carries, 10Gbit/s")])
def test_a_rate_that_is_none_is_refused_by_name(world, rate, why):
    said = world.gateway.fails("apply", world.gateway.write(changed(world, rate=rate)))
    assert ".rate: " in said and why in said, said
