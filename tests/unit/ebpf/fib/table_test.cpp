// Next hops (resilient ECMP, counting, grace period) and the table's all-or-nothing updates.
#include "ebpf/fib/table.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "fib_memory.hpp"

namespace gw::fib {
namespace {

Prefix prefix(std::string_view text) { return Prefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }
NextHop over(std::vector<TunnelRef> tunnels) { return {GW_NEXT_HOP_TUNNELS, std::move(tunnels), {}}; }
TunnelRef tunnel(std::uint16_t n) { return {100u + n, n, 1400}; }
NextHop vnet(std::string_view gateway = "0.0.0.0") { return {GW_NEXT_HOP_VNET, {}, address(gateway)}; }

std::vector<std::uint16_t> buckets(const gw_next_hop& hop) { return {std::begin(hop.bucket), std::end(hop.bucket)}; }

TEST(NextHops, RemovingATunnelMovesOnlyItsBuckets) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  std::vector<TunnelRef> all;
  for (std::uint16_t n = 0; n < 8; ++n) all.push_back(tunnel(n));
  const auto before = buckets(memory.view().next_hops[hops.acquire(over(all)).value()]);
  for (std::uint16_t gone = 0; gone < 8; ++gone) {
    auto rest = all;
    rest.erase(rest.begin() + gone);
    const auto after = buckets(memory.view().next_hops[hops.acquire(over(rest)).value()]);
    for (std::size_t b = 0; b < after.size(); ++b) {
      EXPECT_NE(after[b], gone);
      if (before[b] == gone) continue;
      EXPECT_EQ(after[b], before[b]) << "bucket " << b << " without tunnel " << gone;
    }
  }
}

TEST(NextHops, BucketsAreSpreadOverAllTunnels) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  for (const std::uint16_t count : std::initializer_list<std::uint16_t>{2, 4, 16}) {
    std::vector<TunnelRef> all;
    for (std::uint16_t n = 0; n < count; ++n) all.push_back(tunnel(n));
    const auto b = buckets(memory.view().next_hops[hops.acquire(over(all)).value()]);
    for (std::uint16_t n = 0; n < count; ++n) EXPECT_GT(std::ranges::count(b, n), 256 / count / 3);
  }
}

TEST(NextHops, SmallestMtuOfTheGroup) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  EXPECT_EQ(memory.view().next_hops[hops.acquire(over({{1, 0, 1400}, {2, 1, 1360}})).value()].mtu, 1360u);
}

TEST(NextHops, SharedUntilTheLastUserAndReusedOnlyAfterGrace) {
  HeapMemory memory(1, 3);
  NextHops hops(memory.view().next_hops);
  const auto a = hops.acquire(vnet()).value();
  EXPECT_EQ(hops.acquire(vnet()).value(), a);
  EXPECT_TRUE(hops.acquire(over({tunnel(1)})));
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).error().code, Errc::kLimit);
  hops.release(a);
  EXPECT_TRUE(hops.take_retired().empty());
  hops.release(a);
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).error().code, Errc::kLimit) << "still in its grace period";
  hops.reuse(hops.take_retired());
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).value(), a);
}

class TableTest : public testing::Test {
 protected:
  const gw_next_hop& at(std::string_view a) { return memory_.view().next_hops[lookup(memory_.view(), address(a))]; }
  Status add(std::vector<Route> routes) { return table_.update(routes, {}); }
  HeapMemory memory_{16, 64};
  Table table_{memory_.view()};
};

TEST_F(TableTest, AddReplaceRemove) {
  ASSERT_TRUE(add({{prefix("192.0.2.0/24"), over({tunnel(3)})}}));
  EXPECT_EQ(at("192.0.2.9").kind, GW_NEXT_HOP_TUNNELS);
  EXPECT_EQ(at("192.0.2.9").bucket[77], 3);
  ASSERT_TRUE(add({{prefix("192.0.2.0/24"), vnet("198.51.100.1")}}));
  EXPECT_EQ(at("192.0.2.9").kind, GW_NEXT_HOP_VNET);
  EXPECT_EQ(at("192.0.2.9").gateway_family, 4u);
  ASSERT_TRUE(table_.update({}, std::vector{prefix("192.0.2.0/24"), prefix("203.0.113.0/24")}));
  EXPECT_EQ(at("192.0.2.9").kind, GW_NEXT_HOP_NONE);
  EXPECT_TRUE(table_.routes().empty());
}

