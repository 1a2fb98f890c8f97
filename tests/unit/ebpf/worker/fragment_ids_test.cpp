// Ids of packets that may be cut: unique for a pair of addresses, whoever asks.
#include "ebpf/worker/fragment_ids.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace gw::worker {
namespace {

TEST(FragmentIds, OneSequenceForAPairOverAllWorkers) {
  FragmentIds ids(7);
  const std::vector<std::uint8_t> pair = {192, 0, 2, 1, 192, 0, 2, 2};
  std::vector<std::vector<std::uint16_t>> got(4);
  {
    std::vector<std::jthread> workers;
    for (auto& mine : got)
      workers.emplace_back([&] {
        for (int i = 0; i < 16'000; ++i) mine.push_back(ids.next_v4(pair));
      });
  }
  std::set<std::uint16_t> all;
  for (const auto& mine : got) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 64'000U) << "nothing twice in a round";
  EXPECT_FALSE(all.contains(0)) << "a raw socket would choose another one";
}

TEST(FragmentIds, BothFamiliesAndWholeRounds) {
  FragmentIds ids(7);
  const std::vector<std::uint8_t> v6(32, 0x20);
  const std::uint32_t first = ids.next(v6);
  for (std::uint32_t i = 1; i < 1000; ++i) EXPECT_EQ(ids.next(v6), first + i);
  const std::vector<std::uint8_t> v4 = {198, 51, 100, 1, 198, 51, 100, 2};
  std::set<std::uint16_t> round;
  for (int i = 0; i < 65'535; ++i) round.insert(ids.next_v4(v4));
  EXPECT_EQ(round.size(), 65'535U) << "every number but 0";
}

TEST(FragmentIds, NobodyKnowsWhereTheyBegin) {
  const std::vector<std::uint8_t> pair(8, 1);
  EXPECT_NE(FragmentIds(1).next(pair), FragmentIds(2).next(pair));
}

}  // namespace
}  // namespace gw::worker
