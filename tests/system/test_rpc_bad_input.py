"""The RPC of gw-fastpath against clients that are wrong, hostile or slow: a named error to the caller, and nothing changed.
State is read before and after each request: SAs, tunnels, routes, devices."""
import os
import socket
import struct
import time

import pytest

from fastpath_lab import ANY_V4, add_sa, packed, pb, poll, run
from fastpath_peer import GW4, GW6, PEER4, PEER6
from packet_station import inner, routed, station  # noqa: F401 (station is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

IKE, CONTROL, OBSERVER = pb.ROLE_IKE, pb.ROLE_CONTROL, pb.ROLE_OBSERVER
GCM_KEYS = (20, 28, 36)
NEW_SPI = 0x7000


@pytest.fixture(scope="module")
def wire(station):  # noqa: F811
    with station.wire() as made:
        yield made


def state(station):  # noqa: F811
    """All that a request could change."""
    def without(message, *fields):
        for field in fields:
            message.ClearField(field)
        return message.SerializeToString(deterministic=True)
    observer = station.observer
    return (sorted(without(s, "age_ms") for s in observer.ok(list_sas=pb.ListSas()).sas.sas),
            sorted(without(t) for t in observer.ok(list_tunnels=pb.ListTunnels()).tunnels.tunnels),
            sorted(without(r) for r in observer.ok(list_routes=pb.ListRoutes()).routes.routes),
            [line.split()[0] for line in run("ip", "-n", "fpg", "-br", "link").splitlines()])


def sa(spi=NEW_SPI, src=PEER4, dst=GW4, key=None, inbound=True, **change):
    """A good AddSa, and what a test changes in it."""
    message = add_sa(spi, src, dst, os.urandom(36) if key is None else key, inbound, **{k: change.pop(k) for k in ("udp", "ports", "fresh", "tunnel") if k in change})
    for field, value in change.items():
        if isinstance(value, list):
            message.ClearField(field)
            getattr(message, field).extend(value)
        elif isinstance(value, (pb.SaId, pb.Endpoint)):
            getattr(message, field).CopyFrom(value)
        else:
            setattr(message, field, value)
    return {"add_sa": message}


def cbc(key, integrity_key):
    return sa(encryption=pb.AES_CBC, key=key, integrity=pb.HMAC_SHA2_256_128, integrity_key=integrity_key)


def selector(first, last, **more):
    return pb.Selector(first=packed(first), last=packed(last), **{"last_port": 65535, **more})


def tunnel(tunnel_id=900, name="bad", device="tun900", mtu=1400, **more):
    return {"put_tunnel": pb.PutTunnel(tunnel_id=tunnel_id, name=name, device=device, mtu=mtu, **more)}


def route(prefix="10.77.0.0", length=16, kind=pb.NEXT_HOP_KERNEL, first=True, **more):
    """Behind a good one: a batch is carried out whole or not at all."""
    good = pb.Route(prefix=packed("10.66.0.0"), prefix_length=16, kind=pb.NEXT_HOP_KERNEL)
    bad = pb.Route(prefix=packed(prefix) if isinstance(prefix, str) else prefix, prefix_length=length, kind=kind, **more)
    return {"update_routes": pb.UpdateRoutes(add=[good, bad] if first else [bad])}


def update(spi, dst, src4=GW4, dst4=PEER4, ports=(4500, 4500), udp=False):
    return {"update_sa": pb.UpdateSa(id=pb.SaId(spi=spi, dst=packed(dst)), new_src=pb.Endpoint(address=packed(src4), port=ports[0]),
                                     new_dst=pb.Endpoint(address=packed(dst4), port=ports[1]), udp_encapsulation=udp)}


INVALID, EXISTS, MISSING, UNSUPPORTED = pb.INVALID_ARGUMENT, pb.ALREADY_EXISTS, pb.NOT_FOUND, pb.UNSUPPORTED

