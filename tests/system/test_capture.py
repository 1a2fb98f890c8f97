"""gwctl capture on gw-fastpath alone, on both kinds of port: what it shows is compared with what was sent, by a reader of
pcapng and an ESP of their own. Whoever looks, packets do not wait for him."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import termios
import time
from collections import Counter

import pytest

import pcapng
from esp_peer import EspSa, payload_of
from fastpath_lab import PRESET, TOP, pb, packed, poll, run
from fastpath_peer import GW4, HOST4, PEER4, SITE4
from packet_station import SETTLE, inner, routed, station  # noqa: F401 (station is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

GWCTL = TOP / "build" / PRESET / "bin" / "gwctl"
RAW_IP = 101


class Gwctl:
    """A running `gwctl capture`, which captures when this is made."""

    def __init__(self, lab, *words, stdout=subprocess.PIPE, wait=True):
        self.process = subprocess.Popen([str(w) for w in (GWCTL, "--socket", lab.dir / "gwd.sock", "capture", *words)],
                                        stdout=stdout, stderr=subprocess.PIPE)
        self.said = b""
        if wait:
            self.said = self.process.stderr.readline()
            assert b"capturing for at most" in self.said, self.said

    def end(self, send=signal.SIGINT, seconds=15):
        """Its exit code, standard output and what it said."""
        if send and self.process.poll() is None:
            self.process.send_signal(send)
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, (self.said + err).decode()


@contextlib.contextmanager
def capturing(lab, *words, **how):
    gwctl = Gwctl(lab, *words, **how)
    try:
        yield gwctl
    finally:
        if gwctl.process.poll() is None:
            gwctl.process.kill()
            gwctl.process.communicate()


def captured(file):
    return pcapng.read(file.read_bytes())


def esp_of(packet: bytes):
    """What follows the outer header, UDP included."""
    header = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
    assert protocol in (17, 50)
    return packet[header + (8 if protocol == 17 else 0):]


def addresses_of(packet: bytes):
    return packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]


@pytest.fixture(params=["v4", "v4-udp", "v6", "v6-udp"])
def wire(request, station):  # noqa: F811
    with station.wire(v6="v6" in request.param, udp="udp" in request.param) as made:
        yield made


@pytest.fixture
def plain(station):  # noqa: F811
    with station.wire() as made:
        yield made


# --- what it shows --------------------------------------------------------------------------------------

def test_both_sides_of_every_packet(wire, tmp_path):
    """Inner and outer, in and out, byte by byte; a gso port's kernel keeps the outer header, and that is said."""
    lab, file = wire.lab, tmp_path / "all.pcapng"
    packets = [inner(version, os.urandom(size)) for version in (4, 6) for size in (0, 1, 2, 3, 700, 1300)]
    answers = [inner(version, os.urandom(size), to_host=False) for version in (4, 6) for size in (5, 1300)]
    with capturing(lab, "-w", file) as gwctl:
        before = time.time_ns()
        sent = []
        for packet in packets:
            sent.append(wire.outer(wire.to_gw.seal(packet)))
            wire.send(sent[-1])
        assert len(wire.at_host(len(packets))) == len(packets)
        for answer in answers:
            wire.from_host(answer)
        left = [outer for _, _, _, outer in wire.at_peer(len(answers))]
        code, _, said = gwctl.end()
    assert code == 0, said
    seen = captured(file)
    assert {name: (link, snap) for name, (link, snap, _) in seen.interfaces.items()} == {n: (RAW_IP, 65535) for n in ("inner", "outer", "drops")}
    assert seen.interfaces["outer"][2] == f"ESP on wan ({wire.station.kind} port)"
    assert [p.data for p in seen.of("inner", "in")] == packets
    assert [p.data for p in seen.of("inner", "out")] == [routed(a) for a in answers]
    came, went = seen.of("outer", "in"), seen.of("outer", "out")
    assert [esp_of(p.data) for p in came] == [esp_of(p) for p in sent]
    assert [esp_of(p.data) for p in went] == [esp_of(p) for p in left]
    assert [addresses_of(p.data) for p in came + went] == [addresses_of(p) for p in sent + left]
    if wire.station.kind == "xsk":
        assert [p.data for p in came + went] == sent + left
    assert all(("by the kernel" in p.comment) == (wire.station.kind == "gso") for p in came + went)
    assert all(f"tunnel site{wire.number}" in p.comment for p in seen.packets)
    assert all(f"SPI 0x{(wire.to_gw if p.direction == 'in' else wire.from_gw).spi:08x}" in p.comment for p in seen.packets)
    assert all(p.length == len(p.data) and before <= p.time_ns <= time.time_ns() for p in seen.packets)
    both = len(packets) + len(answers)
    assert seen.statistics == {"inner": (both, 0), "outer": (both, 0), "drops": (0, 0)}
    assert f"{2 * both} packets captured, of {2 * both} that came by; 0 lost" in said


