"""`apt install ./gw*.deb` on a plain Debian 13 gives a working gateway: installed, configured, upgraded, removed, purged.

The tests are one story, in order: what the operator of one machine does. The site is strongSwan and BIRD, as in the system
tests; the gateway is the container, with nothing but what the packages put there.
"""

from __future__ import annotations

import json
import re
import time

import pytest
import yaml
from container import Container
from debian import dependencies_of, packages, plain_root
from gateway import document
from lab import LabError, Lab, Site, poll
from peers import Bird, StrongSwanSite, psk
from probes import Probes

pytestmark = pytest.mark.long

SITE = Site(1)
SERVICES = {  # unit: user and capabilities, as ADR 18 says
    "gwd": ("gw", {"cap_net_admin", "cap_net_raw", "cap_dac_read_search"}),
    "gw-fastpath": ("gw-fastpath", {"cap_net_admin", "cap_net_raw", "cap_net_bind_service", "cap_bpf", "cap_perfmon", "cap_sys_nice"}),
    "gw-charon": ("gw-ike", {"cap_net_admin"}),
    "gw-zebra": ("frr", {"cap_net_admin", "cap_net_raw", "cap_sys_admin"}),
    "gw-bgpd": ("frr", {"cap_net_admin", "cap_net_raw", "cap_net_bind_service", "cap_sys_admin"}),
    "gw-bfdd": ("frr", {"cap_net_raw", "cap_net_bind_service", "cap_sys_admin"}),
}
CAPABILITIES = {1: "cap_dac_override", 2: "cap_dac_read_search", 10: "cap_net_bind_service", 12: "cap_net_admin", 13: "cap_net_raw",
                14: "cap_ipc_lock", 21: "cap_sys_admin", 23: "cap_sys_nice", 38: "cap_perfmon", 39: "cap_bpf"}
# `systemd-analyze security` (0: nothing is possible, 10: all is), at most: what the unit has to have and why is ADR 18's.
EXPOSURE = {"gwd": 2.5, "gw-fastpath": 3.1, "gw-charon": 2.0, "gw-zebra": 3.4, "gw-bgpd": 3.3, "gw-bfdd": 3.1}
TAKEN_OVER = "has taken over; packets waited"  # what a gw-fastpath says when it is in another's place


class Machine:
    def __init__(self):
        self.lab = Lab("test_packages", [SITE])
        self.container = Container(self.lab, "gw", plain_root())
        self.files = packages()
        dependencies_of(self.container, self.files)
        self.newer = packages("999.0")
        self.container.boot()
        self.container.wait_booted()
        self.site = StrongSwanSite(self.lab, SITE)
        self.router = Bird(self.lab, SITE)
        self.probes = Probes(self.lab, [SITE])

    def apt(self, *argv) -> str:
        return self.container.run("apt-get", "-q", "-y", "--no-install-recommends", *argv, timeout=240)

    def ctl(self, *argv, check=True) -> str:
        return self.container.run("gwctl", *argv, check=check)

    def tunnel(self) -> dict:
        try:
            rows = json.loads(self.ctl("--json", "show", "tunnels")).get("tunnels", [])
        except LabError:
            return {}
        return rows[0] if rows else {}

    def wait_up(self, timeout: float = 45):
        poll("the tunnel is up", lambda: self.tunnel().get("state") == "up", timeout, 0.3)
        poll("BGP is established", lambda: self.tunnel().get("bgp_state") == "Established", timeout, 0.3)
        for family in (4, 6):
            poll(f"the site's host answers, IPv{family}", lambda family=family: self.probes.reachable(SITE, family), timeout, 0.5)

    def wait_keepalives(self):
        """A session that a hang has cost some keepalives is still up, and may end: its next one comes by TCP's patience."""
        def left() -> float:
            found = re.search(r"Hold timer:\s+([\d.]+)/([\d.]+)", self.router.birdc("show", "protocols", "all", "gw"))
            return float(found[1]) / float(found[2]) if found else 0
        poll("BGP's keepalives pass again", lambda: left() > 0.85, 45, 0.3)

    def journal(self, unit: str) -> str:
        return self.container.run("journalctl", "-b", "--no-pager", "-u", unit)

    def pid(self, unit: str) -> int:
        return int(self.container.show(unit, "MainPID"))


@pytest.fixture(scope="module")
def machine():
    made = Machine()
    try:
        yield made
    finally:
        made.container.close()  # while its journal can be read
        made.lab.close()