# What is wrong, who asks, the request (of the wire), the code, the field that is named.
REFUSED = [
    *((f"a key of {n} bytes", IKE, lambda w, n=n: sa(key=bytes(range(n))), INVALID, "key") for n in range(64) if n not in GCM_KEYS),
    ("no algorithm", IKE, lambda w: sa(encryption=0), UNSUPPORTED, "encryption"),
    ("an algorithm of the future", IKE, lambda w: sa(encryption=9999), UNSUPPORTED, "encryption"),
    ("an algorithm with another's key", IKE, lambda w: sa(encryption=pb.CHACHA20_POLY1305, key=bytes(range(20))), INVALID, "key"),
    ("a combined mode with an HMAC", IKE, lambda w: sa(integrity=pb.HMAC_SHA1_96, integrity_key=bytes(20)), None, "integrity"),
    ("a combined mode with the key of an HMAC", IKE, lambda w: sa(integrity_key=bytes(20)), INVALID, "integrity_key"),
    ("AES-CBC alone", IKE, lambda w: sa(encryption=pb.AES_CBC, key=bytes(range(32))), None, "integrity"),
    ("an integrity algorithm of the future", IKE, lambda w: sa(encryption=pb.AES_CBC, key=bytes(range(32)), integrity=77), None, "integrity"),
    *((f"AES-CBC with a key of {n} bytes", IKE, lambda w, n=n: cbc(bytes(range(n)), bytes(32)), INVALID, "key") for n in range(64) if n not in (16, 24, 32)),
    *((f"HMAC-SHA2-256 with a key of {n} bytes", IKE, lambda w, n=n: cbc(bytes(range(32)), bytes(n)), INVALID, "integrity_key")
      for n in (0, 1, 16, 20, 31, 33, 48, 64)),
    *((f"SPI {n}", IKE, lambda w, n=n: sa(spi=n), INVALID, "id.spi") for n in (0, 1, 255)),
    ("no destination", IKE, lambda w: sa(id=pb.SaId(spi=NEW_SPI)), INVALID, "id.dst"),
    ("a destination of 5 bytes", IKE, lambda w: sa(id=pb.SaId(spi=NEW_SPI, dst=bytes(5))), INVALID, "id.dst"),
    ("a source of 15 bytes", IKE, lambda w: {"add_sa": broken_source(bytes(15))}, INVALID, "src.address"),
    ("no source", IKE, lambda w: {"add_sa": broken_source(b"")}, INVALID, "src.address"),
    ("two destinations", IKE, lambda w: sa(id=pb.SaId(spi=NEW_SPI, dst=packed("192.0.2.9"))), INVALID, "dst.address"),
    ("two families", IKE, lambda w: sa(src=PEER6), INVALID, "dst"),
    ("source 0.0.0.0", IKE, lambda w: sa(src="0.0.0.0"), INVALID, "src"),
    ("a multicast destination", IKE, lambda w: sa(dst="224.0.0.1"), INVALID, "dst"),
    ("a multicast source, IPv6", IKE, lambda w: sa(src="ff02::1", dst=GW6), INVALID, "src"),
    ("port 65536", IKE, lambda w: sa(udp=True, ports=(65536, 4500)), INVALID, "src.port"),
    ("UDP to port 0", IKE, lambda w: sa(udp=True, ports=(4500, 0)), INVALID, "dst"),
    ("UDP from port 0", IKE, lambda w: sa(udp=True, ports=(0, 4500)), INVALID, "src"),
    ("tunnel 0", IKE, lambda w: sa(tunnel=0), INVALID, "tunnel_id"),
    ("tunnel 2^24", IKE, lambda w: sa(tunnel=1 << 24), INVALID, "tunnel_id"),
    ("no local selector", IKE, lambda w: sa(local_selectors=[]), INVALID, "local_selectors"),
    ("no remote selector", IKE, lambda w: sa(remote_selectors=[]), INVALID, "remote_selectors"),
    ("65 selectors", IKE, lambda w: sa(remote_selectors=[ANY_V4] * 65), INVALID, "remote_selectors"),
    ("an empty selector", IKE, lambda w: sa(remote_selectors=[ANY_V4, pb.Selector()]), INVALID, "remote_selectors[1].first"),
    ("a selector of two families", IKE, lambda w: sa(local_selectors=[pb.Selector(first=bytes(4), last=bytes(16))]), INVALID, "local"),
    ("a selector that ends before it begins", IKE, lambda w: sa(remote_selectors=[selector("10.0.0.2", "10.0.0.1")]), INVALID, "remote"),
    ("ports that end before they begin", IKE, lambda w: sa(local_selectors=[selector("10.0.0.1", "10.0.0.2", first_port=5, last_port=4)]), INVALID, "local"),
    ("port 65536 in a selector", IKE, lambda w: sa(local_selectors=[selector("10.0.0.1", "10.0.0.2", last_port=65536)]), INVALID, "local_selectors[0].last_port"),
    ("protocol 256", IKE, lambda w: sa(remote_selectors=[selector("10.0.0.1", "10.0.0.2", protocol=256)]), INVALID, "remote_selectors[0].protocol"),
    ("an SPI that is taken, another key", IKE, lambda w: sa(spi=w.to_gw.spi, tunnel=w.number), EXISTS, "id"),
    ("an SPI that is taken, another tunnel", IKE, lambda w: sa(spi=w.to_gw.spi, key=w.to_gw.key, tunnel=w.number + 1), EXISTS, "id"),
    ("an SPI that is taken, the other direction", IKE, lambda w: sa(spi=w.to_gw.spi, key=w.to_gw.key, tunnel=w.number, inbound=False), EXISTS, "id"),
    ("a key that is in use by another SA", IKE, lambda w: sa(key=w.to_gw.key), EXISTS, None),
    ("a sending key that is in use, another salt", IKE, lambda w: sa(src=GW4, dst=PEER4, key=w.from_gw.key[:-4] + b"salt", inbound=False), EXISTS, None),
    ("a key from a table, without a record", IKE, lambda w: sa(fresh=False), pb.NEEDS_REKEY, None),
    ("a sending key from a table, without a record", IKE, lambda w: sa(src=GW4, dst=PEER4, inbound=False, fresh=False), pb.NEEDS_REKEY, None),
    ("an update of an SA that is not there", IKE, lambda w: update(0x9999, GW4), MISSING, "id"),
    ("an update to two families", IKE, lambda w: update(w.from_gw.spi, PEER4, src4=GW6), INVALID, "dst"),
    ("an update to UDP port 0", IKE, lambda w: update(w.from_gw.spi, PEER4, ports=(4500, 0), udp=True), INVALID, "dst"),
    ("an update to multicast", IKE, lambda w: update(w.from_gw.spi, PEER4, dst4="224.0.0.9"), INVALID, "dst"),
    ("an update to port 65536", IKE, lambda w: update(w.from_gw.spi, PEER4, ports=(4500, 65536)), INVALID, "new_dst.port"),
    ("an end of an SA that is not there", IKE, lambda w: {"del_sa": pb.DelSa(id=pb.SaId(spi=0x9999, dst=packed(GW4)))}, MISSING, "id"),
    ("an end of an SA at another address", IKE, lambda w: {"del_sa": pb.DelSa(id=pb.SaId(spi=w.to_gw.spi, dst=packed(GW6)))}, MISSING, "id"),
    ("activating what is not there", IKE, lambda w: {"activate_outbound": pb.ActivateOutbound(id=pb.SaId(spi=0x9999, dst=packed(PEER4)))}, MISSING, "id"),
    ("activating an inbound SA", IKE, lambda w: {"activate_outbound": pb.ActivateOutbound(id=w.in_id)}, INVALID, "id"),
    ("a question about what is not there", IKE, lambda w: {"query_sa": pb.QuerySa(id=pb.SaId(spi=0x9999, dst=packed(PEER4)))}, MISSING, "id"),
    ("reserving what is installed", IKE, lambda w: {"reserve_spi": pb.ReserveSpi(id=w.in_id)}, EXISTS, "id"),
    ("reserving SPI 7", IKE, lambda w: {"reserve_spi": pb.ReserveSpi(id=pb.SaId(spi=7, dst=packed(GW4)))}, INVALID, "id.spi"),
    ("a tunnel's name of 256 bytes", CONTROL, lambda w: tunnel(name="n" * 256), INVALID, "name"),
    ("tunnel 0", CONTROL, lambda w: tunnel(0), INVALID, "tunnel_id"),
    ("tunnel 2^24", CONTROL, lambda w: tunnel(1 << 24), INVALID, "tunnel_id"),
    ("no device", CONTROL, lambda w: tunnel(device=""), INVALID, "device"),
    ("a device of 16 characters", CONTROL, lambda w: tunnel(device="t" * 16), INVALID, "device"),
    *((f"a device {name!r}", CONTROL, lambda w, name=name: tunnel(device=name), INVALID, "device")
      for name in ("a/b", "..", ".", "two words", "a:b", "tab\t", "%d", "tun%d", "new\nline")),
    ("the device of another tunnel", CONTROL, lambda w: tunnel(device=f"tun{w.number}"), EXISTS, "device"),
    ("a device that is the wan port", CONTROL, lambda w: tunnel(device="wan"), None, None),
    ("a device that is lo", CONTROL, lambda w: tunnel(device="lo"), None, None),
    *((f"MTU {n}", CONTROL, lambda w, n=n: tunnel(mtu=n), INVALID, "mtu") for n in (0, 575, 65536 + 1400, (1 << 32) - 1)),
    ("an MSS above the MTU", CONTROL, lambda w: tunnel(mss_clamp=1401), INVALID, "mss_clamp"),
    ("a carrier policy of the future", CONTROL, lambda w: tunnel(carrier=7), INVALID, "carrier"),
    *((f"a peer of {n} bytes", CONTROL, lambda w, n=n: tunnel(peer=bytes(n)), INVALID, "peer") for n in (1, 5, 17)),
    ("a change of a tunnel that is refused", CONTROL, lambda w: tunnel(w.number, device=f"tun{w.number}", mtu=100), INVALID, "mtu"),
    ("an end of a tunnel that is not there", CONTROL, lambda w: {"del_tunnel": pb.DelTunnel(tunnel_id=901)}, MISSING, "tunnel_id"),
    ("a prefix of 3 bytes", CONTROL, lambda w: route(bytes(3)), INVALID, "add[1].prefix"),
    ("a prefix of no bytes", CONTROL, lambda w: route(b"", first=False), INVALID, "add[0].prefix"),
    ("/33", CONTROL, lambda w: route(length=33), INVALID, "add[1].prefix_length"),
    ("/129", CONTROL, lambda w: route("fd00:77::", 129), INVALID, "add[1].prefix_length"),
    ("/2^32-1", CONTROL, lambda w: route(length=(1 << 32) - 1), INVALID, "add[1].prefix_length"),
    ("host bits", CONTROL, lambda w: route("10.77.0.1"), INVALID, "add[1].prefix"),
    ("no kind of next hop", CONTROL, lambda w: route(kind=0), INVALID, "add[1].kind"),
    ("a kind of the future", CONTROL, lambda w: route(kind=99), INVALID, "add[1].kind"),
    ("no tunnels", CONTROL, lambda w: route(kind=pb.NEXT_HOP_TUNNELS), INVALID, "add[1].tunnel_ids"),
    ("17 tunnels", CONTROL, lambda w: route(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[w.number] * 17), INVALID, "add[1].tunnel_ids"),
    ("a tunnel twice", CONTROL, lambda w: route(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[w.number] * 2), INVALID, "add[1].tunnel_ids"),
    ("a tunnel that is not there", CONTROL, lambda w: route(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[w.number, 901]), MISSING, "add[1].tunnel_ids"),
    ("a gateway of 5 bytes", CONTROL, lambda w: route(kind=pb.NEXT_HOP_VNET, gateways=[bytes(5)]), INVALID, "add[1].gateways[0]"),
    ("gateways of two families", CONTROL, lambda w: route(kind=pb.NEXT_HOP_VNET, gateways=[packed("10.0.0.9"), packed("fd00::9")]), INVALID, "add[1].gateways[1]"),
    ("17 gateways", CONTROL, lambda w: route(kind=pb.NEXT_HOP_VNET, gateways=[packed(f"10.0.0.{n}") for n in range(1, 18)]), INVALID, "add[1].gateways"),
    ("a prefix twice", CONTROL, lambda w: route("10.66.0.0"), INVALID, "add"),
    ("a prefix added and removed", CONTROL, lambda w: {"update_routes": pb.UpdateRoutes(
        add=[pb.Route(prefix=packed("10.66.0.0"), prefix_length=16, kind=pb.NEXT_HOP_KERNEL)],
        remove=[pb.Route(prefix=packed("10.66.0.0"), prefix_length=16)])}, INVALID, "add"),
    ("a removal with host bits", CONTROL, lambda w: {"update_routes": pb.UpdateRoutes(
        remove=[pb.Route(prefix=packed("10.9.0.1"), prefix_length=16)])}, INVALID, "remove[0].prefix"),
    ("an observer that syncs", OBSERVER, lambda w: {"sync_done": pb.SyncDone()}, INVALID, "hello.role"),
]


