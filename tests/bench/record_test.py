#!/usr/bin/env python3
"""The record of benchmarks: a run replaces its own rows and no others."""
import json
import unittest

import record


def result(name, value):
    return {"name": name, "value": value, "unit": "packets/s", "reference": "r", "reference_value": 1.0, "ratio": 0.0, "runs": 3,
            "spread": 0.01, "verdict": ""}


class RecordTest(unittest.TestCase):
    OLD = {"runs": {"2026-01-01 10:00 UTC": "all of them"},
           "results": [{**result(name, 1.0), "run": "2026-01-01 10:00 UTC"} for name in ("esp-64", "fib-v4", "failover-return")]}

    def test_own_rows_only(self):
        new = record.merged(self.OLD, [result("fib-v4", 2.0)], "2026-01-02 10:00 UTC", "one")
        self.assertEqual([(r["name"], r["value"], r["run"][:10]) for r in new["results"]],
                         [("esp-64", 1.0, "2026-01-01"), ("fib-v4", 2.0, "2026-01-02"), ("failover-return", 1.0, "2026-01-01")])
        self.assertEqual(list(new["runs"].values()), ["all of them", "one"])

    def test_a_run_without_rows_is_gone(self):
        new = record.merged(self.OLD, [result(r["name"], 2.0) for r in self.OLD["results"]], "2026-01-02 10:00 UTC", "again")
        self.assertEqual(new["runs"], {"2026-01-02 10:00 UTC": "again"})

    def test_a_new_row_comes_in_the_order_of_the_targets(self):
        new = record.merged(self.OLD, [result("failover-return-xsk", 0.0), result("esp-1408", 1.0)], "2026-01-02 10:00 UTC", "two")
        self.assertEqual([r["name"] for r in new["results"]], ["esp-1408", "esp-64", "fib-v4", "failover-return", "failover-return-xsk"])

    def test_the_page_is_what_the_data_say(self):
        page = record.PAGE.read_text()
        self.assertIn(record.page_part(json.loads(record.DATA.read_text())), page)


if __name__ == "__main__":
    unittest.main()
