"""The policy in bgpd, case by case: each cell of the export table, what a change touches, limits, and what bgpd 10.3 needs.

What is expected is written here, not taken from routes/ (test_policy.py compares the two on random policies).
"""

from __future__ import annotations

import contextlib
import time

import pytest

from bgp_speaker import Route
from lab import GW_ASN, Lab, poll
from policy_bench import BY_NAME, INTERNAL, ISOLATED, PEERS, Bench, class_mark, plain_policy

PARIS, BERLIN, HUB = BY_NAME["paris-ce1/gw-a"], BY_NAME["berlin-ce1/gw-a"], BY_NAME["hub2/gw-a"]
CIRCUIT, ROUTER, OTHER = BY_NAME["er1-primary/gw-a"], BY_NAME["vnet:rs1/gw-a"], BY_NAME["instance:gw-b"]
# One listener of each kind, not a session that says something here.
LISTENERS = {"vnet": "vnet:rs1/gw-a", "circuit": "er1-secondary/gw-a", "site": "berlin-ce1/gw-a", "branch": "hub3/gw-a",
             "partner": "partner:10.0.1.112"}
# kind of source: who is told it always, and who only with `transit: true`
TABLE = {
    "vnet": ("circuit site branch partner", ""),
    "spoke": ("circuit site branch partner", ""),
    "static": ("vnet site branch partner", "circuit"),
    "vpn": ("vnet site branch partner", "circuit"),
    "circuit": ("vnet partner", "site branch"),
    "branch": ("vnet site partner", "circuit branch"),
}
OWN = {"vnet": "10.0.0.0/16", "spoke": "10.1.0.0/16", "static": "10.61.1.0/24"}
LEARNED = {"vpn": (PARIS, "10.80.1.0/24"), "circuit": (CIRCUIT, "10.80.2.0/24"), "branch": (HUB, "10.80.3.0/24")}
CARRIED = {kind: f"10.81.{i}.0/24" for i, kind in enumerate(TABLE)}  # by the other instance
UNKNOWN, CARRIED_ISOLATED = "10.82.0.0/24", "10.82.1.0/24"


@pytest.fixture(scope="module")
def bench():
    with Lab("test_policy_effects") as lab:
        bench = Bench(lab)
        for peer, prefix in LEARNED.values():
            bench.tell(peer, prefix, Route((peer.asn,)))
        for kind, prefix in CARRIED.items():
            bench.tell(OTHER, prefix, Route((65031,), local_preference=100, communities=(class_mark(kind),)))
        bench.tell(OTHER, UNKNOWN, Route((65031,), local_preference=100))
        bench.tell(OTHER, CARRIED_ISOLATED,
                   Route((65031,), local_preference=100, communities=(class_mark("vpn"), ISOLATED)))
        yield bench
        bench.close()


def expected(transit: bool, publishing: bool, listener_isolated: bool, paris_isolated: bool) -> dict[str, set[str]]:
    """listener's kind -> prefixes"""
    def told(kind: str) -> set[str]:
        always, with_transit = TABLE[kind]
        return {*always.split(), *(with_transit.split() if transit else [])}

    def to_others(listeners: set[str], isolated: bool) -> set[str]:
        return listeners - {"site"} if isolated or listener_isolated else listeners
    hears = {listener: set() for listener in LISTENERS}
    for kind in TABLE:
        for prefix, listeners in ((OWN.get(kind) or LEARNED[kind][1], told(kind)),
                                  (CARRIED[kind], told(kind) - {"partner"})):
            if kind in ("vpn", "static"):
                listeners = to_others(listeners, paris_isolated and prefix == LEARNED["vpn"][1])
            for listener in listeners:
                hears[listener].add(prefix)
    hears["vnet"].add(UNKNOWN)
    for listener in told("vpn") - {"partner", "site"}:
        hears[listener].add(CARRIED_ISOLATED)
    if not publishing:
        hears["vnet"] = set()
    return hears


