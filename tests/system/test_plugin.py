"""kernel-gw in the stock charon: what reaches the fast path, in which order, and what charon makes of its answers.

The peers are two real charons (plugin_lab.py draws it); only gw-fastpath is played, by a recorder.
"""
import struct
import threading
import time

import pytest

from plugin_lab import Lab, ViciError, missing, pb, run

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


def test_udp_encapsulation_brings_ports(lab):
    for node in (lab.a, lab.b):
        node.load(ike_encap="yes")
    bring_up(lab)
    sa = added(lab.a, inbound=False)
    assert sa.udp_encapsulation and (sa.src.port, sa.dst.port) == (4500, 4500)


def test_esn_replay_window_and_volume_limits_arrive(lab):
    for node in (lab.a, lab.b):
        node.load(esp_proposals=["aes128gcm16-x25519-esn"], replay_window=512, rekey_bytes=1000000, life_bytes=2000000,
                  rand_bytes=0, rekey_packets=1000, life_packets=2000, rand_packets=0, life_time=3600)
    bring_up(lab)
    sa = added(lab.a, inbound=True)
    limits = sa.lifetime
    assert sa.esn and sa.replay_window == 512 and len(sa.key) == 20
    assert (limits.soft_bytes, limits.hard_bytes, limits.soft_packets, limits.hard_packets) == (10**6, 2 * 10**6, 1000, 2000)
    assert limits.hard_seconds == 3600


# --- rekeying


def check_rekey(lab, mark, old_in, old_out):
    """The new pair is in place before the old goes, on both ends, with equal keys."""
    for node in (lab.a, lab.b):
        node.recorder.wait("del_sa", mark[node.name], 2)
        frames = node.recorder.since(mark[node.name])
        new_in, new_out = added(node, True, mark[node.name]), added(node, False, mark[node.name])
        first, second = (old_in, old_out) if node is lab.a else (old_out, old_in)
        add_in, del_in = order(frames, ("add_sa", new_in.id.spi), ("del_sa", first))
        add_out, activate, del_out = order(frames, ("add_sa", new_out.id.spi), ("activate_outbound", new_out.id.spi),
                                           ("del_sa", second))
        assert add_in < del_in
        assert add_out < activate < del_out
        assert add_in < activate  # never send with a key pair whose other half is not there
        assert len([f for f in frames if f.kind == "activate_outbound"]) == 1
    assert added(lab.a, True, mark["a"]).key == added(lab.b, False, mark["b"]).key
    assert added(lab.a, False, mark["a"]).key == added(lab.b, True, mark["b"]).key


def marks(lab):
    return {node.name: node.recorder.mark() for node in (lab.a, lab.b)}


def spis(node):
    return added(node, inbound=True).id.spi, added(node, inbound=False).id.spi


def test_child_rekey_adds_the_new_pair_before_the_old_goes(up):
    old, mark = spis(up.a), marks(up)
    up.a.vici.request("rekey", {"child": "c"})
    check_rekey(up, mark, *old)


def test_ike_rekey_does_not_touch_the_sas(up):
    mark = marks(up)
    before = next(iter(up.a.vici.sas().values()))["initiator-spi"]
    up.a.vici.request("rekey", {"ike": "t"})
    up.a.until(lambda: next(iter(up.a.vici.sas().values()))["initiator-spi"] != before, "a new IKE SA")
    assert [f.kind for f in up.a.recorder.since(mark["a"]) if f.kind != "query_sa"] == []
    assert list(up.a.children().values())[0]["state"] == "INSTALLED"


def test_soft_time_limit_rekeys(lab):
    lab.a.load(rekey_time=2, rand_time=0, life_time=60)
    lab.b.load()
    bring_up(lab)
    old, mark = spis(lab.a), marks(lab)
    lab.a.recorder.wait("add_sa", mark["a"], 2)
    check_rekey(lab, mark, *old)


def test_hard_time_limit_deletes(lab):
    lab.a.load(life_time=2)
    lab.b.load()
    bring_up(lab)
    mark = marks(lab)
    lab.a.recorder.wait("del_sa", mark["a"], 2)
    lab.b.recorder.wait("del_sa", mark["b"], 2)
    assert lab.a.children() == {}


@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_soft_expire_from_the_fast_path_rekeys(up, inbound):
    old, mark = spis(up.a), marks(up)
    up.a.recorder.event(pb.Event(expire=pb.Expire(id=added(up.a, inbound).id, reason="bytes")))
    check_rekey(up, mark, *old)


