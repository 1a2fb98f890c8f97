"""Every ESP transform that gateway.yaml offers, against charon's kernel-libipsec: negotiated, installed under its name
in the fast path, and carrying packets of every size both ways.
"""

import pytest
import yaml

from lab import VNET_HOST4, VNET_HOST6, Site, poll
from world import World

SITE = Site(1)
# What the site offers alone, and what the fast path calls it. ChaCha's and GCM's other sizes: unit tests.
TRANSFORMS = {
    "aes256gcm16": "AES_GCM_16-256",
    "aes192gcm12": "AES_GCM_12-192",
    "aes128gcm8": "AES_GCM_8-128",
    "chacha20poly1305": "CHACHA20_POLY1305",
    "aes256-sha512": "AES_CBC-256/HMAC_SHA2_512_256",
    "aes192-sha384": "AES_CBC-192/HMAC_SHA2_384_192",
    "aes128-sha256": "AES_CBC-128/HMAC_SHA2_256_128",
    "aes256-sha1": "AES_CBC-256/HMAC_SHA1_96",
    "3des-sha1": "3DES_CBC/HMAC_SHA1_96",
}
IPSEC = {"proposals": list(TRANSFORMS), "allow_legacy": True}


@pytest.fixture(scope="module")
def world():
    connection = {"ipsec": IPSEC, "initiate": "responder-only"}
    with World("test_transforms", [SITE], connections={SITE.name: connection}, fastpath=("--allow-legacy-crypto",),
               vpn={SITE.name: {"persistent": False}}) as ready:
        yield ready


def algorithms(world) -> list[str]:
    """Of the tunnel's SAs, both directions."""
    return sorted({row["algorithm"] for row in world.gateway.sas(SITE)})


def passes(ns, target: str, size: int) -> bool:
    return " 0% packet loss" in ns.run("ping", "-c", "2", "-i", "0.01", "-W", "2", "-s", str(size), target, check=False)


@pytest.mark.parametrize("proposal", TRANSFORMS)
def test_transform_carries_packets_of_every_size_both_ways(world, proposal):
    world.offices[SITE.name].vpn.offer(proposal + "-noesn")
    poll(f"SAs with {proposal}", lambda: algorithms(world) == [TRANSFORMS[proposal]], 15)
    world.wait_up(SITE)
    for role, targets in (("vnet", (SITE.host4, SITE.host6)), ("host1", (VNET_HOST4, VNET_HOST6))):
        for target in targets:
            for size in (0, 1, 15, 16, 17, 500, 1300):
                # The site's router may still be starting BGP anew on its new device: packets without a route meanwhile.
                poll(f"{role} reaches {target} with {size} bytes",
                     lambda: passes(world.lab.ns[role], target, size), 10)  # noqa: B023 (called within the loop)
    inbound = [row for row in world.gateway.sas(SITE) if row["direction"] == "in"]
    assert all(not row.get("drops") for row in inbound), inbound


def test_weak_proposals_are_refused_until_the_document_allows_them(world):
    doc = dict(world.gateway.doc)
    doc["connections"] = [dict(c, ipsec={"proposals": ["aes256gcm16", "3des-sha1"]}) for c in doc["connections"]]
    path = world.gateway.etc / "weak.yaml"
    path.write_text(yaml.safe_dump(doc))
    said = world.gateway.fails("validate", path)
    assert "connections[0].ipsec.proposals[1]: '3des' is too weak" in said, said
    assert "`allow_legacy: true` here and --allow-legacy-crypto of gw-fastpath" in said, said
