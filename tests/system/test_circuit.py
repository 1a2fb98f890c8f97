"""The circuit port of gw-fastpath, black box: plain forwarding between VNet and circuit on every pair of kinds of port,
what is refused and counted, and transit between circuit and tunnels. The topology is drawn in circuit_lab.py."""
import functools
import itertools
import os
import random
import subprocess
import sys
import textwrap
import time
from collections import Counter

import pytest
from scapy.all import ARP, ICMP, IP, TCP, Ether, IPv6, Raw

from circuit_lab import CIRCUIT_MAC, FAR, HOST, OURS, ROUTER, ROUTER_MAC, CircuitLab, datagram
from fastpath_lab import HOST_MAC, PORT_KINDS, VNET_MAC, pb, poll, run
from packet_station import is_upkeep, routed

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

KINDS = list(itertools.product(PORT_KINDS, PORT_KINDS))
IDS = ["vnet-{}-circuit-{}".format(*k) for k in KINDS]


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def lab(request, tmp_path_factory):
    lab = CircuitLab(tmp_path_factory.mktemp("circuit"), request.param)
    try:
        lab.circuit_routes()
        yield lab
    finally:
        assert lab.close() == 0


@pytest.fixture(autouse=True)
def quiet(request):
    if "lab" in request.fixturenames:
        lab = request.getfixturevalue("lab")
        lab.vnet.drain()
        lab.circuit.drain()


def payload(f: Ether):
    return bytes(f.payload)


@pytest.mark.parametrize("version", [4, 6])
def test_both_ways(lab, version):
    """One hop older, from our MAC to the neighbour's; counted on both ports."""
    before = lab.all_counters()
    out = datagram(version)
    lab.from_vnet(out)
    got = lab.at_circuit()
    assert (got.dst, payload(got)) == (ROUTER_MAC, routed(out))
    back = datagram(version, to_circuit=False)
    lab.from_circuit(back)
    got = lab.at_vnet()
    assert (got.dst, payload(got)) == (HOST_MAC, routed(back))
    after = lab.all_counters()
    for counter in ("circuit_rx_packets", "circuit_tx_packets", "vnet_rx_packets", "vnet_tx_packets"):
        assert getattr(after, counter) == getattr(before, counter) + 1, counter
    assert list(after.drops) == list(before.drops)


def test_padding_and_fragments_and_options_go_through(lab):
    small = datagram(4, b"")
    lab.from_vnet(small + bytes(18))
    assert payload(lab.at_circuit())[:len(small)] == routed(small)
    piece = bytes(IP(src=HOST[4], dst=FAR[4], flags="MF", proto=17) / Raw(bytes(64)))
    lab.from_vnet(piece)
    assert payload(lab.at_circuit()) == routed(piece)
    later = bytes(IP(src=FAR[4], dst=HOST[4], frag=8, proto=17) / Raw(bytes(64)))
    lab.from_circuit(later)
    assert payload(lab.at_vnet()) == routed(later)
    with_options = bytes(IP(src=HOST[4], dst=FAR[4], options=b"\x01\x01\x01\x00") / Raw(bytes(20)))  # by the kernel
    lab.from_vnet(with_options)
    assert payload(lab.at_circuit()) == routed(with_options)


def test_time_exceeded(lab):
    lab.from_vnet(datagram(4, ttl=1))
    answer = lab.at_vnet(lambda f: ICMP in f)
    assert (answer[IP].src, answer[ICMP].type) == ("10.1.0.1", 11)
    lab.from_circuit(datagram(6, ttl=1, to_circuit=False))
    answer = lab.at_circuit(lambda f: IPv6 in f and f[IPv6].nh == 58 and payload(f)[40] == 3)
    assert answer[IPv6].src == OURS[6]


def test_martians_are_dropped(lab):
    for source in ("127.0.0.1", "224.0.0.1", "240.0.0.1", "0.0.0.9", "169.254.7.7"):
        lab.dropped("spoofed_source", lambda: lab.from_circuit(datagram(4, to_circuit=False, src=source)))
        lab.dropped("spoofed_source", lambda: lab.from_vnet(datagram(4, src=source)))
    for source in ("::1", "ff02::1", "fe80::77"):
        lab.dropped("spoofed_source", lambda: lab.from_circuit(datagram(6, to_circuit=False, src=source)))