def broken_source(address):
    message = sa()["add_sa"]
    message.src.address = address
    return message


def client_of(station, role):  # noqa: F811
    return {IKE: station.ike, CONTROL: station.control, OBSERVER: station.observer}[role]


def test_every_wrong_request_is_refused_by_name_and_changes_nothing(station, wire):  # noqa: F811
    before = state(station)
    for what, role, request, code, field in REFUSED:
        status = client_of(station, role).call(**request(wire)).status
        assert status.code != pb.OK, what
        assert status.message and len(status.message) < 300, what
        assert code is None or status.code == code, f"{what}: {status}"
        assert field is None or status.field == field, f"{what}: {status}"
        assert state(station) == before, what
    packet = inner()
    wire.send_inner(packet)
    wire.from_host(inner(to_host=False))
    assert wire.at_host(1) == [routed(packet)] and wire.at_peer(1), "and traffic goes on"


def test_only_its_role_may_ask(station, wire):  # noqa: F811
    owned = {IKE: [sa(), update(wire.from_gw.spi, PEER4), {"del_sa": pb.DelSa(id=wire.in_id)},
                   {"activate_outbound": pb.ActivateOutbound(id=wire.out_id)}, {"reserve_spi": pb.ReserveSpi(id=pb.SaId(spi=NEW_SPI, dst=packed(GW4)))}],
             CONTROL: [tunnel(), {"del_tunnel": pb.DelTunnel(tunnel_id=wire.number)}, route()]}
    before = state(station)
    for owner, requests in owned.items():
        for role in {IKE, CONTROL, OBSERVER} - {owner}:
            for request in requests:
                assert client_of(station, role).refused(INVALID, **request).field == "hello.role"
    assert state(station) == before


