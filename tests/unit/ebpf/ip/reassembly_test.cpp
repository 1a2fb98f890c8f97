// Reassembly: every order, duplicates, what attackers send, and the bounds. A reference that only knows the finished
// packet decides what must come out.
#include "ebpf/ip/reassembly.hpp"

#include <gtest/gtest.h>

#include "ebpf/esp/inner.hpp"
#include "support.hpp"

namespace gw::ip {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Outcome = Reassembler::Outcome;

constexpr MonoTime kStart{1000s};
constexpr std::uint16_t kMore = 0x2000;

class ReassemblyTest : public testing::Test {
 protected:
  Outcome add(const Bytes& fragment, Standing standing = Standing::kPeer) { return r_.add(fragment, standing, now_); }
  Bytes whole() const { return {r_.packet().begin(), r_.packet().end()}; }
  std::uint32_t dropped(gw_drop reason) {
    drops_ = r_.take_drops();
    return drops_[reason];
  }
  Reassembler r_{0x5eed};
  MonoTime now_ = kStart;
  FragmentDrops drops_{};
};

Bytes slice(const Bytes& b, std::size_t from, std::size_t to) {
  return {b.begin() + static_cast<std::ptrdiff_t>(from), b.begin() + static_cast<std::ptrdiff_t>(to)};
}

Bytes v4_part(const Bytes& payload, std::size_t from, std::size_t to, V4 h = {}) {
  h.field = static_cast<std::uint16_t>(from / 8 | (to < payload.size() ? kMore : 0));
  return v4(h, slice(payload, from, to));
}
Bytes v6_part(const Bytes& payload, std::size_t from, std::size_t to, std::uint32_t id = 9) {
  return v6_fragment({}, id, static_cast<std::uint16_t>(from | (to < payload.size() ? 1 : 0)),
                     slice(payload, from, to));
}

TEST_F(ReassemblyTest, TwoPiecesInEitherOrder) {
  const Bytes payload = counting(1500);
  for (const bool reversed : {false, true}) {
    std::vector<Bytes> parts = {v4_part(payload, 0, 1480), v4_part(payload, 1480, 1500)};
    if (reversed) std::ranges::reverse(parts);
    EXPECT_EQ(add(parts[0]), Outcome::kHeld);
    ASSERT_EQ(add(parts[1]), Outcome::kWhole);
    EXPECT_EQ(whole(), v4({}, payload)) << "field for field, the checksum, too";
    EXPECT_TRUE(r_.empty());
  }
  EXPECT_EQ(r_.completed(), 2u);
  EXPECT_EQ(r_.take_drops(), FragmentDrops{});
}

TEST_F(ReassemblyTest, Ipv6LosesItsFragmentHeader) {
  const Bytes payload = counting(1400);
  EXPECT_EQ(add(v6_part(payload, 1232, 1400)), Outcome::kHeld);
  ASSERT_EQ(add(v6_part(payload, 0, 1232)), Outcome::kWhole);
  EXPECT_EQ(whole(), v6({}, payload));
}

TEST_F(ReassemblyTest, OptionsOfTheFirstFragmentStay) {
  const Bytes payload = counting(64);
  const V4 with_options{.options = {0x94, 4, 0, 0}};  // router alert
  EXPECT_EQ(add(v4_part(payload, 32, 64)), Outcome::kHeld);
  ASSERT_EQ(add(v4_part(payload, 0, 32, with_options)), Outcome::kWhole);
  EXPECT_EQ(whole(), v4(with_options, payload));
}

TEST_F(ReassemblyTest, EthernetPaddingIsNoPayload) {
  const Bytes payload = counting(40);
  Bytes last = v4_part(payload, 32, 40);
  last.resize(last.size() + 18, 0xee);
  EXPECT_EQ(add(last), Outcome::kHeld);
  ASSERT_EQ(add(v4_part(payload, 0, 32)), Outcome::kWhole);
  EXPECT_EQ(whole(), v4({}, payload));
}

TEST_F(ReassemblyTest, AnyCutInAnyOrderWithRepeats) {
  std::mt19937 random(4711);
  for (int round = 0; round < 2000; ++round) {
    const bool is_v4 = round % 2 == 0;
    const Bytes payload = random_bytes(random, 9 + random() % 1900);
    const std::size_t pieces = 2 + random() % 30;
    std::vector<std::size_t> cuts = {0, payload.size()};
    for (std::size_t i = 1; i < pieces; ++i) cuts.push_back(random() % payload.size() / 8 * 8);
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    const auto id = static_cast<std::uint16_t>(random());
    std::vector<Bytes> parts;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      parts.push_back(is_v4 ? v4_part(payload, cuts[i], cuts[i + 1], {.id = id})
                            : v6_part(payload, cuts[i], cuts[i + 1], id));
    std::ranges::shuffle(parts, random);
    // Repeats before the end; after the last they begin a datagram that never ends.
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      ASSERT_EQ(add(parts[i]), Outcome::kHeld) << "round " << round;
      if (random() % 4 == 0) {
        ASSERT_EQ(add(parts[i]), Outcome::kDropped) << "round " << round;
      }
    }
    if (parts.size() == 1 && !is_v4) continue;
    ASSERT_EQ(add(parts.back()), parts.size() == 1 ? Outcome::kDropped : Outcome::kWhole) << "round " << round;
    if (parts.size() > 1) {
      ASSERT_EQ(whole(), is_v4 ? v4({.id = id}, payload) : v6({}, payload)) << "round " << round;
    }
    ASSERT_TRUE(r_.empty());
  }
}

