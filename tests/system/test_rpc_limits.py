"""The RPC of gw-fastpath at its limits: tables that are full, descriptors that are used up."""
import os
import socket
import time

import pytest

from fastpath_lab import FastpathLab, packed, pb, poll, run
from fastpath_peer import GW4
from test_rpc_bad_input import CONTROL, IKE, OBSERVER, sa, tunnel

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_more_connections_than_descriptors(tmp_path):
    """Accepting waits until others have ended; those that are connected go on."""
    lab = FastpathLab(tmp_path)
    try:
        control = lab.rpc(CONTROL)
        limit = len(os.listdir(f"/proc/{lab.fastpath_pid()}/fd")) + 20
        run("prlimit", f"--nofile={limit}:{limit}", "--pid", lab.fastpath_pid())
        crowd = []
        for _ in range(60):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(lab.socket))
            crowd.append(connection)
        time.sleep(0.3)
        control.ok(list_tunnels=pb.ListTunnels())
        before = lab.cpu_seconds()
        time.sleep(0.5)
        assert lab.cpu_seconds() - before < 0.2, "it does not spin"
        for connection in crowd:
            connection.close()
        poll("new clients are taken again", lambda: lab.rpc(OBSERVER).ok(list_sas=pb.ListSas()), 5)
    finally:
        assert lab.close() == 0


def test_more_than_configured(tmp_path):
    """--max-tunnels and --max-sas: the one too many is refused, and one that ends makes room."""
    lab = FastpathLab(tmp_path, options=("--max-tunnels", 2, "--max-sas", 4))
    try:
        ike, control = lab.rpc(IKE), lab.rpc(CONTROL)
        assert (ike.hello.max_tunnels, ike.hello.max_sas) == (2, 4)
        for n in (1, 2):
            control.ok(**tunnel(n, device=f"tun{n}"))
        status = control.refused(pb.LIMIT, **tunnel(3, device="tun3"))
        assert "2" in status.message
        assert "tun3" not in run("ip", "-n", "fpg", "-br", "link")
        assert ike.refused(pb.LIMIT, **sa(spi=0x8000, tunnel=3))
        for n in range(4):
            ike.ok(**sa(spi=0x8000 + n, tunnel=1 + n % 2))
        assert "4" in ike.refused(pb.LIMIT, **sa(spi=0x9000)).message
        assert len(ike.ok(list_sas=pb.ListSas()).sas.sas) == 4
        ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=0x8000, dst=packed(GW4))))
        ike.ok(**sa(spi=0x9000))
        control.ok(del_tunnel=pb.DelTunnel(tunnel_id=2))
        ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=0x8001, dst=packed(GW4))))
        ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=0x8003, dst=packed(GW4))))
        control.ok(**tunnel(3, device="tun3"))
    finally:
        assert lab.close() == 0


def test_one_site_does_not_take_the_places_of_the_others(tmp_path):
    """A peer that makes CHILD_SAs and deletes none has 256 places at most; the other tunnels go on."""
    lab = FastpathLab(tmp_path)
    try:
        ike, control = lab.rpc(IKE), lab.rpc(CONTROL)
        for n in (1, 2):
            control.ok(**tunnel(n, device=f"tun{n}"))
        for n in range(256):
            ike.ok(**sa(spi=0x8000 + n))
        status = ike.refused(pb.LIMIT, **sa(spi=0x9000))
        assert status.field == "tunnel_id" and "tunnel 1 has 256 SAs" in status.message
        ike.ok(**sa(spi=0x9000, tunnel=2))
        ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=0x8000, dst=packed(GW4))))
        ike.ok(**sa(spi=0x9001))
        ike.refused(pb.LIMIT, **sa(spi=0x9002))
    finally:
        assert lab.close() == 0


def test_weak_algorithms_want_a_permission(tmp_path):
    """3DES for old devices, and no encryption at all for tests: refused by a gw-fastpath that was not told otherwise."""
    triple_des = sa(encryption=pb.TRIPLE_DES_CBC, key=os.urandom(24), integrity=pb.HMAC_SHA1_96, integrity_key=bytes(20))
    nothing = sa(spi=0x7001, encryption=pb.NULL_CIPHER, key=b"", integrity=pb.HMAC_SHA1_96, integrity_key=os.urandom(20))
    for options, allowed in (((), ()), (("--allow-legacy-crypto",), (triple_des,)), (("--null-encryption-for-tests",), (nothing,))):
        lab = FastpathLab(tmp_path, options=options)
        try:
            ike = lab.rpc(IKE)
            for request in (triple_des, nothing):
                if request in allowed:
                    ike.ok(**request)
                else:
                    assert ike.refused(pb.UNSUPPORTED, **request).field == "encryption"
            assert len(ike.ok(list_sas=pb.ListSas()).sas.sas) == len(allowed)
        finally:
            assert lab.close() == 0
