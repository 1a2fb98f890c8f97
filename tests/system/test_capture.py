"""gwctl capture on gw-fastpath alone, on both kinds of port: what it shows is compared with what was sent, by a reader of
pcapng and an ESP of their own."""
import json
import os
import re
import subprocess
import time

import pytest

import pcapng
from capture_station import RAW_IP, addresses_of, captured, capturing, esp_of, plain, wire  # noqa: F401 (plain, wire: fixtures)
from esp_peer import EspSa, payload_of
from fastpath_lab import packed, pb, run
from fastpath_peer import GW4, HOST4, PEER4, SITE4
from packet_station import inner, routed, station  # noqa: F401 (station: fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_both_sides_of_every_packet(wire, tmp_path):  # noqa: F811
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


def test_drops_have_their_reason_and_the_packet(wire, tmp_path):  # noqa: F811
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


def test_snap_keeps_the_real_length(plain, tmp_path):  # noqa: F811
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


def test_lines_and_json(plain, tmp_path):  # noqa: F811
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


def test_to_a_pipe_and_tcpdump_reads_it(plain):  # noqa: F811
    """libpcap 1.10 reads one interface of raw IP, and refuses a second one; Wireshark does not mind."""
    for point, line in (("inner", f"IP {SITE4}.1000 > {HOST4}.2000: UDP, length 9"), ("outer", f"ESP(spi=0x{plain.to_gw.spi:08x}")):
        with capturing(plain.lab, "-w", "-", "--point", point, "--count", 1) as gwctl:
            plain.send_inner(inner(4, b"by a pipe"))
            code, out, said = gwctl.end(None)
        assert code == 0, said
        assert len(pcapng.read(out).packets) == 1
        read = subprocess.run(["tcpdump", "-n", "-r", "-"], input=out, capture_output=True, check=True)
        assert line in read.stdout.decode()


def test_filters_are_tcpdumps(plain, tmp_path):  # noqa: F811
    with capturing(plain.lab, "-w", tmp_path / "f.pcapng", "udp", "dst", "port", "2001", "or", "(ip6 and udp port 3000)") as gwctl:
        wanted = [inner(4, b"yes", ports=(1000, 2001)), inner(6, b"yes", ports=(3000, 1))]
        for packet in (inner(4, b"no"), wanted[0], inner(6, b"no"), wanted[1]):
            plain.send_inner(packet)
        assert len(plain.at_host(4)) == 4
        code, _, said = gwctl.end()
    assert code == 0, said
    assert [p.data for p in captured(tmp_path / "f.pcapng").packets] == wanted
    assert "2 packets captured, of 8 that came by" in said


def test_keys_open_what_was_captured(wire, tmp_path):  # noqa: F811
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


def tshark(tmp_path, *words):
    """With the keys of a capture as its table of SAs, if there are some."""
    return run("env", f"WIRESHARK_CONFIG_DIR={tmp_path}", "tshark", "-n", *words)


def test_wireshark_opens_it(wire, tmp_path):  # noqa: F811
    """The file as it is: every packet at every point; and with the keys what is inside of the outer ones."""
    file = tmp_path / "w.pcapng"
    with capturing(wire.lab, "--esp-keys", tmp_path / "esp_sa", "-w", file) as gwctl:
        wire.send_inner(inner(4, b"a word that Wireshark shows"))
        assert len(wire.at_host(1)) == 1
        wire.from_host(inner(6, b"and its answer", to_host=False))
        assert len(wire.at_peer(1)) == 1
        code, _, said = gwctl.end()
    assert code == 0, said
    fields = [word for name in ("frame.interface_name", "frame.packet_flags_direction", "esp.spi", "frame.comment") for word in ("-e", name)]
    rows = [line.split("\t") for line in tshark(tmp_path, "-r", file, "-T", "fields", *fields).splitlines()]
    assert sorted((r[0], bool(r[2])) for r in rows) == [("inner", False)] * 2 + [("outer", True)] * 2, rows
    assert all(r[1] and r[3] for r in rows), "direction and comment"
    opened = tshark(tmp_path, "-r", file, "-o", "esp.enable_encryption_decode:TRUE", "-Y", "esp && udp && data", "-T", "fields", "-e", "data.data")
    assert {bytes.fromhex(value.split(",")[-1]) for value in opened.split()} == {b"a word that Wireshark shows", b"and its answer"}
    assert "malformed" not in tshark(tmp_path, "-r", file, "-V").lower()


def test_keys_of_an_sa_that_came_meanwhile(plain, tmp_path):  # noqa: F811
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


def test_no_keys_unless_asked_for(plain, tmp_path):  # noqa: F811
    with capturing(plain.lab, "--json") as gwctl:
        plain.send_inner(inner(4, b"x"))
        assert len(plain.at_host(1)) == 1
        _, out, said = gwctl.end()
    assert plain.to_gw.key.hex() not in out.decode() + said