TEST_F(ReassemblyTest, DatagramsAreToldApart) {
  const Bytes a = counting(48, 1);
  const Bytes b = counting(48, 2);
  const std::vector<std::pair<V4, V4>> pairs = {{{.id = 1}, {.id = 2}},
                                                {{.src = "192.0.2.1"}, {.src = "192.0.2.2"}},
                                                {{.dst = "192.0.2.1"}, {.dst = "192.0.2.2"}},
                                                {{.protocol = 50}, {.protocol = 17}}};
  for (const auto& [one, other] : pairs) {
    EXPECT_EQ(add(v4_part(a, 0, 24, one)), Outcome::kHeld);
    EXPECT_EQ(add(v4_part(b, 0, 24, other)), Outcome::kHeld);
    ASSERT_EQ(add(v4_part(a, 24, 48, one)), Outcome::kWhole);
    EXPECT_EQ(whole(), v4(one, a));
    ASSERT_EQ(add(v4_part(b, 24, 48, other)), Outcome::kWhole);
    EXPECT_EQ(whole(), v4(other, b));
  }
}

// RFC 5722: the datagram ends, and what comes of it later is refused, too.
TEST_F(ReassemblyTest, AnOverlapEndsTheDatagram) {
  const Bytes payload = counting(64);
  Bytes evil = payload;
  for (auto& x : evil) x ^= 0xff;
  struct Row {
    const char* what;
    std::vector<Bytes> parts;  // the last one ends it
  };
  const std::vector<Row> rows = {
      {"the same range, other bytes", {v4_part(payload, 0, 32), v4_part(evil, 0, 32)}},
      {"partly", {v4_part(payload, 0, 32), v4_part(payload, 24, 48)}},
      {"around", {v4_part(payload, 16, 24), v4_part(payload, 0, 48)}},
      {"within, other bytes", {v4_part(payload, 0, 48), v4_part(evil, 16, 24)}},
      {"two ends", {v4_part(payload, 48, 64), v4_part(slice(payload, 0, 56), 48, 56)}},
      {"an end before what is there", {v4_part(payload, 32, 48), v4_part(slice(payload, 0, 40), 32, 40)}},
      {"more behind the end", {v4_part(slice(payload, 0, 32), 16, 32), v4_part(payload, 32, 48)}},
  };
  for (const Row& row : rows) {
    for (std::size_t i = 0; i + 1 < row.parts.size(); ++i) EXPECT_EQ(add(row.parts[i]), Outcome::kHeld) << row.what;
    EXPECT_EQ(add(row.parts.back()), Outcome::kDropped) << row.what;
    EXPECT_EQ(dropped(GW_DROP_FRAGMENT_OVERLAP), row.parts.size()) << row.what;
    for (std::size_t at = 0; at < 64; at += 16)
      EXPECT_EQ(add(v4_part(payload, at, at + 16)), Outcome::kDropped) << row.what;
    EXPECT_EQ(dropped(GW_DROP_FRAGMENT_OVERLAP), 4u) << row.what;
    now_ += 15s;
    r_.expire(now_);
    EXPECT_EQ(r_.take_drops(), FragmentDrops{}) << "counted already: " << row.what;
    EXPECT_TRUE(r_.empty());
  }
}

