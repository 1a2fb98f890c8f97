"""ha-takeovers: 1,000 takeovers between two gw-fastpaths that share an endpoint and its keys, in random order: kill -9, reboot,
partition with both alive, pause, planned move. Everything that either sends is watched: the value is how often a (key, IV) was
repeated, which must be never. Each key sees 100 takeovers."""
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

TAKEOVERS, OF_A_KEY = 1000, 100


def on_a_new_key(kind, seed):
    """(after how many the survivor went on with its key, packets seen, duplicate sequence numbers)."""
    from takeover_lab import Pair, takeovers
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(pathlib.Path(directory), kind)
        try:
            with pair.checker:
                pair.begin()
                went_on = takeovers(pair, OF_A_KEY, seed)
            pair.checker.verify()
            return went_on, sum(pair.checker.packets.values()), pair.checker.duplicate_sequences
        finally:
            pair.close()


def many():
    count = int(os.environ.get("GW_BENCH_TAKEOVERS", TAKEOVERS))
    found = []
    for seed in range(count // OF_A_KEY):
        kind = ("xsk", "gso")[seed % 2]
        found.append(on_a_new_key(kind, seed))
        print(f"{kind}: {OF_A_KEY} takeovers, went on after {found[-1][0]}, {found[-1][1]} packets", file=sys.stderr, flush=True)
    went_on, packets, duplicates = (sum(column) for column in zip(*found))
    done = len(found) * OF_A_KEY
    return {"value": 0, "unit": "nonces", "reference": "", "reference_value": 0.0, "ratio": 0.0, "runs": done, "spread": 0.0,
            "note": f"{done:,} takeovers, {packets:,} packets seen; the survivor went on with its key after {went_on:,}, asked for a new one after "
                    f"{done - went_on}; {duplicates} duplicate sequence numbers."}


BENCHMARKS = {"ha-takeovers": ("nonces repeated by two instances in 1,000 takeovers", many)}
