"""The lab: network namespaces joined by veth, every process tracked, cleaned up whatever happens.

   vnet            gw                      wan                          site<k>                 host<k>
  +------+   +-------------+         +---------------+            +------------------+     +--------+
  | eth0 |---| eth1   eth0 |---------| gw     site1  |------------| eth0        eth1 |-----| eth0   |
  +------+   +-------------+         |        site2  |---- ...    +------------------+     +--------+
  VNet host   the gateway:            the internet:                customer gateway:        a machine
  10.0.1.4    gw-fastpath, charon,    routes, NATs where a         stock charon with        on premises
  2001:db8:   bgpd, gwd               site is behind NAT,          kernel-libipsec (or      10.100+k.1.4
  10:1::4     203.0.113.10            tcpdump on `gw`              a UML kernel), BIRD      2001:db8:
              2001:db8:1::10                                       198.51.100.16k+2         a0+k:1::4
                                                                   2001:db8:2:k::2
  inside tunnel k: gateway 169.254.21.4k+1, site 169.254.21.4k+2

Addresses are documentation ones outside (RFC 5737, RFC 3849), private and link-local ones inside.
Namespaces carry the lab's own prefix, so labs can run side by side. The kernel's neighbour table is
shared by all namespaces; a lab has about 30 entries, far below the default limit, and leaves it alone.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BIN = TOP / "build/release/bin"
LOGS = TOP / "build/logs"

GW_WAN4, GW_WAN6 = "203.0.113.10", "2001:db8:1::10"
GW_VNET4, GW_VNET6 = "10.0.1.1", "2001:db8:10:1::1"
VNET_HOST4, VNET_HOST6 = "10.0.1.4", "2001:db8:10:1::4"
VNET_PREFIXES = ["10.0.0.0/16", "2001:db8:10::/48"]
GW_ASN = 65515
RECEIVE_BUFFER = 8 << 20  # bytes


class LabError(Exception):
    """Something in the lab, not in the product, did not work."""


@dataclass
class Site:
    """Addresses of site k (from 1).

    nat: the wan router hides it behind its public address. uml: its links are made by uml.KernelSite.
    """

    index: int
    nat: bool = False
    uml: bool = False

    @property
    def name(self):
        return f"site{self.index}"

    @property
    def asn(self):
        return 65020 + self.index

    @property
    def public4(self):
        """Where the gateway sees IKE come from."""
        return self._public4(1 if self.nat else 2)

    def _public4(self, host: int):
        """A /28 for each; the 16th and later ones are beyond the documentation's network."""
        return f"198.51.{100 + self.index // 16}.{16 * (self.index % 16) + host}"

    @property
    def wan4(self):
        return f"192.168.{self.index}.2" if self.nat else self.public4

    @property
    def router4(self):
        return f"192.168.{self.index}.1" if self.nat else self._public4(1)

    @property
    def wan6(self):
        return f"2001:db8:2:{self.index}::2"

    @property
    def router6(self):
        return f"2001:db8:2:{self.index}::1"

    @property
    def lan4(self):
        return f"10.{100 + self.index}.1"  # .1 the site's gateway, .4 the host

    @property
    def lan6(self):
        return f"2001:db8:{0xA0 + self.index:x}:1"  # ::1 the site's gateway, ::4 the host

    @property
    def host4(self):
        return f"{self.lan4}.4"

    @property
    def host6(self):
        return f"{self.lan6}::4"

    @property
    def prefixes(self):
        return [f"{self.lan4}.0/24", f"{self.lan6}::/64"]

    @property
    def inner_gw(self):
        return f"169.254.21.{4 * self.index + 1}"

    @property
    def inner_site(self):
        return f"169.254.21.{4 * self.index + 2}"


