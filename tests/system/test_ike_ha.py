"""IKE takeover by gw-ha: real charons, the fast paths played by recorders (ike_ha_lab.py draws it)."""
import pytest

from ike_ha_lab import HOME, HaLab, missing
from plugin_lab import Node, ViciError

pytestmark = [pytest.mark.skipif(missing() is not None, reason=str(missing())), pytest.mark.timeout(90)]
ONE, TWO = HOME["a"], HOME["b"]
CREATE_CHILD_SA, INFORMATIONAL = 36, 37  # RFC 7296 3.1


@pytest.fixture
def lab(tmp_path):
    lab = HaLab(tmp_path)
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


def added(node, since=0):
    """{(SPI, inbound): AddSa} of those that are still there."""
    sas = {}
    for frame in node.recorder.since(since):
        if frame.kind == "add_sa":
            sas[frame.body.id.spi, frame.body.inbound] = frame.body
        elif frame.kind == "del_sa":
            for inbound in (True, False):
                sas.pop((frame.body.id.spi, inbound), None)
    return sas


def held(node, connection="t1"):
    """The passive IKE SAs of that connection have their child."""
    sas = node.ikes("PASSIVE").get(connection, [])
    return len(sas) == 1 and len(sas[0]["child-sas"]) == 1


def up(lab, number=1, by=None):
    lab.initiate(by or lab.a, number)
    Node.until(lambda: held(lab.b, f"t{number}"), "the passive SAs on b")


def same_keys(survivor, site):
    """Every SA of the site's has its other half on the survivor, with the same key."""
    ours = added(survivor)
    for (spi, inbound), sa in added(site).items():
        other = ours.get((spi, not inbound))
        if other is None or other.key != sa.key:
            return False
    return True


def rekeyed(lab, gateway, by, connection="t1"):
    """A CHILD_SA rekeying, begun by `by`, leaves both ends with a new pair that fits."""
    before = set(gateway.children_of(connection))
    by.vici.request("rekey", {"child": "c" + connection[1:]})
    Node.until(lambda: len(now := set(gateway.children_of(connection))) == 1 and not now & before, "the new CHILD_SA")
    Node.until(lambda: same_keys(gateway, lab.s), "the same keys at both ends")


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
    lab.s.vici.request("load-shared", {"id": "psk1", "type": "IKE", "data": "wrong", "owners": [ONE]})
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
    Node.until(lambda: lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] != site_ike, "the IKE SA's rekeying")
    rekeyed(lab, lab.b, by=lab.s)
    lab.b.vici.request("terminate", {"ike": "t1", "timeout": 5000})
    Node.until(lambda: not lab.s.ikes(), "the site hears the DELETE")


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


def test_release_waits_for_an_exchange_under_way(lab):
    """Rekeyings back to back: each is whole on one side of the move, and the pair fits at the end."""
    lab.tunnel()
    up(lab)
    for address_from, to in (("a", "b"), ("b", "a")):
        lab.s.vici.request("rekey", {"child": "c1"})
        owner = getattr(lab, address_from)
        owner.vici.request("rekey", {"ike": "t1"})
        lab.links("release", address_from, ONE)
        lab.move_address(ONE, address_from, to)
        lab.links("take", to, ONE)
        survivor = getattr(lab, to)
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
