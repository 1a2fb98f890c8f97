"""SAs over their life, black box: rekeying, limits, packets that come early, peers that move, clients that come back.
The topology is drawn in fastpath_lab.py, the peer is in fastpath_peer.py."""
import os
import struct
import time

import pytest
from scapy.all import IP, UDP, Ether, Raw, fragment

from fastpath_lab import PEER_MAC, WAN_MAC, FastpathLab, add_sa, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, PEER4, SITE4, PeerSa, Tunnel, lab, packets  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_rekey_moves_traffic_without_loss(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    keys = (os.urandom(36), os.urandom(36))
    tunnel.ike.ok(add_sa=add_sa(0x5001, PEER4, GW4, keys[0], True))
    tunnel.ike.ok(add_sa=add_sa(0x5002, GW4, PEER4, keys[1], False))
    new_in, new_out = PeerSa(0x5001, keys[0], PEER4, GW4), PeerSa(0x5002, keys[1], GW4, PEER4)
    to_host, to_site = packets(4)
    tunnel.from_host(to_site)
    assert tunnel.at_peer(), "the old SA sends until the new one is activated"
    tunnel.ike.ok(activate_outbound=pb.ActivateOutbound(id=pb.SaId(spi=0x5002, dst=packed(PEER4))))
    tunnel.from_host(to_site)
    frame = lab.wan.receive(new_out.matches)
    assert new_out.open(frame)[0][:1] == b"\x45"
    tunnel.from_peer(to_host)
    assert tunnel.at_host(), "the old inbound SA still receives"
    lab.wan.send(tunnel.frame(new_in.seal(bytes(to_host))))
    assert tunnel.at_host()
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.in_id))
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
    assert tunnel.info().carrier and tunnel.info().active_spi == 0x5002


def test_carrier_follows_the_sa(lab):
    tunnel = Tunnel(lab)
    assert lab.carrier("tun1")
    tunnel.ike.ok(del_sa=pb.DelSa(id=tunnel.out_id))
    assert not lab.carrier("tun1")
    event = tunnel.control.event("tunnel_state")
    while event and event.carrier:
        event = tunnel.control.event("tunnel_state")
    assert event and event.tunnel_id == 1
    tunnel.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=1, name="site1", device="tun1", mtu=1400, carrier=pb.CARRIER_ALWAYS))
    assert lab.carrier("tun1")
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    tunnel.from_host(IP(src=HOST4, dst=SITE4) / UDP())
    acquire = tunnel.ike.event("acquire")
    assert acquire and acquire.tunnel_id == 1 and acquire.dst == packed(SITE4)
    assert tunnel.drops()["no_outbound_sa"] >= 1
    assert "no_outbound_sa" in tunnel.out_drops()


def test_packets_that_are_faster_than_their_sa(lab):
    """A reserved SPI's packets wait for AddSa and arrive in order; without AddSa they end as unknown."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    key = os.urandom(36)
    early = PeerSa(0x5001, key, PEER4, GW4)
    tunnel.ike.ok(reserve_spi=pb.ReserveSpi(id=pb.SaId(spi=0x5001, dst=packed(GW4))))
    for i in range(3):
        lab.wan.send(tunnel.frame(early.seal(bytes(packets(4, bytes([i]))[0]))))
    assert tunnel.at_host(0.2) is None
    tunnel.ike.ok(add_sa=add_sa(0x5001, PEER4, GW4, key, True))
    assert [bytes(tunnel.at_host()[UDP].payload)[0] for _ in range(3)] == [0, 1, 2]

    tunnel.ike.ok(reserve_spi=pb.ReserveSpi(id=pb.SaId(spi=0x5003, dst=packed(GW4))))
    lab.wan.send(tunnel.frame(PeerSa(0x5003, key, PEER4, GW4).seal(bytes(packets(4)[0]))))
    poll("counted as unknown", lambda: lab.counters().get("unknown_spi") == 1, 3)


def test_strangers_take_no_place_of_packets_that_are_faster_than_their_sa(lab):
    """Fragments pass XDP, which cannot look into them: their SPIs are looked up before they wait."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    key = os.urandom(36)
    early = PeerSa(0x5001, key, PEER4, GW4)
    tunnel.ike.ok(reserve_spi=pb.ReserveSpi(id=pb.SaId(spi=0x5001, dst=packed(GW4))))
    for i in range(256):
        esp = struct.pack(">II", 0x90000 + i // 64, i) + bytes(64)
        for piece in fragment(IP(src="198.51.100.7", dst=GW4, id=i + 1, proto=50) / Raw(esp), 40):
            lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / piece)
    poll("they are unknown at once", lambda: lab.counters().get("unknown_spi", 0) == 256, 0.9)
    lab.wan.send(tunnel.frame(early.seal(bytes(packets(4)[0]))))
    assert tunnel.at_host(0.1) is None
    tunnel.ike.ok(add_sa=add_sa(0x5001, PEER4, GW4, key, True))
    assert tunnel.at_host()