def test_drops_have_their_reason_and_the_packet(wire, tmp_path):
    lab, file = wire.lab, tmp_path / "drops.pcapng"
    good = inner(4, b"good")
    first = wire.outer(wire.to_gw.seal(good))
    wire.send(first)
    assert len(wire.at_host(1)) == 1
    forged = wire.to_gw.seal(inner(4, b"forged" * 50))
    forged = wire.outer(forged[:-1] + bytes([forged[-1] ^ 1]))
    spoofed = inner(4, b"spoofed", src="10.1.0.99")
    wire.settle(1)
    with capturing(lab, "--point", "drops", "-w", file) as gwctl:
        wire.send(first)  # once more
        wire.expect(replay=1)
        wire.send(forged)
        wire.expect(icv=1)
        wire.send_inner(spoofed)
        wire.expect(spoofed_source=1)
        code, _, said = gwctl.end()
    assert code == 0, said
    seen = captured(file)
    assert list(seen.interfaces) == ["drops"]
    assert [re.match(r"dropped: (\w+), ", p.comment)[1] for p in seen.packets] == ["replay", "icv", "spoofed_source"]
    assert [esp_of(p.data) for p in seen.packets[:2]] == [esp_of(first), esp_of(forged)], "as it came, not as decryption left it"
    assert seen.packets[2].data == spoofed
    assert all(p.direction == "in" and f"tunnel site{wire.number}" in p.comment for p in seen.packets)
    assert seen.statistics == {"drops": (3, 0)}


def test_a_packet_that_no_selector_matches_is_shown_clear(station, tmp_path):  # noqa: F811
    """So that it can be seen which one it would need."""
    narrow = [pb.Selector(first=packed("10.9.0.0"), last=packed("10.9.0.255"), last_port=65535)]
    wide = [pb.Selector(first=packed("0.0.0.0"), last=packed("255.255.255.255"), last_port=65535)]
    with station.wire(selectors=(wide, narrow)) as wire, capturing(wire.lab, "--point", "drops", "-w", tmp_path / "ts.pcapng") as gwctl:
        stranger = inner(4, b"stranger", src="10.9.1.1")
        wire.send_inner(stranger)
        wire.expect(ts_mismatch=1)
        assert gwctl.end()[0] == 0
    packet, = captured(tmp_path / "ts.pcapng").packets
    assert packet.data == stranger and packet.comment.startswith("dropped: ts_mismatch, ")


def test_what_cannot_leave_is_a_drop_and_no_outer_packet(station, tmp_path):  # noqa: F811
    with station.wire() as wire:
        station.ike.ok(del_sa=pb.DelSa(id=wire.out_id))
        with capturing(wire.lab, "-w", tmp_path / "out.pcapng") as gwctl:
            packet = inner(4, b"nowhere", to_host=False)
            wire.from_host(packet)
            wire.expect(no_outbound_sa=1)
            assert gwctl.end()[0] == 0
    seen = captured(tmp_path / "out.pcapng")
    assert seen.of("outer") == [] and seen.of("inner") == []
    drop, = seen.of("drops")
    assert drop.data == packet and drop.direction == "out" and drop.comment.startswith(f"dropped: no_outbound_sa, tunnel site{wire.number}")


def test_snap_keeps_the_real_length(plain, tmp_path):
    with capturing(plain.lab, "--snap", 60, "-w", tmp_path / "snap.pcapng") as gwctl:
        packet = inner(4, os.urandom(1000))
        plain.send_inner(packet)
        assert len(plain.at_host(1)) == 1
        assert gwctl.end()[0] == 0
    seen = captured(tmp_path / "snap.pcapng")
    assert [(p.length, p.data) for p in seen.of("inner")] == [(len(packet), packet[:60])]
    assert [len(p.data) for p in seen.of("outer")] == [60]


