"""One pair with circuit and tunnels: who is told what, which way packets take, what happens when a path goes.
coexistence_lab.py has the drawing, test_two_pairs.py the other topology."""

import time

import pytest

from coexistence import SOON, Coexistence, Net, assert_no_difference, eventually
from coexistence_lab import BRANCH, CONVERGED, LYON, PARIS
from gateway import PORT_KINDS
from lab import LabError, poll

GW_A, GW_B = CONVERGED


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with Coexistence(f"test_coexistence-{request.param}", ports=request.param) as ready:
        yield ready


@pytest.fixture(autouse=True, params=(4, 6), ids=("ipv4", "ipv6"))
def net(world, request):
    world.lab.family = request.param
    return world.net


@pytest.fixture(autouse=True)
def healthy(world):
    world.settle()
    yield
    world.restore_all()


def has_exactly(who, routes, prefixes):
    """routes(): prefix -> who told it."""
    try:
        poll(f"{who} has {sorted(prefixes)}", lambda: set(routes()) == set(prefixes), SOON, 0.1)
    except LabError as late:
        raise AssertionError(f"{late}; it has {sorted(routes())}") from late


# --- who is told what -------------------------------------------------------------------------------------------------------------------


def test_the_vnet_is_told_of_every_site(world, net):
    has_exactly("rs1", world.vnet.routes, {net.P, net.L, net.B})
    for prefix in (net.P, net.L, net.B):
        assert world.vnet.next_hops(prefix) == net.on_vnet(GW_A, GW_B), prefix


@pytest.mark.parametrize("router", ["primary", "secondary"])
def test_the_circuit_is_told_of_the_vnet_and_spokes_and_of_no_tunnel(world, net, router):
    has_exactly(router, lambda: world.circuit.routes(router), net.HUB | {net.P})


def test_a_vpn_site_is_told_of_the_hub_and_other_tunnels_but_of_no_circuit(world, net):
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B})
    has_exactly("hub-west", world.routers[BRANCH.name].routes, net.HUB | {net.L})


def test_the_site_with_both_hears_the_other_tunnels_in_its_tunnels_only(world, net):
    paris = world.routers[PARIS.name]
    has_exactly("paris", paris.routes, net.HUB | {net.L, net.B, net.P})
    for prefix in net.HUB:
        assert paris.devices(prefix) == {"primary", "secondary"}
    for prefix in (net.L, net.B):
        assert paris.devices(prefix) == {"tun-a", "tun-b"}


def test_each_instance_has_its_own_paths_and_the_others_as_well(world, net):
    for name, gateway in world.gateways.items():
        other = next(n for n in world.gateways if n != name)
        eventually("both circuit routers", lambda g=gateway, n=name: g.best(net.P) == {f"er1-primary/{n}", f"er1-secondary/{n}"})
        eventually("its own tunnel to lyon", lambda g=gateway, n=name: g.best(net.L) == {f"site2-ce1/{n}"})
        for prefix in (net.P, net.L, net.B):
            eventually(f"{prefix} of {other}", lambda g=gateway, o=other, p=prefix: f"instance:{o}" in g.candidates(p))
        assert f"site1-ce1/{name}" in gateway.candidates(net.P)


