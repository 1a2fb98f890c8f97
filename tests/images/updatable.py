"""An appliance that is updated: bundles to install, one of them whole and signed, and what an operator sees of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from appliance import IMAGE, SITE, Appliance
from lab import TOP, poll
from peers import Bird, StrongSwanSite
from probes import Probes
from virtual_machine import iso_of

BUNDLES = "/run/bundles"
START = 300  # s, for what takes 30 to 60


def bundle(out, root, boot, *, signer=None, compatible="", state_format=2):
    env = {**os.environ, **({"GW_UPDATE_COMPATIBLE": compatible} if compatible else {})}
    if signer:
        env |= {"GW_UPDATE_KEY": str(signer / "key.pem"), "GW_UPDATE_CERT": str(signer / "cert.pem"), "GW_UPDATE_CA": str(signer / "cert.pem")}
    done = subprocess.run([TOP / "images/bundle", out, root, boot, "9.9", str(state_format)], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def make_bundles(work):
    """gw.raucb is the image's own; others have one fault each."""
    tree = work / "bundles"
    tree.mkdir()
    [whole] = IMAGE.parent.glob("gw-*.raucb")
    shutil.copy(whole, tree / "gw.raucb")
    root, boot = work / "root.img", work / "boot.img"
    root.write_bytes(os.urandom(1 << 20))
    boot.write_bytes(os.urandom(1 << 18))
    stranger = work / "stranger"
    stranger.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stranger",
                    "-keyout", stranger / "key.pem", "-out", stranger / "cert.pem"], check=True, capture_output=True)
    bundle(tree / "stranger.raucb", root, boot, signer=stranger)
    bundle(tree / "toaster.raucb", root, boot, compatible="toaster")
    bundle(tree / "older-state.raucb", root, boot, state_format=1)
    good = work / "small.raucb"
    bundle(good, root, boot)
    bytes_ = good.read_bytes()
    (tree / "short.raucb").write_bytes(bytes_[: len(bytes_) // 2])
    subprocess.run(["mksquashfs", root, tree / "unsigned.raucb", "-quiet", "-no-progress"], check=True, capture_output=True)
    return iso_of(tree, "bundles")


class Updatable(Appliance):
    def start(self):
        super().start()
        self.ssh.run(f"mkdir -p {BUNDLES} && mount -o ro /dev/disk/by-label/bundles {BUNDLES}")

    def begin(self):
        """Starts it, and a site that it has a tunnel with; ends when both are up."""
        self.start()
        self.site = StrongSwanSite(self.lab, SITE)
        self.router = Bird(self.lab, SITE)
        self.probes = Probes(self.lab, [SITE])
        self.wait_up()

    def restarted(self, timeout: float = 180):
        """It ends itself (a restart ends qemu); this starts it again."""
        self.machine.wait_ended(timeout)
        self.start()

    def slot(self) -> str:
        return self.ssh.run("sed -n 's/.*rauc.slot=\\([AB]\\).*/\\1/p' /proc/cmdline").strip()

    def status(self) -> dict:
        return json.loads(self.ssh.run("gwctl --json upgrade status", check=False) or "{}")

    def verdict(self) -> dict:
        """Of the last update, once there is nothing that waits."""
        status = self.status()
        return {} if status.get("waiting") or not status else status.get("last", {})

    def wait_up(self):
        poll("the tunnel is up", lambda: self.tunnel().get("state") == "up", 180, 2)
        poll("BGP is established", lambda: self.tunnel().get("bgp_state") == "Established", 120, 2)

    def install(self, *words: str) -> str:
        # With --reboot the connection may end before the command does.
        said = self.ssh.run(f"gwctl upgrade install {BUNDLES}/gw.raucb {' '.join(words)} 2>&1", timeout=400, check="--reboot" not in words)
        assert "what has to be up again" in said, said
        return said

    def is_good(self, slot: str) -> bool:
        return [s["good"] for s in self.status()["slots"] if s["slot"] == slot] == [True]

    def hang_in_slot(self, slot: str):
        """The first process of the machine stands still; everything else goes on, for a while."""
        self.only_in_slot(slot, "/etc/systemd/system/test-hang.service",
                          "[Unit]\nConditionKernelCommandLine=gw.slot=SLOT\n[Service]\n"
                          "ExecStart=/bin/sh -c 'echo hanging now >/dev/console; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze'\n"
                          "[Install]\nWantedBy=multi-user.target")
        self.ssh.run("systemctl enable test-hang.service && sync")

    def only_in_slot(self, slot: str, path: str, text: str):
        """A unit or drop-in that is there in one slot alone."""
        self.ssh.run(f"mkdir -p $(dirname {path}) && cat >{path} <<'END'\n{text.replace('SLOT', slot.lower())}\nEND\nsync")
