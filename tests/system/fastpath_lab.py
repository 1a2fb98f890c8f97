"""A gw-fastpath alone in a namespace, with scapy at both of its ends and our hand on its RPC.

    fpw (the peer)          fpg                          fpv (a VNet host)
    192.0.2.2   wan0 ---- wan  gw-fastpath  vnet ---- vnet0  10.1.0.10
    2001:db8::2      192.0.2.1               10.1.0.1        fd00:1::10
                     2001:db8::1             fd00:1::1
    behind the tunnels: 10.9.0.0/16, fd00:9::/32

Everything is made inside ./dev's own namespaces and removed at the end.
"""
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PRESET = os.environ.get("GW_PRESET", "release")
sys.path.insert(0, str(TOP / "build" / PRESET / "python"))

import logging  # noqa: E402

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import Ether  # noqa: E402

from gw.fastpath.v1 import fastpath_pb2 as pb  # noqa: E402

FASTPATH = TOP / "build" / PRESET / "bin" / "gw-fastpath"
KEEPER = TOP / "tests" / "system" / "keeper.py"
SO_RCVBUFFORCE = 33  # not in the socket module
PORT_KINDS = ["xsk", "gso"]
WAN_MAC, PEER_MAC = "02:00:00:00:01:01", "02:00:00:00:01:02"
VNET_MAC, HOST_MAC = "02:00:00:00:02:01", "02:00:00:00:02:02"


