"""The channel between two charons with gw-ha: what a full sync brings, restarts, and frames that nobody sends."""
import pytest

from ike_ha_lab import HOME, SITE, added, held, lab, load_tunnel, missing, rekeyed, snapshot, up  # noqa: F401 (lab is a fixture)
from plugin_lab import Node

pytestmark = [pytest.mark.skipif(missing() is not None, reason=str(missing())), pytest.mark.timeout(90)]
ONE = HOME["a"]


def test_channel_that_comes_back_doubles_nothing_and_rekeys_nothing(lab):
    for number in (1, 3, 4):
        lab.tunnel(1, number)
        up(lab, number)
    before, mark = snapshot(lab.b), lab.b.recorder.mark()
    lab.links("down")
    lab.links("up")
    lab.wait_synced()
    assert snapshot(lab.b) == before
    assert [f.kind for f in lab.b.recorder.since(mark) if f.kind != "query_sa"] == []
    assert not lab.a.logged("CREATE_CHILD_SA")


def test_what_changed_while_the_channel_was_away(lab):
    """Rekeyed children, a rekeyed IKE SA, one that is gone, one that is new: afterwards b has what a has."""
    for number in (1, 3, 4, 5):
        lab.tunnel(1, number)
    for number in (1, 3, 4):
        up(lab, number)
    lab.links("down")
    for _ in range(2):
        spi = lab.a.ikes("ESTABLISHED")["t3"][0]["initiator-spi"]
        lab.a.vici.request("rekey", {"ike": "t3"})
        Node.until(lambda: [sa["initiator-spi"] != spi for sa in lab.a.ikes().get("t3", [])] == [True], "IKE rekeying")
    old = set(lab.a.children_of("t1"))
    lab.a.vici.request("rekey", {"child": "c1"})
    Node.until(lambda: len(now := set(lab.a.children_of("t1"))) == 1 and not now & old, "the new CHILD_SA on a")
    lab.a.vici.request("terminate", {"ike": "t4", "timeout": 5000})
    lab.initiate(lab.a, 5)
    lab.links("up")
    lab.wait_synced()
    Node.until(lambda: snapshot(lab.b) == snapshot(lab.a), f"b as a: {snapshot(lab.b)} {snapshot(lab.a)}")
    assert set(added(lab.b)) == set(added(lab.a))
    lab.take_over()
    for number in (1, 3, 5):
        rekeyed_one(lab, number)


def rekeyed_one(lab, number):
    before = set(lab.b.children_of(f"t{number}"))
    lab.s.vici.request("rekey", {"child": f"c{number}"})
    Node.until(lambda: len(now := set(lab.b.children_of(f"t{number}"))) == 1 and not now & before, f"tunnel {number} rekeyed")


def test_passive_node_that_restarts_gets_everything_again(lab):
    lab.tunnel()
    up(lab)
    lab.b.kill()
    lab.b.recorder.drop()
    lab.b.start()
    Node.until(lambda: held(lab.b), "the passive SAs after a restart of b's charon")
    assert not lab.a.logged("CREATE_CHILD_SA")  # stock ha rekeys everything for this
    lab.take_over()
    rekeyed(lab, lab.b, by=lab.s)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_owner_whose_charon_restarts_gets_its_own_sas_back(lab, end):
    """Nothing is renegotiated: the other instance holds them."""
    lab.tunnel()
    up(lab)
    spi = lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"]
    getattr(lab.a, end)()
    lab.a.start()
    Node.until(lambda: list(lab.a.ikes("ESTABLISHED")) == ["t1"], "a's own IKE SA after a restart of its charon")
    assert lab.s.ikes("ESTABLISHED")["t1"][0]["initiator-spi"] == spi
    assert held(lab.b)
    rekeyed(lab, lab.a, by=lab.s)
    rekeyed(lab, lab.a, by=lab.a)


def test_connection_that_the_other_instance_learns_of_later(lab):
    """A commit reaches the two charons one after the other; the site is faster."""
    load_tunnel(lab.a, 1, ONE, SITE)
    load_tunnel(lab.s, 1, SITE, ONE)
    lab.initiate(lab.a)
    Node.until(lambda: lab.b.logged("no connection 't1' here"), "b says why it cannot hold it")
    load_tunnel(lab.b, 1, ONE, SITE)
    lab.links("loaded", "b")
    Node.until(lambda: held(lab.b), "the passive SAs on b")


def test_both_gwds_restart(lab):
    lab.tunnel()
    up(lab)
    for name in ("a", "b"):
        lab.links("kill", name)
    for name, node in (("a", lab.a), ("b", lab.b)):
        lab.links("listen", name, node.sync)
    for name in HOME:
        Node.until(lambda: lab.links("state", name)["charon"], "charon is connected again")
        lab.links("loaded", name)
        lab.links("take", name, HOME[name])
    lab.wait_synced()
    lab.take_over()
    rekeyed(lab, lab.b, by=lab.s)


def test_other_instance_cannot_touch_sas_that_are_ours(lab):
    """Both believe that they own the address (a split brain that heals): neither's live SAs are the other's to change."""
    lab.tunnel()
    up(lab)
    lab.links("down")
    lab.links("take", "b", ONE)
    spis = set(lab.b.children_of("t1", "ESTABLISHED"))
    lab.links("up")
    lab.wait_synced()
    lab.a.vici.request("terminate", {"ike": "t1", "timeout": 5000})
    assert set(lab.b.children_of("t1", "ESTABLISHED")) == spis


def test_frames_that_no_halink_sends(lab):
    before = lab.links("state", "b")["refused"]
    for frame in ("", "00", "03ffff", "0202"):
        with pytest.raises(RuntimeError, match="frame"):
            lab.links("frame", "b", frame or "-")
    assert lab.links("state", "b")["refused"] == before + 4
    for message in ("01", "04", "8101", "810101", "8106" + "01" * 40, "8101" + "07", "81ff", "8106" + "25ffff" * 300):
        lab.links("frame", "b", "01" + message + "00")  # to the plugin: it reads what it can, and lives
    lab.tunnel()
    up(lab)
