// Next hops (resilient ECMP, counting, grace period) and the table's all-or-nothing updates.
#include "ebpf/fib/table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <format>

#include "fib_memory.hpp"

namespace gw::fib {
namespace {

Prefix prefix(std::string_view text) { return Prefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }
NextHop over(std::vector<TunnelRef> tunnels) { return {GW_NEXT_HOP_TUNNELS, std::move(tunnels), {}}; }
TunnelRef tunnel(std::uint16_t n) { return {100u + n, n, 1400}; }
NextHop vnet() { return {GW_NEXT_HOP_VNET, {}, {}}; }
NextHop vnet(std::string_view gateway) { return {GW_NEXT_HOP_VNET, {}, {address(gateway)}}; }

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

std::vector<IpAddress> gateways_of(gw_next_hop& hop, std::string_view dst) {
  std::vector<IpAddress> all;
  for (std::uint32_t hash = 0; hash < GW_NEXT_HOP_BUCKETS; ++hash) all.push_back(gateway_of(hop, address(dst), hash));
  return all;
}

TEST(NextHops, RemovingAGatewayMovesOnlyItsFlows) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  for (const std::string_view net : {"192.168.30.", "2001:db8:30::"}) {
    NextHop all{GW_NEXT_HOP_CIRCUIT, {}, {}};
    for (unsigned n = 1; n <= 6; ++n) all.gateways.push_back(address(std::format("{}{}", net, n)));
    const auto before = gateways_of(memory.view().next_hops[hops.acquire(all).value()], "192.0.2.9");
    for (const IpAddress& gone : all.gateways) {
      EXPECT_GT(std::ranges::count(before, gone), 256 / 6 / 3) << gone.to_string();
      NextHop rest = all;
      std::erase(rest.gateways, gone);
      const auto after = gateways_of(memory.view().next_hops[hops.acquire(rest).value()], "192.0.2.9");
      for (std::size_t b = 0; b < after.size(); ++b) {
        EXPECT_NE(after[b], gone);
        if (before[b] != gone) {
          EXPECT_EQ(after[b], before[b]) << "bucket " << b << " without " << gone.to_string();
        }
      }
    }
  }
}

TEST(NextHops, OneGatewayHasAllFlowsAndNoneIsOnLink) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  gw_next_hop& one = memory.view().next_hops[hops.acquire(vnet("198.51.100.1")).value()];
  EXPECT_EQ(one.only, 1u);
  EXPECT_EQ(gateway_of(one, address("192.0.2.9"), 77), address("198.51.100.1"));
  gw_next_hop& link = memory.view().next_hops[hops.acquire(vnet()).value()];
  EXPECT_EQ(link.gateway_family, 0u);
  EXPECT_EQ(gateway_of(link, address("192.0.2.9"), 77), address("192.0.2.9"));
  NextHop handed = vnet("198.51.100.1");
  handed.behind = GW_ZONE_TUNNELS;
  gw_next_hop& other = memory.view().next_hops[hops.acquire(handed).value()];
  EXPECT_EQ(other.zone, GW_ZONE_TUNNELS);
  EXPECT_EQ(one.zone, GW_ZONE_VNET) << "another record";
}

TEST(NextHops, SmallestMtuOfTheGroup) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  EXPECT_EQ(memory.view().next_hops[hops.acquire(over({{1, 0, 1400}, {2, 1, 1360}})).value()].mtu, 1360u);
}

TEST(NextHops, SharedUntilTheLastUserAndReusedOnlyAfterGrace) {
  HeapMemory memory({.next_hops = 3});
  NextHops hops(memory.view().next_hops);
  const auto a = hops.acquire(vnet()).value();
  EXPECT_EQ(hops.acquire(vnet()).value(), a);
  EXPECT_TRUE(hops.acquire(over({tunnel(1)})));
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).error().code, Errc::kLimit);
  hops.release(a);
  EXPECT_EQ(hops.retired(), 0u);
  hops.release(a);
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).error().code, Errc::kLimit) << "still in its grace period";
  hops.release_retired();
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).value(), a);
}

