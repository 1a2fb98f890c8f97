"""gw-fastpath alone, black box: what is below and beside the tunnels. VLAN and QinQ on both sides, several next hops
to a peer, broadcast and multicast. The topology is drawn in fastpath_lab.py."""
import os
import subprocess

import pytest
from scapy.all import ARP, ICMP, IP, UDP, Dot1AD, Dot1Q, Ether, ICMPv6ND_RA, IPv6, Raw, defragment

from fastpath_lab import HOST_MAC, PEER_MAC, VNET_MAC, WAN_MAC, packed, pb, poll, run
from fastpath_peer import GW4, HOST4, HOST6, PEER4, SITE4, SITE6, Tunnel, lab, packets, xsk_only  # noqa: F401 (lab is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def has_vlans():
    done = subprocess.run(["ip", "link", "add", "link", "lo", "name", "gwvlan", "type", "vlan", "id", "1"], capture_output=True)
    subprocess.run(["ip", "link", "del", "gwvlan"], capture_output=True)
    return b"Unknown device type" not in done.stderr


needs_vlans = pytest.mark.skipif(os.geteuid() == 0 and not has_vlans(), reason="this kernel has no VLAN devices (CONFIG_VLAN_8021Q)")


def tags_of(frame):
    """[(type, id), ...] from the outside in."""
    tags = []
    data = bytes(frame)
    at = 12
    while (kind := int.from_bytes(data[at:at + 2], "big")) in (0x8100, 0x88a8):
        tags.append((kind, int.from_bytes(data[at + 2:at + 4], "big") & 0xfff))
        at += 4
    return tags


def tagged(stack, inner):
    frame = Ether(src=HOST_MAC, dst=VNET_MAC)
    for kind, vlan in stack:
        frame = frame / (Dot1AD if kind == 0x88a8 else Dot1Q)(vlan=vlan)
    return frame / inner


def add_vlan(device, stack, *addresses):
    """The sub-interface for these tags; its name."""
    for kind, vlan in stack:
        name = f"{device}.{vlan}"
        run("ip", "-n", "fpg", "link", "add", "link", device, "name", name, "type", "vlan",
            "protocol", "802.1ad" if kind == 0x88a8 else "802.1Q", "id", str(vlan))
        run("ip", "-n", "fpg", "link", "set", name, "up")
        device = name
    for address in addresses:
        run("ip", "-n", "fpg", "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
    return device


STACKS = {"vlan": [(0x8100, 100)], "qinq": [(0x88a8, 200), (0x8100, 30)]}


@needs_vlans
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_hosts_in_vlans_of_the_vnet_port(lab, stack):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    device = add_vlan("vnet", stack, "10.2.0.1/24", "fd00:2::1/64")
    for address in ("10.2.0.10", "fd00:2::10"):
        run("ip", "-n", "fpg", "neigh", "add", address, "lladdr", HOST_MAC, "dev", device, "nud", "permanent")
    tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[
        pb.Route(prefix=packed("10.2.0.0"), prefix_length=24, kind=pb.NEXT_HOP_VNET),
        pb.Route(prefix=packed("fd00:2::"), prefix_length=64, kind=pb.NEXT_HOP_VNET)]))

    def to_host(inner):
        lab.vnet.drain()
        slow = tunnel.info().slow_path_packets
        tunnel.from_peer(inner)
        frame = lab.vnet.receive(lambda f: f.haslayer(UDP) and f[UDP].dport == 2000)
        return frame, tunnel.info().slow_path_packets - slow
    for inner in (IP(src=SITE4, dst="10.2.0.10") / UDP(sport=1000, dport=2000) / Raw(b"in"),
                  IPv6(src=SITE6, dst="fd00:2::10") / UDP(sport=1000, dport=2000) / Raw(b"in")):
        poll("the fast way into the VLAN", lambda: to_host(inner)[1] == 0)
        frame, _ = to_host(inner)
        # A packet socket shows an outermost tag that veth carried beside the packet as none.
        assert tags_of(frame) in (stack, stack[1:])
        assert frame.dst == HOST_MAC and frame.src == VNET_MAC and bytes(frame[UDP].payload)[:2] == b"in"

    redirected = tunnel.control.ok(get_counters=pb.GetCounters()).counters.vnet_rx_packets
    for inner in (IP(src="10.2.0.10", dst=SITE4) / UDP(sport=2000, dport=1000) / Raw(b"out"),
                  IPv6(src="fd00:2::10", dst=SITE6) / UDP(sport=2000, dport=1000) / Raw(b"out")):
        lab.vnet.send(tagged(stack, inner))
        got = tunnel.at_peer()
        assert got is not None and bytes(got[0][UDP].payload) == b"out"
    assert tunnel.control.ok(get_counters=pb.GetCounters()).counters.vnet_rx_packets == redirected + 2, "the fast way"


