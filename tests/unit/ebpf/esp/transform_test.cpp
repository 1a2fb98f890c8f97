// The table of transforms, and IVs that nobody can foretell.
#include <map>
#include <set>

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

TEST(Transforms, HaveNamesAndIdsOfTheirOwn) {
  std::set<std::string_view> names;
  for (const Transform& t : transforms()) {
    EXPECT_TRUE(names.insert(t.name).second) << t.name;
    EXPECT_EQ(find_transform(t.name), &t);
    EXPECT_EQ(find_transform({t.cipher, t.integrity, t.key_bytes, t.icv_bytes}), &t) << t.name;
    EXPECT_EQ(t.combined(), t.integrity_key_bytes == 0) << t.name;
    EXPECT_EQ(t.iv_policy == IvPolicy::kUnique, t.salt_bytes == 4) << t.name;
  }
  EXPECT_EQ(transforms().size(), 27U);
  EXPECT_EQ(find_transform("AES_CTR-128/HMAC_SHA1_96"), nullptr);
  EXPECT_EQ(find_transform({.key_bytes = 20}), nullptr);
}

TEST(Transforms, WhatIsBrokenIsMarked) {
  std::map<Standing, int> count;
  for (const Transform& t : transforms()) {
    ++count[t.standing];
    EXPECT_EQ(t.standing == Standing::kLegacy, t.cipher == Cipher::k3DesCbc) << t.name;
    EXPECT_EQ(t.standing == Standing::kTest, t.cipher == Cipher::kNull) << t.name;
  }
  EXPECT_EQ(count[Standing::kGood], 22);
}

TEST(IvSource, NeverTheSameAndNoPattern) {
  auto source = IvSource::create().value();
  std::set<Bytes> seen;
  std::size_t ones = 0;
  constexpr std::size_t kIvs = 20'000;  // several refills
  for (std::size_t i = 0; i < kIvs; ++i) {
    Bytes iv(i % 2 == 0 ? 16 : 8);
    source.take(iv);
    EXPECT_TRUE(seen.insert(iv).second);
    for (const std::uint8_t byte : iv) ones += static_cast<std::size_t>(std::popcount(byte));
  }
  // 1,920,000 fair bits: half of them ones, give or take 693 (a standard deviation).
  const double bits = kIvs * 12 * 8;
  EXPECT_NEAR(static_cast<double>(ones), bits / 2, 6 * 693);
}

TEST(IvSource, TwoSourcesHaveNothingInCommon) {
  auto a = IvSource::create().value();
  auto b = IvSource::create().value();
  for (int i = 0; i < 300; ++i) {
    Bytes x(16), y(16);
    a.take(x);
    b.take(y);
    EXPECT_NE(x, y);
  }
}

TEST(IvSource, CbcIvsAreNotCounters) {
  for (const char* name : {"AES_CBC-256/HMAC_SHA2_256_128", "3DES_CBC/HMAC_SHA1_96"}) {
    SaPair pair({.transform = name});
    std::set<Bytes> seen;
    for (int i = 0; i < 200; ++i) {
      const Bytes wire = pair.seal(inner_packet({}));
      const Bytes iv(wire.begin() + 28, wire.begin() + 28 + pair.outbound->transform().iv_bytes);
      EXPECT_TRUE(seen.insert(iv).second);
      // The nonce of the record never shows.
      EXPECT_NE(load_be<std::uint64_t>(iv.data()) >> 40, make_iv(3, 1, 0) >> 40);
    }
  }
}

}  // namespace
}  // namespace gw::esp::test
