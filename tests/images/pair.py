"""Two appliances as one gateway: the lab of tests/system/ha_lab.py, with the image in qemu in the place of each instance.

Beside the networks of its drawing there is `mgmt`, 192.0.2.0/24: both machines' management ports, and the operator's
machine, which has ssh and gwctl. Ports of a machine: eth0 management, eth1 wan, eth2 VNet, eth3 and eth4 sync.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml
from appliance import IMAGE
from coexistence import VNET_HOST
from coexistence_peers import TunnelEnd, VnetRouter
from gateway import GWCTL
from ha import ha_document, router_of
from ha_lab import DUAL, INSTANCES, SINGLE, WAN_ROUTER, HaInstance, HaLab
from lab import BIN, LabError, Namespace, Site, command, poll
from peers import psk
from probes import Load
from virtual_machine import Ssh, VirtualMachine, key_pair, seed_iso

# Emulated machines stand still for longer than the product's 150 ms now and then: of BFD and the heartbeat between them.
BFD_MS = 1000
SITES = (DUAL, SINGLE)
OPERATOR = "192.0.2.1"
BOOT = 420  # s, for two machines at once beside other work: 60 to 120 when there is none


def management(at: HaInstance) -> str:
    return f"192.0.2.{11 + at.index}"


class PairLab(HaLab):
    def _build_networks(self):
        super()._build_networks()
        self.ns["operator"] = Namespace(self.prefix, "operator")
        self.ns["switch"].ip("link add mgmt type bridge", "link set mgmt up")
        self.plug("operator", "eth0", "mgmt", f"{OPERATOR}/24")

    def _build_instance(self, instance: HaInstance):
        super()._build_instance(instance)
        self.plug(instance.name, "eth5", "mgmt")


def document() -> str:
    doc = ha_document(SITES, BFD_MS)
    for instance in doc["gateway"]["instances"]:
        instance["wan"]["interface"], instance["vnet"]["interface"] = "eth1", "eth2"
    return yaml.safe_dump(doc, sort_keys=False)


def network(port: str, address: str, router: str = "") -> str:
    return f"[Match]\nName={port}\n[Network]\nAddress={address}/24\nIPv6AcceptRA=no\n" + (f"Gateway={router}\n" if router else "")


class PairedAppliance:
    def __init__(self, lab: PairLab, at: HaInstance, seed: dict[str, str], key: Path):
        self.lab, self.at = lab, at
        self.disk = IMAGE.with_name(f"{lab.name}-{at.name}.raw")
        lab.on_close(lambda: self.disk.unlink(missing_ok=True))
        command(["cp", "--sparse=always", IMAGE, self.disk], timeout=120)
        folder = lab.private_dir(f"seed-{at.name}")
        self.machine = VirtualMachine(lab, at.name, self.disk, seed=seed_iso(folder, seed), management="eth5",
                                      ports=("eth0", "eth1", "eth3", "eth4"), number=at.index + 1, restarts=True)
        self.ssh = Ssh(lab, "operator", key, host=management(at))

    def ctl(self, words: str, timeout: float = 60) -> str:
        return self.ssh.run(f"gwctl {words}", timeout=timeout)

    def json(self, words: str) -> dict:
        """Empty while the machine does not answer."""
        try:
            return json.loads(self.ssh.run(f"gwctl --json {words}", timeout=30))
        except (LabError, ValueError):
            return {}

    def owned(self) -> set[str]:
        return {e["address"] for e in self.json("ha show").get("endpoints", []) if e.get("owner") == self.at.name}

    def slot(self) -> str:
        return self.ssh.run("sed -n 's/.*rauc.slot=\\([AB]\\).*/\\1/p' /proc/cmdline").strip()

    def troubles(self) -> list[str]:
        """What keeps this instance and its view of the other one from being well."""
        ha = self.json("ha show")
        if not ha:
            return ["does not answer"]
        found = [f"alarm {a['kind']}: {a.get('text', '')}" for a in ha.get("alarms", [])] + ([ha["unfit"]] if ha.get("unfit") else [])
        found += [f"{p['instance']}: not the whole state of each other" for p in ha["peers"]
                  if not (p.get("has_all_of_ours") and p.get("we_have_all_of_its"))]
        found += [f"{e['address']} is {e.get('owner') or 'nobody'}'s" for e in ha["endpoints"] if e.get("owner") != e["home"]]
        wanted = {(s.name, i.name) for s in SITES for i in s.tunnels_to if i == self.at}
        up = {site for site, _ in wanted for t in self.json("show tunnels").get("tunnels", [])
              if site in t["name"] and t.get("state") == "up" and t.get("bgp_state") == "Established"}
        return found + [f"tunnel of {site} is not up" for site, _ in sorted(wanted) if site not in up]

    def close(self):
        if self.machine.running:
            try:
                (self.lab.logs / f"journal-{self.at.name}.txt").write_text(self.ssh.run("journalctl --no-pager -o short-monotonic", timeout=120))
            except LabError as error:
                (self.lab.logs / f"journal-{self.at.name}.txt").write_text(str(error))
        self.machine.close()


class Pair:
    """start(), then well: both machines from one image, two sites, the VNet's router."""

    def __init__(self, name: str):
        self.lab = PairLab(name, SITES)
        self.work = Path(tempfile.mkdtemp(prefix="gw-pair-"))
        self.key = key_pair(self.work)
        certificates = self.lab.private_dir("certificates")
        command([GWCTL, "ha", "init", "--gateway", "hub-lab", "--dir", certificates, *(i.name for i in INSTANCES)])
        self.machines = {i.name: PairedAppliance(self.lab, i, self.seed(i, certificates), self.key) for i in INSTANCES}

    def seed(self, at: HaInstance, certificates: Path) -> dict[str, str]:
        return {
            "meta-data": f"local-hostname: {at.name}\n",
            "gw/authorized_keys": self.key.with_suffix(".pub").read_text(),
            "gw/gateway.yaml": document(),
            "gw/instance": at.name + "\n",
            **{f"gw/secrets/{s.name}.psk": psk(s) + "\n" for s in SITES},
            **{f"gw/ha/{name}": (certificates / name).read_text() for name in ("ca.crt", f"{at.name}.crt", f"{at.name}.key")},
            "gw/network/mgmt.network": network("eth0", management(at)),
            "gw/network/wan.network": network("eth1", at.own_wan4, WAN_ROUTER),
            "gw/network/vnet.network": network("eth2", at.vnet4),
            **{f"gw/network/sync{n}.network": network(f"eth{3 + n}", address) for n, address in enumerate(at.sync)},
        }

    def of(self, at: HaInstance) -> PairedAppliance:
        return self.machines[at.name]

    def start(self):
        for machine in self.machines.values():
            machine.machine.start(until="")
        self.vnet = VnetRouter(self.lab, BFD_MS)
        self.ends, self.routers = {}, {}
        for site in SITES:
            single = len(site.tunnels_to) == 1
            for instance in site.tunnels_to:
                self.ends[site.name, instance.name] = TunnelEnd(self.lab, site, instance, initiate=single, persistent=single)
            self.routers[site.name] = router_of(self.lab, site, BFD_MS)
        for role, address in (("host", VNET_HOST), *((f"host{s.index}", s.host4) for s in SITES)):
            self.lab.spawn(role, f"echo-{role}", [BIN / "gw-probe", "echo", "--at", address, 4242])
        for machine in self.machines.values():
            machine.machine.expect("login: ", BOOT)
        self.wait_well(300)

    def wait_well(self, timeout: float):
        """Both have their endpoints, tunnels and sessions, and each other's state; packets pass."""
        for machine in self.machines.values():
            found: list[str] = []

            def well(machine=machine, found=found):
                found[:] = machine.troubles()
                return not found
            try:
                poll("well", well, timeout, 3)
            except LabError:
                raise AssertionError(f"{machine.at.name} is not well after {timeout:g} s: {found}") from None
        for site in SITES:
            poll(f"{site.name}'s host answers", lambda s=site: self.pings(s), 60, 1)

    def pings(self, site: Site) -> bool:
        try:
            self.lab.ns["host"].run("ping", "-c", "1", "-W", "1", site.host4)
            return True
        except LabError:
            return False

    def load(self, *sites: Site, rate: int = 20) -> Load:
        flows = [flow for s in sites for flow in (("host", s.host4, f"host->{s.name}"), (f"host{s.index}", VNET_HOST, f"{s.name}->host"))]
        return Load(self.lab, flows, rate)

    def negotiated(self, site: Site, at: HaInstance) -> str:
        """The IKE SA as the site knows it: another text if it was negotiated anew."""
        lines = self.ends[site.name, at.name].charon.swanctl("--list-sas").splitlines()
        return next((line for line in lines if line.startswith("gw:")), "none")

    def operator(self, *argv, timeout: float) -> str:
        """On the operator's machine, whose ssh knows the key: what a command said, also when it failed."""
        tools = self.lab.private_dir("operators-tools")
        ssh = tools / "ssh"
        words = " ".join(f"'{w}'" for w in Ssh(self.lab, "operator", self.key).argv())
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/{words} "$@"\n')
        ssh.chmod(0o755)
        done = subprocess.run(self.lab.ns["operator"].exec_argv([GWCTL, *argv]), env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
        (self.lab.logs / "operator.log").write_text(done.stdout)
        return done.stdout + f"status {done.returncode}\n"

    def close(self):
        for machine in self.machines.values():
            machine.close()
        self.lab.close()
