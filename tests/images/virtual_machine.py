"""The appliance's image in qemu (emulated: no KVM needed), its ports joined with ports of the lab.

eth0 is the management port: a network of qemu's own with a DHCP server and a way to ssh, or a port of the lab as well. Then
come taps that a bridge in the lab's namespace joins with its devices. What the console (the first serial port) said is in
build/logs.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from lab import Lab, LabError, command, poll

OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


class VirtualMachine:
    """role: the namespace qemu runs in. disk is changed; give it a copy. restarts: the machine's restarts are this class's, or
    the caller's, who calls start() again. more: words for qemu."""

    def __init__(self, lab: Lab, role: str, disk: Path, *, seed: Path | None = None, management: str = "", ports: tuple = (), uefi=False,
                 memory=2048, forward_ssh: int = 0, more_disks: tuple = (), watchdog=True, restarts=False, number=0, machine="q35",
                 more: tuple = ()):
        self.lab, self.role, self.process, self.restarts = lab, role, None, restarts
        self.log = lab.logs / f"console-{role}.log"
        self.log.touch()
        self.read = 0  # of the console: how far expect() has come
        # A restart ends qemu (-no-reboot): the next start reads the disk as a machine would.
        self.argv = ["qemu-system-x86_64", "-machine", machine, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory),
                     "-display", "none", "-nodefaults", "-no-reboot", "-chardev", f"file,id=console,path={self.log},append=on",
                     "-serial", "chardev:console", "-device", "virtio-rng-pci",
                     "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
        if uefi:
            self.argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"]
        for extra in ((seed,) if seed else ()) + more_disks:
            self.argv += ["-drive", f"file={extra},if=virtio,format=raw,readonly=on"]
        if watchdog:  # what a machine of libvirt gets by <watchdog model='i6300esb' action='reset'/>
            self.argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
        netdevs = ["user,id=n0" + (f",hostfwd=tcp:127.0.0.1:{forward_ssh}-:22" if forward_ssh else "")]
        devices = [management, *ports]
        for index, device in enumerate(devices):
            if device:
                self._bridge(index, device)
                netdevs[index:] = [f"tap,id=n{index},ifname=tap{index},script=no,downscript=no"]
        for index, netdev in enumerate(netdevs):
            self.argv += ["-netdev", netdev, "-device", f"virtio-net-pci,netdev=n{index},mac=52:54:00:67:{number:02x}:{index:02x}"]
        self.argv += more

    def _bridge(self, index: int, device: str):
        ns = self.lab.ns[self.role]
        ns.run("ip", "address", "flush", "dev", device)
        ns.ip(f"link add br{index} type bridge", f"link set {device} master br{index}", f"tuntap add tap{index} mode tap",
              f"link set tap{index} master br{index} up", f"link set br{index} up")

    @property
    def running(self) -> bool:
        return bool(self.process and self.process.alive)

    def start(self, timeout: float = 180, until: str = "login: "):
        """Until the console shows a login prompt, or something else; the seconds that took. "" does not wait."""
        started = time.monotonic()
        self.read = self.log.stat().st_size  # what was said before, a panic perhaps, is no word of this start's
        self.process = self.lab.spawn(self.role, f"qemu-{self.role}", self.argv, restart=self.restarts)
        if until:
            self.expect(until, timeout)
        return time.monotonic() - started

    def expect(self, text: str, timeout: float):
        """On the console, behind what the last call saw."""
        def seen() -> bool:
            new = self.log.read_bytes()[self.read:]
            here = new.find(text.encode())
            panic = new.find(b"Kernel panic")
            if panic >= 0 and not 0 <= here < panic and not self.restarts:
                self._lament(text, "a panic")
            if here >= 0:
                self.read += here + len(text)
            elif not self.running and not self.restarts:
                self._lament(text, f"qemu ended: {self.process.tail(3)}")
            return here >= 0
        try:
            poll(text, seen, timeout, 0.2)
        except LabError:
            self._lament(text, f"not within {timeout:g} s")

    def _lament(self, text: str, why: str):
        raise AssertionError(f"the console did not show {text!r} ({why}); log: {self.log}\n{plain(self.console())[-2000:]}")

    def console(self) -> str:
        """Since what expect() saw last."""
        return self.log.read_bytes()[self.read:].decode(errors="replace")

    def wait_ended(self, timeout: float):
        poll("the machine ends or restarts", lambda: not self.running, timeout, 0.2)

    def close(self):
        """As by pulling its plug."""
        if self.process:
            self.process.abandon()
            if self.process.alive:
                self.process.kill()
            self.process.popen.wait(10)
            self.process = None


class Ssh:
    """Commands on the machine over its management port: qemu forwards a port of the namespace to it, or it has an address."""

    def __init__(self, lab: Lab, role: str, key: Path, port: int = 22, host: str = "127.0.0.1"):
        self.lab, self.role, self.key, self.port, self.host = lab, role, key, port, host

    def argv(self) -> list:
        return ["ssh", "-i", self.key, "-p", str(self.port), *(word for option in (
            "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10", "BatchMode=yes",
            "ServerAliveInterval=10") for word in ("-o", option))]

    def run(self, command_line: str, timeout: float = 60, check=True) -> str:
        argv = self.lab.ns[self.role].exec_argv([*self.argv(), f"root@{self.host}", command_line])
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
