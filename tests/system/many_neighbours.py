"""A bgpd with hundreds of established neighbours, all played by one BIRD, and gw-bgp-delta that takes one away and gives it back.

   gw: zebra, bgpd 10.99.0.1/16  ----veth----  peers: BIRD, one protocol for each address 10.99.1.1, 10.99.1.2, ...

Every neighbour announces a prefix of its own, so that a change is told to all the others, as among sites.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from lab import BIN, Lab, Namespace, command, poll
from peers import Frr

GATEWAY = "10.99.0.1"
FIRST = ipaddress.ip_address("10.99.1.0")
TOOL = BIN / "gw-bgp-delta"
# The kernel's neighbour table is the whole machine's; with fewer entries than peers it throws out live ones.
THRESHOLDS = {"gc_thresh1": 4096, "gc_thresh2": 8192, "gc_thresh3": 16384}


def seconds_of_day(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def changed(before: dict, after: dict) -> set[str]:
    """Peers whose session is another one; BIRD's clock wavers by a millisecond."""
    return {name for name, (state, since) in before.items() if after[name][0] != state or abs(after[name][1] - since) > 0.2}


class ManyNeighbours(Lab):
    def __init__(self, name: str, count: int):
        self.count = count
        super().__init__(name)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def _build(self):
        self.widen_neighbour_table()
        for role in ("gw", "peers"):
            self.ns[role] = Namespace(self.prefix, role)
        self.link("gw", "tun1", "peers", "gw0")
        self.ns["gw"].ip(f"addr add {GATEWAY}/16 dev tun1")
        self.ns["peers"].ip(*(f"addr add {address}/16 dev gw0" for address in self.addresses_of_peers()))

    def widen_neighbour_table(self):
        for name, least in THRESHOLDS.items():
            setting = Path("/proc/sys/net/ipv4/neigh/default") / name
            before = setting.read_text()
            if int(before) < least:
                setting.write_text(str(least))
                self.on_close(lambda setting=setting, before=before: setting.write_text(before))

    def addresses_of_peers(self):
        return [str(FIRST + n) for n in range(1, self.count + 1)]

    def start(self):
        self.frr = Frr(self, "gw")
        self.frr.start("zebra")
        self.frr.start("bgpd", "-M", "bmp")
        self.tool("setup", timeout=60)
        self.start_bird()
        poll(f"{self.count} sessions are established (now: {self.established()})",
             lambda: self.established() == self.count, 90, 0.5)

    def start_bird(self):
        directory = self.private_dir("bird")
        lines = ["router id 192.0.2.1;", "protocol device { }", "protocol static s { ipv4;"]
        lines += [f"route {self.prefix_of(n)} blackhole;" for n in range(1, self.count + 1)]
        lines += ["}", """template bgp site { hold time 180; keepalive time 60; connect retry time 1; connect delay time 1;
            error wait time 1, 2; graceful restart on; }"""]
        lines += [f"""protocol bgp p{n} from site {{ local {address} as 65021; neighbor {GATEWAY} as 65515;
            ipv4 {{ import none; export where net = {self.prefix_of(n)}; }}; }}"""
                  for n, address in enumerate(self.addresses_of_peers(), 1)]
        (directory / "bird.conf").write_text("\n".join(lines))
        self.ctl = directory / "ctl"
        self.spawn("peers", "bird", ["bird", "-f", "-c", directory / "bird.conf", "-s", self.ctl, "-P", directory / "pid"])
        poll("BIRD's control socket", self.ctl.exists, 20)

    @staticmethod
    def prefix_of(n: int) -> str:
        return f"10.{100 + n // 256}.{n % 256}.0/24"

    def tool(self, *words, timeout: float = 120) -> str:
        mode, *rest = words
        return command([TOOL, self.frr.dir / "bgpd.vty", mode, self.count, *rest], timeout=timeout)

    def sessions(self) -> dict[str, tuple[str, float]]:
        """Peer -> its state, and since when (s of the day)."""
        out = command(["birdc", "-r", "-s", self.ctl, "show", "protocols"])
        rows = [line.split() for line in out.splitlines()]
        return {row[0]: (row[5], seconds_of_day(row[4])) for row in rows if len(row) > 5 and row[1] == "BGP"}

    def established(self) -> int:
        if not hasattr(self, "ctl"):
            return 0
        return sum(state == "Established" for state, _ in self.sessions().values())

    def measure(self, runs: int) -> dict:
        """One neighbour after the other is taken away and given back: {"remove_ms": [...], "add_ms": [...]}."""
        return json.loads(self.tool("measure", runs))
