"""Both instances live and hear each other on no path, and then again: what the embedded lease does not exclude. ha_lab.py has the drawing."""

import time

import pytest

from coexistence import eventually
from ha import HaWorld
from ha_lab import DUAL, GW_A, GW_B, INSTANCES, STATIC

RATE = 125
BOTH = {GW_A.wan4, GW_B.wan4}


@pytest.mark.long
@pytest.mark.timeout(240)
def test_both_have_everything_and_no_nonce_is_used_twice():
    """Sites follow the last announcement. Then the higher claim stays, and each endpoint goes home. IKE SAs that both spoke for may be out of
    step and end in DPD (ADR 15), which is not waited for here."""
    with HaWorld("test_ha_split", bfd_ms=150, sites=(DUAL, STATIC)) as world:
        world.settle_all()
        with world.watched(), world.load(DUAL, rate=RATE), world.load(STATIC, rate=RATE):
            time.sleep(0.5)
            world.lab.part(GW_B)
            for instance in INSTANCES:
                eventually(f"{instance.name} has both", lambda i=instance: world.of(i).owned() == BOTH, 15)
            time.sleep(2)
            world.lab.rejoin(GW_B)
            eventually("each has its own", world.all_at_home, 40)
            time.sleep(1)
