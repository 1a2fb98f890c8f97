"""soak-xsk, soak-gso: does gw-fastpath's memory grow? For 30 minutes (GW_SOAK_SECONDS), in cycles: traffic of several sizes in both
directions and families, every kind of flood (gw-flood) at 20,000 packets a second, new keys of every kind, sessions and their routes
that go and come back, tunnels that a commit adds and takes away.

The value is by how much the resident memory of gw-fastpath was larger at the end of any later cycle than after the warm-up (a fifth
of the time, at least two cycles). The note has what it began and ended with, the heap alone, BPF's maps, and the other processes.
"""
import itertools
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

SECONDS = float(os.environ.get("GW_SOAK_SECONDS", 1800))
TUNNELS = 8
FLOODS = ("unknown-spi", "bad-icv", "replay", "ike-init", "fragments", "clear")
FLOOD_SECONDS, FLOOD_RATE = 2, 20_000
PROBES = 200  # packets a second of each flow
COPIED = 16 << 20


def status(pid, field):
    """Bytes, of /proc/PID/status."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def maps_bytes(pid):
    """What the kernel has for the BPF maps that a process holds; each map once."""
    maps = {}
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        if "map_id" in fields:
            maps[fields["map_id"].strip()] = int(fields["memlock"])
    return sum(maps.values())


class Scene:
    def __init__(self, kind):
        from lab import Site
        from world import World
        self.sites = [Site(k) for k in range(1, TUNNELS + 1)]
        self.world = World(f"bench-soak-{kind}", self.sites, ports=kind, bfd=tuple(self.sites),
                           connections={site.name: {"initiate": "initiator-only"} for site in self.sites})
        self.said = 0

    def __enter__(self):
        self.world.__enter__()
        return self

    def __exit__(self, *exception):
        self.world.__exit__(*exception)

    def processes(self):
        """pid by name; those that started anew meanwhile would hide what they had."""
        gateway = self.world.gateway
        return {"gw-fastpath": gateway.fastpath_pid(), "gwd": gateway.gwd.pid, "charon": gateway.charon.process.pid,
                "bgpd": gateway.bgpd().pid}

    def cycle(self, n):
        with self.world.probes.load(*self.sites, rate=PROBES) as load:
            for kind in FLOODS:
                self.flood(kind)
            site = self.sites[n % len(self.sites)]
            office = self.world.offices[site.name]
            office.vpn.rekey_child()
            office.vpn.rekey_ike()
            self.copy(site)
        if not all(r.received for r in load.results):
            raise RuntimeError(f"a flow got nothing: {[str(r) for r in load.results if not r.received]}")
        office.router.birdc("restart", "gw")
        self.come_and_go()
        for site in self.sites:
            self.world.wait_up(site, 60)

    def flood(self, kind):
        from lab import BIN, GW_WAN4
        mac = self.world.lab.ns["gw"].run("cat", "/sys/class/net/eth0/address").strip()
        out = self.world.lab.ns["wan"].run(BIN / "gw-flood", kind, "--interface", "gw", "--mac", mac, "--to", GW_WAN4, "--inner",
                                           self.sites[0].inner_gw, "--seconds", FLOOD_SECONDS, "--rate", FLOOD_RATE)
        self.said += json.loads(out)["sent"]

    def copy(self, site):
        """Segments of full size, and superpackets where the ports are of that kind."""
        from lab import VNET_HOST4
        from probes import tcp_copy
        inside, outside = ("vnet", VNET_HOST4), (f"host{site.index}", site.host4)
        for source, sink in ((inside, outside), (outside, inside)):
            tcp_copy(self.world.lab, source, sink, COPIED)

    def come_and_go(self):
        """A commit takes the last tunnel away, another one brings it back."""
        gateway = self.world.gateway
        without = gateway.doc | {"connections": gateway.doc["connections"][:-1]}
        for document in (without, gateway.doc):
            gateway.ctl("apply", gateway.write(document))


def soak(kind):
    with Scene(kind) as scene:
        pids = scene.processes()
        pid = pids["gw-fastpath"]
        first = {name: status(p, "VmRSS") for name, p in pids.items()}
        heap = status(pid, "VmData")
        begun, warm, resident = time.monotonic(), None, []
        for n in itertools.count():
            scene.cycle(n)
            resident.append(status(pid, "VmRSS"))
            took = time.monotonic() - begun
            print(f"soak-{kind}: {took:4.0f} s, cycle {n + 1}, gw-fastpath {resident[-1] / 2**20:.1f} MiB", file=sys.stderr, flush=True)
            if warm is None and n >= 1 and took > SECONDS / 5:
                warm = len(resident)
            elif warm is not None and took > SECONDS:
                break
        if scene.processes() != pids:
            raise RuntimeError(f"a process was started anew: {pids} before, {scene.processes()} now")
        grown = (max(resident[warm:]) - resident[warm - 1]) / 2**20
        others = ", ".join(f"{name} {first[name] / 2**20:.1f} -> {status(p, 'VmRSS') / 2**20:.1f} MiB" for name, p in pids.items())
        note = (f"{len(resident)} cycles in {took:.0f} s, {TUNNELS} tunnels, {scene.said:,} packets of floods. {others}; "
                f"address space of gw-fastpath's data {(status(pid, 'VmData') - heap) / 2**20:+.1f} MiB; "
                f"BPF maps {maps_bytes(pid) / 2**20:.1f} MiB.")
        return {"value": grown, "unit": "MiB", "reference": "after the warm-up", "reference_value": resident[warm - 1] / 2**20,
                "ratio": 0.0, "runs": len(resident), "spread": 0.0, "note": note}


BENCHMARKS = {f"soak-{kind}": (f"memory of gw-fastpath under everything for {SECONDS / 60:.0f} minutes, kind {kind}",
                               lambda kind=kind: soak(kind)) for kind in ("xsk", "gso")}
