"""Two gw-fastpaths that share an endpoint and its keys. Each has its own lab with the same addresses; this file is both
gwds (it carries PeerSync between them and claims endpoints) and the site, which sees one gateway."""
import os
import random
import shutil
import signal
import struct
import threading
import time

import pytest
from scapy.all import IP, UDP, Raw

from fastpath_lab import PORT_KINDS, FastpathLab, add_sa, packed, pb, poll
from fastpath_peer import GW4, HOST4, PEER4, SITE4, Tunnel
from nonce_checker import NonceChecker

J = 1 << 21


class Wire(threading.Thread):
    """What gwd and the TLS channel do: PeerSync in order and whole, both ways, until cut."""

    def __init__(self, gateways):
        super().__init__(daemon=True)
        self.clients = [g.lab.rpc(pb.ROLE_SYNC) for g in gateways]
        self.ended = False
        for client in self.clients:
            client.ok(peer_sync_reset=pb.PeerSyncReset(connected=True))
        self.start()

    def run(self):
        try:
            while not self.ended:
                for client, other in (self.clients, reversed(self.clients)):
                    client, other = (client, other)
                    event = client.event("peer_sync", 0.002)
                    if event is not None:
                        other.ok(peer_sync=event)
        except (OSError, ConnectionError, AssertionError):
            pass  # a gateway died

    def cut(self):
        self.ended = True
        self.join()
        for client in self.clients:
            try:
                client.call(peer_sync_reset=pb.PeerSyncReset(connected=False))
            except OSError:
                pass
            client.close()


class Gateway:
    """One instance."""

    def __init__(self, directory, number, ports):
        directory.mkdir()
        self.number = number
        self.lab = FastpathLab(directory, ports=ports, options=["--instance", str(number)], name=("fp", "fq")[number])
        self.tunnel = None
        self.lease = 0

    def install(self, keys, **how):
        """As charon and gwd do; `how`: fresh, or synced."""
        self.tunnel = Tunnel(self.lab, keys=keys, epoch=random.getrandbits(60) + 1, **how)

    def claim(self, ownership, lease, handover=pb.HANDOVER_TAKEOVER):
        reply = self.tunnel.control.ok(put_endpoints=pb.PutEndpoints(endpoints=[
            pb.EndpointClaim(address=packed(GW4), ownership=ownership, lease_epoch=lease, handover=handover)]))
        return reply.put_endpoints.needs_rekey

    def own(self, lease, handover=pb.HANDOVER_TAKEOVER):
        return self.claim(pb.OWNERSHIP_OWNED, lease, handover)

    def stand_by(self, lease):
        return self.claim(pb.OWNERSHIP_STANDBY, lease)

    def sa(self, inbound=False):
        return next(s for s in self.tunnel.control.ok(list_sas=pb.ListSas()).sas.sas if s.inbound == inbound)

    def sync(self):
        return self.tunnel.control.ok(get_counters=pb.GetCounters()).counters.sa_sync

    def send(self, count=1):
        for _ in range(count):
            self.tunnel.from_host(IP(src=HOST4, dst=SITE4) / UDP(sport=1, dport=2) / Raw(b"out"))

    def sends(self):
        """The next packet that reaches the site: (sequence, IV); None: nothing comes."""
        self.lab.wan.drain()
        self.send()
        got = self.tunnel.at_peer(1.0)
        return got and got[1:]


class Pair:
    def __init__(self, directory, ports):
        self.a, self.b = (Gateway(directory / str(n), n, ports) for n in (0, 1))
        self.keys = None
        self.wire = None
        self.checker = NonceChecker([(g.lab.peer_ns, "wan0") for g in (self.a, self.b)])

    def begin(self):
        """a negotiates, b hears of it, both meet, a owns the endpoint and sends."""
        self.a.install(None, fresh=True)
        self.keys = self.a.tunnel.keys
        self.b.install(self.keys, fresh=False, synced=True)
        for number, gateway in enumerate((self.a, self.b)):
            gateway.claim(pb.OWNERSHIP_STANDBY if number else pb.OWNERSHIP_OWNED, 16)
        self.connect()
        poll("a sends", self.a.sends)

    def connect(self):
        self.wire = Wire([self.a, self.b])
        for gateway in (self.a, self.b):
            poll("in sync", lambda: gateway.sync().state == "in sync")

    def cut(self):
        if self.wire:
            self.wire.cut()
        self.wire = None

    def granted(self, gateway):
        poll("a grant", lambda: not gateway.sa().waits_for_grant)

    def close(self):
        self.cut()
        for gateway in (self.a, self.b):
            gateway.lab.close()
            print(f"--- instance {gateway.number}\n" + gateway.lab.log.read_text()[-6000:])


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
    """Kills, reboots, partitions and pauses in random order; after each one somebody goes on, or says that it needs a
    new key."""
    random.seed(7)
    owner, other, lease, sent = pair.a, pair.b, 2, 0
    for round_ in range(30):
        lease += 1
        kind = random.choice(["kill", "reboot", "partition", "pause", "planned"])
        owner.send(random.randint(1, 60))
        if random.random() < 0.7:
            time.sleep(0.02)
        if kind in ("kill", "reboot"):
            pair.cut()
            owner.lab.kill()
            other.own(16 * lease)
            other.sends()
            if kind == "reboot":
                shutil.rmtree(owner.lab.state, ignore_errors=True)
            owner.lab.start()
            owner.install(pair.keys, fresh=False, synced=True)
            owner.stand_by(16 * lease)
        elif kind == "partition":  # both alive, both believe
            pair.cut()
            other.own(16 * lease)
            for gateway in (owner, other):
                gateway.send(10)
            other.sends()
            owner.stand_by(16 * lease)
        elif kind == "pause":
            pid = owner.lab.fastpath_pid()
            pair.cut()
            owner.lab.vnet.drain()
            os.kill(pid, signal.SIGSTOP)
            other.own(16 * lease)
            other.sends()
            os.kill(pid, signal.SIGCONT)
            owner.send(5)
            owner.stand_by(16 * lease)
        else:
            owner.stand_by(16 * lease)
            time.sleep(0.05)
            other.own(16 * lease, pb.HANDOVER_PLANNED)
        if pair.wire is None:
            pair.connect()
        if not other.sa().waits_for_grant:
            sent += bool(other.sends())
            pair.granted(owner)
        owner, other = other, owner
    assert sent >= 25, f"only {sent} of 30 takeovers went on"
    assert pair.checker.packets[0] > 100 and pair.checker.packets[1] > 100
