// The trie against a naive longest-prefix match: random inserts, replacements and deletes in both
// families, dense enough that prefixes nest at every level.
#include "ebpf/fib/trie.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "fib_memory.hpp"

namespace gw::fib {
namespace {

Prefix prefix(std::string_view text) { return Prefix::parse(text).value(); }
IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

struct Tries {
  explicit Tries(std::size_t nodes = 512)
      : memory(nodes),
        v4(Family::kV4, {memory.view().v4_root, memory.view().v4_nodes}),
        v6(Family::kV6, {memory.view().v6_root, memory.view().v6_nodes}) {}
  Trie& of(Family f) { return f == Family::kV4 ? v4 : v6; }
  NextHopIndex at(std::string_view text) { return lookup(memory.view(), address(text)); }
  HeapMemory memory;
  Trie v4, v6;
};

TEST(Trie, EmptyHasNoRoute) {
  Tries t;
  EXPECT_EQ(t.at("192.0.2.1"), 0u);
  EXPECT_EQ(t.at("2001:db8::1"), 0u);
}

TEST(Trie, LongestPrefixWinsInBothOrdersOfInsertion) {
  for (const bool longest_first : {false, true}) {
    Tries t;
    const std::vector<std::pair<Prefix, NextHopIndex>> routes = {{prefix("0.0.0.0/0"), 1},
                                                                 {prefix("198.0.0.0/8"), 2},
                                                                 {prefix("198.51.100.0/24"), 3},
                                                                 {prefix("198.51.100.128/25"), 4},
                                                                 {prefix("198.51.100.129/32"), 5}};
    for (std::size_t i = 0; i < routes.size(); ++i) {
      const auto& [p, hop] = routes[longest_first ? routes.size() - 1 - i : i];
      ASSERT_TRUE(t.v4.insert(p, hop));
    }
    EXPECT_EQ(t.at("203.0.113.1"), 1u);
    EXPECT_EQ(t.at("198.1.1.1"), 2u);
    EXPECT_EQ(t.at("198.51.100.127"), 3u);
    EXPECT_EQ(t.at("198.51.100.128"), 4u);
    EXPECT_EQ(t.at("198.51.100.129"), 5u);
  }
}

TEST(Trie, DeletingUncoversTheNextShorterPrefix) {
  Tries t;
  ASSERT_TRUE(t.v6.insert(prefix("2001:db8::/32"), 1));
  ASSERT_TRUE(t.v6.insert(prefix("2001:db8:1::/48"), 2));
  ASSERT_TRUE(t.v6.insert(prefix("2001:db8:1::5/128"), 3));
  EXPECT_EQ(t.at("2001:db8:1::5"), 3u);
  EXPECT_TRUE(t.v6.erase(prefix("2001:db8:1::/48")));
  EXPECT_EQ(t.at("2001:db8:1::5"), 3u);
  EXPECT_EQ(t.at("2001:db8:1::6"), 1u);
  EXPECT_TRUE(t.v6.erase(prefix("2001:db8:1::5/128")));
  EXPECT_EQ(t.at("2001:db8:1::5"), 1u);
  EXPECT_FALSE(t.v6.erase(prefix("2001:db8:1::5/128")));
}

TEST(Trie, NodesComeBackOnlyAfterRelease) {
  Tries t(14);
  const auto host = prefix("2001:db8::1/128");
  ASSERT_TRUE(t.v6.insert(host, 1));
  EXPECT_EQ(t.v6.free_nodes(), 0u);  // 16 + 14 * 8 bits
  EXPECT_TRUE(t.v6.erase(host));
  EXPECT_EQ(t.v6.insert(host, 1).error().code, Errc::kLimit);
  const auto retired = t.v6.take_retired();
  EXPECT_EQ(retired.size(), 14u);
  t.v6.release(retired);
  EXPECT_TRUE(t.v6.insert(host, 2));
  EXPECT_EQ(t.at("2001:db8::1"), 2u);
}

TEST(Trie, InsertBeyondTheLimitChangesNothing) {
  Tries t(1);
  ASSERT_TRUE(t.v4.insert(prefix("192.0.2.0/25"), 1));
  EXPECT_EQ(t.v4.insert(prefix("198.51.100.0/25"), 2).error().code, Errc::kLimit);
  EXPECT_EQ(t.at("198.51.100.1"), 0u);
  EXPECT_EQ(t.v4.size(), 1u);
  EXPECT_TRUE(t.v4.insert(prefix("192.0.2.128/25"), 3));  // same node
}

/// Addresses and prefixes drawn from few distinct bytes, so that they nest and collide.
class RandomNetworks {
 public:
  explicit RandomNetworks(Family f) : family_(f) {}
  IpAddress address() {
    std::array<std::uint8_t, 16> b{};
    for (auto& x : b) x = kBytes[random_() % kBytes.size()];
    if (family_ == Family::kV6) return IpAddress::from_v6(b);
    return IpAddress::from_bytes(std::span<const std::uint8_t>(b).first(4)).value();
  }
  Prefix prefix() {
    // No shorter than /9 for IPv4: a default route rewrites 16 M entries, too slow under sanitizers.
    const unsigned shortest = family_ == Family::kV4 ? 9 : 0;
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

class TrieOracle : public testing::TestWithParam<Family> {};

TEST_P(TrieOracle, AgreesAfterEveryStep) {
  Tries t(4096);
  Trie& trie = t.of(GetParam());
  const std::size_t all_nodes = trie.free_nodes();
  RandomNetworks random(GetParam());
  std::map<Prefix, NextHopIndex> oracle;
  for (int step = 0; step < 1500; ++step) {
    const bool grow = oracle.size() < 150 ? random.number() % 4 != 0 : random.number() % 4 == 0;
    if (grow || oracle.empty()) {
      const Prefix p = random.prefix();
      const NextHopIndex hop = 1 + random.number() % GW_FIB_INDEX_MASK;
      ASSERT_TRUE(trie.insert(p, hop));
      oracle[p] = hop;
    } else {
      const auto it = std::next(oracle.begin(), static_cast<std::ptrdiff_t>(random.number() % oracle.size()));
      ASSERT_TRUE(trie.erase(it->first));
      oracle.erase(it);
    }
    trie.release(trie.take_retired());
    for (int probe = 0; probe < 20; ++probe) {
      const IpAddress a = random.address();
      ASSERT_EQ(lookup(t.memory.view(), a), naive(oracle, a)) << a.to_string() << " after step " << step;
    }
  }
  for (const auto& [p, hop] : oracle) ASSERT_TRUE(trie.erase(p));
  trie.release(trie.take_retired());
  EXPECT_EQ(trie.free_nodes(), all_nodes) << "nodes leaked";
  for (int probe = 0; probe < 100; ++probe) EXPECT_EQ(lookup(t.memory.view(), random.address()), 0u);
}

INSTANTIATE_TEST_SUITE_P(BothFamilies, TrieOracle, testing::Values(Family::kV4, Family::kV6),
                         [](const auto& p) { return p.param == Family::kV4 ? "IPv4" : "IPv6"; });

// While a longer prefix comes and goes, a reader sees the one or the other, never "no route".
TEST(Trie, ReaderAlongsideWriterSeesOldOrNew) {
  Tries t;
  ASSERT_TRUE(t.v6.insert(prefix("2001:db8::/32"), 1));
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::thread reader([&] {
    const auto a = address("2001:db8::7");
    while (!stop.load()) {
      const NextHopIndex hop = lookup(t.memory.view(), a);
      if (hop != 1 && hop != 2) ++wrong;
    }
  });
  for (int i = 0; i < 30; ++i) {  // 14 fresh nodes a round: none is reused while the reader may be in it
    EXPECT_TRUE(t.v6.insert(prefix("2001:db8::7/128"), 2));
    EXPECT_TRUE(t.v6.erase(prefix("2001:db8::7/128")));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong.load(), 0u);
}

}  // namespace
}  // namespace gw::fib