def test_hard_expire_from_the_fast_path_deletes(up):
    mark = marks(up)
    up.a.recorder.event(pb.Event(expire=pb.Expire(id=added(up.a, True).id, hard=True, reason="packets")))
    up.b.recorder.wait("del_sa", mark["b"], 2)
    assert up.a.logged("has reached its hard limit (packets)")


# --- other events


def test_acquire_uses_the_trap_of_its_tunnel(lab):
    lab.b.load()
    lab.a.load(start_action="trap")
    lab.a.recorder.event(pb.Event(acquire=pb.Acquire(tunnel_id=8)))  # nobody's: ignored
    lab.a.recorder.event(pb.Event(acquire=pb.Acquire(tunnel_id=7, src=bytes([10, 1, 0, 1]), dst=bytes([10, 2, 0, 1]))))
    lab.a.recorder.wait("activate_outbound")
    assert added(lab.a, inbound=True).tunnel_id == 7
    assert lab.a.logged("tunnel 8, which has no trap policy")
    assert len(lab.a.children()) == 1


def test_mapping_reaches_charon(up):
    seen = pb.Endpoint(address=ADDRESS["b"], port=40001)
    up.a.recorder.event(pb.Event(mapping=pb.Mapping(id=added(up.a, True).id, src=seen)))
    up.a.until(lambda: up.a.logged("changed to 10.9.0.2[40001]"), "the mapping event")


def test_mobike_moves_the_sas_without_a_second_activation(lab):
    run("ip", "-n", "gwplA", "addr", "add", "10.9.0.3/24", "dev", "a0")
    lab.a.load(ike_local_addrs=["10.9.0.1", "10.9.0.3"])
    lab.b.load(ike_remote_addrs=["10.9.0.1", "10.9.0.3"])
    bring_up(lab)
    mark = marks(lab)
    run("ip", "-n", "gwplA", "addr", "del", "10.9.0.1/24", "dev", "a0")
    run("ip", "-n", "gwplA", "addr", "replace", "10.9.0.3/24", "dev", "a0")
    new = bytes([10, 9, 0, 3])
    for node in (lab.a, lab.b):
        moved = [f.body for f in node.recorder.wait("update_sa", mark[node.name], 2)]
        assert {new in (m.new_src.address, m.new_dst.address) for m in moved} == {True}
        assert node.recorder.since(mark[node.name], "activate_outbound") == []
    mark = marks(lab)
    lab.a.vici.request("terminate", {"child": "c", "timeout": 5000})
    assert {f.body.id.dst for f in lab.a.recorder.wait("del_sa", mark["a"], 2)} == {new, ADDRESS["b"]}


def test_counters_reach_list_sas(up):
    up.a.recorder.counters = pb.SaCounters(packets=12, bytes=3456, last_used_unix_ms=int(time.time() * 1000) - 5000)
    child = next(iter(up.a.children().values()))
    assert (child["bytes-in"], child["packets-out"]) == ("3456", "12")
    assert 4 <= int(child["use-in"]) <= 7


# --- the fast path goes and comes


def test_replay_to_a_fast_path_that_has_restarted(up):
    mark = marks(up)["a"]
    old_in, old_out = spis(up.a)
    up.a.recorder.close()
    up.a.recorder.epoch = 2
    up.a.recorder.open()
    up.a.recorder.wait("sync_done", mark)
    frames = up.a.recorder.since(mark)
    assert [f.kind for f in frames] == ["hello", "add_sa", "add_sa", "activate_outbound", "sync_done"]
    assert {f.body.id.spi for f in frames[1:3]} == {old_in, old_out}
    assert not any(f.body.fresh for f in frames[1:3])
    assert frames[3].body.id.spi == old_out
    assert frames[0].body.epoch == up.a.recorder.since(0, "hello")[0].body.epoch  # it is the same charon
    assert up.a.logged("restarted; sending it 2 SAs")


def test_lost_connection_is_replayed_too(up):
    mark = marks(up)["a"]
    up.a.recorder.drop()
    up.a.recorder.wait("sync_done", mark)
    assert [f.kind for f in up.a.recorder.since(mark)] == ["hello", "add_sa", "add_sa", "activate_outbound", "sync_done"]


