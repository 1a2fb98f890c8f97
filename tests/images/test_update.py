"""An appliance is updated: good, bad, hanging and damaged versions; bundles that nobody should install. From slot to slot on
one machine, each test where the one before left it.

Emulated (TCG): ten starts of the machine, 15 to 25 minutes, so only in ./dev test --full. All updates are the image that
runs, so what makes a slot bad stands in /etc (which both slots share), behind a condition on the slot.
"""

from __future__ import annotations

import pytest
from appliance import GOOD_SEED, SITE, made_image
from lab import poll
from updatable import BUNDLES, START, Updatable, make_bundles

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

@pytest.fixture(scope="module")
def appliance(tmp_path_factory):
    made = Updatable(made_image(), GOOD_SEED, "test_update", more_disks=(make_bundles(tmp_path_factory.mktemp("bundles")),))
    try:
        made.begin()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(("name", "reason"), [
    ("stranger", "not signed by an authority that this appliance trusts"),
    ("unsigned", "it is not signed"),
    ("short", "not a whole update bundle"),
    ("toaster", "the bundle is for 'toaster', this machine is 'gw-appliance'"),
    ("older-state", "no copy of format 1 is kept here"),
    ("nothing", "there is no such file"),
])
def test_a_bad_bundle_is_refused_with_its_reason(appliance, name, reason):
    said = appliance.ssh.run(f"gwctl upgrade install {BUNDLES}/{name}.raucb --reboot 2>&1; echo status $?", check=False)
    assert reason in said and "status 0" not in said, said
    assert appliance.ssh.run("ls /var/lib/gw-update/before.json 2>/dev/null", check=False) == ""


def test_an_update_is_found_good_and_keeps_what_there_was(appliance):
    assert appliance.slot() == "A"
    poll("slot A is good", lambda: appliance.is_good("A"), 60, 2)
    key = appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
    document = appliance.ssh.run("gwctl show config")
    appliance.install("--reboot")
    appliance.restarted()
    assert appliance.slot() == "B"
    last = poll("the gate has decided", appliance.verdict, START, 3)
    assert last["result"] == "good" and last["slot"] == "B", last
    assert appliance.tunnel()["bgp_state"] == "Established"
    assert appliance.ssh.run("cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    assert appliance.ssh.run("gwctl show config") == document
    assert appliance.status()["next"] == "B"
    assert appliance.ssh.run("systemctl --failed --no-legend --plain").strip() == ""


def test_back_to_the_version_of_before(appliance):
    appliance.ssh.run("gwctl upgrade rollback --reboot", check=False)
    appliance.restarted()
    assert appliance.slot() == "A"
    last = poll("the gate has decided", lambda: appliance.verdict() if appliance.verdict().get("slot") == "A" else {}, START, 3)
    assert last["result"] == "good", last


def test_a_version_whose_tunnels_do_not_come_up_goes_back_by_itself(appliance):
    appliance.only_in_slot("B", "/etc/systemd/system/gw-charon.service.d/test.conf", "[Unit]\nConditionKernelCommandLine=!gw.slot=SLOT")
    appliance.install("--reboot", "--wait", "40s")
    appliance.machine.wait_ended(180)
    appliance.machine.start(START, until="taken back: not up again")
    appliance.restarted()
    assert appliance.slot() == "A"
    last = poll("the slot of before has settled it", appliance.verdict, 120, 3)
    assert last["result"] == "taken back" and "charon" in last["reason"] and SITE.name in last["reason"], last
    assert [s["good"] for s in appliance.status()["slots"] if s["slot"] == "B"] == [False]
    appliance.wait_up()


def test_a_version_that_hangs_is_ended_by_the_watchdog(appliance):
    assert "i6300ESB" in appliance.ssh.run("cat /sys/class/watchdog/watchdog0/identity")
    appliance.ssh.run("rm /etc/systemd/system/gw-charon.service.d/test.conf")
    appliance.hang_in_slot("B")
    appliance.install("--reboot")
    appliance.machine.wait_ended(180)
    appliance.machine.start(START, until="hanging now")
    appliance.restarted()
    assert appliance.slot() == "A"
    last = poll("the slot of before has settled it", appliance.verdict, 120, 3)
    assert last["result"] == "taken back" and "slot B did not come up" in last["reason"], last
    appliance.ssh.run("systemctl disable test-hang.service; rm /etc/systemd/system/test-hang.service")
    appliance.wait_up()


def test_a_damaged_root_is_not_run(appliance):
    """dm-verity ends it, whichever block is read first; before the machine is up nobody can tell it from a hang."""
    appliance.install()
    assert appliance.status()["waiting"]["to_slot"] == "B"
    appliance.ssh.run("dd if=/dev/urandom of=/dev/disk/by-partlabel/root-b bs=1M seek=2 count=90 conv=fsync 2>/dev/null", timeout=200)
    appliance.ssh.run("systemctl reboot", check=False)
    appliance.machine.wait_ended(180)
    appliance.machine.start(START, until="slot B")
    appliance.restarted(START)
    assert appliance.slot() == "A"
    last = poll("the slot of before has settled it", appliance.verdict, 120, 3)
    assert "slot B did not come up" in last["reason"], last
    appliance.wait_up()


def test_a_damaged_kernel_is_not_started(appliance):
    """The boot loader checks it, and takes the other slot at once."""
    appliance.ssh.run("dd if=/dev/urandom of=/dev/disk/by-partlabel/boot-b bs=1M seek=2 count=6 conv=fsync 2>/dev/null && rauc status mark-active other")
    appliance.ssh.run("systemctl reboot", check=False)
    appliance.machine.wait_ended(180)
    appliance.machine.start(START, until="slot B does not start")
    appliance.machine.expect("login: ", START)
    poll("ssh with the seed's key", appliance.logs_in, 120, 2)
    assert appliance.slot() == "A"