@needs_vlans
def test_a_vlan_that_is_not_ours_leads_nowhere(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    add_vlan("vnet", [(0x8100, 100)], "10.2.0.1/24")
    inner = packets(4)[1]
    for stack in ([(0x8100, 101)], [(0x88a8, 100)], [(0x8100, 100), (0x8100, 100)]):
        lab.vnet.send(tagged(stack, inner))
    assert tunnel.at_peer(0.5) is None
    assert tunnel.drops() == {}


@needs_vlans
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_a_peer_in_a_vlan_of_the_wan_port(lab, stack):
    device = add_vlan("wan", stack, "192.0.3.1/24")
    run("ip", "-n", "fpg", "neigh", "add", "192.0.3.2", "lladdr", PEER_MAC, "dev", device, "nud", "permanent")
    run("ip", "-n", "fpg", "route", "add", "203.0.113.7/32", "via", "192.0.3.2")
    tunnel = Tunnel(lab, peer="203.0.113.7")

    def sent():
        lab.wan.drain()
        tunnel.from_host(packets(4, b"out")[1])
        return lab.wan.receive(tunnel.received.matches, 0.5)
    frame = poll("ESP leaves with tags", sent, 10)
    assert tags_of(frame) in (stack, stack[1:]) and frame.dst == PEER_MAC and frame.src == WAN_MAC
    tunnel.received.open(frame)
    outer = tunnel.sent.seal(bytes(packets(4, b"in")[0]))
    frame = Ether(src=PEER_MAC, dst=WAN_MAC)
    for kind, vlan in stack:
        frame = frame / (Dot1AD if kind == 0x88a8 else Dot1Q)(vlan=vlan)
    lab.wan.send(frame / IP(outer))
    got = tunnel.at_host(5)
    assert got is not None and bytes(got[UDP].payload)[:2] == b"in"


@needs_vlans
def test_a_vlan_may_have_a_smaller_mtu_than_its_port(lab):
    """The site's sender is told, as by a router; it was the port's MTU that counted on the fast way."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    device = add_vlan("vnet", STACKS["vlan"], "10.2.0.1/24")
    run("ip", "-n", "fpg", "neigh", "add", "10.2.0.10", "lladdr", HOST_MAC, "dev", device, "nud", "permanent")
    for command in (("addr", "add", "169.254.21.1/30", "dev", "tun1"), ("route", "add", "10.9.0.0/16", "dev", "tun1")):
        run("ip", "-n", "fpg", *command)
    tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(prefix=packed("10.2.0.0"), prefix_length=24, kind=pb.NEXT_HOP_VNET)]))
    probe = IP(src=SITE4, dst="10.2.0.10", flags="DF") / UDP(sport=1000, dport=2000) / Raw(bytes(1330))

    def arrives():
        slow = tunnel.info().slow_path_packets
        tunnel.from_peer(probe)
        return lab.vnet.receive(lambda f: f.haslayer(UDP) and f[UDP].dport == 2000, 0.5) and tunnel.info().slow_path_packets == slow
    poll("it fits, the fast way", arrives, 10)
    run("ip", "-n", "fpg", "link", "set", device, "mtu", "1300")

    def told():
        lab.wan.drain()
        tunnel.from_peer(probe)
        answer = tunnel.at_peer(0.5)
        return answer and answer[0].haslayer(ICMP) and (answer[0][ICMP].type, answer[0][ICMP].code, answer[0][ICMP].nexthopmtu)
    assert poll("an answer", told) == (3, 4, 1300)


def way_into_vlan(stack, mac=None):
    """The way to 203.0.113.7 leads into a VLAN of the wan port."""
    device = add_vlan("wan", stack, "192.0.3.1/24")
    poll("the VLAN is up", lambda: "state UP" in run("ip", "-n", "fpg", "link", "show", device))
    if mac:
        run("ip", "-n", "fpg", "neigh", "add", "192.0.3.2", "lladdr", mac, "dev", device, "nud", "permanent")
    run("ip", "-n", "fpg", "route", "add", "203.0.113.7/32", "via", "192.0.3.2")


@needs_vlans
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_pieces_for_a_peer_in_a_vlan_leave_there(lab, stack):
    """What the kernel sends for us goes the tunnel's way, not that of the port."""
    way_into_vlan(stack, PEER_MAC)
    tunnel = Tunnel(lab, peer="203.0.113.7")

    def sent():
        tunnel.from_host(packets(4, bytes(500))[1])
        return lab.wan.receive(tunnel.received.matches, 0.5)
    quoted = bytes(poll("ESP leaves", sent, 10)[IP])
    lab.wan.send(Ether(src=PEER_MAC, dst=WAN_MAC) / IP(src="198.51.100.254", dst=GW4) / ICMP(type=3, code=4, nexthopmtu=576) / Raw(quoted[:48]))
    poll("the path MTU is known", lambda: tunnel.info().path_mtu == 576)
    lab.wan.drain()
    inner = IP(src=HOST4, dst=SITE4, flags="DF") / UDP(sport=1, dport=2) / Raw(bytes(576 - 28))
    tunnel.from_host(inner)
    pieces = []
    while not pieces or pieces[-1].flags.MF:
        frame = lab.wan.receive(lambda f: f.haslayer(IP) and f[IP].dst == tunnel.peer)
        assert frame is not None and tags_of(frame) in (stack, stack[1:]) and frame.dst == PEER_MAC
        pieces.append(frame[IP])
    assert len(tunnel.received.open(Ether() / defragment(pieces)[0])[0]) == len(bytes(inner))
    assert tunnel.drops() == {}


@needs_vlans
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_the_first_packet_to_a_peer_in_a_vlan_waits_for_its_mac(lab, stack):
    way_into_vlan(stack)
    tunnel = Tunnel(lab, peer="203.0.113.7")
    lab.wan.drain()
    poll("the kernel has it", lambda: tunnel.from_host(packets(4)[1]) or tunnel.info().out_packets > 0)
    answer = Ether(src=PEER_MAC, dst=WAN_MAC)
    for kind, vlan in stack:
        answer = answer / (Dot1AD if kind == 0x88a8 else Dot1Q)(vlan=vlan)
    lab.wan.send(answer / ARP(op=2, hwsrc=PEER_MAC, psrc="192.0.3.2", hwdst=WAN_MAC, pdst="192.0.3.1"))
    frame = lab.wan.receive(tunnel.received.matches)
    assert frame is not None and tags_of(frame) in (stack, stack[1:])
    assert tunnel.received.open(frame)[1] == 1, "the first, and nothing before it was lost"


@xsk_only  # on a gso port the kernel's own multipath chooses, one way for all tunnels to an address
def test_tunnels_spread_over_several_next_hops(lab):
    """Each tunnel stays on one; when that one disappears it moves within the event, and the others do not."""
    macs = {f"192.0.2.{n}": f"02:00:00:00:01:{n}" for n in (71, 72, 73)}
    for address, mac in macs.items():
        run("ip", "-n", "fpg", "neigh", "add", address, "lladdr", mac, "dev", "wan", "nud", "permanent")
    hops = [word for address in macs for word in ("nexthop", "via", address, "dev", "wan")]
    run("ip", "-n", "fpg", "route", "add", "203.0.113.0/24", *hops)
    tunnels = [Tunnel(lab, peer="203.0.113.7")]
    tunnels[0].warm_up()
    for number in range(2, 13):
        tunnels.append(Tunnel(lab, peer="203.0.113.7", number=number, like=tunnels[0]))

    def way(tunnel):
        """The MAC that the tunnel's packets go to."""
        route = pb.Route(prefix=packed("10.9.0.0"), prefix_length=16, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[tunnel.number])
        tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[route]))
        lab.wan.drain()
        tunnel.from_host(packets(4)[1])
        frame = lab.wan.receive(tunnel.received.matches)
        assert frame is not None
        tunnel.received.open(frame)
        return frame.dst
    before = [way(t) for t in tunnels]
    assert set(before) <= set(macs.values()) and len(set(before)) >= 2, "spread"
    assert [way(t) for t in tunnels] == before, "and stay"
    lost_mac = before[0]
    lost = next(a for a, m in macs.items() if m == lost_mac)
    run("ip", "-n", "fpg", "neigh", "replace", lost, "dev", "wan", "nud", "failed")
    run("ip", "-n", "fpg", "neigh", "del", lost, "dev", "wan", check=False)
    poll("the tunnel moves", lambda: way(tunnels[0]) != lost_mac, 3)
    during = [way(t) for t in tunnels]
    assert lost_mac not in during
    assert [m for m, b in zip(during, before) if b != lost_mac] == [b for b in before if b != lost_mac], "the others stay"
    run("ip", "-n", "fpg", "neigh", "replace", lost, "lladdr", lost_mac, "dev", "wan", "nud", "permanent")
    poll("and comes back", lambda: way(tunnels[0]) == lost_mac, 3)
    assert [way(t) for t in tunnels] == before
    # A next hop that leaves the route.
    remaining = [word for address in macs if address != lost for word in ("nexthop", "via", address, "dev", "wan")]
    run("ip", "-n", "fpg", "route", "replace", "203.0.113.0/24", *remaining)
    poll("the tunnel moves", lambda: way(tunnels[0]) != lost_mac, 3)