def test_expire_events(lab):
    """Each limit is told once, when it is reached (both in one burst are told as the hard one)."""
    tunnel = Tunnel(lab, lifetime=pb.Lifetime(soft_packets=3, hard_packets=5))

    def expire_after(packets_sent):
        for _ in range(packets_sent):
            tunnel.from_peer(IP(src=SITE4, dst=HOST4) / UDP())
        return tunnel.ike.event("expire")

    soft = expire_after(3)
    assert soft and not soft.hard and soft.reason == "packets" and soft.id == tunnel.in_id
    hard = expire_after(4)
    assert hard and hard.hard and hard.reason == "packets" and hard.id == tunnel.in_id
    poll("what came after the hard limit is dropped", lambda: tunnel.drops().get("hard_expired") == 2)


@pytest.mark.parametrize("outbound", [False, True], ids=["in", "out"])
def test_byte_limits_are_exact(lab, outbound):
    """Inner bytes: not one packet before the limit is reached, and not one after it."""
    size = len(bytes(IP() / UDP() / Raw(bytes(100))))
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    one = IP(src=SITE4, dst=HOST4) / UDP() / Raw(bytes(100))
    other = IP(src=HOST4, dst=SITE4) / UDP() / Raw(bytes(100))
    for sa_id in (tunnel.in_id, tunnel.out_id):
        tunnel.ike.ok(del_sa=pb.DelSa(id=sa_id))
    limited = Tunnel(lab, number=2, like=tunnel, lifetime=pb.Lifetime(soft_bytes=3 * size, hard_bytes=5 * size))
    limited.ike.events.clear()

    def expire_after(packets_sent):
        for _ in range(packets_sent):
            limited.from_host(other) if outbound else limited.from_peer(one)
        return limited.ike.event("expire", 0.5)

    sa_id = limited.out_id if outbound else limited.in_id
    assert expire_after(2) is None
    soft = expire_after(1)
    assert soft and not soft.hard and soft.reason == "bytes" and soft.id == sa_id
    assert expire_after(1) is None
    hard = expire_after(1)
    assert hard and hard.hard and hard.reason == "bytes" and hard.id == sa_id
    assert expire_after(3) is None
    poll("what came after the hard limit is dropped", lambda: limited.drops().get("hard_expired") == 3)


@pytest.mark.parametrize("outbound", [False, True], ids=["in", "out"])
def test_an_expire_that_nobody_heard_is_told_to_the_next_charon(lab, outbound):
    """The limit was reached while charon's connection was away; the SA sent again, it has to know."""
    limit = pb.Lifetime(soft_packets=20, hard_packets=40)
    tunnel = Tunnel(lab, epoch=7, lifetime=limit)
    lab.clients.remove(tunnel.ike)
    tunnel.ike.close()
    send = (lambda: tunnel.from_host(packets(4)[1])) if outbound else (lambda: tunnel.from_peer(packets(4)[0]))
    for _ in range(50):
        send()
    poll("the limit is reached", lambda: tunnel.drops().get("hard_expired", 0) == 10)
    tunnel.ike = lab.rpc(pb.ROLE_IKE, 7)
    tunnel.add_sas(fresh=False, lifetime=limit)
    tunnel.ike.ok(sync_done=pb.SyncDone())
    send()
    told = tunnel.ike.event("expire")
    assert told and told.hard and told.id == (tunnel.out_id if outbound else tunnel.in_id)
    assert tunnel.ike.event("expire", 0.3) is None, "once"