def test_only_one_tunnel(station, tmp_path):  # noqa: F811
    with station.wire() as one, station.wire() as other:
        with capturing(one.lab, "--tunnel", f"site{one.number}", "-w", tmp_path / "one.pcapng") as gwctl:
            for wire in (one, other, one):
                wire.send_inner(inner(4, f"by {wire.number}".encode()))
            assert len(one.at_host(3)) == 3
            assert gwctl.end()[0] == 0
    seen = captured(tmp_path / "one.pcapng")
    assert [p.data for p in seen.of("inner")] == [inner(4, f"by {one.number}".encode())] * 2
    assert len(seen.packets) == 4


def test_lines_and_json(plain, tmp_path):
    packet = inner(4, b"0123456789", ports=(1000, 2000))
    line = f"{SITE4}.1000 > {HOST4}.2000: UDP, length 10"
    with capturing(plain.lab, "--point", "inner", "--count", 1) as gwctl:
        plain.send_inner(packet)
        code, out, said = gwctl.end(None)
    assert code == 0, said
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{6}}Z in  inner site{plain.number} {plain.to_gw.spi:08x} {re.escape(line)}\n", out.decode())
    with capturing(plain.lab, "--json", "--point", "inner", "--point", "outer", "--count", 2) as gwctl:
        plain.send_inner(packet)
        code, out, said = gwctl.end(None)
    assert code == 0, said
    outer, clear = map(json.loads, out.splitlines())
    assert (outer["point"], clear["point"]) == ("outer", "inner")
    assert clear["data"] == packet.hex() and clear["summary"] == line
    assert clear["tunnel"] == outer["tunnel"] == f"site{plain.number}" and clear["direction"] == "in"
    assert f"{PEER4} > {GW4}: ESP(spi=0x{plain.to_gw.spi:08x}" in outer["summary"]


def test_to_a_pipe_and_tcpdump_reads_it(plain):
    """libpcap 1.10 reads one interface of raw IP, and refuses a second one; Wireshark does not mind."""
    for point, line in (("inner", f"IP {SITE4}.1000 > {HOST4}.2000: UDP, length 9"), ("outer", f"ESP(spi=0x{plain.to_gw.spi:08x}")):
        with capturing(plain.lab, "-w", "-", "--point", point, "--count", 1) as gwctl:
            plain.send_inner(inner(4, b"by a pipe"))
            code, out, said = gwctl.end(None)
        assert code == 0, said
        assert len(pcapng.read(out).packets) == 1
        read = subprocess.run(["tcpdump", "-n", "-r", "-"], input=out, capture_output=True, check=True)
        assert line in read.stdout.decode()


def test_filters_are_tcpdumps(plain, tmp_path):
    with capturing(plain.lab, "-w", tmp_path / "f.pcapng", "udp", "dst", "port", "2001", "or", "(ip6 and udp port 3000)") as gwctl:
        wanted = [inner(4, b"yes", ports=(1000, 2001)), inner(6, b"yes", ports=(3000, 1))]
        for packet in (inner(4, b"no"), wanted[0], inner(6, b"no"), wanted[1]):
            plain.send_inner(packet)
        assert len(plain.at_host(4)) == 4
        code, _, said = gwctl.end()
    assert code == 0, said
    assert [p.data for p in captured(tmp_path / "f.pcapng").packets] == wanted
    assert "2 packets captured, of 8 that came by" in said


def test_keys_open_what_was_captured(wire, tmp_path):
    """The file's keys and the outer packets are enough for the clear ones: what Wireshark would do."""
    keys, file = tmp_path / "keys", tmp_path / "c.pcapng"
    with capturing(wire.lab, "--esp-keys", keys, "-w", file) as gwctl:
        wire.send_inner(packet := inner(4, b"secret"))
        assert len(wire.at_host(1)) == 1
        code, _, said = gwctl.end()
    assert code == 0 and f"{keys} has the keys of" in said
    assert oct(keys.stat().st_mode & 0o777) == "0o600"
    line = next(line for line in keys.read_text().splitlines() if f'"0x{wire.to_gw.spi:08x}"' in line)
    family, src, dst, _, cipher, key, integrity, integrity_key = json.loads(f"[{line}]")
    assert (family, src, dst) == ("IPv6" if ":" in wire.gw else "IPv4", wire.peer, wire.gw)
    assert (cipher, integrity, integrity_key) == ("AES-GCM with 16 octet ICV [RFC4106]", "NULL", "")
    outer, = captured(file).of("outer", "in")
    reader = EspSa(wire.to_gw.spi, wire.to_gw.transform, wire.to_gw.esn, bytes.fromhex(key[2:]))
    text, _, _ = reader.open(esp_of(outer.data))
    assert payload_of(text, reader.transform.align)[0] == packet
    log = wire.lab.log.read_text()
    assert re.search(rf"warning capture: process {gwctl.process.pid} of root is given the keys of \d+ SAs", log)
    with capturing(wire.lab, "--esp-keys", keys, wait=False) as again:
        code, _, said = again.end(None)
    assert code == 2 and "exists: keys go into a file of their own" in said


