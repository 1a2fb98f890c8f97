// Identifiers are the same everywhere and stay when others come and go.
#include "gwd/config/allocate.hpp"

#include <gmock/gmock.h>

namespace gw::config {
namespace {

std::vector<std::string> names(int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) out.push_back(std::format("site{}-ce1/gw-a", i));
  return out;
}

TEST(TunnelIds, AreFixedForEver) {
  // Golden: SAs in the fast path and rules on customers' routers refer to them. Never change the hash.
  EXPECT_THAT(allocate_tunnel_ids({"paris-ce1/gw-a", "paris-ce1/gw-b"}), testing::ElementsAre(8224770U, 8300367U));
}

TEST(TunnelIds, AreUniqueAndInRange) {
  const std::vector<std::uint32_t> ids = allocate_tunnel_ids(names(20'000));
  EXPECT_EQ(std::set<std::uint32_t>(ids.begin(), ids.end()).size(), 20'000U);
  for (const std::uint32_t id : ids) EXPECT_TRUE(id >= 1 && id <= kMaxTunnelId);
}

TEST(TunnelIds, AppendingChangesNobody) {
  const std::vector<std::uint32_t> before = allocate_tunnel_ids(names(5000));
  std::vector<std::uint32_t> after = allocate_tunnel_ids(names(6000));
  after.resize(5000);
  EXPECT_EQ(before, after);
}

TEST(TunnelIds, RemovingMovesOnlyWhatCollided) {
  std::vector<std::string> all = names(500);  // no two of these collide
  const std::vector<std::uint32_t> before = allocate_tunnel_ids(all);
  all.erase(all.begin() + 100);
  std::vector<std::uint32_t> expected = before;
  expected.erase(expected.begin() + 100);
  EXPECT_EQ(allocate_tunnel_ids(all), expected);
}

TEST(TunnelIds, TheSameNameTwiceGetsTwoIds) {
  const std::vector<std::uint32_t> ids = allocate_tunnel_ids({"a", "a"});
  EXPECT_EQ(ids[1], ids[0] % kMaxTunnelId + 1);
}

TEST(InnerPairs, AreDistinctSlash30sOfTheInstancesRange) {
  for (const unsigned instance : {0U, 1U}) {
    const auto pairs = allocate_inner_pairs(names(64), {}, instance);
    ASSERT_EQ(pairs.size(), kInnerPairs);
    std::set<IpAddress> seen;
    const Prefix range = Prefix::parse(instance == 0 ? "169.254.21.0/24" : "169.254.22.0/24").value();
    for (const auto& [name, pair] : pairs) {
      EXPECT_TRUE(range.contains(pair.local) && range.contains(pair.peer)) << name;
      EXPECT_EQ(pair.local.v4() % 4, 1U);
      EXPECT_EQ(pair.peer.v4(), pair.local.v4() + 1);
      EXPECT_TRUE(seen.insert(pair.local).second);
    }
  }
}

TEST(InnerPairs, WhatIsTakenIsLeftAlone) {
  const InnerPair first = allocate_inner_pairs({"x"}, {}, 0).at("x");
  const InnerPair moved = allocate_inner_pairs({"x"}, {first.peer}, 0).at("x");
  EXPECT_NE(first, moved);
  EXPECT_EQ(moved.local.v4(), (first.local.v4() & ~0xffU) | ((first.local.v4() + 4) & 0xffU));
}

TEST(InnerPairs, AppendingChangesNobodyAndTheRangeEnds) {
  const auto before = allocate_inner_pairs(names(40), {}, 0);
  const auto after = allocate_inner_pairs(names(70), {}, 0);
  EXPECT_EQ(after.size(), kInnerPairs);
  for (const auto& [name, pair] : before) EXPECT_EQ(after.at(name), pair) << name;
}

}  // namespace
}  // namespace gw::config
