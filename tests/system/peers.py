"""The customer's side: stock strongSwan as a site's IKE and ESP (kernel-libipsec), BIRD or FRR as its router.

Each daemon has a private directory below the lab's run directory; nothing of the machine's own
configuration is read. Site programs are driven as their own operators would: swanctl, birdc, vtysh.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from lab import GW_ASN, GW_WAN4, Lab, LabError, Process, Site, command, poll

CHARON = "/usr/sbin/charon-systemd"
PLUGINS = Path("/usr/lib/ipsec/plugins")
CRYPTO = ("random nonce openssl aes sha1 sha2 md5 hmac kdf gcm cmac curve25519 x509 revocation constraints "
          "pubkey pkcs1 pem")
LASTING = 2.0  # s
PSK = "the-psk-of-the-lab-%s-3f9c1d"
IKE_PROPOSALS = "aes256gcm16-prfsha384-ecp384,aes256-sha256-modp2048"
ESP_PROPOSALS = "aes256gcm16-ecp384-noesn,aes256gcm16-noesn,aes128gcm16-noesn"
ESP_PROPOSALS_ESN = "aes256gcm16-ecp384-esn-noesn,aes256gcm16-esn-noesn"


def psk(site: Site) -> str:
    return PSK % site.name


class Charon:
    """A charon of the distribution's package with its own configuration and VICI socket."""

    def __init__(self, lab: Lab, role: str, *, load: str, settings: str = "", plugins: str = "", restart=False,
                 plugin_dir: Path | None = None):
        self.lab, self.role = lab, role
        self.dir = lab.private_dir(f"charon-{role}")
        self.vici = self.dir / "vici.sock"
        self.logfile = lab.logs / f"charon-{role}-ike.log"
        self.conf = self.dir / "strongswan.conf"
        self.conf.write_text(f"""charon-systemd {{ journal {{ default = -1 }} }}
charon {{
  load_modular = no
  load = {load}
  install_routes = no
  install_virtual_ip = no
  # kernel-libipsec installs routes for its selectors (here 0/0) all the same: behind the main table.
  routing_table_prio = 40000
  filelog {{ lab {{ path = {self.logfile}
    default = 1
    flush_line = yes
    append = yes
    time_format = %H:%M:%S
    time_add_ms = yes }} }}
  syslog {{ daemon {{ default = -1 }}
    auth {{ default = -1 }} }}
  {settings}
  plugins {{
    vici {{ socket = unix://{self.vici} }}
    {plugins}
  }}
}}
charon-systemd {{
  load = {load}
}}
""")
        argv = [CHARON]
        if plugin_dir:  # charon looks in one fixed directory: show it ours in a mount namespace of its own
            argv = ["unshare", "--mount", "sh", "-c", f"mount --bind {plugin_dir} {PLUGINS} && exec {CHARON}"]
        self.process = lab.spawn(role, f"charon-{role}", argv, env={"STRONGSWAN_CONF": str(self.conf)},
                                 restart=restart, before_start=self._forget_socket)
        self.wait_ready()

    def _forget_socket(self):
        self.vici.unlink(missing_ok=True)

    def wait_ready(self):
        def ready():
            if not self.process.alive and not self.process.restart:
                raise LabError(f"charon of {self.role} ended at start:\n{self.process.tail()}")
            return self.vici.exists()
        poll(f"charon of {self.role} answers on {self.vici}", ready, 10)

    def swanctl(self, *argv, check=True, timeout: float = 20) -> str:
        env = {**os.environ, "SWANCTL_DIR": str(self.dir), "STRONGSWAN_CONF": str(self.conf)}
        words = [f"{k}={env[k]}" for k in ("SWANCTL_DIR", "STRONGSWAN_CONF")]
        return command(["env", *words, "swanctl", *argv, "--uri", f"unix://{self.vici}"], check=check, timeout=timeout)

    def established(self) -> bool:
        return "ESTABLISHED" in self.swanctl("--list-sas", check=False)


