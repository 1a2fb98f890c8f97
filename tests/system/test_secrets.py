"""Secrets stay where they belong: not in logs, not in what programs show, not in files others can read."""

import os
import stat

import pytest

from gateway import PORT_KINDS
from lab import Site, command
from peers import psk
from world import World

SITE = Site(1)


@pytest.fixture(scope="module", params=PORT_KINDS)
def world(request):
    with World(f"test_secrets-{request.param}", [SITE], ports=request.param) as ready:
        yield ready


def test_no_psk_in_logs_or_shown(world):
    gateway = world.gateway
    for words in (("tunnels",), ("sas",), ("bgp",), ("routes",), ("counters",)):
        assert psk(SITE) not in gateway.ctl("show", *words)
        assert psk(SITE) not in gateway.ctl("--json", "show", *words)
    assert psk(SITE) not in gateway.metrics()
    for log in world.lab.logs.iterdir():
        assert psk(SITE).encode() not in log.read_bytes(), f"the PSK is in {log}"


def test_no_psk_in_an_error_message(world):
    """A PSK file with a wrong mode, or with garbage, is refused without its contents."""
    gateway = world.gateway
    path = gateway.etc / "secrets" / f"{SITE.name}.psk"
    path.chmod(0o644)
    try:
        said = gateway.fails("validate", gateway.config)
        assert "psk" in said and psk(SITE) not in said, said
        assert "readable" in said or "mode" in said or "permission" in said, said
    finally:
        path.chmod(0o600)


def test_no_secret_in_world_readable_files(world):
    """Everything the gateway's programs wrote: state, revisions, sockets, bgpd's file."""
    for root, _, files in os.walk(world.lab.run):
        for name in files:
            path = os.path.join(root, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode):
                continue
            with open(path, "rb") as file:
                holds = psk(SITE).encode() in file.read()
            assert not (holds and mode & stat.S_IROTH), f"{path} holds the PSK and is readable by everybody"
            ours = path.startswith((str(world.gateway.state), str(world.gateway.run_dir)))
            assert not (holds and ours), f"{path} holds a copy of the PSK"


def test_no_secret_on_a_command_line_or_in_an_environment(world):
    for pid in command(["ip", "netns", "pids", world.gateway.ns.name]).split():
        for what in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{what}", "rb") as file:
                    assert psk(SITE).encode() not in file.read(), f"/proc/{pid}/{what}"
            except FileNotFoundError:
                pass  # it ended meanwhile
