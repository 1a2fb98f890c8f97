"""Two instances whose leases are etcd's: the lab of ha_lab.py, with one etcd-server on the first sync network.

   gw-a eth3 10.255.0.1 --+
                          +-- s0 --- etcd 10.255.0.9:2379: TLS, and a certificate of each client
   gw-b eth3 10.255.0.2 --+

Losing it: `Etcd.kill` (its data stays), `EtcdLab.keep_from_etcd` (what one instance says to it is dropped). `Lab.part`
leaves it in reach of both.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from ha import HaWorld
from ha_lab import INSTANCES, HaInstance, HaLab
from lab import LabError, Namespace, Site, command, poll
from nonce_checker import NonceChecker, esp_of

ADDRESS = "10.255.0.9"
URL = f"https://{ADDRESS}:2379"
TTL = 2        # s, the shortest that gateway.yaml takes
EXPIRY = 0.5   # s: how often etcd looks for leases that have ended
RENEWED = TTL / 3
BELIEVED = 0.9 * TTL
LEASE = {"kind": "etcd", "endpoints": [URL], "ttl": f"{TTL}s",
         "tls": {"ca_file": "etcd/ca.crt", "cert_file": "etcd/client.crt", "key_file": "etcd/client.key"}}
CERTIFICATES = f"""
set -e
new="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
by="-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:false"
$new -keyout ca.key -out ca.crt -subj /CN=etcd-ca
$new $by -keyout server.key -out server.crt -subj /CN=etcd -addext subjectAltName=IP:{ADDRESS}
$new $by -keyout client.key -out client.crt -subj /CN=gwd -addext extendedKeyUsage=clientAuth
"""


class EtcdLab(HaLab):
    def _build_networks(self):
        super()._build_networks()
        self.ns["etcd"] = Namespace(self.prefix, "etcd")
        self.plug("etcd", "eth0", "s0", f"{ADDRESS}/24")

    def keep_from_etcd(self, instance: HaInstance):
        self.ns["etcd"].run("nft", "-f", "-", stdin=f"""
            add table ip cut
            add chain ip cut input {{ type filter hook input priority 0; }}
            add rule ip cut input ip saddr {instance.sync[0]} drop
            """)

    def let_to_etcd(self):
        self.ns["etcd"].run("nft", "-f", "-", stdin="add table ip cut\ndelete table ip cut\n")


class Etcd:
    """One etcd-server, and its API as the tests ask it."""

    def __init__(self, lab: EtcdLab):
        self.lab, self.dir = lab, lab.private_dir("etcd")
        subprocess.run(["sh", "-c", CERTIFICATES], cwd=self.dir, check=True, capture_output=True, timeout=20)
        self.process = lab.spawn("etcd", "etcd", [
            "etcd", "--data-dir", self.dir / "data", "--listen-client-urls", URL, "--advertise-client-urls", URL,
            "--cert-file", self.dir / "server.crt", "--key-file", self.dir / "server.key",
            "--client-cert-auth", "--trusted-ca-file", self.dir / "ca.crt"])
        self.wait()

    def wait(self):
        poll(f"etcd answers (log: {self.process.log})", self.answers, 20)

    def kill(self):
        self.process.kill()
        self.process.popen.wait(5)

    def start(self):
        self.process.start()
        self.wait()

    def curl(self, path: str, body: dict) -> list:
        return ["curl", "-sSfN", "--cacert", self.dir / "ca.crt", "--cert", self.dir / "client.crt", "--key", self.dir / "client.key",
                "-d", json.dumps(body), f"{URL}{path}"]

    def call(self, path: str, body: dict) -> dict:
        return json.loads(self.lab.ns["etcd"].run(*self.curl(path, body), "--max-time", "2"))

    def answers(self) -> bool:
        try:
            return bool(self.call("/v3/kv/range", {"key": text64("/")}))
        except LabError:
            return False

    def holder(self, address: str) -> str:
        """The instance that has the lease of an endpoint; empty: nobody."""
        found = self.call("/v3/kv/range", {"key": key_of(address)}).get("kvs")
        return holder_of(found[0]) if found else ""

    def history(self, address: str) -> History:
        return History(self, address)


def text64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def key_of(address: str) -> str:
    return text64(f"/gw/hub-lab/lease/{address}")


def holder_of(kv: dict) -> str:
    return INSTANCES[json.loads(base64.b64decode(kv["value"]))["instance"]].name if kv.get("value") else ""


class History:
    """with etcd.history(address) as history: ...; then history.holders: when (time.monotonic) the lease became whose, "" for nobody's."""

    def __init__(self, etcd: Etcd, address: str):
        self.etcd, self.address, self.holders = etcd, address, []
        self.ready = threading.Event()

    def __enter__(self) -> History:
        argv = self.etcd.lab.ns["etcd"].exec_argv(self.etcd.curl("/v3/watch", {"create_request": {"key": key_of(self.address)}}))
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        if not self.ready.wait(5):
            raise LabError("etcd shows no changes of its keys")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(5)
        self.thread.join(5)

    def read(self):
        for line in self.process.stdout:
            self.ready.set()  # it has said that it watches
            for event in json.loads(line)["result"].get("events", []):
                self.holders.append((time.monotonic(), holder_of(event["kv"])))


