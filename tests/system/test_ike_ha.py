"""IKE takeover by gw-ha: real charons, the fast paths played by recorders (ike_ha_lab.py draws it)."""
import time

import pytest

from ike_ha_lab import (HOME, HaLab, added, held, lab, missing, other_than, rekeyed, same_keys,  # noqa: F401 (lab is a fixture)
                        snapshot, up)
from plugin_lab import Node, ViciError, pb

pytestmark = [pytest.mark.skipif(missing() is not None, reason=str(missing())), pytest.mark.timeout(90)]
ONE, TWO = HOME["a"], HOME["b"]
INFORMATIONAL = 37  # RFC 7296 3.1


@pytest.mark.parametrize("by", ["gateway", "site"])
def test_passive_node_has_the_same_sas_and_says_that_they_were_synced(lab, by):
    lab.tunnel()
    up(lab, by=lab.a if by == "gateway" else lab.s)
    Node.until(lambda: same_keys(lab.b, lab.s), "the same keys on b")
    assert all(sa.synced for sa in added(lab.b).values())
    assert all(not sa.synced for sa in added(lab.a).values())
    assert {sa.tunnel_id for sa in added(lab.b).values()} == {1}
    assert not lab.b.ikes("ESTABLISHED")


def test_half_open_sas_are_not_synced(lab):
    """Whoever can send IKE_SA_INITs fills no table on the other instance, and no channel."""
    lab.tunnel()
    lab.s.vici.request("load-shared", {"id": "psk1", "type": "IKE", "data": "wrong", "owners": ["gw1.example", "site1.example"]})
    before = lab.links("state", "a")["sent"]
    for node in (lab.a, lab.s):
        with pytest.raises(ViciError):
            lab.initiate(node)
    assert lab.links("state", "a")["sent"] == before
    assert not lab.b.ikes()


def test_takeover_by_the_survivor_and_everything_after_it(lab):
    lab.tunnel()
    up(lab)
    site_ike = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    moved = lab.take_over()
    assert moved["ike_sas"] == 1
    assert list(lab.b.ikes("ESTABLISHED")) == ["t1"]
    rekeyed(lab, lab.b, by=lab.b)
    rekeyed(lab, lab.b, by=lab.s)
    assert lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] == site_ike  # nothing was negotiated anew
    lab.b.vici.request("rekey", {"ike": "t1"})
    Node.until(lambda: other_than(lab.s, site_ike), "the IKE SA's rekeying")
    rekeyed(lab, lab.b, by=lab.s)
    lab.b.vici.request("terminate", {"ike": "t1", "timeout": 5000})
    Node.until(lambda: not lab.s.ikes(), "the site hears the DELETE")


def test_site_rekeys_the_ike_sa_and_deletes_after_a_takeover(lab):
    lab.tunnel()
    up(lab, by=lab.s)
    lab.take_over()
    before = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    lab.s.vici.request("rekey", {"ike": "t1"})
    Node.until(lambda: other_than(lab.b, before), "the IKE SA's rekeying")
    Node.until(lambda: len(lab.s.ikes().get("t1", [])) == 1, "the old one is gone on the site")
    lab.s.vici.request("terminate", {"ike": "t1", "timeout": 5000})
    Node.until(lambda: not lab.b.ikes(), "the survivor hears the DELETE")


@pytest.mark.parametrize("by", ["gateway", "site"])
def test_an_ike_sa_that_was_rekeyed_is_taken_over(lab, by):
    """Twice: the one that was rekeyed is rekeyed itself."""
    lab.tunnel()
    up(lab)
    for _ in range(2):
        before = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
        (lab.a if by == "gateway" else lab.s).vici.request("rekey", {"ike": "t1"})
        Node.until(lambda: other_than(lab.s, before), "the IKE SA's rekeying")
        Node.until(lambda: held(lab.b) and len(lab.b.ikes()["t1"]) == 1, "one IKE SA on b, passive, with its child")
        Node.until(lambda: snapshot(lab.b) == snapshot(lab.a), "b as a")
    lab.take_over()
    rekeyed(lab, lab.b, by=lab.s)
    rekeyed(lab, lab.b, by=lab.b)
    assert not lab.b.logged("initiating IKE_SA")