class StrongSwanSite:
    """A customer gateway: charon with kernel-libipsec; everything into the tunnel device is encrypted.

    connection: text that replaces or adds swanctl connection settings ("encap = yes").
    child: the same for the CHILD_SA ("rekey_time = 3s").
    initiate: starts the tunnel itself. persistent: also when the gateway closed it, as a site must that the
    gateway may not initiate to.
    """

    def __init__(self, lab: Lab, site: Site, *, gateway: str = GW_WAN4, local: str = "", connection: str = "",
                 child: str = "", secret: str = "", initiate=True, persistent=False,
                 settings: str = "", esp_proposals: str = ESP_PROPOSALS, link_local: str = ""):
        """link_local: the tunnel device's only address of this kind."""
        self.lab, self.site, self.gateway, self.link_local = lab, site, gateway, link_local
        self.local = local or (site.wan6 if ":" in gateway else site.wan4)
        self.connection, self.child, self.secret = connection, child, secret or psk(site)
        self.initiate, self.persistent = initiate, persistent
        self.esp_proposals = esp_proposals
        # A short IKE retransmission: tests wait for give-ups. raw_esp: protocol 50 where there is no NAT.
        self.settings = settings + " retransmit_timeout = 1.0 \n retransmit_tries = 4 \n retransmit_base = 1.4"
        self.charon: Charon | None = None
        self.start()

    def start(self):
        self.charon = Charon(self.lab, self.site.name, load=f"{CRYPTO} kernel-libipsec kernel-netlink socket-default "
                             "vici updown counters", settings=self.settings,
                             plugins="kernel-libipsec { allow_peer_ts = yes \n raw_esp = yes }")
        # Where raw ESP overflows charon's socket the kernel answers "protocol unreachable"; routers do not.
        self.ns.run("nft", "-f", "-", stdin="""
            table inet quiet
            delete table inet quiet
            table inet quiet {
              chain out {
                type filter hook output priority 0;
                icmp type destination-unreachable icmp code prot-unreachable drop
                icmpv6 type parameter-problem drop
              }
            }
            """)
        poll("the site's tunnel device", lambda: "ipsec0" in self.ns.run("ip", "-br", "link"), 5)
        self.set_device()
        self.load(self.secret)

    def set_device(self):
        self.ns.ip("link set ipsec0 up mtu 1400", f"addr add {self.site.inner_site}/30 dev ipsec0")
        if self.link_local:
            self.ns.run("ip", "-6", "addr", "flush", "dev", "ipsec0", "scope", "link")
            self.ns.ip(f"addr add {self.link_local}/64 dev ipsec0 nodad")

    def stop(self):
        """A clean stop: charon says goodbye to its peer."""
        self.charon.process.stop()

    def die(self):
        self.charon.process.kill()
        self.charon.process.popen.wait(5)

    @property
    def ns(self):
        return self.lab.ns[self.site.name]

    @property
    def identity(self):
        return f"{self.site.name}.example"

    def load(self, secret: str):
        """(Re)loads the connection, as `swanctl --load-all` after an edit."""
        (self.charon.dir / "swanctl.conf").write_text(f"""
connections {{
  gw {{
    version = 2
    local_addrs = {self.local}
    remote_addrs = {self.gateway}
    proposals = {IKE_PROPOSALS}
    dpd_delay = 2s
    keyingtries = 0
    mobike = no
    {self.connection}
    local {{ auth = psk
      id = {self.identity} }}
    remote {{ auth = psk
      id = {self.gateway} }}
    children {{ net {{
      local_ts = 0.0.0.0/0,::/0
      remote_ts = 0.0.0.0/0,::/0
      esp_proposals = {self.esp_proposals}
      dpd_action = {'restart' if self.initiate else 'clear'}
      close_action = {'start' if self.persistent else 'none'}
      start_action = {'start' if self.initiate else 'none'}
      {self.child}
    }} }}
  }}
}}
secrets {{ ike-gw {{ id-gw = {self.gateway}
  secret = "{secret}" }} }}
""")
        os.chmod(self.charon.dir / "swanctl.conf", 0o600)
        self.charon.swanctl("--load-all", "--noprompt")

    def offer(self, esp_proposals: str):
        """Starts anew with other ESP algorithms."""
        self.esp_proposals = esp_proposals
        self.load(self.secret)
        self.charon.swanctl("--terminate", "--ike", "gw", check=False)
        self.charon.swanctl("--initiate", "--child", "net")

    def rekey_child(self):
        self.charon.swanctl("--rekey", "--child", "net")

    def rekey_ike(self):
        self.charon.swanctl("--rekey", "--ike", "gw")


