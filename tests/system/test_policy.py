"""What bgp/ renders and what routes/ does are the same policy: random policies and routes on sessions of every kind.

For each route: whether bgpd 10.3 accepts it, with which weight, local preference, MED, communities and path; the best
path and the ECMP set; and each peer's Adj-RIB-Out, route by route. Every seed is printed by name of the test; the first
differences are shown with both sides and with the line of policy that routes/ used.
"""

from __future__ import annotations

import random
import re

import pytest

from bgp_speaker import EGP, IGP, INCOMPLETE, Route
from lab import GW_ASN, GW_VNET4, Lab, LabError, poll
from policy_bench import (BY_NAME, GATEWAY, INTERNAL, ISOLATED, KINDS, ORIGINS, PEERS, VNET_NETWORKS, Bench, Peer,
                          class_mark, plain_policy)

ROUNDS = 12
PREFIXES = [
    "0.0.0.0/0", "10.0.0.0/16", "10.0.5.0/24", "10.0.0.0/8", "169.254.99.0/24", "127.1.0.0/16", "10.1.0.0/16",
    "10.61.0.0/24", "10.61.1.0/24", "10.61.2.0/24", *(f"10.70.{i}.0/24" for i in range(16)), "10.71.0.0/16",
    "10.71.16.0/20", "10.71.16.64/26", "198.51.100.0/25",
    "::/0", "2001:db8:10::/48", "2001:db8:10:5::/64", "fe80:1::/64", "2001:db8:61::/48", "2001:db8:11::/48",
    *(f"2001:db8:{0x70 + i:x}::/48" for i in range(8)), "2001:db8:72:1::/64"]