def capabilities(status: str, which: str) -> set[str]:
    word = next(line.split()[1] for line in status.splitlines() if line.startswith(which))
    bits = int(word, 16)
    return {CAPABILITIES.get(bit, f"bit {bit}") for bit in range(64) if bits >> bit & 1}


def test_install_starts_what_needs_no_document(machine):
    machine.apt("install", *(f"/var/cache/packages/{file.name}" for file in machine.files))
    machine.container.wait_active("gw.target", "gwd", "gw-charon", "gw-zebra", "gw-bfdd")
    assert machine.container.run("systemctl", "is-enabled", "gw.target").strip() == "enabled"
    for stock in ("frr", "strongswan"):
        assert not machine.container.active(stock), f"{stock} would take the gateway's place"
    assert not machine.container.active("gw-fastpath"), "no document has named its ports"
    assert "no configuration" in machine.ctl("status", check=False).lower() or machine.ctl("status", check=False)


def test_a_document_makes_it_a_gateway(machine):
    machine.container.write("/etc/gw/secrets/site1.psk", psk(SITE) + "\n", 0o600)
    machine.container.write("/etc/gw/gateway.yaml", yaml.safe_dump(document([SITE]), sort_keys=False), 0o640)
    machine.ctl("apply", "-f", "/etc/gw/gateway.yaml")
    machine.container.wait_active(*SERVICES)
    machine.wait_up()


def test_each_process_has_its_own_user_and_only_the_capabilities_it_needs(machine):
    for unit, (user, wanted) in SERVICES.items():
        status = machine.container.run("cat", f"/proc/{machine.pid(unit)}/status")
        owner = machine.container.run("ps", "-o", "user:20=", "-p", str(machine.pid(unit))).strip()
        assert owner == user, unit
        assert capabilities(status, "CapBnd") == wanted, unit
        assert capabilities(status, "CapEff") <= wanted, unit
        assert "NoNewPrivs:\t1" in status, unit


@pytest.mark.parametrize("unit", SERVICES)
def test_a_unit_is_confined(machine, unit):
    said = machine.container.run("systemd-analyze", "security", "--no-pager", f"{unit}.service")
    assert float(re.search(r"Overall exposure level for .*?: ([\d.]+)", said)[1]) <= EXPOSURE[unit], said


def test_sockets_are_for_the_services_and_the_operators_group(machine):
    listing = machine.container.run("stat", "-c", "%n %U:%G %a", "/run/gw", *(
        f"/run/gw/{name}" for name in ("gwd.sock", "fastpath.sock", "ike.sock", "ike-sync.sock", "charon.vici", "fastpath")), check=False)
    modes = dict(line.split(" ", 1) for line in listing.splitlines())
    assert modes["/run/gw"] == "root:gw 3771"
    assert modes["/run/gw/gwd.sock"] == "gw:gw-admin 660"
    assert modes["/run/gw/fastpath.sock"] == "gw-fastpath:gw 660"
    assert modes["/run/gw/charon.vici"] == "gw-ike:gw 770"
    assert modes["/run/gw/fastpath"].endswith(" 700") or modes["/run/gw/fastpath"].endswith(" 2700")
    machine.container.run("useradd", "-G", "gw-admin", "alice")
    machine.container.run("useradd", "mallory")
    machine.container.run("runuser", "-u", "alice", "--", "gwctl", "show", "tunnels")
    with pytest.raises(LabError):
        machine.container.run("runuser", "-u", "mallory", "--", "gwctl", "show", "tunnels")


def test_state_that_another_user_wrote_is_taken_over(machine):
    """Of an image whose users have other numbers, or put back from a backup."""
    machine.container.run("systemctl", "stop", "gwd")
    machine.container.run("chown", "-R", "4242:4242", "/var/lib/gw")
    machine.container.run("systemctl", "start", "gwd")
    machine.container.wait_active("gwd")
    machine.wait_up()
    assert machine.container.run("stat", "-c", "%U %a", "/var/lib/gw/gwd.db").strip() == "gw 600"
    assert machine.container.run("stat", "-c", "%U:%G", "/var/lib/gw/frr", "/var/lib/gw/frr/bgpd.conf").split() == ["gw:frr", "gw:frr"]


