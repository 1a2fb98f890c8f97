"""Two stock charons with the built kernel-gw plugin, and a recorder in the place of each one's gw-fastpath.

    namespace gwplA  [charon a]--- a0 10.9.0.1/24 ---- b0 10.9.0.2/24 ---[charon b]  namespace gwplB
                         |                                                   |
                  a/fastpath.sock (Recorder a)                        b/fastpath.sock (Recorder b)

No packet is encrypted here: the recorders keep what charon would have told the fast path, answer as told, and
send events. Runs inside ./dev's root (own mount and pid namespaces); removes what it makes.
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GW_BUILD", TOP / "build" / "release"))
sys.path.insert(0, str(BUILD / "python"))

from gw.fastpath.v1 import fastpath_pb2 as pb  # noqa: E402
from vici import Vici, ViciError  # noqa: E402

PLUGIN_DIR = "/usr/lib/ipsec/plugins"
LOAD = ("random nonce openssl aes sha1 sha2 hmac kdf gcm curve25519 x509 pubkey pem "
        "kernel-gw! kernel-netlink socket-default! vici! counters")
DEADLINE = 10  # seconds; everything waited for takes well under one


def run(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def missing():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    if not Path("/usr/sbin/charon-systemd").exists():
        return "no charon-systemd"
    if not (BUILD / "plugins" / "libstrongswan-kernel-gw.so").exists():
        return f"plugin is not built in {BUILD}"
    return None


class Frame:
    """A request the recorder has received: its kind ("add_sa"), body and number of the connection."""

    def __init__(self, message, connection):
        self.id = message.id
        self.kind = message.WhichOneof("body")
        self.body = getattr(message, self.kind)
        self.connection = connection
        self.at = time.monotonic()

    def __repr__(self):
        spi = f" {self.body.id.spi:08x}" if hasattr(self.body, "id") else ""
        return f"<{self.connection}:{self.kind}{spi}>"


class Recorder:
    """gw-fastpath's end of the RPC: records requests; answers OK unless `answer(frame)` says otherwise.

    `answer` returns a pb.Status, or None to leave the request unanswered."""

    def __init__(self, path):
        self.path = path
        self.epoch = 1
        self.answer = lambda frame: pb.Status()
        self.counters = pb.SaCounters()
        self.frames = []
        self._changed = threading.Condition()
        self._connection = None
        self._listener = None
        self._connections = 0
        self.open()

    def open(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(4)
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def close(self):
        """gw-fastpath dies: no socket, no connection."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.path.unlink()
        self.drop()

    def drop(self):
        connection, self._connection = self._connection, None
        if connection:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other end was first

    def _serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections += 1
            self._connection = connection
            threading.Thread(target=self._talk, args=(connection, self._connections), daemon=True).start()

    def _talk(self, connection, number):
        stream = connection.makefile("rb")
        try:
            while len(head := stream.read(4)) == 4:
                message = pb.ClientFrame()
                message.ParseFromString(stream.read(struct.unpack(">I", head)[0]))
                frame = Frame(message, number)
                status = self.answer(frame)
                with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()
                if status is not None:
                    self._send(connection, self._response(frame, status))
        except OSError:
            pass  # dropped
        finally:
            connection.close()

    def _response(self, frame, status):
        reply = pb.ServerFrame()
        reply.response.id = frame.id
        reply.response.status.CopyFrom(status)
        if frame.kind == "hello":
            reply.response.hello.version = 1
            reply.response.hello.epoch = self.epoch
            reply.response.hello.crypto_backend = "recorder"
        elif frame.kind == "query_sa":
            reply.response.query_sa.CopyFrom(self.counters)
        return reply

    @staticmethod
    def _send(connection, message):
        data = message.SerializeToString()
        connection.sendall(struct.pack(">I", len(data)) + data)

    def send_raw(self, data):
        self._connection.sendall(data)

    def event(self, event):
        self._send(self._connection, pb.ServerFrame(event=event))

    def mark(self):
        return len(self.frames)

    def since(self, mark=0, kind=None):
        with self._changed:
            return [f for f in self.frames[mark:] if kind is None or f.kind == kind]

    def wait(self, kind, mark=0, count=1, match=lambda body: True, timeout=DEADLINE):
        """The first `count` matching requests after `mark`."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [f for f in self.frames[mark:] if f.kind == kind and match(f.body)]
                if len(found) >= count:
                    return found[:count]
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{count} x {kind} expected, got {len(found)}; since the mark: "
                                         f"{self.frames[mark:]}")
                self._changed.wait(left)


class Node:
    """One charon in its namespace, with its recorder."""

    def __init__(self, lab, name, address, peer, prefix="gwpl"):
        self.name, self.address, self.peer = name, address, peer
        self.namespace = f"{prefix}{name.upper()}"
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.log = self.dir / "charon.log"
        self.recorder = Recorder(self.dir / "fastpath.sock")
        self.vici = None
        self.process = None
        self._plugins = lab.plugins

    def start(self, instance=0, load=LOAD, settings="", plugins=""):
        (self.dir / "strongswan.conf").write_text(f"""
