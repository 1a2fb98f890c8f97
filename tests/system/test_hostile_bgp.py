"""A site's router that says what no router should (RFC 4271, 7606), floods, flaps, and other programs at gwd's sockets: nobody of
ours ends, the other site loses no packet and no session, gwd and bgpd have the same routes all the time, and when it is over everything
is learned again."""
import itertools
import socket
import struct
import time

import pytest

from bgp_speaker import UPDATE, Route, attribute, message, of_site, path_bytes, prefix_bytes, update
from lab import LabError, Site, poll
from world import World

GOOD, HOSTILE = SITES = [Site(1), Site(2)]
PREFIX = "10.77.0.0/16"
LIMIT = 4000  # max_routes' default
EXTENDED_MESSAGE = bytes([6, 0])  # RFC 8654


@pytest.fixture(scope="module")
def world():
    with World("test_hostile_bgp", SITES) as ready:
        ready.offices[HOSTILE.name].router.process.stop()
        ready.bgpd_was_ended = False
        yield ready


@pytest.fixture(autouse=True)
def others_notice_nothing(world):
    """Around every test: the good site's session, its packets, our programs, and that gwd and bgpd agree."""
    router = world.offices[GOOD.name].router
    if not hasattr(world, "good_since"):
        world.good_since = router.lasting_session()
    pids = world.gateway.gwd.pid, world.gateway.fastpath_pid(), world.gateway.charon.process.pid
    with world.probes.load(GOOD, rate=200) as load:
        start = time.monotonic()
        yield
        time.sleep(max(0.2, 1 - (time.monotonic() - start)))
    load.assert_no_loss()
    assert (world.gateway.gwd.pid, world.gateway.fastpath_pid(), world.gateway.charon.process.pid) == pids
    if world.bgpd_was_ended:
        world.bgpd_was_ended = False
        del world.good_since
    else:
        router.assert_uninterrupted_since(world.good_since)
    assert router.established()
    assert_agree(world)


def told(world):
    """What bgpd has heard from the hostile site. Without a session: nothing."""
    return world.gateway.learned(HOSTILE)


def assert_agree(world, seconds=5.0):
    """gwd has heard what bgpd has, no more and no less, and FRR forwards as gwd does."""
    def now():
        return f"gwd {sorted(learned(world))[:9]}, bgpd {sorted(told(world))[:9]}, {world.gateway.zebra()}"
    try:
        poll("gwd has what bgpd has", lambda: learned(world) == told(world), seconds, 0.05)
        poll("FRR forwards as gwd does", world.gateway.routes_as_in_frr, seconds, 0.1)
    except LabError as late:
        raise AssertionError(f"{late}: {now()}") from late


def learned(world):
    return set(world.gateway.heard_from(HOSTILE))


def announce(peer, prefixes):
    route = Route((HOSTILE.asn,))
    peer.send(b"".join(update(prefix, route, HOSTILE.inner_site) for prefix in prefixes))


def assert_recovers(world):
    """A well-behaved session of the same peer is believed again."""
    peer = of_site(world.lab, HOSTILE)
    announce(peer, [PREFIX])
    poll(f"{PREFIX} is learned", lambda: PREFIX in learned(world), 10, 0.1)
    peer.close()


ORIGIN = attribute(0x40, 1, b"\0")
PATH = attribute(0x40, 2, path_bytes((HOSTILE.asn,)))
HOP = attribute(0x40, 3, socket.inet_aton(HOSTILE.inner_site))


def raw(attributes, nlri=prefix_bytes(PREFIX), withdrawn=b"", length=None):
    return message(UPDATE, struct.pack("!H", len(withdrawn)) + withdrawn
                   + struct.pack("!H", len(attributes) if length is None else length) + attributes + nlri)


def long_attribute(flags, code, value):
    return struct.pack("!BBH", flags | 0x10, code, len(value)) + value


