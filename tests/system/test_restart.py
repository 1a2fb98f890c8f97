"""gw-fastpath alone, black box: what a peer sees while gw-fastpath is away. Its sockets wait in the descriptor store, so
the kernel refuses nobody: no "port unreachable", no "protocol unreachable", and IKE that comes meanwhile reaches charon."""
import os
import signal
import time

import pytest
from scapy.all import ICMP, IP, UDP, ICMPv6DestUnreach, ICMPv6ParamProblem, IPv6, Raw

from fastpath_lab import FASTPATH, FastpathLab, poll
from fastpath_peer import GW4, GW6, PEER4, PEER6, Tunnel, kept_lab, packets  # noqa: F401 (kept_lab is a fixture)
from ike_end import IkeEnd, message

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class Away:
    """gw-fastpath was killed; its keeper starts it again only at the end."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        os.kill(self.lab.process.pid, signal.SIGSTOP)
        self.old = self.lab.kill()
        return self

    def __exit__(self, *_):
        os.kill(self.lab.process.pid, signal.SIGCONT)
        poll("the keeper starts it again", lambda: self.lab.fastpath_pid() not in (0, self.old), 10)
        self.lab.wait_ready()


def refusals(lab, seconds=0.5):
    """ICMP errors that reach the peer."""
    errors = []
    def is_error(f):
        return (f.haslayer(ICMP) and f[ICMP].type == 3) or f.haslayer(ICMPv6DestUnreach) or f.haslayer(ICMPv6ParamProblem)
    while (frame := lab.wan.receive(is_error, seconds)) is not None:
        errors.append(frame.summary())
    return errors


@pytest.mark.parametrize("v6", [False, True], ids=["outer4", "outer6"])
def test_nobody_is_refused_while_it_is_away(kept_lab, v6):
    lab = kept_lab
    native = Tunnel(lab, v6=v6)
    native.warm_up()
    in_udp = Tunnel(lab, v6=v6, udp=True, number=2, like=native)
    outer = IPv6(src=PEER6, dst=GW6) if v6 else IP(src=PEER4, dst=GW4)
    initial = message(400, exchange=34, port=500)
    auth = message(1200)
    with Away(lab):
        time.sleep(0.2)  # programs and sockets end with the process
        for tunnel in (native, in_udp):
            for _ in range(3):
                tunnel.from_peer(packets(4)[0])
        lab.wan.send(native.frame(bytes(outer / UDP(sport=500, dport=500) / Raw(initial))))
        lab.wan.send(native.frame(bytes(outer / UDP(sport=4500, dport=4500) / Raw(auth))))
        lab.wan.send(native.frame(bytes(outer / UDP(sport=4500, dport=4500) / Raw(b"\xff"))))
        assert refusals(lab) == []
    ike = IkeEnd(lab)
    got = [ike.receive(), ike.receive()]
    assert sorted(got, key=str) == sorted([(500, PEER6 if v6 else PEER4, initial), (4500, PEER6 if v6 else PEER4, auth)], key=str)
    assert ike.receive(0.3) is None, "ESP and keepalives are no business of charon's"
    ike.close()


def test_the_kind_of_port_may_change_with_the_restart(tmp_path):
    """What was kept by one kind serves the other."""
    kinds, program = tmp_path / "kinds", tmp_path / "gw-fastpath"
    kinds.write_text("gso")
    program.write_text(f'''#!/bin/sh
kind=$(cat {kinds})
for argument; do
  [ "$argument" = KIND ] && argument=$kind
  set -- "$@" "$argument"
  shift
done
exec {FASTPATH} "$@"
''')
    program.chmod(0o755)
    made = FastpathLab(tmp_path, keeper=True, ports="KIND", program=program)
    try:
        for kind in ("gso", "xsk", "gso"):
            kinds.write_text(kind)
            with Away(made):
                pass
            tunnel = Tunnel(made, udp=True)
            tunnel.warm_up()
            ike = IkeEnd(made)
            frame = tunnel.frame(bytes(IP(src=PEER4, dst=GW4) / UDP(sport=4500, dport=4500) / Raw(message(300))))
            made.wan.send(frame)
            assert ike.receive() is not None, kind
            ike.close()
    finally:
        made.close()
