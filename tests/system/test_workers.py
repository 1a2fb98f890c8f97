"""Two workers on ports with two receive queues: flows land on either, tunnels belong to one, nothing is lost."""
import socket
import struct
from collections import defaultdict

import pytest
from scapy.all import IP, UDP, Ether, Raw

import fastpath_lab as lab_module
from fastpath_lab import HOST_MAC, VNET_MAC, FastpathLab, packed, pb, poll
from fastpath_peer import HOST4, Tunnel

TUNNELS = 16  # that all flows take one queue happens once in 30,000 runs
EACH = 60


@pytest.fixture
def lab(tmp_path):
    made = FastpathLab(tmp_path, options=("--workers", 2), queues=2)
    for side in (made.wan, made.vnet):
        side.socket.setsockopt(socket.SOL_SOCKET, lab_module.SO_RCVBUFFORCE, 64 << 20)
    try:
        yield made
    finally:
        status = made.close()
        print(made.log.read_text()[-8000:])
        assert status in (0, None), f"gw-fastpath ended with {status}"


def site(number):
    return f"10.9.{number}.5"


def make_tunnels(lab):
    first = Tunnel(lab)
    tunnels = [first] + [Tunnel(lab, number=n, like=first) for n in range(2, TUNNELS + 1)]
    first.control.ok(update_routes=pb.UpdateRoutes(add=[
        pb.Route(prefix=packed(f"10.9.{t.number}.0"), prefix_length=24, kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[t.number])
        for t in tunnels]))
    return tunnels


def counters(tunnel):
    return tunnel.control.ok(get_counters=pb.GetCounters()).counters


def warm_up(lab, tunnels):
    """The fast ways are open: both neighbours are known."""
    def fast():
        before = tunnels[0].info().slow_path_packets
        tunnels[0].from_peer(IP(src=site(1), dst=HOST4) / UDP())
        arrived = tunnels[0].at_host(0.3, src=(site(1),))
        tunnels[0].from_host(IP(src=HOST4, dst=site(1)) / UDP())
        tunnels[0].at_peer(0.3)
        return arrived and tunnels[0].info().slow_path_packets == before
    poll("neighbours are known", fast, 20)
    lab.wan.drain()
    lab.vnet.drain()


def number_of(packet):
    return struct.unpack(">I", bytes(packet[UDP].payload)[:4])[0]


