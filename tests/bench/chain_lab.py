"""Four namespaces in a row for the chain benchmarks, and what may stand in the middle:

    chA (host)            cgA (gateway)               cgB (gateway)            chB (host)
    10.1.0.10  ah -- av  10.1.0.1   aw ==== bw        10.9.0.1  bv -- bh  10.9.0.10
                         192.0.2.1         192.0.2.2

Everything, hosts included, runs on the CPUs of CHAIN_CPUS. Everything is made inside ./dev's own namespaces.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "system"))
sys.path.insert(0, str(TOP / "build" / "release" / "python"))

CHAIN_CPUS = os.environ.get("GW_CHAIN_CPUS", "2,3")
HOST_A, HOST_B = "10.1.0.10", "10.9.0.10"
WAN = {"cgA": "192.0.2.1", "cgB": "192.0.2.2"}
NET = {"cgA": ("10.1.0.0", "10.9.0.0"), "cgB": ("10.9.0.0", "10.1.0.0")}  # own, the other's; /24
SIDE = {"cgA": "a", "cgB": "b"}


class ChainError(Exception):
    """Said to the user in one line."""


def run(*command, check=True, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if check and done.returncode:
        raise ChainError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace, *command):
    return ["ip", "netns", "exec", namespace, "nice", "-n", "-19", "taskset", "-c", CHAIN_CPUS, *[str(c) for c in command]]


def until(what, condition, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise ChainError(f"not within {seconds:.0f} s: {what}")


class Chain:
    """The links and the hosts. A system in the middle is a context manager that takes a Chain."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gw-chain-"))
        self.processes = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        for namespace in ("chA", "cgA", "cgB", "chB"):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
            run(*inside(namespace, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
                        "net.ipv4.ip_forward=1", "net.ipv6.conf.all.disable_ipv6=0"))
        for left, inner, right, outer in (("chA", "ah", "cgA", "av"), ("cgA", "aw", "cgB", "bw"), ("cgB", "bv", "chB", "bh")):
            run("ip", "-n", left, "link", "add", inner, "type", "veth", "peer", "name", outer, "netns", right)
            run("ip", "-n", left, "link", "set", inner, "up")
            run("ip", "-n", right, "link", "set", outer, "up")
        for namespace, address, interface in (("chA", f"{HOST_A}/24", "ah"), ("cgA", "10.1.0.1/24", "av"), ("cgA", "192.0.2.1/24", "aw"),
                                              ("cgB", "192.0.2.2/24", "bw"), ("cgB", "10.9.0.1/24", "bv"), ("chB", f"{HOST_B}/24", "bh")):
            run("ip", "-n", namespace, "addr", "add", address, "dev", interface)
        run("ip", "-n", "chA", "route", "add", "default", "via", "10.1.0.1")
        run("ip", "-n", "chB", "route", "add", "default", "via", "10.9.0.1")

    def __exit__(self, *_):
        for process in reversed(self.processes):
            self.end(process)
        for namespace in ("chA", "cgA", "cgB", "chB"):
            run("ip", "netns", "del", namespace, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, namespace, *command, env=None):
        log = (self.dir / f"{namespace}-{pathlib.Path(str(command[0])).name}.log").open("ab")
        process = subprocess.Popen(inside(namespace, *command), stdout=log, stderr=subprocess.STDOUT,
                                   env={**os.environ, **(env or {})})
        self.processes.append(process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def logs(self):
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-600:]}" for p in self.dir.glob("*.log"))

    def wait_connected(self, seconds=20):
        def answers():
            return subprocess.run(inside("chA", "ping", "-c1", "-W1", HOST_B), capture_output=True).returncode == 0
        try:
            until("the hosts reach each other", answers, seconds)
        except ChainError as error:
            raise ChainError(f"{error}\n{self.logs()}") from None

    def iperf(self, *options, seconds=4.0):
        """The end section of one iperf3 run, A to B."""
        server = self.start("chB", "iperf3", "-s", "-1", "--forceflush")
        until("iperf3 listens", lambda: "5201" in run(*inside("chB", "ss", "-Hltn")))
        try:
            out = subprocess.run(inside("chA", "iperf3", "-c", HOST_B, "-J", "-t", f"{seconds:.0f}", *options),
                                 capture_output=True, text=True, timeout=seconds + 20).stdout
        finally:
            self.end(server)
        result = json.loads(out)
        if "error" in result:
            raise ChainError(f"iperf3: {result['error']}")
        return result["end"]

    def tcp_bits(self, seconds=4.0, streams=1):
        """Received bits a second."""
        return self.iperf("-P", str(streams), "-O", "1", seconds=seconds)["sum_received"]["bits_per_second"]

    def udp_packets(self, payload, offered, streams=8, seconds=2.0):
        """Received packets a second of `offered` ones, in `streams` flows."""
        end = self.iperf("-u", "-l", payload, "-P", str(streams), "-b", f"{offered * payload * 8 // streams}", seconds=seconds)
        s = end["sum"]
        return (s["packets"] - s["lost_packets"]) / s["seconds"]


