"""Memory of gw-fastpath: what is reserved at start stays as it is; an SA and a route cost what docs/architecture.md says; and what
they had comes back when they go. Under traffic: test_flood, and `./dev bench soak` for half an hour."""
import os

import pytest

from fastpath_lab import FastpathLab, packed, pb
from fastpath_peer import GW4, PEER4
from test_rpc_bad_input import CONTROL, IKE, OBSERVER, sa, tunnel

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SAS, SA_BYTES = 2000, 4096            # of the heap, for one of a pair
OF_A_TUNNEL = 250                     # of them; gw-fastpath takes 256
ROUTES, ROUTE_BYTES = 100_000, 40     # IPv4; with what the tree has spare
BATCH = 5000


@pytest.fixture(scope="module", params=("xsk", "gso"))
def lab(request, tmp_path_factory):
    made = FastpathLab(tmp_path_factory.mktemp("memory"), ports=request.param)
    yield made
    assert made.close() == 0


def memory(lab):
    observer = lab.rpc(OBSERVER)
    try:
        return observer.ok(get_memory=pb.GetMemory()).memory
    finally:
        observer.close()
        lab.clients.remove(observer)


def reserved(memory_):
    return {part.part: (part.bytes, part.capacity) for part in memory_.parts if part.capacity}


def in_use(memory_, part):
    return next(p.in_use for p in memory_.parts if p.part == part)


def test_sas_cost_what_is_said_and_give_it_back(lab):
    ike, control = lab.rpc(IKE), lab.rpc(CONTROL)
    for n in range(1, SAS // OF_A_TUNNEL + 1):
        control.ok(**tunnel(n, device=f"tun{n}"))
    before = memory(lab)
    for n in range(SAS):
        inbound = n % 2 == 0
        ike.ok(**sa(spi=0x10000 + n, tunnel=1 + n // OF_A_TUNNEL, src=PEER4 if inbound else GW4, dst=GW4 if inbound else PEER4, inbound=inbound))
    full = memory(lab)
    assert 0 < full.heap_bytes - before.heap_bytes < SAS * SA_BYTES, "a buffer an SA, or more than is said"
    assert reserved(full) == reserved(before)
    assert in_use(full, "records of SAs") == SAS and in_use(full, "SAs by SPI") == SAS / 2
    for n in range(SAS):
        ike.ok(del_sa=pb.DelSa(id=pb.SaId(spi=0x10000 + n, dst=packed(GW4 if n % 2 == 0 else PEER4))))
    after = memory(lab)
    assert in_use(after, "records of SAs") == in_use(before, "records of SAs") == 0
    left = after.heap_bytes - before.heap_bytes
    assert left < (full.heap_bytes - before.heap_bytes) / 10, f"{left} bytes of {SAS} SAs are still there"


def test_routes_cost_what_is_said(lab):
    control = lab.rpc(CONTROL)
    before = memory(lab)
    routes = [pb.Route(prefix=(0x20000000 + (n << 8)).to_bytes(4), prefix_length=24, kind=pb.NEXT_HOP_KERNEL) for n in range(ROUTES)]
    for n in range(0, ROUTES, BATCH):
        control.ok(update_routes=pb.UpdateRoutes(add=routes[n:n + BATCH]))
    full = memory(lab)
    assert in_use(full, "IPv4 routes, as they were told") - in_use(before, "IPv4 routes, as they were told") == ROUTES
    assert ROUTES < full.heap_bytes - before.heap_bytes < ROUTES * ROUTE_BYTES
    assert reserved(full) == reserved(before)
    for n in range(0, ROUTES, BATCH):
        control.ok(update_routes=pb.UpdateRoutes(remove=routes[n:n + BATCH]))
    for n in range(0, ROUTES, BATCH):
        control.ok(update_routes=pb.UpdateRoutes(add=routes[n:n + BATCH]))
    again = memory(lab)
    assert again.heap_bytes - full.heap_bytes < ROUTES, "a table that comes again takes the places of the one before"


def test_resident_memory_is_what_was_reserved(lab):
    """Nothing that was reserved is only promised: the kernel has given it, so that no packet ever waits for a page."""
    now = memory(lab)
    buffers = sum(part.bytes for part in now.parts if part.part.startswith("packet buffers"))
    assert now.resident_bytes > buffers
    assert now.peak_resident_bytes >= now.resident_bytes
