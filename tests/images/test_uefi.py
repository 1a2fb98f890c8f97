"""The image starts by UEFI, from a seed of systemd credentials, on a machine that has its chipset's watchdog alone; it is updated,
and a version that hangs is taken back.

Emulated (TCG): five starts, so only in ./dev test --full.
"""

from __future__ import annotations

import base64

import pytest
from appliance import GOOD_SEED, SITE, made_image
from lab import poll
from updatable import START, Updatable, make_bundles
from virtual_machine import key_pair

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


def credentials(folder, public_key: str) -> tuple:
    """The seed of the other tests: short ones and one in base64 by SMBIOS, files by fw_cfg."""
    def by_fw_cfg(name: str, text: str) -> list[str]:
        file = folder / name
        file.write_text(text)
        return ["-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={file}"]
    encoded = base64.b64encode(public_key.encode()).decode()
    return ("-smbios", "type=11,value=io.systemd.credential:gw.hostname=gw-uefi",
            "-smbios", f"type=11,value=io.systemd.credential.binary:gw.authorized_keys={encoded}",
            *by_fw_cfg("gw.gateway.yaml", GOOD_SEED["gw/gateway.yaml"]),
            *by_fw_cfg("gw.secrets.site1.psk", GOOD_SEED["gw/secrets/site1.psk"]),
            *by_fw_cfg("gw.network.wan", GOOD_SEED["gw/network/wan.network"]),
            *by_fw_cfg("gw.network.vnet", GOOD_SEED["gw/network/vnet.network"]))


@pytest.fixture(scope="module")
def appliance(tmp_path_factory):
    work = tmp_path_factory.mktemp("uefi")
    key = key_pair(work)
    made = Updatable(made_image(), {}, "test_uefi", uefi=True, watchdog=False, more_disks=(make_bundles(work),),
                     more=credentials(work, key.with_suffix(".pub").read_text()))
    made.ssh.key = key
    try:
        made.begin()
        yield made
    finally:
        made.close()


def test_it_starts_by_uefi_and_takes_its_credentials(appliance):
    assert appliance.ssh.run("ls -d /sys/firmware/efi").strip() == "/sys/firmware/efi"
    assert appliance.ssh.run("hostname").strip() == "gw-uefi"
    assert appliance.ssh.run("ls /var/lib/gw-seed").split() == ["done"]
    assert appliance.ssh.run("stat -c '%U %a' /etc/gw/secrets/site1.psk").strip() == "root 600"
    assert appliance.ssh.run("cat /sys/class/watchdog/watchdog0/identity").strip() == "iTCO_wdt"
    assert appliance.ssh.run("systemctl --failed --no-legend --plain").strip() == ""
    for family in (4, 6):
        poll(f"the site's host answers, IPv{family}", lambda family=family: appliance.probes.reachable(SITE, family), 60, 1)


def test_no_daemon_may_say_which_slot_starts(appliance):
    """RAUC's own D-Bus policy lets everybody."""
    for user in ("gw", "gw-ike", "frr"):
        for words in ("mark-bad booted", "mark-active other"):
            said = appliance.ssh.run(f"runuser -u {user} -- rauc status {words} 2>&1; echo status $?", check=False)
            assert "status 0" not in said and "Rejected send message" in said, said
    assert "rootfs.0" in appliance.ssh.run("runuser -u gw -G gw-admin -- rauc status --output-format=json"), "operators may look"
    poll("slot A is good", lambda: appliance.is_good("A"), 60, 2)


def test_an_update_is_found_good(appliance):
    poll("slot A is good", lambda: appliance.is_good("A"), 60, 2)
    appliance.install("--reboot")
    appliance.restarted()
    assert appliance.slot() == "B"
    last = poll("the gate has decided", appliance.verdict, START, 3)
    assert last["result"] == "good", last
    assert appliance.ssh.run("hostname").strip() == "gw-uefi"


def test_a_version_that_hangs_is_taken_back(appliance):
    """q35's own watchdog, which systemd feeds where there is no other."""
    appliance.hang_in_slot("A")
    appliance.install("--reboot")
    appliance.machine.wait_ended(180)
    appliance.machine.start(START, until="hanging now")
    appliance.restarted()
    assert appliance.slot() == "B"
    last = poll("the slot of before has settled it", appliance.verdict, 120, 3)
    assert last["result"] == "taken back" and "slot A did not come up" in last["reason"], last
    appliance.wait_up()


def test_a_lost_grubenv_does_not_start_the_wrong_slot(appliance):
    """What a power cut in the moment of a change leaves of it. Slot A hangs, and is the first: by default, and for the spare."""
    appliance.ssh.run(": >/boot/efi/grub/grubenv && sync")
    appliance.ssh.run("systemctl reboot", check=False)
    appliance.restarted()
    assert appliance.slot() == "B"
    poll("it is its spare again", lambda: {"A_OK=0", "B_OK=1"} <= set(
        appliance.ssh.run("grub-editenv /boot/efi/grub/grubenv list", check=False).split()), 120, 2)
    poll("slot B is good", lambda: appliance.is_good("B"), 120, 2)
