"""fastpath_lab with a third port: the private circuit, and a router behind it.

    fpv (a VNet host)           fpg                            fpc (a router of the circuit)
    10.1.0.10   vnet0 ---- vnet  gw-fastpath  circuit ---- circuit0  192.168.30.18
    fd00:1::10         10.1.0.1               192.168.30.17          fd00:30::18
                      fd00:1::1                 fd00:30::17
    behind the circuit: 10.40.0.0/16, fd00:40::/32

Other gateways on either link have no machine: the kernel is told their MACs, and their frames are seen by our packet
socket all the same.
"""
import socket

import esp_peer
from fastpath_lab import HOST_MAC, SO_RCVBUFFORCE, VNET_MAC, FastpathLab, Link, packed, pb, poll, run
from packet_station import is_upkeep, mac

CIRCUIT_MAC, ROUTER_MAC = "02:00:00:00:03:01", "02:00:00:00:03:02"
ROUTER = {4: "192.168.30.18", 6: "fd00:30::18"}
OURS = {4: "192.168.30.17", 6: "fd00:30::17"}
FAR = {4: "10.40.0.9", 6: "fd00:40::9"}
HOST = {4: "10.1.0.10", 6: "fd00:1::10"}
FAR_NETS = {4: ("10.40.0.0", 16), 6: ("fd00:40::", 32)}


def ether_type(packet: bytes):
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


def frame(destination, source, packet: bytes, tags=b""):
    return mac(destination) + mac(source) + tags + ether_type(packet) + packet


def datagram(version, payload=b"x" * 40, to_circuit=True, src=None, dst=None, ports=(1000, 2000), ttl=64, **fields):
    """UDP between a VNet host and one behind the circuit."""
    ends = (HOST[version], FAR[version]) if to_circuit else (FAR[version], HOST[version])
    source, destination = packed(src or ends[0]), packed(dst or ends[1])
    return esp_peer.ip(source, destination, 17, esp_peer.udp(source, destination, ports, payload), ttl=ttl, **fields)


class CircuitLab(FastpathLab):
    def __init__(self, directory, kinds=("xsk", "xsk"), wan="xsk", options=(), circuit_mtu=1500, **more):
        """`kinds`: of the vnet and the circuit port."""
        self.circuit_mtu = str(circuit_mtu)
        super().__init__(directory, options=["--wan-port", wan, "--vnet-port", kinds[0], "--circuit", "circuit", "--circuit-port", kinds[1],
                                             *options], ports=kinds[0], **more)
        self.circuit = Link("fpc", "circuit0")
        for link in (self.vnet, self.circuit):
            link.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.control = self.rpc(pb.ROLE_CONTROL)

    def _make_network(self):
        super()._make_network()
        run("ip", "netns", "add", "fpc")
        run("ip", "-n", "fpg", "link", "add", "circuit", "address", CIRCUIT_MAC, *self.queues, "type", "veth", "peer", "name", "circuit0",
            "address", ROUTER_MAC, *self.queues, "netns", "fpc")
        run("ip", "-n", "fpg", "link", "set", "circuit", "mtu", self.circuit_mtu, "up")
        run("ip", "-n", "fpc", "link", "set", "circuit0", "mtu", self.circuit_mtu, "up")
        run("ip", "netns", "exec", "fpc", "ethtool", "-K", "circuit0", "gro", "on", "tx", "off")
        run("ip", "netns", "exec", "fpg", "ethtool", "-K", "circuit", "tso", "off", "tx-udp-segmentation", "off", "tx", "off")
        for ns, interface, ends in (("fpg", "circuit", OURS), ("fpc", "circuit0", ROUTER)):
            run("ip", "-n", ns, "addr", "add", f"{ends[4]}/29", "dev", interface)
            run("ip", "-n", ns, "addr", "add", f"{ends[6]}/64", "dev", interface, "nodad")
        run("ip", "-n", "fpc", "link", "set", "lo", "up")

    # --- routes ---

    def route(self, prefix, length, kind, gateways=(), **more):
        self.control.ok(update_routes=pb.UpdateRoutes(add=[pb.Route(
            prefix=packed(prefix), prefix_length=length, kind=kind, gateways=[packed(g) for g in gateways], **more)]))

    def circuit_routes(self):
        """What gwd sends: the VNet on link, the circuit's prefixes by its router; and the kernel's table, as FRR keeps it."""
        self.route("10.1.0.0", 24, pb.NEXT_HOP_VNET)
        self.route("fd00:1::", 64, pb.NEXT_HOP_VNET)
        self.circuit_routes_only()
        for version, (prefix, length) in FAR_NETS.items():
            run("ip", "-n", "fpg", "route", "add", f"{prefix}/{length}", "via", ROUTER[version])
        self.knows_neighbours()

    def circuit_routes_only(self):
        for version, (prefix, length) in FAR_NETS.items():
            self.route(prefix, length, pb.NEXT_HOP_CIRCUIT, [ROUTER[version]])

    def knows_neighbours(self):
        for version in (4, 6):
            run("ip", "netns", "exec", "fpg", "ping", "-c1", "-W2", HOST[version])
            run("ip", "netns", "exec", "fpg", "ping", "-c1", "-W2", ROUTER[version])

    def neighbour(self, address, lladdr, device):
        run("ip", "-n", "fpg", "neigh", "replace", address, "lladdr", lladdr, "dev", device, "nud", "permanent")

    # --- packets ---

    def from_vnet(self, packet, source=HOST_MAC, tags=b""):
        self.vnet.send(frame(VNET_MAC, source, packet, tags))

    def from_circuit(self, packet, source=ROUTER_MAC, tags=b""):
        self.circuit.send(frame(CIRCUIT_MAC, source, packet, tags))

    @staticmethod
    def _forwarded(f):
        """IP packets, but for what the link itself needs."""
        return f.type in (0x8100, 0x88a8) or (f.type in (0x800, 0x86dd) and not is_upkeep(bytes(f.payload)))

    def at_vnet(self, matches=lambda f: True, seconds=2.0):
        return self.vnet.receive(lambda f: f.src == VNET_MAC and self._forwarded(f) and matches(f), seconds)

    def at_circuit(self, matches=lambda f: True, seconds=2.0):
        return self.circuit.receive(lambda f: f.src == CIRCUIT_MAC and self._forwarded(f) and matches(f), seconds)

    def all_counters(self):
        observer = self.rpc(pb.ROLE_OBSERVER)
        counters = observer.ok(get_counters=pb.GetCounters()).counters
        observer.close()
        self.clients.remove(observer)
        return counters

    def dropped(self, reason, send, count=1):
        """`send` makes `count` drops for `reason`, and none for another."""
        before = self.counters()
        send()
        poll(f"{count} dropped: {reason}", lambda: self.counters().get(reason, 0) >= before.get(reason, 0) + count)
        after = self.counters()
        assert {r: n - before.get(r, 0) for r, n in after.items() if n != before.get(r, 0)} == {reason: count}

    def close(self):
        if hasattr(self, "circuit"):
            self.circuit.close()
        status = super().close()
        run("ip", "netns", "del", "fpc", check=False)
        return status