class Bird:
    """The customer's router: eBGP through the tunnel, IPv4 and IPv6, graceful restart helper."""

    def __init__(self, lab: Lab, site: Site, *, device: str = "ipsec0", restart_aware=True, bfd=False):
        self.lab, self.site = lab, site
        self.dir = lab.private_dir(f"bird-{site.name}")
        conf = self.dir / "bird.conf"
        conf.write_text(self.config(site, device, restart_aware, bfd))
        self.process = lab.spawn(site.name, f"bird-{site.name}",
                                 ["bird", "-f", "-c", conf, "-s", self.dir / "ctl", "-P", self.dir / "pid"])
        poll("BIRD's control socket", (self.dir / "ctl").exists, 5)

    @staticmethod
    def config(site: Site, device: str, restart_aware: bool, bfd=False) -> str:
        probing = f'protocol bfd {{ interface "{device}" {{ interval 100 ms; multiplier 3; }}; }}' if bfd else ""
        return f"""
log stderr all;
router id {site.inner_site};
protocol device {{ scan time 1; }}
{probing}
protocol static lan4 {{ ipv4; route {site.prefixes[0]} via "eth1"; }}
protocol static lan6 {{ ipv6; route {site.prefixes[1]} via "eth1"; }}
# Routes stay in the kernel when BIRD ends, as on a router whose line cards keep forwarding.
protocol kernel k4 {{ persist; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel k6 {{ persist; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
protocol bgp gw {{
  debug {{ states, events }};  # who ended a session, and why
  local {site.inner_site} as {site.asn};
  neighbor {site.inner_gw} as {GW_ASN};
  connect delay time 1; connect retry time 2; error wait time 1, 4;
  hold time 30; keepalive time 3;
  {"bfd on;" if bfd else ""}
  graceful restart {'on' if restart_aware else 'aware'}; graceful restart time 30;
  ipv4 {{ import all; export where proto = "lan4"; next hop self; }};
  # The tunnel is point to point: whatever next hop the gateway names is at its other end.
  ipv6 {{ import filter {{ ifname = "{device}"; accept; }}; export where proto = "lan6";
         next hop address {site.lan6}::1; }};
}}
"""

    def birdc(self, *argv) -> str:
        return command(["birdc", "-s", self.dir / "ctl", *argv])

    def established(self) -> bool:
        return "Established" in self.birdc("show", "protocols", "gw")

    def routes(self) -> str:
        return self.birdc("show", "route", "protocol", "gw")

    def session_since(self) -> str:
        """A text that changes when the session is lost and comes back."""
        lines = [line for line in self.birdc("show", "protocols", "gw").splitlines() if line.startswith("gw")]
        return " ".join(lines[0].split()[3:5])

    def lasting_session(self) -> str:
        """session_since() of a session that has lasted for some seconds. When both ends connect at the same time, one of
        the two connections ends again up to a second after it was up (RFC 4271 6.8): that is no session to watch."""
        found = [self.session_since(), time.monotonic()]

        def lasted():
            now = self.session_since()
            if not same_moment(now, found[0]) or not self.established():
                found[:] = now, time.monotonic()
            return time.monotonic() - found[1] > LASTING
        poll(f"a lasting BGP session of {self.site.name}", lasted, 20, 0.2)
        return found[0]

    def assert_uninterrupted_since(self, before: str):
        """The session of then is still there. If not: what BIRD says happened to it."""
        now = self.session_since()
        assert self.established() and same_moment(now, before), (
            f"BGP went down at {self.site.name}: {before}, now {now}\n{self.process.tail(30)}")


