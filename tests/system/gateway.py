"""The gateway of the lab: our programs around stock charon and FRR, started as systemd would start them.

   gw-fastpath   below keeper.py, the lab's stand-in for systemd's FD store
   charon        stock charon-systemd with our plugins kernel-gw and gw-ha
   zebra, bfdd, bgpd   stock FRR; gwd configures the last two
   gwd           observed and driven through gwctl only, as an operator would
Whatever dies is started again after 150 ms (Restart=always).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import yaml

from lab import BIN, GW_ASN, GW_WAN4, GW_WAN6, TOP, VNET_PREFIXES, Lab, LabError, Process, Site, command, poll
from peers import CRYPTO, PLUGINS, Charon, Frr, psk

HERE = Path(__file__).resolve().parent
START_BGPD = TOP / "images/packages/gw/files/usr/lib/gw/start-bgpd"  # as the package's unit starts it
INSTANCE = "gw-a"
GWCTL = BIN / "gwctl"
PORT_KINDS = ("xsk", "gso")  # of gw-fastpath's ports: what the gateway does is the same on both
# What the product ships in strongswan.conf (ike/connection.cpp, charon_settings); a dead peer is noticed
# after the DPD delay and 26.4 s of retransmissions.
CHARON_SETTINGS = """retransmit_timeout = 2.0
  retransmit_base = 1.5
  retransmit_tries = 4
  ikesa_table_size = 4096
  ikesa_table_segments = 16
  reuse_ikesa = no
  half_open_timeout = 30"""
RETRANSMISSIONS = 26.4
METRICS = "127.0.0.1:9620"
BFD_PORT = 50700  # gw-fastpath's, for bfdd


def connection_name(site: Site) -> str:
    return f"{site.name}-ce1"


def tunnel_name(site: Site, instance: str = INSTANCE) -> str:
    return f"{connection_name(site)}/{instance}"


def document(sites: list[Site], overrides: dict | None = None, outer6: tuple = ()) -> dict:
    """gateway.yaml for these sites. overrides: connection fields by site name; outer6: sites reached by IPv6."""
    doc = {
        "version": 1,
        "gateway": {"name": "hub-lab", "asn": GW_ASN, "instances": [
            {"name": INSTANCE, "wan": {"interface": "eth0", "endpoints": [{"address": GW_WAN4}, {"address": GW_WAN6}]},
             "vnet": {"interface": "eth1"}}]},
        "vnet": {"prefixes": VNET_PREFIXES},
        "sites": [], "connections": [],
        "management": {"metrics": METRICS},
    }
    for site in sites:
        address = site.wan6 if site in outer6 else site.public4
        doc["sites"].append({"name": site.name, "asn": site.asn, "devices": [
            {"name": "ce1", "address": address, "identity": f"{site.name}.example"}]})
        connection = {
            "name": connection_name(site), "device": f"{site.name}/ce1",
            "secret": {"psk_file": f"secrets/{site.name}.psk"},
            "ike": {"encryption": "GCMAES256", "integrity": "SHA384", "dh_group": "ECP384"},
            "ipsec": {"encryption": "GCMAES256", "pfs": "ECP384"},
            "dpd": {"delay": "2s"},
            "bgp": {"addresses": {INSTANCE: {"local": site.inner_gw, "peer": site.inner_site}},
                    "keepalive": "3s", "hold": "30s"},
        }
        if site.nat:
            connection["initiate"] = "responder-only"
        connection.update((overrides or {}).get(site.name, {}))
        doc["connections"].append(connection)
    return doc


class Gateway:
    """One instance: `instance` is its name in gateway.yaml, `role` its namespace in the lab."""

    gwd_options: tuple = ()  # more of them

    def __init__(self, lab: Lab, doc: dict, ports: str = "xsk", fastpath: tuple = (), *, instance: str = INSTANCE, role: str = "gw"):
        """ports: the kind of gw-fastpath's ports; "xsk", "gso" or "auto". fastpath: more options of it."""
        self.lab, self.ports, self.fastpath_options = lab, ports, fastpath
        self.instance, self.role = instance, role
        self.suffix = "" if role == "gw" else f"-{role}"  # of what several in one lab must not share
        self.ns = lab.ns[role]
        self.etc, self.state = lab.private_dir(f"etc{self.suffix}"), lab.private_dir(f"state{self.suffix}")
        self.run_dir = lab.private_dir(f"run{self.suffix}" if self.suffix else "gw")
        self.run_dir.chmod(0o755)
        self.state.chmod(0o755)
        self.fastpath_socket = self.run_dir / "fastpath.sock"
        self.socket = self.run_dir / "gwd.sock"
        self.config = self.etc / "gateway.yaml"
        self.write_secrets(lab.sites)
        self.doc = doc
        self.write(doc)
        self.frr = Frr(lab, role, restart=True)
        # As the package's tmpfiles.d would: bgpd reads its configuration as user frr.
        self.bgpd_conf = self.state / "frr" / "bgpd.conf"
        self.bgpd_conf.parent.mkdir(mode=0o750)
        shutil.chown(self.bgpd_conf.parent, "root", "frr")

    # --- configuration --------------------------------------------------------------------------

    def write_secrets(self, sites: list[Site], **other: str):
        secrets = self.etc / "secrets"
        secrets.mkdir(mode=0o700, exist_ok=True)
        for site in sites:
            path = secrets / f"{site.name}.psk"
            path.touch(mode=0o600)
            path.write_text(other.get(site.name, psk(site)) + "\n")

    def write(self, doc: dict) -> Path:
        """Into the operator's file; applying it is another matter. `doc` stays the first one."""
        self.config.write_text(yaml.safe_dump(doc, sort_keys=False))
        return self.config

    # --- processes ------------------------------------------------------------------------------

    def start(self):
        self.start_fastpath()
        self.start_charon()
        self.start_gwd()
        self.start_frr()

    def fastpath_argv(self) -> list:
        state = self.lab.private_dir(f"fastpath-state{self.suffix}")
        return [BIN / "gw-fastpath", "--wan", "eth0", "--vnet", "eth1", "--wan-port", self.ports, "--vnet-port", self.ports,
                "--socket", self.fastpath_socket, "--bfd-port", BFD_PORT, "--state-dir", state, *self.fastpath_options]

    def start_fastpath(self):
        self.fastpath = self.lab.spawn(self.role, f"gw-fastpath{self.suffix}",
                                       ["python3", HERE / "keeper.py", *self.fastpath_argv()])
        poll(f"gw-fastpath answers on {self.fastpath_socket} (log: {self.fastpath.log})",
             lambda: self.fastpath_socket.exists() or not self.fastpath.alive, 15)
        if not self.fastpath.alive:
            raise LabError(f"gw-fastpath ended at start:\n{self.fastpath.tail()}")

    def start_charon(self):
        own = (TOP / "build/release/plugins").glob("libstrongswan-*.so")
        directory = self.lab.private_dir(f"plugins{self.suffix}")
        for file in [*PLUGINS.glob("*.so"), *own]:
            shutil.copy(file, directory)
        self.charon = Charon(self.lab, self.role, load=f"{CRYPTO} kernel-gw! gw-ha! kernel-netlink vici! counters",
                             plugins=f"kernel-gw {{ socket = {self.fastpath_socket}\n ike_socket = {self.run_dir / 'ike.sock'} }}\n"
                                     f"gw-ha {{ socket = {self.run_dir / 'ike-sync.sock'} }}", restart=True,
                             settings=CHARON_SETTINGS, plugin_dir=directory)

    def start_frr(self):
        """After gwd, which writes the complete bgpd.conf that bgpd needs at every start."""
        self.frr.start("zebra", "-M", "dplane_fpm_nl")  # its routes are compared with gwd's
        poll(f"gwd wrote {self.bgpd_conf}", self.bgpd_conf.exists, 5)
        # It configures the sessions and tells bgpd of them; gw-fastpath runs them.
        self.frr.start("bfdd", "--dplaneaddr", f"ipv4c:127.0.0.1:{BFD_PORT}")
        self.frr.start("bgpd", "-M", "bmp", conf=self.bgpd_conf, by=(START_BGPD, self.frr.dir))

    def start_gwd(self):
        self.gwd = self.lab.spawn(self.role, f"gwd{self.suffix}", [
            BIN / "gwd", "--config", self.config, "--instance", self.instance, "--state-dir", self.state,
            "--run-dir", self.run_dir, "--vici", self.charon.vici, "--fastpath", self.fastpath_socket,
            "--frr-dir", self.frr.dir, *self.gwd_options], restart=True)
        poll(f"gwd answers on {self.socket} (log: {self.gwd.log})", self.answers, 15)

    def fastpath_pid(self) -> int:
        """Of gw-fastpath itself, the keeper's child."""
        children = command(["pgrep", "-P", self.fastpath.pid, "-x", "gw-fastpath"], check=False).split()
        return int(children[0]) if children else 0

    def kill_fastpath(self):
        """kill -9 of gw-fastpath; the keeper, systemd's stand-in, stays."""
        os.kill(self.fastpath_pid(), signal.SIGKILL)

    def upgrade_fastpath(self, *options, check=True) -> str:
        """As `systemctl reload gw-fastpath` does it: another process in the place of the one that runs."""
        return self.ns.run(*self.fastpath_argv(), *options, "--upgrade", check=check)

    def bgpd(self) -> Process:
        return self.frr.processes["bgpd"]

    # --- gwctl ----------------------------------------------------------------------------------

    def ctl(self, *argv, check=True, timeout: float = 20) -> str:
        return self.ns.run(GWCTL, "--socket", self.socket, *argv, check=check, timeout=timeout)

    def fails(self, *argv) -> str:
        """Runs a gwctl command that must fail; what it said."""
        try:
            out = self.ctl(*argv)
        except LabError as error:
            return str(error)
        raise AssertionError(f"gwctl {' '.join(map(str, argv))} should have failed and said: {out}")

    def json(self, *argv) -> dict:
        return json.loads(self.ctl("--json", *argv))

    def answers(self) -> bool:
        try:
            self.json("show", "tunnels")
            return True
        except LabError:
            return False

    def tunnel(self, site: Site) -> dict:
        """Its row of `show tunnels`; empty while gwd is away or has no such tunnel."""
        try:
            rows = self.json("show", "tunnels").get("tunnels", [])
        except LabError:
            return {}
        return next((row for row in rows if row["name"] == tunnel_name(site, self.instance)), {})

    def tunnel_up(self, site: Site) -> bool:
        return self.tunnel(site).get("state") == "up"

    def bgp_established(self, site: Site) -> bool:
        return self.tunnel(site).get("bgp_state") == "Established"

    def learned(self, site: Site) -> set[str]:
        return self._networks("learned", site)

    def advertised(self, site: Site) -> set[str]:
        return self._networks("advertised", site)

    def _networks(self, direction: str, site: Site) -> set[str]:
        try:
            rows = self.json("show", "bgp", direction, site.inner_site).get("routes", [])
        except LabError:
            return set()  # bgpd or gwd is away
        return {row["network"] for row in rows}

    def heard_from(self, site: Site) -> dict[str, str]:
        """What gwd has heard from the site, prefix by prefix, and its place: "best", "refused"."""
        return {route["prefix"]: c["place"] for route in self.json("show", "routes")["routes"]
                for c in route["candidates"] if c["source"].startswith(f"{site.name}-")}

    def sas(self, site: Site) -> list[dict]:
        return [row for row in self.json("show", "sas").get("sas", []) if row["tunnel"] == tunnel_name(site, self.instance)]

    def drops(self) -> dict[str, int]:
        try:
            rows = self.json("show", "counters").get("drops", [])
        except LabError:
            return {}  # gwd or gw-fastpath is away
        return {row["reason"]: int(row["packets"]) for row in rows if int(row["packets"])}

    def zebra(self) -> dict:
        """The comparison of FRR's routes with gwd's: a row of `gwctl status`; its `problem` is the alarm."""
        return next(c for c in self.json("status")["components"] if c["name"] == "zebra")

    def routes_as_in_frr(self) -> bool:
        zebra = self.zebra()
        return zebra.get("connected", False) and not zebra.get("problem")

    def wait_routes_as_in_frr(self, seconds: float = 20):
        poll(f"FRR's routes are gwd's (now: {self.zebra()})", self.routes_as_in_frr, seconds, 0.1)

    def metrics(self) -> str:
        return self.ns.run("curl", "-sf", f"http://{METRICS}/metrics")

    def dump(self, path: Path):
        """For whoever reads the logs of a failed test: what the gateway says of itself."""
        with open(path, "w") as out:
            for words in (("tunnels",), ("sas",), ("bgp",), ("routes",), ("counters",)):
                try:
                    out.write(f"$ gwctl show {' '.join(words)}\n{self.ctl('show', *words, check=False, timeout=5)}\n")
                except LabError as error:
                    out.write(f"{error}\n")
            for words in (("ip", "-br", "addr"), ("ip", "route"), ("ip", "-6", "route"), ("ip", "-s", "link")):
                out.write(f"$ {' '.join(words)}\n{self.ns.run(*words, check=False)}\n")

    def write_lab_exec(self, path: Path = Path("/run/gw/lab-exec")):
        """What `./dev lab CMD` runs CMD through: inside the gateway's namespace, gwctl in the PATH."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"""#!/bin/bash
export PATH={BIN}:$PATH GWD_SOCKET={self.socket}
cd {TOP} && exec ip netns exec {self.ns.name} "$@"
""")
        path.chmod(0o755)
        self.lab.on_close(lambda: path.unlink(missing_ok=True))


def require_programs():
    """A clear sentence instead of a failing lab when the build is not there."""
    missing = [str(p.relative_to(TOP)) for p in (BIN / "gwd", GWCTL, BIN / "gw-fastpath", BIN / "gw-probe")
               if not os.access(p, os.X_OK)]
    if missing:
        raise LabError(f"not built: {', '.join(missing)}; run ./dev build")
