"""Two instances of a gateway and two sites, for IKE takeover: real charons everywhere, recorders for the fast paths.

    namespace A  [charon a, gw-ha]--- 10.9.0.1 (endpoint 1) --+
    namespace B  [charon b, gw-ha]--- 10.9.0.2 (endpoint 2) --+-- bridge, namespace N
    namespace S  [charon s: a stock one's IKE] --- 10.9.0.9 --+

The gwds and the channel between them are gw-ha-links: two HaLinks joined by a pipe that can be cut. Tunnel n is between
endpoint n's address and 10.9.0.9, connection "tN", child "cN", interface id N; both instances know both.
Runs inside ./dev's root; removes what it makes.
"""
import json
import os
import subprocess
import threading
from contextlib import suppress

import pytest

from plugin_lab import BUILD, LOAD, PLUGIN_DIR, Node, missing as plugin_missing, run

import shutil
from pathlib import Path

SITE = "10.9.0.9"
HOME = {"a": "10.9.0.1", "b": "10.9.0.2"}
PREFIX = f"gwih{os.getpid()}"  # another module may have a lab of its own at the same time
NAMESPACES = {name: f"{PREFIX}{name.upper()}" for name in ("a", "b", "s")}
BRIDGE = f"{PREFIX}N"
INSTANCE_LOAD = LOAD.replace("kernel-gw!", "kernel-gw! gw-ha!")


def missing():
    if not (BUILD / "plugins" / "libstrongswan-gw-ha.so").exists():
        return f"gw-ha is not built in {BUILD}"
    return plugin_missing()