def test_keys_of_an_sa_that_came_meanwhile(plain, tmp_path):
    keys = tmp_path / "keys"
    with capturing(plain.lab, "--esp-keys", keys, "--tunnel", f"site{plain.number}", "--json") as gwctl:
        rekeyed = EspSa(0x77770001)
        plain.station.ike.ok(add_sa=plain.request(rekeyed, True))
        assert gwctl.end()[0] == 0
    plain.station.ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=rekeyed.spi, dst=packed(plain.gw))))
    assert [line.split(",")[3] for line in keys.read_text().splitlines()] == \
        [f'"0x{spi:08x}"' for spi in (plain.to_gw.spi, plain.from_gw.spi, rekeyed.spi)], "of this tunnel, each once"
    given = re.findall(rf"process {gwctl.process.pid} of root is given the keys of (\d+) SAs", plain.lab.log.read_text())
    assert given == ["2", "1"], "each time that some are given is in the log"


def test_no_keys_unless_asked_for(plain, tmp_path):
    with capturing(plain.lab, "--json") as gwctl:
        plain.send_inner(inner(4, b"x"))
        assert len(plain.at_host(1)) == 1
        _, out, said = gwctl.end()
    assert plain.to_gw.key.hex() not in out.decode() + said


# --- how it ends ----------------------------------------------------------------------------------------

def test_ends_when_time_is_up(plain, tmp_path):
    start = time.monotonic()
    with capturing(plain.lab, "--seconds", 1, "-w", tmp_path / "t.pcapng") as gwctl:
        code, _, said = gwctl.end(None, 6)
    assert code == 0 and "time is up" in said
    assert 0.9 < time.monotonic() - start < 5
    assert captured(tmp_path / "t.pcapng").statistics["inner"] == (0, 0)


def threads(lab):
    pid = lab.fastpath_pid()
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            names.append(pathlib.Path(f"/proc/{pid}/task/{task}/comm").read_text().strip())
    return names


def resident_kb(lab):
    """Counted page by page: VmRSS may be some MiB late."""
    with open(f"/proc/{lab.fastpath_pid()}/smaps_rollup") as rollup:
        return int(re.search(r"Rss:\s+(\d+)", rollup.read())[1])


def expect_room_for_another(lab, tmp_path):
    """The capture before has ended, its thread and its memory gone."""
    poll("the thread has gone", lambda: "gw-capture" not in threads(lab))
    with capturing(lab, "--seconds", 30, "-w", tmp_path / "another.pcapng") as another:
        assert another.end()[0] == 0
    poll("the thread has gone", lambda: "gw-capture" not in threads(lab))


def test_a_killed_gwctl_ends_it(plain, tmp_path):
    lab = plain.lab
    expect_room_for_another(lab, tmp_path)  # what is allocated once is
    before = resident_kb(lab)
    with capturing(lab, "-w", tmp_path / "k.pcapng") as gwctl:
        assert "gw-capture" in threads(lab)
        assert resident_kb(lab) - before > 7 * 1024, "the buffer is there from the beginning"
        gwctl.process.kill()
        gwctl.process.wait()
        poll("the thread has gone", lambda: "gw-capture" not in threads(lab))
    if PRESET == "release":  # a sanitizer keeps what was freed
        poll("the memory is given back", lambda: resident_kb(lab) - before < 2048)
    expect_room_for_another(lab, tmp_path)


def test_one_at_a_time(plain, tmp_path):
    with capturing(plain.lab, "-w", tmp_path / "first.pcapng") as first:
        with capturing(plain.lab, "-w", tmp_path / "second.pcapng", wait=False) as second:
            code, _, said = second.end(None)
        assert code == 1 and f"there is a capture already, by process {first.process.pid}; it ends by itself in" in said
        assert not (tmp_path / "second.pcapng").exists()
        plain.send_inner(inner(4, b"still"))
        assert len(plain.at_host(1)) == 1
        assert first.end()[0] == 0
    assert len(captured(tmp_path / "first.pcapng").packets) == 2