@dataclass
class Turn:
    """Packets of one instance, without one of the other's in between."""

    instance: str
    first: float
    last: float


class Senders(NonceChecker):
    """Which instance sent ESP to a site, and when (time.monotonic): in the order in which packets came to the wan's router."""

    def __init__(self, lab: HaLab):
        super().__init__([(lab.ns["wan"].name, "eth0")])
        self.sent: list[tuple[float, str, str]] = []

    def see(self, frame, place):
        super().see(frame, place)
        if found := esp_of(frame):
            destination, esp = found
            self.sent.append((self.at, socket.inet_ntoa(destination), INSTANCES[esp[8] >> 4].name))

    def turns(self, site: Site) -> list[Turn]:
        found: list[Turn] = []
        for at, destination, instance in self.sent:
            if destination != site.wan4:
                continue
            if found and found[-1].instance == instance:
                found[-1].last = at
            else:
                found.append(Turn(instance, at, at))
        return found

    def between(self, begin: float, end: float) -> list[tuple[float, str, str]]:
        return [packet for packet in self.sent if begin < packet[0] < end]


class Owners:
    """with Owners(world) as owners: ...; `gwctl ha show` of both instances, again and again; then owners.two()."""

    def __init__(self, world: EtcdWorld):
        self.world, self.samples, self.ended = world, [], threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def __enter__(self) -> Owners:
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(30)

    def sample(self):
        while not self.ended.is_set():
            for instance in INSTANCES:
                endpoints = self.world.of(instance).ha().get("endpoints", [])
                self.samples.append((instance.name, {e["address"]: e.get("term") for e in endpoints if e.get("owner") == instance.name}))

    def of(self, instance: HaInstance) -> set[frozenset]:
        """All that it was ever seen to have."""
        return {frozenset(owned) for name, owned in self.samples if name == instance.name}

    def two(self) -> list:
        """Of the samples: what one has, while the other one had it before and after, by the same claim."""
        found = []
        for before, now, after in zip(self.samples, self.samples[1:], self.samples[2:]):
            found += [(address, before[0], now[0]) for address in now[1]
                      if address in before[1] and before[1][address] == after[1].get(address)]
        return found


class EtcdWorld(HaWorld):
    lab_class = EtcdLab

    def __init__(self, name: str, **options):
        super().__init__(name, lease=LEASE, **options)

    def make_certificates(self):
        """etcd runs before the instances do."""
        super().make_certificates()
        self.etcd = Etcd(self.lab)
        for gateway in self.gateways.values():
            folder = gateway.etc / "etcd"
            folder.mkdir(mode=0o700)
            for name in ("ca.crt", "client.crt", "client.key"):
                shutil.copy(self.etcd.dir / name, folder)
            command(["chmod", "0600", folder / "client.key"])

    def senders(self) -> Senders:
        return Senders(self.lab)

    def alarms(self, instance: HaInstance) -> dict[str, str]:
        """Kind -> text, of those that are about no endpoint in particular."""
        return {a["kind"]: a["text"] for a in self.of(instance).ha().get("alarms", []) if not a.get("address")}

    def restore_all(self):
        self.lab.let_to_etcd()
        for instance in INSTANCES:
            self.lab.rejoin(instance)
        if not self.etcd.process.alive:
            self.etcd.start()
        super().restore_all()
