"""gw-fastpath alone, black box: the network around it. Next hops, routes that lead astray, ports that go away. The
topology is drawn in fastpath_lab.py."""
import os
import socket
import struct
import subprocess
import time

import pytest
from scapy.all import IP, UDP, Raw

from fastpath_lab import poll, run
from fastpath_peer import GW4, PEER4, SITE4, Tunnel, lab, packets  # noqa: F401 (lab is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_next_hop_changes_are_followed(lab):
    """A new MAC of the peer (fail-over there) and a route by a gateway: the outer packets follow."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    new_mac = "02:00:00:00:01:99"
    run("ip", "-n", "fpg", "neigh", "replace", PEER4, "lladdr", new_mac, "dev", "wan", "nud", "permanent")

    def goes_to(mac):
        lab.wan.drain()
        tunnel.from_host(packets(4)[1])
        frame = lab.wan.receive(tunnel.received.matches, 0.5)
        return frame is not None and frame.dst == mac
    poll("outer packets to the new MAC", lambda: goes_to(new_mac))
    run("ip", "-n", "fpg", "neigh", "add", "192.0.2.77", "lladdr", "02:00:00:00:01:77", "dev", "wan", "nud", "permanent")
    run("ip", "-n", "fpg", "route", "add", f"{PEER4}/32", "via", "192.0.2.77", "dev", "wan")
    poll("outer packets to the gateway", lambda: goes_to("02:00:00:00:01:77"))


def test_next_hops_are_followed_while_routes_churn(lab):
    """A reconvergence elsewhere (a change every few milliseconds) does not hold up the way to a peer."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    churn = subprocess.Popen(["ip", "netns", "exec", "fpg", "sh", "-c",
                              "while ip route add 203.0.113.0/24 dev lo; do sleep 0.01; ip route del 203.0.113.0/24; sleep 0.01; done"])
    try:
        run("ip", "-n", "fpg", "neigh", "add", "192.0.2.77", "lladdr", "02:00:00:00:01:77", "dev", "wan", "nud", "permanent")
        run("ip", "-n", "fpg", "route", "add", f"{PEER4}/32", "via", "192.0.2.77", "dev", "wan")
        deadline = time.monotonic() + 1

        def goes_there():
            lab.wan.drain()
            tunnel.from_host(packets(4)[1])
            frame = lab.wan.receive(tunnel.received.matches, 0.2)
            return frame is not None and frame.dst == "02:00:00:00:01:77"
        poll("outer packets to the gateway", goes_there, deadline - time.monotonic())
        assert churn.poll() is None
    finally:
        churn.kill()
        churn.wait()


@pytest.mark.parametrize("resolved", [True, False], ids=["fast", "by_the_kernel"])
def test_a_route_to_the_peer_by_its_own_tunnel_makes_no_loop(lab, resolved):
    """A site announces the network of its own public address: ESP still leaves by wan, once."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    if not resolved:
        run("ip", "-n", "fpg", "neigh", "replace", PEER4, "dev", "wan", "nud", "failed")
        run("ip", "-n", "fpg", "neigh", "del", PEER4, "dev", "wan", check=False)
    run("ip", "-n", "fpg", "route", "add", f"{PEER4}/32", "dev", "tun1")
    poll("it is said", lambda: "does not leave by wan" in lab.log.read_text())
    before = tunnel.info().out_packets
    for i in range(10):
        tunnel.from_host(packets(4, bytes([i]))[1])
        got = tunnel.at_peer()
        assert got and bytes(got[0][UDP].payload) == bytes([i])
    assert tunnel.info().out_packets == before + 10
    assert tunnel.drops() == {}


@pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])
def test_a_tunnels_own_esp_is_not_encrypted_again(lab, udp):
    """The network behind wan sends our packet back, and the kernel's route to the peer leads into the tunnel."""
    tunnel = Tunnel(lab, udp=udp)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "route", "add", f"{PEER4}/32", "dev", "tun1")
    esp = Raw(struct.pack(">II", tunnel.out_spi, 1) + bytes(64))
    looped = IP(src=GW4, dst=PEER4, ttl=60) / (UDP(sport=4500, dport=4500) / esp if udp else esp)
    if not udp:
        looped.proto = 50
    out = tunnel.info().out_packets
    with open("/run/netns/fpg") as ns, open("/proc/self/ns/net") as own:
        os.setns(ns.fileno(), os.CLONE_NEWNET)
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        os.setns(own.fileno(), os.CLONE_NEWNET)
    raw.sendto(bytes(looped), (PEER4, 0))
    poll("it is counted", lambda: tunnel.drops() == {"recursion": 1})
    assert tunnel.info().out_packets == out
    ike = IP(src=GW4, dst=PEER4, ttl=60) / UDP(sport=4500, dport=4500) / Raw(bytes(4) + b"IKE")
    raw.sendto(bytes(ike), (PEER4, 0))
    assert tunnel.at_peer(), "IKE is no ESP: it may go by the tunnel"
    raw.close()