def same_moment(a: str, b: str) -> bool:
    """Two readings of BIRD's "since": it computes the moment from an age, anew each time, and is off by a millisecond or two."""
    def ms(text: str) -> float:
        hours, minutes, seconds = text.split()[-1].split(":")
        return 1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds))
    try:
        return a.split()[:-1] == b.split()[:-1] and abs(ms(a) - ms(b)) < 5
    except (IndexError, ValueError):
        return a == b


class Frr:
    """FRR's daemons for one role, each in the foreground with its own vty directory."""

    DAEMONS = Path("/usr/lib/frr")

    def __init__(self, lab: Lab, role: str, *, restart=False):
        self.lab, self.role, self.restart = lab, role, restart
        self.dir = lab.private_dir(f"frr-{role}", "frr")
        self.dir.chmod(0o755)
        self.processes: dict[str, Process] = {}

    def start(self, daemon: str, *options, conf: Path | str = "", by=()):
        """Starts zebra, bgpd or bfdd; conf is the text or the path of its configuration. by: a command that becomes the daemon."""
        path = conf if isinstance(conf, Path) else self.dir / f"{daemon}.conf"
        if not isinstance(conf, Path):
            path.write_text(conf + "\n")
            shutil.chown(path, "frr", "frr")
        argv = [*by, self.DAEMONS / daemon, "--vty_socket", self.dir, "-z", self.dir / "zserv.api", "-i",
                self.dir / f"{daemon}.pid", "-f", path, "-P", "0", "--log", "stdout", "--log-level", "info", *options]
        self.processes[daemon] = self.lab.spawn(self.role, f"{daemon}-{self.role}", argv, restart=self.restart,
                                                before_start=lambda: self._forget(daemon))
        poll(f"{daemon} of {self.role}", (self.dir / f"{daemon}.vty").exists, 8)

    def _forget(self, daemon: str):
        for name in (f"{daemon}.vty", f"{daemon}.pid"):
            (self.dir / name).unlink(missing_ok=True)

    def vtysh(self, *lines: str) -> str:
        words = [word for line in lines for word in ("-c", line)]
        return command(["vtysh", "--vty_socket", self.dir, *words])


class FrrRouter:
    """FRR as the customer's router, for a second opinion beside BIRD."""

    def __init__(self, lab: Lab, site: Site, *, bfd=False, unnumbered=False):
        """unnumbered: the session is on ipsec0, whoever is at its other end."""
        self.site = site
        self.neighbor = "ipsec0" if unnumbered else site.inner_gw
        self.frr = Frr(lab, site.name)
        self.frr.start("zebra")
        if bfd:
            self.frr.start("bfdd")
        probing = f"neighbor {self.neighbor} bfd 3 100 100" if bfd else ""
        map_out = "" if unnumbered else f"neighbor {self.neighbor} route-map TO-GW out"
        self.frr.start("bgpd", conf=f"""router bgp {site.asn}
 bgp router-id {site.inner_site}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp graceful-restart
 neighbor {self.neighbor} {"interface v6only " if unnumbered else ""}remote-as {GW_ASN}
 neighbor {self.neighbor} timers 3 30
 neighbor {self.neighbor} timers connect 1
 {probing}
 address-family ipv4 unicast
  network {site.prefixes[0]}
  neighbor {self.neighbor} activate
 exit-address-family
 address-family ipv6 unicast
  network {site.prefixes[1]}
  neighbor {self.neighbor} activate
  {map_out}
 exit-address-family
exit
route-map TO-GW permit 10
 set ipv6 next-hop global {site.lan6}::1
exit
""")

    def established(self) -> bool:
        return "Established" in self.frr.vtysh(f"show bgp neighbors {self.neighbor}")

    def routes(self) -> str:
        return self.frr.vtysh("show ip route bgp", "show ipv6 route bgp")

