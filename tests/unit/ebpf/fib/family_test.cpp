// Both families of the forwarding table against a naive longest-prefix match: random inserts, replacements and
// deletes, dense enough that prefixes nest at every level; limits; readers alongside the writer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "ebpf/fib/v4_table.hpp"
#include "ebpf/fib/v6_table.hpp"
#include "fib_memory.hpp"

namespace gw::fib {
namespace {

Prefix prefix(std::string_view text) { return Prefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

/// Nobody reads but the test itself: what is retired is free at once when it is needed.
struct Families {
  explicit Families(const HeapSize& size = {})
      : memory(size), v4(memory.view(), [this] { release(); }), v6(memory.view(), [this] { release(); }) {}
  void release() {
    v4.release_retired();
    v6.release_retired();
  }
  Result<RouteValue> set(const Prefix& p, NextHopIndex hop) {
    return p.family() == Family::kV4 ? v4.set(p, {hop, 0}) : v6.set(p, {hop, 0});
  }
  void erase(const Prefix& p) {
    const auto gone = p.family() == Family::kV4 ? v4.erase(p) : v6.erase(p);
    ASSERT_TRUE(gone);
    EXPECT_NE(gone->hop, 0u) << p.to_string() << " was there";
  }
  NextHopIndex at(const IpAddress& a) { return lookup(memory.view(), a); }
  NextHopIndex at(std::string_view text) { return at(address(text)); }
  HeapMemory memory;
  V4Table v4;
  V6Table v6;
};

TEST(FibFamilies, EmptyHasNoRoute) {
  Families t;
  EXPECT_EQ(t.at("192.0.2.1"), 0u);
  EXPECT_EQ(t.at("2001:db8::1"), 0u);
}

TEST(FibFamilies, LongestPrefixWinsInBothOrdersOfInsertion) {
  for (const bool longest_first : {false, true}) {
    Families t;
    const std::vector<std::pair<Prefix, NextHopIndex>> routes = {
        {prefix("0.0.0.0/0"), 1},         {prefix("198.0.0.0/8"), 2},
        {prefix("198.51.100.0/24"), 3},   {prefix("198.51.100.128/25"), 4},
        {prefix("198.51.100.129/32"), 5}, {prefix("::/0"), 6},
        {prefix("2001::/16"), 7},         {prefix("2001:db8::/32"), 8},
        {prefix("2001:db8:0:1::/64"), 9}, {prefix("2001:db8::1:0:0:0:1/128"), 10}};
    for (std::size_t i = 0; i < routes.size(); ++i) {
      const auto& [p, hop] = routes[longest_first ? routes.size() - 1 - i : i];
      ASSERT_TRUE(t.set(p, hop));
    }
    EXPECT_EQ(t.at("203.0.113.1"), 1u);
    EXPECT_EQ(t.at("198.1.1.1"), 2u);
    EXPECT_EQ(t.at("198.51.100.127"), 3u);
    EXPECT_EQ(t.at("198.51.100.128"), 4u);
    EXPECT_EQ(t.at("198.51.100.129"), 5u);
    EXPECT_EQ(t.at("3fff::1"), 6u);
    EXPECT_EQ(t.at("2001:db9::1"), 7u);
    EXPECT_EQ(t.at("2001:db8:1::1"), 8u);
    EXPECT_EQ(t.at("2001:db8::1:0:0:0:2"), 9u);
    EXPECT_EQ(t.at("2001:db8::1:0:0:0:1"), 10u);
  }
}

TEST(FibFamilies, WhatCoversAnIpv6NodeIsInheritedBelowIt) {
  Families t;
  ASSERT_TRUE(t.set(prefix("2001:db8::/32"), 1));
  ASSERT_TRUE(t.set(prefix("2001:db8:1::/48"), 2));
  ASSERT_TRUE(t.set(prefix("2001:db8:1::5/128"), 3));
  EXPECT_EQ(t.at("2001:db8:1::6"), 2u);
  ASSERT_TRUE(t.set(prefix("2001:db8:1::/48"), 4)) << "a replaced hop is seen below";
  EXPECT_EQ(t.at("2001:db8:1::6"), 4u);
  t.erase(prefix("2001:db8:1::/48"));
  EXPECT_EQ(t.at("2001:db8:1::5"), 3u);
  EXPECT_EQ(t.at("2001:db8:1::6"), 1u);
  ASSERT_TRUE(t.set(prefix("2001::/16"), 5));
  t.erase(prefix("2001:db8::/32"));
  EXPECT_EQ(t.at("2001:db8:1::6"), 5u);
  t.erase(prefix("2001:db8:1::5/128"));
  EXPECT_EQ(t.at("2001:db8:1::5"), 5u);
}

TEST(FibFamilies, Ipv4GroupsRunOutAndNothingChanges) {
  Families t({.v4_groups = 1});
  ASSERT_TRUE(t.set(prefix("192.0.2.0/25"), 1));
  EXPECT_EQ(t.set(prefix("198.51.100.0/25"), 2).error().code, Errc::kLimit);
  EXPECT_EQ(t.at("198.51.100.1"), 0u);
  EXPECT_EQ(t.v4.routes().size(), 1u);
  EXPECT_TRUE(t.set(prefix("192.0.2.128/25"), 3)) << "the same group";
  t.erase(prefix("192.0.2.0/25"));
  t.erase(prefix("192.0.2.128/25"));
  EXPECT_EQ(t.v4.groups_free(), kOwnV4Groups) << "readers may still be in it";
  EXPECT_TRUE(t.set(prefix("198.51.100.0/25"), 2)) << "reclaimed when there is need";
}

TEST(FibFamilies, RoutesLeaveGroupsForAddressesOfThisMachine) {
  Families t({.v4_groups = 1});
  ASSERT_TRUE(t.set(prefix("192.0.2.0/25"), 1));
  for (unsigned i = 0; i < kOwnV4Groups; ++i)
    EXPECT_TRUE(t.v4.set(Prefix::parse(std::format("10.0.{}.1/32", i)).value(), {2, 0}, Claim::kOwnAddress)) << i;
  EXPECT_EQ(t.v4.groups_free(), 0u);
  const auto last = t.v4.set(prefix("10.1.0.1/32"), {2, 0}, Claim::kOwnAddress);
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().message,
            "forwarding table: all 65 groups for IPv4 addresses of this machine are in use; gw-fastpath "
            "--fib-v4-groups sets how many there are");
}

TEST(FibFamilies, Ipv6LinesRunOutAndNothingChanges) {
  Families t({.v6_lines = 256});
  std::map<Prefix, NextHopIndex> in;
  Result<RouteValue> last;
  for (unsigned i = 0; i < 300 && last; ++i) {
    const auto p = Prefix::parse(std::format("2001:db8:{:x}::/48", i * 257)).value();
    last = t.set(p, i + 1);
    if (last) in[p] = i + 1;
  }
  ASSERT_EQ(last.error().code, Errc::kLimit);
  EXPECT_THAT(last.error().message, testing::HasSubstr("--fib-v6-lines"));
  EXPECT_EQ(t.v6.routes().size(), in.size());
  for (const auto& [p, hop] : in) EXPECT_EQ(t.at(p.address()), hop);
  for (const auto& [p, hop] : in) t.erase(p);  // what is left suffices for taking out
  t.release();
  EXPECT_EQ(t.v6.lines_free(), 256u);
}

/// Addresses and prefixes drawn from few distinct bytes, so that they nest and collide; now and then any byte,
/// so that nodes get wide.
class RandomNetworks {
 public:
  explicit RandomNetworks(Family f) : family_(f) {}
  IpAddress address() {
    std::array<std::uint8_t, 16> b{};
    for (std::size_t i = 0; i < b.size(); ++i)
      b[i] = i >= 2 && random_() % 4 == 0 ? static_cast<std::uint8_t>(random_()) : kBytes[random_() % kBytes.size()];
    if (family_ == Family::kV6) return IpAddress::from_v6(b);
    return IpAddress::from_bytes(std::span<const std::uint8_t>(b).first(4)).value();
  }
  Prefix prefix() {
    // Seldom shorter than /9 for IPv4: such a route rewrites millions of entries, slow under sanitizers.
    const unsigned shortest = family_ == Family::kV4 ? (random_() % 256 == 0 ? 4 : 9) : 0;
    return Prefix::make(address(), shortest + static_cast<unsigned>(random_() % (address_bits(family_) - shortest + 1)))
        .value();
  }
  std::uint32_t number() { return static_cast<std::uint32_t>(random_()); }

