"""A tunnel comes or goes among five hundred: in no time, and no other session notices (stock bgpd; BIRD as all the sites)."""
import statistics

import pytest

from lab import poll
from many_neighbours import ManyNeighbours, changed

COUNT, RUNS = 500, 10
LIMIT = 10.0  # ms, on a machine that is left alone
BUSY = 10  # times slower beside other tests; `./dev bench bgp-delta` judges by LIMIT


@pytest.fixture(scope="module")
def lab():
    try:
        ready = ManyNeighbours("test_many_neighbours", COUNT)
    except PermissionError as error:
        pytest.skip(f"the neighbour table cannot be made wider: {error}")
    with ready:
        yield ready


@pytest.mark.timeout(180)
def test_one_of_many_comes_and_goes(lab):
    before = lab.sessions()
    assert len(before) == COUNT
    times = lab.measure(RUNS)
    print(f"remove {statistics.median(times['remove_ms']):.2f} ms, add {statistics.median(times['add_ms']):.2f} ms")
    for what in ("remove_ms", "add_ms"):
        assert len(times[what]) == RUNS
        assert statistics.median(times[what]) < LIMIT * BUSY, times
    poll(f"all sessions are back (now: {lab.established()})", lambda: lab.established() == COUNT, 60, 0.5)
    touched = {f"p{n}" for n in range(1, RUNS + 1)}
    after = lab.sessions()
    flapped = changed(before, after)
    others = {name: (before[name], after[name]) for name in flapped - touched}
    assert flapped == touched, f"exactly those that were taken away have a new session, and not {others}"


@pytest.mark.timeout(180)
def test_the_others_are_told_of_it(lab):
    """Peer 1's prefix is announced to the others: bgpd has it from peer 1 alone."""
    out = lab.frr.vtysh(f"show bgp ipv4 unicast {lab.prefix_of(1)}")
    assert "10.99.1.1" in out, out