def test_a_mapping_that_nobody_heard_is_told_to_the_next_charon(lab):
    tunnel = Tunnel(lab, epoch=7, udp=True)
    tunnel.warm_up()
    lab.clients.remove(tunnel.ike)
    tunnel.ike.close()
    tunnel.sent.udp = (61000, 4500)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host()
    tunnel.ike = lab.rpc(pb.ROLE_IKE, 7)
    tunnel.add_sas(fresh=False)
    tunnel.ike.ok(sync_done=pb.SyncDone())

    def told():
        tunnel.from_peer(packets(4)[0])
        return tunnel.ike.event("mapping", 0.2)
    assert poll("it is told", told).src.port == 61000


def test_a_source_that_flaps_is_reported_once_a_second(lab):
    """Two NATs in turn: not an event, a log line and a move in charon for every packet. The newest place wins."""
    tunnel = Tunnel(lab, udp=True)
    tunnel.warm_up()
    began = time.monotonic()
    ports = []
    for i in range(100):
        tunnel.sent.udp = (61000 + i % 2, 4500)
        tunnel.from_peer(packets(4)[0])
        assert tunnel.at_host(), "the packets themselves are good"
    time.sleep(1.1)
    tunnel.from_peer(packets(4)[0])
    while mapping := tunnel.ike.event("mapping", 0.3):
        ports.append(mapping.src.port)
    assert len(ports) <= 1 + (time.monotonic() - began), ports
    assert len(ports) >= 2 and ports[0] == 61000 and ports[-1] == 61001, ports


def test_a_move_that_was_refused_changes_nothing(tmp_path):
    lab = FastpathLab(tmp_path, options=("--max-sas", 8))
    try:
        tunnel = Tunnel(lab, udp=True)
        tunnel.warm_up()
        reserved = [pb.SaId(spi=0x7000 + i, dst=packed(GW4)) for i in range(16)]
        assert any(tunnel.ike.call(reserve_spi=pb.ReserveSpi(id=id)).status.code != pb.OK for id in reserved), "no place left"
        move = pb.UpdateSa(id=tunnel.in_id, new_src=pb.Endpoint(address=packed(PEER4), port=61000),
                           new_dst=pb.Endpoint(address=packed("192.0.2.77"), port=4500), udp_encapsulation=True)
        assert tunnel.ike.call(update_sa=move).status.code != pb.OK
        tunnel.from_peer(packets(4)[0])
        assert tunnel.at_host()
        assert tunnel.ike.event("mapping", 0.3) is None, "it comes from where it is expected"
        for id in reserved:
            tunnel.ike.call(del_sa=pb.DelSa(id=id))
        tunnel.ike.ok(update_sa=move)
    finally:
        assert lab.close() == 0, lab.log.read_text()[-4000:]


def test_nat_rebinding_is_reported_and_moved_only_on_request(lab):
    tunnel = Tunnel(lab, udp=True)
    tunnel.warm_up()
    tunnel.sent.udp = (61000, 4500)
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host(), "the packet itself is good"
    mapping = tunnel.ike.event("mapping")
    assert mapping and mapping.src.port == 61000 and mapping.id == tunnel.in_id
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer(), "still to the old port"
    tunnel.ike.ok(update_sa=pb.UpdateSa(id=tunnel.out_id, new_src=pb.Endpoint(address=packed(GW4), port=4500),
                                        new_dst=pb.Endpoint(address=packed(PEER4), port=61000), udp_encapsulation=True))
    tunnel.received.udp = (4500, 61000)
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer()


