// Cutting packets: what is cut and put together again is the packet; options as RFC 791 says.
#include "ebpf/ip/fragment.hpp"

#include <gtest/gtest.h>

#include "ebpf/esp/inner.hpp"
#include "ebpf/ip/reassembly.hpp"
#include "support.hpp"

namespace gw::ip {
namespace {

using namespace std::chrono_literals;
using namespace test;

template <class Fragmenter>
std::vector<Bytes> all(Fragmenter f, std::uint32_t mtu) {
  std::vector<Bytes> parts;
  Bytes out(mtu);
  while (const std::uint32_t n = f.next(out)) parts.emplace_back(out.begin(), out.begin() + n);
  return parts;
}

TEST(FragmenterV4, WhatIsCutComesTogetherAgain) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const Bytes packet = v4({.id = static_cast<std::uint16_t>(round)}, random_bytes(random, 60 + random() % 1900));
    const auto mtu = static_cast<std::uint32_t>(68 + random() % (packet.size() + 10));
    const auto f = FragmenterV4::make(packet, mtu);
    ASSERT_EQ(f.has_value(), packet.size() > mtu);
    if (!f) continue;
    Reassembler r(1);
    std::vector<Bytes> parts = all(*f, mtu);
    ASSERT_GE(parts.size(), 2u);
    std::ranges::shuffle(parts, random);
    for (const Bytes& part : parts) {
      ASSERT_LE(part.size(), mtu);
      const auto outcome = r.add(part, Standing::kPeer, MonoTime(1s));
      ASSERT_EQ(outcome, &part == &parts.back() ? Reassembler::Outcome::kWhole : Reassembler::Outcome::kHeld);
    }
    ASSERT_TRUE(std::ranges::equal(r.packet(), packet)) << "round " << round << ", MTU " << mtu;
  }
}

TEST(FragmenterV4, DontFragmentIsObeyed) {
  EXPECT_FALSE(FragmenterV4::make(v4({.field = 0x4000}, counting(1480)), 1400));
  EXPECT_FALSE(FragmenterV4::make(v4({}, counting(1380)), 1400));
  EXPECT_FALSE(FragmenterV4::make(v4({}, counting(100)), 27)) << "not even 8 bytes fit";
}

// RFC 791 3.1: the copied flag. Record route is for the first fragment alone, source routes are for all.
TEST(FragmenterV4, OptionsWithTheCopiedFlagGoAlong) {
  const Bytes options = {1, 7, 7, 4, 192, 0, 2, 1, 0x83, 7, 4, 192, 0, 2, 9, 0};
  const Bytes packet = v4({.options = options}, counting(200));
  const auto parts = all(FragmenterV4::make(packet, 120).value(), 120);
  ASSERT_GE(parts.size(), 2u);
  EXPECT_EQ(Bytes(parts[0].begin() + 20, parts[0].begin() + 36), options);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i][0], 0x47);
    EXPECT_EQ(Bytes(parts[i].begin() + 20, parts[i].begin() + 28), (Bytes{0x83, 7, 4, 192, 0, 2, 9, 0}));
    EXPECT_TRUE(esp::check_inner(parts[i]));
  }
}

TEST(FragmenterV4, BrokenOptionsAreNotFollowed) {
  for (const Bytes& options :
       {Bytes{0x83, 0, 0, 0}, Bytes{0x83, 1, 0, 0}, Bytes{0x83, 9, 0, 0}, Bytes{1, 1, 1, 0x83}}) {
    const auto parts = all(FragmenterV4::make(v4({.options = options}, counting(200)), 100).value(), 100);
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[1][0], 0x45);
  }
}

TEST(FragmenterV4, AFragmentIsCutFurther) {
  const Bytes payload = counting(640);
  const auto cut = [&](std::uint16_t field, std::size_t from, std::size_t to) {
    return all(FragmenterV4::make(v4({.field = field}, Bytes(payload.begin() + static_cast<std::ptrdiff_t>(from),
                                                             payload.begin() + static_cast<std::ptrdiff_t>(to))),
                                  148)
                   .value(),
               148);
  };
  Reassembler r(1);
  auto parts = cut(0x2000, 0, 320);
  const auto rest = cut(40, 320, 640);
  parts.insert(parts.end(), rest.begin(), rest.end());
  for (const Bytes& part : parts) (void)r.add(part, Standing::kPeer, MonoTime(1s));
  EXPECT_TRUE(std::ranges::equal(r.packet(), v4({}, payload)));
}

// An outer header of ours gets its checksum with its pieces.
TEST(FragmenterV4, TheChecksumOfTheWholeDoesNotMatter) {
  Bytes packet = v4({}, counting(400));
  packet[10] ^= 0x55;
  const auto parts = all(FragmenterV4::make(packet, 148).value(), 148);
  ASSERT_EQ(parts.size(), 4u);
  for (const Bytes& part : parts) EXPECT_TRUE(esp::check_inner(part));
}

// RFC 791 3.1: the offset has 13 bits and counts 8 bytes, a packet ends at 65535. One more piece behind the last
// possible one would say "offset 0, more follow", and lie over the first bytes of another host's packet.
TEST(FragmenterV4, AFragmentThatNoSenderMakesIsNotCut) {
  EXPECT_FALSE(FragmenterV4::make(v4({.field = 0x1fff}, counting(200)), 148)) << "beyond 65535";
  EXPECT_FALSE(FragmenterV4::make(v4({.field = 0x3fff}, counting(200)), 148)) << "beyond 65535, and more";
  EXPECT_FALSE(FragmenterV4::make(v4({.field = 0x2000}, counting(201)), 148)) << "more follow, not a multiple of 8";
  EXPECT_FALSE(FragmenterV4::make(v4({.field = 0x2005}, counting(204)), 148)) << "the same in the middle";
  EXPECT_TRUE(FragmenterV4::make(v4({.field = 0x0005}, counting(201)), 148)) << "the last may have any length";
  constexpr std::uint16_t kLastPlace = (65535 - 20 - 199) / 8;
  const auto last = all(FragmenterV4::make(v4({.field = kLastPlace}, counting(199)), 148).value(), 148);
  Fragment f;
  ASSERT_EQ(parse_fragment(last.back(), f), FragmentFault::kNone);
  EXPECT_EQ(f.end(), kLastPlace * 8 + 199u);
}

TEST(FragmenterV6, OurOwnPackets) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const Bytes packet = v6({}, random_bytes(random, 1250 + random() % 700));
    const auto f = FragmenterV6::make(packet, 1280, static_cast<std::uint32_t>(round));
    ASSERT_TRUE(f);
    Reassembler r(1);
    auto outcome = Reassembler::Outcome::kHeld;
    for (const Bytes& part : all(*f, 1280)) {
      ASSERT_LE(part.size(), 1280u);
      outcome = r.add(part, Standing::kPeer, MonoTime(1s));
    }
    ASSERT_EQ(outcome, Reassembler::Outcome::kWhole);
    ASSERT_TRUE(std::ranges::equal(r.packet(), packet));
  }
  EXPECT_FALSE(FragmenterV6::make(v6({}, counting(1240)), 1280, 1));
}

}  // namespace
}  // namespace gw::ip