class Links:
    """The two gwds and the channel, as far as IKE is concerned."""

    def __init__(self):
        self.process = subprocess.Popen([str(BUILD / "bin" / "gw-ha-links")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()

    def __call__(self, *words):
        with self._lock:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"{words}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(5)


class Instance(Node):
    """A gateway instance: its charon has gw-ha."""

    def __init__(self, lab, name):
        super().__init__(lab, name, HOME[name], SITE, prefix=PREFIX)
        self._lab = lab
        self.sync = self.dir / "sync.sock"

    def start(self, instance=None, **_):
        super().start(instance={"a": 1, "b": 2}[self.name], load=INSTANCE_LOAD, settings=self._lab.charon_settings,
                      plugins=f"gw-ha {{ socket = {self.sync} }}")
        for load in self._lab.loads:
            load(self)
        self.until(lambda: self._lab.links("state", self.name)["charon"], "gw-ha's connection")
        self._lab.links("loaded", self.name)

    def ikes(self, state=None):
        """{connection: IKE SA section} of this charon's established, or of those in `state`."""
        found = {}
        for message in self.vici.stream("list-sas", "list-sa"):
            for name, sa in message.items():
                if state is None or sa["state"] == state:
                    found.setdefault(name, []).append(sa)
        return found

    def children_of(self, connection, state=None):
        """Unique ids don't travel; SPIs do: {inbound SPI: section}."""
        return {child["spi-in"]: child for sa in self.ikes(state).get(connection, [])
                for child in sa["child-sas"].values()}


class Site(Node):
    def __init__(self, lab):
        super().__init__(lab, "s", SITE, "", prefix=PREFIX)

    ikes = Instance.ikes
    children_of = Instance.children_of


def load_tunnel(node, endpoint, local, remote, number=None, **settings):
    """Tunnel `number` (default: the endpoint's) on this node; settings as plugin_lab's load()."""
    number = number or endpoint
    gateway, site = f"gw{number}.example", f"site{number}.example"
    mine, theirs = (site, gateway) if local == SITE else (gateway, site)
    node.vici.request("load-shared", {"id": f"psk{number}", "type": "IKE", "data": f"correct horse {number}",
                                      "owners": [gateway, site]})
    child = {"mode": "tunnel", "esp_proposals": ["aes256gcm16-x25519"], "if_id_in": number, "if_id_out": number,
             "local_ts": ["0.0.0.0/0"], "remote_ts": ["0.0.0.0/0"], "rekey_time": 0, "life_time": 0, "rekey_packets": 0,
             "rekey_bytes": 0}
    ike = {key[4:]: settings.pop(key) for key in list(settings) if key.startswith("ike_")}
    child.update(settings)
    node.vici.request("load-conn", {f"t{number}": {
        "version": 2, "proposals": ["aes256gcm16-prfsha256-x25519"], "rekey_time": 0, "mobike": "no", "unique": "never",
        "local_addrs": [local], "remote_addrs": [remote], **ike,
        "local": {"auth": "psk", "id": mine}, "remote": {"auth": "psk", "id": theirs},
        "children": {f"c{number}": child}}})


class HaLab:
    def __init__(self, directory, charon_settings=""):
        self.dir = Path(directory)
        self.charon_settings = charon_settings
        self.loads = []  # what an instance's charon is told again when it has restarted
        self.plugins = self.dir / "plugins"
        shutil.copytree(PLUGIN_DIR, self.plugins)
        for name in ("kernel-gw", "gw-ha"):
            shutil.copy(BUILD / "plugins" / f"libstrongswan-{name}.so", self.plugins)
        self._make_network()
        self.a, self.b, self.s = Instance(self, "a"), Instance(self, "b"), Site(self)
        self.links = Links()

    # --- network

    def _make_network(self):
        self._remove_network()
        for namespace in (BRIDGE, *NAMESPACES.values()):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", BRIDGE, "link", "add", "name", "br0", "type", "bridge")
        run("ip", "-n", BRIDGE, "link", "set", "br0", "up")
        for name, namespace in NAMESPACES.items():
            run("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", f"p{name}",
                "netns", BRIDGE)
            run("ip", "-n", BRIDGE, "link", "set", f"p{name}", "master", "br0", "up")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
        for name, address in (*HOME.items(), ("s", SITE)):
            self.give(name, address)

    @staticmethod
    def _remove_network():
        for namespace in (BRIDGE, *NAMESPACES.values()):
            run("ip", "netns", "del", namespace, check=False)

    @staticmethod
    def give(name, address):
        run("ip", "-n", NAMESPACES[name], "addr", "add", f"{address}/24", "dev", "eth0")

    @staticmethod
    def take_away(name, address):
        run("ip", "-n", NAMESPACES[name], "addr", "del", f"{address}/24", "dev", "eth0")

    def move_address(self, address, source, target):
        """As gratuitous ARP would have it: the site knows at once."""
        with suppress(RuntimeError):
            self.take_away(source, address)
        self.give(target, address)
        run("ip", "-n", NAMESPACES["s"], "neigh", "flush", "dev", "eth0")

    @staticmethod
    def silence(name, exchange):
        """Messages of this exchange type (RFC 7296 3.1) do not leave the namespace."""
        for rule in ("add table ip silence", "add chain ip silence out { type filter hook output priority 0; }",
                     f"add rule ip silence out udp dport 500 @th,208,8 {exchange} drop"):
            run("ip", "netns", "exec", NAMESPACES[name], "nft", rule)

    # --- life

    def start(self):
        for name, node in (("a", self.a), ("b", self.b)):
            self.links("listen", name, node.sync)
            node.start()
        self.s.start()
        for node in (self.a, self.b, self.s):
            node.recorder.wait("sync_done")
        self.links("up")
        for name in HOME:
            self.links("take", name, HOME[name])
        self.wait_synced()

    def wait_synced(self):
        for name in HOME:
            Node.until(lambda: self.links("state", name)["synced"], f"a full sync to {name}")

    def tunnel(self, endpoint=1, number=None, site=None, **settings):
        """Known to everybody, not up. `site`: settings that differ there."""
        address = HOME["a" if endpoint == 1 else "b"]
        load = lambda node: load_tunnel(node, endpoint, address, SITE, number, **settings)  # noqa: E731
        self.loads.append(load)
        load(self.a)
        load(self.b)
        load_tunnel(self.s, endpoint, SITE, address, number, **{**settings, **(site or {})})

    def initiate(self, node, number=1):
        node.vici.request("initiate", {"child": f"c{number}", "timeout": 8000})

    def take_over(self, survivor="b", dead="a"):
        """`dead` is killed; `survivor` takes its address. Returns charon's own measurement."""
        getattr(self, dead).kill()
        self.links("kill", dead)
        self.move_address(HOME[dead], dead, survivor)
        return self.links("take", survivor, HOME[dead])

    def close(self):
        try:
            for node in (self.a, self.b, self.s):
                node.end()
            self.links.close()
        finally:
            self._remove_network()


@pytest.fixture
def lab(tmp_path):
    lab = HaLab(tmp_path)
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


def added(node, since=0):
    """{(SPI, inbound): AddSa} of those that are still there."""
    sas = {}
    for frame in node.recorder.since(since):
        if frame.kind == "add_sa":
            sas[frame.body.id.spi, frame.body.inbound] = frame.body
        elif frame.kind == "del_sa":
            for inbound in (True, False):
                sas.pop((frame.body.id.spi, inbound), None)
    return sas


def held(node, connection="t1"):
    """The passive IKE SAs of that connection have their child."""
    sas = node.ikes("PASSIVE").get(connection, [])
    return len(sas) == 1 and len(sas[0]["child-sas"]) == 1


def up(lab, number=1, by=None):
    lab.initiate(by or lab.a, number)
    Node.until(lambda: held(lab.b, f"t{number}") and lab.s.children_of(f"t{number}"), "the passive SAs on b")


def other_than(node, spi, connection="t1"):
    """Whether it has an IKE SA, and not the one of this SPI. In the middle of a rekeying it has none that is established."""
    now = [sa["initiator-spi"] for sa in node.ikes("ESTABLISHED").get(connection, [])]
    return now and spi not in now


def same_keys(survivor, site, every=True):
    """Every SA of the site's has its other half on the survivor, with the same key. Not `every`: one each way has."""
    ours, ways = added(survivor), set()
    for (spi, inbound), sa in added(site).items():
        other = ours.get((spi, not inbound))
        if other is None and every or other is not None and other.key != sa.key:
            return False
        if other is not None:
            ways.add(inbound)
    return len(ways) == 2


def rekeyed(lab, gateway, by, connection="t1"):
    """A CHILD_SA rekeying, begun by `by`, leaves both ends with a new pair that fits."""
    before = set(gateway.children_of(connection))
    old = next(iter(gateway.ikes().values()))[0]["version"] == "1"  # keeps a rekeyed CHILD_SA until its lifetime ends
    by.vici.request("rekey", {"child": "c" + connection[1:]})
    Node.until(lambda: len((now := set(gateway.children_of(connection))) - before) == 1 and (old or not now & before),
               "the new CHILD_SA")
    Node.until(lambda: same_keys(gateway, lab.s, every=not old), "the same keys at both ends")


def snapshot(node):
    """What a full sync has to bring about on the other one: {connection: SPIs of its IKE SAs and their children}."""
    return {name: sorted((sa["initiator-spi"], *sorted(c["spi-in"] for c in sa["child-sas"].values())) for sa in sas)
            for name, sas in node.ikes().items()}
