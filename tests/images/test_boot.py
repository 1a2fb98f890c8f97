"""The image starts, by BIOS and by UEFI, from a seed: the tunnel to a strongSwan site comes up, BGP in it, packets pass.

Emulated (TCG): minutes, so only in ./dev test --full. The image is build/image/disk.raw, made here if it is not there.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from gateway import document
from lab import GW_VNET4, GW_VNET6, GW_WAN4, GW_WAN6, TOP, Lab, LabError, Site, command, poll
from peers import Bird, StrongSwanSite, psk
from probes import Probes
from virtual_machine import Ssh, VirtualMachine, key_pair, seed_iso

SITE = Site(1)
IMAGE = TOP / "build/image/disk.raw"
SSH_PORT = 2222
SMALLEST_LIMIT = 200 << 20  # bytes, of a compressed image

WAN_NETWORK = f"""[Match]
Name=eth1
[Network]
Address={GW_WAN4}/24
Address={GW_WAN6}/64
Gateway=203.0.113.1
Gateway=2001:db8:1::1
IPv6AcceptRA=no
"""
VNET_NETWORK = f"""[Match]
Name=eth2
[Network]
Address={GW_VNET4}/24
Address={GW_VNET6}/64
IPv6AcceptRA=no
"""

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def image() -> Path:
    if not IMAGE.exists():
        for step in ("images/package", "images/build --level 3"):
            done = subprocess.run([*step.split()], cwd=TOP, capture_output=True, text=True, timeout=1000, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
    return IMAGE


def appliance_document() -> str:
    doc = document([SITE])
    instance = doc["gateway"]["instances"][0]
    instance["wan"]["interface"], instance["vnet"]["interface"] = "eth1", "eth2"
    return yaml.safe_dump(doc, sort_keys=False)


class Appliance:
    def __init__(self, image: Path, seed: dict[str, str], name: str = "test_boot", uefi=False):
        self.lab = Lab(name, [SITE])
        self.work = Path(tempfile.mkdtemp(prefix="gw-boot-"))
        self.disk = IMAGE.with_name(f"{name}.raw")
        self.lab.on_close(lambda: self.disk.unlink(missing_ok=True))
        command(["cp", "--sparse=always", image, self.disk], timeout=120)
        key = key_pair(self.work)
        iso = seed_iso(self.work, {"gw/authorized_keys": key.with_suffix(".pub").read_text(), **seed}) if seed else None
        self.machine = VirtualMachine(self.lab, "gw", self.disk, seed=iso, ports=("eth0", "eth1"), uefi=uefi, forward_ssh=SSH_PORT)
        self.ssh = Ssh(self.lab, "gw", key, SSH_PORT)

    def start(self):
        self.machine.start(300)
        poll("ssh with the seed's key", self.logs_in, 120, 2)

    def logs_in(self) -> bool:
        try:
            return self.ssh.run("true", timeout=30) == ""
        except LabError:
            return False

    def close(self):
        if self.machine.console and self.logs_in():
            (self.lab.logs / "journal.txt").write_text(self.ssh.run("journalctl -b --no-pager", timeout=120, check=False))
        self.machine.close()
        self.lab.close()


GOOD_SEED = {
    "meta-data": "instance-id: gw-a-1\nlocal-hostname: gw-a\n",
    "gw/gateway.yaml": appliance_document(),
    "gw/secrets/site1.psk": psk(SITE) + "\n",
    "gw/network/wan.network": WAN_NETWORK,
    "gw/network/vnet.network": VNET_NETWORK,
}


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
    def tunnel():
        rows = json.loads(appliance.ssh.run("gwctl --json show tunnels", check=False) or "{}").get("tunnels", [])
        return rows[0] if rows else {}
    poll("the tunnel is up", lambda: tunnel().get("state") == "up", 120, 2)
    poll("BGP is established", lambda: tunnel().get("bgp_state") == "Established", 60, 2)
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
    poll("the tunnel is up again", lambda: '"state": "up"' in appliance.ssh.run("gwctl --json show tunnels", check=False).replace('":"', '": "'), 120, 2)


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