class Routing:
    """No gateway: the kernel forwards in the clear."""
    name = "plain routing"

    def __init__(self, chain):
        self.chain = chain

    def __enter__(self):
        for namespace, peer in (("cgA", "192.0.2.2"), ("cgB", "192.0.2.1")):
            run("ip", "-n", namespace, "route", "add", f"{NET[namespace][1]}/24", "via", peer)
        self.chain.wait_connected()
        return self

    def __exit__(self, *_):
        for namespace in ("cgA", "cgB"):
            run("ip", "-n", namespace, "route", "del", f"{NET[namespace][1]}/24", check=False)


class WireguardGo:
    name = "wireguard-go"

    def __init__(self, chain):
        self.chain, self.processes = chain, []

    def __enter__(self):
        keys = {}
        for namespace in ("cgA", "cgB"):
            private = run("wg", "genkey").strip()
            keys[namespace] = (private, run("wg", "pubkey", input=private).strip())
        for namespace, other in (("cgA", "cgB"), ("cgB", "cgA")):
            device = f"wg{SIDE[namespace]}"
            self.processes.append(self.chain.start(namespace, "wireguard-go", "-f", device))
            until("wireguard-go makes its device", lambda: device in run("ip", "-n", namespace, "-br", "link"))
            key = self.chain.dir / f"{device}.key"
            key.write_text(keys[namespace][0])
            run(*inside(namespace, "wg", "set", device, "private-key", key, "listen-port", "51820", "peer", keys[other][1],
                        "allowed-ips", "0.0.0.0/0", "endpoint", f"{WAN[other]}:51820"))
            run("ip", "-n", namespace, "link", "set", device, "up", "mtu", "1420")
            run("ip", "-n", namespace, "route", "add", f"{NET[namespace][1]}/24", "dev", device)
        self.chain.wait_connected()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            self.chain.end(process)


class UserSpaceCopy:
    """socat carries packets between a TUN device and UDP, unencrypted: what two wake-ups of a process cost by themselves."""
    name = "socat, no encryption"
    PORT = 7070

    def __init__(self, chain):
        self.chain, self.processes = chain, []

    def __enter__(self):
        for namespace, other in (("cgA", "cgB"), ("cgB", "cgA")):
            device = f"copy{SIDE[namespace]}"
            self.processes.append(self.chain.start(
                namespace, "socat", f"TUN,tun-name={device},tun-type=tun,iff-no-pi,iff-up",
                f"UDP-DATAGRAM:{WAN[other]}:{self.PORT},bind={WAN[namespace]}:{self.PORT}"))
            until("socat makes its device", lambda: device in run("ip", "-n", namespace, "-br", "link"))
            run("ip", "-n", namespace, "link", "set", device, "up", "mtu", "1400")
            run("ip", "-n", namespace, "route", "add", f"{NET[namespace][1]}/24", "dev", device)
        self.chain.wait_connected()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            self.chain.end(process)