GRACEFUL_SHUTDOWN, BLACKHOLE = 0xFFFF0000, 0xFFFF029A
NO_EXPORT, NO_ADVERTISE, LOCAL_AS = 0xFFFFFF01, 0xFFFFFF02, 0xFFFFFF03
OPERATORS = [65000 << 16 | i for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def bench():
    with Lab("test_policy") as lab:
        bench = Bench(lab)
        yield bench
        bench.close()


# --- random input ---------------------------------------------------------------------------------------------


def random_route(chance: random.Random, peer: Peer) -> Route:
    asns = [65031, 65021, 65022, 65516, 65100, 4200000001, 4200000007, 3356, 4210000000, 64512, frozenset({65033, 3257})]
    strange = [GW_ASN, 12076, 65518, 23456, 64500]
    path = [chance.choice(strange if chance.random() < 0.04 else asns) for _ in range(chance.choice([0, 0, 1, 1, 2, 3]))]
    communities = [c for c in OPERATORS if chance.random() < 0.3]
    for special in (GRACEFUL_SHUTDOWN, BLACKHOLE, NO_EXPORT, NO_ADVERTISE, LOCAL_AS):
        communities += [special] if chance.random() < 0.06 else []
    if peer.ibgp:
        kind = chance.choice([None, "vnet", "static", "vpn", "vpn", "circuit", "circuit", "branch", "spoke"])
        communities += [class_mark(kind)] if kind else []
        communities += [ISOLATED] if kind in ("vpn", "static") and chance.random() < 0.3 else []
    elif chance.random() < 0.1:
        communities += [chance.choice(list(INTERNAL))]  # forged
    return Route(path=tuple(path) if peer.ibgp else (peer.asn, *path),
                 origin=chance.choice([IGP, IGP, IGP, EGP, INCOMPLETE]), med=chance.choice([None, None, 0, 10, 20]),
                 local_preference=chance.choice([100, 100, 0, 150, 200]) if peer.ibgp else None,
                 communities=tuple(sorted(set(communities))))


def random_range(chance: random.Random) -> tuple[str, int, int]:
    """Also such as hold nothing, or less than they seem to."""
    net, length, bits = chance.choice([("10.70.0.0", 16, 32), ("10.71.0.0", 16, 32), ("10.0.0.0", 8, 32), ("0.0.0.0", 0, 32),
                                       ("10.61.0.0", 16, 32), ("2001:db8::", 32, 128), ("2001:db8:72::", 48, 128),
                                       ("::", 0, 128), ("10.70.3.0", 24, 32)])
    shortest = chance.choice([0, length, length + 4, 24, 48])
    longest = chance.choice([length, 24, 32, 64, bits])
    return f"{net}/{length}", shortest, min(longest, 128)


def random_rule(chance: random.Random, number: int) -> str:
    direction = chance.choice(["in", "out"])
    conditions, changes = [], []
    who = chance.choice(["kind", "site", "source", "instance", None])
    if who == "kind":
        conditions.append(f"kind={chance.choice(KINDS)}")
    elif who == "site":
        conditions.append(f"site={chance.choice(['paris', 'berlin', 'lyon', 'rome', 'hub2', 'oslo', 'nowhere'])}")
    elif who == "source":
        conditions.append(f"source={chance.choice([*BY_NAME, *ORIGINS])}")
    elif who == "instance":
        conditions.append(f"instance={chance.choice(['gw-a', 'gw-b'])}")
    what = chance.choice(["prefix", "community", "asn", None, None])
    if what == "prefix":
        conditions += [f"prefix={net},{short},{long}" for net, short, long in
                       (random_range(chance) for _ in range(chance.choice([1, 2])))]
    elif what == "community":
        conditions.append(f"community={chance.choice([*OPERATORS, GRACEFUL_SHUTDOWN])}")
    elif what == "asn":
        conditions.append(f"asn={chance.choice([65021, 65031, 3356, 65516, 65100, 65033])}")
    for key, values in {"lp": [50, 150, 300], "weight": [0, 50, 150, 250, 32768], "med": [0, 5, 99],
                        "add": [*OPERATORS, GRACEFUL_SHUTDOWN, NO_EXPORT], "prepend": [1, 3]}.items():
        if chance.random() < 0.35:
            changes.append(f"{key}={chance.choice(values)}")
    action = "refuse" if chance.random() < 0.15 else "accept"
    return f"rule {direction} rule-{number} {action} {' '.join([*conditions, *changes])}"


def random_policy(chance: random.Random) -> list[str]:
    words = []
    words += ["transit=open"] if chance.random() < 0.5 else []
    words += ["vnet_is=silent"] if chance.random() < 0.2 else []
    words += ["prefer=vpn"] if chance.random() < 0.5 else []
    words += ["default=allow"] if chance.random() < 0.15 else []
    words += ["allowed=65518"] if chance.random() < 0.2 else []
    words += ["vnet=10.70.8.0/22"] if chance.random() < 0.3 else []
    lines = plain_policy(*words)
    for name in [*BY_NAME, *(n for n in ORIGINS if n.startswith("static"))]:
        own = [key for key in ("default=allow", "advertise_default=allow", "isolate=yes", "allowed=65518", "allowed=12076")
               if chance.random() < 0.2]
        if name in BY_NAME and not BY_NAME[name].ibgp:
            own += [key for key in ("remove_private=yes", "as_override=yes", "max=0", "limit=warn") if chance.random() < 0.2]
        lines.append(f"session {name} {' '.join(own)}")
        for direction in ("in", "out"):
            if name not in BY_NAME or chance.random() < 0.75:
                continue
            for _ in range(chance.choice([1, 2, 3])):
                net, short, long = random_range(chance)
                lines.append(f"filter {name} {direction} {chance.choice(['accept', 'accept', 'refuse'])} {net} {short} {long}")
    return lines + [random_rule(chance, number) for number in range(chance.choice([0, 2, 6, 15]))]


# --- what is compared -----------------------------------------------------------------------------------------


def community_numbers(words: list[str]) -> frozenset:
    known = {"graceful-shutdown": GRACEFUL_SHUTDOWN, "blackhole": BLACKHOLE, "no-export": NO_EXPORT,
             "no-advertise": NO_ADVERTISE, "local-AS": LOCAL_AS}

    def number(word: str) -> int:
        key = word[0].lower() + word[1:]
        if word in known or key in known:
            return known.get(word, known.get(key))
        snake = re.sub(r"(?<=[a-z])([A-Z])", r"-\1", word).lower()  # as JSON has them: noExport
        if snake in known or snake == "local-as":
            return known.get(snake, LOCAL_AS)
        high, low = word.split(":")
        return int(high) << 16 | int(low)
    return frozenset(number(w) for w in words)


def path_of(text: str) -> tuple:
    """"65021_{3257,65033}" or "65021 {3257,65033}"."""
    if text in ("", "-", "Local"):
        return ()
    return tuple(frozenset(int(a) for a in w[1:-1].split(",")) if w[0] == "{" else int(w) for w in re.split("[ _]", text))


def optional(word: str, default=None):
    return default if word == "-" else int(word)


def imported_by_routes(bench: Bench) -> tuple[dict, dict]:
    """(prefix, source) -> attributes, and prefix -> (best, ECMP set); of our own sources the best one is "local"."""
    routes, chosen = {}, {}
    for (prefix, source), (action, place, weight, preference, med, communities, path, line) in bench.reference.routes().items():
        if action == "refuse":
            continue
        local = source in ORIGINS
        name = "local" if local else source
        if (prefix, name) not in routes:  # best first
            marks = set() if communities == "-" else set(community_numbers(communities.split(",")))
            kind = ORIGINS[source][0] if local else BY_NAME[source].kind
            if kind != "partner":
                marks.add(class_mark(kind))
                marks |= {ISOLATED} if source in bench.isolated else set()
            routes[prefix, name] = (int(weight), optional(preference, 100), optional(med, 0 if local else None),
                                    frozenset(marks), path_of(path))
        if place != "unused":
            chosen.setdefault(prefix, []).append(name)
    return routes, {prefix: (names[0], frozenset(names)) for prefix, names in chosen.items()}


def imported_by_bgpd(bench: Bench) -> tuple[dict, dict]:
    names = {p.address: p.name for p in PEERS}
    routes, chosen = {}, {}
    for family in ("ipv4", "ipv6"):
        for prefix, paths in bench.vty.show(f"bgp {family} unicast detail")["routes"].items():
            for path in paths:
                name = "local" if path.get("local") else names[path["peer"]["peerId"]]
                routes[prefix, name] = (path.get("weight", 0), path.get("locPrf", 100), path.get("metric"),
                                        community_numbers(path.get("community", {}).get("list", [])),
                                        path_of(path["aspath"]["string"]))
            best = [p for p in paths if p.get("bestpath", {}).get("overall")]
            if best:
                also = [p for p in paths if p.get("multipath")]
                who = ["local" if p.get("local") else names[p["peer"]["peerId"]] for p in [*best, *also]]
                chosen[prefix] = (who[0], frozenset(who))
    return routes, chosen


def told_by_routes(bench: Bench) -> dict:
    out = {}
    for (peer, prefix), (source, preference, med, communities, path, _) in bench.reference.told().items():
        to = BY_NAME[peer]
        marks = frozenset() if communities == "-" else community_numbers(communities.split(","))
        # Nobody of the VNet goes through us to what the partner has; everybody else comes to us.
        keeps = to.kind == "vnet" and source in BY_NAME and BY_NAME[source].kind == "partner"
        via = BY_NAME[source].address if keeps else GATEWAY[to.subnet]
        out[peer, prefix] = (path_of(path), optional(med), optional(preference, 100) if to.ibgp else None, marks,
                             "" if ":" in prefix else via)
    return out


def told_by_bgpd(bench: Bench) -> dict:
    out = {}
    for peer, speaker in bench.speakers.items():
        for prefix, heard in speaker.heard.copy().items():
            assert not heard.others, f"{peer} was told attributes {heard.others} of {prefix}"
            out[peer, prefix] = (heard.path, heard.med, heard.local_preference, heard.communities,
                                 "" if ":" in prefix else heard.next_hop)
    return out


def difference(ours: dict, theirs: dict, most: int = 4) -> str:
    keys = sorted((k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)), key=str)
    return "\n".join([f"{len(keys)} differ of {len(ours)}:",
                      *(f"  {k}\n    routes/ {ours.get(k)}\n    bgpd    {theirs.get(k)}" for k in keys[:most])])


