// Random histories: processes crash, freeze and return, networks lose, delay and are cut, operators interfere; then all
// is well again. World checks at every step who may send, live() that everything settles. One history is one seed.
// GW_HA_SEEDS=N runs N of each kind (from GW_HA_FIRST), GW_HA_SEED=S that one, with its log; fuzz_ha chooses by
// coverage.
#include <gtest/gtest.h>

#include <cstdlib>
#include <format>
#include <string>

#include "tests/unit/ha/history.hpp"

namespace gw::ha::sim {
namespace {

// A history takes 3 ms (three instances: 12), with sanitizers six times that.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned long kSeeds = 150;
#else
constexpr unsigned long kSeeds = 1000;
#endif

struct Kind {
  const char* name;
  unsigned instances;
  LeaseKind lease;
  unsigned long share;
};

unsigned long setting(const char* name, unsigned long otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : otherwise;
}

class Random : public ::testing::TestWithParam<Kind> {};

TEST_P(Random, HistoriesKeepTheRules) {
  const Kind kind = GetParam();
  const unsigned long one = setting("GW_HA_SEED", 0);
  const unsigned long first = one != 0 ? one : setting("GW_HA_FIRST", 1);
  const unsigned long last = one != 0 ? one + 1 : first + setting("GW_HA_SEEDS", kSeeds / kind.share);
  unsigned faults = 0;
  for (unsigned long seed = first; seed < last; ++seed) {
    World w(kind.instances, kind.lease, seed, one != 0 ? World::Record::kYes : World::Record::kNo);
    const std::string fault = live(w, [&](std::uint64_t below) { return w.random(below); });
    if (one != 0) std::fputs(w.history().c_str(), stdout);
    if (fault.empty()) continue;
    World again(kind.instances, kind.lease, seed, World::Record::kYes);
    (void)live(again, [&](std::uint64_t below) { return again.random(below); });
    ADD_FAILURE() << std::format("{}, seed {}: {}\n", kind.name, seed, fault) << (faults == 0 ? again.history() : "");
    if (++faults == 5) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, Random,
                         ::testing::Values(Kind{"PairEmbedded", 2, LeaseKind::kEmbedded, 1},
                                           Kind{"PairEtcd", 2, LeaseKind::kEtcd, 1},
                                           Kind{"ThreeEtcd", 3, LeaseKind::kEtcd, 4}),
                         [](const auto& p) { return std::string(p.param.name); });

}  // namespace
}  // namespace gw::ha::sim
