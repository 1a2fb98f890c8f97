"""What two gw-fastpaths that share an endpoint and its keys do when one takes over from the other (takeover_lab.py)."""
import struct
import time

import pytest
from scapy.all import IP, UDP, Raw

from fastpath_lab import PORT_KINDS, add_sa, packed, pb, poll
from fastpath_peer import GW4, HOST4, PEER4, SITE4
from takeover_lab import Pair, takeovers

J = 1 << 21


@pytest.fixture(params=PORT_KINDS)
def pair(request, tmp_path):
    made = Pair(tmp_path, request.param)
    try:
        with made.checker:
            made.begin()
            yield made
        made.checker.verify()
    finally:
        made.close()
        for gateway in (made.a, made.b):
            print(f"--- instance {gateway.number}\n" + gateway.lab.log.read_text()[-6000:])


xsk = pytest.mark.parametrize("pair", ["xsk"], indirect=True)


def instance_of(iv):
    return iv[0] >> 4


def block_of(iv):
    return struct.unpack(">Q", iv)[0] >> 48 & 0xfff


def test_a_survivor_goes_on_under_its_own_epochs_beyond_the_last_report(pair):
    a, b = pair.a, pair.b
    pair.granted(b)
    assert b.sa().standby and not a.sa().standby
    assert b.sends() is None, "standby sends nothing"
    assert b.tunnel.out_drops() == {"standby"}
    assert not b.lab.carrier("tun1") and a.lab.carrier("tun1")
    a.send(100)
    last = poll("all are sent", lambda: (n := a.sa().sequence) > 100 and n)
    time.sleep(0.1)
    a.lab.kill()
    assert not b.own(32)
    sequence, iv = poll("b sends", b.sends)
    assert instance_of(iv) == 1 and block_of(iv) == 1
    assert last + J <= sequence < last + J + 1_500_000 * 30, "J beyond what was reported, more with its age"
    assert b.lab.carrier("tun1")
    inner = IP(src=SITE4, dst=HOST4) / UDP(sport=2, dport=1) / Raw(b"in")
    b.tunnel.sent.sequence = a.tunnel.sent.sequence + 5
    poll("b receives", lambda: b.tunnel.from_peer(inner) or b.tunnel.at_host(0.3))


def test_a_planned_move_is_exact_and_there_and_back(pair):
    a, b = pair.a, pair.b
    pair.granted(b)
    for lease, (giver, taker) in enumerate([(a, b), (b, a)] * 3, start=2):
        giver.send(20)
        giver.stand_by(16 * lease)
        last = giver.sa().sequence
        assert giver.sends() is None
        time.sleep(0.1)  # the last report is under way with the "go" of one gwd to the other
        assert not taker.own(16 * lease, pb.HANDOVER_PLANNED)
        sequence, iv = poll("it sends", taker.sends)
        assert instance_of(iv) == taker.number
        assert last + 32 < sequence <= last + 40
    assert pair.checker.duplicate_sequences == 0


@xsk
def test_without_a_grant_nothing_is_sent_and_a_new_key_is_asked_for(pair):
    pair.cut()
    b = pair.b
    b.tunnel.ike.ok(add_sa=add_sa(0x9000, GW4, PEER4, b"k" * 36, False, fresh=False, synced=True))
    b.tunnel.ike.ok(activate_outbound=pb.ActivateOutbound(id=pb.SaId(spi=0x9000, dst=packed(PEER4))))
    needs_rekey = b.own(32)
    assert 0x9000 in {sa.spi for sa in needs_rekey}
    assert b.sends() is None
    assert "iv_exhausted" in b.tunnel.out_drops()


@xsk
def test_what_an_instance_received_cannot_be_replayed_to_the_other(pair):
    a, b = pair.a, pair.b
    inner = bytes(IP(src=SITE4, dst=HOST4) / UDP(sport=2, dport=1) / Raw(b"in"))
    poll("a receives", lambda: a.tunnel.from_peer(inner) or a.tunnel.at_host(0.3))
    outer = [a.tunnel.sent.seal(inner) for _ in range(50)]
    for packet in outer:
        a.lab.wan.send(a.tunnel.frame(packet))
    top = poll("all are received", lambda: (n := a.sa(inbound=True).sequence) >= a.tunnel.sent.sequence and n)
    time.sleep(0.1)
    pair.granted(b)
    a.lab.kill()
    b.own(32)
    assert b.sa(inbound=True).sequence == top, "as reported"
    b.lab.vnet.drain()
    for packet in outer:
        b.lab.wan.send(b.tunnel.frame(packet))
    poll("they are refused", lambda: b.tunnel.drops().get("replay", 0) >= len(outer))
    assert b.tunnel.at_host(0.3) is None


@xsk
def test_a_clone_and_nonsense_are_refused_by_name(pair):
    a, b = pair.a, pair.b
    pair.cut()
    sync = a.lab.rpc(pb.ROLE_SYNC)
    sync.ok(peer_sync_reset=pb.PeerSyncReset(connected=True))
    own = sync.event("peer_sync")
    sync.ok(peer_sync=own)
    assert a.sync().state == "refused" and "clone" in a.sync().why
    for nonsense in (b"\xff", own.sa[:-3]):  # and a frame that ends in the middle
        sync.ok(peer_sync_reset=pb.PeerSyncReset(connected=True))
        sync.ok(peer_sync=pb.PeerSync(sa=nonsense))
        assert a.sync().state == "refused" and "parse" in a.sync().why
    assert a.sends(), "and it goes on sending"
    sync.close()
    pair.connect()


@xsk
def test_dozens_of_takeovers_never_repeat_a_nonce(pair):
    """Kills, reboots, partitions, pauses and moves in random order; `./dev bench ha-takeovers` does 1,000."""
    went_on = takeovers(pair, 30, seed=7)
    assert went_on >= 25, f"only {went_on} of 30 takeovers went on"
    assert pair.checker.packets[0] > 100 and pair.checker.packets[1] > 100