def test_tunnel_comes_up_while_the_fast_path_is_away_and_is_sent_as_fresh(lab):
    for node in (lab.a, lab.b):
        node.load()
    lab.a.recorder.close()
    lab.a.initiate()
    mark = lab.a.recorder.mark()
    lab.a.recorder.open()
    lab.a.recorder.wait("sync_done", mark)
    assert [f.body.fresh for f in lab.a.recorder.since(mark, "add_sa")] == [True, True]
    assert len(lab.a.recorder.since(mark, "activate_outbound")) == 1


def test_what_was_deleted_meanwhile_is_not_replayed(up):
    up.a.recorder.close()
    up.a.vici.request("terminate", {"child": "c", "timeout": 5000})
    mark = up.a.recorder.mark()
    up.a.recorder.open()
    up.a.recorder.wait("sync_done", mark)
    assert [f.kind for f in up.a.recorder.since(mark)] == ["hello", "sync_done"]


def test_silent_fast_path_delays_but_does_not_fail_the_tunnel(lab):
    for node in (lab.a, lab.b):
        node.load()
    lab.a.recorder.answer = lambda f: None if f.connection == 1 else pb.Status()
    lab.a.initiate()
    hello = lab.a.recorder.wait("hello", count=2)[1]
    lab.a.recorder.wait("sync_done", count=2)
    replayed = [f for f in lab.a.recorder.since(0, "add_sa") if f.connection == hello.connection]
    assert [f.body.fresh for f in replayed] == [True, True]
    assert lab.a.logged("no answer for a second")


def test_a_fast_path_that_only_refuses_is_asked_ten_times_a_second(lab):
    refused = pb.Status(code=pb.UNSUPPORTED, message="version 1 is not spoken here")
    lab.a.recorder.answer = lambda f: refused
    lab.a.recorder.drop()
    mark = lab.a.recorder.mark()
    time.sleep(1)
    assert 5 <= len(lab.a.recorder.since(mark, "hello")) <= 11
    assert lab.a.log.read_text().count("version 1 is not spoken here") == 1
    lab.a.recorder.answer = lambda f: pb.Status()
    lab.a.recorder.wait("sync_done", mark)


def test_needs_rekey_rekeys_the_pair_once(up):
    old, mark = set(spis(up.a)), marks(up)
    needs_rekey = pb.Status(code=pb.NEEDS_REKEY, message="no record of this key")
    up.a.recorder.answer = lambda f: needs_rekey if f.kind == "add_sa" and not f.body.fresh else pb.Status()
    up.a.recorder.close()
    up.a.recorder.epoch = 2
    up.a.recorder.open()
    activated = up.a.recorder.wait("activate_outbound", mark["a"])[0]
    assert activated.body.id.spi not in old
    time.sleep(1.5)  # a second rekey would come at once; the old pair goes after 1 s
    assert len([f for f in up.a.recorder.since(mark["a"], "add_sa") if f.body.fresh]) == 2
    assert len(up.b.recorder.since(mark["b"], "add_sa")) == 2
    assert len(up.a.children()) == 1


def test_sa_that_is_refused_on_replay_ends_its_child(up):
    mark = marks(up)
    full = pb.Status(code=pb.LIMIT, message="SA table is full (4096)")
    up.a.recorder.answer = lambda f: full if f.kind == "add_sa" else pb.Status()
    up.a.recorder.drop()
    up.b.recorder.wait("del_sa", mark["b"], 2)
    assert up.a.logged("LIMIT: SA table is full (4096)")


def as_the_fast_path_has_it(recorder):
    """{SPI: AddSa} and {tunnel: SPI it sends with}, after all that the recorder was told (sweeps included)."""
    sas, sends, told = {}, {}, set()
    for frame in recorder.since():
        if frame.kind == "hello":
            told = set()
        elif frame.kind == "add_sa":
            sas[frame.body.id.spi] = frame.body
            told.add(frame.body.id.spi)
        elif frame.kind == "del_sa":
            sas.pop(frame.body.id.spi, None)
        elif frame.kind == "activate_outbound":
            sends[sas[frame.body.id.spi].tunnel_id] = frame.body.id.spi
        elif frame.kind == "sync_done":
            sas = {spi: sa for spi, sa in sas.items() if spi in told}
    return sas, sends