def test_what_is_learned_and_told_in_the_columns_of_the_clouds(world, net):
    """Learned: as the peer tells it, before policy. Told: as the peer hears it, with our AS number in front."""
    gateway = world.gateways[GW_A.name]
    peers = {p["source"]: p["neighbor"] for p in gateway.json("show", "bgp")["peers"]}

    def row(direction, source, prefix):
        rows = gateway.json("show", "bgp", direction, peers[source]).get("routes", [])
        found = [r for r in rows if r["network"] == prefix]
        assert len(found) == 1 and found[0]["source_peer"] == peers[source], rows
        return tuple(found[0][c] for c in ("origin", "as_path", "weight"))
    hub = min(net.HUB)
    for peer, prefix, origin, path in (("er1-primary", net.P, "EBgp", "12076 65021"), ("site2-ce1", net.L, "EBgp", "65022"),
                                       ("site3-ce1", net.B, "EBgp", "65516")):
        assert row("learned", f"{peer}/gw-a", prefix) == (origin, path, 0)
    assert row("learned", "instance:gw-b", net.L) == ("IBgp", "65022", 0)
    assert row("learned", "instance:gw-b", hub) == ("IBgp", "", 0)
    for peer in ("er1-primary", "site1-ce1", "site2-ce1"):
        assert row("advertised", f"{peer}/gw-a", hub) == ("Network", "65515", 32768)
    assert row("advertised", "site2-ce1/gw-a", net.B) == ("EBgp", "65515 65516", 100)
    assert row("advertised", "vnet:rs1/gw-a", net.P) == ("EBgp", "65515 12076 65021", 200)
    assert row("advertised", "instance:gw-b", net.L) == ("EBgp", "65022", 100)
    told = gateway.json("show", "bgp", "advertised", peers["er1-primary/gw-a"])["routes"]
    assert {r["next_hop"] for r in told if "." in r["network"]} == {told[0]["local_address"]} == {r["local_address"] for r in told}


def test_what_if_the_circuit_went(world, net):
    """Without a document: paris would be reached by tunnel, and nothing is touched."""
    gateway = world.gateways[GW_A.name]
    what = gateway.json("routes", "what-if", "--circuit-down")
    moves = {m["prefix"]: (m["kind"], set(m["from"]), set(m["to"])) for m in what["moves"]}
    assert moves[net.P] == ("moves", {"er1-primary/gw-a", "er1-secondary/gw-a"}, {"site1-ce1/gw-a"})
    assert set(moves) == {Net(f).P for f in (4, 6)} and not what.get("cut_off") and not what.get("limits"), what
    assert gateway.best(net.P) == {"er1-primary/gw-a", "er1-secondary/gw-a"}


def test_frr_agrees_with_gwd(world):
    """In prefixes, devices and numbers of routes; what differs is said after 12 s."""
    assert_no_difference(world)


def test_a_default_route_goes_nowhere(world, net):
    """Refused where it is not asked for; asked for, it is for this gateway alone."""
    lyon = world.routers[LYON.name]
    lyon.announce_default(True)
    gateway = world.gateways[GW_A.name]
    eventually("the default route is refused by name",
               lambda: "default route" in gateway.ctl("routes", "effective", net.everything, check=False))
    assert not gateway.best(net.everything)
    world.apply(lambda doc: connection(doc, LYON)["bgp"].update(accept_default_route=True))
    eventually("the default route is used", lambda: gateway.best(net.everything))
    time.sleep(1)
    for who, routes in (("rs1", world.vnet.routes), ("primary", world.circuit.routes), ("paris", world.routers[PARIS.name].routes),
                        ("hub-west", world.routers[BRANCH.name].routes)):
        assert net.everything not in routes(), who


def connection(doc, site):
    return next(c for c in doc["connections"] if c["device"] == f"{site.name}/ce1")


def test_an_isolated_site_and_the_others_do_not_hear_of_each_other(world, net):
    world.apply(lambda doc: next(s for s in doc["sites"] if s["name"] == LYON.name).update(isolate=True))
    paris = world.routers[PARIS.name]
    has_exactly("paris", paris.routes, net.HUB | {net.B, net.P})
    world.circuit.links_to_sites("down")
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B})
    world.circuit.links_to_sites("up")