def test_no_next_hop_is_a_drop_with_a_name(lab):
    run("ip", "-n", "fpg", "route", "add", "203.0.113.0/24", "via", "192.0.2.2")
    tunnel = Tunnel(lab, peer="203.0.113.7")
    tunnel.warm_up()
    run("ip", "-n", "fpg", "route", "replace", "unreachable", "203.0.113.0/24")

    def dropped():
        tunnel.from_host(packets(4)[1])
        return "no_route" in tunnel.out_drops()
    poll("it is counted", dropped)
    run("ip", "-n", "fpg", "route", "replace", "203.0.113.0/24", "via", "192.0.2.2")
    lab.wan.drain()
    poll("and it returns", lambda: tunnel.from_host(packets(4)[1]) or tunnel.at_peer(0.3), 5)


def test_multicast_and_broadcast_stay_where_they_are(lab):
    """From a site: not into the VNet. Link-local groups are the kernel's (OSPF, neighbour discovery)."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "addr", "replace", "10.1.0.1/24", "dev", "vnet")
    for dst in ("239.1.2.3", "224.0.1.1", "255.255.255.255", "10.1.0.255"):
        tunnel.from_peer(IP(src=SITE4, dst=dst) / UDP(sport=1, dport=9))
    for dst in ("ff05::1", "ff0e::99"):
        tunnel.from_peer(IPv6(src=SITE6, dst=dst) / UDP(sport=1, dport=9))
    poll("counted", lambda: tunnel.drops() == {"multicast": 6})
    slow = tunnel.info().slow_path_packets
    tunnel.from_peer(IP(src=SITE4, dst="224.0.0.5", proto=89) / Raw(bytes(24)))
    tunnel.from_peer(IPv6(src="fe80::1", dst="ff02::5", nh=89) / Raw(bytes(24)))
    poll("the kernel has them", lambda: tunnel.info().slow_path_packets == slow + 2)
    assert lab.vnet.receive(lambda f: f.haslayer(UDP) and f[UDP].dport == 9, 0.3) is None
    # From the VNet: its broadcasts and multicast do not enter the tunnel, whatever the routes say.
    tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[
        pb.Route(prefix=packed("224.0.0.0"), prefix_length=4, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1])]))
    for dst, mac in (("255.255.255.255", "ff:ff:ff:ff:ff:ff"), ("10.1.0.255", "ff:ff:ff:ff:ff:ff"), ("239.1.2.3", "01:00:5e:01:02:03"),
                     ("239.1.2.3", VNET_MAC), (SITE4, "ff:ff:ff:ff:ff:ff")):
        lab.vnet.send(Ether(src=HOST_MAC, dst=mac) / IP(src=HOST4, dst=dst) / UDP(sport=1, dport=9))
    lab.vnet.send(Ether(src=HOST_MAC, dst="33:33:00:00:00:01") / IPv6(src=HOST6, dst="ff05::1") / UDP(sport=1, dport=9))
    assert tunnel.at_peer(0.5) is None


@pytest.mark.parametrize("default", [1, 2], ids=["by_the_same_site", "by_another_site"])
def test_what_is_of_a_link_stays_there_beside_a_default_route(lab, default):
    """A site announces a default route: groups and addresses of a tunnel's link are the kernel's all the same. Without router
    advertisements there is no unnumbered BGP session."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    other = Tunnel(lab, number=2, like=tunnel, peer="203.0.113.7")
    run("ip", "-n", "fpg", "route", "add", "203.0.113.7/32", "via", "192.0.2.2")
    tunnel.control.ok(update_routes=pb.UpdateRoutes(add=[
        pb.Route(prefix=bytes(4), prefix_length=0, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[default]),
        pb.Route(prefix=bytes(16), prefix_length=0, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[default])]))
    slow = tunnel.info().slow_path_in_packets
    sent = [IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), IPv6(src="fe80::1", dst="ff02::5", hlim=64, nh=89) / Raw(bytes(24)),
            IP(src=SITE4, dst="224.0.0.5", ttl=255, proto=89) / Raw(bytes(24)), IP(src=SITE4, dst="169.254.77.7") / UDP(),
            IPv6(src=SITE6, dst="fe80::77") / UDP()]
    for packet in sent:
        tunnel.from_peer(packet)
    poll("the kernel has them", lambda: tunnel.info().slow_path_in_packets == slow + len(sent))
    assert tunnel.drops() == {} and other.info().out_packets == 0
