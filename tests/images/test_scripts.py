"""The appliance's shell scripts, each alone and without a machine: the data partition, the seed of a first boot, the firewall,
grubenv.

They run as they are, with the real gwd, nft, overlayfs and grub-editenv, in namespaces of their own in which /etc, /run, /var/lib
and /dev are copies. What is not real: disks. There are no loop devices here, so their block devices have no driver, `mount` of one
is a folder, and e2fsck says what it did; test_boot.py has the disks.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from appliance import GOOD_SEED, SITE
from lab import BIN, TOP
from peers import psk
from virtual_machine import key_pair

APPLIANCE = TOP / "images/appliance"
SCRIPTS = APPLIANCE / "usr/lib/gw"

SANDBOX = r"""
set -e
mkdir /run/sandbox
mount -t tmpfs sandbox /run/sandbox
cd /run/sandbox
mkdir dev bin usr-lib usr-lib.work
for device in null zero random urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
cp -a /etc .
mkdir -p etc/gw etc/systemd/network dev/disk/by-label
sed -i '/^gw:/d' etc/group; echo gw:x:64990: >>etc/group
cp "$APPLIANCE/etc/nftables.conf" etc/
mount -t overlay overlay -o lowerdir=/usr/lib,upperdir=usr-lib,workdir=usr-lib.work /usr/lib
mkdir -p /usr/lib/gw
cp "$APPLIANCE"/usr/lib/gw/* "$APPLIANCE/etc/nftables.conf" /usr/lib/gw/
mount --bind etc /etc
mount --rbind dev /dev
mount -t tmpfs lib /var/lib
cat >bin/mount <<'SHIM'
#!/bin/sh
for last; do :; done
case "$*" in
*" $DISK "*) [ -d "$FOLDER" ] && exec /usr/bin/mount --bind "$FOLDER" "$last"; exit 32 ;;
esac
exec /usr/bin/mount "$@"
SHIM
cat >bin/e2fsck <<'SHIM'
#!/bin/sh
echo "e2fsck $*" >>/run/sandbox/said
[ "$1" != -p ] || exit "${PREEN:-0}"
SHIM
chmod 755 bin/mount bin/e2fsck
bash -ec "$BEFORE"
status=0
PATH=/run/sandbox/bin:$BIN:/usr/sbin:/usr/bin:/sbin:/bin $COMMAND || status=$?
bash -c "$AFTER" || true
exit $status
"""


# Of a number that is nobody's (120 to 127 are for experiments): it cannot be opened, whatever a script tries.
DRIVERLESS = "mkdir -p $(dirname {0}); mknod {0} b 120 0"


def sandbox(command: str, *, before: str = "true", after: str = "true", **environment) -> subprocess.CompletedProcess:
    """before and after: in the same namespaces, with the usual PATH; what `after` says is the end of stdout."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APPLIANCE": APPLIANCE, "BIN": BIN, "COMMAND": command, "BEFORE": before, "AFTER": after,
           "DISK": "none", "FOLDER": "", **environment}
    return subprocess.run(["unshare", "--mount", "--net", "--uts", "--propagation", "private", "bash", "-c", f"mount -t tmpfs run /run; {SANDBOX}"],
                          env={name: str(value) for name, value in env.items()}, capture_output=True, text=True, timeout=60, check=False)


# --- the data partition --------------------------------------------------------------------------------

DATA = "/dev/disk/by-partlabel/data"
MOUNTED = """echo ---
for tree in etc var; do findmnt -no FSTYPE /run/sandbox/root/$tree; ls /run/sandbox/root/$tree; done
cat /run/gw-no-data /run/sandbox/said /dev/console 2>/dev/null
"""


def start_of_root(cmdline: str = "gw.slot=a", before: str = "true", folder: str = "/run/sandbox/data", **environment) -> str:
    """The initrd's script, on a root with etc/of-the-image; what is mounted afterwards and what was said."""
    prepare = f"""{DRIVERLESS.format(DATA)}
        touch /dev/console /run/sandbox/said
        mkdir -p /run/sandbox/root/etc /run/sandbox/root/var /run/sandbox/data/etc/files
        touch /run/sandbox/root/etc/of-the-image /run/sandbox/data/etc/files/of-the-operator
        echo '{cmdline}' >/run/cmdline
        mount --bind /run/cmdline /proc/cmdline
        {before}"""
    script = APPLIANCE / "etc/initramfs-tools/scripts/local-bottom/gw-data"
    done = sandbox(f"sh {script}", before=prepare, after=MOUNTED, rootmnt="/run/sandbox/root", DISK=DATA, FOLDER=folder, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("---\n")[1]


def test_what_an_operator_changed_is_above_the_images():
    said = start_of_root().split()
    assert said.count("overlay") == 2 and "of-the-image" in said and "of-the-operator" in said
    assert "e2fsck -p" in " ".join(said) and "-y" not in said


def test_damage_that_preen_leaves_is_mended():
    said = start_of_root(PREEN="4")
    assert f"e2fsck -p {DATA}\ne2fsck -f -y {DATA}\n" in said and "of-the-operator" in said and "no configuration" not in said


@pytest.mark.parametrize(("why", "how"), [
    ("the data partition cannot be mounted", {"folder": "/nonexistent"}),
    ("the data partition is damaged: nothing can be put above", {"before": "touch /run/sandbox/data/var"}),
    ("rescue: started without the data partition", {"cmdline": "gw.slot=b gw.data=none"}),
])
def test_a_start_without_data_is_the_images_and_says_so(why, how):
    said = start_of_root(**how)
    assert said.split().count("overlay") == 2, "the machine has to be able to write"
    assert "of-the-image" in said and "of-the-operator" not in said
    assert said.count(why) == 2, "once for the gate, once on the console"
    assert ("e2fsck" in said) == ("rescue" not in why)


# --- the seed ------------------------------------------------------------------------------------------

LOOK = """echo ---
cat /var/lib/gw-seed/error 2>/dev/null | sed 's/^/error: /'
find /etc/gw /etc/gw-ssh /etc/systemd/network /etc/default/gw /var/lib/gw-seed/done -type f -printf '%p %m %u:%g\\n' 2>/dev/null | sort
hostname
"""
KEYS = "/etc/gw-ssh/authorized_keys 600 root:root"
DOCUMENT = "/etc/gw/gateway.yaml 640 root:gw"
DONE = "/var/lib/gw-seed/done"


class Seed:
    def __init__(self, folder: Path):
        self.folder = folder / "seed"
        self.write({"gw/authorized_keys": key_pair(folder).with_suffix(".pub").read_text(), **GOOD_SEED})

    def write(self, files: dict[str, str]):
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def take(self, *, label: str = "cidata", before: str = "true", **environment) -> str:
        """What it did: errors, files with their modes, the host's name."""
        disk = f"/dev/disk/by-label/{label}"
        done = sandbox("/usr/lib/gw/seed", before=f"{DRIVERLESS.format(disk)}; {before}", after=LOOK, DISK=disk, FOLDER=self.folder, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("---\n")[1]


@pytest.fixture
def seed(tmp_path):
    return Seed(tmp_path)


@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_a_seed_is_taken_whole(seed, label):
    seed.write({"gw/instance": "gw-a\n", "gw/ha/gw-a.key": "x"})
    said = seed.take(label=label)
    assert "error:" not in said
    for line in (KEYS, DOCUMENT, "/etc/gw/secrets/site1.psk 600 root:root", "/etc/gw/ha/gw-a.key 600 root:root",
                 "/etc/systemd/network/10-wan.network 644 root:root", "/etc/default/gw ", DONE):
        assert line in said, line
    assert said.splitlines()[-1] == "gw-a"


def test_a_seed_of_credentials_is_taken_whole(seed, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, text in (("gw.hostname", "hub-c"), ("gw.authorized_keys", (seed.folder / "gw/authorized_keys").read_text()),
                       ("gw.gateway.yaml", GOOD_SEED["gw/gateway.yaml"]), ("gw.secrets.site1.psk", psk(SITE)), ("gw.network.wan", "[Match]\n")):
        (credentials / name).write_text(text)
    done = sandbox("/usr/lib/gw/seed", after=LOOK, CREDENTIALS_DIRECTORY=credentials)
    said = done.stdout.split("---\n")[1]
    assert "error:" not in said
    for line in (KEYS, DOCUMENT, "/etc/gw/secrets/site1.psk 600 root:root", "/etc/systemd/network/10-wan.network", DONE):
        assert line in said, line
    assert said.splitlines()[-1] == "hub-c"


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("gw/gateway.yml", "gateway:\n", "gw/gateway.yml: nothing that a seed has"),
    ("gw/network/vlan.netdev", "[NetDev]\n", "gw/network/vlan.netdev: nothing that a seed has"),
    ("gw/secrets/old/site1.psk", "x", "gw/secrets/old: nothing that a seed has"),
    ("gw/gateway.yaml", "# long\n" * 700_000, "gw/gateway.yaml: has more than 4194304 bytes"),
    ("gw/gateway.yaml", GOOD_SEED["gw/gateway.yaml"].replace("encryption:", "encrpytion:"), "unknown key 'encrpytion'"),
    ("gw/instance", "gw-a\nGWD_OPTIONS=x\n", "gw/instance: not an instance's name"),
    ("meta-data", "local-hostname: a\nlocal-hostname: b/c\n", "local-hostname is no host name"),
], ids=["yml", "netdev", "folder", "huge", "unknown key", "instance", "hostname"])
def test_half_a_seed_is_refused_and_lets_the_operator_in(seed, name, text, reason):
    seed.write({name: text})
    said = seed.take()
    assert reason in said
    assert KEYS in said and "10-wan.network" in said, "nobody could mend it"
    assert DOCUMENT not in said and "/etc/gw/secrets" not in said and DONE not in said, "all of it or nothing"
    assert "/etc/default/gw 600" not in said and said.splitlines()[-1] != "b/c"


def test_a_seed_that_lets_nobody_in_is_refused(seed):
    (seed.folder / "gw/authorized_keys").unlink()
    said = seed.take()
    assert "gw/authorized_keys: there is none" in said and DOCUMENT not in said and DONE not in said
    # Once somebody can, another seed need not have them again.
    assert DONE in seed.take(before="mkdir /etc/gw-ssh; echo key >/etc/gw-ssh/authorized_keys")


def test_another_programs_disk_is_not_taken_for_a_seed(tmp_path):
    """cloud-init's: taken for good it would keep the right one out."""
    other = Seed(tmp_path)
    for file in (other.folder / "gw").rglob("*"):
        if file.is_file():
            file.unlink()
    other.write({"user-data": "#cloud-config\n"})
    assert DONE not in other.take()


def test_a_link_out_of_the_seed_is_not_followed(seed):
    (seed.folder / "gw/secrets/shadow").symlink_to("/etc/shadow")
    said = seed.take()
    assert "gw/secrets/shadow: nothing that a seed has" in said and "/etc/gw/secrets" not in said


def test_a_start_without_the_data_partition_takes_access_alone(seed):
    """The seed may be years old: its configuration is not the machine's."""
    said = seed.take(before="echo the data partition cannot be mounted >/run/gw-no-data")
    assert "error: the data partition cannot be mounted" in said
    assert KEYS in said and DOCUMENT not in said and DONE not in said


# --- the firewall --------------------------------------------------------------------------------------

def ruleset(said: str) -> dict[str, set[str]]:
    tables: dict[str, set[str]] = {}
    for entry in json.loads(said[said.index("{"):])["nftables"]:
        if "table" in entry:
            tables.setdefault(entry["table"]["name"], set())
        if "chain" in entry:
            tables[entry["chain"]["table"]].add(f"{entry['chain']['name']} {entry['chain'].get('policy', '')}".strip())
    return tables


LIST = "nft -j list ruleset"


def test_the_firewall_is_there_and_nothing_is_forwarded_before_gwd_says_so():
    done = sandbox("/usr/lib/gw/load-firewall", after=LIST)
    assert done.returncode == 0, done.stderr
    tables = ruleset(done.stdout)
    assert "input drop" in tables["gw_host"] and tables["gw_guard"] == {"forward drop"}


def test_a_reload_leaves_gwds_guard_alone():
    done = sandbox("/usr/lib/gw/load-firewall", before="nft add table inet gw_guard; nft add chain inet gw_guard gwds_own", after=LIST)
    assert ruleset(done.stdout)["gw_guard"] == {"gwds_own"}


def test_rules_that_nft_refuses_leave_nothing_open():
    done = sandbox("/usr/lib/gw/load-firewall", before="echo 'table inet gw_host { chain input { tcp dport sssh accept; } }' >/etc/nftables.conf",
                   after=LIST)
    assert done.returncode == 1 and "the image's own rules are in force" in done.stdout
    assert "input drop" in ruleset(done.stdout)["gw_host"]


def test_ports_that_the_document_names_are_the_firewalls():
    ports = 'GW_FASTPATH_PORTS="--wan eth7 --vnet eth8"\nGW_SYNC_PORT="9700"\nGW_WAN_ROUTERS="203.0.113.1 2001:db8:1::1"\n'
    done = sandbox("/usr/lib/gw/host-ports", before=f"mkdir -p /run/gw; printf '%s' '{ports}' >/run/gw/fastpath.env", after="nft list table inet gw_host")
    assert done.returncode == 0, done.stderr
    for words in ('iifname "eth7" counter', "tcp dport 9700 accept", "elements = { 203.0.113.1 }", "elements = { 2001:db8:1::1 }"):
        assert words in done.stdout, words


# --- the boot loader -----------------------------------------------------------------------------------

def grubenv(file: Path) -> str:
    return subprocess.run(["grub-editenv", file, "list"], capture_output=True, text=True, check=True).stdout


def test_grub_understands_its_configuration():
    subprocess.run(["grub-script-check", TOP / "images/grub.cfg"], check=True)


def test_a_lost_grubenv_is_its_spare_again(tmp_path):
    env, spare = tmp_path / "grubenv", tmp_path / "grubenv.spare"
    for file, order in ((env, "A B"), (spare, "B A")):
        subprocess.run(["grub-editenv", file, "create"], check=True)
        subprocess.run(["grub-editenv", file, "set", f"ORDER={order}", "B_TRY=1"], check=True)
    check = [SCRIPTS / "grubenv-check", env]
    subprocess.run(check, check=True)
    assert "ORDER=A B" in grubenv(env), "what can be read stays"
    env.write_bytes(b"")
    subprocess.run(check, check=True)
    assert "ORDER=B A" in grubenv(env) and "B_TRY=1" in grubenv(env)
    env.write_bytes(b"")
    spare.unlink()
    subprocess.run(check, check=True)
    assert "A_OK=1" in grubenv(env) and grubenv(env) == grubenv(spare)


@pytest.mark.parametrize(("why", "slot", "loader", "restarts"), [
    ("the data partition cannot be mounted", "B", "A_OK=1 A_TRY=0 A_KNOWN=1 B_OK=1 B_TRY=1 B_KNOWN=0", True),
    ("the data partition cannot be mounted", "B", "A_OK=1 A_TRY=0 A_KNOWN=1 B_OK=1 B_TRY=1 B_KNOWN=1", False),
    ("the data partition cannot be mounted", "A", "A_OK=1 A_TRY=1 B_OK=0 B_TRY=0", False),
    ("rescue: started without the data partition", "B", "A_OK=1 A_TRY=0 A_KNOWN=1 B_OK=1 B_TRY=1 B_KNOWN=0", False),
])
def test_without_the_data_partition_no_slot_is_found_good(why, slot, loader, restarts):
    """gwd answers, with nothing to do. One that was never good is left for the other one: its kernel may lack what it takes."""
    before = f"""echo '{why}' >/run/gw-no-data; echo 'ro rauc.slot={slot} x' >/run/cmdline; mount --bind /run/cmdline /proc/cmdline
        grub-editenv /run/grubenv create; grub-editenv /run/grubenv set {loader}
        for name in systemctl gwctl; do printf '#!/bin/sh\necho called: %s $*\n' $name >/run/sandbox/bin/$name; chmod 755 /run/sandbox/bin/$name; done"""
    done = sandbox("/usr/lib/gw/gate /run/grubenv", before=before, after="ls /run/grubenv.spare")
    assert "called: gwctl" not in done.stdout
    assert ("called: systemctl reboot" in done.stdout) == restarts and done.returncode == (0 if restarts else 1), done.stdout + done.stderr


@pytest.mark.parametrize("status", [0, 1, 5])
def test_a_verdict_makes_the_spare(status):
    before = f"""grub-editenv /run/grubenv create; grub-editenv /run/grubenv set ORDER='B A'
        printf '#!/bin/sh\nexit {status}\n' >/run/sandbox/bin/gwctl; chmod 755 /run/sandbox/bin/gwctl"""
    done = sandbox("/usr/lib/gw/gate /run/grubenv", before=before, after="cmp /run/grubenv /run/grubenv.spare && echo same")
    assert done.returncode == status and ("same" in done.stdout) == (status == 0), done.stderr