TEST_F(ReassemblyTest, MalformedFragments) {
  const Bytes payload = counting(64);
  Bytes long_end = v4_part(payload, 0, 32);
  store_be(&long_end[6], std::uint16_t{0x1fff});  // ends behind 65535
  write_v4_checksum(long_end);
  Bytes bad_sum = v4_part(payload, 0, 32);
  bad_sum[10] ^= 1;
  Bytes no_fragment_header = v6_part(payload, 0, 32);
  no_fragment_header.resize(44);
  store_be(&no_fragment_header[4], std::uint16_t{4});
  const std::vector<std::pair<const char*, Bytes>> rows = {
      {"not a multiple of 8", v4({.field = kMore}, counting(15))},
      {"empty", v4({.field = kMore}, {})},
      {"empty last", v4({.field = 4}, {})},
      {"too far", long_end},
      {"checksum", bad_sum},
      {"not a fragment", v4({}, payload)},
      {"IPv6, not a fragment", v6({}, payload)},
      {"IPv6, not a multiple of 8", v6_fragment({}, 1, 1, counting(15))},
      {"IPv6, half a fragment header", no_fragment_header},
      {"IPv6, empty", v6_fragment({}, 1, 1, {})},
      {"IPv6, too far", v6_fragment({}, 1, 0xfff8, counting(16))},
      {"nothing", {}},
  };
  for (const auto& [what, bytes] : rows) {
    EXPECT_EQ(add(bytes), Outcome::kDropped) << what;
    EXPECT_EQ(dropped(GW_DROP_MALFORMED_OUTER), 1u) << what;
  }
  EXPECT_TRUE(r_.empty());
  for (const Bytes& whole : {v4_part(payload, 0, 32), v6_part(payload, 0, 32)})
    for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_EQ(add(slice(whole, 0, n)), Outcome::kDropped) << n;
}

// RFC 6946: offset 0 and no more to come is a packet, whatever else has its id.
TEST_F(ReassemblyTest, AnAtomicFragmentIsWhole) {
  const Bytes payload = counting(64);
  EXPECT_EQ(add(v6_part(payload, 0, 32)), Outcome::kHeld);
  ASSERT_EQ(add(v6_fragment({}, 9, 0, counting(20))), Outcome::kWhole);
  EXPECT_EQ(whole(), v6({}, counting(20)));
  ASSERT_EQ(add(v6_part(payload, 32, 64)), Outcome::kWhole);
  EXPECT_EQ(whole(), v6({}, payload));
}

TEST_F(ReassemblyTest, WhatIsLateIsGivenUp) {
  const Bytes payload = counting(64);
  EXPECT_EQ(add(v4_part(payload, 0, 32)), Outcome::kHeld);
  now_ += 15s - 1ns;
  r_.expire(now_);
  EXPECT_EQ(r_.datagrams(), 1u);
  now_ += 1ns;
  r_.expire(now_);
  EXPECT_TRUE(r_.empty());
  EXPECT_EQ(dropped(GW_DROP_FRAGMENT_TIMEOUT), 1u);
  EXPECT_EQ(add(v4_part(payload, 32, 64)), Outcome::kHeld) << "begins anew";
}

TEST_F(ReassemblyTest, AReusedIdIsAnotherDatagramEvenIfNobodyCalledExpire) {
  const Bytes old = counting(64, 1);
  const Bytes now = counting(64, 2);
  EXPECT_EQ(add(v4_part(old, 0, 32)), Outcome::kHeld);
  now_ += 16s;
  EXPECT_EQ(add(v4_part(now, 32, 64)), Outcome::kHeld);
  EXPECT_EQ(dropped(GW_DROP_FRAGMENT_TIMEOUT), 1u);
  ASSERT_EQ(add(v4_part(now, 0, 32)), Outcome::kWhole);
  EXPECT_EQ(whole(), v4({}, now));
}

