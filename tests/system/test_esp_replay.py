"""Anti-replay and extended sequence numbers of a running gw-fastpath (RFC 4303 3.4.3, A2): edges of the window, jumps,
bursts, both half-windows at 2^32. Beside the rows, random orders against a model that is nothing but a set."""
import os
import random
import struct
from collections import Counter

import pytest

from packet_station import inner, routed, station  # noqa: F401 (station is a fixture)

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

WINDOWS = [64, 128, 1024, 4096]
PACKET = inner(4, b"replay")
HALF, WRAP = 1 << 31, 1 << 32


@pytest.fixture(params=[pytest.param(dict(window=w, esn=esn), id=f"{w}-{'esn' if esn else 'short'}") for w in WINDOWS for esn in (False, True)])
def wire(request, station):  # noqa: F811
    with station.wire(**request.param) as made:
        yield made


def accepts(wire, *sequences):
    for sequence in sequences:
        wire.send_inner(PACKET, sequence)
    wire.expect(delivered=len(sequences))
    assert wire.at_host(len(sequences)) == [routed(PACKET)] * len(sequences)


def refuses(wire, *sequences, reason="replay"):
    for sequence in sequences:
        wire.send_inner(PACKET, sequence)
    wire.expect(**{reason: len(sequences)})
    assert wire.at_host(0) == []


def refuses_left(wire, *sequences):
    """Left of the window. With ESN such a number stands for one of the next space, with which it does not authenticate."""
    refuses(wire, *sequences, reason="icv" if wire.esn else "replay")


def top(wire):
    return wire.sa_info(wire.in_id).sequence


# --- the window -------------------------------------------------------------------------------------------

def test_the_first_number_is_one(wire):
    refuses(wire, 0)
    accepts(wire, 1)
    refuses(wire, 0, 1)
    accepts(wire, 2)


def test_edges_of_the_window(wire):
    w = wire.window
    accepts(wire, 10 * w)
    left = 10 * w - w + 1
    refuses(wire, 10 * w)
    refuses_left(wire, left - 1, 1)
    accepts(wire, left)
    refuses(wire, left)
    accepts(wire, left + 1, 10 * w - 1)
    refuses(wire, left + 1, 10 * w - 1)
    accepts(wire, 10 * w + 1)  # one step: the old left edge falls out
    refuses_left(wire, left)
    accepts(wire, left + 2)
    assert top(wire) == 10 * w + 1