def poll(what: str, condition, timeout: float, every: float = 0.05):
    """Waits until condition() is true and returns its value; the error names what did not come."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise LabError(f"not within {timeout:g} s: {what}")
        time.sleep(every)


class Process:
    """A child with its own log; with restart=True, started again after an unasked end, as systemd would."""

    RESTART_AFTER = 0.15  # s; systemd's RestartSec default is 0.1 s

    def __init__(self, lab: Lab, name: str, argv: list[str], *, env: dict | None = None, restart=False,
                 before_start=None, **popen):
        self.lab, self.name, self.argv, self.restart = lab, name, [str(a) for a in argv], restart
        self.env = {**os.environ, **(env or {})}
        self.before_start, self.popen_args = before_start, popen
        self.log = lab.logs / f"{name}.log"
        self.starts = 0
        self.guard = threading.Lock()
        self.start()

    def start(self):
        """The first time, or after it was abandoned and has ended."""
        self.stopping = False
        self._start()
        if self.restart:
            threading.Thread(target=self._supervise, name=f"restart {self.name}", daemon=True).start()

    def _start(self):
        if self.before_start:
            self.before_start()
        with open(self.log, "ab") as log:
            log.write(f"--- start {self.starts + 1}: {' '.join(self.argv)}\n".encode())
            log.flush()
            args = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT} | self.popen_args
            self.popen = subprocess.Popen(self.argv, env=self.env, start_new_session=True, **args)
        self.starts += 1

    def _supervise(self):
        while not self.stopping:
            status = self.popen.wait()
            if self.stopping:
                return
            with open(self.log, "a") as log:
                log.write(f"--- ended with status {status}\n")
            time.sleep(self.RESTART_AFTER)
            with self.guard:
                if self.stopping:
                    return
                self._start()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9; returns the pid that died."""
        pid = self.pid
        self.signal(signal.SIGKILL)
        return pid

    def wait_restarted(self, old_pid: int, timeout: float = 5):
        poll(f"{self.name} restarted (was pid {old_pid})", lambda: self.pid != old_pid and self.alive, timeout)

    def abandon(self):
        """Whatever ends it from now on, nobody starts it again."""
        with self.guard:
            self.stopping = True

    def stop(self, timeout: float = 8):
        self.abandon()
        if self.alive:
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.popen.wait(5)

    def tail(self, lines: int = 15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Namespace:
    """One network namespace; `run` for commands that end, Lab.spawn for daemons."""

    def __init__(self, prefix: str, role: str):
        self.role, self.name = role, f"{prefix}-{role}"
        command(["ip", "netns", "add", self.name])
        self.ip("link set lo up")
        # No duplicate address detection: addresses work at once. No reverse path filter: asymmetric is fine.
        self.sysctl({"net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
                     "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0})

    def exec_argv(self, argv):
        return ["ip", "netns", "exec", self.name, *(str(a) for a in argv)]

    def run(self, *argv, check=True, timeout: float = 20, stdin: str | None = None) -> str:
        return command(self.exec_argv(argv), check=check, timeout=timeout, stdin=stdin)

    def ip(self, *lines: str):
        command(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines))

    def sysctl(self, values: dict):
        self.run("sysctl", "-qw", *(f"{k}={v}" for k, v in values.items()))

    def pids(self) -> list[int]:
        """Of everything that runs in it."""
        return [int(pid) for pid in command(["ip", "netns", "pids", self.name], check=False).split()]

    def forward(self):
        self.sysctl({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})


def command(argv, check=True, timeout: float = 20, stdin: str | None = None) -> str:
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise LabError(f"{' '.join(argv)}: no end after {timeout:g} s") from late
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-4000:]}")
    return done.stdout