TEST_F(TableTest, ABatchThatDoesNotFitLeavesEverythingAsItWas) {
  ASSERT_TRUE(add({{prefix("2001:db8::/32"), over({tunnel(1)})}, {prefix("2001:db8:1::/48"), over({tunnel(1)})}}));
  const auto before = table_.routes();
  auto result = add({{prefix("2001:db8::/32"), over({tunnel(2)})},      // replaces
                     {prefix("192.0.2.0/24"), over({tunnel(2)})},       // adds
                     {prefix("2001:db8:2::1/128"), over({tunnel(2)})},  // 14 nodes: does not fit
                     {prefix("2001:db8:3::1/128"), over({tunnel(2)})}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kLimit);
  EXPECT_EQ(table_.routes(), before);
  EXPECT_EQ(at("2001:db8::1").bucket[0], 1);
  EXPECT_EQ(at("192.0.2.1").kind, GW_NEXT_HOP_NONE);
  EXPECT_EQ(at("2001:db8:2::1").bucket[0], 1);
}

TEST_F(TableTest, OwnAddressesHideRoutesAndUncoverThemAgain) {
  ASSERT_TRUE(add({{prefix("192.0.2.0/24"), over({tunnel(1)})}, {prefix("192.0.2.5/32"), over({tunnel(2)})}}));
  ASSERT_TRUE(table_.set_local(std::vector{address("192.0.2.5"), address("192.0.2.6")}));
  EXPECT_EQ(at("192.0.2.5").kind, GW_NEXT_HOP_LOCAL);
  EXPECT_EQ(at("192.0.2.6").kind, GW_NEXT_HOP_LOCAL);
  ASSERT_TRUE(add({{prefix("192.0.2.5/32"), over({tunnel(3)})}}));  // stays hidden
  EXPECT_EQ(at("192.0.2.5").kind, GW_NEXT_HOP_LOCAL);
  ASSERT_TRUE(table_.set_local({}));
  EXPECT_EQ(at("192.0.2.5").bucket[0], 3);
  EXPECT_EQ(at("192.0.2.6").bucket[0], 1);
}

TEST_F(TableTest, ATunnelThatGoesLeavesItsGroups) {
  ASSERT_TRUE(
      add({{prefix("192.0.2.0/24"), over({tunnel(1), tunnel(2)})}, {prefix("198.51.100.0/24"), over({tunnel(1)})}}));
  ASSERT_TRUE(table_.remove_tunnel(tunnel(1).id));
  for (const auto slot : at("192.0.2.1").bucket) EXPECT_EQ(slot, 2);
  EXPECT_EQ(at("198.51.100.1").kind, GW_NEXT_HOP_NONE);
  EXPECT_EQ(table_.routes().size(), 1u);
}

TEST_F(TableTest, ATunnelsMtuReachesItsRoutes) {
  ASSERT_TRUE(add({{prefix("192.0.2.0/24"), over({tunnel(1)})}}));
  ASSERT_TRUE(table_.replace_tunnel({tunnel(1).id, 1, 1280}));
  EXPECT_EQ(at("192.0.2.1").mtu, 1280u);
}

TEST_F(TableTest, NothingLeaksOverManyUpdates) {
  for (std::uint16_t round = 0; round < 500; ++round) {
    ASSERT_TRUE(
        add({{prefix("2001:db8::1/128"), over({tunnel(round)})}, {prefix("192.0.2.1/32"), over({tunnel(round)})}}))
        << round;
    ASSERT_TRUE(table_.update({}, std::vector{prefix("2001:db8::1/128"), prefix("192.0.2.1/32")}));
    table_.release(table_.take_retired());
  }
}

}  // namespace
}  // namespace gw::fib