def test_an_update_onto_an_sa_that_is_there(station):  # noqa: F811
    """Two peers chose the same SPI; one of them moves to the other's address."""
    with station.wire() as wire:
        other = add_sa(wire.from_gw.spi, GW4, "192.0.2.3", os.urandom(36), False, tunnel=wire.number)
        station.ike.ok(add_sa=other)
        before = state(station)
        assert station.ike.refused(EXISTS, **update(wire.from_gw.spi, "192.0.2.3", dst4=PEER4)).field == "new_dst"
        assert state(station) == before
        station.ike.ok(del_sa=pb.DelSa(id=other.id))


def test_a_released_sending_key_never_comes_back(station):  # noqa: F811
    """Whatever the client says about it: its IVs were used."""
    with station.wire() as wire:
        request = wire.request(wire.from_gw, False)
        station.ike.ok(del_sa=pb.DelSa(id=wire.out_id))
        before = state(station)
        station.ike.refused(pb.NEEDS_REKEY, add_sa=request)
        assert state(station) == before


# --- hello ---------------------------------------------------------------------------------------------

def raw(station):  # noqa: F811
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(station.lab.socket))
    connection.settimeout(3)
    return connection


def framed(message):
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">I", len(payload)) + payload


def answer(connection):
    def exactly(count):
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data
    return pb.ServerFrame.FromString(exactly(struct.unpack(">I", exactly(4))[0])).response


