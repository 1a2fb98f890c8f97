"""Interoperability with the Linux kernel's own ESP: a site in user-mode Linux, ESN; native ESP (protocol 50) on both
kinds of port, and UDP, which is what a gso port asks for."""

import time

import pytest

from lab import VNET_HOST4, VNET_HOST6, Site, poll
from probes import Capture, Probes, tcp_copy
from uml import KernelSite
from world import World

SITE = Site(1, uml=True)
MIB = 1 << 20


CASES = {"xsk": ("xsk", "auto"), "gso-native": ("gso", "native"), "gso-udp": ("gso", "auto")}  # port, encapsulation


@pytest.fixture(scope="module", params=CASES)
def world(request):
    ports, encapsulation = CASES[request.param]
    with World(f"test_interop_kernel-{request.param}", [SITE], ports=ports,
               connections={SITE.name: {"encapsulation": encapsulation}}) as ready:
        ready.in_udp = request.param == "gso-udp"
        ready.kernel = KernelSite(ready.lab, SITE)
        ready.probes = Probes(ready.lab, [SITE])
        ready.wait_up(SITE, 40)
        yield ready


@pytest.mark.timeout(150)
def test_esp_is_the_kernels(world):
    state = world.kernel.run("ip xfrm state | grep -vE 'aead|auth|enc '")
    assert "proto esp" in state and ("encap type espinudp" in state) == world.in_udp, state
    assert world.gateway.tunnel(SITE)["udp_encapsulation"] is world.in_udp
    with Capture(world.lab) as wan:
        world.lab.ns["vnet"].run("ping", "-c", "5", "-i", "0.1", SITE.host4)
    counts = wan.summary()
    assert counts["udp4500" if world.in_udp else "esp"] >= 10 and counts["other"] == 0, f"{counts}\n{wan.others()}"


def test_extended_sequence_numbers_are_agreed(world):
    assert all(sa["esn"] for sa in world.gateway.sas(SITE)), world.gateway.sas(SITE)
    assert "esn context" in world.kernel.run("ip xfrm state")


def test_routes_are_in_the_customers_kernel(world):
    assert "10.0.0.0/16" in world.kernel.run("ip route")
    assert "2001:db8:10::/48" in world.kernel.run("ip -6 route")


def test_traffic_without_loss(world):
    with world.probes.load(SITE, rate=200) as load:
        time.sleep(5)
    load.assert_no_loss()


def test_tcp_copy_arrives_unchanged(world):
    for vnet, there in ((VNET_HOST4, SITE.host4), (VNET_HOST6, SITE.host6)):
        for source, sink in ((("host1", there), ("vnet", vnet)), (("vnet", vnet), ("host1", there))):
            copy = tcp_copy(world.lab, source, sink, 8 * MIB)
            assert copy.sent_sha256 == copy.received_sha256 and copy.bytes == 8 * MIB


def test_the_kernel_accepts_every_packet_of_ours(world):
    """Wrong padding, ICV or sequence numbers would be in the kernel's own statistics."""
    bad = {}
    for line in world.kernel.run("cat /proc/net/xfrm_stat").splitlines():
        name, _, value = line.partition("\t")
        if name.strip() in ("XfrmInStateProtoError", "XfrmInStateModeError", "XfrmInStateSeqError", "XfrmInHdrError"):
            bad[name.strip()] = int(value)
    assert bad and not any(bad.values()), bad


def test_rekey_under_load_loses_nothing(world):
    spis = set()
    with world.probes.load(SITE, rate=200) as load:
        for _ in range(3):
            world.kernel.run("swanctl --rekey --child net --uri unix:///run/charon.vici")
            time.sleep(1.5)
            spis |= {sa["spi"] for sa in world.gateway.sas(SITE) if sa["direction"] == "out"}
        world.kernel.run("swanctl --rekey --ike gw --uri unix:///run/charon.vici")
        time.sleep(1.5)
    load.assert_no_loss()
    assert len(spis) >= 3, spis
    poll("the tunnel is up", lambda: world.gateway.tunnel_up(SITE), 5)
