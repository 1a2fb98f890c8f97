"""gwctl capture on gw-fastpath alone, on both kinds of port: how it ends, and what is refused. Whoever looks, packets do not
wait for him."""
import contextlib
import fcntl
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

from capture_station import GWCTL, captured, capturing, plain, wire  # noqa: F401 (plain, wire: fixtures)
from fastpath_lab import PRESET, poll, run
from packet_station import SETTLE, inner, station  # noqa: F401 (station: fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


# --- how it ends ----------------------------------------------------------------------------------------

def test_ends_when_time_is_up(plain, tmp_path):  # noqa: F811
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


def test_a_killed_gwctl_ends_it(plain, tmp_path):  # noqa: F811
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


def test_one_at_a_time(plain, tmp_path):  # noqa: F811
    with capturing(plain.lab, "-w", tmp_path / "first.pcapng") as first:
        with capturing(plain.lab, "-w", tmp_path / "second.pcapng", wait=False) as second:
            code, _, said = second.end(None)
        assert code == 1 and f"there is a capture already, by process {first.process.pid}; it ends by itself in" in said
        assert not (tmp_path / "second.pcapng").exists()
        plain.send_inner(inner(4, b"still"))
        assert len(plain.at_host(1)) == 1
        assert first.end()[0] == 0
    assert len(captured(tmp_path / "first.pcapng").packets) == 2


def test_a_reader_that_stands_still_costs_packets_of_the_capture_only(plain, tmp_path):  # noqa: F811
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


def test_a_full_disk_ends_it_and_the_file_is_good(plain, small_disk, tmp_path):  # noqa: F811
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


def test_nobody_reads_the_lines(plain):  # noqa: F811
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
def test_a_signal_ends_it_while_nobody_reads(plain, words, sent):  # noqa: F811
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


def test_a_fifo_without_a_reader(plain, tmp_path):  # noqa: F811
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


def test_words_that_cannot_be(plain, tmp_path):  # noqa: F811
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


def test_it_is_roots_alone(plain, tmp_path):  # noqa: F811
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


def test_hostile_questions(plain, tmp_path):  # noqa: F811
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