def asked(station, message):  # noqa: F811
    with raw(station) as connection:
        connection.sendall(framed(message))
        return answer(connection)


@pytest.mark.parametrize("hello,code,field", [
    (dict(version=0, role=OBSERVER), UNSUPPORTED, "version"), (dict(version=2, role=OBSERVER), UNSUPPORTED, "version"),
    (dict(version=(1 << 32) - 1, role=OBSERVER), UNSUPPORTED, "version"), (dict(version=1), INVALID, "role"),
    (dict(version=1, role=99), INVALID, "role"), (dict(version=1, role=IKE), INVALID, "epoch")],
    ids=["0", "2", "max", "no_role", "role_99", "no_epoch"])
def test_a_wrong_hello_takes_nobodys_place(station, wire, hello, code, field):  # noqa: F811
    before = state(station)
    status = asked(station, pb.ClientFrame(id=1, hello=pb.Hello(**hello))).status
    assert (status.code, status.field) == (code, field)
    station.ike.ok(list_sas=pb.ListSas())  # still the one
    assert state(station) == before


def test_a_name_does_not_write_the_log(station):  # noqa: F811
    """Names come from clients; a line of the log does not."""
    forged = "charon\n2026-01-01T00:00:00.000 gw-fastpath info main: all is well\x1b[31m"
    with raw(station) as connection:
        connection.sendall(framed(pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER, name=forged))))
        assert answer(connection).status.code == pb.OK
    log = station.lab.log.read_bytes()
    assert b"\n2026-01-01T" not in log and b"\x1b" not in log


def test_a_name_of_a_megabyte(station):  # noqa: F811
    grown = station.lab.log.stat().st_size
    with raw(station) as connection:
        connection.sendall(framed(pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER, name="n" * 1_000_000))))
        status = answer(connection).status
        assert (status.code, status.field) == (INVALID, "name")
    time.sleep(0.1)
    assert station.lab.log.stat().st_size - grown < 10_000


# --- frames -----------------------------------------------------------------------------------------------

