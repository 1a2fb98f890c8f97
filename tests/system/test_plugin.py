"""kernel-gw in the stock charon: what reaches the fast path, in which order, and what charon makes of its answers.

The peers are two real charons (plugin_lab.py draws it); only gw-fastpath is played, by a recorder.
"""
import os
import struct

import pytest

from plugin_lab import Lab, ViciError, missing, pb

ADDRESS = {"a": bytes([10, 9, 0, 1]), "b": bytes([10, 9, 0, 2])}
pytestmark = [pytest.mark.skipif(missing() is not None, reason=str(missing())), pytest.mark.timeout(60)]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def up(lab):
    """The lab with the tunnel up; its CHILD_SA can be rekeyed and deleted."""
    for node in (lab.a, lab.b):
        node.load()
    bring_up(lab)
    return lab


def bring_up(lab):
    lab.a.initiate()
    for node in (lab.a, lab.b):
        node.recorder.wait("activate_outbound")


def added(node, inbound, mark=0):
    """The newest AddSa of that direction."""
    return [f.body for f in node.recorder.since(mark, "add_sa") if f.body.inbound == inbound][-1]


def order(frames, *wanted):
    """Positions of the first frame for each (kind, spi), which must exist."""
    return [next(i for i, f in enumerate(frames) if f.kind == kind and f.body.id.spi == spi) for kind, spi in wanted]


def test_tunnel_up_has_equal_keys_and_everything_the_fast_path_needs(up):
    for sender, receiver in ((up.a, up.b), (up.b, up.a)):
        out, into = added(sender, inbound=False), added(receiver, inbound=True)
        assert out.key == into.key and len(out.key) == 36
        assert out.id == into.id
        assert out.id.dst == out.dst.address == ADDRESS[receiver.name]
        assert out.src.address == ADDRESS[sender.name]
        assert out.encryption == pb.AES_GCM_16
        assert (out.tunnel_id, out.fresh, into.fresh) == (7, True, True)
        assert not out.udp_encapsulation and out.dst.port == 0  # charon tells 4500 anyway
        assert into.replay_window == 64 and out.replay_window == 0
        assert len(out.local_selectors) == len(out.remote_selectors) == 2
        assert [len(s.first) for s in out.local_selectors] == [4, 16]
    assert added(up.a, inbound=False).key != added(up.a, inbound=True).key


def test_spi_carries_the_instance(up):
    assert added(up.a, inbound=True).id.spi >> 28 == 3
    assert added(up.b, inbound=True).id.spi >> 28 == 0


def test_v4_and_v6_policies_of_one_sa_activate_it_once_and_after_it_was_added(up):
    frames = up.a.recorder.since()
    spi = added(up.a, inbound=False).id.spi
    assert len([f for f in frames if f.kind == "activate_outbound"]) == 1
    add, activate = order(frames, ("add_sa", spi), ("activate_outbound", spi))
    assert add < activate


def test_terminate_deletes_both_sas(up):
    mark = up.a.recorder.mark()
    spis = {added(up.a, inbound=True).id.spi, added(up.a, inbound=False).id.spi}
    up.a.vici.request("terminate", {"child": "c", "timeout": 5000})
    assert {f.body.id.spi for f in up.a.recorder.wait("del_sa", mark, 2)} == spis


def test_charon_ends_on_sigterm_and_deletes_its_sas_first(up):
    mark = up.a.recorder.mark()
    assert up.a.stop() == 0
    assert len(up.a.recorder.since(mark, "del_sa")) == 2
