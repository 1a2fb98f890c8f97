"""The NAT in front of a site forgets its mapping and makes another one, under traffic: packets come from another port,
charon learns it from an authenticated packet, and both directions go on. Nothing else moves an SA."""

import os
import socket
import struct
import time

import pytest

from gateway import PORT_KINDS
from lab import LabError, Site, poll
from world import World

SITE = Site(1, nat=True)


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_nat_rebinding-{request.param}", [SITE], ports=request.param) as ready:
        yield ready


def forget_mappings(ns_name):
    """Flushes connection tracking (ctnetlink IPCTNL_MSG_CT_DELETE without a tuple): a router that restarted."""
    with open("/proc/self/ns/net") as own, open(f"/run/netns/{ns_name}") as other:
        os.setns(other.fileno(), os.CLONE_NEWNET)
        try:
            netfilter = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        finally:
            os.setns(own.fileno(), os.CLONE_NEWNET)
    delete, request_ack = (1 << 8) | 2, 1 | 4
    netfilter.send(struct.pack("=IHHII", 20, delete, request_ack, 1, 0) + struct.pack("=BBH", socket.AF_INET, 0, 0))
    error = struct.unpack("=i", netfilter.recv(4096)[16:20])[0]
    netfilter.close()
    assert error == 0, f"flushing connection tracking: errno {-error}"


def remap(world, ports):
    """Later flows of the site leave from one of these ports, and the old mappings are gone."""
    world.lab.ns["wan"].run("nft", "-f", "-", stdin=f"""
        delete table ip {SITE.name}
        table ip {SITE.name} {{
          chain post {{
            type nat hook postrouting priority 100;
            ip saddr {SITE.wan4} oifname "gw" meta l4proto udp snat to {SITE.public4}:{ports}
          }}
        }}
        """)
    forget_mappings(world.lab.ns["wan"].name)


def reaches(world):
    try:
        world.lab.ns["vnet"].run("ping", "-c", "1", "-W", "1", SITE.host4)
        return True
    except LabError:
        return False


@pytest.mark.parametrize("ports", ["40000-40099", "41000-41099"], ids=["once", "again"])
def test_traffic_goes_on_after_the_nat_has_rebound(world, ports):
    assert reaches(world)
    before = world.gateway.tunnel(SITE)
    assert before["state"] == "up" and before["udp_encapsulation"]
    remap(world, ports)
    # From the site: the packets that tell. They keep being delivered, whatever port they come from.
    host = world.lab.ns["host1"]
    host.run("ping", "-c", "3", "-i", "0.3", "-W", "2", "10.0.1.4")
    # To the site: follows the authenticated packets.
    poll("packets to the site take the new mapping", lambda: reaches(world), 15, 0.3)
    host.run("ping", "-c", "5", "-i", "0.2", "-W", "1", "10.0.1.4")
    after = world.gateway.tunnel(SITE)
    assert after["state"] == "up" and after["up_since_unix_ms"] == before["up_since_unix_ms"], "the same SAs, moved"


def test_a_keepalive_from_the_site_keeps_the_mapping(world):
    """charon sends them behind a NAT (RFC 3948 4); the gateway neither answers nor takes them for ESP."""
    drops = world.gateway.drops()
    time.sleep(0.1)
    with world.probes.load(SITE, rate=50, families=(4,)) as load:
        world.probes_run(2)
    load.assert_no_loss()
    assert world.gateway.drops().get("esp_truncated", 0) == drops.get("esp_truncated", 0)