TEST_F(ReassemblyTest, TooLargeForABuffer) {
  const Bytes payload = counting(2048);
  EXPECT_EQ(add(v4_part(payload, 0, 1480)), Outcome::kHeld);
  EXPECT_EQ(add(v4_part(payload, 1480, 2048)), Outcome::kDropped);
  EXPECT_EQ(dropped(GW_DROP_TOO_BIG), 2u);
  const Bytes fits = counting(2028);
  EXPECT_EQ(add(v4_part(fits, 0, 1480, {.id = 8})), Outcome::kHeld);
  EXPECT_EQ(add(v4_part(fits, 1480, 2028, {.id = 8})), Outcome::kWhole);
}

// The later fragments' headers are shorter than the first one's: the whole must fit all the same, in either order.
TEST_F(ReassemblyTest, OptionsOfTheFirstFragmentCountInTheSize) {
  struct Row {
    std::size_t payload;
    Outcome outcome;
  };
  for (const Row& row : {Row{2028, Outcome::kDropped}, {1989, Outcome::kDropped}, {1988, Outcome::kWhole}}) {
    const Bytes payload = counting(row.payload);
    const V4 with_options{.options = Bytes(40, 1)};  // no-operation
    for (const bool reversed : {false, true}) {
      std::vector<Bytes> parts = {v4_part(payload, 0, 1480, with_options), v4_part(payload, 1480, row.payload)};
      if (reversed) std::ranges::reverse(parts);
      EXPECT_EQ(add(parts[0]), Outcome::kHeld);
      ASSERT_EQ(add(parts[1]), row.outcome) << row.payload << (reversed ? ", reversed" : "");
      if (row.outcome == Outcome::kWhole) {
        EXPECT_EQ(whole(), v4(with_options, payload));
      }
      EXPECT_EQ(dropped(GW_DROP_TOO_BIG), row.outcome == Outcome::kWhole ? 0U : 2U);
      now_ += 16s;
      r_.expire(now_);
    }
  }
}

// A repeated first fragment has no say about the header any more.
TEST_F(ReassemblyTest, ARepetitionIsCountedAndHarmsNothing) {
  const Bytes payload = counting(2028);
  EXPECT_EQ(add(v4_part(payload, 0, 1480)), Outcome::kHeld);
  EXPECT_EQ(add(v4_part(payload, 0, 1480)), Outcome::kDropped);
  EXPECT_EQ(add(v4_part(payload, 0, 1480, {.options = Bytes(40, 1)})), Outcome::kDropped);
  EXPECT_EQ(dropped(GW_DROP_FRAGMENT_REPEATED), 2U);
  ASSERT_EQ(add(v4_part(payload, 1480, 2028)), Outcome::kWhole);
  EXPECT_EQ(whole(), v4({}, payload));
  EXPECT_EQ(r_.take_drops(), FragmentDrops{});
}

TEST_F(ReassemblyTest, CrumbsAreRefused) {
  const Bytes payload = counting(1000);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(add(v4_part(payload, i * 8, i * 8 + 8)), Outcome::kHeld);
  EXPECT_EQ(add(v4_part(payload, 320, 328)), Outcome::kDropped);
  EXPECT_EQ(dropped(GW_DROP_FRAGMENT_LIMIT), 41u);
}