def test_a_spoke_without_gateway_transit_is_nobodys(world, net):
    """`use_remote_gateways: false`: it is peered with the VNet, and has nothing to do with this gateway."""
    gateway = world.gateways[GW_A.name]
    assert gateway.best(net.SPOKE) == {"spoke:spoke-1"}
    world.apply(lambda doc: doc["vnet"]["peerings"][0].update(use_remote_gateways=False))
    has_exactly("primary", world.circuit.routes, {net.VNET, net.P})
    has_exactly("lyon", world.routers[LYON.name].routes, {net.VNET, net.B})
    has_exactly("hub-west", world.routers[BRANCH.name].routes, {net.VNET, net.L})
    has_exactly("paris", world.routers[PARIS.name].routes, {net.VNET, net.L, net.B, net.P})
    for one in world.gateways.values():
        assert not one.best(net.SPOKE)
        assert not one.ns.run("ip", f"-{net.family}", "route", "show", net.SPOKE), "nor has the kernel a route"
    assert not world.pings("spoke", net.host(LYON))
    assert world.pings("host", net.host(LYON))
    world.restore()
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B})
    eventually("the spoke reaches lyon again", lambda: world.pings("spoke", net.host(LYON)))


def test_transit_joins_circuit_and_tunnels(world, net):
    assert not world.pings("host2", net.host(PARIS)), "closed: nothing from lyon to paris"
    world.apply(lambda doc: doc["coexistence"].update(transit=True))
    has_exactly("primary", world.circuit.routes, net.HUB | {net.P, net.L, net.B})
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B, net.P})
    eventually("packets pass from lyon's tunnel to paris' circuit", lambda: world.pings("host2", net.host(PARIS)))
    world.restore()
    has_exactly("primary", world.circuit.routes, net.HUB | {net.P})
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B})
    assert not world.pings("host2", net.host(PARIS))


def test_closed_transit_does_not_trust_the_sites(world, net):
    """A site that sends to the other's prefix all the same, with a route of its own."""
    lyon = world.lab.ns[LYON.name]
    lyon.ip(f"route add {net.P} dev tun-a")
    before = world.drops().get("gw-a transit_closed", 0)
    try:
        assert not world.pings("host2", net.host(PARIS))
        assert world.drops().get("gw-a transit_closed", 0) > before, world.drops()
    finally:
        lyon.ip(f"route del {net.P} dev tun-a")