# (what, message): each after a good announcement, in a session of its own.
MESSAGES = {
    "attributes-longer-than-the-message": raw(ORIGIN + PATH + HOP, length=2000),
    "withdrawn-longer-than-the-message": message(UPDATE, b"\xff\xff" + ORIGIN),
    "attribute-twice": raw(ORIGIN + ORIGIN + PATH + HOP),
    "mp-reach-twice": raw(2 * attribute(0x80, 14, bytes([0, 2, 1, 16]) + bytes(16) + b"\0" + b"\x30" + bytes(6))),
    "origin-unknown": raw(attribute(0x40, 1, b"\7") + PATH + HOP),
    "origin-too-long": raw(attribute(0x40, 1, b"\0\0") + PATH + HOP),
    "origin-optional": raw(attribute(0xC0, 1, b"\0") + PATH + HOP),
    "no-origin": raw(PATH + HOP),
    "no-path": raw(ORIGIN + HOP),
    "no-next-hop": raw(ORIGIN + PATH),
    "next-hop-of-3-bytes": raw(ORIGIN + PATH + attribute(0x40, 3, b"\1\2\3")),
    "next-hop-multicast": raw(ORIGIN + PATH + attribute(0x40, 3, b"\xe0\0\0\1")),
    "path-segment-beyond-the-attribute": raw(ORIGIN + attribute(0x40, 2, b"\2\x40\0\0\xfd\xfe") + HOP),
    "path-segment-empty": raw(ORIGIN + attribute(0x40, 2, b"\2\0") + HOP),
    "path-segment-of-unknown-type": raw(ORIGIN + attribute(0x40, 2, b"\x09\1\0\0\xfd\xfe") + HOP),
    "path-with-as-0": raw(ORIGIN + attribute(0x40, 2, path_bytes((HOSTILE.asn, 0))) + HOP),
    "unknown-well-known": raw(ORIGIN + PATH + HOP + attribute(0x40, 99, b"\1\2\3")),
    "unknown-optional": raw(ORIGIN + PATH + HOP + attribute(0xC0, 250, bytes(200))),
    "communities-of-5-bytes": raw(ORIGIN + PATH + HOP + attribute(0xC0, 8, bytes(5))),
    "communities-large-of-7-bytes": raw(ORIGIN + PATH + HOP + attribute(0xC0, 32, bytes(7))),
    "communities-extended-of-9-bytes": raw(ORIGIN + PATH + HOP + attribute(0xC0, 16, bytes(9))),
    "med-of-2-bytes": raw(ORIGIN + PATH + HOP + attribute(0x80, 4, b"\0\1")),
    "aggregator-of-3-bytes": raw(ORIGIN + PATH + HOP + attribute(0xC0, 7, b"\0\0\1")),
    "local-preference-on-ebgp": raw(ORIGIN + PATH + HOP + attribute(0x40, 5, b"\xff\xff\xff\xff")),
    "originator-on-ebgp": raw(ORIGIN + PATH + HOP + attribute(0x80, 9, b"\1\2\3\4") + attribute(0x80, 10, bytes(4))),
    "prefix-of-33-bits": raw(ORIGIN + PATH + HOP, nlri=b"\x21" + bytes(5)),
    "prefix-of-255-bits": raw(ORIGIN + PATH + HOP, nlri=b"\xff"),
    "prefix-cut-short": raw(ORIGIN + PATH + HOP, nlri=b"\x18\x0a"),
    "mp-reach-garbage": raw(ORIGIN + PATH + attribute(0x80, 14, b"\0\2\1\xff\0")),
    "mp-reach-of-unknown-family": raw(ORIGIN + PATH + attribute(0x80, 14, b"\x40\4\x47\4" + bytes(20))),
    "mp-unreach-garbage": raw(attribute(0x80, 15, b"\0\2\1\x81\0"), nlri=b""),
    "path-of-1000": raw(ORIGIN + long_attribute(0x40, 2, 4 * (b"\2\xfa" + 250 * struct.pack("!I", 65001))) + HOP),
    "header-without-marker": b"\0" * 16 + struct.pack("!HB", 23, UPDATE) + bytes(4),
    "header-shorter-than-itself": b"\xff" * 16 + struct.pack("!HB", 7, UPDATE),
    "header-of-64-KB": b"\xff" * 16 + struct.pack("!HB", 65535, UPDATE) + bytes(3000),
    "message-of-unknown-type": message(99, b"nonsense"),
    "noise": bytes(range(256)) * 16,
}


