"""Rate limits of gw-fastpath alone, black box, on both kinds of port: what is over a rate is dropped and counted for its tunnel,
each direction and each tunnel for itself; routing passes; a change in force loses nothing. Lengths of bursts and errors of rates
are in tests/unit (byte_bucket_test, gateway_rate_test, policing_test)."""
import os
import time

import pytest
from scapy.all import IP, UDP, Ether, Raw

from fastpath_lab import HOST_MAC, VNET_MAC, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, SITE4, Tunnel, lab  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

BYTES = 1000
RATE = 1_000_000            # bit/s
BURST = 262_144 // BYTES    # packets that pass at once at so low a rate
OVER = 3 * BURST
INNER = "169.254.21.1"


def limit(tunnel, **rates):
    tunnel.control.ok(put_tunnel=pb.PutTunnel(tunnel_id=tunnel.number, name=f"site{tunnel.number}", device=f"tun{tunnel.number}", mtu=1400,
                                              mss_clamp=1360, **rates))


def settings(tunnel, **rates):
    tunnel.control.ok(put_settings=pb.PutSettings(**rates))


def to_site(number=0):
    return IP(src=HOST4, dst=SITE4, ttl=64) / UDP(sport=1000, dport=2000) / Raw(number.to_bytes(4, "big") + bytes(BYTES - 32))


def from_site(number=0, dst=HOST4, ports=(1000, 2000)):
    return IP(src=SITE4 if dst == HOST4 else "169.254.21.2", dst=dst, ttl=64) / UDP(sport=ports[0], dport=ports[1]) / Raw(number.to_bytes(4, "big") + bytes(BYTES - 32))


def paced(send, count):
    """As fast as a small queue takes them."""
    for n in range(count):
        send(n)
        if n % 32 == 31:
            time.sleep(0.002)


def flood_in(tunnel, count=OVER):
    frames = [bytes(tunnel.frame(tunnel.sent.seal(bytes(from_site(n))))) for n in range(count)]
    paced(lambda n: tunnel.lab.wan.send(frames[n]), count)


def flood_out(tunnel, count=OVER):
    frame = bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / to_site())
    paced(lambda n: tunnel.lab.vnet.send(frame), count)


def dropped(drops, reason="rate_tunnel"):
    return sum(d.packets for d in drops if d.reason == reason)


def settled(tunnel, passed, drops, count, reason="rate_tunnel"):
    poll("every packet is counted once", lambda: passed(tunnel.info()) + dropped(drops(tunnel.info()), reason) >= count, 10)
    return tunnel.info()