def test_both_workers_carry_every_tunnel(lab):
    tunnels = make_tunnels(lab)
    warm_up(lab, tunnels)
    workers = counters(tunnels[0]).workers
    assert [w.tunnels for w in workers] == [TUNNELS // 2, TUNNELS // 2]
    before = [w.packets for w in workers]

    inner = {t.number: [IP(src=site(t.number), dst=HOST4) / UDP(sport=4000, dport=5000) / Raw(struct.pack(">I", i))
                        for i in range(EACH)] for t in tunnels}
    sealed = [bytes(t.frame(t.sent.seal(bytes(inner[t.number][i])))) for i in range(EACH) for t in tunnels]
    clear = [bytes(Ether(src=HOST_MAC, dst=VNET_MAC) / IP(src=HOST4, dst=site(t.number)) / UDP(sport=4000 + t.number, dport=5000) /
                   Raw(struct.pack(">I", i))) for i in range(EACH) for t in tunnels]
    for a, b in zip(sealed, clear):
        lab.wan.socket.send(a)
        lab.vnet.socket.send(b)

    # Per tunnel in order, all of them: a flow stays on its queue, and hand-over keeps its order.
    at_host = defaultdict(list)
    for _ in sealed:
        packet = tunnels[0].at_host(5, src=[site(t.number) for t in tunnels])
        assert packet is not None, f"lost: {({n: EACH - len(got) for n, got in at_host.items()})}"
        at_host[int(packet.src.split(".")[2])].append(number_of(packet))
    assert at_host == {t.number: list(range(EACH)) for t in tunnels}

    at_peer = defaultdict(list)
    by_spi = {t.out_spi: t for t in tunnels}
    for _ in clear:
        frame = lab.wan.receive(lambda f: f.haslayer(IP) and f[IP].proto == 50, 5)
        assert frame is not None, f"lost: {({n: EACH - len(got) for n, got in at_peer.items()})}"
        tunnel = by_spi[struct.unpack(">I", bytes(frame[IP].payload)[:4])[0]]
        at_peer[tunnel.number].append(number_of(IP(tunnel.received.open(frame)[0])))
    assert at_peer == {t.number: list(range(EACH)) for t in tunnels}

    after = counters(tunnels[0]).workers
    assert all(now.packets > was for now, was in zip(after, before)), "one worker got nothing"
    assert sum(w.handed_over for w in after) > 0 and sum(w.handed_over for w in after) == sum(w.taken_over for w in after)
    assert all(w.handover_drops == 0 for w in after)
    assert all(t.drops() == {} for t in tunnels)
    for w in after:
        assert sum(w.burst_sizes) == w.bursts > 0
        assert 0 < sum(w.latency) <= w.packets + w.taken_over, "packets of one burst in 17"
        assert 0 < w.latency_max_ns <= w.latency_sum_ns and w.cpu_ns > 0 and w.polling_ns > 0
        assert [(p.side, p.kind, list(p.queues)) for p in w.ports] == [("wan", "xsk", [w.worker]), ("vnet", "xsk", [w.worker])]
    assert sum(p.rx_packets for w in after for p in w.ports if p.side == "wan") >= TUNNELS * EACH


def test_a_tunnel_that_goes_gives_its_place_to_another_worker_s_balance(lab):
    tunnels = make_tunnels(lab)
    for t in tunnels[:4]:
        t.ike.ok(del_sa=pb.DelSa(id=t.in_id))
        t.ike.ok(del_sa=pb.DelSa(id=t.out_id))
        t.control.ok(del_tunnel=pb.DelTunnel(tunnel_id=t.number))
    assert sum(w.tunnels for w in counters(tunnels[4]).workers) == TUNNELS - 4
    for number in range(101, 105):
        Tunnel(lab, number=number, like=tunnels[4])
    loads = [w.tunnels for w in counters(tunnels[4]).workers]
    assert loads == [TUNNELS // 2, TUNNELS // 2], loads


def ethtool(namespace, *words):
    return lab_module.run("ip", "netns", "exec", namespace, "ethtool", *words)


def test_more_queues_than_at_the_start_end_it_with_a_sentence(tmp_path):
    """Packets on a queue without a socket would be lost; its supervisor starts it with all of them."""
    lab = FastpathLab(tmp_path, queues=2)
    try:
        lab.process.terminate()
        lab.process.wait(15)
        ethtool("fpw", "-L", "wan0", "tx", 1)
        ethtool("fpg", "-L", "wan", "rx", 1)
        lab.start()
        ethtool("fpg", "-L", "wan", "rx", 2)
        assert lab.process.wait(10) == 1
        assert "wan has 2 receive queues now and AF_XDP sockets on 1 of them; a restart serves all" in lab.log.read_text()
        lab.start()
        assert "XDP native, 2 queue(s)" in lab.log.read_text()
    finally:
        lab.close()


def test_an_mtu_beyond_the_buffers_is_said(tmp_path):
    lab = FastpathLab(tmp_path)
    try:
        lab_module.run("ip", "-n", "fpg", "link", "set", "wan", "mtu", 2500)
        poll("it is said", lambda: "the MTU of wan is 2500 now; packets of more than 1770 bytes are lost" in lab.log.read_text())
    finally:
        lab.close()


def test_a_link_that_flaps_goes_on(lab):
    """Down and up again: the sockets stay, packets flow as before."""
    tunnels = make_tunnels(lab)
    warm_up(lab, tunnels)
    for namespace, interface in (("fpw", "wan0"), ("fpg", "wan"), ("fpg", "vnet")):
        lab_module.run("ip", "-n", namespace, "link", "set", interface, "down")
        lab_module.run("ip", "-n", namespace, "link", "set", interface, "up")
    assert lab.process.poll() is None
    for side in (lab.wan, lab.vnet):
        side.close()
    lab.wan, lab.vnet = lab_module.Link("fpw", "wan0"), lab_module.Link("fpv", "vnet0")  # theirs have the error
    warm_up(lab, tunnels)


def test_more_workers_than_queues_is_said(tmp_path):
    lab = FastpathLab(tmp_path, options=("--workers", 3), queues=2)
    try:
        assert "2 worker(s): 3 asked for, wan has 2 receive queue(s)" in lab.log.read_text()
    finally:
        lab.close()
