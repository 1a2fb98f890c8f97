"""Ports with a jumbo MTU: packets come and leave in several buffers, small ones as ever."""
import pytest
from scapy.all import IP, UDP, Raw

from fastpath_lab import PORT_KINDS, FastpathLab, pb
from fastpath_peer import HOST4, SITE4, Tunnel


def put(tunnel, mtu):
    return pb.PutTunnel(tunnel_id=tunnel.number, name="site1", device="tun1", mtu=mtu)


def bulk(size, src, dst):
    return IP(src=src, dst=dst, flags="DF") / UDP(sport=1000, dport=2000) / Raw(bytes(i * 7 & 0xff for i in range(size - 28)))


@pytest.mark.parametrize("ports", PORT_KINDS)
@pytest.mark.parametrize("workers", [1, 2])
def test_jumbo_packets_both_ways(tmp_path, workers, ports):
    lab = FastpathLab(tmp_path, options=("--workers", workers), queues=workers, mtu=9000, ports=ports)
    try:
        tunnel = Tunnel(lab)
        tunnel.control.ok(put_tunnel=put(tunnel, 8900))
        tunnel.warm_up()
        slow = tunnel.info().slow_path_packets
        # Around the sizes at which one more buffer is needed, and the largest.
        for size in (100, 1400, 1771, 2000, 3700, 3800, 3900, 7600, 7700, 8900):
            inner = bulk(size, SITE4, HOST4)
            tunnel.from_peer(inner)
            arrived = tunnel.at_host()
            assert arrived is not None, f"{size} bytes from the peer are lost: {tunnel.drops()}"
            assert bytes(arrived[UDP].payload) == bytes(inner[UDP].payload)
            inner = bulk(size, HOST4, SITE4)
            tunnel.from_host(inner)
            arrived = tunnel.at_peer()
            assert arrived is not None, f"{size} bytes from the host are lost: {tunnel.drops()}"
            assert bytes(arrived[0][UDP].payload) == bytes(inner[UDP].payload)
        assert tunnel.info().slow_path_packets == slow
        assert tunnel.drops() == {}
    finally:
        assert lab.close() in (0, None)


@pytest.mark.parametrize("ports", PORT_KINDS)
def test_a_burst_of_jumbo_packets(tmp_path, ports):
    """More than one burst, pieces of one packet in two of them; every buffer comes back."""
    lab = FastpathLab(tmp_path, mtu=9000, ports=ports)
    try:
        tunnel = Tunnel(lab)
        tunnel.control.ok(put_tunnel=put(tunnel, 8900))
        tunnel.warm_up()
        for side in (lab.wan, lab.vnet):
            side.socket.setsockopt(1, 33, 64 << 20)
        for _ in range(12):
            for _ in range(150):
                tunnel.from_host(bulk(8000, HOST4, SITE4))
            for i in range(150):
                assert tunnel.at_peer() is not None, f"lost after {i}: {tunnel.drops()}"
        assert tunnel.drops() == {}
    finally:
        assert lab.close() in (0, None)


@pytest.mark.parametrize("ports", PORT_KINDS)
def test_a_tunnel_larger_than_the_buffers_is_refused(tmp_path, ports):
    lab = FastpathLab(tmp_path, ports=ports)
    try:
        tunnel = Tunnel(lab)
        tunnel.control.ok(put_tunnel=put(tunnel, 1690))
        status = tunnel.control.refused(pb.INVALID_ARGUMENT, put_tunnel=put(tunnel, 1691))
        assert status.field == "mtu" and "jumbo" in status.message
    finally:
        lab.close()