def test_over_the_rate_is_dropped_and_counted_by_direction(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    before = tunnel.info()
    limit(tunnel, rate_in_bps=RATE, rate_out_bps=0)
    assert (tunnel.info().rate_in_bps, tunnel.info().rate_out_bps) == (RATE, 0)
    flood_in(tunnel)
    info = settled(tunnel, lambda i: i.in_packets - before.in_packets, lambda i: i.drops, OVER)
    passed = info.in_packets - before.in_packets
    assert BURST <= passed < 2 * BURST and dropped(info.drops) == OVER - passed
    assert dropped(info.out_drops) == 0
    limit(tunnel, rate_in_bps=0, rate_out_bps=RATE)
    flood_out(tunnel)
    info = settled(tunnel, lambda i: i.out_packets - before.out_packets, lambda i: i.out_drops, OVER)
    assert BURST <= info.out_packets - before.out_packets < 2 * BURST
    assert lab.counters()["rate_tunnel"] == dropped(info.drops) + dropped(info.out_drops)


def test_another_tunnel_is_not_limited(lab):
    tunnel = Tunnel(lab)
    free = Tunnel(lab, number=2, like=tunnel)
    limit(tunnel, rate_in_bps=RATE)
    free.warm_up()
    before = free.info().in_packets
    flood_in(tunnel)
    flood_in(free)
    poll("all of the free tunnel's", lambda: free.info().in_packets - before == OVER, 10)
    assert dropped(tunnel.info().drops) > 0 and dropped(free.info().drops) == 0


def test_the_gateways_rate_is_shared(lab):
    """Two tunnels; one wants everything. The other one gets what it wants of its half."""
    greedy = Tunnel(lab)
    modest = Tunnel(lab, number=2, like=greedy)
    modest.warm_up()
    settings(greedy, rate_in_bps=2 * RATE)
    counters = greedy.control.ok(get_counters=pb.GetCounters()).counters
    assert (counters.rate_in_bps, counters.rate_out_bps) == (2 * RATE, 0)
    time.sleep(1.2)  # shares are made anew once a second
    before = modest.info().in_packets
    flood_in(greedy, 2 * OVER)
    assert dropped(greedy.info().drops, "rate_gateway") > OVER / 2
    share = 32_768 // BYTES
    flood_in(modest, share - 2)
    poll("the modest one's", lambda: modest.info().in_packets - before == share - 2, 10)
    assert dropped(modest.info().drops, "rate_gateway") == 0
    settings(greedy)
    flood_in(modest)
    poll("without a rate all of it", lambda: modest.info().in_packets - before == share - 2 + OVER, 10)


def test_routing_passes_in_the_flood(lab):
    """BFD to our address in the tunnel, between packets far over the rate; pings of the same size are a flood like any other."""
    tunnel = Tunnel(lab)
    run("ip", "-n", lab.ns, "addr", "add", INNER + "/32", "peer", "169.254.21.2/32", "dev", "tun1")
    tunnel.warm_up()
    poll("our own address is known", lambda: any(r.kind == pb.NEXT_HOP_LOCAL for r in tunnel.control.ok(
        read_forwarding=pb.ReadForwarding(addresses=[packed(INNER)])).routes.routes), 5)
    limit(tunnel, rate_in_bps=64_000)
    flood_in(tunnel)
    before = tunnel.info()
    for n in range(50):
        flood_in(tunnel, 10)
        tunnel.from_peer(from_site(n, INNER, (49152, 3784)))
        tunnel.from_peer(from_site(n, INNER, (1000, 53)))
    poll("every BFD packet is in the device", lambda: tunnel.info().slow_path_in_packets - before.slow_path_in_packets >= 50, 5)
    assert tunnel.info().slow_path_in_packets - before.slow_path_in_packets < 70, "others are policed"
    assert dropped(tunnel.info().drops) - dropped(before.drops) > 450


def test_a_change_in_force_loses_nothing(lab):
    """1.6 Mbit/s each way, below all of the rates that follow each other."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    before = tunnel.info()
    sealed = [bytes(tunnel.frame(tunnel.sent.seal(bytes(from_site(n))))) for n in range(400)]
    plain = bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / to_site())
    rates = [3_000_000, 100_000_000, 2_000_000, 10_000_000_000, 0]
    for n, frame in enumerate(sealed):
        if n % 8 == 0:
            rate = rates[n // 8 % len(rates)]
            limit(tunnel, rate_in_bps=rate, rate_out_bps=rate)
            settings(tunnel, rate_in_bps=rate, rate_out_bps=rate)
        lab.wan.send(frame)
        lab.vnet.send(plain)
        time.sleep(0.005)
    poll("all have passed", lambda: (tunnel.info().in_packets - before.in_packets, tunnel.info().out_packets - before.out_packets) == (400, 400), 5)


@pytest.mark.parametrize("field", ["rate_in_bps", "rate_out_bps"])
def test_rates_that_are_none_are_refused_by_name(lab, field):
    control = lab.rpc(pb.ROLE_CONTROL)
    for rate in (1, 63_999, 400_000_000_001):
        refused = control.refused(pb.INVALID_ARGUMENT, put_settings=pb.PutSettings(**{field: rate}))
        assert refused.field == field and str(rate) in refused.message
        refused = control.refused(pb.INVALID_ARGUMENT, put_tunnel=pb.PutTunnel(tunnel_id=1, name="a", device="tun1", mtu=1400, **{field: rate}))
        assert refused.field == field