TEST(NextHops, OneTunnelNeedsNoBuckets) {
  HeapMemory memory;
  NextHops hops(memory.view().next_hops);
  gw_next_hop& one = memory.view().next_hops[hops.acquire(over({tunnel(9)})).value()];
  EXPECT_EQ(one.only, 10u);
  EXPECT_EQ(bucket_of(one, 1234), 9);
  gw_next_hop& two = memory.view().next_hops[hops.acquire(over({tunnel(8), tunnel(9)})).value()];
  EXPECT_EQ(two.only, 0u);
  EXPECT_EQ(bucket_of(two, 77), two.bucket[77]);
}

// Two groups become equal when a tunnel leaves both: each keeps its users, one is found by its value.
TEST(NextHops, RecordsThatBecomeEqualStayApart) {
  HeapMemory memory({.next_hops = 4});
  NextHops hops(memory.view().next_hops);
  const auto both = hops.acquire(over({tunnel(1), tunnel(2)})).value();
  const auto single = hops.acquire(over({tunnel(2)})).value();
  EXPECT_TRUE(hops.remove_tunnel(tunnel(1).id).empty());
  EXPECT_EQ(hops.describe(both), hops.describe(single));
  EXPECT_EQ(memory.view().next_hops[both].only, 3u);
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).value(), single);
  hops.release(both);
  hops.release_retired();
  EXPECT_EQ(hops.acquire(over({tunnel(2)})).value(), single) << "still found after the other went";
  EXPECT_EQ(hops.remove_tunnel(tunnel(2).id), std::vector{single}) << "nothing is left of it";
}

class TableTest : public testing::Test {
 protected:
  const gw_next_hop& at(std::string_view a) { return memory_.view().next_hops[lookup(memory_.view(), address(a))]; }
  Status add(std::vector<Route> routes) { return table_.update(routes, {}); }
  HeapMemory memory_{{.v4_groups = 16, .v6_lines = 160, .next_hops = 64}};
  unsigned waits_ = 0;
  Table table_{memory_.view(), [this] { ++waits_; }};
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
  std::vector<Route> batch = {{prefix("2001:db8::/32"), over({tunnel(2)})},  // replaces
                              {prefix("192.0.2.0/24"), over({tunnel(2)})}};  // adds
  for (unsigned i = 2; i < 40; ++i)                                          // 10 lines each: they do not all fit
    batch.push_back({Prefix::parse(std::format("2001:db8:{}::1/128", i)).value(), over({tunnel(2)})});
  auto result = add(batch);
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

TEST_F(TableTest, AFullTableOfRoutesStillTakesOwnAddressesAndOneThatDoesNotFitLeavesTheOthers) {
  for (unsigned i = 0; i < 16; ++i)
    ASSERT_TRUE(add({{Prefix::parse(std::format("10.1.{}.0/25", i)).value(), over({tunnel(1)})}}));
  EXPECT_EQ(add({{prefix("10.2.0.0/25"), over({tunnel(1)})}}).error().code, Errc::kLimit);
  std::vector<IpAddress> own{address("2001:db8::5")};
  for (unsigned i = 0; i < kOwnV4Groups + 1; ++i) own.push_back(address(std::format("198.18.{}.1", i)));
  const Status done = table_.set_local(own);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().message.starts_with("198.18.64.1 is not known as ours: ")) << done.error().message;
  EXPECT_TRUE(done.error().message.contains("--fib-v4-groups")) << done.error().message;
  EXPECT_EQ(at("198.18.63.1").kind, GW_NEXT_HOP_LOCAL);
  EXPECT_EQ(at("2001:db8::5").kind, GW_NEXT_HOP_LOCAL) << "after the one that did not fit";
  own.erase(own.begin() + 1);
  EXPECT_TRUE(table_.set_local(own)) << "another one went";
  EXPECT_EQ(at("198.18.64.1").kind, GW_NEXT_HOP_LOCAL);
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
  table_.replace_tunnel({tunnel(1).id, 1, 1280});
  EXPECT_EQ(at("192.0.2.1").mtu, 1280u);
}

TEST_F(TableTest, ATunnelThatGoesIsWaitedFor) {
  ASSERT_TRUE(add({{prefix("192.0.2.0/24"), over({tunnel(1), tunnel(2)})}}));
  const unsigned before = waits_;
  ASSERT_TRUE(table_.remove_tunnel(tunnel(1).id));
  EXPECT_GT(waits_, before) << "its slot may be given to another afterwards";
}