def test_a_reader_that_stands_still_costs_packets_of_the_capture_only(plain, tmp_path):
    """Twice what all buffers hold. Every packet is forwarded, and it is told how many were not captured."""
    count, batch = 8000, 100
    packet = inner(4, os.urandom(1330))
    with capturing(plain.lab, "-w", tmp_path / "stall.pcapng") as gwctl:
        gwctl.process.send_signal(signal.SIGSTOP)
        for _ in range(count // batch):
            for _ in range(batch):
                plain.send_inner(packet)
            assert len(plain.at_host(batch)) == batch
        plain.expect(delivered=count)
        gwctl.process.send_signal(signal.SIGCONT)
        code, _, said = gwctl.end()
    assert code == 0, said
    seen = captured(tmp_path / "stall.pcapng")
    lost = {name: dropped for name, (_, dropped) in seen.statistics.items()}
    assert lost["inner"] > 100 and lost["outer"] > 100 and lost["drops"] == 0
    assert [received for name, (received, _) in seen.statistics.items() if name != "drops"] == [count, count]
    assert len(seen.packets) == 2 * count - sum(lost.values())
    assert f"{sum(lost.values())} lost, because the buffer was full" in said


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=256k", "small", place)
    yield place
    run("umount", place)


def test_a_full_disk_ends_it_and_the_file_is_good(plain, small_disk, tmp_path):
    packet = inner(4, os.urandom(1300))
    with capturing(plain.lab, "--point", "inner", "-w", small_disk / "full.pcapng") as gwctl:
        for _ in range(50):
            for _ in range(20):
                plain.send_inner(packet)
            assert len(plain.at_host(20)) == 20
            if gwctl.process.poll() is not None:
                break
        code, _, said = gwctl.end(None)
    assert code == 2 and "No space left on device" in said
    seen = captured(small_disk / "full.pcapng")
    assert len(seen.packets) > 100 and {p.data for p in seen.packets} == {packet}
    expect_room_for_another(plain.lab, tmp_path)


def test_nobody_reads_the_lines(plain):
    """gwctl capture | head -1"""
    with capturing(plain.lab, "--point", "inner") as gwctl:
        gwctl.process.stdout.close()
        for _ in range(20):
            plain.send_inner(inner(4, b"x"))
            assert len(plain.at_host(1)) == 1
            if gwctl.process.poll() is not None:
                break
        poll("it has ended", lambda: gwctl.process.poll() is not None)
    assert gwctl.process.returncode == 2


@pytest.mark.parametrize("words", [("-w", "-"), (), ("--json",)], ids=["pcapng", "lines", "json"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["INT", "TERM", "HUP"])
def test_a_signal_ends_it_while_nobody_reads(plain, words, sent):
    """gwctl capture -w - | wireshark, which stands still: the pipe is full."""
    with capturing(plain.lab, "--point", "inner", *words) as gwctl:
        fcntl.fcntl(gwctl.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(60):
            plain.send_inner(inner(4, os.urandom(1300)))
            assert len(plain.at_host(1)) == 1
        poll("the pipe is full", lambda: struct.unpack("i", fcntl.ioctl(gwctl.process.stdout, termios.FIONREAD, bytes(4)))[0] > 0)
        time.sleep(SETTLE)
        gwctl.process.send_signal(sent)
        assert gwctl.process.wait(2) == 2
        assert b"its reader stands still" in gwctl.process.stderr.read()


def test_a_fifo_without_a_reader(plain, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with capturing(plain.lab, "-w", fifo, wait=False) as gwctl:
        poll("it captures", lambda: "gw-capture" in threads(plain.lab))
        time.sleep(SETTLE)
        code, _, said = gwctl.end(signal.SIGTERM, 2)
    assert code == 2 and f"nobody reads {fifo}" in said
    expect_room_for_another(plain.lab, tmp_path)


# --- what is refused ------------------------------------------------------------------------------------

def refused(lab, *words):
    with capturing(lab, *words, wait=False) as gwctl:
        code, out, said = gwctl.end(None)
    assert out == b""
    return code, said


def test_words_that_cannot_be(plain, tmp_path):
    code, said = refused(plain.lab, "-w", tmp_path / "no.pcapng", "tcp", "and", "and")
    assert code == 2 and said.startswith("gwctl: filter: 'tcp and and': ") and "syntax error" in said
    assert not (tmp_path / "no.pcapng").exists()
    assert refused(plain.lab, "--tunnel", "rome") == (1, "gwctl: gw-fastpath: tunnel: 'rome' does not exist (gwctl show tunnels has their names)\n")
    code, said = refused(plain.lab, "--worker", 64)
    assert code == 1 and "worker: 64 does not exist; there are" in said
    for words in (("--seconds", 0), ("--count", 0), ("--snap", 31), ("--snap", 65536), ("--point", "middle"), ("--worker", "x")):
        code, said = refused(plain.lab, *words)
        assert code == 2 and words[0] in said, said
    code, said = refused(plain.lab, "-w", "/nowhere/x.pcapng")
    assert code == 2 and "/nowhere/x.pcapng: No such file or directory" in said
    expect_room_for_another(plain.lab, tmp_path)


def test_it_is_roots_alone(plain, tmp_path):
    """By the socket's mode; and whoever may open it nevertheless is asked who he is."""
    socket = plain.lab.dir / "capture.sock"
    assert oct(socket.stat().st_mode & 0o777) == "0o600"
    closed = [p for p in socket.parents if not p.stat().st_mode & 0o001]  # pytest's folders
    modes = {p: p.stat().st_mode for p in (socket, *closed)}
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", str(GWCTL), "--socket", str(plain.lab.dir / "gwd.sock"), "capture"]
    try:
        for p in closed:
            p.chmod(modes[p] & 0o7777 | 0o011)
        done = subprocess.run(nobody, capture_output=True, text=True)
        assert done.returncode == 3 and "root's alone: try sudo" in done.stderr
        socket.chmod(0o666)
        done = subprocess.run(nobody, capture_output=True, text=True)
        assert done.returncode == 1 and "it is root's alone" in done.stderr
    finally:
        for p, mode in modes.items():
            p.chmod(mode & 0o7777)


def test_hostile_questions(plain, tmp_path):
    """Bytes that are no question, and clients that ask nothing: each is let go, and the next one is served."""
    import socket as sockets
    idle = []
    for said in (b"", b"\xff\xff\xff\xff", b"\0\0\0\2\xff\xff", b"\0\0\0\0", os.urandom(4096)):
        client = sockets.socket(sockets.AF_UNIX)
        client.connect(str(plain.lab.dir / "capture.sock"))
        client.sendall(said)
        idle.append(client)
    expect_room_for_another(plain.lab, tmp_path)
    for client in idle:
        client.close()


# --- gw-fastpath goes ------------------------------------------------------------------------------------

def test_without_gw_fastpath(tmp_path):
    done = subprocess.run([str(GWCTL), "--socket", str(tmp_path / "gwd.sock"), "capture"], capture_output=True, text=True)
    assert done.returncode == 3 and f"cannot reach gw-fastpath on {tmp_path}/capture.sock: there is no such socket" in done.stderr
    done = subprocess.run([str(GWCTL), "--socket", str(tmp_path / "gwd.sock"), "capture", "port"], capture_output=True, text=True)
    assert done.returncode == 2, "a filter is judged first"


def test_gw_fastpath_dies(station, tmp_path):  # noqa: F811
    """Last: it is another one afterwards."""
    with station.wire() as wire:
        with capturing(wire.lab, "-w", tmp_path / "dies.pcapng") as gwctl:
            wire.send_inner(inner(4, b"before"))
            assert len(wire.at_host(1)) == 1
            poll("it is written", lambda: len(captured(tmp_path / "dies.pcapng").packets) == 2)

            def gone():
                code, _, said = gwctl.end(None)
                assert code == 1 and "gw-fastpath has gone" in said
            station.restart(gone)
        seen = captured(tmp_path / "dies.pcapng")
        assert Counter(p.interface for p in seen.packets) == {"inner": 1, "outer": 1} and len(seen.statistics) == 3
        wire.installed_again()
        with capturing(wire.lab, "-w", tmp_path / "next.pcapng") as gwctl:
            wire.lab.process.terminate()
            code, _, said = gwctl.end(None)
            assert code == 1 and "gw-fastpath ends" in said
        wire.lab.process.wait(15)
        assert not (wire.lab.dir / "capture.sock").exists()
        wire.lab.start()
        station._connect()