# --- which way packets take ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["host", "spoke"])
@pytest.mark.parametrize("site", [PARIS, LYON, BRANCH], ids=["paris", "lyon", "hub-west"])
def test_nothing_is_lost_while_all_is_well(world, net, role, site):
    with world.load(site, role=role, copies=4, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()


def test_the_circuit_is_preferred_both_ways(world, net):
    before = tunnel_packets(world, PARIS)
    with world.load(PARIS, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    assert tunnel_packets(world, PARIS) - before < 100, "packets of paris went through its tunnels"  # BGP and BFD do


def tunnel_packets(world, site):
    rows = [gateway.tunnel(site) for gateway in world.gateways.values() if gateway.at.tunnels]
    return sum(int(row["in_packets"]) + int(row["out_packets"]) for row in rows)


def test_sites_reach_each_other_through_the_gateway(world, net):
    assert world.pings("host2", net.host(BRANCH))
    assert world.pings("host3", net.host(LYON))


def test_the_reason_is_explained(world, net):
    words = world.gateways[GW_A.name].ctl("routes", "effective", net.P)
    assert "er1-primary/gw-a" in words and "site1-ce1/gw-a" in words and "weight" in words, words


# --- what happens when a path goes ------------------------------------------------------------------------------------------------------------


def test_without_the_circuit_the_vpn_takes_over_and_gives_back(world, net):
    paris = world.routers[PARIS.name]
    gateway = world.gateways[GW_A.name]
    world.circuit.links_to_sites("down")
    eventually("paris goes by its tunnel", lambda: gateway.best(net.P) == {"site1-ce1/gw-a"})
    eventually("and so does its router", lambda: paris.devices(net.VNET) == {"tun-a", "tun-b"})
    with world.load(PARIS, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    # Now that a tunnel is paris' best path, others in tunnels hear of it.
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B, net.P})
    eventually("lyon reaches paris", lambda: world.pings("host2", net.host(PARIS)))
    with world.load(PARIS, rate=100) as load:
        world.circuit.links_to_sites("up")
        eventually("paris goes by the circuit again", lambda: "er1-primary/gw-a" in gateway.best(net.P))
        eventually("and so does its router", lambda: "primary" in paris.devices(net.VNET))
        time.sleep(0.5)
    load.assert_no_loss()
    has_exactly("lyon", world.routers[LYON.name].routes, net.HUB | {net.B})


def test_an_instance_that_lost_its_tunnel_hands_over_to_the_other(world, net):
    gateway = world.gateways[GW_A.name]
    world.lab.cut((GW_A, LYON))
    eventually("gw-a sends lyon's packets to gw-b", lambda: gateway.best(net.L) == {"instance:gw-b"})
    eventually("rs1 sends all to gw-b", lambda: world.vnet.next_hops(net.L) == net.next_hops(has=(GW_B,), tells=(GW_A, GW_B)))
    with world.load(LYON, rate=100) as load:
        time.sleep(1)
    load.assert_no_loss()
    # Whoever still sends to gw-a is served, too.
    host = world.lab.ns["host"]
    host.ip(f"route add {net.L} via {net.at(GW_A)}")
    try:
        assert world.pings("host", net.host(LYON))
    finally:
        host.ip(f"route del {net.L}")
    with world.load(LYON, rate=100) as load:
        world.lab.heal()
        eventually("gw-a uses its tunnel again", lambda: gateway.best(net.L) == {"site2-ce1/gw-a"}, 20)
        time.sleep(0.5)
    load.assert_no_loss()


def test_packets_for_a_site_without_any_path_never_loop(world, net):
    """Until both instances know that the other has lost its tunnel as well, each may believe in the other."""
    before = world.vnet_packets()
    with world.load(LYON, copies=2, rate=250) as load:
        time.sleep(0.3)
        world.lab.cut((GW_A, LYON), (GW_B, LYON))
        eventually("nobody has a path", lambda: not any(g.best(net.L) for g in world.gateways.values()))
        time.sleep(1)
        words = world.lab.ns["host"].run("ping", "-c", "5", "-i", "0.1", "-W", "1", net.host(LYON), check=False)
    assert "Time to live exceeded" not in words
    sent = sum(r.sent for r in load.results)
    # A packet and its answer cross each instance once, and with a hand-over another one.
    assert world.vnet_packets() - before < 5 * sent, world.drops()


def test_routes_of_a_site_without_any_path_are_withdrawn_everywhere(world, net):
    world.lab.cut((GW_A, LYON), (GW_B, LYON))
    has_exactly("rs1", world.vnet.routes, {net.P, net.B})
    has_exactly("hub-west", world.routers[BRANCH.name].routes, net.HUB)
    world.lab.heal()
    has_exactly("rs1", world.vnet.routes, {net.P, net.L, net.B})


def test_planned_work_on_the_circuit_loses_nothing(world, net):
    gateway = world.gateways[GW_A.name]
    with world.load(PARIS) as load:
        world.circuit.graceful_shutdown(True)
        eventually("paris goes by its tunnel", lambda: gateway.best(net.P) == {"site1-ce1/gw-a"})
        time.sleep(0.5)
        world.circuit.graceful_shutdown(False)
        eventually("and by the circuit again", lambda: "er1-primary/gw-a" in gateway.best(net.P))
        time.sleep(0.5)
    load.assert_no_loss()


def test_preferring_the_vpn_loses_nothing(world, net):
    gateway = world.gateways[GW_A.name]
    with world.load(PARIS) as load:
        world.apply(lambda doc: doc["coexistence"].update(prefer="vpn"))
        eventually("paris goes by its tunnel", lambda: gateway.best(net.P) == {"site1-ce1/gw-a"})
        time.sleep(0.5)
        world.restore()
        eventually("and by the circuit again", lambda: "er1-primary/gw-a" in gateway.best(net.P))
        time.sleep(0.5)
    load.assert_no_loss()