def test_an_sa_that_moved_while_its_client_was_away_is_claimed(lab):
    """UpdateSa was lost with the connection; the replay has the new address."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpw", "addr", "add", "192.0.2.3/24", "dev", "wan0")
    tunnel.ike = lab.rpc(pb.ROLE_IKE, epoch=1)
    tunnel.peer = tunnel.received.dst = tunnel.sent.src = "192.0.2.3"
    tunnel.add_sas(fresh=False)
    tunnel.ike.ok(sync_done=pb.SyncDone())
    sas = tunnel.ike.ok(list_sas=pb.ListSas()).sas.sas
    assert {s.id.spi: (s.dst.address, s.iv_epoch) for s in sas} == {
        tunnel.in_spi: (packed(GW4), 0), tunnel.out_spi: (packed("192.0.2.3"), 1)}, "moved, not made again"
    to_host, to_site = packets(4)
    tunnel.from_peer(to_host)
    assert tunnel.at_host()
    poll("the new address is used", lambda: tunnel.from_host(to_site) or tunnel.at_peer(0.3), 10)
    assert tunnel.ike.event("mapping", 0.2) is None
    other_key = add_sa(tunnel.out_spi, GW4, PEER4, os.urandom(36), False)
    tunnel.ike.ok(add_sa=other_key)  # another key with this SPI to another peer is another SA


def test_many_sas_that_nobody_claims_leave_and_one_that_is_claimed_stays(lab):
    """They leave a few at a time, so that others are served meanwhile."""
    tunnel = Tunnel(lab, epoch=7)
    for i in range(200):
        tunnel.ike.ok(add_sa=add_sa(0x6000 + i, PEER4, GW4, os.urandom(36), True))
    tunnel.ike = lab.rpc(pb.ROLE_IKE, epoch=7)
    tunnel.add_sas(fresh=False)
    tunnel.ike.ok(sync_done=pb.SyncDone())
    poll("they are gone", lambda: {s.id.spi for s in tunnel.ike.ok(list_sas=pb.ListSas()).sas.sas} == {tunnel.in_spi, tunnel.out_spi})
    tunnel.warm_up()


def test_orphans_carry_on_until_the_new_sa_has_traffic(lab):
    tunnel = Tunnel(lab, epoch=1)
    tunnel.warm_up()
    charon = lab.rpc(pb.ROLE_IKE, epoch=2)
    charon.ok(sync_done=pb.SyncDone())
    tunnel.from_peer(packets(4)[0])
    assert tunnel.at_host(), "an orphan receives"
    tunnel.from_host(packets(4)[1])
    assert tunnel.at_peer(), "and sends"
    assert all(s.orphan for s in charon.ok(list_sas=pb.ListSas()).sas.sas)
    keys = (os.urandom(36), os.urandom(36))
    charon.ok(add_sa=add_sa(0x5001, PEER4, GW4, keys[0], True))
    charon.ok(add_sa=add_sa(0x5002, GW4, PEER4, keys[1], False))
    charon.ok(activate_outbound=pb.ActivateOutbound(id=pb.SaId(spi=0x5002, dst=packed(PEER4))))
    time.sleep(1.5)
    assert len(charon.ok(list_sas=pb.ListSas()).sas.sas) == 4, "the new SA has proved nothing yet"
    lab.wan.send(tunnel.frame(PeerSa(0x5001, keys[0], PEER4, GW4).seal(bytes(packets(4)[0]))))
    assert tunnel.at_host()
    poll("orphans end", lambda: {s.id.spi for s in charon.ok(list_sas=pb.ListSas()).sas.sas} == {0x5001, 0x5002}, 9)


def test_an_sa_that_had_expired_says_so_after_the_restart(lab):
    tunnel = Tunnel(lab, lifetime=pb.Lifetime(hard_packets=2))
    for _ in range(2):
        tunnel.from_peer(packets(4)[0])
    assert tunnel.ike.event("expire").hard
    lab.kill()
    lab.start()
    tunnel.ike, tunnel.control = lab.rpc(pb.ROLE_IKE), lab.rpc(pb.ROLE_CONTROL)
    tunnel.configure()
    tunnel.add_sas(fresh=False, lifetime=pb.Lifetime(hard_packets=2))
    tunnel.from_peer(packets(4)[0])
    expire = tunnel.ike.event("expire")
    assert expire and expire.hard and expire.id == tunnel.in_id