def hears(bench: Bench) -> dict[str, set[str]]:
    known = {*OWN.values(), *(p for _, p in LEARNED.values()), *CARRIED.values(), UNKNOWN, CARRIED_ISOLATED}
    return {kind: {p for p in bench.speakers[name].heard if p in known} for kind, name in LISTENERS.items()}


@pytest.mark.parametrize("words, sessions, arguments", [
    ("", [], (False, True, False, False)),
    ("transit=open", [], (True, True, False, False)),
    ("vnet_is=silent", [], (False, False, False, False)),
    ("transit=open prefer=vpn vnet_is=silent", [], (True, False, False, False)),
    ("", ["session berlin-ce1/gw-a isolate=yes"], (False, True, True, False)),
    ("transit=open", ["session paris-ce1/gw-a isolate=yes"], (True, True, False, True)),
], ids=["closed", "transit", "silent", "transit-silent", "listener-isolated", "speaker-isolated"])
def test_every_cell_of_the_export_table(bench, words, sessions, arguments):
    bench.set_policy([*plain_policy(*words.split()), *sessions])
    wanted = expected(*arguments)
    try:
        poll("everybody hears what the table says", lambda: hears(bench) == wanted, 10, every=0.2)
    except Exception:
        heard = hears(bench)
        pytest.fail("\n".join(f"{k}: missing {sorted(wanted[k] - heard[k])}, too much {sorted(heard[k] - wanted[k])}"
                              for k in wanted if heard[k] != wanted[k]), pytrace=False)
    time.sleep(0.5)
    assert hears(bench) == wanted, "it stays so"


def test_a_prepend_is_lost_where_private_numbers_are_removed(bench):
    """What a document with both is warned of: bgpd takes private AS numbers out after the out route-map, ours among them; it puts
    ours in front once more only afterwards."""
    def path():
        heard = bench.speakers[BERLIN.name].heard.get(LEARNED["vpn"][1])
        return heard and heard.path

    rule = "rule out back accept prepend=2"
    bench.set_policy([*plain_policy(), rule])
    poll(f"prepended twice (now: {path()})", lambda: path() == (GW_ASN, GW_ASN, GW_ASN, PARIS.asn), 10, every=0.2)
    bench.set_policy([*plain_policy(), rule, f"session {BERLIN.name} remove_private=yes"])
    poll(f"nothing is left of that (now: {path()})", lambda: path() == (GW_ASN,), 10, every=0.2)


def test_what_is_ours_leaves_to_nobody_but_the_partner(bench):
    bench.set_policy([*plain_policy("transit=open"), "rule in lp accept lp=150 weight=7"])
    for peer in PEERS:
        for prefix, heard in bench.speakers[peer.name].heard.copy().items():
            if peer.ibgp:
                assert len(heard.communities & set(INTERNAL)) >= 1, f"{peer.name} does not know the class of {prefix}"
            else:
                assert not heard.communities & set(INTERNAL), f"{peer.name}, {prefix}"
                assert heard.local_preference is None, f"{peer.name}, {prefix}"
            assert 16 not in heard.others, f"{peer.name} is told of a site of origin with {prefix}"


def test_a_policy_for_one_site_touches_its_sessions_only(bench):
    """Nobody else hears an UPDATE, and nobody's session or route-map changes."""
    bench.set_policy(plain_policy())
    time.sleep(1)
    before = {name: speaker.updates for name, speaker in bench.speakers.items()}
    connections = bench.established()
    commands = bench.set_policy([*plain_policy(), "rule out far accept site=berlin prepend=2 med=7"])
    berlin = bench.speakers[BERLIN.name]
    poll("Berlin hears it", lambda: berlin.heard[LEARNED["vpn"][1]].path[:3] == (65515,) * 3, 10)
    time.sleep(1)
    touched = {name for name, speaker in bench.speakers.items() if speaker.updates != before[name]}
    assert touched == {BERLIN.name}
    assert berlin.heard[LEARNED["vpn"][1]].med == 7
    assert {line.split()[1] for line in commands if line.startswith("neighbor")} == {BERLIN.address}
    assert bench.established() == connections