class Gateways:
    """Two gw-fastpath processes, fed over the RPC as charon and gwd would."""
    name = "gw-fastpath"

    def __init__(self, chain, *options):
        self.chain, self.options, self.processes, self.clients = chain, options, [], []

    def __enter__(self):
        import fastpath_lab as fp
        keys = {"cgA": os.urandom(36), "cgB": os.urandom(36)}  # by who encrypts
        for namespace, other in (("cgA", "cgB"), ("cgB", "cgA")):
            side = SIDE[namespace]
            home = self.chain.dir / f"gateway-{side}"
            home.mkdir(exist_ok=True)
            path = home / "fastpath.sock"
            self.processes.append(self.chain.start(
                namespace, fp.FASTPATH, "--wan", f"{side}w", "--vnet", f"{side}v", "--socket", path, "--state-dir", home / "state",
                "--state-on-disk-for-tests", *self.options))
            try:
                until("gw-fastpath answers", path.exists)
            except ChainError as error:
                raise ChainError(f"{error}\n{self.chain.logs()}") from None
            ike, control = (fp.Rpc(path, role) for role in (fp.pb.ROLE_IKE, fp.pb.ROLE_CONTROL))
            self.clients += [ike, control]
            self._configure(fp, namespace, other, ike, control, keys)
        for namespace in ("cgA", "cgB"):
            run("ip", "-n", namespace, "route", "add", f"{NET[namespace][1]}/24", "dev", "tun1")
        self.chain.wait_connected()
        return self

    def _configure(self, fp, namespace, other, ike, control, keys):
        control.ok(put_tunnel=fp.pb.PutTunnel(tunnel_id=1, name="site1", device="tun1", mtu=1420, mss_clamp=1380))
        routes = []
        for prefix, hop in ((NET[namespace][1], dict(kind=fp.pb.NEXT_HOP_TUNNELS, tunnel_ids=[1])),
                            (NET[namespace][0], dict(kind=fp.pb.NEXT_HOP_VNET))):
            routes.append(fp.pb.Route(prefix=fp.packed(prefix), prefix_length=24, **hop))
        control.ok(update_routes=fp.pb.UpdateRoutes(add=routes))
        here, there = WAN[namespace], WAN[other]
        spi = {"cgA": 0x1001, "cgB": 0x2001}  # by who decrypts
        more = dict(udp=True, window=4096)
        ike.ok(add_sa=fp.add_sa(spi[namespace], there, here, keys[other], True, **more))
        ike.ok(add_sa=fp.add_sa(spi[other], here, there, keys[namespace], False, **more))
        ike.ok(activate_outbound=fp.pb.ActivateOutbound(id=fp.pb.SaId(spi=spi[other], dst=fp.packed(there))))

    def __exit__(self, *_):
        for client in self.clients:
            client.close()
        for process in self.processes:
            self.chain.end(process)


class Libipsec:
    """strongSwan's user-space ESP (kernel-libipsec) in both gateways, stock packages."""
    name = "strongSwan kernel-libipsec"
    PLUGINS = ("random nonce openssl aes sha1 sha2 hmac kdf gcm curve25519 kernel-libipsec kernel-netlink socket-default vici "
               "updown")

    def __init__(self, chain):
        self.chain, self.processes = chain, []

    def __enter__(self):
        for namespace in ("cgA", "cgB"):
            self._start_charon(namespace)
        for namespace, other in (("cgB", "cgA"), ("cgA", "cgB")):
            self._load(namespace, other)
        self._swanctl("cgA", "--initiate", "--child", "net", "--timeout", "10")
        for namespace in ("cgA", "cgB"):
            run("ip", "-n", namespace, "link", "set", "ipsec0", "up", "mtu", "1400")
            run("ip", "-n", namespace, "route", "replace", f"{NET[namespace][1]}/24", "dev", "ipsec0")
        self.chain.wait_connected()
        return self

    def _dir(self, namespace):
        return self.chain.dir / f"charon-{SIDE[namespace]}"

    def _start_charon(self, namespace):
        home = self._dir(namespace)
        home.mkdir(exist_ok=True)
        conf = home / "strongswan.conf"
        conf.write_text(f"""
charon {{
  load_modular = no
  install_routes = no
  load = {self.PLUGINS}
  plugins {{
    vici {{ socket = unix://{home}/vici.sock }}
    kernel-libipsec {{ allow_peer_ts = yes }}
  }}
}}
charon-systemd {{ load = {self.PLUGINS} }}
""")
        self.processes.append(self.chain.start(namespace, "/usr/sbin/charon-systemd", env={"STRONGSWAN_CONF": str(conf)}))
        until("charon answers", (home / "vici.sock").exists)

    def _swanctl(self, namespace, *command):
        home = self._dir(namespace)
        return run("env", f"SWANCTL_DIR={home}", f"STRONGSWAN_CONF={home}/strongswan.conf", "swanctl", *command, "--uri",
                   f"unix://{home}/vici.sock")

    def _load(self, namespace, other):
        (self._dir(namespace) / "swanctl.conf").write_text(f"""
connections {{ net {{
  version = 2
  local_addrs = {WAN[namespace]}
  remote_addrs = {WAN[other]}
  proposals = aes256gcm16-prfsha256-curve25519
  local {{ auth = psk
    id = {WAN[namespace]} }}
  remote {{ auth = psk
    id = {WAN[other]} }}
  children {{ net {{
    local_ts = {NET[namespace][0]}/24
    remote_ts = {NET[namespace][1]}/24
    esp_proposals = aes256gcm16-noesn }} }}
}} }}
secrets {{ ike {{ secret = of-the-benchmark-5d81 }} }}
""")
        self._swanctl(namespace, "--load-all", "--file", self._dir(namespace) / "swanctl.conf")

    def __exit__(self, *_):
        for process in self.processes:
            self.chain.end(process)
