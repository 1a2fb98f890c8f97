"""What `./dev demo [--keep]` runs: a site's stock strongSwan and BIRD, our gateway, a tunnel, traffic.

Prints what happens step by step, with times; the last line says whether everything worked, and so does the
exit status. --keep leaves the lab running until Ctrl-C: `sudo ./dev lab gwctl show tunnels` looks into it.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import lab as lab_module
from gateway import connection_name
from lab import GW_WAN4, LOGS, VNET_HOST4, VNET_HOST6, VNET_PREFIXES, LabError, Site, poll
from probes import Capture, Copy, tcp_copy
from world import World

GIB = 1 << 30
BOLD, GREEN, RED, PLAIN = ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4
START = time.monotonic()


class Failed(Exception):
    """A step of the demo did not do what it should."""


def step(text: str):
    print(f"{BOLD}[{time.monotonic() - START:6.1f} s] {text}{PLAIN}", flush=True)


def show(text: str):
    print("".join(f"             {line}\n" for line in text.rstrip().splitlines()), end="", flush=True)


def bring_up(world: World, site: Site):
    gateway = world.gateway
    poll("the IPsec tunnel came up", lambda: gateway.tunnel_up(site), 30)
    step("IKE is up: an IKEv2 SA with a pre-shared key, an ESP SA pair in gw-fastpath")
    show(gateway.ctl("show", "tunnels"))
    show(gateway.ctl("show", "sas"))
    poll("BGP came up inside the tunnel", lambda: gateway.bgp_established(site), 30, 0.2)
    step("BGP is up inside the tunnel")
    show(gateway.ctl("show", "bgp"))
    poll("the routes are exchanged", lambda: set(site.prefixes) <= gateway.learned(site)
         and set(VNET_PREFIXES) <= gateway.advertised(site), 20, 0.2)
    step(f"Routes learned from {site.name}")
    show(gateway.ctl("show", "bgp", "learned", site.inner_site))
    step(f"Routes advertised to {site.name}")
    show(gateway.ctl("show", "bgp", "advertised", site.inner_site))
    router = world.offices[site.name].router
    poll("the customer's router has them", lambda: all(p in router.routes() for p in VNET_PREFIXES), 10, 0.2)
    step("... and as the customer's router (BIRD) has them")
    show(router.routes())


def ping_both_ways(world: World, site: Site):
    for family, vnet, there in ((4, VNET_HOST4, site.host4), (6, VNET_HOST6, site.host6)):
        poll(f"IPv{family} packets pass", lambda family=family: world.probes.reachable(site, family), 15, 0.2)
    for source, target in (("vnet", site.host4), ("vnet", site.host6), ("host1", VNET_HOST4), ("host1", VNET_HOST6)):
        out = world.lab.ns[source].run("ping", "-c", "3", "-i", "0.2", "-W", "1", target)
        summary = [line for line in out.splitlines() if "packet loss" in line or line.startswith("rtt")]
        place = "VNet host" if source == "vnet" else "site host"
        show(f"{place} -> {target}: {'; '.join(summary)}")
        if " 0% packet loss" not in out:
            raise Failed(f"ping from the {place} to {target} lost packets")


def copy_file(world: World, site: Site, size: int) -> Copy:
    """Copies while the gateway's live counters are shown."""
    result: list = []

    def work():
        try:
            result.append(tcp_copy(world.lab, ("host1", site.host4), ("vnet", VNET_HOST4), size, timeout=300))
        except LabError as error:
            result.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    before, last = int(world.gateway.tunnel(site)["in_bytes"]), time.monotonic()
    while worker.is_alive():
        worker.join(2)
        row, now = world.gateway.tunnel(site), time.monotonic()
        if row and worker.is_alive():
            count = int(row["in_bytes"])
            show(f"tunnel {row['name']}: in {int(row['in_packets']):>9,} packets, {(count - before) * 8 / (now - last) / 1e9:.2f} Gbit/s;"
                 f" out {int(row['out_packets']):>9,}; dropped {row['dropped_packets']}")
            before, last = count, now
    if isinstance(result[0], LabError):
        raise result[0]
    return result[0]


def report_capture(wan: Capture):
    counts = wan.summary()
    step("What the wan saw (tcpdump between the gateway and the internet)")
    for name, words in (("esp", "ESP, protocol 50"), ("udp4500", "UDP 4500 (ESP in UDP, IKE)"), ("ike", "UDP 500 (IKE)"),
                        ("arp_nd", "ARP and neighbour discovery"), ("other", "anything else")):
        show(f"{counts[name]:>10,}  {words}")
    if counts["other"]:
        show(wan.others())
        raise Failed(f"{counts['other']} packets on the wan are neither ESP nor IKE")
    if counts["esp"] + counts["udp4500"] < 1000:
        raise Failed("there is hardly any ESP on the wan: did the copy go another way?")


def run(world: World, size: int):
    site = world.lab.sites[0]
    step(f"The lab stands: VNet host {VNET_HOST4} - gateway {GW_WAN4} - internet - {site.name} {site.public4} - host {site.host4}")
    with Capture(world.lab) as wan:
        bring_up(world, site)
        step("Ping both ways, IPv4 and IPv6, through the tunnel")
        ping_both_ways(world, site)
        step(f"A file of {size / GIB:g} GiB, site host -> VNet host, over TCP")
        copy = copy_file(world, site, size)
    show(f"sent      sha256 {copy.sent_sha256}\nreceived  sha256 {copy.received_sha256}\n"
         f"{copy.bytes:,} bytes in {copy.seconds:.1f} s = {copy.gbit_per_s:.2f} Gbit/s"
         " (the stock site encrypts in one userspace process: it is the slower end)")
    if copy.sent_sha256 != copy.received_sha256 or copy.bytes != size:
        raise Failed("the file did not arrive as it was sent")
    report_capture(wan)
    step("Counters of the gateway, and the kind of its ports")
    show(world.gateway.ctl("show", "counters"))
    show(world.gateway.ctl("show", "interfaces"))


def keep(world: World):
    world.gateway.write_lab_exec()
    step("The lab stays. Try, from another terminal:")
    show("sudo ./dev lab gwctl show tunnels\nsudo ./dev lab gwctl show routes\n"
         f"sudo ./dev lab gwctl validate {world.gateway.config}\n"
         f"sudo ./dev lab ping -I 10.0.1.1 {world.lab.sites[0].host4}\nCtrl-C here ends it.")
    while True:
        time.sleep(3600)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the lab running until Ctrl-C")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the copied file (1024)")
    options = parser.parse_args()
    lab_module.unwind_on_signals()
    site = Site(1)
    try:
        step("Building the lab: namespaces, gw-fastpath with AF_XDP ports, charon, FRR, gwd; the site's charon and BIRD")
        with World("demo-xsk", [site], wait=False, ports="xsk") as world:
            run(world, options.size << 20)
        step("The same once more: gw-fastpath chooses the kind of its ports by itself")
        with World("demo", [site], wait=False, ports="auto") as world:
            run(world, options.size << 20)
            print(f"{GREEN}{BOLD}demo: everything worked: {connection_name(site)} carries traffic, in "
                  f"{time.monotonic() - START:.0f} s{PLAIN}", flush=True)
            if options.keep:
                keep(world)
    except KeyboardInterrupt:
        print("demo: ended", flush=True)
        return 0 if options.keep else 130
    except (Failed, LabError) as fault:
        print(f"{RED}{BOLD}demo: FAILED: {fault}{PLAIN}\ndemo: logs: {(LOGS / 'demo').relative_to(lab_module.TOP)}*/", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