def test_table_converges_while_the_connection_flaps_under_handshakes_and_rekeys(lab):
    tunnels = range(1, 21)
    lab.b.load(ike_unique="never")
    for tunnel in tunnels:  # one peer: they become children of one IKE SA
        lab.a.load(connection=f"t{tunnel}", if_id_in=tunnel, if_id_out=tunnel)

    calm = threading.Event()

    def flap():
        while not calm.wait(0.13):  # a reconnection takes 0.1 s: requests meet it there, away and half-way
            lab.a.recorder.drop()

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        for tunnel in tunnels:
            lab.a.vici.request("initiate", {"ike": f"t{tunnel}", "child": "c", "timeout": -1})
            time.sleep(0.03)
        lab.a.until(lambda: len(lab.a.children()) == len(tunnels), "all tunnels up")
        for child in list(lab.a.children()):
            lab.a.vici.request("rekey", {"child-id": child})
            time.sleep(0.03)
    finally:
        calm.set()
        flapping.join()
    time.sleep(1.5)  # the old inbound SAs go after 1 s

    expected = {(int(c["spi-in"], 16), int(c["spi-out"], 16)) for c in lab.a.children().values()}
    assert len(expected) == len(tunnels)

    def converged():
        sas, sends = as_the_fast_path_has_it(lab.a.recorder)
        return set(sas) == {spi for pair in expected for spi in pair} and set(sends.values()) == {o for _, o in expected}

    lab.a.until(converged, "what the fast path has equals what charon has")
    assert len(lab.a.recorder.since(0, "hello")) >= 5


# --- refusals


def test_semantic_error_fails_the_child_and_says_why(lab):
    for node in (lab.a, lab.b):
        node.load()
    status = pb.Status(code=pb.INVALID_ARGUMENT, message="tunnel 7 does not exist", field="tunnel_id")
    lab.a.recorder.answer = lambda f: status if f.kind == "add_sa" else pb.Status()
    with pytest.raises(ViciError):
        lab.a.initiate()
    assert lab.a.children() == {}
    assert lab.a.logged("of tunnel 7 refused: INVALID_ARGUMENT: tunnel 7 does not exist, field tunnel_id")
    lab.a.recorder.answer = lambda f: pb.Status()
    lab.a.initiate()  # and the next attempt is not in the way of the failed one
    assert len(lab.a.children()) == 1


@pytest.mark.parametrize("child, reason", [
    ({"esp_proposals": ["aes256ccm8-x25519"]}, "encryption algorithm AES_CCM_8 is not supported"),
    ({"esp_proposals": ["aes256-aesxcbc-x25519"]}, "integrity algorithm AES_XCBC_96 is not supported with AES_CBC"),
    ({"mode": "transport"}, "TRANSPORT mode is not supported"),
    ({"if_id_in": 0, "if_id_out": 0}, "has no interface id: set if_id_in and if_id_out"),
], ids=["ccm", "xcbc", "transport", "no-if-id"])
def test_what_the_fast_path_cannot_do_is_refused_by_name(lab, child, reason):
    if child.get("mode") == "transport":  # it needs host selectors
        child = dict(child, local_ts=["dynamic"], remote_ts=["dynamic"])
    for node in (lab.a, lab.b):
        node.load(**child)
    with pytest.raises(ViciError):
        lab.a.initiate()
    assert lab.b.logged(reason)  # the responder installs first
    assert lab.b.recorder.since(0, "add_sa") == []


@pytest.mark.parametrize("raw", [
    struct.pack(">I", 2 << 20),
    struct.pack(">I", 4) + b"\xff\xff\xff\xff",
    struct.pack(">I", 8) + bytes.fromhex("0a06088080808008"),  # an answer to a request that was never made
    struct.pack(">I", 12) + bytes.fromhex("120a0a080a06087b12020102"),  # Expire for a 2-byte address
], ids=["too-long", "malformed", "unasked", "short-address"])
def test_bytes_that_break_the_contract_do_not_break_charon(up, raw):
    mark = marks(up)["a"]
    up.a.recorder.send_raw(raw)
    if raw.endswith(b"\x02\x01\x02"):  # well-formed, only senseless: ignored
        time.sleep(0.3)
        assert up.a.recorder.since(mark) == []
    else:
        up.a.recorder.wait("sync_done", mark)  # it dropped the connection and made a new one
    assert len(up.a.children()) == 1


def test_keys_are_in_no_log(up):
    log = up.a.log.read_text().lower()
    assert "kernel-gw" in log
    for direction in (True, False):
        key = added(up.a, direction).key
        assert key.hex() not in log and key[:8].hex() not in log
