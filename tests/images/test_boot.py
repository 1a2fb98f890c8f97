"""The image starts from a seed: the tunnel to a strongSwan site comes up, BGP in it, packets pass; and what it is like
from outside and inside. Other seeds, and none.

Emulated (TCG): one start of a minute or two in each ./dev test, three more with --full. The image is build/image/disk.raw,
made here if it is not there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from appliance import GOOD_SEED, SITE, Appliance, appliance_document, made_image
from lab import GW_WAN4, GW_WAN6, poll
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


# Every TCP port: who answers, with a connection or with a refusal. What is dropped is silent until the wait is over.
SCAN = """
import asyncio, sys
async def answers(port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(sys.argv[1], port), 4)
        writer.close()
    except TimeoutError:
        return
    except OSError as error:
        print(port, error.strerror)
        return
    print(port, "open")
async def scan():
    for first in range(1, 65536, 8192):
        await asyncio.gather(*(answers(port) for port in range(first, min(first + 8192, 65536))))
asyncio.run(scan())
"""


@pytest.mark.long
@pytest.mark.parametrize("address", [GW_WAN4, GW_WAN6])
def test_the_wan_has_no_tcp_port_that_answers(appliance, address):
    """From the internet's side: connections are not even refused. ICMP passes, so it is not the way that is cut."""
    wan = appliance.lab.ns["wan"]
    wan.run("ping", "-c", "3", "-W", "5", address)
    assert wan.run("bash", "-c", f"ulimit -n 20000; python3 -c '{SCAN}' {address}", timeout=180).strip() == ""


def test_the_wan_has_no_udp_port_that_answers_but_ike(appliance):
    """Nor says any that it is closed. What listens inside is tried, and what often does; IKE's own answer is the tunnel."""
    listening = {int(line.split()[3].rpartition(":")[2]) for line in appliance.ssh.run("ss -Hlun").splitlines()}
    ports = sorted((listening | {53, 67, 69, 123, 137, 161, 514, 546, 1194, 3784, 3785, 4784, 5353, 5355, 9621}) - {500, 4500})
    said = appliance.lab.ns["wan"].run("python3", "-c", f"""
import socket, time
for port in {ports}:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(0.5)
    s.connect(("{GW_WAN4}", port))
    try:
        s.send(b"\\0" * 48)
        s.recv(1)
        print(port, "answers")
    except TimeoutError:
        pass
    except OSError as error:
        print(port, error)
""", timeout=60)
    assert said.strip() == ""


def test_the_sbom_names_what_is_in_it(appliance, image):
    [file] = image.parent.glob("gw-*.spdx.json")
    sbom = json.loads(file.read_text())
    assert sbom["spdxVersion"] == "SPDX-2.3" and sbom["SPDXID"] == "SPDXRef-DOCUMENT" and sbom["dataLicense"] == "CC0-1.0"
    inside = set(appliance.ssh.run("dpkg-query -W -f '${Package} ${Version}\n'").splitlines())
    assert {f"{p['name']} {p['versionInfo']}" for p in sbom["packages"]} == inside
    ids = [p["SPDXID"] for p in sbom["packages"]]
    assert len(set(ids)) == len(ids) and {r["relatedSpdxElement"] for r in sbom["relationships"]} == set(ids)


def test_processes_are_confined_and_dump_no_core(appliance):
    assert appliance.ssh.run("cat /proc/sys/kernel/core_pattern").strip() == "|/bin/false"
    assert appliance.ssh.run("cat /proc/$(pidof gw-fastpath)/limits | grep -c 'core file size *0 *0'").strip() == "1"
    assert "SystemMaxUse=200M" in appliance.ssh.run("systemd-analyze cat-config systemd/journald.conf")
    assert appliance.ssh.run("systemctl is-active chrony nftables").split() == ["active", "active"]
    assert appliance.ssh.run("ss -Hlunp | grep chronyd", check=False) == "", "time is a client's"


@pytest.mark.long
def test_it_comes_back_after_a_restart_with_what_it_had(appliance):
    keys = appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
    appliance.ssh.run("systemctl reboot", check=False)
    appliance.machine.wait_ended(120)
    appliance.start()
    assert appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub") == keys
    poll("the tunnel is up again", lambda: appliance.tunnel().get("state") == "up", 120, 2)


@pytest.mark.long
def test_a_seed_with_a_mistake_is_named_on_the_console_and_lets_the_operator_in(image):
    seed = {**GOOD_SEED, "gw/gateway.yaml": appliance_document().replace("encryption:", "encrpytion:")}
    appliance = Appliance(image, seed, "test_boot_bad_seed")
    try:
        appliance.machine.start(300, until="THE SEED HAS AN ERROR")
        poll("ssh with the seed's key", appliance.logs_in, 120, 2)
        assert "unknown key 'encrpytion'" in appliance.ssh.run("cat /var/lib/gw-seed/error")
        poll("gwctl names it", lambda: "the seed of the first boot was refused: " in appliance.ssh.run("gwctl status", check=False), 60, 2)
        assert "unknown key 'encrpytion'" in appliance.ssh.run("gwctl status")
        assert appliance.ssh.run("ls /etc/gw/gateway.yaml 2>/dev/null; ls /etc/gw/secrets", check=False).strip() == "", "all of it or nothing"
    finally:
        appliance.close()


@pytest.mark.long
def test_without_a_seed_by_uefi_the_console_says_how_to_go_on(image):
    appliance = Appliance(image, {}, "test_boot_no_seed", uefi=True)
    try:
        appliance.machine.start(300, until="10.0.2.15/24")  # by qemu's DHCP server
        appliance.machine.expect("There was no seed", 60)
        assert not appliance.logs_in()
    finally:
        appliance.close()


@pytest.mark.long
def test_a_machine_without_a_watchdog_uses_the_kernels(image):
    """An older kind of machine, whose chipset has none. The first process stands still; the kernel restarts the machine."""
    appliance = Appliance(image, GOOD_SEED, "test_boot_softdog", machine="pc", watchdog=False)
    try:
        appliance.start()
        assert appliance.ssh.run("cat /sys/class/watchdog/watchdog0/identity").strip() == "Software Watchdog"
        poll("systemd feeds it", lambda: appliance.ssh.run("cat /sys/class/watchdog/watchdog0/state").strip() == "active", 30, 1)
        # Until then it is a version that was tried in vain, and the boot loader would begin anew.
        poll("this start was found good", lambda: "A_TRY=0" in appliance.ssh.run("grub-editenv /boot/efi/grub/grubenv list").split(), 240, 2)
        appliance.ssh.run("echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze")
        appliance.machine.wait_ended(180)
        appliance.start()
        assert appliance.ssh.run("systemctl --failed --no-legend --plain").strip() == ""
    finally:
        appliance.close()
