"""The image starts, by BIOS and by UEFI, from a seed: the tunnel to a strongSwan site comes up, BGP in it, packets pass.

Emulated (TCG): minutes, so only in ./dev test --full. The image is build/image/disk.raw, made here if it is not there.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from appliance import GOOD_SEED, SITE, Appliance, appliance_document, made_image
from lab import GW_WAN4, poll
from peers import Bird, StrongSwanSite
from probes import Probes

SMALLEST_LIMIT = 200 << 20  # bytes, of a compressed image

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def image() -> Path:
    return made_image()


@pytest.fixture(scope="module")
def appliance(image):
    made = Appliance(image, GOOD_SEED)
    try:
        made.start()
        made.site = StrongSwanSite(made.lab, SITE)
        made.router = Bird(made.lab, SITE)
        made.probes = Probes(made.lab, [SITE])
        yield made
    finally:
        made.close()


def test_the_compressed_image_is_small(image):
    for file in image.parent.glob("gw-*.qcow2"):
        assert file.stat().st_size < SMALLEST_LIMIT, file.name


def test_it_starts_by_bios_and_takes_the_seed(appliance):
    assert appliance.ssh.run("hostname").strip() == "gw-a"
    assert appliance.ssh.run("cat /var/lib/gw-seed/error 2>/dev/null; ls /var/lib/gw-seed/done", check=False).strip() == "/var/lib/gw-seed/done"
    assert appliance.ssh.run("systemctl --failed --no-legend --plain").strip() == ""


def test_the_tunnel_comes_up_and_carries_packets(appliance):
    poll("the tunnel is up", lambda: appliance.tunnel().get("state") == "up", 120, 2)
    poll("BGP is established", lambda: appliance.tunnel().get("bgp_state") == "Established", 60, 2)
    for family in (4, 6):
        poll(f"the site's host answers, IPv{family}", lambda family=family: appliance.probes.reachable(SITE, family), 60, 1)


def test_the_root_is_verified_and_cannot_be_written(appliance):
    assert "squashfs" in appliance.ssh.run("findmnt -no FSTYPE /")
    assert "verified" in appliance.ssh.run("veritysetup status root")
    assert "Read-only" in appliance.ssh.run("touch /usr/x 2>&1", check=False)
    assert "overlay" in appliance.ssh.run("findmnt -no FSTYPE /etc")


def test_nobody_has_a_password_and_ssh_takes_keys_only(appliance):
    shadow = appliance.ssh.run("cut -d: -f1,2 /etc/shadow").splitlines()
    assert [line for line in shadow if not line.split(":")[1].startswith(("!", "*"))] == []
    settings = appliance.ssh.run("sshd -T")
    assert "passwordauthentication no" in settings and "kbdinteractiveauthentication no" in settings


def test_the_wan_answers_ike_and_nothing_else(appliance):
    """From the internet's side: connections to services are not even refused."""
    for port in (22, 179, 9620, 9621):
        started = time.monotonic()
        done = appliance.lab.ns["wan"].run("timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{GW_WAN4}/{port} && echo open", check=False)
        assert "open" not in done and time.monotonic() - started > 2.5, f"port {port} of the wan answers"


def test_it_comes_back_after_a_restart_with_what_it_had(appliance):
    keys = appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
    appliance.ssh.run("systemctl reboot", check=False)
    appliance.machine.wait_ended(120)
    appliance.start()
    assert appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub") == keys
    poll("the tunnel is up again", lambda: appliance.tunnel().get("state") == "up", 120, 2)


def test_a_seed_with_a_mistake_is_named_on_the_console_and_lets_the_operator_in(image):
    seed = {**GOOD_SEED, "gw/gateway.yaml": appliance_document().replace("encryption:", "encrpytion:")}
    appliance = Appliance(image, seed, "test_boot_bad_seed")
    try:
        appliance.machine.start(300, until="THE SEED HAS AN ERROR")
        poll("ssh with the seed's key", appliance.logs_in, 120, 2)
        assert "unknown key 'encrpytion'" in appliance.ssh.run("cat /var/lib/gw-seed/error")
        assert appliance.ssh.run("ls /etc/gw/gateway.yaml 2>/dev/null; ls /etc/gw/secrets", check=False).strip() == "", "all of it or nothing"
    finally:
        appliance.close()


def test_without_a_seed_by_uefi_the_console_says_how_to_go_on(image):
    appliance = Appliance(image, {}, "test_boot_uefi", uefi=True)
    try:
        appliance.machine.start(300, until="There was no seed")
        assert not appliance.logs_in()
    finally:
        appliance.close()