def test_endpoints_move_one_by_one(lab):
    lab.tunnel(1)
    lab.tunnel(2)
    up(lab, 1)
    lab.initiate(lab.b, 2)
    Node.until(lambda: held(lab.a, "t2"), "the passive SAs of endpoint 2 on a")
    assert lab.links("release", "a", ONE)["ike_sas"] == 1
    lab.move_address(ONE, "a", "b")
    assert lab.links("take", "b", ONE)["ike_sas"] == 1
    assert set(lab.a.ikes("PASSIVE")) == {"t1", "t2"}
    rekeyed(lab, lab.b, by=lab.s, connection="t1")
    rekeyed(lab, lab.b, by=lab.b, connection="t2")
    Node.until(lambda: same_keys(lab.a, lab.s), "a follows as the passive one")


# --- planned


def test_release_says_nothing_to_the_site_and_the_former_owner_may_end(lab):
    lab.tunnel()
    up(lab)
    heard = lab.s.log.read_text().count("received packet")
    lab.links("release", "a", ONE)
    assert lab.a.stop() == 0
    lab.move_address(ONE, "a", "b")
    lab.links("take", "b", ONE)
    assert lab.s.log.read_text().count("received packet") == heard
    assert "DELETE" not in lab.s.log.read_text()
    assert list(lab.b.ikes("ESTABLISHED")) == ["t1"]
    rekeyed(lab, lab.b, by=lab.s)


def test_charon_that_ends_while_the_other_instance_has_its_sas_says_nothing(lab):
    """Somebody stops the instance and has not drained it; gwd may have ended before."""
    lab.tunnel()
    up(lab)
    assert lab.a.stop() == 0
    lab.move_address(ONE, "a", "b")
    lab.links("take", "b", ONE)
    assert "DELETE" not in lab.s.log.read_text() and "DELETE" not in lab.a.log.read_text().replace("no DELETE is sent", "")
    assert not [f for f in lab.a.recorder.since(0) if f.kind == "del_sa"], "gw-fastpath was to keep its SAs"
    assert list(lab.b.ikes("ESTABLISHED")) == ["t1"]
    rekeyed(lab, lab.b, by=lab.s)


def test_charon_that_ends_alone_deletes_its_sas(lab):
    lab.tunnel()
    up(lab)
    lab.links("down")
    Node.until(lambda: not lab.links("state", "a")["channel"], "the end of the channel")
    assert lab.a.stop() == 0
    Node.until(lambda: not lab.s.ikes(), "the end of the site's IKE SA")
    assert "received DELETE for IKE_SA" in lab.s.log.read_text()


def test_release_waits_for_an_exchange_under_way(lab):
    """A rekeying of the IKE SA is whole on one side of the move, and the pair fits at the end."""
    lab.tunnel()
    up(lab)
    for address_from, to in (("a", "b"), ("b", "a")):
        owner, survivor = getattr(lab, address_from), getattr(lab, to)
        rekeyed(lab, owner, by=lab.s)
        owner.vici.request("rekey", {"ike": "t1"})
        lab.links("release", address_from, ONE)
        Node.until(lambda: snapshot(survivor) == snapshot(owner), "the new owner has what the old one had")
        lab.move_address(ONE, address_from, to)
        lab.links("take", to, ONE)
        Node.until(lambda: len(survivor.children_of("t1", "ESTABLISHED")) == 1, "one CHILD_SA on the new owner")
        rekeyed(lab, survivor, by=lab.s)


def test_back_and_forth(lab):
    lab.tunnel()
    up(lab)
    site_ike = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    for i in range(4):
        source, target = ("a", "b") if i % 2 == 0 else ("b", "a")
        lab.links("release", source, ONE)
        lab.move_address(ONE, source, target)
        lab.links("take", target, ONE)
        rekeyed(lab, getattr(lab, target), by=getattr(lab, target) if i % 2 else lab.s)
    assert lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] == site_ike


def test_rekeyings_that_fell_due_while_it_was_passive_are_made_up_for(lab):
    """Its owner lets go before the time of the rekeyings and has it back after it; nobody else has rekeyed meanwhile. charon's
    own schedule is over by then: the hard lifetimes would end the tunnel."""
    times = {"rekey_time": 4, "rand_time": 0, "life_time": 15}
    lab.tunnel(**times, ike_rekey_time=4, ike_rand_time=0, ike_over_time=11, site={"ike_rekey_time": 0, "rekey_time": 0, "life_time": 0})
    up(lab)
    ike, children = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"], set(lab.s.children_of("t1"))
    lab.links("release", "a", ONE)
    time.sleep(6)
    assert lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] == ike and set(lab.s.children_of("t1")) == children
    lab.links("take", "a", ONE)
    Node.until(lambda: other_than(lab.s, ike), "the IKE SA's rekeying", 5)
    Node.until(lambda: len(now := set(lab.s.children_of("t1", "ESTABLISHED"))) == 1 and not now & children,
               "the CHILD SA's rekeying")