def test_frames_that_are_no_requests(station, wire):  # noqa: F811
    before = state(station)
    for what, payload in (("nothing", b""), ("not protobuf", b"\xff" * 20), ("a cut message", pb.ClientFrame(id=1, list_sas=pb.ListSas()).SerializeToString()[:-1]),
                          ("no body", pb.ClientFrame(id=5).SerializeToString()), ("a body of the future", b"\x08\x05\xfa\x7f\x00"),
                          ("no id", pb.ClientFrame(hello=pb.Hello(version=1, role=OBSERVER)).SerializeToString()),
                          ("no hello first", pb.ClientFrame(id=1, list_sas=pb.ListSas()).SerializeToString())):
        assert asked(station, payload).status.code == pb.MALFORMED, what
    assert state(station) == before


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 31, (1 << 32) - 1])
def test_a_frame_beyond_the_limit_ends_the_connection(station, length):  # noqa: F811
    with raw(station) as connection:
        connection.sendall(struct.pack(">I", length))
        assert connection.recv(10) == b""


def test_the_largest_frame_that_is_allowed(station):  # noqa: F811
    padding = (1 << 20) - len(pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER)).SerializeToString())
    frame = pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER)).SerializeToString()
    frame += b"\xfa\x7f" + varint(padding - 5) + bytes(padding - 5)
    assert len(frame) == 1 << 20
    assert asked(station, frame).status.code == pb.OK, "an unknown field is skipped"


def varint(value):
    out = b""
    while value > 0x7f:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def test_half_a_message_holds_nobody_up(station):  # noqa: F811
    """At every length; then the rest, byte by byte."""
    frame = framed(pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER, name="slow")))
    waiting = []
    for cut in range(len(frame)):
        connection = raw(station)
        connection.sendall(frame[:cut])
        waiting.append((connection, cut))
    station.observer.ok(list_sas=pb.ListSas())
    for connection, cut in waiting:
        if cut % 2:
            connection.close()
            continue
        for byte in frame[cut:]:
            connection.sendall(bytes([byte]))
        assert answer(connection).status.code == pb.OK
        connection.close()


def test_many_requests_in_one_write_are_answered_in_order(station):  # noqa: F811
    with raw(station) as connection:
        requests = [pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER))]
        requests += [pb.ClientFrame(id=i, list_sas=pb.ListSas()) for i in range(2, 200)]
        connection.sendall(b"".join(framed(r) for r in requests))
        assert [answer(connection).id for _ in requests] == list(range(1, 200))


# --- crowds -----------------------------------------------------------------------------------------------

def descriptors(station):  # noqa: F811
    return len(os.listdir(f"/proc/{station.lab.fastpath_pid()}/fd"))


def test_a_flood_of_connections(station):  # noqa: F811
    before = descriptors(station)
    crowd = []
    try:
        for _ in range(900):
            connection = raw(station)
            connection.setblocking(False)
            crowd.append(connection)
        started = time.monotonic()
        station.observer.ok(list_sas=pb.ListSas())
        assert time.monotonic() - started < 1
    finally:
        for connection in crowd:
            connection.close()
    poll("the descriptors are given back", lambda: descriptors(station) <= before, 5)


def test_a_client_that_does_not_read(station, wire):  # noqa: F811
    """It is disconnected; memory stays bounded, and the others are served meanwhile."""
    def resident():
        with open(f"/proc/{station.lab.fastpath_pid()}/statm") as statm:
            return int(statm.read().split()[1]) * 4096
    routes = [pb.Route(prefix=bytes((10, 200, n >> 8, n & 255)), prefix_length=32, kind=pb.NEXT_HOP_KERNEL) for n in range(2000)]
    station.control.ok(update_routes=pb.UpdateRoutes(add=routes))
    before = resident()
    with raw(station) as deaf:
        deaf.sendall(framed(pb.ClientFrame(id=1, hello=pb.Hello(version=1, role=OBSERVER, name="deaf"))))
        request = framed(pb.ClientFrame(id=2, list_routes=pb.ListRoutes()))
        with pytest.raises(OSError):  # some 30 KB each
            for _ in range(2000):
                deaf.sendall(request)
                station.observer.ok(list_ports=pb.ListPorts())
    assert resident() - before < 250 << 20  # AddressSanitizer keeps what is freed for a while
    assert "deaf does not read; disconnected" in station.lab.log.read_text()
    station.control.ok(update_routes=pb.UpdateRoutes(remove=[pb.Route(prefix=r.prefix, prefix_length=32) for r in routes]))