charon {{
  load = {load}
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = 2
  delete_rekeyed_delay = 1
  {settings}
  filelog {{ f {{
    path = {self.log}
    default = 1
    knl = 2
    flush_line = yes
    time_format = %H:%M:%S
    time_add_ms = yes
  }} }}
  plugins {{
    vici {{ socket = unix://{self.dir}/vici.sock }}
    kernel-gw {{
      socket = {self.dir}/fastpath.sock
      instance = {instance}
      ike_socket = none
    }}
    {plugins}
  }}
}}
charon-systemd {{ journal {{ default = -1 }} }}
""")
        inside = (f"mount -t tmpfs run /run && mount --bind {self._plugins} {PLUGIN_DIR} && "
                  "exec /usr/sbin/charon-systemd")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--propagation", "private", "sh", "-c", inside],
            env=dict(os.environ, STRONGSWAN_CONF=str(self.dir / "strongswan.conf")),
            stdout=(self.dir / "out").open("w"), stderr=subprocess.STDOUT)
        self.until(self._try_vici, "charon's VICI socket")

    def _try_vici(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"charon {self.name} ended: {(self.dir / 'out').read_text()}")
        try:
            self.vici = Vici(self.dir / "vici.sock")
        except OSError:
            return False
        return True

    def kill(self):
        """SIGKILL: nothing is said to anybody."""
        self.vici.close()
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns charon's exit status."""
        if self.vici:
            self.vici.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "killed: it did not end on SIGTERM"
        return self.process.returncode if self.process else None

    def end(self):
        self.stop()
        self.recorder.close()

    def load(self, connection="t", **child):
        """A connection with one child "c": PSK, AES-GCM, all v4 and v6 traffic, tunnel id 7, no limits.

        Settings of the child are overridden by name, those of the connection by "ike_" and the name."""
        self.vici.request("load-shared", {"id": "psk", "type": "IKE", "data": "correct horse", "owners": [self.peer]})
        settings = {
            "mode": "tunnel", "esp_proposals": ["aes256gcm16-x25519"], "if_id_in": 7, "if_id_out": 7,
            "local_ts": ["0.0.0.0/0", "::/0"], "remote_ts": ["0.0.0.0/0", "::/0"],
            "rekey_time": 0, "life_time": 0, "rekey_packets": 0, "rekey_bytes": 0,
        }
        ike = {key[4:]: child.pop(key) for key in list(child) if key.startswith("ike_")}
        settings.update(child)
        self.vici.request("load-conn", {connection: {
            "version": 2, "proposals": ["aes256gcm16-prfsha256-x25519"], "rekey_time": 0,
            **{"local_addrs": [self.address], "remote_addrs": [self.peer], **ike},
            "local": {"auth": "psk", "id": self.address}, "remote": {"auth": "psk", "id": self.peer},
            "children": {"c": settings}}})

    def initiate(self):
        self.vici.request("initiate", {"child": "c", "timeout": 8000})

    def children(self):
        """{unique id: section} of the CHILD_SAs."""
        return {c["uniqueid"]: c for ike in self.vici.sas().values() for c in ike["child-sas"].values()}

    def logged(self, text):
        return self.log.exists() and text in self.log.read_text(errors="replace")

    @staticmethod
    def until(condition, what, timeout=DEADLINE):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {timeout} s")
            time.sleep(0.02)


class Lab:
    def __init__(self, directory):
        self.dir = Path(directory)
        self.plugins = self.dir / "plugins"
        shutil.copytree(PLUGIN_DIR, self.plugins)
        shutil.copy(BUILD / "plugins" / "libstrongswan-kernel-gw.so", self.plugins)
        self._make_network()
        self.a = Node(self, "a", "10.9.0.1", "10.9.0.2")
        self.b = Node(self, "b", "10.9.0.2", "10.9.0.1")

    def _make_network(self):
        self._remove_network()
        for namespace in ("gwplA", "gwplB"):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "link", "add", "a0", "netns", "gwplA", "type", "veth", "peer", "name", "b0", "netns", "gwplB")
        for namespace, device, address in (("gwplA", "a0", "10.9.0.1"), ("gwplB", "b0", "10.9.0.2")):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")

    @staticmethod
    def _remove_network():
        for namespace in ("gwplA", "gwplB"):
            run("ip", "netns", "del", namespace, check=False)

    def start(self):
        self.a.start(instance=3)
        self.b.start()
        for node in (self.a, self.b):
            node.recorder.wait("sync_done")

    def close(self):
        try:
            self.a.end()
            self.b.end()
        finally:
            self._remove_network()


__all__ = ["Lab", "Node", "Recorder", "ViciError", "missing", "pb", "run"]
