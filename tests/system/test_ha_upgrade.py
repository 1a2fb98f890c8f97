"""gw-fastpath of a pair is upgraded in place, one instance after the other, under packets both ways, with BFD on every session: nothing is lost,
no session and no endpoint moves, no nonce repeats. ha_lab.py has the drawing. And the same of an instance with a circuit."""

import json
import re
import time

import pytest

from coexistence import Coexistence
from coexistence_lab import BRANCH, PARIS
from ha import HaWorld
from ha_lab import DUAL, GW_A, GW_B, SINGLE
from lab import poll
from nonce_checker import NonceChecker

pytestmark = [pytest.mark.timeout(240)]
RATE = 250       # packets a second of each flow; there are four each way
BFD_MS = 150
ROUNDS = 3
WAITED = re.compile(r"has taken over; packets waited for (\d+) us")


def sessions(gateway) -> dict:
    """When each BGP session was established: another time if BFD or anything else has ended it."""
    neighbours = json.loads(gateway.frr.vtysh("show bgp neighbors json"))
    return {name: n.get("bgpTimerUpEstablishedEpoch", 0) for name, n in neighbours.items() if n.get("bgpState") == "Established"}


def same(before: dict, after: dict) -> bool:
    """bgpd computes the time anew for each answer, in whole seconds."""
    return before.keys() == after.keys() and all(abs(after[name] - at) <= 1 for name, at in before.items())


def upgrade(gateway) -> int:
    before = gateway.fastpath_pid()
    words = gateway.upgrade_fastpath()
    assert WAITED.search(words), words
    poll("the keeper follows", lambda: gateway.fastpath_pid() not in (0, before), 5, 0.02)
    return int(WAITED.search(words)[1])


def words_since(gateway, at: int) -> str:
    return gateway.gwd.log.read_text()[at:]


@pytest.mark.parametrize("ports", ["xsk", pytest.param("gso", marks=pytest.mark.long)])
def test_a_pair_is_upgraded_under_load(ports):
    with HaWorld(f"test_ha_upgrade-{ports}", ports=ports, bfd_ms=BFD_MS, sites=(DUAL, SINGLE),
                 ha={"failback": "manual", "heartbeat": f"{BFD_MS}ms"}) as world:
        world.settle_all()
        gateways = [world.of(i) for i in (GW_A, GW_B)]
        before = {g.instance: sessions(g) for g in gateways}
        owned = {g.instance: g.owned() for g in gateways}
        logs = {g.instance: len(g.gwd.log.read_text()) for g in gateways}
        with NonceChecker([(world.lab.ns["wan"].name, "eth0")]) as nonces, \
                world.load(SINGLE, rate=RATE) as single, world.load(DUAL, rate=RATE) as dual:
            time.sleep(0.5)
            for _ in range(ROUNDS):
                for gateway in gateways:
                    upgrade(gateway)
                    time.sleep(1)
        for load in (single, dual):
            load.assert_no_loss()
        nonces.verify(at_least=1000)
        assert nonces.duplicate_sequences == 0
        for gateway in gateways:
            name = gateway.instance
            assert same(before[name], sessions(gateway)), "a session broke"
            assert gateway.owned() == owned[name], "an endpoint moved"
            said = words_since(gateway, logs[name])
            assert "owns no endpoints" not in said and " -> " not in "".join(
                line for line in said.splitlines() if " ha: " in line), said


@pytest.mark.parametrize("ports", ["gso", pytest.param("xsk", marks=pytest.mark.long)])
def test_an_instance_with_a_circuit_is_upgraded_under_load(ports):
    with Coexistence(f"test_circuit_upgrade-{ports}", ports=ports, sites=(PARIS, BRANCH)) as world:
        world.settle()
        gateways = list(world.gateways.values())
        before = {g.instance: sessions(g) for g in gateways}
        with world.load(PARIS, rate=RATE, copies=2) as by_circuit, world.load(BRANCH, rate=RATE, copies=2) as by_tunnel:
            time.sleep(0.5)
            for gateway in gateways * 2:
                upgrade(gateway)
                time.sleep(1)
        for load in (by_circuit, by_tunnel):
            load.assert_no_loss()
        for gateway in gateways:
            assert same(before[gateway.instance], sessions(gateway)), "a session broke"
