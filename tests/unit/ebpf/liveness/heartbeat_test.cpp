#include "ebpf/liveness/heartbeat.hpp"

#include <gtest/gtest.h>

#include <random>

namespace gw::liveness {
namespace {

Secret key(char c) { return Secret(std::string(kHeartbeatKeyBytes, c)); }
BootNonce nonce(std::uint8_t c) {
  BootNonce n;
  n.fill(c);
  return n;
}
IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

Heartbeat sample() {
  return {
      .instance = 1,
      .forwarding = true,
      .asking = true,
      .control_away = true,
      .nonce = nonce(1),
      .sequence = 77,
      .peer_nonce = nonce(2),
      .heard_sequence = 66,
      .claims = {{ip("198.51.100.1"), Ownership::kOwned, 5}, {ip("2001:db8::1"), Ownership::kStandby, 0xffffffffffff}}};
}

TEST(Heartbeat, ReadsBackTheSame) {
  for (const std::size_t claims : {std::size_t{0}, std::size_t{1}, kMaxClaims}) {
    Heartbeat h = sample();
    h.claims.resize(claims, {ip("192.0.2.1"), Ownership::kOwned, 9});
    const auto bytes = serialize(h, key('k'));
    ASSERT_TRUE(bytes);
    EXPECT_LE(bytes->size(), kMaxHeartbeatBytes);
    const auto back = parse(*bytes, key('k'));
    ASSERT_TRUE(back) << to_string(back.error());
    EXPECT_EQ(*back, h);
  }
}

TEST(Heartbeat, TooManyEndpointsAreRefused) {
  Heartbeat h = sample();
  h.claims.resize(kMaxClaims + 1);
  EXPECT_EQ(serialize(h, key('k')).error().code, Errc::kLimit);
}

TEST(Heartbeat, AnotherKeyIsNotBelieved) {
  EXPECT_EQ(parse(serialize(sample(), key('k')).value(), key('l')).error(), Disbelief::kKey);
}

TEST(Heartbeat, NoBitMayChangeAndNoByteMayMiss) {
  const auto bytes = serialize(sample(), key('k')).value();
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto changed = bytes;
    changed[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(parse(changed, key('k'))) << "bit " << bit;
  }
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(parse(std::span(bytes).first(n), key('k'))) << n;
  auto longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(parse(longer, key('k')).error(), Disbelief::kLength);
}

TEST(Heartbeat, WhatIsImpossibleIsRefusedByName) {
  Heartbeat h = sample();
  h.sequence = 0;
  EXPECT_EQ(parse(serialize(h, key('k')).value(), key('k')).error(), Disbelief::kField);
  h = sample();
  h.nonce = {};
  EXPECT_EQ(parse(serialize(h, key('k')).value(), key('k')).error(), Disbelief::kField);
  auto bytes = serialize(sample(), key('k')).value();
  bytes[0] = 'X';
  EXPECT_EQ(parse(bytes, key('k')).error(), Disbelief::kMagic);
  bytes = serialize(sample(), key('k')).value();
  bytes[4] = 2;
  EXPECT_EQ(parse(bytes, key('k')).error(), Disbelief::kVersion);
  EXPECT_EQ(parse({}, key('k')).error(), Disbelief::kTruncated);
}

/// Of process `own`, which has heard process `peer`.
Heartbeat from(std::uint8_t own, std::uint64_t sequence, std::uint8_t peer = 0, std::uint64_t heard = 0) {
  return {.instance = 1, .nonce = nonce(own), .sequence = sequence, .peer_nonce = nonce(peer), .heard_sequence = heard};
}

TEST(ReplayGuard, TwoProcessesComeToBelieveEachOther) {
  ReplayGuard a(nonce(1)), b(nonce(2));
  EXPECT_EQ(b.accept(from(1, 1)).error(), Disbelief::kUnproven);
  const auto asked = b.take_candidate();
  ASSERT_TRUE(asked) << "it is answered at once";
  EXPECT_FALSE(b.take_candidate());
  EXPECT_EQ(asked->nonce, nonce(1));
  EXPECT_TRUE(
      a.accept({.nonce = nonce(2), .sequence = 1, .peer_nonce = asked->nonce, .heard_sequence = asked->sequence}));
  EXPECT_EQ(a.echo().nonce, nonce(2));
  EXPECT_TRUE(b.accept(from(1, 2, 2, 1)));
  EXPECT_EQ(b.echo().sequence, 2u);
}

TEST(ReplayGuard, ARepeatedOrOldHeartbeatIsNoNews) {
  ReplayGuard a(nonce(1));
  ASSERT_TRUE(a.accept(from(2, 10, 1)));
  EXPECT_EQ(a.accept(from(2, 10, 1)).error(), Disbelief::kReplayed);
  EXPECT_EQ(a.accept(from(2, 9, 1)).error(), Disbelief::kReplayed);
  EXPECT_TRUE(a.accept(from(2, 11, 1)));
}

TEST(ReplayGuard, OurOwnSentBackIsNoPeer) {
  ReplayGuard a(nonce(1));
  EXPECT_EQ(a.accept(from(1, 10, 1)).error(), Disbelief::kReplayed);
}

TEST(ReplayGuard, WhatAnEarlierProcessOfThePeerSaidIsNeverBelievedAgain) {
  ReplayGuard a(nonce(1));
  ASSERT_TRUE(a.accept(from(2, 10, 1)));
  ASSERT_TRUE(a.accept(from(3, 1, 1)));  // it started anew
  EXPECT_EQ(a.accept(from(2, 11, 1)).error(), Disbelief::kOtherProcess) << "recorded while it still ran";
  EXPECT_TRUE(a.accept(from(3, 2, 1)));
}

TEST(ReplayGuard, WhatWasRecordedBeforeWeStartedProvesNothing) {
  ReplayGuard a(nonce(9));
  for (std::uint64_t n = 1; n < 100; ++n) EXPECT_EQ(a.accept(from(2, n, 1, n)).error(), Disbelief::kUnproven);
  EXPECT_TRUE(a.accept(from(2, 50, 9)));
}

TEST(ReplayGuard, AStrangerDoesNotTakeTheEchoOfWhomWeBelieve) {
  ReplayGuard a(nonce(1));
  ASSERT_TRUE(a.accept(from(2, 10, 1)));
  EXPECT_FALSE(a.accept(from(5, 1)));
  EXPECT_EQ(a.echo().nonce, nonce(2));
}

}  // namespace
}  // namespace gw::liveness
