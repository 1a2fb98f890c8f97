"""ha-fastpath-restart: gw-fastpath is replaced by a new process (--replace) under 1,000 packets a second each way, with a
table of a million routes, on both kinds of port. The value is how long packets waited, from the moment the old process
stops until the new one forwards; packets lost make the benchmark fail."""
import datetime
import ipaddress
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

from standstill import Standstill

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

RECORDED_RUNS, RUNS = 10, 3  # of each kind of port
ROUTES, CHUNK = 1_062_000, 4000
STANDSTILL_MS = 5    # of the machine: half of what is allowed
AWAY = 12.0  # s that a replacement may take with all of them


def fill(control, pb):
    route = dict(kind=pb.NEXT_HOP_TUNNELS, tunnel_ids=[1], prefix_length=24)
    first = int(ipaddress.ip_address("20.0.0.0"))
    for at in range(0, ROUTES, CHUNK):
        control.ok(update_routes=pb.UpdateRoutes(add=[
            pb.Route(prefix=(first + 256 * i).to_bytes(4, "big"), **route) for i in range(at, min(at + CHUNK, ROUTES))]))


def replaced(lab, kind, tunnel):
    """How long packets waited, in ms, and until when (monotonic)."""
    from handover_lab import Traffic, replace, waits_us
    with Traffic(lab, tunnel, AWAY) as traffic:
        time.sleep(0.5)
        replace(lab)
    if traffic.lost:
        raise RuntimeError(f"{kind}: {traffic.lost} packets lost, longest silence {traffic.gap_ms:.1f} ms")
    waited, until = waits_us(lab)[-1] / 1000, moment_of_the_last(lab)
    print(f"{kind}: waited {waited:.2f} ms, longest silence {traffic.gap_ms:.1f} ms", file=sys.stderr, flush=True)
    return waited, until


def moment_of_the_last(lab):
    at = re.findall(r"^(\S+) .*packets waited for", lab.log.read_text(), re.MULTILINE)[-1]
    return datetime.datetime.fromisoformat(at).timestamp() - time.time() + time.monotonic()


def time_of(result):
    """Of the wait. Its end was written down a little later, in whole milliseconds."""
    waited, until = result
    return until - waited / 1000 - 0.005, until + 0.001


def waits_on(machine, kind, runs):
    from fastpath_lab import FastpathLab
    from fastpath_peer import Tunnel
    from fastpath_lab import pb
    with tempfile.TemporaryDirectory() as directory:
        lab = FastpathLab(pathlib.Path(directory), ports=kind)
        try:
            tunnel = Tunnel(lab)
            tunnel.warm_up()
            fill(tunnel.control, pb)
            return [machine.undisturbed(lambda: replaced(lab, kind, tunnel), time_of)[0] for _ in range(runs)]
        finally:
            lab.close()


def restart():
    runs = RECORDED_RUNS if os.environ.get("GW_BENCH_RECORD") else int(os.environ.get("GW_BENCH_RUNS", RUNS))
    with Standstill(STANDSTILL_MS) as machine:
        by_kind = {kind: waits_on(machine, kind, runs) for kind in ("xsk", "gso")}
    times = [ms for waits in by_kind.values() for ms in waits]
    notes = ", ".join(f"{kind} {statistics.median(waits):.2f} / {max(waits):.2f}" for kind, waits in by_kind.items())
    return {"value": statistics.median(times), "worst": max(times), "unit": "ms", "reference": "a restart that was killed",
            "reference_value": 60.0, "ratio": 0.0, "runs": len(times),
            "spread": (max(times) - min(times)) / max(statistics.median(times), 0.001),
            "note": f"{ROUTES:,} routes, 1,000 packets/s each way, none lost; median / worst wait in ms: {notes}.{machine.note()}"}


BENCHMARKS = {"ha-fastpath-restart": ("gw-fastpath is replaced by a new process", restart)}
