// Lookups of a burst are those of its packets one by one, in whatever mixture of families and gaps.
#include "ebpf/worker/route_burst.hpp"

#include <gtest/gtest.h>

#include <random>

#include "ebpf/fib/table.hpp"
#include "tests/unit/ebpf/fib/fib_memory.hpp"

namespace gw::worker {
namespace {

TEST(RouteBurst, IsLookupsOneByOne) {
  fib::HeapMemory memory;
  fib::Table table(memory.view(), [] {});
  std::vector<fib::Route> routes;
  for (const auto* text : {"0.0.0.0/0", "10.0.0.0/8", "10.9.1.0/24", "10.9.1.7/32", "2001:db8::/32", "2001:db8:1::/48"})
    routes.push_back(
        {Prefix::parse(text).value(), {GW_NEXT_HOP_TUNNELS, {{.id = static_cast<std::uint32_t>(routes.size())}}, {}}});
  ASSERT_TRUE(table.update(routes, {}));
  std::vector<IpAddress> addresses;
  for (const auto* text :
       {"10.9.1.7", "10.9.1.8", "10.9.2.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::1", "2001:db9::"})
    addresses.push_back(IpAddress::parse(text).value());
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    RouteBurst burst;
    std::vector<std::pair<std::size_t, const IpAddress*>> asked;
    const bool one_family = round % 4 == 0;
    for (std::size_t i = 0; i < kBurst; ++i) {
      if (random() % 8 == 0 && round % 2 == 0) continue;  // a packet that needs none
      const IpAddress& a = addresses[one_family ? random() % 4 : random() % addresses.size()];
      burst.add(i, a.bytes().data(), a.family());
      asked.emplace_back(i, &a);
    }
    burst.find(memory.view());
    for (const auto& [i, a] : asked) ASSERT_EQ(burst.hop(i), fib::lookup(memory.view(), *a)) << a->to_string();
  }
}

TEST(RouteBurst, NobodyAsked) {
  fib::HeapMemory memory;
  RouteBurst burst;
  burst.find(memory.view());
}

}  // namespace
}  // namespace gw::worker