def test_sas_that_gw_fastpath_lost_while_they_were_passive_are_rekeyed_after_the_take(lab):
    """A drained instance gets a gw-fastpath that does not know its keys; charon hears that they must be replaced, and cannot
    until the IKE SAs are its own again."""
    lab.tunnel()
    up(lab)
    before = set(lab.s.children_of("t1"))
    lab.links("release", "a", ONE)
    lab.a.recorder.answer = lambda frame: pb.Status(code=pb.NEEDS_REKEY if frame.kind == "add_sa" else pb.OK)
    mark = lab.a.recorder.mark()
    lab.a.recorder.drop()
    lab.a.recorder.wait("sync_done", mark)
    lab.a.recorder.answer = lambda frame: pb.Status()
    lab.links("take", "a", ONE)
    Node.until(lambda: len(now := set(lab.s.children_of("t1", "ESTABLISHED"))) == 1 and not now & before,
               "the CHILD SA's rekeying", 20)
    Node.until(lambda: same_keys(lab.a, lab.s), "the same keys at both ends")


# --- what a takeover finds


@pytest.mark.parametrize("by", ["gateway", "site"])
def test_dpd_goes_on_after_a_takeover(lab, by):
    gateway, site = (1, 0) if by == "gateway" else (0, 1)
    lab.tunnel(ike_dpd_delay=gateway, site={"ike_dpd_delay": site})
    up(lab)
    lab.take_over()
    asking, answering = (lab.b, lab.s) if by == "gateway" else (lab.s, lab.b)
    asked, answered = len(asking.log.read_text()), len(answering.log.read_text())
    Node.until(lambda: asking.log.read_text()[asked:].count("parsed INFORMATIONAL response") >= 2, "answers to DPD")
    assert "parsed INFORMATIONAL request" in answering.log.read_text()[answered:]
    assert list(lab.s.ikes("ESTABLISHED")) == list(lab.b.ikes("ESTABLISHED")) == ["t1"]


def test_child_sa_that_was_rekeyed_is_gone_before_its_delayed_delete(tmp_path):
    """charon keeps a rekeyed CHILD_SA for some seconds, for packets on their way; a takeover in that time finds one."""
    lab = HaLab(tmp_path, charon_settings="delete_rekeyed_delay = 20")
    try:
        lab.start()
        lab.tunnel()
        up(lab)
        before = set(lab.a.children_of("t1"))
        lab.a.vici.request("rekey", {"child": "c1"})
        Node.until(lambda: len(now := set(lab.b.children_of("t1"))) == 1 and not now & before, "only the new one on b")
        assert len(lab.a.children_of("t1")) == 2
        lab.take_over()
        assert len(lab.b.children_of("t1", "ESTABLISHED")) == 1
        assert len(added(lab.b)) == 2
    finally:
        lab.close()


def test_delete_of_the_old_child_sa_that_the_survivor_did_not_hear_of(lab):
    """Of a rekeying the last message of the sync is lost with the owner: the survivor deletes the leftover itself."""
    lab.tunnel()
    up(lab)
    before = set(lab.a.children_of("t1"))
    lab.links("hold")
    lab.a.vici.request("rekey", {"child": "c1"})
    Node.until(lambda: lab.a.logged("closed") or len(added(lab.s)) == 2 and not set(lab.a.children_of("t1")) & before,
               "the rekeying is over on a")
    lab.links("flow", 3)  # request, new CHILD_SA, DELETE request; not: the old one is gone
    lab.take_over()
    assert lab.b.logged("which a rekeying left")
    Node.until(lambda: len(now := set(lab.b.children_of("t1", "ESTABLISHED"))) == 1 and not now & before, "one is left")
    Node.until(lambda: same_keys(lab.b, lab.s), "the same keys at both ends")
    rekeyed(lab, lab.b, by=lab.s)


def stuck(body):
    """A fast path that does not acknowledge SAs holds charon up in the middle of an exchange (at most a second)."""
    return None if body.kind == "add_sa" else pb.Status()