def test_what_the_device_says_to_its_link_stays_here(lab):
    """Broadcast and multicast are refused; the device's own router solicitations and reports are not even drops."""
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    with open("/run/netns/fpg") as ns, open("/proc/self/ns/net") as own:
        os.setns(ns.fileno(), os.CLONE_NEWNET)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        os.setns(own.fileno(), os.CLONE_NEWNET)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for s in (sender, sender6):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tun1")
    out = tunnel.info().out_packets
    sender.sendto(b"x", ("255.255.255.255", 67))
    sender.sendto(b"x", ("224.0.0.5", 5000))
    poll("refused", lambda: tunnel.drops() == {"not_forwardable": 2})
    # Joining a group makes the kernel report it: MLD by the device, at once.
    index = int(run("ip", "netns", "exec", "fpg", "cat", "/sys/class/net/tun1/ifindex"))
    sender6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff02::4242") + struct.pack("@I", index))
    time.sleep(0.5)
    assert tunnel.drops() == {"not_forwardable": 2}
    assert tunnel.info().out_packets == out
    sender.close()
    sender6.close()


@pytest.mark.parametrize("port", ["wan", "vnet"])
@pytest.mark.parametrize("again", [False, True], ids=["gone", "made_again"])
def test_ends_when_a_port_is_removed(lab, port, again):
    """The sockets are gone with the interface. A restart binds new ones: the supervisor's."""
    remake = f"link add {port} type veth peer name other" if again else ""
    subprocess.run(["ip", "-n", "fpg", "-batch", "-"], input=f"link del {port}\n{remake}\n", text=True, check=True)
    assert lab.process.wait(5) == 1
    last = lab.log.read_text().strip().splitlines()[-1]
    assert last in (f"gw-fastpath: interface '{port}' does not exist", f"gw-fastpath: interface '{port}' was removed and made again")


def test_a_tunnel_device_that_is_down_has_a_drop_of_its_own(lab):
    tunnel = Tunnel(lab)
    tunnel.warm_up()
    run("ip", "-n", "fpg", "link", "set", "tun1", "down")
    tunnel.from_peer(IP(src=SITE4, dst="10.1.0.1") / UDP(sport=1, dport=7))
    poll("counted", lambda: tunnel.drops() == {"tun_down": 1})


def test_an_unresolved_peer_gets_its_packets_by_the_kernel(lab):
    """A peer that answers no ARP until later: the first packets wait in the kernel and are not lost."""
    run("ip", "-n", "fpw", "addr", "del", f"{PEER4}/24", "dev", "wan0")
    tunnel = Tunnel(lab)
    run("ip", "-n", "fpg", "route", "add", "10.9.0.0/16", "dev", "tun1")
    time.sleep(1.2)  # the link watch of the device
    tunnel.from_host(packets(4, b"early")[1])
    run("ip", "-n", "fpw", "addr", "add", f"{PEER4}/24", "dev", "wan0")
    got = tunnel.at_peer(5)
    assert got and bytes(got[0][UDP].payload) == b"early"