def agree(bench: Bench, timeout: float = 15):
    """Until everything is equal; the failure shows what is not."""
    expected = imported_by_routes(bench)
    told = told_by_routes(bench)

    def same():
        return imported_by_bgpd(bench) == expected and told_by_bgpd(bench) == told
    try:
        poll("bgpd and routes/ agree", same, timeout, every=0.3)
    except LabError:
        (routes, chosen), (bgpd_routes, bgpd_chosen) = expected, imported_by_bgpd(bench)
        parts = [("imported", routes, bgpd_routes), ("chosen", chosen, bgpd_chosen), ("told", told, told_by_bgpd(bench))]
        text = "\n".join(f"{name}: {difference(a, b)}" for name, a, b in parts if a != b)
        if not text:
            return  # it came at last
        lines = {(p, s): v[-1] for (p, s), v in bench.reference.routes().items()}
        worst = next((k for k in routes.keys() | bgpd_routes.keys() if routes.get(k) != bgpd_routes.get(k)), None)
        pytest.fail(f"{text}\nroutes/ says of {worst}: {lines.get(worst)}", pytrace=False)


# --- tests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_random_policies_and_routes(bench, seed):
    chance = random.Random(20261121 + seed)
    lines = random_policy(chance)
    bench.set_policy(lines)
    changes = [(peer, prefix, random_route(chance, peer) if chance.random() < 0.7 else None)
               for peer in PEERS for prefix in PREFIXES if chance.random() < 0.5]
    chance.shuffle(changes)
    for peer, prefix, route in changes:
        bench.tell(peer, prefix, route)
    agree(bench)
    # And with all the routes there: policy that changes is applied at once, to everything.
    bench.set_policy(random_policy(chance))
    agree(bench)