def test_applying_everything_again_changes_nothing(bench):
    bench.set_policy([*plain_policy("transit=open"), "rule in lp accept kind=vpn lp=150"])
    time.sleep(1)
    before = {name: speaker.updates for name, speaker in bench.speakers.items()}
    running = bench.vty.run("show running-config")
    connections = bench.established()
    file = [line for line in bench.reference.ask("file") if line.startswith(("route-map", "match", "set", "on-match",
                                                                            "ip", "router", "neighbor", "address",
                                                                            "network", "exit", "bgp", "description"))]
    bench.vty.configure(file)
    time.sleep(1)
    assert bench.vty.run("show running-config") == running
    assert {name: speaker.updates for name, speaker in bench.speakers.items()} == before
    assert bench.established() == connections


def test_what_bgpd_forgot_is_gone_when_best_paths_are_chosen_again(bench):
    """A change while bgpd judges its routes anew may be forgotten. It is a race inside bgpd, lost on busy machines (seen
    at load 15): tried a few times, and whether it was lost or not, the change is there after bgp::choose_again().
    """
    prefix = OWN["static"]
    for peer in (PARIS, BERLIN):  # bgpd marks what it has heard from a neighbour, whatever neighbour is judged anew
        bench.tell(peer, prefix, Route((peer.asn,)))
    for attempt in range(3):
        take_own_route_away_while_judging(bench, prefix, local_preference=120 + attempt)
        bench.vty.configure(bench.reference.ask("again"))
        poll("it is gone", lambda: len(paths(bench, prefix)) == 2 and best(bench, prefix) is not None, 5)
    for peer in (PARIS, BERLIN):
        bench.tell(peer, prefix, None)


def take_own_route_away_while_judging(bench: Bench, prefix: str, local_preference: int):
    """Behind the circuit's new route-map, where gwd does not put it."""
    bench.set_policy(plain_policy())
    poll("two paths and ours", lambda: len(paths(bench, prefix)) == 3, 5)
    commands = bench.reference.policy([*plain_policy(), "rule in none refuse kind=static",
                                       f"rule in lp accept kind=circuit lp={local_preference}"])
    gone = f"no network {prefix}"
    commands.remove(gone)
    commands.insert(commands.index("exit-address-family"), gone)
    bench.vty.configure(commands)
    time.sleep(1.5)


def paths(bench: Bench, prefix: str) -> list[dict]:
    return bench.vty.show("bgp ipv4 unicast")["routes"].get(prefix, [])


def best(bench: Bench, prefix: str) -> str | None:
    return next((p["peerId"] for p in paths(bench, prefix) if p.get("bestpath")), None)


def test_limits_warn_or_end_the_session(bench):
    name = BERLIN.name
    routes = [f"10.90.{i}.0/24" for i in range(12)]

    def accepted():
        return len([r for r in routes if any(p["peerId"] == BERLIN.address for p in paths(bench, r))])
    bench.set_policy([*plain_policy(), f"session {name} max=10 limit=warn"])
    for prefix in routes:
        bench.tell(BERLIN, prefix, Route((BERLIN.asn,)))
    poll("all twelve, over the limit", lambda: accepted() == 12, 10)
    assert bench.speakers[name].notification is None
    for prefix in routes:
        bench.tell(BERLIN, prefix, None)
    bench.set_policy([*plain_policy(), f"session {name} max=10"])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # bgpd may be quicker than the last of them
        for prefix in routes:
            bench.tell(BERLIN, prefix, Route((BERLIN.asn,)))
    poll("the session ends", lambda: bench.speakers[name].notification, 10)
    assert bench.speakers[name].notification[:2] == b"\x06\x01", "Cease, Maximum Number of Prefixes Reached (RFC 4486)"
    assert len(bench.established()) == len(PEERS) - 1, "nobody else's"
