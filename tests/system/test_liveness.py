"""Two gw-fastpaths and their heartbeat: who is alive, who may send, and what a process that was stopped does when it wakes.
Real processes in two namespaces with a veth between their VNet ports; what leaves is seen by packet sockets."""
import itertools
import os
import select
import signal
import socket
import struct
import subprocess
import time

import pytest

from fastpath_lab import FASTPATH, PORT_KINDS, Rpc, packed, pb, poll, run

KEY = bytes(range(32))
PORT = 3790
BFD_PORT = 50700
BFD_SINGLE_HOP = 3784
BFD_UP = 3
ENDPOINT = "192.0.2.1"
INTERVAL, MULTIPLIER = 50, 3
DEAD = INTERVAL * MULTIPLIER / 1000
OWNED, STANDBY = pb.OWNERSHIP_OWNED, pb.OWNERSHIP_STANDBY
ARP = 0x0806
epochs = itertools.count(10, 10)


class Instance:
    """gw-fastpath in a namespace: wan with the endpoint's address (both have it), vnet towards the other instance."""

    def __init__(self, number, kind, tmp):
        self.number, self.kind, self.dir = number, kind, tmp / f"i{number}"
        self.dir.mkdir()
        self.ns = f"lv{number}"
        self.vnet = f"10.1.0.{number + 1}"
        self.process = self.rpc = None

    def start(self):
        path = self.dir / "fastpath.sock"
        path.unlink(missing_ok=True)
        self.log = open(self.dir / "log", "a")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.ns, FASTPATH, "--wan", "wan", "--vnet", "vnet", "--wan-port", self.kind,
             "--vnet-port", self.kind, "--socket", path, "--state-dir", self.dir / "state", "--instance", str(self.number),
             "--state-on-disk-for-tests", "--workers", "1", "--bfd-port", str(BFD_PORT)], stdout=self.log, stderr=self.log)
        poll("gw-fastpath answers", path.exists, 15)
        self.rpc = Rpc(path, pb.ROLE_CONTROL)
        self.rpc.ok(sync_done=pb.SyncDone())

    def put_peer(self, other, **changes):
        fields = dict(instance=other.number, local_address=packed(self.vnet), peer_address=packed(other.vnet), port=PORT, key=KEY,
                      interval_ms=INTERVAL, multiplier=MULTIPLIER, embedded_lease=True)
        fields.update(changes)
        return self.rpc.call(put_peer=pb.PutPeer(**fields))

    def claim(self, ownership, epoch):
        self.rpc.ok(put_endpoints=pb.PutEndpoints(endpoints=[
            pb.EndpointClaim(address=packed(ENDPOINT), ownership=ownership, lease_epoch=epoch)]))

    def events(self, kind):
        """Those that have come by now."""
        while self.rpc.buffer or select.select([self.rpc.socket], [], [], 0)[0]:
            self.rpc.events.append(self.rpc.read_frame().event)
        return [getattr(e, kind) for e in self.rpc.events if e.WhichOneof("body") == kind]

    def peer(self):
        states = self.events("peer_state")
        return states[-1] if states else pb.PeerState()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def answers_arp(self, seconds=0.3):
        """Whether the endpoint's address is answered for on the wan, as asked by a neighbour."""
        ask(self.far)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([self.far], [], [], left)[0]:
            frame, source = self.far.recvfrom(2048)
            if source[2] != socket.PACKET_OUTGOING and is_reply(frame):
                return True
        return False


def ask(far):
    mac = far.getsockname()[4]
    far.send(b"\xff" * 6 + mac + struct.pack(">H", ARP) + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
             + mac + packed("192.0.2.2") + b"\0" * 6 + packed(ENDPOINT))


def is_reply(frame):
    return len(frame) >= 42 and frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == packed(ENDPOINT)


def socket_in(ns, *kind):
    with open("/proc/self/ns/net") as own, open(f"/run/netns/{ns}") as other:
        os.setns(other.fileno(), os.CLONE_NEWNET)
        try:
            return socket.socket(*kind)
        finally:
            os.setns(own.fileno(), os.CLONE_NEWNET)