def test_nobody_speaks_for_us_or_the_vnet(lab):
    for source in ("10.1.0.77", "10.1.0.1", OURS[4]):
        lab.dropped("spoofed_source", lambda: lab.from_circuit(datagram(4, to_circuit=False, src=source)))
    lab.dropped("spoofed_source", lambda: lab.from_circuit(datagram(6, to_circuit=False, src="fd00:1::77")))


def test_a_broadcast_of_the_vnet_stays_outside(lab):
    lab.dropped("multicast", lambda: lab.from_circuit(datagram(4, to_circuit=False, dst="10.1.0.255")))


def test_the_circuit_never_gets_back_what_it_sent(lab):
    lab.dropped("hairpin", lambda: lab.from_circuit(datagram(4, to_circuit=False, dst="10.40.7.7")))
    lab.dropped("hairpin", lambda: lab.from_circuit(datagram(6, to_circuit=False, dst="fd00:40::7")))


def test_from_the_vnet_to_a_gateway_of_the_vnet(lab):
    """A spoke, or the other instance: never back to whom it came from."""
    other = "02:00:00:00:02:44"
    lab.neighbour("10.1.0.44", other, "vnet")
    lab.route("10.60.0.0", 16, pb.NEXT_HOP_VNET, ["10.1.0.44"], behind=pb.BEHIND_TUNNELS)
    packet = datagram(4, dst="10.60.1.1")

    def arrives():
        lab.from_vnet(packet)
        return lab.at_vnet(lambda f: IP in f and f[IP].dst == "10.60.1.1", 0.2)
    got = poll("the neighbour is known", arrives)
    assert (got.dst, payload(got)) == (other, routed(packet))
    lab.dropped("hairpin", lambda: lab.from_vnet(packet, source=other))
    assert lab.at_vnet(lambda f: IP in f and f[IP].dst == "10.60.1.1", 0.1) is None
    # The circuit reaches what another instance has only with transit; the reverse is an answer to what was let through.
    lab.dropped("transit_closed", lambda: lab.from_circuit(datagram(4, to_circuit=False, dst="10.60.1.1")))
    answer = datagram(4, to_circuit=False, src="10.60.1.1")
    lab.from_circuit(answer)
    assert payload(lab.at_vnet(lambda f: IP in f and f[IP].src == "10.60.1.1")) == routed(answer)


def test_a_flow_keeps_its_gateway_when_another_goes(lab):
    gateways = {f"192.168.30.{n}": f"02:00:00:00:03:{n:02x}" for n in (19, 20, 21)}
    for address, lladdr in gateways.items():
        lab.neighbour(address, lladdr, "circuit")

    def chosen(routers):
        lab.route("10.41.0.0", 16, pb.NEXT_HOP_CIRCUIT, routers)
        way = {}
        for port in range(40):
            packet = datagram(4, dst="10.41.1.1", ports=(3000 + port, 443))
            lab.from_vnet(packet)
            got = lab.at_circuit(lambda f: IP in f and f[IP].dst == "10.41.1.1")
            assert payload(got) == routed(packet)
            way[port] = got.dst
        return way
    poll("neighbours are known", lambda: set(chosen(list(gateways)).values()) == set(gateways.values()))
    all_of_them = chosen(list(gateways))
    gone = gateways.pop("192.168.30.20")
    rest = chosen(list(gateways))
    assert all(rest[port] == way for port, way in all_of_them.items() if way != gone)
    assert gone not in rest.values() and set(rest.values()) == set(gateways.values())


def test_a_neighbour_that_nobody_knew_loses_nothing(lab):
    """The kernel asks, and the packet waits."""
    for version in (4, 6):
        run("ip", "-n", "fpg", "neigh", "flush", "dev", "vnet")
        run("ip", "-n", "fpg", "neigh", "flush", "dev", "circuit")
        out, back = datagram(version), datagram(version, to_circuit=False)
        lab.from_vnet(out)
        lab.from_circuit(back)
        assert payload(lab.at_circuit(lambda f: f.dst == ROUTER_MAC and payload(f) == routed(out), 5)) == routed(out)
        assert payload(lab.at_vnet(lambda f: f.dst == HOST_MAC and payload(f) == routed(back), 5)) == routed(back)
    lab.knows_neighbours()