ALARM_AFTER = 1.3  # s: a difference that is still there a second after both are quiet is an alarm


@pytest.mark.parametrize("batch", list(itertools.batched(MESSAGES, 8)), ids=lambda batch: batch[0])
def test_messages_that_are_wrong(world, batch):
    """Whatever bgpd makes of one (ends the session, takes the route back, takes it), gwd makes the same."""
    wrong = []
    for what in batch:
        peer = of_site(world.lab, HOSTILE)
        announce(peer, ["10.78.0.0/16"])
        start = time.monotonic()
        peer.send(MESSAGES[what])
        time.sleep(0.2)
        try:
            assert_agree(world)
            time.sleep(max(0.0, start + ALARM_AFTER - time.monotonic()))
            assert world.gateway.routes_as_in_frr() and learned(world) == told(world), world.gateway.zebra()
        except AssertionError as fault:
            wrong.append(f"{what}: {fault}")
        peer.close()
    assert not wrong, "\n".join(wrong)


def test_after_all_of_it_the_peer_is_believed_again(world):
    assert_recovers(world)


@pytest.mark.parametrize("attribute_code", [2, 8, 250], ids=["path", "communities", "unknown"])
def test_attributes_of_64_kilobytes(world, attribute_code):
    """With RFC 8654's long messages. bgpd 10.3's BMP may abort on them (frr-findings): then it is started again, and all is
    learned anew without a lost packet."""
    size = 64000
    value = {2: b"".join(b"\2\xff" + 255 * struct.pack("!I", 65001) for _ in range(size // 1022)),
             8: struct.pack("!I", 0xFDE90001) * (size // 4), 250: bytes(size)}[attribute_code]
    flags = 0x40 if attribute_code == 2 else 0xC0
    attributes = ORIGIN + HOP + long_attribute(flags, attribute_code, value) + (PATH if attribute_code != 2 else b"")
    pid = world.gateway.bgpd().pid
    peer = of_site(world.lab, HOSTILE, EXTENDED_MESSAGE)
    peer.send(raw(attributes))
    time.sleep(1)
    if world.gateway.bgpd().pid != pid:
        world.bgpd_was_ended = True
    peer.close()
    world.wait_up(GOOD)
    assert_recovers(world)


def test_a_flood_of_prefixes_ends_at_the_limit(world):
    peer = of_site(world.lab, HOSTILE)
    announce(peer, [f"10.{128 + n // 256}.{n % 256}.0/24" for n in range(LIMIT + 500)])
    poll("the session is ended at its limit", lambda: not world.gateway.bgp_established(HOSTILE), 15, 0.2)
    assert "refix" in (peer.notification or b"").hex() or peer.notification[:2] == b"\x06\x01", peer.notification
    row = next(p for p in world.gateway.json("show", "bgp")["peers"] if p["neighbor"] == HOSTILE.inner_site)
    assert row["state"] != "Established"
    poll("its routes are gone", lambda: not learned(world), 10, 0.2)
    peer.close()
    # Until bgpd would try again by itself (5 minutes) an operator lets it in again.
    world.gateway.frr.vtysh(f"clear bgp {HOSTILE.inner_site}")
    assert_recovers(world)


def test_a_session_that_flaps(world):
    for n in range(15):
        peer = of_site(world.lab, HOSTILE)
        announce(peer, [f"10.77.{m}.0/24" for m in range(n * 10 + 10)])
        peer.close()
    assert_recovers(world)
    poll("of the flapping nothing is left", lambda: learned(world) <= {PREFIX}, 10, 0.2)


def test_bgpd_aborts_in_the_middle(world):
    """A dump of 3,000 routes is under way; graceful restart keeps what was, and everything is there afterwards."""
    prefixes = {f"10.{128 + n // 256}.{n % 256}.0/24" for n in range(3000)}
    peer = of_site(world.lab, HOSTILE)
    announce(peer, sorted(prefixes)[:1500])
    world.bgpd_was_ended = True
    bgpd = world.gateway.bgpd()
    pid = bgpd.pid
    bgpd.signal(6)  # SIGABRT
    bgpd.wait_restarted(pid)
    peer.close()
    world.wait_up(GOOD)
    again = of_site(world.lab, HOSTILE)
    announce(again, sorted(prefixes))
    poll(f"all are learned (now: {len(learned(world))})", lambda: learned(world) == prefixes, 20, 0.3)
    again.close()


def port_of(world, stream):
    """Where gwd told FRR to send it."""
    word = {"BMP": "bmp connect", "FPM": "fpm address"}[stream]
    line = next(line for line in world.gateway.frr.vtysh("show running-config").splitlines() if word in line)
    return int(line.split("port ")[1].split()[0])


CLIENT = """
import os, socket, sys, time
os.setuid(int(sys.argv[1]))
s = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5)
try:
    s.sendall(bytes.fromhex(sys.argv[3]))
    s.settimeout(3)
    print("open" if s.recv(1) else "closed")
except (ConnectionError, BrokenPipeError):
    print("closed")
except TimeoutError:
    print("open")
"""
NOBODY, ROOT = 65534, 0
WITHDRAWAL = bytes.fromhex("03000000060403000000ff00")  # an initiation, then a message that ends in the middle


def say(world, user, data, stream):
    return world.gateway.ns.run("python3", "-c", CLIENT, user, port_of(world, stream), data.hex()).strip()


def ends(world, stream):
    words = {"BMP": "BMP stream ended", "FPM": "zebra's routes are not there any more"}[stream]
    return world.gateway.gwd.log.read_text().count(words)


@pytest.mark.parametrize("data", [b"", WITHDRAWAL, bytes(range(256)) * 40], ids=["nothing", "half-a-message", "noise"])
@pytest.mark.parametrize("stream", ["BMP", "FPM"])
def test_other_users_cannot_speak_to_gwd(world, stream, data):
    """They would tell gwd routes, or push FRR's stream aside."""
    before = ends(world, stream)
    assert say(world, NOBODY, data, stream) == "closed"
    assert ends(world, stream) == before


@pytest.mark.parametrize("data", [WITHDRAWAL, bytes(range(256)) * 40, bytes.fromhex("03ffffffff00")],
                         ids=["half-a-message", "noise", "too-long"])
def test_a_malformed_stream_is_ended_and_bgpd_comes_back(world, data):
    """Root may: what it says is checked all the same."""
    peer = of_site(world.lab, HOSTILE)
    announce(peer, [PREFIX])
    poll(f"{PREFIX} is learned", lambda: PREFIX in learned(world), 10, 0.1)
    before = ends(world, "BMP")
    say(world, ROOT, data, "BMP")
    assert ends(world, "BMP") > before
    announce(peer, ["10.79.0.0/16"])
    poll("a new route is learned", lambda: {PREFIX, "10.79.0.0/16"} <= learned(world), 15, 0.2)
    peer.close()


@pytest.mark.parametrize("data", [bytes.fromhex("010100200000"), bytes(range(256)) * 40, bytes.fromhex("01010014100000001800000000")],
                         ids=["half-a-frame", "noise", "half-a-message"])
def test_a_malformed_fpm_stream_is_ended_and_zebra_comes_back(world, data):
    before = ends(world, "FPM")
    say(world, ROOT, data, "FPM")
    assert ends(world, "FPM") > before
    world.gateway.wait_routes_as_in_frr()
    time.sleep(1.5)
    assert world.gateway.routes_as_in_frr(), world.gateway.zebra()


def test_gwd_was_never_started_anew(world):
    assert world.gateway.gwd.starts == 1
    assert "ERROR: AddressSanitizer" not in world.gateway.gwd.log.read_text()