def test_request_that_its_owner_did_not_answer_is_answered_by_the_survivor(lab):
    """The site asks to rekey, its gateway dies before the answer: the repeated request makes the new CHILD_SA there."""
    lab.tunnel()
    up(lab, by=lab.s)
    before = set(lab.b.children_of("t1"))
    lab.a.recorder.answer = stuck
    lab.s.vici.request("rekey", {"child": "c1"})
    Node.until(lambda: lab.a.logged("parsed CREATE_CHILD_SA request"), "a has the request")
    lab.take_over()
    Node.until(lambda: len(now := set(lab.b.children_of("t1", "ESTABLISHED"))) == 1 and not now & before, "the new one")
    Node.until(lambda: same_keys(lab.b, lab.s), "the same keys at both ends")
    rekeyed(lab, lab.b, by=lab.b)


def test_answer_that_its_owner_did_not_use(lab):
    """The gateway asks to rekey and dies with the site's answer: traffic's SAs are still there, the next one succeeds."""
    lab.tunnel()
    up(lab)
    before = set(lab.a.children_of("t1"))
    lab.a.recorder.answer = stuck
    lab.a.vici.request("rekey", {"child": "c1"})
    Node.until(lambda: lab.a.logged("parsed CREATE_CHILD_SA response"), "a has the answer")
    lab.take_over()
    assert set(lab.b.children_of("t1", "ESTABLISHED")) == before
    Node.until(lambda: all((spi, not inbound) in added(lab.s) for spi, inbound in added(lab.b)), "the site has its halves")
    assert list(lab.s.ikes("ESTABLISHED")) == ["t1"]


def test_exchange_cut_in_the_middle_is_bounded(tmp_path):
    """A message counted but never sent puts the message numbers out of step: the IKE SA ends in DPD and comes back."""
    lab = HaLab(tmp_path, charon_settings="retransmit_timeout = 0.3\n retransmit_base = 1")
    try:
        lab.start()
        lab.tunnel(ike_dpd_delay=1, dpd_action="restart", site={"ike_dpd_delay": 0})
        up(lab)
        old = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
        lab.silence("a", INFORMATIONAL)
        Node.until(lambda: lab.a.logged("sending DPD request"), "a message that is not sent")
        lab.take_over()
        begun = time.monotonic()
        Node.until(lambda: other_than(lab.b, old), "a new IKE SA", 8)
        print(f"out of step: a new IKE SA after {time.monotonic() - begun:.1f} s")
        Node.until(lambda: len(lab.b.children_of("t1", "ESTABLISHED")) == 1, "and its CHILD_SA")
    finally:
        lab.close()


# --- IKEv1

V1 = {"ike_version": 1, "ike_proposals": ["aes256-sha256-x25519"]}


@pytest.mark.parametrize("by", ["gateway", "site"])
def test_ikev1_takeover_and_everything_after_it(lab, by):
    lab.tunnel(**V1)
    up(lab, by=lab.a if by == "gateway" else lab.s)
    Node.until(lambda: same_keys(lab.b, lab.s), "the same keys on b")
    spi = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    assert lab.take_over()["ike_sas"] == 1
    rekeyed(lab, lab.b, by=lab.s)
    rekeyed(lab, lab.b, by=lab.b)
    assert lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] == spi
    lab.b.vici.request("rekey", {"ike": "t1"})  # in IKEv1 a new main mode, which adopts the children
    Node.until(lambda: other_than(lab.s, spi), "a new IKE SA", 15)
    rekeyed(lab, lab.b, by=lab.s)
    lab.b.vici.request("terminate", {"ike": "t1", "timeout": 5000})
    Node.until(lambda: not lab.s.ikes("ESTABLISHED"), "the site hears the DELETE")


def test_ikev1_dpd_after_a_takeover(lab):
    lab.tunnel(**V1, ike_dpd_delay=1)
    up(lab)
    time.sleep(1.5)  # its numbers have moved by then
    lab.take_over()
    asked = len(lab.b.log.read_text())
    Node.until(lambda: lab.b.log.read_text()[asked:].count("DPD_ACK") >= 4, "DPD of both ends", 15)
    assert list(lab.s.ikes("ESTABLISHED")) == list(lab.b.ikes("ESTABLISHED")) == ["t1"]


def test_ikev1_reauthenticated_and_then_synced_in_full(lab):
    lab.tunnel(**V1)
    up(lab)
    spi = lab.a.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    lab.a.vici.request("rekey", {"ike": "t1"})
    Node.until(lambda: [sa["initiator-spi"] != spi for sa in lab.a.ikes().get("t1", [])] == [True], "one new IKE SA", 20)
    lab.links("down")
    lab.links("up")
    lab.wait_synced()
    assert snapshot(lab.b) == snapshot(lab.a)
    lab.take_over()
    rekeyed(lab, lab.b, by=lab.s)
