"""Reads pcapng files (draft-ietf-opsawg-pcapng), strictly: what a test of a writer wants. It shares nothing with cli/capture."""
import struct
from dataclasses import dataclass, field

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
DIRECTIONS = {0: None, 1: "in", 2: "out"}


@dataclass
class Packet:
    interface: str
    time_ns: int
    length: int
    data: bytes
    direction: str | None
    comment: str


@dataclass
class Capture:
    interfaces: dict = field(default_factory=dict)  # name -> (link type, snap, description)
    packets: list = field(default_factory=list)
    statistics: dict = field(default_factory=dict)  # name -> (received, dropped)

    def of(self, interface, direction=None):
        return [p for p in self.packets if p.interface == interface and direction in (None, p.direction)]


def options(raw: bytes):
    found = {}
    at = 0
    while at < len(raw):
        code, length = struct.unpack_from("<HH", raw, at)
        at += 4
        if code == 0:
            assert length == 0 and at == len(raw), "something follows the end of the options"
            return found
        value = raw[at:at + length]
        assert len(value) == length, "an option is cut off"
        found.setdefault(code, []).append(value)
        at += length + -length % 4
    assert not raw, "options without an end"
    return found


def read(raw: bytes) -> Capture:
    capture, names, at = Capture(), [], 0
    while at < len(raw):
        assert len(raw) - at >= 12, "half a block at the end"
        kind, length = struct.unpack_from("<II", raw, at)
        assert length % 4 == 0 and at + length <= len(raw), "half a block at the end"
        assert struct.unpack_from("<I", raw, at + length - 4)[0] == length
        body = raw[at + 8:at + length - 4]
        if kind == SECTION:
            assert at == 0 and struct.unpack_from("<IHH", body) == (0x1A2B3C4D, 1, 0)
            assert options(body[16:])[4][0].startswith(b"gwctl ")
        elif kind == INTERFACE:
            link, reserved, snap = struct.unpack_from("<HHI", body)
            found = options(body[8:])
            assert reserved == 0 and found[9] == [b"\x09"], "nanoseconds"
            names.append(found[2][0].decode())
            capture.interfaces[names[-1]] = (link, snap, found[3][0].decode())
        elif kind == PACKET:
            interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
            data = body[20:20 + captured]
            assert len(data) == captured <= original
            found = options(body[20 + captured + -captured % 4:])
            flags = struct.unpack("<I", found[2][0])[0]
            capture.packets.append(Packet(names[interface], high << 32 | low, original, data, DIRECTIONS[flags & 3],
                                          found.get(1, [b""])[0].decode()))
        elif kind == STATISTICS:
            found = options(body[12:])
            capture.statistics[names[struct.unpack_from("<I", body)[0]]] = tuple(struct.unpack("<Q", found[c][0])[0] for c in (4, 5))
        else:
            raise AssertionError(f"a block of type {kind:#x}")
        at += length
    return capture