@pytest.mark.parametrize("jump", ["window - 1", "window", "window + 1", 64, 4096, 4097, 1 << 20, HALF - 1])
def test_jumps(wire, jump):
    """What was seen before is forgotten exactly as far as it is left of the window; nothing in the new window is marked."""
    w = wire.window
    jump = eval(jump, {"window": w}) if isinstance(jump, str) else jump
    start = 5 * w
    before = [start - 1, start]
    accepts(wire, *before)
    accepts(wire, start + jump)
    inside = [s for s in {start + jump - w + 1, start + jump - w // 2, start + jump - 1} if s not in before and s > start - w]
    accepts(wire, *inside)
    left = {start + jump - w, *(s for s in before if s <= start + jump - w)}
    refuses_left(wire, *left)
    refuses(wire, *(s for s in before if s not in left), *inside, start + jump)


def test_the_whole_window_backwards(wire):
    """Every place of the window is one of its own."""
    w = wire.window
    accepts(wire, 3 * w)
    accepts(wire, *range(3 * w - 1, 2 * w, -1))
    refuses(wire, *range(3 * w, 2 * w, -1))
    refuses_left(wire, 2 * w)


def model_accepts(seen, highest, sequence, window):
    return sequence > highest or (highest - sequence < window and sequence not in seen and sequence > 0)


@pytest.mark.parametrize("seed", range(3))
def test_random_orders_against_a_model(wire, seed):
    """Reordering, repetition, loss and jumps, in bursts: exactly what a set of seen numbers would let through."""
    rng = random.Random(seed * 1000 + wire.window)
    w = wire.window
    seen, highest, wanted, refused = set(), 0, [], 0
    position = 1
    for _ in range(6):
        with wire.station.stopped():
            for _ in range(100):
                kind = rng.random()
                if kind < 0.5:
                    position += 1
                    sequence = position
                elif kind < 0.6:
                    position += rng.choice((2, 63, 64, 65, w - 1, w, w + 1, 4096))
                    sequence = position
                else:
                    sequence = max(0, position - rng.choice((0, 1, w - 1, w, w + 1, rng.randrange(2 * w))))
                packet = inner(4, struct.pack(">Q", sequence))
                wire.send_inner(packet, sequence)
                if model_accepts(seen, highest, sequence, w):
                    seen.add(sequence)
                    highest = max(highest, sequence)
                    wanted.append(routed(packet))
                else:
                    refused += 1
    # With ESN it depends on the burst whether a number left of the window was inferred before the window moved.
    got = Counter(wire.settle(600))
    assert got["in"] == len(wanted) and got["drop replay"] + got["drop icv" if wire.esn else ""] == refused, got
    assert wire.at_host(len(wanted)) == wanted
    assert top(wire) == highest


def test_a_packet_repeated_within_one_burst(wire):
    """The check before decryption sees neither of them; the one after it does (RFC 4303 3.4.3)."""
    once = wire.outer(wire.to_gw.seal(PACKET))
    with wire.station.stopped():
        for _ in range(50):
            wire.send(once)
    wire.expect(delivered=1, replay=49)
    assert wire.at_host(1) == [routed(PACKET)]


# --- 32-bit numbers -------------------------------------------------------------------------------------

@pytest.fixture(params=WINDOWS)
def short(request, station):  # noqa: F811
    with station.wire(window=request.param, esn=False) as made:
        yield made


@pytest.fixture(params=WINDOWS)
def extended(request, station):  # noqa: F811
    with station.wire(window=request.param, esn=True) as made:
        yield made


def test_short_numbers_end_at_2_to_the_32(short):
    accepts(short, 5, WRAP - 2, WRAP - 1)
    refuses(short, WRAP - 1, WRAP - 2, 5, 0, 1)
    for wrapped in (WRAP, WRAP + 1):  # on the wire 0 and 1
        refuses(short, wrapped)
    accepts(short, WRAP - 3)
    assert top(short) == WRAP - 1


# --- extended numbers -----------------------------------------------------------------------------------

def climb(wire, to):
    """A peer that really jumps ahead, less than half of the space at a time. Each step is a burst of its own: the high
    half is inferred for a burst before it moves the window."""
    while to - top(wire) > HALF:
        accepts(wire, top(wire) + HALF)
    accepts(wire, to)


def test_the_wrap_with_the_window_on_both_sides(extended):
    """RFC 4303 A2.2: case A before the wrap, case B after it, both halves of the window in use."""
    w = extended.window
    climb(extended, WRAP - w // 2)
    accepts(extended, WRAP - w // 2 - 1)          # left, before the wrap
    accepts(extended, WRAP - 1, WRAP, WRAP + 1)   # over it: 0 is a number like any other
    assert top(extended) == WRAP + 1
    accepts(extended, WRAP - 2, WRAP + 1 - w + 1)  # the window reaches back into the old space
    refuses(extended, WRAP - 1, WRAP - 2, WRAP, WRAP + 1, WRAP + 1 - w + 1)
    # One left of the window: its 32 bits stand for a number of the next space, with which it does not authenticate.
    refuses(extended, WRAP + 1 - w, reason="icv")
    accepts(extended, WRAP + w - 2)               # the top is w - 2: the last with which the window reaches back
    accepts(extended, WRAP + w - 3)
    assert top(extended) == WRAP + w - 2


@pytest.mark.parametrize("low", [0, 1, "w-2", "w-1", "w"])
def test_left_edge_just_behind_the_wrap(extended, low):
    """The window's lowest number at -1, 0, 1 of the new space: where case B becomes case A."""
    w = extended.window
    highest = WRAP + (eval(low, {"w": w}) if isinstance(low, str) else low)
    climb(extended, WRAP - 1)
    accepts(extended, highest)
    left = highest - w + 1
    if left != WRAP - 1:
        accepts(extended, left)
    refuses(extended, left, highest)
    refuses(extended, left - 1, reason="icv")  # inferred to be of the space after
    assert top(extended) == highest


def test_jump_over_the_wrap(extended):
    w = extended.window
    climb(extended, WRAP - 2 * w)
    accepts(extended, WRAP + 2 * w)
    refuses(extended, WRAP + 2 * w)
    accepts(extended, WRAP + w + 1)
    refuses(extended, WRAP - 2 * w, reason="icv")


def test_replays_of_the_earlier_space(extended):
    """The same 32 bits were seen 2^32 packets ago: what was recorded then does not authenticate now."""
    w = extended.window
    recorded = [extended.outer(extended.to_gw.seal(PACKET, s)) for s in (w + 1, w + 2, 3 * w)]
    for packet in recorded:
        extended.send(packet)
    extended.expect(delivered=3)
    assert len(extended.at_host(3)) == 3
    climb(extended, WRAP + 2 * w)
    for packet in recorded:
        extended.send(packet)
    # w + 1 and w + 2 stand for places in the window, 3w for one ahead of it.
    extended.expect(icv=3)
    accepts(extended, WRAP + w + 1, WRAP + w + 2, WRAP + 3 * w)
    assert extended.at_host(0) == []


def test_several_wraps(extended):
    for space in (1, 2, 3):
        climb(extended, space * WRAP - 3)
        accepts(extended, *range(space * WRAP - 2, space * WRAP + 4))
        refuses(extended, *range(space * WRAP - 3, space * WRAP + 4))
    assert top(extended) == 3 * WRAP + 3


def test_the_wrap_within_one_burst(extended):
    """The numbers of a burst are inferred before any of it has moved the window."""
    w = extended.window
    climb(extended, WRAP - 100)
    packets = [inner(4, struct.pack(">Q", s)) for s in range(WRAP - 99, WRAP + 101)]
    order = list(range(200))
    random.Random(w).shuffle(order)
    order = sorted(order, key=lambda i: i + random.Random(i).randrange(30))  # reordered by less than the smallest window
    with extended.station.stopped():
        for i in order:
            extended.send_inner(packets[i], WRAP - 99 + i)
    assert extended.at_host(200) == [routed(packets[i]) for i in order]
    extended.expect(delivered=200)


def test_before_the_first_number_there_is_nothing(extended):
    """A new SA's window would reach back into a space before the first: RFC 4303 A2.2 has none to give."""
    accepts(extended, 1)
    refuses(extended, WRAP - 1, WRAP - extended.window // 2)
    assert top(extended) == 1


def test_forged_numbers_near_the_wrap_do_not_move_the_space(extended):
    climb(extended, WRAP - 5)
    for sequence in (WRAP + 3, WRAP + HALF - 10, WRAP - 4):
        forged = bytearray(extended.to_gw.seal(PACKET, sequence))
        forged[-1] ^= 1
        extended.refused("icv", extended.outer(bytes(forged)))
    accepts(extended, WRAP - 4, WRAP + 3)
    assert top(extended) == WRAP + 3
