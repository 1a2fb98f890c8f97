"""One gateway, three sites: what works when nothing fails.

site1: native ESP over IPv4, BIRD. site2: tunnel over IPv6, FRR as the router. site3: behind NAT.
"""

import pytest

from gateway import PORT_KINDS, tunnel_name
from lab import GW_WAN4, VNET_HOST4, VNET_HOST6, VNET_PREFIXES, LabError, Site, poll
from probes import Capture, tcp_copy
from world import World

SITES = [Site(1), Site(2), Site(3, nat=True)]
PLAIN, SIX, NATTED = SITES
MIB = 1 << 20


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_tunnel-{request.param}", SITES, ports=request.param, outer6=(SIX,), frr=(SIX,)) as ready:
        yield ready


@pytest.mark.parametrize("site", SITES, ids=lambda s: s.name)
def test_tunnel_is_up_with_what_was_configured(world, site):
    row = world.gateway.tunnel(site)
    assert row["state"] == "up"
    assert row["ike_version"] in ("2", "IKEv2")
    assert row["remote_address"] == (site.wan6 if site is SIX else site.public4)
    assert "AES_GCM" in row["esp_proposal"]
    # A gso wan port asks for UDP, with which it has offload; an xsk port only where a NAT is.
    in_udp = site is NATTED or world.gateway.ports == "gso"
    assert row["udp_encapsulation"] is in_udp and row["encapsulation_reason"].startswith("in UDP" if in_udp else "native"), row
    assert row["bgp_state"] == "Established"
    assert row["mtu"] == 1400


@pytest.mark.parametrize("site", SITES, ids=lambda s: s.name)
def test_routes_are_exchanged(world, site):
    assert set(site.prefixes) <= world.gateway.learned(site)
    assert set(VNET_PREFIXES) <= world.gateway.advertised(site)
    at_site = world.offices[site.name].router.routes()
    for prefix in VNET_PREFIXES:
        assert prefix in at_site


def test_sites_learn_each_other(world):
    for site in SITES:
        others = {p for s in SITES if s is not site for p in s.prefixes}
        assert others <= world.gateway.advertised(site)


def test_effective_routes_are_in_the_fast_path(world):
    rows = {row["prefix"]: row for row in world.gateway.json("show", "routes")["routes"]}
    for site in SITES:
        for prefix in site.prefixes:
            assert rows[prefix]["in_fastpath"] is True, rows[prefix]


def test_effective_routes_say_where_they_came_from_and_what_if_touches_nothing(world):
    before = world.gateway.json("routes", "effective")["routes"]
    rows = {row["prefix"]: row["candidates"][0] for row in before}
    for site in SITES:
        candidate = rows[site.prefixes[0]]
        assert (candidate["place"], candidate["site"], candidate["peer"]) == ("best", site.name, site.inner_site)
        assert candidate["policy"].startswith("accepted"), candidate
    assert rows[VNET_PREFIXES[0]]["policy"].startswith("local"), rows[VNET_PREFIXES[0]]

    what = world.gateway.json("routes", "what-if", "--peer-down", tunnel_name(PLAIN))
    assert {(m["prefix"], m["kind"]) for m in what["moves"]} == {(p, "lost") for p in PLAIN.prefixes}
    assert [(c["site"], c["lost"]) for c in what["cut_off"]] == [(PLAIN.name, str(len(PLAIN.prefixes)))]
    assert [m["kind"] for m in world.gateway.json("routes", "what-if", "--circuit-down")["moves"]] == []
    with pytest.raises(LabError, match="no source of routes is named"):
        world.gateway.json("routes", "what-if", "--peer-down", "nobody/gw-a")
    assert [r["prefix"] for r in world.gateway.json("routes", "effective")["routes"]] == [r["prefix"] for r in before]


def test_traffic_both_ways_both_families_without_loss(world):
    with world.probes.load(rate=300) as load:
        world.probes_run(4)
    load.assert_no_loss()


def test_sites_reach_each_other_through_the_gateway(world):
    """Out of one tunnel, into another: decrypted and encrypted again, never in the clear between."""
    def reaches(target):
        try:
            world.lab.ns["host1"].run("ping", "-c", "3", "-i", "0.2", "-W", "1", target)
            return True
        except LabError:
            return False
    for target in (SIX.host4, SIX.host6, NATTED.host4, NATTED.host6):
        poll(f"host1 reaches {target}", lambda target=target: reaches(target), 10, 0.5)


def test_traffic_is_encrypted_and_decrypted_by_the_fast_path(world):
    before = world.gateway.tunnel(PLAIN)
    with world.probes.load(PLAIN, rate=200, families=(4,)):
        world.probes_run(2)
    after = world.gateway.tunnel(PLAIN)
    for counter in ("in_packets", "out_packets", "in_bytes", "out_bytes"):
        assert int(after[counter]) - int(before[counter]) > 300, counter


