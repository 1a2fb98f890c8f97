"""A plain Debian 13 with systemd as its first process, in namespaces of its own; its network is one of the lab's.

systemd-nspawn would do the same, but wants a systemd outside, and a host with cgroup v2 as the only hierarchy. /proc/sys
(but for net) and /sys cannot be written, so nothing in here changes the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from lab import Lab, LabError, command, poll

CGROUPS = Path("/sys/fs/cgroup")

INIT = r"""
set -e
root=$1
cd "$root"
mount -t proc proc proc
mount --bind proc/sys/net proc/sys/net
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=0755 dev dev
for device in null zero full random urandom tty net/tun; do
    mkdir -p "$(dirname "dev/$device")"
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
hostname gw
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --log-target=journal --show-status=true
"""


class Container:
    """boot() and wait_booted(), then run(); everything in it ends with close()."""

    def __init__(self, lab: Lab, role: str, root_tar: Path):
        self.lab, self.role = lab, role
        self.root = lab.run / f"root-{role}"
        self.root.mkdir()
        self.cgroup = Path()
        self.pid = 0
        # A mount point of its own, as pivot_root wants it; in memory: fsync of apt and journald costs nothing.
        command(["mount", "-t", "tmpfs", "-o", "size=3g,mode=0755", f"root-{role}", self.root])
        lab.on_close(self.close)
        command(["tar", "-C", self.root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf", root_tar], timeout=120)

    def chroot(self, *argv, timeout: float = 300) -> str:
        """In its files, with the network of this machine; before boot()."""
        return command(["chroot", self.root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", *argv],
                       timeout=timeout)

    def boot(self):
        # A hierarchy of version 2, of which this container sees one branch.
        outside = self.lab.private_dir(f"cgroup-{self.role}")
        command(["mount", "-t", "cgroup2", "cgroup2", outside])
        self.cgroup = outside / f"{self.lab.prefix}-{self.role}"
        self.cgroup.mkdir()
        script = self.lab.run / "container-init.sh"
        script.write_text(INIT)
        inner = f'echo $$ > {self.cgroup}/cgroup.procs && exec unshare --cgroup bash {script} {self.root}'
        self.process = self.lab.spawn(self.role, f"container-{self.role}", [
            "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private", "bash", "-c", inner])
        self.pid = poll("the container's first process", self._find_init, 10)

    def _find_init(self) -> int:
        for line in command(["pgrep", "-f", "-x", "/usr/lib/systemd/systemd --log-target=journal --show-status=true"], check=False).split():
            if self.cgroup.name in Path(f"/proc/{line}/cgroup").read_text():
                return int(line)
        if not self.process.alive:
            raise LabError(f"the container ended: {self.process.tail()}")
        return 0

    def run(self, *argv, check=True, timeout: float = 30, stdin: str | None = None) -> str:
        return command(["nsenter", "-t", self.pid, "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wdns=/",
                        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *argv],
                       check=check, timeout=timeout, stdin=stdin)

    def wait_booted(self, timeout: float = 60):
        def state():
            return self.run("systemctl", "is-system-running", check=False).strip()
        poll("the container has booted", lambda: state() in ("running", "degraded"), timeout, 0.3)

    def active(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", unit, check=False).strip() == "active"

    def show(self, unit: str, what: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", what, unit).strip()

    def wait_active(self, *units: str, timeout: float = 20):
        for unit in units:
            poll(f"{unit} is active:\n{self.status(unit) if not self.active(unit) else ''}", lambda unit=unit: self.active(unit), timeout, 0.2)

    def status(self, unit: str) -> str:
        return self.run("systemctl", "status", "--no-pager", "-l", "-n", "15", unit, check=False)

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-b", "-o", "short-monotonic", check=False)

    def write(self, path: str, text: str, mode: int = 0o644):
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, stdin=text)

    def copy_in(self, *files: Path, to: str = "/var/cache/packages"):
        for file in files:
            self.run("bash", "-c", f"mkdir -p {to}")
            with open(file, "rb") as source:
                subprocess.run(["nsenter", "-t", str(self.pid), "--mount", "--root", "dd", f"of={to}/{file.name}", "status=none"],
                               stdin=source, check=True, timeout=60)

    def close(self):
        if self.pid:
            log = self.lab.logs / f"journal-{self.role}.txt"
            try:
                log.write_text(self.journal())
            except LabError as error:
                log.write_text(str(error))
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.pid = 0
            for _ in range(50):
                try:
                    self._remove_cgroups()
                    break
                except OSError:
                    time.sleep(0.1)
            command(["umount", self.cgroup.parent], check=False)
        command(["umount", "-l", self.root], check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove_cgroups(self):
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(folder)