def test_a_neighbour_that_does_not_answer_is_counted_and_returns(lab):
    lab.route("10.42.0.0", 16, pb.NEXT_HOP_CIRCUIT, ["192.168.30.22"])
    packet = datagram(4, dst="10.42.1.1")
    before = lab.counters().get("no_neighbour", 0)

    def refused():
        lab.from_vnet(packet)
        return lab.counters().get("no_neighbour", 0) > before
    poll("counted", refused, 15)
    run("ip", "-n", "fpc", "addr", "add", "192.168.30.22/29", "dev", "circuit0")
    try:
        def arrives():
            lab.from_vnet(packet)
            return lab.at_circuit(lambda f: payload(f) == routed(packet), 0.1)
        assert poll("it answers again", arrives, 15).dst == ROUTER_MAC
    finally:
        run("ip", "-n", "fpc", "addr", "del", "192.168.30.22/29", "dev", "circuit0")


def test_our_own_addresses_are_the_kernels(lab):
    """BGP, BFD, ping, ARP, neighbour discovery: all of it reaches the host."""
    for version in (4, 6):
        assert "1 received" in run("ip", "netns", "exec", "fpc", "ping", "-c1", "-W3", OURS[version])
    lab.circuit.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=ROUTER_MAC) / ARP(psrc=ROUTER[4], pdst=OURS[4], hwsrc=ROUTER_MAC)))
    assert lab.circuit.receive(lambda f: ARP in f and f[ARP].op == 2)[ARP].hwsrc == CIRCUIT_MAC
    lab.circuit.send(bytes(Ether(dst=CIRCUIT_MAC, src=ROUTER_MAC) / IP(src=ROUTER[4], dst=OURS[4]) / TCP(sport=4000, dport=179, flags="S")))
    assert lab.at_circuit(lambda f: TCP in f and f[TCP].sport == 179)[TCP].flags == "RA", "nobody listens, and the kernel says so"


def test_ports_are_listed(lab):
    port = next(p for p in lab.control.ok(list_ports=pb.ListPorts()).ports.ports if p.side == "circuit")
    assert (port.interface, port.mtu) == ("circuit", 1500)
    assert port.rx_packets > 0 and port.tx_packets > 0 and port.reason
    assert port.attach_mode == ("native" if port.kind == "xsk" else "tcx")
    assert {d.reason for d in port.drops} >= {"spoofed_source", "hairpin"}


# --- real hosts: offloads as they are by default -------------------------------------------------------

TRANSFER = textwrap.dedent("""
    import socket, sys
    family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
    s = socket.socket(family)
    if sys.argv[1] == "serve":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((sys.argv[2], 5000)); s.listen(); print("ready", flush=True)
        c = s.accept()[0]; n = 0
        while data := c.recv(1 << 16): n += len(data)
        c.sendall(str(n).encode()); c.close()
    else:
        s.settimeout(20); s.connect((sys.argv[2], 5000)); s.sendall(bytes(8 << 20)); s.shutdown(socket.SHUT_WR)
        print(s.recv(100).decode())
""")


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_with_all_offloads(lab, version):
    """Unfinished checksums, superpackets: nothing that a veth does may break a connection."""
    for ns, device in (("fpv", "vnet0"), ("fpc", "circuit0"), ("fpg", "vnet"), ("fpg", "circuit")):
        run("ip", "netns", "exec", ns, "ethtool", "-K", device, "tx", "on", "tso", "on", "gro", "on", check=False)
    far = FAR[version]
    run("ip", "-n", "fpc", "addr", "replace", f"{far}/{32 if version == 4 else 128}", "dev", "lo", *(["nodad"] if version == 6 else []))
    run("ip", "-n", "fpc", "route", "replace", "10.1.0.0/24" if version == 4 else "fd00:1::/64", "via", OURS[version], "src", far)
    run("ip", "-n", "fpv", "route", "replace", "10.40.0.0/16" if version == 4 else "fd00:40::/32", "via", "10.1.0.1" if version == 4 else "fd00:1::1")
    before = lab.all_counters()
    for server, address, client in (("fpc", far, "fpv"), ("fpv", HOST[version], "fpc")):
        with subprocess.Popen(["ip", "netns", "exec", server, sys.executable, "-c", TRANSFER, "serve", address], stdout=subprocess.PIPE, text=True) as s:
            try:
                assert s.stdout.readline() == "ready\n"
                got = subprocess.run(["ip", "netns", "exec", client, sys.executable, "-c", TRANSFER, "send", address], capture_output=True, text=True,
                                     timeout=40)
                assert got.stdout.strip() == str(8 << 20), got.stderr
            finally:
                s.kill()
    after = lab.all_counters()
    for counter in ("vnet_rx_packets", "circuit_rx_packets"):  # one way of it is 8 MiB: none of it went by the kernel
        assert getattr(after, counter) - getattr(before, counter) > (8 << 20) // 1500, counter
    assert list(after.drops) == list(before.drops)


