"""A plain Debian 13 as a tar file, made once (build/images) for a list of packages; and this project's own packages."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from lab import TOP, LabError, command

CACHE = TOP / "build/images"
# What any Debian 13 with systemd has; nothing of the gateway's.
PLAIN = ("systemd", "systemd-sysv", "dbus", "iproute2", "iputils-ping", "kmod", "procps", "ca-certificates")


def mirrors() -> list[str]:
    """The sources of this root, which ./dev took from the machine's own apt."""
    lines = Path("/etc/apt/sources.list").read_text().splitlines()
    return [line for line in lines if line.startswith("deb ")]


def plain_root() -> Path:
    name = hashlib.sha256(" ".join(PLAIN).encode()).hexdigest()[:12]
    tar = CACHE / f"plain-{name}.tar"
    if tar.exists():
        return tar
    CACHE.mkdir(parents=True, exist_ok=True)
    part = tar.with_suffix(".partial.tar")
    done = subprocess.run(["mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", f"--include={','.join(PLAIN)}",
                           "--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\"", "trixie", part, *mirrors()],
                          capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise LabError(f"mmdebstrap: {done.stderr[-3000:]}")
    part.rename(tar)
    return tar


def packages(version: str = "") -> list[Path]:
    """Our packages from build/release; with another version: for upgrades."""
    folder = CACHE / f"packages{'-' + version if version else ''}"
    env = {**os.environ, **({"GW_PACKAGE_VERSION": version} if version else {})}
    done = subprocess.run([TOP / "images/package", str(folder)], env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise LabError(f"images/package: {done.stderr[-3000:]}")
    return sorted(folder.glob("*.deb"))


def dependencies_of(container, files: list[Path]):
    """Downloads what apt will want, while there is a network; the container's own has none."""
    import shutil
    into = container.root / "var/cache/packages"
    into.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, into)
    shutil.copy("/etc/resolv.conf", container.root / "etc/resolv.conf")
    for conf in Path("/etc/apt/apt.conf.d").glob("90host"):
        shutil.copy(conf, container.root / "etc/apt/apt.conf.d")
    (container.root / "etc/apt/apt.conf.d/91keep").write_text('Binary::apt::APT::Keep-Downloaded-Packages "true";\nAPT::Keep-Downloaded-Packages "true";\n')
    container.chroot("apt-get", "-q", "update")
    container.chroot("apt-get", "-q", "install", "-y", "--no-install-recommends", "--download-only",
                     *(f"/var/cache/packages/{file.name}" for file in files))


__all__ = ["command", "dependencies_of", "mirrors", "packages", "plain_root"]
