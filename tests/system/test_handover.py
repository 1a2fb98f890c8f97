"""gw-fastpath --replace, alone, black box: nothing is lost, no nonce and no sequence number repeats, whoever dies when."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time

import pytest
from scapy.all import ICMP, IP, Ether, Raw

from fastpath_lab import FASTPATH, PEER_MAC, WAN_MAC, FastpathLab, pb, poll
from gw.fastpath.v1 import handover_pb2
from fastpath_peer import GW4, Tunnel, kept_lab, lab, packets  # noqa: F401 (fixtures)
from handover_lab import Traffic, forget_clients, replace, upgrade, waits_us
from nonce_checker import NonceChecker

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
REPLACEMENTS = 5


def tunnels(lab):
    client = lab.rpc(pb.ROLE_OBSERVER)
    found = client.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels
    return {t.tunnel_id: t for t in found}


@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_nothing_is_lost(lab, udp):
    tunnel = Tunnel(lab, udp=udp)
    tunnel.warm_up()
    before = tunnels(lab)[1]
    with NonceChecker([(lab.peer_ns, "wan0")]) as checker, Traffic(lab, tunnel, seconds=2 + REPLACEMENTS * 2) as traffic:
        for _ in range(REPLACEMENTS):
            replace(lab)
            time.sleep(0.3)
    checker.verify(at_least=1000)
    assert checker.duplicate_sequences == 0
    assert traffic.lost == 0, f"{traffic.lost} packets lost; longest silence {traffic.gap_ms:.1f} ms"
    assert len(waits_us(lab)) == REPLACEMENTS
    lab.wait_ready()
    after = tunnels(lab)[1]
    assert after.in_packets >= before.in_packets + traffic.count, "counters go on"
    assert after.out_packets >= before.out_packets + traffic.count


def test_what_packet_threads_have_counted_stays_with_them(lab):
    def workers():
        return lab.rpc(pb.ROLE_OBSERVER).ok(get_counters=pb.GetCounters()).counters.workers
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    before = workers()
    busy = [w for w in before if w.packets]  # a gso port has one queue here
    assert busy and all(sum(w.burst_sizes) and sum(w.latency) for w in busy)
    replace(lab)
    lab.wait_ready()
    for was, now in zip(before, workers(), strict=True):
        assert now.packets >= was.packets and sum(now.burst_sizes) == now.bursts
        for a, b in ((was.burst_sizes, now.burst_sizes), (was.latency, now.latency)):
            assert all(n >= w for w, n in zip(a, b, strict=True))
        assert now.latency_max_ns >= was.latency_max_ns and now.latency_sum_ns >= was.latency_sum_ns
        assert now.cpu_ns >= was.cpu_ns and now.polling_ns + now.busy_ns >= was.polling_ns + was.busy_ns


def test_its_clients_come_back_to_what_they_left(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    replace(lab)
    lab.wait_ready()
    again = Tunnel(lab, keys=tunnel.keys, fresh=False)
    for client in (again.ike, again.control):
        client.ok(sync_done=pb.SyncDone())
    again.sent, again.received = tunnel.sent, tunnel.received
    again.from_peer(packets(4)[0])
    assert again.at_host() is not None


OTHER_OPTIONS = {"instance": (("--instance", "3"), "--instance is 0 here and 3 there"),  # refused by the one that runs
                 "kind": (("--vnet-port", "other"), "this needs a restart")}           # by the new one, when it has opened half of all


@pytest.mark.parametrize("options, why", OTHER_OPTIONS.values(), ids=OTHER_OPTIONS)
def test_another_one_with_other_options_is_refused(lab, options, why):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    options = [o.replace("other", "gso" if lab.kind == "xsk" else "xsk") for o in options]
    with Traffic(lab, tunnel, seconds=2) as traffic:
        _, new = replace(lab, options, wait=False)
        assert new.wait(20) == 1
    assert why in lab.log.read_text()
    assert lab.process.poll() is None
    assert traffic.lost == 0


def test_upgrade_in_place_and_a_crash_after_it(kept_lab):
    """What systemctl reload does. Once the new one has taken over its death is a crash like any other: its supervisor
    starts the next, under an epoch of its own."""
    lab = kept_lab
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    before = lab.fastpath_pid()
    with NonceChecker([(lab.peer_ns, "wan0")]) as checker:
        with Traffic(lab, tunnel, seconds=5) as traffic:
            for _ in range(2):
                status, words = upgrade(lab)
                assert status == 0 and "has taken over; packets waited for" in words, words
                poll("the keeper follows", lambda: lab.fastpath_pid() == int(re.search(r"process (\d+)", words)[1]), 5)
            forget_clients(lab)
        assert traffic.lost == 0, f"{traffic.lost} packets lost; longest silence {traffic.gap_ms:.1f} ms"
        assert lab.process.poll() is None and lab.fastpath_pid() != before
        old = lab.kill()
        poll("the keeper starts it again", lambda: lab.fastpath_pid() not in (0, old), 10)
        lab.wait_ready()
        again = Tunnel(lab, keys=tunnel.keys, fresh=False)
        again.sent, again.received = tunnel.sent, tunnel.received
        again.from_peer(packets(4)[0])
        assert again.at_host() is not None
        for _ in range(20):
            again.from_host(packets(4)[1])
            assert again.at_peer()
    checker.verify(at_least=1000)


BROKEN = {"fails": "#!/bin/sh\nexit 3\n", "crashes": "#!/bin/sh\nkill -SEGV $$\n", "hangs up": "#!/bin/sh\nsleep 0.3\n", "no program": "rubbish"}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_program_changes_nothing(tmp_path, content):
    program = tmp_path / "gw-fastpath"
    shutil.copy(FASTPATH, program)
    lab = FastpathLab(tmp_path, program=program)
    try:
        tunnel = Tunnel(lab)
        tunnel.warm_up()
        with Traffic(lab, tunnel, seconds=2) as traffic:
            program.unlink()
            program.write_text(content)
            program.chmod(0o755)
            status, words = upgrade(lab)
            assert status == 1 and ("the old one goes on" in words or "Exec format error" in words), words
        assert traffic.lost == 0 and lab.process.poll() is None
        program.unlink()
        status, words = upgrade(lab)
        assert status == 1 and "No such file" in words, words
        shutil.copy(FASTPATH, program)
        program.chmod(0o755)
        status, words = upgrade(lab)
        assert status == 0, words
        lab.process.wait(10)
        forget_clients(lab)
        again = Tunnel(lab, keys=tunnel.keys, fresh=False)
        again.sent, again.received = tunnel.sent, tunnel.received
        again.from_peer(packets(4)[0])
        assert again.at_host() is not None
        os.kill(int(re.search(r"process (\d+)", words)[1]), signal.SIGTERM)
    finally:
        lab.close()


def test_nobody_else_is_let_in(lab):
    """The socket's mode; and who connects, were it open to all."""
    path = lab.socket.parent / "handover.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    lab.socket.parent.chmod(0o755)
    for parent in path.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    code = textwrap.dedent("""
        import socket, sys
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(sys.argv[1])
        try:
            s.sendall(bytes([0, 0, 0, 2, 0x42, 0]))  # HandoverStart
            print(len(s.recv(1)))
        except ConnectionError:
            print(0)
        """)
    done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", code, str(path)],
                          capture_output=True, text=True)
    assert done.stdout.strip() == "0", f"it was answered: {done}"
    poll("it says so", lambda: "user 65534 may not take over" in lab.log.read_text(), 5)
    assert "runs " not in lab.log.read_text().split("may not take over")[-1]