// RFC 3168 5.3.
TEST_F(ReassemblyTest, Ecn) {
  struct Row {
    std::uint8_t first, second;
    std::optional<std::uint8_t> whole;
  };
  for (const Row& row :
       {Row{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {2, 3, 3}, {3, 2, 3}, {1, 3, 3}, {0, 3, {}}, {3, 0, {}}}) {
    const Bytes payload = counting(32);
    EXPECT_EQ(add(v4_part(payload, 0, 16, {.tos = static_cast<std::uint8_t>(0xb8 | row.first)})), Outcome::kHeld);
    const Outcome o = add(v4_part(payload, 16, 32, {.tos = static_cast<std::uint8_t>(0xb8 | row.second)}));
    EXPECT_EQ(o, row.whole ? Outcome::kWhole : Outcome::kDropped);
    if (row.whole) {
      EXPECT_EQ(whole(), v4({.tos = static_cast<std::uint8_t>(0xb8 | *row.whole)}, payload));
    }
    EXPECT_EQ(dropped(GW_DROP_ECN), row.whole ? 0u : 2u);
    EXPECT_TRUE(r_.empty());

    const auto part = [&](std::uint16_t field, std::uint8_t ecn, std::size_t at) {
      return v6_fragment({.traffic_class = ecn}, 5, field, slice(payload, at, at + 16));
    };
    (void)add(part(1, row.first, 0));
    if (add(part(16, row.second, 16)) == Outcome::kWhole) {
      EXPECT_EQ(whole(), v6({.traffic_class = *row.whole}, payload));
    }
    (void)r_.take_drops();
  }
}

// --- bounds ------------------------------------------------------------------------------------------

TEST_F(ReassemblyTest, ASourceWithTooManyLosesItsOwnOldest) {
  const Bytes payload = counting(32);
  for (std::uint16_t id = 0; id < 65; ++id) EXPECT_EQ(add(v4_part(payload, 0, 16, {.id = id})), Outcome::kHeld);
  EXPECT_EQ(r_.datagrams(), 64u);
  EXPECT_EQ(dropped(GW_DROP_FRAGMENT_LIMIT), 1u);
  EXPECT_EQ(add(v4_part(payload, 16, 32, {.id = 1})), Outcome::kWhole);
  EXPECT_EQ(add(v4_part(payload, 16, 32, {.id = 0})), Outcome::kHeld) << "its first half gave way";
}

// A flood from strangers, with any number of addresses, costs peers nothing.
TEST_F(ReassemblyTest, StrangersCannotEvictPeers) {
  const Bytes payload = counting(32);
  EXPECT_EQ(add(v4_part(payload, 0, 16)), Outcome::kHeld);
  std::vector<std::string> names;
  for (unsigned i = 0; i < 20'000; ++i) names.push_back(std::format("203.0.{}.{}", i / 250 % 250, i % 250));
  for (unsigned i = 0; i < names.size(); ++i)
    (void)add(v4_part(payload, 0, 16, {.src = names[i], .id = static_cast<std::uint16_t>(i)}), Standing::kStranger);
  EXPECT_LE(r_.datagrams(), 1 + ReassemblyLimits{}.stranger_datagrams);
  EXPECT_EQ(add(v4_part(payload, 16, 32)), Outcome::kWhole);
}

// Someone who forges the addresses of a few peers takes from those peers.
TEST_F(ReassemblyTest, TheLargestSourceGivesWay) {
  const Bytes payload = counting(32);
  EXPECT_EQ(add(v4_part(payload, 0, 16, {.src = "198.51.100.1"})), Outcome::kHeld);
  std::vector<std::string> forged;
  for (unsigned i = 0; i < 16; ++i) forged.push_back(std::format("203.0.113.{}", i));
  for (unsigned i = 0; i < 10'000; ++i)
    (void)add(v4_part(payload, 0, 16, {.src = forged[i % forged.size()], .id = static_cast<std::uint16_t>(i)}));
  EXPECT_EQ(r_.datagrams(), ReassemblyLimits{}.peer_datagrams);
  EXPECT_EQ(add(v4_part(payload, 16, 32, {.src = "198.51.100.1"})), Outcome::kWhole);
}

// Nothing is lost to the books: every fragment is in a whole or counted.
TEST_F(ReassemblyTest, EveryFragmentIsAccountedFor) {
  std::mt19937 random(99);
  const Bytes payload = counting(48);
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  for (int round = 0; round < 300; ++round) {
    // A few hundred datagrams at once, of some sources more than they may have; some pieces never come.
    std::vector<Bytes> parts;
    for (unsigned i = 0; i < 300; ++i) {
      const std::string src = std::format("192.0.2.{}", random() % 4);
      for (std::size_t at = 0; at < 48; at += 16)
        if (random() % 20 != 0)
          parts.push_back(v4_part(payload, at, at + 16, {.src = src, .id = static_cast<std::uint16_t>(i)}));
    }
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
      std::swap(parts[i], parts[i + random() % std::min<std::size_t>(parts.size() - i, 100)]);
    for (const Bytes& part : parts) {
      ++sent;
      ASSERT_NE(add(part), Outcome::kDropped);
    }
    now_ += 15s;
    r_.expire(now_);
    ASSERT_TRUE(r_.empty());
    for (const std::uint32_t n : r_.take_drops()) lost += n;
  }
  EXPECT_EQ(sent, r_.completed() * 3 + lost);
  EXPECT_GT(r_.completed(), 10'000u);
  EXPECT_GT(lost, 1000u);
}

}  // namespace
}  // namespace gw::ip