def run(*command, check=True):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def poll(what, condition, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Link:
    """A packet socket in a namespace: frames in and out, whatever the host's stack thinks of them."""

    def __init__(self, namespace, interface):
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{namespace}") as other:
            os.setns(other.fileno(), os.CLONE_NEWNET)
            try:
                self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                self.socket.bind((interface, 0))
            finally:
                os.setns(own.fileno(), os.CLONE_NEWNET)

    def send(self, packet):
        self.socket.send(bytes(packet))

    def receive(self, matches, seconds=2.0):
        """The first frame for which matches(Ether) is true; None after `seconds`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return None
            data, address = self.socket.recvfrom(65535)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            frame = Ether(data)
            if matches(frame):
                return frame
        return None

    def all(self, matches):
        """Every frame that is there by now and for which matches(Ether) is true."""
        while select.select([self.socket], [], [], 0)[0]:
            data, address = self.socket.recvfrom(65535)
            if address[2] != socket.PACKET_OUTGOING and matches(frame := Ether(data)):
                yield frame

    def drain(self):
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(65535)

    def close(self):
        self.socket.close()


class Rpc:
    """One connection. Events that arrive are kept in `events`."""

    def __init__(self, path, role, epoch=1, name="test"):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(15)
        self.socket.connect(str(path))
        self.next_id = 1
        self.buffer = b""
        self.events = []
        self.hello = self.ok(hello=pb.Hello(version=1, role=role, name=name, epoch=epoch)).hello

    def send_raw(self, payload: bytes):
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def read_frame(self, seconds=15.0):
        self.socket.settimeout(seconds)
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">I", self.buffer[:4])[0]:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("gw-fastpath closed the connection")
            self.buffer += data
        length = struct.unpack(">I", self.buffer[:4])[0]
        frame = pb.ServerFrame.FromString(self.buffer[4:4 + length])
        self.buffer = self.buffer[4 + length:]
        return frame

    def call(self, **body):
        request = pb.ClientFrame(id=self.next_id, **body)
        self.next_id += 1
        self.send_raw(request.SerializeToString())
        while True:
            frame = self.read_frame()
            if frame.WhichOneof("body") == "event":
                self.events.append(frame.event)
                continue
            assert frame.response.id == request.id
            return frame.response

    def ok(self, **body):
        response = self.call(**body)
        assert response.status.code == pb.OK, f"{response.status}"
        return response

    def refused(self, code, **body):
        response = self.call(**body)
        assert response.status.code == code, f"{response.status}"
        return response.status

    def event(self, kind, seconds=3.0):
        """The next event of this kind; None if there is none in time."""
        end = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self.events):
                if event.WhichOneof("body") == kind:
                    return getattr(self.events.pop(i), kind)
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                frame = self.read_frame(left)
            except TimeoutError:
                return None
            if frame.WhichOneof("body") == "event":
                self.events.append(frame.event)

    def close(self):
        self.socket.close()


ANY_V4 = pb.Selector(first=packed("0.0.0.0"), last=packed("255.255.255.255"), last_port=65535)
ANY_V6 = pb.Selector(first=bytes(16), last=b"\xff" * 16, last_port=65535)


def add_sa(spi, src, dst, key, inbound, tunnel=1, udp=False, ports=(4500, 4500), fresh=True, esn=True, window=64, **more):
    return pb.AddSa(
        id=pb.SaId(spi=spi, dst=packed(dst)), src=pb.Endpoint(address=packed(src), port=ports[0]),
        dst=pb.Endpoint(address=packed(dst), port=ports[1]), inbound=inbound, tunnel_id=tunnel, encryption=pb.AES_GCM_16,
        key=key, esn=esn, replay_window=window, udp_encapsulation=udp, local_selectors=[ANY_V4, ANY_V6],
        remote_selectors=[ANY_V4, ANY_V6], fresh=fresh, **more)


class FastpathLab:
    def __init__(self, directory: pathlib.Path, keeper=False, options=(), queues=1, mtu=1500, ports="xsk", program=FASTPATH, name="fp"):
        """`queues`: receive queues of both ports; a flow's hash chooses. `name`: of its namespaces, for a second lab beside this one."""
        self.peer_ns, self.ns, self.host_ns = (name + end for end in "wgv")
        self.dir = directory
        self.program = program
        self.options = [str(o) for o in options]
        self.mtu = str(mtu)
        self.kind = ports
        self.kinds = [] if "--wan-port" in self.options else ["--wan-port", ports, "--vnet-port", ports]
        self.queues = [str(w) for w in ("numtxqueues", queues, "numrxqueues", queues)]
        self.socket = directory / "fastpath.sock"
        self.log = directory / "gw-fastpath.log"
        self.state = pathlib.Path(f"/run/gw-test-{os.getpid()}-{directory.name}")
        self.keeper = keeper
        self.process = None
        self.clients = []
        self._make_network()
        self.wan = Link(self.peer_ns, "wan0")
        self.vnet = Link(self.host_ns, "vnet0")
        self.start()

    def _make_network(self):
        for ns in (self.peer_ns, self.ns, self.host_ns):
            run("ip", "netns", "add", ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
        for inside, mac, ns, outside, peer_mac in (("wan", WAN_MAC, self.peer_ns, "wan0", PEER_MAC), ("vnet", VNET_MAC, self.host_ns, "vnet0", HOST_MAC)):
            run("ip", "-n", self.ns, "link", "add", inside, "address", mac, *self.queues, "type", "veth", "peer", "name", outside,
                "address", peer_mac, *self.queues, "netns", ns)
            run("ip", "-n", self.ns, "link", "set", inside, "mtu", self.mtu, "up")
            run("ip", "-n", ns, "link", "set", outside, "mtu", self.mtu, "up")
            # An XDP frame needs GRO (or XDP) at the veth's other end.
            run("ip", "netns", "exec", ns, "ethtool", "-K", outside, "gro", "on", "tx", "off")
            # Of gso ports: our packet sockets at the other end want what a wire would carry, not superpackets.
            run("ip", "netns", "exec", self.ns, "ethtool", "-K", inside, "tso", "off", "tx-udp-segmentation", "off", "tx", "off")
        for ns, interface, addresses in ((self.ns, "wan", ("192.0.2.1/24", "2001:db8::1/64")), (self.ns, "vnet", ("10.1.0.1/24", "fd00:1::1/64")),
                                         (self.peer_ns, "wan0", ("192.0.2.2/24", "2001:db8::2/64")), (self.host_ns, "vnet0", ("10.1.0.10/24", "fd00:1::10/64"))):
            for address in addresses:
                run("ip", "-n", ns, "addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
        for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0"):
            run("ip", "netns", "exec", self.ns, "sysctl", "-qw", key)

    def start(self, more=()):
        command = ["ip", "netns", "exec", self.ns] + ([sys.executable, str(KEEPER)] if self.keeper else [])
        command += [str(self.program), "--wan", "wan", "--vnet", "vnet", *self.kinds, "--socket", str(self.socket), "--state-dir", str(self.state),
                    "--log-level", "debug", *self.options, *more]
        self.process = subprocess.Popen(command, stdout=self.log.open("ab"), stderr=subprocess.STDOUT)
        self.wait_ready()

    def wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"gw-fastpath ended:\n{self.log.read_text()}")
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                return True
            except OSError:
                return False
        poll("gw-fastpath answers", answers, 20)

    def fastpath_pid(self):
        if not self.keeper:
            return self.process.pid
        children = run("pgrep", "-P", self.process.pid, check=False).split()
        return int(children[0]) if children else 0

    def kill(self):
        """kill -9, and forget the connections."""
        pid = self.fastpath_pid()
        for client in self.clients:
            client.close()
        self.clients = []
        os.kill(pid, signal.SIGKILL)
        if not self.keeper:
            self.process.wait()
        return pid

    def cpu_seconds(self):
        with open(f"/proc/{self.fastpath_pid()}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rpc(self, role, epoch=1):
        client = Rpc(self.socket, role, epoch)
        self.clients.append(client)
        return client

    def counters(self):
        with_role = self.rpc(pb.ROLE_OBSERVER)
        counters = with_role.ok(get_counters=pb.GetCounters()).counters
        with_role.close()
        self.clients.remove(with_role)
        return {d.reason: d.packets for d in counters.drops}

    def carrier(self, device):
        return run("ip", "netns", "exec", self.ns, "cat", f"/sys/class/net/{device}/carrier").strip() == "1"

    def close(self):
        for client in self.clients:
            client.close()
        status = None
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                status = self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.wan.close()
        self.vnet.close()
        for ns in (self.peer_ns, self.ns, self.host_ns):
            run("ip", "netns", "del", ns, check=False)
        run("rm", "-rf", self.state)
        return status