# --- the ledger -------------------------------------------------------------------------------------------

def mixture(lab, count, seed):
    """Random packets from both sides: what must arrive where, and what is dropped for which reason."""
    chance = random.Random(seed)
    wanted = {"at_circuit": [], "at_vnet": [], "drops": Counter(), "vnet_in": 0, "circuit_in": 0}
    other = "02:00:00:00:02:44"
    for number in range(count):
        version = chance.choice((4, 6))
        text = number.to_bytes(4, "big") + chance.randbytes(chance.choice((0, 1, 40, 500, 1300)))
        ports = (1000 + chance.randrange(50), 2000)
        kind = chance.choice(("out", "out", "out", "in", "in", "in", "spoke", "hairpin", "spoofed_source", "transit_closed", "no_neighbour",
                              "multicast"))
        outward, inward = datagram(version, text, ports=ports), datagram(version, text, to_circuit=False, ports=ports)
        v4 = functools.partial(datagram, 4, text, ports=ports)
        if kind == "out":
            lab.from_vnet(outward)
            wanted["at_circuit"].append(routed(outward))
            wanted["vnet_in"] += 1
        elif kind == "in":
            lab.from_circuit(inward)
            wanted["at_vnet"].append(routed(inward))
            wanted["circuit_in"] += 1
        elif kind == "spoke":
            lab.from_vnet(packet := v4(dst="10.60.1.1"))
            wanted["at_vnet"].append(routed(packet))
            wanted["vnet_in"] += 1
        else:
            wanted["drops"][kind] += 1
            if kind == "hairpin":
                lab.from_vnet(v4(dst="10.60.1.1"), source=other)
            elif kind == "no_neighbour":
                lab.from_vnet(v4(dst="10.43.1.1"))
            else:
                lab.from_circuit(v4(to_circuit=False, **{"spoofed_source": dict(src="10.1.0.7"), "transit_closed": dict(dst="10.60.1.1"),
                                                         "multicast": dict(dst="10.1.0.255")}[kind]))
    return wanted


def test_every_packet_is_delivered_or_counted(lab):
    for ns, prefix in (("fpv", "10.40.0.0/16"), ("fpv", "fd00:40::/32"), ("fpc", "10.1.0.0/24"), ("fpc", "fd00:1::/64")):
        run("ip", "-n", ns, "route", "del", prefix, check=False)  # the hosts have no way to say what they think of it
    lab.neighbour("10.1.0.44", "02:00:00:00:02:44", "vnet")
    lab.route("10.60.0.0", 16, pb.NEXT_HOP_VNET, ["10.1.0.44"], behind=pb.BEHIND_TUNNELS)
    lab.route("10.43.0.0", 16, pb.NEXT_HOP_VNET, ["10.1.0.99"])
    before = lab.counters().get("no_neighbour", 0)
    poll("the neighbour has failed", lambda: [lab.from_vnet(datagram(4, dst="10.43.1.1")), time.sleep(0.1)] and
         lab.counters().get("no_neighbour", 0) > before, 15)
    lab.vnet.drain()
    lab.circuit.drain()
    before, drops = lab.all_counters(), Counter(lab.counters())
    wanted = mixture(lab, 1500, seed=22)
    poll("all is counted", lambda: sum((Counter(lab.counters()) - drops).values()) >= sum(wanted["drops"].values()))
    time.sleep(0.1)
    after = lab.all_counters()
    assert Counter(lab.counters()) - drops == wanted["drops"]
    assert {name: getattr(after, name) - getattr(before, name) for name in
            ("vnet_rx_packets", "circuit_rx_packets", "vnet_tx_packets", "circuit_tx_packets")} == {
        "vnet_rx_packets": wanted["vnet_in"], "circuit_rx_packets": wanted["circuit_in"],
        "vnet_tx_packets": len(wanted["at_vnet"]), "circuit_tx_packets": len(wanted["at_circuit"])}
    for link, source, packets in ((lab.circuit, CIRCUIT_MAC, wanted["at_circuit"]), (lab.vnet, VNET_MAC, wanted["at_vnet"])):
        got = [payload(f) for f in link.all(lambda f: f.src == source and f.type in (0x800, 0x86dd) and not is_upkeep(payload(f)))]
        assert sorted(got) == sorted(packets), "each arrives once, and nothing else does"