def packet_socket(ns, interface):
    s = socket_in(ns, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind((interface, 0))
    return s


class Bfdd:
    """As much of FRR's bfdd as its data plane sees (bfdd/bfddp_packet.h)."""

    ADD, DELETE, STATE = 2, 3, 4

    def __init__(self, ns):
        self.socket = socket_in(ns, socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", BFD_PORT))
        self.buffer = b""

    def send(self, kind, body):
        self.socket.sendall(struct.pack(">BBHHH", 1, 0, kind, 0, 8 + len(body)) + body)

    def session(self, kind, lid, local, peer, device, interval_us=50_000):
        self.send(kind, struct.pack(">I16s16sIIIIIIBBHI64s", 0, packed(local), packed(peer), lid, interval_us, interval_us, 0, 0, 0,
                                    255, 3, 0, 0, device.encode()))

    def state_of(self, lid, seconds=3):
        """(state, remote discriminator) as told next."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self.buffer += self.socket.recv(65536)
            while len(self.buffer) >= 8 and len(self.buffer) >= (length := struct.unpack(">H", self.buffer[6:8])[0]):
                message, self.buffer = self.buffer[:length], self.buffer[length:]
                if message[2:4] == b"\0\4" and struct.unpack(">I", message[8:12])[0] == lid:
                    return message[32], struct.unpack(">I", message[12:16])[0]
        raise AssertionError("bfdd was told nothing")


@pytest.fixture(scope="module", params=PORT_KINDS)
def pair(request, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("liveness")
    both = [Instance(n, request.param, tmp) for n in (0, 1)]
    run("ip", "netns", "add", "lvw")
    for i in both:
        run("ip", "netns", "add", i.ns)
        run("ip", "link", "add", "wan", "netns", i.ns, "type", "veth", "peer", "name", f"w{i.number}", "netns", "lvw")
        run("ip", "-n", "lvw", "link", "set", f"w{i.number}", "up")
    run("ip", "link", "add", "vnet", "netns", "lv0", "type", "veth", "peer", "name", "vnet", "netns", "lv1")
    for i in both:
        for command in ("link set lo up", "link set wan up", "link set vnet up", f"addr add {ENDPOINT}/24 dev wan",
                        f"addr add {i.vnet}/24 dev vnet"):
            run("ip", "-n", i.ns, *command.split())
        i.far = packet_socket("lvw", f"w{i.number}")
        i.start()
    yield both
    for i in both:
        i.signal(signal.SIGCONT)
        i.process.kill()
        i.process.wait()
    for ns in ("lvw", "lv0", "lv1"):
        run("ip", "netns", "del", ns, check=False)


@pytest.fixture(autouse=True)
def together(pair):
    """Both alive and hearing each other, the first owns the endpoint."""
    a, b = pair
    for one, other in ((a, b), (b, a)):
        one.rpc.events.clear()
        assert one.put_peer(other).status.code == pb.OK
    first_owns(a, b)
    for one in pair:
        poll("the other is heard", lambda one=one: one.peer().alive and one.peer().forwarding)


def first_owns(a, b):
    """With a new epoch, which is returned; both know it."""
    epoch = next(epochs)
    b.claim(STANDBY, epoch)
    a.claim(OWNED, epoch)
    poll("what is claimed is heard", lambda: [(c.ownership, c.lease_epoch) for c in b.peer().claims] == [(OWNED, epoch)])
    return epoch


def test_the_owner_answers_for_its_address_and_the_other_does_not(pair):
    a, b = pair
    poll("the owner answers", a.answers_arp)
    assert not b.answers_arp()


def test_a_stopped_instance_is_noticed_within_three_intervals(pair):
    a, b = pair
    times = []
    for _ in range(5):
        b.rpc.events.clear()
        a.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        poll("silence is told", lambda: any(not s.alive for s in b.events("peer_state")))
        times.append(time.monotonic() - stopped)
        a.signal(signal.SIGCONT)
        poll("it is back", lambda: b.peer().alive)
        time.sleep(0.2)
    print(f"noticed after {[round(t * 1000) for t in times]} ms")
    assert min(times) > DEAD - INTERVAL / 1000 - 0.02  # a heartbeat was under way
    assert sorted(times)[2] < DEAD + 0.1, times


def test_a_gwd_that_asks_nothing_any_more_is_said_to_be_away(pair):
    """Its socket is open: it hangs. The other instance's gwd hears it of gw-fastpath."""
    a, b = pair
    a.rpc.ok(ping=pb.Ping())
    poll("it is there", lambda: b.peer().alive and not b.peer().control_away)
    asked = time.monotonic()
    poll("it is away", lambda: b.peer().control_away)
    assert 0.9 < time.monotonic() - asked < 3
    assert b.peer().alive and b.peer().forwarding
    a.rpc.ok(ping=pb.Ping())
    poll("it is there again", lambda: not b.peer().control_away)


def test_a_gwd_that_has_just_come_hears_of_the_other_instance(pair):
    """It has not put the peer: with the sync networks cut it does not have the key."""
    a, b = pair
    rpc = Rpc(a.dir / "fastpath.sock", pb.ROLE_CONTROL)
    rpc.ok(sync_done=pb.SyncDone())
    rpc.ok(ping=pb.Ping())
    states = [e.peer_state for e in rpc.events if e.WhichOneof("body") == "peer_state"]
    assert states and states[-1].alive and states[-1].forwarding
    rpc.socket.close()
    a.rpc = Rpc(a.dir / "fastpath.sock", pb.ROLE_CONTROL)
    a.rpc.ok(sync_done=pb.SyncDone())


def test_one_that_was_replaced_while_it_stood_still_sends_nothing_when_it_wakes(pair):
    """Not one packet: what waited in its sockets is answered neither by its BPF programs nor by its workers, and it says
    itself that the endpoint is gone."""
    a, b = pair
    for _ in range(5):
        epoch = first_owns(a, b) + 1
        poll("the owner answers", a.answers_arp)
        a.signal(signal.SIGSTOP)
        poll("silence is told", lambda: not b.peer().alive)
        b.claim(OWNED, epoch)
        poll("the new owner answers", b.answers_arp)
        for _ in range(20):
            ask(a.far)
        while select.select([a.far], [], [], 0)[0]:
            a.far.recv(2048)
        a.rpc.events.clear()
        a.signal(signal.SIGCONT)
        lost = poll("it is told that it was replaced", lambda: a.events("endpoint_lost"), 3)
        assert (lost[0].address, lost[0].lease_epoch) == (packed(ENDPOINT), epoch)
        assert not a.answers_arp(), "it answers for an address that is another's"


def test_one_that_stood_still_and_was_not_replaced_goes_on_after_asking(pair):
    a, b = pair
    poll("the owner answers", a.answers_arp)
    a.signal(signal.SIGSTOP)
    time.sleep(1)
    assert not a.answers_arp(), "its lease has run out while it stands still"
    a.signal(signal.SIGCONT)
    poll("it goes on", a.answers_arp, 2)
    assert not a.events("endpoint_lost")


def test_with_nobody_to_ask_it_goes_on_after_three_intervals(pair):
    a, b = pair
    b.signal(signal.SIGSTOP)
    try:
        a.signal(signal.SIGSTOP)
        time.sleep(0.5)
        a.signal(signal.SIGCONT)
        start = time.monotonic()
        poll("it goes on", lambda: a.answers_arp(0.02), 3)
        assert time.monotonic() - start > DEAD - 0.06
    finally:
        b.signal(signal.SIGCONT)


def test_a_higher_claim_is_obeyed_at_once_and_gwd_is_told(pair):
    a, b = pair
    epoch = first_owns(a, b) + 1
    b.claim(OWNED, epoch)
    start = time.monotonic()
    poll("it is told", lambda: a.events("endpoint_lost"))
    assert time.monotonic() - start < 0.5
    assert not a.answers_arp()
    poll("the other answers", b.answers_arp)


def test_heartbeats_of_another_key_or_replayed_are_not_believed(pair):
    """Recorded from the wire and sent again; and a peer with another key."""
    a, b = pair
    tap = packet_socket("lv1", "vnet")
    recorded = []
    end = time.monotonic() + 0.5
    while time.monotonic() < end and select.select([tap], [], [], 0.1)[0]:
        frame, source = tap.recvfrom(2048)
        if source[2] != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00" and b"GWHB" in frame:
            recorded.append(frame)
    assert len(recorded) >= 5
    a.signal(signal.SIGSTOP)
    try:
        replay = packet_socket("lv0", "vnet")
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for frame in recorded:
                replay.send(frame)
            time.sleep(0.02)
            b.events("peer_state")
        assert not b.peer().alive, "kept alive by recordings"
    finally:
        a.signal(signal.SIGCONT)
    poll("the real one is believed again", lambda: b.peer().alive)
    b.rpc.ok(put_peer=pb.PutPeer())  # gone, and with another key back
    assert b.put_peer(a, key=KEY[::-1]).status.code == pb.OK
    time.sleep(0.5)
    assert not b.peer().alive


def test_a_process_that_starts_anew_is_believed(pair):
    a, b = pair
    a.process.kill()
    a.process.wait()
    poll("silence is told", lambda: not b.peer().alive)
    a.start()
    a.put_peer(b)
    poll("it is back", lambda: b.peer().alive)


@pytest.mark.parametrize("field, value", [
    ("port", 0), ("port", 70000), ("instance", 16), ("instance", 0), ("key", b"short"), ("interval_ms", 5), ("interval_ms", 0),
    ("multiplier", 1), ("local_address", b"\1\2"), ("peer_address", bytes(16)), ("local_address", packed("203.0.113.99"))])
def test_what_cannot_be_is_refused_by_name(pair, field, value):
    a, b = pair
    status = a.put_peer(b, **{field: value}).status
    assert status.code == pb.INVALID_ARGUMENT, status
    assert status.field == field or (field, status.field) == ("peer_address", "peer_address"), status


# --- BFD sessions of the other instance -------------------------------------------------------------

def shared_session(device, state=BFD_UP, local=1234, **changes):
    fields = dict(peer=packed("169.254.7.2"), local=packed("169.254.7.1"), device=device, min_ttl=255, detect_multiplier=3,
                  desired_min_tx_us=50_000, required_min_rx_us=50_000, state=state, local_discriminator=local,
                  remote_discriminator=99, remote_state=BFD_UP, remote_detect_multiplier=3, remote_desired_min_tx_us=1_000_000,
                  remote_required_min_rx_us=50_000)
    fields.update(changes)
    return pb.BfdSharedSession(**fields)


def bfd_said(sync) -> bytes:
    """What it has to say of BFD; SAs have their own."""
    while True:
        said = sync.event("peer_sync")
        if said.WhichOneof("body") == "bfd":
            return said.bfd


def bfd_packets(tap, seconds):
    """What is sent into a TUN device on BFD's port: (TTL, payload)."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([tap], [], [], left)[0]:
        packet = tap.recv(2048)
        if packet[0] == 0x45 and packet[9] == 17 and struct.unpack(">H", packet[22:24])[0] == BFD_SINGLE_HOP:
            yield packet[8], packet[28:]


def test_bfd_sessions_of_the_other_instance_go_on_when_their_tunnel_is_ours(pair):
    _, b = pair
    sync = Rpc(b.dir / "fastpath.sock", pb.ROLE_SYNC)
    sync.ok(peer_sync_reset=pb.PeerSyncReset(connected=True))
    said = pb.BfdSync.FromString(bfd_said(sync))
    assert said.all and not said.sessions, "a new connection begins with all there is"
    sync.ok(peer_sync=pb.PeerSync(bfd=pb.BfdSync(all=True, sessions=[
        shared_session("tun7"), shared_session("tun8", local=5678)]).SerializeToString()))
    assert b.rpc.ok(list_bfd=pb.ListBfd()).bfd.shared == 2
    assert not b.rpc.ok(list_bfd=pb.ListBfd()).bfd.sessions
    # Carrier, which a tunnel gets when its endpoint is ours.
    b.rpc.ok(put_tunnel=pb.PutTunnel(tunnel_id=7, name="seven", device="tun7", mtu=1400, carrier=pb.CARRIER_ALWAYS))
    run("ip", "-n", b.ns, "addr", "add", "169.254.7.1/30", "dev", "tun7")
    tap = packet_socket(b.ns, "tun7")
    ttl, payload = next(bfd_packets(tap, 2))
    assert ttl == 255
    assert (payload[1] >> 6, *struct.unpack(">II", payload[4:12])) == (BFD_UP, 1234, 99), "with its discriminators, and up"
    only, = b.rpc.ok(list_bfd=pb.ListBfd()).bfd.sessions
    assert (only.state, only.adopted, only.known_to_bfdd) == ("up", True, False)
    bfdd = Bfdd(b.ns)
    bfdd.session(Bfdd.ADD, 77, "169.254.7.1", "169.254.7.2", "tun7")
    assert bfdd.state_of(77) == (BFD_UP, 99), "a bfdd that is told of it later hears that it is up"
    # It is shared with the other instance from now on; nobody answers, so that it goes down.
    changes = []
    poll("its end is told", lambda: (changes.append(pb.BfdSync.FromString(e.bfd)) if (e := sync.event("peer_sync", 0.2)) else None)
         or any(s.device == "tun7" and s.state != BFD_UP for c in changes for s in c.sessions), 6)
    b.rpc.ok(del_tunnel=pb.DelTunnel(tunnel_id=7))
    sync.close()


@pytest.mark.parametrize("content", [b"\xff\xff", pb.BfdSync(sessions=[shared_session("")]).SerializeToString(),
                                     pb.BfdSync(sessions=[shared_session("tun7", state=9)]).SerializeToString(),
                                     pb.BfdSync(sessions=[shared_session("tun7", local=0)]).SerializeToString()])
def test_sessions_that_cannot_be_are_refused_and_nothing_is_kept_of_them(pair, content):
    _, b = pair
    sync = Rpc(b.dir / "fastpath.sock", pb.ROLE_SYNC)
    sync.ok(peer_sync=pb.PeerSync(bfd=pb.BfdSync(all=True).SerializeToString()))
    assert sync.call(peer_sync=pb.PeerSync(bfd=content)).status.code in (pb.MALFORMED, pb.INVALID_ARGUMENT)
    assert b.rpc.ok(list_bfd=pb.ListBfd()).bfd.shared == 0
    sync.close()


def test_hostile_bfd_packets_and_a_hostile_bfdd_are_counted_or_hung_up_on(pair):
    a, b = pair
    bfdd = Bfdd(b.ns)
    bfdd.session(Bfdd.ADD, 5, b.vnet, a.vnet, "vnet")
    poll("the session is there", lambda: b.rpc.ok(list_bfd=pb.ListBfd()).bfd.sessions)
    good = struct.pack(">BBBBIIIII", 0x20, 1 << 6, 3, 24, 4711, 0, 1_000_000, 50_000, 0)
    attacks = {"truncated": b"", "version": b"\0" + good[1:], "length": good[:3] + b"\x05" + good[4:],
               "detect_multiplier": good[:2] + b"\0" + good[3:], "my_discriminator": good[:4] + bytes(4) + good[8:],
               "authentication": good[:1] + b"\x44" + good[2:3] + b"\x1a" + good[4:] + b"\1\2",
               "unknown_session": good[:8] + b"\0\0\1\1" + good[12:]}
    udp = socket_in(a.ns, socket.AF_INET, socket.SOCK_DGRAM)
    for ttl, packets in ((255, attacks.values()), (254, [good])):
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        for packet in packets:
            udp.sendto(packet, (b.vnet, BFD_SINGLE_HOP))

    def refused():
        return {d.reason: d.packets for d in b.rpc.ok(list_bfd=pb.ListBfd()).bfd.refused}
    poll("all are counted", lambda: all(refused().get(reason) for reason in [*attacks, "ttl"]))
    assert b.rpc.ok(list_bfd=pb.ListBfd()).bfd.sessions[0].state == "down"
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    udp.sendto(good, (b.vnet, BFD_SINGLE_HOP))
    poll("a right one is heard", lambda: b.rpc.ok(list_bfd=pb.ListBfd()).bfd.sessions[0].state == "init")
    for garbage in (b"\7" * 64, struct.pack(">BBHHH", 1, 0, 2, 0, 12) + b"\0" * 4, struct.pack(">BBHHH", 1, 0, 2, 0, 65535)):
        other = Bfdd(b.ns)
        other.socket.sendall(garbage)
        other.socket.settimeout(3)
        assert other.socket.recv(100) == b"", "the connection ends"
    assert b.process.poll() is None