@pytest.mark.parametrize("unit", ["gwd", "gw-fastpath"])
def test_a_process_that_hangs_is_started_anew(machine, unit):
    before = machine.pid(unit)
    machine.container.run("kill", "-STOP", str(before))
    poll(f"{unit} was started anew", lambda: machine.pid(unit) not in (0, before), 40, 0.5)
    assert "watchdog" in machine.journal(unit).lower(), "it ended for another reason"
    machine.container.wait_active(unit)
    machine.wait_up()
    machine.wait_keepalives()


def test_a_reload_of_the_packet_path_loses_nothing(machine):
    """docs/ha.md, "A new gw-fastpath in the place of the old one": twice, as the second one's parent is not systemd either."""
    for _ in range(2):
        before = machine.pid("gw-fastpath")
        with machine.probes.load(SITE, rate=300) as load:
            time.sleep(0.5)
            machine.container.run("systemctl", "reload", "gw-fastpath")
            time.sleep(1)
        load.assert_no_loss()
        after = machine.pid("gw-fastpath")
        assert after not in (0, before) and machine.container.active("gw-fastpath")
        status = machine.container.run("cat", f"/proc/{after}/status")
        assert capabilities(status, "CapBnd") == SERVICES["gw-fastpath"][1]
        assert f"process {after}, {TAKEN_OVER}" in machine.journal("gw-fastpath")
    options = machine.container.run("cat", "/etc/default/gw-fastpath")
    machine.container.write("/etc/default/gw-fastpath", 'GW_FASTPATH_OPTIONS="--max-sas 8192"\n')
    with pytest.raises(LabError):
        machine.container.run("systemctl", "reload", "gw-fastpath")
    assert "--max-sas is 4096 here and 8192 there" in machine.journal("gw-fastpath")
    assert machine.pid("gw-fastpath") == after
    machine.container.write("/etc/default/gw-fastpath", options)
    time.sleep(20)  # longer than the watchdog waits: whoever feeds it is the one that systemd looks at
    assert machine.pid("gw-fastpath") == after
    machine.container.run("kill", "-KILL", str(after))
    poll("systemd starts it anew", lambda: machine.pid("gw-fastpath") not in (0, after), 20, 0.2)
    machine.wait_up()


def test_a_reinstallation_keeps_what_the_operator_wrote(machine):
    machine.container.write("/etc/default/gw", 'GWD_OPTIONS="--instance gw-a"\n')
    machine.apt("install", "--reinstall", *(f"/var/cache/packages/{file.name}" for file in machine.files))
    assert "--instance gw-a" in machine.container.run("cat", "/etc/default/gw")
    machine.container.wait_active(*SERVICES)
    machine.wait_up()


def test_an_upgrade_brings_the_tunnel_back_by_itself(machine):
    machine.container.copy_in(*machine.newer)
    session = machine.router.lasting_session()
    in_place = machine.journal("gw-fastpath").count(TAKEN_OVER)
    machine.apt("install", *(f"/var/cache/packages/{file.name}" for file in machine.newer))
    assert machine.container.run("dpkg-query", "-W", "-f", "${Version}", "gw") == "999.0"
    machine.container.wait_active(*SERVICES)
    machine.wait_up()
    machine.router.assert_uninterrupted_since(session)
    assert machine.journal("gw-fastpath").count(TAKEN_OVER) == in_place + 1


def test_removal_takes_the_services_and_leaves_the_configuration(machine):
    machine.apt("remove", "gw", "gw-fastpath", "gw-charon", "gwctl")
    for unit in SERVICES:
        assert not machine.container.active(unit), unit
    assert "/etc/gw/gateway.yaml" in machine.container.run("ls", "-d", "/etc/gw/gateway.yaml")
    assert "gw-data" not in machine.container.run("ip", "-br", "link")
    assert " tun" not in machine.container.run("ip", "-o", "link", "show", "type", "tun")
    assert "gw_guard" not in machine.container.run("nft", "list", "tables")
    machine.container.run("systemctl", "start", "frr")
    assert machine.container.active("frr"), "the stock service works again"


def test_purge_leaves_nothing(machine):
    machine.apt("purge", "gw", "gw-fastpath", "gw-charon", "gwctl")
    left = machine.container.run("bash", "-c", "ls -d /etc/gw /var/lib/gw /etc/default/gw* /usr/lib/gw /run/charon.vici 2>/dev/null; "
                                 "find /etc/systemd /usr/lib/systemd -name 'gw*' -o -name '50-gw*'; dpkg -l 'gw*' | grep ^ii", check=False)
    assert left.strip() == ""
