"""The appliance's image in qemu (emulated: no KVM needed), driven on its serial console; its ports are ports of the lab.

port 0 (eth0) is the management network, with qemu's own DHCP server; then come taps that a bridge in the lab's namespace
joins with its devices. What the console said is in build/logs.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pexpect
from lab import Lab, LabError, command

PROMPT = "GW-TEST-PROMPT# "
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


class VirtualMachine:
    """name: of its log. disk is changed; give it a copy. role: the namespace qemu runs in."""

    def __init__(self, lab: Lab, role: str, disk: Path, *, seed: Path | None = None, ports: tuple = (), uefi=False, memory=2048,
                 forward_ssh: int = 0, more_disks: tuple = ()):
        self.lab, self.role, self.ports, self.console = lab, role, ports, None
        self.log = lab.logs / f"console-{role}.log"
        for index, device in enumerate(ports, start=1):
            self._bridge(index, device)
        self.argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory),
                     "-display", "none", "-nodefaults", "-serial", "mon:stdio", "-no-reboot", "-device", "virtio-rng-pci",
                     "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
                     "-netdev", "user,id=n0" + (f",hostfwd=tcp:127.0.0.1:{forward_ssh}-:22" if forward_ssh else ""), "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:67:77:00"]
        if uefi:
            self.argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"]
        if seed:
            self.argv += ["-drive", f"file={seed},if=virtio,format=raw,readonly=on"]
        for extra in more_disks:
            self.argv += ["-drive", f"file={extra},if=virtio,format=raw,readonly=on"]
        # What a machine of libvirt gets by <watchdog model='i6300esb' action='reset'/>.
        self.argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
        for index in range(1, len(ports) + 1):
            self.argv += ["-netdev", f"tap,id=n{index},ifname=tap{index},script=no,downscript=no",
                          "-device", f"virtio-net-pci,netdev=n{index},mac=52:54:00:67:77:0{index}"]

    def _bridge(self, index: int, device: str):
        ns = self.lab.ns[self.role]
        ns.run("ip", "address", "flush", "dev", device)
        ns.ip(f"link add br{index} type bridge", f"link set {device} master br{index}", f"tuntap add tap{index} mode tap",
              f"link set tap{index} master br{index} up", f"link set br{index} up")

    def start(self, timeout: float = 180, until: str = "login: "):
        """Until the console shows a login prompt, or something else; the seconds that took."""
        started = time.monotonic()
        words = self.lab.ns[self.role].exec_argv(self.argv)
        self.console = pexpect.spawn(words[0], words[1:], timeout=timeout, encoding="utf-8", codec_errors="replace", dimensions=(50, 400))
        self.console.logfile_read = self.log.open("a")
        self.lab.on_close(self.close)
        self.expect(until, timeout)
        return time.monotonic() - started

    def expect(self, pattern: str, timeout: float):
        found = self.console.expect([pattern, "Kernel panic", pexpect.EOF, pexpect.TIMEOUT], timeout=timeout)
        if found:
            raise LabError(f"the console did not show {pattern!r} ({['', 'panic', 'qemu ended', 'time-out'][found]}); log: {self.log}\n"
                           f"{(self.console.before or '')[-2000:]}")

    def wait_ended(self, timeout: float):
        """Restarts end qemu (-no-reboot): the next start() reads the disk as a machine would."""
        self.console.expect(pexpect.EOF, timeout=timeout)
        self.close()

    def close(self):
        if self.console:
            self.console.close(force=True)
            self.console = None


class Ssh:
    """Commands on the machine over its management port (qemu forwards a port of the namespace to it)."""

    def __init__(self, lab: Lab, role: str, key: Path, port: int):
        self.lab, self.role, self.key, self.port = lab, role, key, port

    def run(self, command_line: str, timeout: float = 60, check=True) -> str:
        argv = self.lab.ns[self.role].exec_argv([
            "ssh", "-i", self.key, "-p", str(self.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes", "root@127.0.0.1", command_line])
        return command(argv, check=check, timeout=timeout)


def key_pair(folder: Path) -> Path:
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


def iso_of(tree: Path, label: str) -> Path:
    """A read-only disk with what is in the folder."""
    iso = tree.with_suffix(".iso")
    command(["xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-R", "-J", "-o", iso, tree], timeout=120)
    return iso


def seed_iso(folder: Path, files: dict[str, str]) -> Path:
    """A NoCloud disk: label cidata, files by path."""
    tree = folder / "seed"
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return iso_of(tree, "cidata")


def plain(text: str) -> str:
    """Without the escape sequences of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "")
