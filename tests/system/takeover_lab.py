"""Two gw-fastpaths that share an endpoint and its keys. Each has its own lab with the same addresses; this file is both
gwds (it carries PeerSync between them and claims endpoints) and the site, which sees one gateway."""
import os
import random
import shutil
import signal
import threading
import time

from scapy.all import IP, UDP, Raw

from fastpath_lab import FastpathLab, packed, pb, poll
from fastpath_peer import GW4, HOST4, SITE4, Tunnel
from nonce_checker import NonceChecker


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


KINDS = ("kill", "reboot", "partition", "pause", "planned")


def lose(pair, kind, owner, other, lease):
    """`other` has the endpoint after this, and `owner` is there again and knows."""
    if kind in ("kill", "reboot"):
        pair.cut()
        owner.lab.kill()
        other.own(lease)
        other.sends()
        if kind == "reboot":
            shutil.rmtree(owner.lab.state, ignore_errors=True)
        owner.lab.start()
        owner.install(pair.keys, fresh=False, synced=True)
        owner.stand_by(lease)
    elif kind == "partition":  # both alive, both believe
        pair.cut()
        other.own(lease)
        for gateway in (owner, other):
            gateway.send(10)
        other.sends()
        owner.stand_by(lease)
    elif kind == "pause":
        pid = owner.lab.fastpath_pid()
        pair.cut()
        owner.lab.vnet.drain()
        os.kill(pid, signal.SIGSTOP)
        other.own(lease)
        other.sends()
        os.kill(pid, signal.SIGCONT)
        owner.send(5)
        owner.stand_by(lease)
    else:
        owner.stand_by(lease)
        time.sleep(0.05)
        other.own(lease, pb.HANDOVER_PLANNED)


def takeovers(pair, count, seed) -> int:
    """In random order, under traffic; after how many the survivor went on with the key that it had. The others say that
    they need a new one, as they should."""
    choose = random.Random(seed)
    owner, other, went_on = pair.a, pair.b, 0
    for lease in range(3, 3 + count):
        owner.send(choose.randint(1, 60))
        if choose.random() < 0.7:
            time.sleep(0.02)
        lose(pair, choose.choice(KINDS), owner, other, 16 * lease)
        if pair.wire is None:
            pair.connect()
        if not other.sa().waits_for_grant:
            went_on += bool(other.sends())
            pair.granted(owner)
        owner, other = other, owner
    return went_on
