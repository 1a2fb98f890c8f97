"""A customer gateway with the Linux kernel's own ESP: user-mode Linux with stock strongSwan and BIRD.

                  site<k> (namespace of the UML process only)
     wan               +----------------------+               host<k>
   site<k> ----tap---- | vec0    UML     vec1 | ----tap---- eth0
                       | charon, XFRM, vti1   |
                       +----------------------+
The kernel of the machine may have no ESP at all; UML brings its own and needs no virtualisation. It boots
in some seconds from the root that the tests run in (hostfs). UML opens both taps in its namespace; they
are then moved to where their other ends belong.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from lab import GW_WAN4, Lab, LabError, Site, command
from peers import CRYPTO, ESP_PROPOSALS_ESN, IKE_PROPOSALS, Bird, psk

HERE = Path(__file__).resolve().parent
MARK = 42


def shim(directory: Path) -> str | None:
    """The XSAVE shim, built where this CPU needs it (uml/xsave_shim.c says why)."""
    needed = " amx_tile" in Path("/proc/cpuinfo").read_text() or os.environ.get("GW_UML_SHIM") == "1"
    if not needed:
        return None
    out = directory / "xsave_shim.so"
    command(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", out, HERE / "uml/xsave_shim.c"])
    return str(out)


class KernelSite:
    """connection, child: extra swanctl lines, as StrongSwanSite's."""

    def __init__(self, lab: Lab, site: Site, *, connection: str = "", child: str = "", initiate=True):
        self.lab, self.site, self.initiate = lab, site, initiate
        self.dir = lab.private_dir(f"uml-{site.name}")
        self.charon_log = lab.logs / f"charon-{site.name}-ike.log"
        self._write_files(connection, child)
        namespace = lab.ns[site.name]
        namespace.ip("tuntap add wan0 mode tap", "tuntap add lan0 mode tap")
        preload = shim(self.dir)
        env = {"TMPDIR": "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"}
        argv = [*self._one_cpu(), "linux.uml", "mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw",
                f"init={HERE}/uml/init.sh", "vec0:transport=tap,ifname=wan0,depth=128,gro=1",
                "vec1:transport=tap,ifname=lan0,depth=128,gro=1", "con=null", "con0=fd:0,fd:1",
                f"umid={site.name}", f"uml_dir={self.dir}/", "quiet", f"UML_DIR={self.dir}"]
        self.process = lab.spawn(site.name, f"uml-{site.name}", argv, stdin=subprocess.PIPE,
                                 env=env | ({"LD_PRELOAD": preload} if preload else {}))
        self.read = 0
        self._answer("links", 60)
        self._place_taps()
        self._send("")
        self._answer("ready", 60)

    @staticmethod
    def _one_cpu() -> list[str]:
        """UML traces its processes: each of their system calls goes to its thread and back. On one CPU that is a change of
        context, between two it wakes the other one each time: in a virtual machine a boot of 30 s in place of 7."""
        cpus = sorted(os.sched_getaffinity(0))
        return ["taskset", "-c", str(cpus[os.getpid() % len(cpus)])]

    def _write_files(self, connection: str, child: str):
        site = self.site
        vti4, vti6 = f"local {site.wan4} remote {GW_WAN4}", site.inner_site
        (self.dir / "setup.sh").write_text(f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
ip link set lo up
ip addr add {site.wan4}/28 dev vec0; ip addr add {site.wan6}/64 dev vec0 nodad
ip addr add {site.lan4}.1/24 dev vec1; ip addr add {site.lan6}::1/64 dev vec1 nodad
ip route add default via {site.router4}; ip -6 route add default via {site.router6}
ip link add vti1 type vti {vti4} key {MARK}
ip addr add {vti6}/30 dev vti1; ip link set vti1 up mtu 1400
sysctl -qw net.ipv4.conf.vti1.disable_policy=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.vti1.rp_filter=0
export STRONGSWAN_CONF=/mnt/strongswan.conf SWANCTL_DIR=/mnt
/usr/sbin/charon-systemd >/dev/null 2>&1 &
bird -c /mnt/bird.conf -s /run/bird.ctl -P /run/bird.pid
for i in $(seq 100); do [ -S /run/charon.vici ] && break; sleep 0.05; done
swanctl --load-all --noprompt 2>/dev/null
""")
        (self.dir / "strongswan.conf").write_text(f"""
charon-systemd {{ load = {CRYPTO} kernel-netlink socket-default vici updown
  journal {{ default = -1 }} }}
charon {{
  install_routes = no
  install_virtual_ip = no
  retransmit_timeout = 1.0
  retransmit_base = 1.4
  filelog {{ lab {{ path = {self.charon_log}
    default = 1
    flush_line = yes }} }}
  plugins {{ vici {{ socket = unix:///run/charon.vici }} }}
}}
""")
        start = "start" if self.initiate else "none"
        (self.dir / "swanctl.conf").write_text(f"""
connections {{ gw {{
  version = 2
  local_addrs = {site.wan4}
  remote_addrs = {GW_WAN4}
  proposals = {IKE_PROPOSALS}
  dpd_delay = 2s
  keyingtries = 0
  mobike = no
  {connection}
  local {{ auth = psk
    id = {site.name}.example }}
  remote {{ auth = psk
    id = {GW_WAN4} }}
  children {{ net {{
    local_ts = 0.0.0.0/0,::/0
    remote_ts = 0.0.0.0/0,::/0
    esp_proposals = {ESP_PROPOSALS_ESN}
    replay_window = 1024
    mark_in = {MARK}
    mark_out = {MARK}
    start_action = {start}
    close_action = {start}
    {child}
  }} }}
}} }}
secrets {{ ike-gw {{ id-gw = {GW_WAN4}
  secret = "{psk(site)}" }} }}
""")
        os.chmod(self.dir / "swanctl.conf", 0o600)
        text = Bird.config(site, "vti1", True).replace('"eth1"', '"vec1"')
        (self.dir / "bird.conf").write_text(text.replace("log stderr all;", 'log "/tmp/bird.log" all;'))

    def _place_taps(self):
        """Moves the taps' other ends to the wan router and the site's host.

        UML has opened them and sends nothing yet: a send on a tap on its way would stop its queue for good.
        """
        lab, site, host = self.lab, self.site, f"host{self.site.index}"
        own = lab.ns[site.name]
        own.ip(f"link set wan0 netns {lab.ns['wan'].name} name {site.name}",
               f"link set lan0 netns {lab.ns[host].name} name eth0")
        lab.ns["wan"].ip(f"link set {site.name} up")
        lab.ns[host].ip("link set eth0 up")
        lab.addresses("wan", site.name, f"{site.router4}/28", f"{site.router6}/64")
        lab.addresses(host, "eth0", f"{site.host4}/24", f"{site.host6}/64", f"{site.lan4}.1", f"{site.lan6}::1")

    def _answer(self, ending: str, timeout: float) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            text = self.process.log.read_bytes()[self.read:].decode(errors="replace").replace("\r", "")
            head, mark, tail = text.partition(f"@@ {ending}")
            if mark and "\n" in tail:
                self.read = self.process.log.stat().st_size
                return head, tail.splitlines()[0].strip()
            if not self.process.alive:
                raise LabError(f"UML of {self.site.name} ended; log: {self.process.log}\n{self.process.tail()}")
            time.sleep(0.05)
        raise LabError(f"UML of {self.site.name}: no answer in {timeout:g} s; log: {self.process.log}")

    def _send(self, line: str):
        self.process.popen.stdin.write(line.encode() + b"\n")
        self.process.popen.stdin.flush()

    def run(self, line: str, timeout: float = 15) -> str:
        """Runs a shell line inside; its output. A status other than 0 is an error."""
        self._send(line)
        output, status = self._answer("", timeout)
        if status != "0":
            raise LabError(f"in UML of {self.site.name}: {line}: status {status}: {output[-500:]}")
        return output

    def established(self) -> bool:
        return "INSTALLED" in self.run("swanctl --list-sas --uri unix:///run/charon.vici")

    def bgp_established(self) -> bool:
        return "Established" in self.run("birdc -s /run/bird.ctl show protocols gw")
