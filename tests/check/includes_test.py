#!/usr/bin/env python3
"""The include check itself: each forbidden edge is found, each allowed one is not."""
import pathlib
import tempfile
import unittest

import includes


class IncludesTest(unittest.TestCase):
    def faults(self, file, include):
        with tempfile.TemporaryDirectory() as d:
            top = pathlib.Path(d)
            path = top / file
            path.parent.mkdir(parents=True)
            path.write_text(f'#include <vector>\n#include "{include}"\n')
            return includes.check(top)

    def test_allowed(self):
        for file, include in (
            ("routes/rib.cpp", "base/ip.hpp"),
            ("bgp/bmp.cpp", "routes/candidate.hpp"),
            ("gwd/main.cpp", "ike/vici.hpp"),
            ("gwd/main.cpp", "gw/api/v1/api.pb.h"),
            ("gwd/main.cpp", "ebpf/abi/drop.h"),
            ("ebpf/worker/worker.cpp", "ebpf/esp/codec.hpp"),
            ("ebpf/esp/codec.cpp", "ebpf/esp/codec.hpp"),
            ("ebpf/esp/codec.cpp", "ebpf/abi/drop.h"),
            ("ike/plugin/kernel_gw.c", "rpc.h"),
            ("cli/doctor.cpp", "gwd/doctor/doctor.hpp"),
            ("gwd/api/snapshot.cpp", "gwd/doctor/doctor.hpp"),
        ):
            self.assertEqual(self.faults(file, include), [], (file, include))

    def test_forbidden(self):
        for file, include in (
            ("base/ip.cpp", "routes/rib.hpp"),
            ("routes/rib.cpp", "bgp/bmp.hpp"),
            ("ike/vici.cpp", "bgp/vty.hpp"),
            ("ebpf/main.cpp", "gwd/config/config.hpp"),
            ("gwd/main.cpp", "ebpf/worker/worker.hpp"),
            ("cli/main.cpp", "gwd/api/api.hpp"),
            ("ebpf/esp/codec.cpp", "ebpf/worker/worker.hpp"),
            ("ebpf/esp/codec.cpp", "gw/fastpath/v1/fastpath.pb.h"),
            ("routes/rib.cpp", "gwd/main.hpp"),
            ("gwd/doctor/rules.cpp", "gwd/control/gateway.hpp"),
            ("gwd/doctor/rules.cpp", "routes/rib.hpp"),
        ):
            self.assertEqual(len(self.faults(file, include)), 1, (file, include))


if __name__ == "__main__":
    unittest.main()
