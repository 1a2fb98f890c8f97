"""Who speaks to an instance's sync channel and is not the other instance, or not as it should, and a document that the other instance cannot
run: refused with a named reason, nothing half-applied, and traffic goes on. Frame by frame: hostile_test.cpp. ha_lab.py has the drawing."""

import copy
import os
import socket
import ssl
import struct
import time

import pytest

from coexistence import eventually
from gateway import GWCTL
from ha import HaWorld
from ha_lab import DUAL, GW_A, GW_B, INSTANCES
from lab import command

PORT = 9621
RATE = 125
MOST_FRAME = 64 << 10


@pytest.fixture(scope="module")
def world():
    with HaWorld("test_ha_hostile", sites=(DUAL,), bfd_ms=150) as ready:
        ready.settle_all()
        yield ready


def field(number: int, value) -> bytes:
    """A protobuf field: an unsigned number below 2^63, text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def hello(gateway="hub-lab", instance="gw-b", number=1, versions=(1, 1)) -> bytes:
    identity = field(1, gateway) + field(2, instance) + field(3, number) + field(4, 4711)
    return framed(field(1, field(1, versions[0]) + field(2, versions[1]) + field(3, identity)))


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


class Stranger:
    """A TLS connection to gw-a's first sync address from gw-b's, with certificates of a folder; says something, and ends."""

    def __init__(self, world, folder, instance="gw-b", newest=ssl.TLSVersion.TLSv1_3):
        self.namespace = world.lab.ns["gw-b"].name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.maximum_version = newest
        self.context.load_cert_chain(folder / f"{instance}.crt", folder / f"{instance}.key")

    def say(self, *frames: bytes):
        try:
            with self.connected() as plain, self.context.wrap_socket(plain) as connection:
                for frame in frames:
                    connection.sendall(frame)
                while connection.recv(4096):
                    pass
        except OSError:
            pass  # refused in TLS already, or reset: what the gateway says of it counts

    def connected(self) -> socket.socket:
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{self.namespace}") as other:
            os.setns(other.fileno(), os.CLONE_NEWNET)
            try:
                plain = socket.socket()
            finally:
                os.setns(own.fileno(), os.CLONE_NEWNET)
        plain.settimeout(2)
        plain.bind((GW_B.sync[0], 0))
        plain.connect((GW_A.sync[0], PORT))
        return plain


def another_authority(world):
    folder = world.lab.private_dir("stranger")
    if not (folder / "ca.crt").exists():
        command([GWCTL, "ha", "init", "--gateway", "hub-lab", "--dir", folder, "gw-a", "gw-b"])
    return folder


def real(world):
    return world.of(GW_B).etc / "ha"


# Who, what is said, and what gw-a says of it.
STRANGERS = {
    "another authority": (lambda w: Stranger(w, another_authority(w)), (hello(),), "its certificate is by another authority than ours"),
    "our own certificate": (lambda w: Stranger(w, real(w), "gw-a"), (hello(),), "it has the certificate of gw://hub-lab/gw-a, as this one"),
    "older TLS": (lambda w: Stranger(w, real(w), newest=ssl.TLSVersion.TLSv1_2), (hello(),), "no TLS 1.3 on the other side"),
    "unknown version": (lambda w: Stranger(w, real(w)), (hello(versions=(2, 3)),), "it speaks versions 2 to 3 of the sync channel"),
    "another gateway": (lambda w: Stranger(w, real(w)), (hello(gateway="hub-west"),), "it is of gateway 'hub-west', this is hub-lab"),
    "our own number": (lambda w: Stranger(w, real(w)), (hello(number=0),), "it says that it is gw-b (number 0), as this one is"),
    "a clone": (lambda w: Stranger(w, real(w)), (hello(),), "another process that is gw-b is connected and alive"),
    "oversized": (lambda w: Stranger(w, real(w)), (struct.pack(">I", MOST_FRAME + 1),), f"frame of {MOST_FRAME + 1} bytes"),
    "no protobuf": (lambda w: Stranger(w, real(w)), (b"\0\0\0\3\xff\xff\xff",), "does not parse"),
    "no hello": (lambda w: Stranger(w, real(w)), (framed(field(4, field(1, 1))),), "it did not begin with Hello"),
}


@pytest.mark.timeout(120)
def test_strangers_are_refused_by_name_and_nothing_is_lost(world):
    gateway = world.of(GW_A)
    owned = {i: world.of(i).owned() for i in INSTANCES}
    unnamed = []
    with world.load(DUAL, rate=RATE) as load:
        time.sleep(0.3)
        for about, (who, words, reason) in STRANGERS.items():
            at = gateway.gwd.log.stat().st_size
            who(world).say(*words)
            said = lambda start=at: gateway.gwd.log.read_text()[start:]  # noqa: E731
            try:
                eventually(f"gw-a names it: {about}", lambda s=said, r=reason: r in s(), 3)
            except AssertionError:
                unnamed.append(f"{about}: {said()}")
        # Half a frame, and then nothing: it is not waited for.
        Stranger(world, real(world)).say(hello()[:9])
        eventually("gw-a names it", lambda: "nothing was heard in time" in gateway.gwd.log.read_text(), 5)
        eventually("the instances hear each other by both paths", lambda: all(p["connected"] for p in gateway.ha()["paths"]))
    assert not unnamed, "\n".join(unnamed)
    load.assert_no_loss()
    assert {i: world.of(i).owned() for i in INSTANCES} == owned
    peer, = gateway.ha()["peers"]
    assert peer["sync"] and peer["data"] and peer["has_all_of_ours"]


@pytest.mark.timeout(120)
def test_what_the_other_instance_cannot_run_is_run_by_neither(world):
    """The file is beside gw-a's document, and not beside gw-b's."""
    gw_a, gw_b = (world.of(i) for i in INSTANCES)
    only_here = gw_a.etc / "secrets" / "only-here.psk"
    only_here.touch(mode=0o600)
    only_here.write_text("0123456789abcdef\n")
    doc = copy.deepcopy(gw_a.doc)
    doc["connections"][0]["secret"]["psk_file"] = "secrets/only-here.psk"
    revisions = [g.ctl("show", "revisions") for g in (gw_a, gw_b)]
    with world.load(DUAL, rate=RATE) as load:
        said = gw_a.fails("apply", gw_a.write(doc))
        time.sleep(1)
    assert "gw-b" in said and "only-here.psk" in said, said
    assert [g.ctl("show", "revisions") for g in (gw_a, gw_b)] == revisions, "half-applied"
    load.assert_no_loss()
    gw_a.write(gw_a.doc)