@pytest.mark.parametrize("site", SITES, ids=lambda s: s.name)
def test_tcp_copy_arrives_unchanged(world, site):
    host = f"host{site.index}"
    for family, vnet, there in ((4, VNET_HOST4, site.host4), (6, VNET_HOST6, site.host6)):
        for source, sink in (((host, there), ("vnet", vnet)), (("vnet", vnet), (host, there))):
            copy = tcp_copy(world.lab, source, sink, 8 * MIB)
            assert copy.bytes == 8 * MIB
            assert copy.sent_sha256 == copy.received_sha256, f"IPv{family} {source} -> {sink}"


def test_wan_carries_nothing_but_esp_and_ike(world):
    canary = b"PLAINTEXT-CANARY-7f3a"
    with Capture(world.lab, snap=1600) as wan:
        for site in SITES:
            world.lab.ns["vnet"].run("ping", "-c", "3", "-i", "0.1", "-s", "200", "-p", canary[:16].hex(), site.host4)
            world.lab.ns["vnet"].run("ping", "-c", "3", "-i", "0.1", "-s", "200", "-p", canary[:16].hex(), site.host6)
        world.offices[PLAIN.name].vpn.rekey_ike()
        poll("the rekeyed IKE SA", lambda: world.gateway.tunnel_up(PLAIN), 5)
    counts = wan.summary()
    assert counts["other"] == 0, f"{counts}\n{wan.others()}"
    if world.gateway.ports == "gso":
        assert counts["esp"] == 0 and counts["udp4500"] >= 36, counts
    else:
        assert counts["esp"] >= 24 and counts["udp4500"] >= 12, counts
    assert counts["ike"] > 0 or counts["udp4500"] > 0
    assert not wan.contains(canary[:16])


def test_nat_forces_udp_encapsulation(world):
    with Capture(world.lab) as wan:
        world.lab.ns["vnet"].run("ping", "-c", "5", "-i", "0.1", NATTED.host4)
    native = wan.count(f"host {NATTED.public4} and ip proto 50")
    encapsulated = wan.count(f"host {NATTED.public4} and udp port 4500 and greater 100")
    assert native == 0 and encapsulated >= 10


def test_largest_packet_passes_and_a_larger_one_is_told(world):
    """The tunnel's MTU is 1400: 1372 bytes of ping payload fit; one more is answered, not dropped silently."""
    ns = world.lab.ns["vnet"]
    ns.run("ping", "-c", "2", "-W", "1", "-M", "do", "-s", "1372", PLAIN.host4)
    answer = ns.run("ping", "-c", "2", "-W", "1", "-M", "do", "-s", "1373", PLAIN.host4, check=False)
    assert "1400" in answer, answer
    ns.run("ip", "route", "flush", "cache")


def test_ttl_ends_in_the_gateway_with_an_answer(world):
    answer = world.lab.ns["vnet"].run("ping", "-c", "1", "-W", "1", "-t", "1", PLAIN.host4, check=False)
    assert "Time to live exceeded" in answer, answer


def test_metrics_have_the_clouds_names(world):
    text = world.gateway.metrics()
    for name in ("tunnel_average_bandwidth", "tunnel_egress_bytes", "tunnel_ingress_bytes", "tunnel_egress_packets",
                 "tunnel_ingress_packets", "tunnel_egress_packet_drop_count", "tunnel_ingress_packet_drop_count",
                 "bgp_peer_status", "bgp_routes_advertised", "bgp_routes_learned", "vnet_address_prefix_count"):
        assert name in text, f"no {name} in /metrics"
    for label in ('connection="site1-ce1"', f'remote_ip="{PLAIN.public4}"', 'instance="gw-a"'):
        assert label in text, f"no label {label} in /metrics"


def test_metrics_listen_on_loopback_only(world):
    with pytest.raises(LabError):
        world.lab.ns["vnet"].run("curl", "-sf", "--max-time", "2", "http://10.0.1.1:9620/metrics")


def test_unknown_spi_and_replay_are_counted_not_forwarded(world):
    """A packet with an SPI nobody negotiated ends in a counter."""
    before = sum(world.gateway.drops().values())
    world.lab.ns["wan"].run("python3", "-c", f"""
from scapy.all import IP, Raw, send
for n in range(20):
    send(IP(dst="{GW_WAN4}", proto=50) / Raw(bytes.fromhex("deadbeef") + n.to_bytes(4, "big") + bytes(64)), verbose=0)
""")
    poll("the drops are counted", lambda: sum(world.gateway.drops().values()) >= before + 20, 5)