def test_what_was_learned_goes_over(lab):
    """A path's MTU, and what an SA has dropped."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    tunnel.from_host(packets(4, bytes(600))[1])
    quoted = bytes(lab.wan.receive(tunnel.received.matches).payload)[:48]
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src="198.51.100.254", dst=GW4) / ICMP(type=3, code=4, nexthopmtu=1350) / Raw(quoted))
    poll("the path's MTU is known", lambda: tunnels(lab)[1].path_mtu == 1350, 5)
    forged = bytearray(bytes(tunnel.frame(tunnel.sent.seal(bytes(packets(4)[0])))))
    forged[-1] ^= 1
    lab.wan.socket.send(bytes(forged))

    def dropped():
        sas = lab.rpc(pb.ROLE_OBSERVER).ok(list_sas=pb.ListSas()).sas.sas
        return {d.reason: d.packets for sa in sas for d in sa.drops}
    poll("the forged packet is counted", lambda: dropped().get("icv"), 5)
    before, inner = dropped(), tunnels(lab)[1].inner_mtu
    replace(lab)
    lab.wait_ready()
    assert (tunnels(lab)[1].path_mtu, tunnels(lab)[1].inner_mtu) == (1350, inner)
    assert dropped() == before


def test_without_one_that_runs_it_just_starts(lab):
    lab.process.terminate()
    lab.process.wait(15)
    forget_clients(lab)
    lab.start(more=["--replace"])
    Tunnel(lab).warm_up()


@pytest.mark.parametrize("delay", [0.01, 0.1, 0.2, 0.3, 0.5, 0.7])
def test_a_successor_that_dies_changes_nothing(lab, delay):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    with NonceChecker([(lab.peer_ns, "wan0")]) as checker, Traffic(lab, tunnel, seconds=3) as traffic:
        old, new = replace(lab, wait=False)
        time.sleep(delay)
        taken = "took over" in lab.log.read_text()
        if not taken:
            new.kill()
            new.wait()
            taken = "taken over" in lab.log.read_text()  # the old one's words: the new one may not have had the time for its own
        else:
            lab.process = new
            forget_clients(lab)
    if taken and lab.process is old:  # in the moment between: the successor's death is a crash of gw-fastpath
        old.wait(10)
        return
    checker.verify(at_least=1000)
    assert checker.duplicate_sequences == 0 and traffic.lost == 0, f"{traffic.lost} lost, {traffic.gap_ms:.1f} ms"
    assert lab.process.poll() is None


def test_one_that_is_killed_meanwhile_is_followed(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    old, new = replace(lab, wait=False)
    time.sleep(0.15)
    old.kill()
    old.wait()
    lab.process = new
    forget_clients(lab)
    poll("it starts anew, or has taken over", lambda: lab.log.read_text().count("ready at") == 2, 20)
    again = Tunnel(lab, keys=tunnel.keys, fresh=False)
    again.sent, again.received = tunnel.sent, tunnel.received
    again.from_peer(packets(4)[0])
    assert again.at_host() is not None


FIELDS = {"the version of the handover": "version", "the version of SA records": "record_version", "--wan": "wan", "--vnet": "vnet",
          "--circuit": "circuit", "--instance": "instance", "--max-sas": "max_sas", "--bfd-port": "bfd_port", "--max-tunnels": "max_tunnels"}


class Successor:
    """The other end of a handover, as far as it goes here."""

    def __init__(self, path):
        self.path, self.socket, self.ask = path, None, handover_pb2.HandoverAsk(release="test")

    def say(self, **body):
        payload = handover_pb2.HandoverFrame(**body).SerializeToString()
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def hear(self):
        length, = struct.unpack(">I", self.socket.recv(4, socket.MSG_WAITALL))
        return handover_pb2.HandoverFrame.FromString(self.socket.recv(length, socket.MSG_WAITALL))

    def be_accepted(self):
        """What it must have in common with the one that runs it learns from each refusal."""
        for _ in range(len(FIELDS) + 1):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(10)
            self.socket.connect(str(self.path))
            self.say(ask=self.ask)
            answer = self.hear()
            if answer.HasField("offer"):
                return
            what, ours = re.match(r"(.+) is (.*) here and .* there", answer.refusal.why).groups()
            now = getattr(self.ask, FIELDS[what])
            setattr(self.ask, FIELDS[what], type(now)(ours))
            self.socket.close()
        raise AssertionError(answer)


def test_one_that_stands_still_is_not_waited_for_without_end(lab):
    """More routes than the socket holds, and nobody reads them."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    for first in range(16, 21):
        tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=bytes((first, i >> 8, i & 255, 0)), prefix_length=24, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1]) for i in range(1 << 16)]))
    successor = Successor(lab.socket.parent / "handover.sock")
    successor.be_accepted()
    successor.say(step=handover_pb2.HANDOVER_BULK_WANTED)
    poll("it is given up", lambda: "does not take over: it reads nothing for" in lab.log.read_text(), 30)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host() is not None
    replace(lab)


@pytest.mark.parametrize("bytes_", [b"", b"\xff" * 64, b"\0\0\0\x02\x0a\x00", b"\0\0\0\x04\x0a\x02\x08\x07", b"\x7f\xff\xff\xff"])
def test_nonsense_on_its_socket_changes_nothing(lab, bytes_):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    path = lab.socket.parent / "handover.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(bytes_)
        time.sleep(0.2)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host() is not None
    replace(lab)
