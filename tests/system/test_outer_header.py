"""PutTunnel.outer on a running tunnel: DSCP, ECN and DF policies reach SAs that are installed; drops of one SA in ListSas."""
import os
import struct

import pytest

from fastpath_lab import pb
from packet_station import inner, station  # noqa: F401 (station is a fixture)
from test_esp_outbound import outer_class, to_site

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

DF = 0x4000
# what, policy, bits of the inner class that go outside, bits set, outer DF of inner packets without and with DF
POLICIES = [
    ("default", {}, 0xff, 0, DF, DF),
    ("fixed DSCP", {"dscp_policy": pb.DSCP_FIXED, "dscp": 46}, 0x03, 0xb8, DF, DF),
    ("nothing outside", {"dscp_policy": pb.DSCP_FIXED, "ecn": pb.ECN_COMPATIBILITY, "df": pb.DF_CLEAR}, 0, 0, 0, 0),
    ("ECN compatibility", {"ecn": pb.ECN_COMPATIBILITY}, 0xfc, 0, DF, DF),
    ("DF copied", {"df": pb.DF_COPY}, 0xff, 0, 0, DF),
]


@pytest.fixture
def wire(station):  # noqa: F811
    with station.wire() as made:
        yield made


def put_tunnel(wire, **outer):
    wire.station.control.ok(put_tunnel=pb.PutTunnel(
        tunnel_id=wire.number, name=f"site{wire.number}", device=f"tun{wire.number}", mtu=wire.mtu,
        outer=pb.OuterHeader(**outer)))


def test_policies_follow_the_tunnel_without_a_new_sa(wire):
    classes = (0x00, 0x01, 0x02, 0x03, 0x28, 0xb8, 0xbb, 0xff)
    for what, policy, copied, fixed, df_without, df_with in POLICIES:
        put_tunnel(wire, **policy)
        packets = [to_site(4, tos=tos, flags=flags) for tos in classes for flags in (0, DF)]
        for packet in packets:
            wire.from_host(packet)
        outers = [g[3] for g in wire.at_peer(len(packets))]
        assert [outer_class(o) for o in outers] == [(tos & copied) | fixed for tos in classes for _ in range(2)], what
        assert [fragment_field(o) for o in outers] == [df_without, df_with] * len(classes), what
        wire.expect(sent=len(packets))


def fragment_field(outer):
    return struct.unpack(">H", outer[6:8])[0]


@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_packets_that_routers_may_cut_have_ids_of_their_own(station, udp):  # noqa: F811
    """RFC 6864 4.3: pieces of two packets with one id would be put together. A burst is the hard case: on a gso port a
    train of datagrams would be numbered anew each time."""
    with station.wire(udp=udp) as wire:
        put_tunnel(wire, df=pb.DF_CLEAR)
        packet = to_site(4, payload=bytes(600))
        seen = []
        for _ in range(5):
            with station.stopped():
                for _ in range(40):
                    wire.from_host(packet)
            seen += [g[3] for g in wire.at_peer(40)]
        assert len(seen) == 200 and {fragment_field(o) for o in seen} == {0}
        assert len({o[4:6] for o in seen}) == 200
        wire.expect(sent=200)
        # And back: whole packets again.
        put_tunnel(wire)
        wire.from_host(packet)
        assert [fragment_field(g[3]) for g in wire.at_peer(1)] == [DF]


def test_two_sas_of_a_pair_of_addresses_have_one_sequence_of_ids(station):  # noqa: F811
    """RFC 6864 4.3 counts by addresses: both SAs begin with sequence number 1."""
    seen = []
    for _ in range(2):
        with station.wire() as wire:
            put_tunnel(wire, df=pb.DF_CLEAR)
            for _ in range(100):
                wire.from_host(to_site(4))
            seen += [g[3] for g in wire.at_peer(100)]
            wire.expect(sent=100)
    assert len(seen) == 200 and {fragment_field(o) for o in seen} == {0}
    assert len({o[4:6] for o in seen}) == 200


def test_drops_of_an_sa_are_its_own(wire):
    good = inner(4, b"x" * 40)
    wire.send_inner(good)
    assert len(wire.at_host(1)) == 1
    wire.expect(delivered=1)
    assert list(wire.sa_info(wire.in_id).drops) == []
    wire.send_text(b"\x45" + bytes(61) + b"\x00\x04")
    wire.expect(malformed_inner=1)
    drops = wire.sa_info(wire.in_id).drops
    assert [(d.reason, d.packets) for d in drops] == [("malformed_inner", 1)]
    assert list(wire.sa_info(wire.out_id).drops) == []