class Lab:
    """The namespaces and links of the drawing above. A context manager; close() is safe to call twice."""

    def __init__(self, name: str, sites: list[Site] | None = None):
        self.name = name
        self.sites = sites or [Site(1)]
        self.prefix = f"gw{os.getpid() % 100000}{len(_open_labs)}"
        self.logs = LOGS / name
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.run = Path("/run") / self.prefix
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(mode=0o755)
        self.processes: list[Process] = []
        self.cleanups: list = []
        self.ns: dict[str, Namespace] = {}
        self.closed = False
        _open_labs.append(self)
        self._widen_socket_buffers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _widen_socket_buffers(self):
        """A site's charon on a busy machine must not lose ESP in its 208 KiB socket: that is no loss of ours.

        The setting belongs to the whole machine; it is put back at the end.
        """
        setting = Path("/proc/sys/net/core/rmem_default")
        before = setting.read_text()
        if int(before) < RECEIVE_BUFFER:
            setting.write_text(str(RECEIVE_BUFFER))
            self.on_close(lambda: setting.write_text(before))

    def _build(self):
        for role in ["vnet", "gw", "wan", *(r for s in self.sites for r in (s.name, f"host{s.index}"))]:
            self.ns[role] = Namespace(self.prefix, role)
        self.link("vnet", "eth0", "gw", "eth1")
        self.link("gw", "eth0", "wan", "gw")
        self.addresses("vnet", "eth0", f"{VNET_HOST4}/24", f"{VNET_HOST6}/64", GW_VNET4, GW_VNET6)
        self.addresses("gw", "eth1", f"{GW_VNET4}/24", f"{GW_VNET6}/64")
        self.addresses("gw", "eth0", f"{GW_WAN4}/24", f"{GW_WAN6}/64", "203.0.113.1", "2001:db8:1::1")
        self.addresses("wan", "gw", "203.0.113.1/24", "2001:db8:1::1/64")
        # The gateway's interfaces carry XDP: their peers must accept frames from XDP (GRO on turns NAPI
        # on). The VNet host leaves its checksums to a card that is not there, as containers and VMs do.
        self.ns["vnet"].run("ethtool", "-K", "eth0", "gro", "on", "tx", "on")
        self.ns["wan"].run("ethtool", "-K", "gw", "gro", "on", "tx", "off")
        for site in self.sites:
            self._build_site(site)
        for role in ("gw", "wan", *(s.name for s in self.sites)):
            self.ns[role].forward()

    def _build_site(self, site: Site):
        if site.uml:
            return
        host = f"host{site.index}"
        self.link(site.name, "eth0", "wan", site.name)
        self.link(host, "eth0", site.name, "eth1")
        self.addresses("wan", site.name, f"{site.router4}/28", f"{site.router6}/64")
        self.addresses(site.name, "eth0", f"{site.wan4}/28", f"{site.wan6}/64", site.router4, site.router6)
        self.addresses(site.name, "eth1", f"{site.lan4}.1/24", f"{site.lan6}::1/64")
        self.addresses(host, "eth0", f"{site.host4}/24", f"{site.host6}/64", f"{site.lan4}.1", f"{site.lan6}::1")
        if site.nat:
            self.ns["wan"].ip(f"addr add {site.public4}/32 dev lo")
            self.ns["wan"].run("nft", "-f", "-", stdin=f"""
                table ip {site.name} {{
                  chain post {{
                    type nat hook postrouting priority 100;
                    ip saddr {site.wan4} oifname "gw" snat to {site.public4};
                  }}
                }}
                """)

    def link(self, a: str, a_dev: str, b: str, b_dev: str):
        self.ns[a].ip(f"link add {a_dev} type veth peer name {b_dev} netns {self.ns[b].name}",
                      f"link set {a_dev} up")
        self.ns[b].ip(f"link set {b_dev} up")

    def addresses(self, role: str, device: str, v4: str, v6: str, gateway4: str = "", gateway6: str = ""):
        routes = [f"route add default via {gateway4}", f"route add default via {gateway6}"] if gateway4 else []
        self.ns[role].ip(f"addr add {v4} dev {device}", f"addr add {v6} dev {device} nodad", *routes)

    def spawn(self, role: str, name: str, argv, **options) -> Process:
        process = Process(self, name, self.argv(role, name, argv), **options)
        self.processes.append(process)
        return process

    def argv(self, role: str, name: str, argv) -> list[str]:
        """What carries, counts or waits for packets (BFD) runs before everything else: a compiler beside the tests would
        otherwise stall it for longer than its buffers or timers hold, and that is a loss of the machine's."""
        packets = name.startswith(("gw-fastpath", "charon-site", "gw-probe", "echo", "uml", "bfdd", "bird"))
        return (["chrt", "--rr", "1"] if packets else []) + self.ns[role].exec_argv(argv)

    def private_dir(self, name: str, owner: str = "root") -> Path:
        path = self.run / name
        path.mkdir(mode=0o700, exist_ok=True)
        if owner != "root":
            shutil.chown(path, owner, owner)
        return path

    def on_close(self, function):
        self.cleanups.append(function)

    def close(self):
        if self.closed:
            return
        self.closed = True
        for process in reversed(self.processes):
            quietly(process.stop)
        for function in reversed(self.cleanups):
            quietly(function)
        for namespace in self.ns.values():
            for pid in namespace.pids():
                quietly(lambda pid=pid: os.kill(pid, signal.SIGKILL))
            command(["ip", "netns", "del", namespace.name], check=False)
        shutil.rmtree(self.run, ignore_errors=True)
        if self in _open_labs:
            _open_labs.remove(self)


def quietly(function):
    """Cleaning up goes on whatever one step says; what it said is shown."""
    try:
        function()
    except Exception as fault:  # noqa: BLE001 - the last line of defence
        print(f"lab: while cleaning up: {fault}", file=sys.stderr)


_open_labs: list[Lab] = []


@atexit.register
def _close_all():
    for lab in list(_open_labs):
        lab.close()


def unwind_on_signals():
    """The first SIGINT or SIGTERM unwinds, so that context managers and atexit run; later ones are ignored,
    for one Ctrl-C arrives twice: from the terminal, and handed on by ./dev."""
    def unwind(*_):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, unwind)