TEST_F(TableTest, RoutesAreInOrder) {
  ASSERT_TRUE(add({{prefix("2001:db8::/32"), vnet()},
                   {prefix("192.0.2.128/25"), vnet()},
                   {prefix("192.0.2.0/24"), vnet()},
                   {prefix("10.0.0.0/8"), vnet()},
                   {prefix("0.0.0.0/0"), vnet()},
                   {prefix("::/0"), vnet()},
                   {prefix("192.0.2.1/32"), vnet()},
                   {prefix("192.0.3.0/24"), vnet()},
                   {prefix("2001:db8::7/128"), vnet()}}));
  std::vector<Prefix> prefixes;
  for (const Route& r : table_.routes()) prefixes.push_back(r.prefix);
  EXPECT_EQ(prefixes.size(), 9u);
  EXPECT_TRUE(std::ranges::is_sorted(prefixes));
}

TEST_F(TableTest, SweepTakesOutWhatNoLaterSessionSent) {
  const std::vector<Route> old = {{prefix("192.0.2.0/24"), vnet()}, {prefix("198.51.100.0/24"), vnet()}};
  ASSERT_TRUE(table_.update(old, {}, 1));
  ASSERT_TRUE(table_.update(std::span(old).first(1), {}, 2));
  ASSERT_TRUE(table_.sweep(2));
  EXPECT_EQ(table_.routes(), std::vector(old.begin(), old.begin() + 1));
}

TEST_F(TableTest, NothingLeaksOverManyUpdates) {
  for (std::uint16_t round = 0; round < 500; ++round) {
    ASSERT_TRUE(
        add({{prefix("2001:db8::1/128"), over({tunnel(round)})}, {prefix("192.0.2.1/32"), over({tunnel(round)})}}))
        << round;
    ASSERT_TRUE(table_.update({}, std::vector{prefix("2001:db8::1/128"), prefix("192.0.2.1/32")}));
  }
  table_.reclaim();
  const Table::Usage usage = table_.usage();
  EXPECT_EQ(usage.v4_groups, 0u);
  EXPECT_EQ(usage.v6_lines, 0u);
  EXPECT_EQ(usage.next_hops, 1u) << "that of our own addresses";
  EXPECT_GT(waits_, 0u);
}

TEST(Reading, IsWhatTheMemoryHas) {
  HeapMemory memory;
  Table table(memory.view(), [] {});
  ASSERT_TRUE(table.update(
      std::vector<Route>{
          {prefix("10.9.0.0/16"), over({tunnel(3), tunnel(5)})},
          {prefix("10.9.7.0/25"), over({tunnel(5)})},
          {prefix("2001:db8:9::/48"), vnet("2001:db8::5")},
          {prefix("10.1.0.0/16"), vnet()},
          {prefix("10.2.0.0/16"), {GW_NEXT_HOP_CIRCUIT, {}, {address("192.0.2.1"), address("192.0.2.2")}}}},
      {}));
  ASSERT_TRUE(table.set_local(std::vector{address("10.1.0.4")}));
  const auto slots = [&](std::string_view at) { return table.read(address(at)).slots; };
  EXPECT_EQ(slots("10.9.0.1"), (std::vector<std::uint16_t>{3, 5}));
  EXPECT_EQ(slots("10.9.7.1"), (std::vector<std::uint16_t>{5}));
  EXPECT_EQ(table.read(address("2001:db8:9::1")).gateways, std::vector{address("2001:db8::5")});
  EXPECT_EQ(table.read(address("10.2.0.1")).gateways, (std::vector{address("192.0.2.1"), address("192.0.2.2")}));
  EXPECT_EQ(table.read(address("10.1.0.1")).kind, GW_NEXT_HOP_VNET);
  EXPECT_TRUE(table.read(address("10.1.0.1")).gateways.empty());
  EXPECT_EQ(table.read(address("10.1.0.4")).kind, GW_NEXT_HOP_LOCAL);
  EXPECT_EQ(table.read(address("192.0.2.1")).kind, GW_NEXT_HOP_NONE);
  // Behind the table's back: the route is still in its books.
  memory.view().v4_root[(10 << 16) | (9 << 8)] = 0;
  EXPECT_EQ(table.read(address("10.9.0.1")).kind, GW_NEXT_HOP_NONE);
  EXPECT_EQ(table.routes().size(), 5U);
}

}  // namespace
}  // namespace gw::fib
