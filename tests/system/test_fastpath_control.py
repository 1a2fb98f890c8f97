"""gw-fastpath alone, black box: the RPC's rules, tunnels and their devices, restarts with the keeper.
The topology is drawn in fastpath_lab.py, the peer is in fastpath_peer.py."""
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from scapy.all import IP, UDP

import fastpath_lab as lab_module
from fastpath_lab import FastpathLab, add_sa, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, PEER4, SITE4, Tunnel, kept_lab, lab, packets, xsk_only  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_ecmp_spreads_flows_and_keeps_them(lab):
    first = Tunnel(lab)
    second = Tunnel(lab, number=2, like=first)
    first.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(
        prefix=packed("10.9.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1, 2])]))

    def way(port):
        lab.wan.drain()
        first.from_host(IP(src=HOST4, dst=SITE4) / UDP(sport=port, dport=9))
        frame = lab.wan.receive(lambda f: first.received.matches(f))
        spi = struct.unpack(">I", bytes(frame[IP].payload)[:4])[0]
        return 1 if spi == first.out_spi else 2

    before = {port: way(port) for port in range(100, 140)}
    assert set(before.values()) == {1, 2}
    first.control.ok(del_tunnel=pb.DelTunnel(tunnel_id=2))
    assert {way(port) for port in range(100, 140)} == {1}
    assert run("ip", "-n", "fpg", "link", "show", "tun2", check=False) == ""


def test_carriers_that_go_together_are_told_at_once(lab):
    """The kernel tells of carriers once a second: zebra would hear of the first tunnel now and of the others a second later."""
    first = Tunnel(lab)
    tunnels = [first, *(Tunnel(lab, number=number, like=first) for number in range(2, 6))]
    names = {f"tun{number}" for number in range(1, 6)}
    poll("all have carrier", lambda: all(lab.carrier(name) for name in names))
    time.sleep(1.1)  # the second's account is clear
    with subprocess.Popen(["ip", "-n", "fpg", "-o", "monitor", "link"], stdout=subprocess.PIPE, text=True) as monitor:
        time.sleep(0.2)
        start = time.monotonic()
        for tunnel in tunnels:
            first.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
        told = {}
        timer = threading.Timer(3, monitor.kill)
        timer.start()
        for line in monitor.stdout:
            name = line.split(": ")[1]
            if name in names and "NO-CARRIER" in line:
                told.setdefault(name, time.monotonic() - start)
            if told.keys() == names:
                break
        timer.cancel()
        monitor.kill()
    assert told.keys() == names and max(told.values()) < 0.5, told


def test_a_device_that_somebody_deleted_is_made_again(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "link", "del", "tun1")
    tunnel.configure()
    assert lab.carrier("tun1"), "made again, and its SA is there"
    lab.wan.drain()
    run("ip", "-n", "fpg", "route", "add", "10.66.0.0/16", "dev", "tun1")

    def read():
        tunnel.from_host(IP(src=HOST4, dst="10.66.0.1") / UDP())
        got = tunnel.at_peer(0.5)
        return got and got[0].dst == "10.66.0.1"
    poll("packets that the kernel routes into it are sent", read)


def test_strict_reverse_path_filtering_does_not_reach_tunnel_devices(lab):
    def rp_filter(device):
        return run("ip", "netns", "exec", "fpg", "sysctl", "-n", f"net.ipv4.conf.{device}.rp_filter").strip()
    tunnel = Tunnel(lab)
    assert rp_filter("tun1") == "0"
    run("ip", "netns", "exec", "fpg", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    Tunnel(lab, number=2, like=tunnel)
    assert rp_filter("tun2") == "2", "the larger of this and 'all' counts; 2 is loose"


def test_refusals_change_nothing(lab):
    tunnel = Tunnel(lab)
    before = tunnel.control.ok(list_sas=pb.ListSas()).sas.sas
    other_key = add_sa(tunnel.in_spi, PEER4, GW4, os.urandom(36), True)
    assert tunnel.ike.refused(pb.ALREADY_EXISTS, add_sa=other_key).field == "id"
    unrecorded = add_sa(0x7777, PEER4, GW4, os.urandom(36), False, fresh=False)
    tunnel.ike.refused(pb.NEEDS_REKEY, add_sa=unrecorded)
    assert tunnel.ike.refused(pb.INVALID_ARGUMENT, add_sa=add_sa(0x7778, PEER4, GW4, b"short", True)).field == "key"
    assert tunnel.control.refused(pb.INVALID_ARGUMENT, add_sa=add_sa(0x7779, PEER4, GW4, os.urandom(36), True)).field == "hello.role"
    tunnel.ike.refused(pb.NOT_FOUND, del_sa=pb.DelSa(id=pb.SaId(spi=0x9999, dst=packed(GW4))))
    assert tunnel.ike.refused(pb.INVALID_ARGUMENT, activate_outbound=pb.ActivateOutbound(id=tunnel.in_id)).field == "id"
    bad_batch = pb.UpdateRoutes(add=[pb.Route(prefix=packed("10.77.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1]),
                                     pb.Route(prefix=packed("10.78.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[99])])
    assert tunnel.control.refused(pb.NOT_FOUND, update_routes=bad_batch).field == "add[1].tunnel_ids"
    prefixes = [r.prefix for r in tunnel.control.ok(list_routes=pb.ListRoutes()).routes.routes]
    assert packed("10.77.0.0") not in prefixes
    after = tunnel.control.ok(list_sas=pb.ListSas()).sas.sas
    assert [(s.id.spi, s.tunnel_id) for s in after] == [(s.id.spi, s.tunnel_id) for s in before]
    assert "k" * 8 not in lab.log.read_text()


def test_what_packets_meet_can_be_read(lab):
    tunnel = Tunnel(lab)
    route = next(r for r in tunnel.control.ok(list_routes=pb.ListRoutes()).routes.routes if r.tunnel_ids)
    observer = lab.rpc(pb.ROLE_OBSERVER)
    asked = [route.prefix, packed("203.0.113.200"), packed("2001:db8:dead::1"), packed(GW4)]
    found = observer.ok(read_forwarding=pb.ReadForwarding(addresses=asked)).routes.routes
    assert [r.prefix for r in found] == asked
    assert (found[0].kind, list(found[0].tunnel_ids)) == (pb.NEXT_HOP_TUNNELS, list(route.tunnel_ids))
    assert [r.kind for r in found[1:]] == [pb.NEXT_HOP_UNSPECIFIED, pb.NEXT_HOP_UNSPECIFIED, pb.NEXT_HOP_LOCAL]
    assert observer.refused(pb.INVALID_ARGUMENT, read_forwarding=pb.ReadForwarding(addresses=[b"x"])).field == "addresses[0]"
    many = pb.ReadForwarding(addresses=[packed(GW4)] * 8193)
    assert observer.refused(pb.INVALID_ARGUMENT, read_forwarding=many).field == "addresses"


def test_frames_that_are_none(lab):
    client = lab.rpc(pb.ROLE_OBSERVER)
    client.send_raw(b"\xff\xff\xff not protobuf")
    assert client.read_frame().response.status.code == pb.MALFORMED
    client.send_raw(pb.ClientFrame(id=0, list_sas=pb.ListSas()).SerializeToString())
    assert client.read_frame().response.status.code == pb.MALFORMED
    client.ok(list_sas=pb.ListSas())  # the connection goes on
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(lab.socket))
    raw.sendall(struct.pack(">I", (1 << 20) + 1))
    raw.settimeout(3)
    assert raw.recv(10) == b"", "a frame beyond the limit ends the connection"
    raw.close()
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(lab.socket))
    payload = pb.ClientFrame(id=1, list_sas=pb.ListSas()).SerializeToString()
    silent.sendall(struct.pack(">I", len(payload)) + payload)
    silent.settimeout(3)
    answer = pb.ServerFrame.FromString(silent.recv(1000)[4:])
    assert answer.response.status.code == pb.MALFORMED, "no Hello first"
    silent.close()
    assert oct(os.stat(lab.socket).st_mode & 0o777) == "0o660"


def test_sync_done_sweeps_what_was_not_sent_again(lab):
    tunnel = Tunnel(lab)
    other = Tunnel(lab, number=2, like=tunnel)
    # charon reconnects and has only tunnel 1's SAs; gwd reconnects and has only tunnel 1.
    tunnel.ike = lab.rpc(pb.ROLE_IKE, epoch=1)
    tunnel.add_sas(fresh=False)
    tunnel.ike.ok(sync_done=pb.SyncDone())
    assert {s.tunnel_id for s in tunnel.ike.ok(list_sas=pb.ListSas()).sas.sas} == {1}
    tunnel.control = lab.rpc(pb.ROLE_CONTROL)
    tunnel.configure()
    tunnel.control.ok(sync_done=pb.SyncDone())
    assert [t.tunnel_id for t in tunnel.control.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels] == [1]
    assert other.number == 2
    tunnel.warm_up()


def test_a_hello_ends_the_older_connection_of_its_role(lab):
    tunnel = Tunnel(lab)
    observers = [lab.rpc(pb.ROLE_OBSERVER), lab.rpc(pb.ROLE_OBSERVER)]
    old = {pb.ROLE_IKE: tunnel.ike, pb.ROLE_CONTROL: tunnel.control}
    new = {role: lab.rpc(role) for role in old}
    for role, client in old.items():
        with pytest.raises(OSError):  # closed, or reset if it had not read everything
            client.call(list_sas=pb.ListSas())
        new[role].ok(list_sas=pb.ListSas())
    for observer in observers:
        observer.ok(list_sas=pb.ListSas())


def test_what_the_older_connection_had_sent_is_not_carried_out(lab):
    """gw-fastpath stalls, charon connects again: all of it is read in one go."""
    tunnel = Tunnel(lab)
    os.kill(lab.fastpath_pid(), signal.SIGSTOP)
    try:
        hello = pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=pb.ROLE_IKE, name="again", epoch=1)).SerializeToString()
        again = socket.socket(socket.AF_UNIX)
        again.connect(str(lab.socket))
        again.sendall(struct.pack(">I", len(hello)) + hello)
        late = [pb.ClientFrame(id=9000 + i, add_sa=add_sa(0x7000 + i, GW4, PEER4, os.urandom(36), False)).SerializeToString()
                for i in range(300)]
        tunnel.ike.socket.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in late))
    finally:
        os.kill(lab.fastpath_pid(), signal.SIGCONT)
    again.settimeout(5)
    assert again.recv(4096)
    count = len(tunnel.control.ok(list_sas=pb.ListSas()).sas.sas)
    time.sleep(0.3)
    assert len(tunnel.control.ok(list_sas=pb.ListSas()).sas.sas) == count < 2 + len(late), "nothing after the new Hello"
    again.close()


def test_refused_sas_leave_nothing_behind(tmp_path):
    small = FastpathLab(tmp_path, options=("--max-sas", 2))  # 4 records
    try:
        ike = small.rpc(pb.ROLE_IKE)
        for i in range(10):
            bad = add_sa(0x7000 + i, GW4, PEER4, os.urandom(36), False, udp=True, ports=(4500, 0))
            assert ike.refused(pb.INVALID_ARGUMENT, add_sa=bad).field == "dst"
        ike.ok(add_sa=add_sa(0x8000, GW4, PEER4, os.urandom(36), False))
    finally:
        assert small.close() == 0


def test_keys_and_packets_stay_out_of_core_files(lab):
    pid = lab.fastpath_pid()
    with open(f"/proc/{pid}/limits") as limits:
        core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    with open(f"/proc/{pid}/smaps") as smaps:
        flags, sizes = [], []
        for line in smaps:
            if line.startswith("Size:"):
                sizes.append(int(line.split()[1]))
            elif line.startswith("VmFlags:"):
                flags.append(line.split()[1:])
    assert any("dd" in f and size >= 3 * 2048 * 2 * 2 for f, size in zip(flags, sizes)), "the UMEM is not dumped"


@xsk_only  # about AF_XDP's modes
def test_ports_say_what_the_kernel_does(lab):
    for port in lab.rpc(pb.ROLE_OBSERVER).ok(list_ports=pb.ListPorts()).ports.ports:
        assert not port.zero_copy
        assert "no zero-copy AF_XDP on wan and vnet; the ports share their packet buffers" in port.reason


def test_kill_and_restart_keeps_carrier_and_never_repeats_an_iv(kept_lab):
    lab = kept_lab
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    to_host, to_site = packets(4)
    for _ in range(5):
        tunnel.from_host(to_site)
        assert tunnel.at_peer()
    captured = tunnel.sent.seal(bytes(to_host))
    lab.wan.send(tunnel.frame(captured))
    assert tunnel.at_host()
    changes = run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/carrier_changes")
    last_sequence = max(int.from_bytes(iv, "big") & 0xffffffffff for iv in tunnel.received.seen_ivs)

    old = lab.kill()
    started = time.monotonic()
    poll("the keeper starts it again", lambda: lab.fastpath_pid() not in (0, old), 10)
    lab.wait_ready()
    # `received` remembers every IV it has seen and refuses a second use.
    tunnel.ike, tunnel.control = lab.rpc(pb.ROLE_IKE, 1), lab.rpc(pb.ROLE_CONTROL)
    _, outbound = tunnel.add_sas(fresh=False)
    assert outbound.add_sa.iv_epoch == 2
    tunnel.configure()
    tunnel.ike.ok(sync_done=pb.SyncDone())
    tunnel.control.ok(sync_done=pb.SyncDone())
    took = time.monotonic() - started
    assert took < (2 if lab_module.PRESET == "release" else 20), f"{took:.1f} s"

    assert lab.carrier("tun1")
    assert run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/carrier_changes") == changes, "carrier never moved"
    sequences = []
    for _ in range(5):
        tunnel.from_host(to_site)
        got = tunnel.at_peer()
        assert got, "sends again"
        sequences.append(got[1])
        assert int.from_bytes(got[2], "big") >> 40 & 0xfffff == 2, "a new epoch"
    assert sequences == sorted(sequences) and sequences[0] > last_sequence, "the sequence goes on"
    lab.wan.drain()
    lab.vnet.drain()
    lab.wan.send(tunnel.frame(captured))
    assert tunnel.at_host(0.3) is None, "the replay window survived"
    tunnel.from_peer(to_host)
    assert tunnel.at_host()


def test_a_tunnel_that_is_gone_takes_its_kept_device_along(kept_lab):
    lab = kept_lab
    tunnel = Tunnel(lab)
    old = lab.kill()
    poll("the keeper starts it again", lambda: lab.fastpath_pid() not in (0, old), 10)
    lab.wait_ready()
    control = lab.rpc(pb.ROLE_CONTROL)
    assert lab.carrier("tun1"), "kept"
    control.ok(sync_done=pb.SyncDone())
    assert run("ip", "-n", "fpg", "link", "show", "tun1", check=False) == ""
    assert tunnel.number == 1


def test_a_reboot_forgets_and_asks_for_rekey(lab):
    """Without its records (a reboot empties tmpfs) a replayed key is refused, a fresh one taken."""
    tunnel = Tunnel(lab)
    lab.kill()
    run("rm", "-rf", lab.state)
    lab.start()
    ike = lab.rpc(pb.ROLE_IKE)
    ike.refused(pb.NEEDS_REKEY, add_sa=add_sa(tunnel.out_spi, GW4, PEER4, tunnel.keys[1], False, fresh=False))
    ike.ok(add_sa=add_sa(tunnel.out_spi, GW4, PEER4, os.urandom(36), False))
