// The HA state machine in a simulated world: the input chooses what happens to it. Not hostile bytes, but histories:
// coverage finds those that random ones hardly reach. A broken rule aborts with the history.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "tests/unit/ha/history.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::ha;
  std::span<const std::uint8_t> input(data, size);
  const auto choose = [&](std::uint64_t below) -> std::uint64_t {
    if (input.empty()) return 0;
    std::uint64_t value = input[0];
    input = input.subspan(1);
    if (below > 256 && !input.empty()) {
      value = value << 8 | input[0];
      input = input.subspan(1);
    }
    return value % below;
  };
  const std::uint64_t kind = choose(3);
  const LeaseKind lease = kind == 0 ? LeaseKind::kEmbedded : LeaseKind::kEtcd;
  sim::World world(kind == 2 ? 3 : 2, lease, choose(1024), sim::World::Record::kYes);
  const std::string fault = sim::live(world, choose);
  if (fault.empty()) return 0;
  std::fprintf(stderr, "%s%s\n", world.history().c_str(), fault.c_str());
  std::abort();
}
