"""flood-xsk, flood-gso: attacks at the wan port at the highest rate that the generator (gw-flood) makes on this machine, one after the
other, beside 50 live tunnels (GW_FLOOD_SITES) with BGP, BFD (300 ms x 3) and traffic in both directions; and a tunnel at ten times
its rate beside the others.

The value is the worst loss of good traffic of all kinds of flood, the reference what is lost without one. Generator, gateway, sites and
probes share this machine's CPUs: the note has, for each flood, packets a second, the loss, the share of CPU time that gw-fastpath
got, how much its memory grew, and what the counters say. A session that goes down makes the benchmark fail.
"""
import concurrent.futures
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

KINDS = ("unknown-spi", "bad-icv", "replay", "ike-init", "fragments", "clear")
SECONDS, RECORDED_SECONDS = 5.0, 20.0
PROBES = 200          # packets a second of good traffic to each of some sites
PROBED = 5            # sites; each with both families
RATE = "1Mbit/s"      # of the tunnel that is sent more than ten times as much
GROWTH = 64 << 20     # bytes of resident memory that a flood may cost


def timers(site):
    return {"bgp": {"addresses": {"gw-a": {"local": site.inner_gw, "peer": site.inner_site}}, "keepalive": "3s", "hold": "9s",
                    "bfd": {"interval": "300ms", "multiplier": 3}}}


class Scene:
    def __init__(self, kind, seconds):
        from lab import Site
        from world import World
        self.seconds = seconds
        self.sites = [Site(k) for k in range(1, 1 + int(os.environ.get("GW_FLOOD_SITES", 50)))]
        connections = {site.name: timers(site) for site in self.sites}
        connections[self.sites[-1].name]["rate"] = RATE
        self.world = World(f"bench-flood-{kind}", self.sites, ports=kind, bfd=tuple(self.sites), connections=connections)

    def __enter__(self):
        self.world.__enter__()
        from lab import poll
        poll("BFD with all sites", lambda: all(p.get("bfd", "").startswith("up") for p in self.peers()), 60, 0.5)
        routers = [self.world.offices[site.name].router for site in self.sites]
        with concurrent.futures.ThreadPoolExecutor(len(routers)) as pool:
            list(pool.map(lambda router: router.lasting_session(), routers))
        return self

    def __exit__(self, *exception):
        self.world.__exit__(*exception)

    def peers(self):
        return self.world.gateway.json("show", "bgp")["peers"]

    def process(self):
        """(CPU seconds, resident bytes) of gw-fastpath."""
        pid = self.world.gateway.fastpath_pid()
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")

    def under(self, attack):
        """What becomes of good traffic while attack() runs: (its result, loss, share of one CPU, bytes grown, counters grown)."""
        routers = [self.world.offices[site.name].router for site in self.sites]
        since = [router.session_since() for router in routers]
        drops, (cpu, memory) = self.world.gateway.drops(), self.process()
        start = time.monotonic()
        with self.world.probes.load(*self.sites[:PROBED], rate=PROBES) as load:
            said = attack()
        took = time.monotonic() - start
        cpu_after, memory_after = self.process()
        for router, begin in zip(routers, since):
            router.assert_uninterrupted_since(begin)
        down = [p["neighbor"] for p in self.peers() if not p.get("bfd", "").startswith("up")]
        if down:
            raise RuntimeError(f"BFD went down: {', '.join(down)}")
        if memory_after - memory > GROWTH:
            raise RuntimeError(f"gw-fastpath grew by {(memory_after - memory) >> 20} MiB")
        grown = {k: v - drops.get(k, 0) for k, v in self.world.gateway.drops().items() if v > drops.get(k, 0)}
        sent = sum(r.sent for r in load.results)
        loss = sum(r.lost for r in load.results) / max(sent, 1)
        return said, loss, (cpu_after - cpu) / took, memory_after - memory, grown

    def flood(self, kind):
        from lab import BIN, GW_WAN4
        mac = self.world.lab.ns["gw"].run("cat", "/sys/class/net/eth0/address").strip()
        out = self.world.lab.ns["wan"].run(BIN / "gw-flood", kind, "--interface", "gw", "--mac", mac, "--to", GW_WAN4,
                                           "--inner", self.sites[0].inner_gw, "--seconds", self.seconds, timeout=self.seconds + 30)
        return json.loads(out)["per_second"]

    def greedy(self):
        """18,000 packets a second of 92 bytes are 13 Mbit/s, into one tunnel."""
        with self.world.probes.load(self.sites[-1], rate=9_000):
            time.sleep(self.seconds)
        return 18_000


def report(name, measured):
    rate, loss, cpu, grown, counters = measured
    top = ", ".join(f"{k} {v}" for k, v in sorted(counters.items(), key=lambda c: -c[1])[:4])
    line = f"{name}: {rate / 1e3:.0f} kpps, {loss:.2%} of good packets lost, {cpu:.2f} CPU, {grown / 2**20:+.1f} MiB, {top or 'no drops'}"
    print(line, file=sys.stderr, flush=True)
    return line


def flood_on(kind):
    seconds = RECORDED_SECONDS if os.environ.get("GW_BENCH_RECORD") else SECONDS
    with Scene(kind, seconds) as scene:
        calm = scene.under(lambda: time.sleep(seconds) or 0)
        report("nothing", calm)
        results = {flood: scene.under(lambda flood=flood: scene.flood(flood)) for flood in KINDS}
        results["a tunnel at 10x its rate"] = scene.under(scene.greedy)
        notes = [report(name, measured) for name, measured in results.items()]
    losses = [loss * 100 for _, loss, _, _, _ in results.values()]
    return {"value": max(losses), "unit": "%", "reference": "no flood", "reference_value": calm[1] * 100, "ratio": 0.0,
            "runs": len(losses), "spread": 0.0, "note": f"{len(scene.sites)} tunnels. " + "; ".join(notes) + "."}


BENCHMARKS = {f"flood-{kind}": (f"good traffic beside floods at the wan port, kind {kind}", lambda kind=kind: flood_on(kind))
              for kind in ("xsk", "gso")}
