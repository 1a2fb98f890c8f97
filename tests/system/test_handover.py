"""gw-fastpath --replace, alone, black box: nothing is lost, no nonce and no sequence number repeats, whoever dies when."""
import os
import signal
import socket
import time

import pytest

from fastpath_lab import pb, poll
from fastpath_peer import Tunnel, kept_lab, lab, packets  # noqa: F401 (fixtures)
from handover_lab import Traffic, forget_clients, replace, waits_us
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


def test_another_one_with_other_options_is_refused(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    _, new = replace(lab, ["--instance", "3"], wait=False)
    assert new.wait(20) == 1
    assert "--instance is 0 here and 3 there" in lab.log.read_text()
    assert lab.process.poll() is None
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host() is not None


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
            taken = "took over" in lab.log.read_text()
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