 private:
  static constexpr std::array<std::uint8_t, 5> kBytes = {0x00, 0x01, 0x80, 0xfe, 0xff};
  Family family_;
  std::mt19937 random_{20261};
};

NextHopIndex naive(const std::map<Prefix, NextHopIndex>& routes, const IpAddress& a) {
  NextHopIndex best = 0;
  int length = -1;
  for (const auto& [p, hop] : routes)
    if (p.contains(a) && int(p.length()) > length) best = hop, length = int(p.length());
  return best;
}

/// The same addresses by the lookup for bursts; IPv6: by every way that this CPU has, which have to agree.
std::vector<NextHopIndex> burst(const Memory& m, std::span<const IpAddress> addresses) {
  constexpr NextHopIndex kUntouched = 77777;
  std::vector<NextHopIndex> found(addresses.size() + 1, kUntouched);
  if (addresses[0].is_v4()) {
    std::vector<std::uint32_t> numbers;
    for (const IpAddress& a : addresses) numbers.push_back(a.v4());
    lookup_burst_v4(m, numbers, found.data());
  } else {
    std::vector<const std::uint8_t*> bytes;
    for (const IpAddress& a : addresses) bytes.push_back(a.bytes().data());
    lookup_burst_v6(m, bytes, found.data());
    for (const BurstV6& way : ways_of_burst_v6()) {
      std::vector<NextHopIndex> same(addresses.size() + 1, kUntouched);
      way.lookup(m, bytes, same.data());
      EXPECT_EQ(same, found) << way.name;
    }
  }
  EXPECT_EQ(found.back(), kUntouched) << "wrote behind the end";
  found.pop_back();
  return found;
}

class FibOracle : public testing::TestWithParam<Family> {};

TEST_P(FibOracle, AgreesAfterEveryStep) {
  Families t({.v4_groups = 512, .v6_lines = 32768});
  RandomNetworks random(GetParam());
  std::map<Prefix, NextHopIndex> oracle;
  for (int step = 0; step < 3000; ++step) {
    const bool grow = oracle.size() < 300 ? random.number() % 4 != 0 : random.number() % 4 == 0;
    if (grow || oracle.empty()) {
      const Prefix p = random.prefix();
      const NextHopIndex hop = 1 + random.number() % (GW_FIB_MAX_NEXT_HOPS - 1);
      ASSERT_TRUE(t.set(p, hop));
      oracle[p] = hop;
    } else {
      const auto it = std::next(oracle.begin(), static_cast<std::ptrdiff_t>(random.number() % oracle.size()));
      t.erase(it->first);
      oracle.erase(it);
    }
    std::vector<IpAddress> probes;
    for (int probe = 0; probe < 16; ++probe) probes.push_back(random.address());
    const auto found = burst(t.memory.view(), probes);
    for (std::size_t i = 0; i < probes.size(); ++i) {
      const NextHopIndex expected = naive(oracle, probes[i]);
      ASSERT_EQ(t.at(probes[i]), expected) << probes[i].to_string() << " after step " << step;
      ASSERT_EQ(found[i], expected) << "burst: " << probes[i].to_string() << " after step " << step;
    }
  }
  const std::size_t groups_before = t.v4.groups();
  for (const auto& [p, hop] : oracle) t.erase(p);
  t.release();
  EXPECT_EQ(t.v4.groups_free(), groups_before) << "groups leaked";
  EXPECT_EQ(t.v6.lines_free(), 32768u) << "lines leaked";
  for (int probe = 0; probe < 100; ++probe) EXPECT_EQ(t.at(random.address()), 0u);
}

/// Every address of a node that is as crowded as can be, while it grows and shrinks.
TEST_P(FibOracle, CrowdedNodes) {
  Families t;
  std::mt19937 random(7);
  const bool v4 = GetParam() == Family::kV4;
  std::vector<Prefix> all;
  for (unsigned byte = 0; byte < 256; ++byte)
    all.push_back(
        Prefix::parse(v4 ? std::format("192.0.2.{}/32", byte) : std::format("2001:db8:{:x}::/40", byte << 8)).value());
  std::ranges::shuffle(all, random);
  std::vector<NextHopIndex> expected(256, 0);
  const auto check = [&] {
    for (unsigned i = 0; i < 256; ++i) ASSERT_EQ(t.at(all[i].address()), expected[i]) << all[i].to_string();
  };
  for (unsigned i = 0; i < 256; ++i) {
    ASSERT_TRUE(t.set(all[i], expected[i] = i + 1));
    if (i % 16 == 0) check();
  }
  check();
  for (unsigned i = 0; i < 256; ++i) {
    t.erase(all[i]);
    expected[i] = 0;
    if (i % 16 == 0) check();
  }
  check();
}

/// Bursts of every length, over tables that grow and shrink between them.
TEST_P(FibOracle, BurstsOfEveryLengthAreSingleLookups) {
  Families t({.v4_groups = 2048, .v6_lines = 32768});
  RandomNetworks random(GetParam());
  std::map<Prefix, NextHopIndex> in;
  for (std::size_t length = 1; length <= kLookupBurst; ++length) {
    for (int change = 0; change < 40; ++change) {
      const Prefix p = random.prefix();
      const NextHopIndex hop = 1 + random.number() % (GW_FIB_MAX_NEXT_HOPS - 1);
      if (in.size() < 500 || random.number() % 2 == 0) {
        ASSERT_TRUE(t.set(p, hop));
        in[p] = hop;
      } else {
        t.erase(in.begin()->first);
        in.erase(in.begin());
      }
    }
    for (int round = 0; round < 4; ++round) {
      std::vector<IpAddress> probes;
      for (std::size_t i = 0; i < length; ++i) {
        // Every other one within a route: random addresses hardly ever get to the deep levels.
        const auto near = std::next(in.begin(), static_cast<std::ptrdiff_t>(random.number() % in.size()));
        probes.push_back(i % 2 == 0 ? random.address() : near->first.address());
      }
      const auto found = burst(t.memory.view(), probes);
      for (std::size_t i = 0; i < length; ++i) {
        ASSERT_EQ(found[i], t.at(probes[i])) << probes[i].to_string() << " in a burst of " << length;
        if (round == 0) {
          ASSERT_EQ(found[i], naive(in, probes[i])) << probes[i].to_string();
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(BothFamilies, FibOracle, testing::Values(Family::kV4, Family::kV6),
                         [](const auto& p) { return p.param == Family::kV4 ? "IPv4" : "IPv6"; });

// A machine without AVX-512 tests fewer ways; the one that is used is always the last.
TEST(FibBurst, FallbackIsAlwaysThere) {
  const auto ways = ways_of_burst_v6();
  ASSERT_FALSE(ways.empty());
  EXPECT_EQ(ways.front().name, "portable");
}

/// Addresses in packets lie anywhere: at odd places, and at the very end of a page.
TEST(FibBurst, AddressesNeedNoAlignmentAndNothingBehindThem) {
  Families t;
  ASSERT_TRUE(t.set(prefix("2001:db8::/32"), 1));
  ASSERT_TRUE(t.set(prefix("2001:db8::7/128"), 2));
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const two = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(two, MAP_FAILED);
  auto* const end = static_cast<std::uint8_t*>(two) + page;
  ASSERT_EQ(::mprotect(end, page, PROT_NONE), 0);
  const auto a = address("2001:db8::7");
  for (const BurstV6& way : ways_of_burst_v6())
    for (std::size_t before_end = 16; before_end < 32; ++before_end) {
      std::uint8_t* const at = end - before_end;
      std::ranges::copy(a.bytes(), at);
      NextHopIndex found = 0;
      way.lookup(t.memory.view(), {{at}}, &found);
      EXPECT_EQ(found, 2u) << way.name << ", " << before_end << " before the end";
    }
  ::munmap(two, 2 * page);
}

/// All twelve runs of a line, and the thirteenth, which makes the node wider.
TEST(FibBurst, LinesUpToTheirLastRun) {
  Families t;
  std::map<Prefix, NextHopIndex> in;
  for (unsigned i = 0; i < 8; ++i) {
    const Prefix p = Prefix::parse(std::format("2001:db8:{:x}00::/40", 16 * i + 1)).value();
    ASSERT_TRUE(t.set(p, in[p] = i + 1));
    std::vector<IpAddress> probes;
    std::array<std::uint8_t, 16> bytes{};
    std::ranges::copy(address("2001:db8::").bytes(), bytes.begin());
    for (unsigned byte = 0; byte < 256; ++byte) {
      bytes[4] = static_cast<std::uint8_t>(byte);
      probes.push_back(IpAddress::from_v6(bytes));
    }
    for (std::size_t first = 0; first < probes.size(); first += kLookupBurst) {
      const auto some = std::span(probes).subspan(first, kLookupBurst);
      const auto found = burst(t.memory.view(), some);
      for (std::size_t k = 0; k < some.size(); ++k) ASSERT_EQ(found[k], naive(in, some[k])) << some[k].to_string();
    }
  }
}

TEST(LineAllocator, BlocksAreDisjointAlignedAndFindTogetherAgain) {
  LineAllocator allocator(1024);
  std::mt19937 random(3);
  std::vector<LineBlock> held;
  std::vector<int> owner(1024, -1);
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 || held.empty()) {
      const auto block =
          allocator.allocate(static_cast<unsigned>(random() % (GW_FIB_V6_MAX_WIDTH + 1)), LineAllocator::Need::kShrink);
      if (!block) continue;
      EXPECT_EQ(block->first % (1u << block->width), 0u);
      for (unsigned i = 0; i < 1u << block->width; ++i) {
        ASSERT_EQ(owner[block->first + i], -1);
        owner[block->first + i] = step;
      }
      held.push_back(*block);
    } else {
      std::swap(held[random() % held.size()], held.back());
      for (unsigned i = 0; i < 1u << held.back().width; ++i) owner[held.back().first + i] = -1;
      allocator.free(held.back());
      held.pop_back();
    }
  }
  for (const LineBlock& b : held) allocator.free(b);
  EXPECT_EQ(allocator.free_lines(), 1024u);
  for (int i = 0; i < 32; ++i)
    EXPECT_TRUE(allocator.allocate(GW_FIB_V6_MAX_WIDTH, LineAllocator::Need::kShrink)) << "fragmented: " << i;
}

// While longer prefixes come and go, a reader sees the one or the other, never "no route" and never a stranger.
// Memory is used again as soon as the reader has passed: a reader in a node that is written would be seen.
TEST(FibFamilies, ReaderAlongsideWriterSeesOldOrNew) {
  std::atomic<std::uint64_t> rounds{0};
  std::atomic<bool> stop{false};
  HeapMemory memory({.v4_groups = 4, .v6_lines = 512});
  const auto wait = [&] {
    const std::uint64_t seen = rounds.load(std::memory_order_acquire);
    while (rounds.load(std::memory_order_acquire) < seen + 2 && !stop.load()) std::this_thread::yield();
  };
  V4Table v4(memory.view(), [&] {
    wait();
    v4.release_retired();
  });
  V6Table v6(memory.view(), [&] {
    wait();
    v6.release_retired();
  });
  ASSERT_TRUE(v6.set(prefix("2001:db8::/32"), {1, 0}));
  ASSERT_TRUE(v4.set(prefix("192.0.2.0/24"), {1, 0}));
  std::atomic<unsigned> wrong{0};
  std::thread reader([&] {
    const auto a6 = address("2001:db8::7");
    const std::array<const std::uint8_t*, 2> both = {a6.bytes().data(), a6.bytes().data()};
    while (!stop.load()) {
      for (const BurstV6& way : ways_of_burst_v6()) {
        std::array<NextHopIndex, 2> found{};
        way.lookup(memory.view(), both, found.data());
        for (const NextHopIndex hop :
             {found[0], found[1], lookup(memory.view(), a6), lookup_v4(memory.view(), 0xc0000207)})
          if (hop != 1 && hop != 2) ++wrong;
      }
      rounds.fetch_add(1, std::memory_order_release);
    }
  });
  for (unsigned i = 0; i < 3000; ++i) {
    EXPECT_TRUE(v6.set(prefix("2001:db8::7/128"), {2, 0}));
    EXPECT_TRUE(v6.set(Prefix::parse(std::format("2001:db8:{:x}::/48", i % 64 * 64 + 1)).value(), {3 + i, 0}));
    EXPECT_TRUE(v4.set(prefix("192.0.2.7/32"), {2, 0}));
    EXPECT_TRUE(v6.erase(prefix("2001:db8::7/128")));
    EXPECT_TRUE(v4.erase(prefix("192.0.2.7/32")));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong.load(), 0u);
}

}  // namespace
}  // namespace gw::fib
