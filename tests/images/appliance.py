"""An appliance in qemu with the seed of the tests: one site, one tunnel with BGP; and the image it is started from."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import yaml
from gateway import document
from lab import GW_VNET4, GW_VNET6, GW_WAN4, GW_WAN6, TOP, Lab, LabError, Site, command, poll
from peers import psk
from virtual_machine import Ssh, VirtualMachine, key_pair, seed_iso

SITE = Site(1)
IMAGE = TOP / "build/image/disk.raw"
SSH_PORT = 2222

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


def made_image() -> Path:
    """build/image/disk.raw, made here if it is not there."""
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
    """seed: files of its disk; none of them: no disk. options: of VirtualMachine."""

    def __init__(self, image: Path, seed: dict[str, str], name: str = "test_boot", **options):
        self.lab = Lab(name, [SITE])
        self.work = Path(tempfile.mkdtemp(prefix="gw-boot-"))
        self.disk = IMAGE.with_name(f"{name}.raw")
        self.lab.on_close(lambda: self.disk.unlink(missing_ok=True))
        command(["cp", "--sparse=always", image, self.disk], timeout=120)
        self.key = key = key_pair(self.work)
        iso = seed_iso(self.work, {"gw/authorized_keys": key.with_suffix(".pub").read_text(), **seed}) if seed else None
        self.machine = VirtualMachine(self.lab, "gw", self.disk, seed=iso, ports=("eth0", "eth1"), forward_ssh=SSH_PORT, **options)
        self.ssh = Ssh(self.lab, "gw", key, SSH_PORT)

    def start(self):
        self.machine.start(300)
        poll("ssh with the seed's key", self.logs_in, 120, 2)

    def logs_in(self) -> bool:
        try:
            return self.ssh.run("true", timeout=30) == ""
        except LabError:
            return False

    def tunnel(self) -> dict:
        rows = json.loads(self.ssh.run("gwctl --json show tunnels", check=False) or "{}").get("tunnels", [])
        return rows[0] if rows else {}

    def close(self):
        if self.machine.running and self.logs_in():
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
