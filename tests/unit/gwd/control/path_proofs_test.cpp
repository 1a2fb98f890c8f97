// Echoes against a path that is simulated: what is sent when, and what answers and losses prove.
#include "gwd/control/path_proofs.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <ranges>

namespace gw::gwd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kTunnel = 7;

class PathProofsTest : public testing::Test {
 protected:
  void SetUp() override {
    proofs.set_tunnels({{kTunnel, Asked::kYes}});
    link(1400);
  }
  void link(std::uint32_t mtu, LinkState state = LinkState::kUp) { proofs.set_link(kTunnel, {state, mtu}, now()); }
  PathProofs::Moment now() const { return {clock.now(), clock.wall()}; }

  /// The path lets through what `passes` says; answers take 30 ms.
  void run(seconds time, const std::function<bool(const Echo&)>& passes) {
    for (const MonoTime end = clock.now() + time; clock.now() < end;) {
      const auto echoes = proofs.due(clock.now());
      sent.insert(sent.end(), echoes.begin(), echoes.end());
      clock.advance(milliseconds(30));
      for (const Echo& echo : echoes)
        if (passes(echo)) proofs.answered(echo.tunnel_id, echo.sequence, now());
      clock.advance(milliseconds(70));
    }
  }
  const PathProof& proof() const { return *proofs.find(kTunnel); }

  ManualClock clock;
  PathProofs proofs;
  std::vector<Echo> sent;
};

bool all(const Echo&) { return true; }
bool none(const Echo&) { return false; }

TEST_F(PathProofsTest, AnAnswerProvesTheTunnel) {
  EXPECT_FALSE(proof().proven);
  run(seconds(1), all);
  ASSERT_TRUE(proof().proven);
  EXPECT_EQ(proof().method, ProofMethod::kEcho);
  EXPECT_EQ(proof().round_trip, milliseconds(30));
  EXPECT_LT(clock.wall() - *proof().proven, seconds(1));
}

TEST_F(PathProofsTest, OfMoreTunnelsThanTheRateAllowsEachIsAsked) {
  std::map<std::uint32_t, Asked> many;
  for (std::uint32_t id = 1; id <= 1000; ++id) many[id] = Asked::kYes;
  proofs.set_tunnels(many);
  for (const auto& [id, asked] : many) proofs.set_link(id, {LinkState::kUp, 1400}, now());
  run(seconds(30), all);
  std::map<std::uint32_t, int> asked;
  for (const Echo& echo : sent) ++asked[echo.tunnel_id];
  EXPECT_EQ(asked.size(), many.size());
  const auto [least, most] = std::ranges::minmax(asked | std::views::values);
  EXPECT_GE(least, most - 3) << "no tunnel waits for the others";
}

TEST_F(PathProofsTest, TheRateIsBounded) {
  run(seconds(60), all);
  // A small one every 5 s, a full one every 10 s.
  EXPECT_GE(sent.size(), 17U);
  EXPECT_LE(sent.size(), 19U);
  EXPECT_EQ(proof().small.sent, 12U);
  EXPECT_EQ(proof().full.sent, 5U);
  EXPECT_EQ(proof().full.answered, 5U);
}

TEST_F(PathProofsTest, ManyTunnelsTakeTurns) {
  std::map<std::uint32_t, Asked> many;
  for (std::uint32_t id = 1; id <= 500; ++id) many[id] = Asked::kYes;
  proofs.set_tunnels(many);
  for (std::uint32_t id = 1; id <= 500; ++id) proofs.set_link(id, {LinkState::kUp, 1400}, now());
  std::map<std::uint32_t, int> asked;
  for (int tick = 0; tick < 200; ++tick) {
    const auto echoes = proofs.due(clock.now());
    EXPECT_LE(echoes.size(), PathProofs::kMostAtOnce + 2);
    for (const Echo& echo : echoes) {
      ++asked[echo.tunnel_id];
      proofs.answered(echo.tunnel_id, echo.sequence, now());
    }
    clock.advance(milliseconds(100));
  }
  EXPECT_EQ(asked.size(), 500U);
  for (const auto& [id, count] : asked) EXPECT_GE(count, 3) << id;
}

TEST_F(PathProofsTest, NothingIsSentWithoutCarrierOrAddress) {
  link(1400, LinkState::kDown);
  run(seconds(20), all);
  EXPECT_TRUE(sent.empty());
  EXPECT_FALSE(proof().watched_since);
  proofs.set_tunnels({{kTunnel, Asked::kNo}});
  link(1400);
  run(seconds(20), all);
  EXPECT_TRUE(sent.empty());
}

TEST_F(PathProofsTest, WhatWasProvenStaysWhenThePathDies) {
  run(seconds(10), all);
  const auto before = *proof().proven;
  run(seconds(120), none);
  EXPECT_LE(*proof().proven - before, seconds(1));
  EXPECT_GT(clock.wall() - *proof().proven, seconds(110));
  EXPECT_EQ(proof().small.answered, 0U);
  EXPECT_EQ(proof().small.sent, PathProofs::kSmallKept);
}

TEST_F(PathProofsTest, ANewCarrierIsAnotherPath) {
  run(seconds(30), all);
  link(1400, LinkState::kDown);
  link(1400, LinkState::kUp);
  EXPECT_EQ(proof().small.sent, 0U);
  EXPECT_EQ(proof().full.sent, 0U);
  EXPECT_EQ(*proof().watched_since, clock.wall());
  EXPECT_TRUE(proof().proven);
}

TEST_F(PathProofsTest, AnswersToWhatWasNotAskedProveNothing) {
  const auto echoes = proofs.due(clock.now() + seconds(1));
  ASSERT_FALSE(echoes.empty());
  proofs.answered(kTunnel, static_cast<std::uint16_t>(echoes[0].sequence + 1000), now());
  proofs.answered(kTunnel + 1, echoes[0].sequence, now());
  EXPECT_FALSE(proof().proven);
  // Twice the same answer is one, and one that is too late none.
  proofs.answered(kTunnel, echoes[0].sequence, now());
  EXPECT_EQ(proof().small.answered, 1U);
  proofs.answered(kTunnel, echoes[0].sequence, now());
  EXPECT_EQ(proof().small.answered, 1U);
  clock.advance(seconds(10));
  const auto later = proofs.due(clock.now());
  clock.advance(seconds(3));
  (void)proofs.due(clock.now());
  const std::uint32_t answered = proof().small.answered;
  for (const Echo& echo : later) proofs.answered(kTunnel, echo.sequence, now());
  EXPECT_EQ(proof().small.answered, answered);
}

TEST_F(PathProofsTest, WhatCouldNotBeSentIsNoLoss) {
  for (int i = 0; i < 300; ++i) {
    for (const Echo& echo : proofs.due(clock.now())) proofs.not_sent(echo);
    clock.advance(milliseconds(100));
  }
  EXPECT_EQ(proof().small.sent, 0U);
}

TEST_F(PathProofsTest, ABlackHoleIsMeasured) {
  run(seconds(90), [](const Echo& echo) { return echo.bytes <= 1243; });
  EXPECT_EQ(proof().full.answered, 0U);
  EXPECT_GE(proof().full.sent, 3U);
  EXPECT_GE(proof().small.answered, 10U);
  EXPECT_LE(proof().largest_answered, 1243U);
  EXPECT_GT(proof().largest_answered, 1243U - 2 * PathProofs::kSearchStep);
  // It is gone: large ones pass again.
  run(seconds(30), all);
  EXPECT_GT(proof().full.answered, 0U);
  EXPECT_EQ(proof().largest_answered, 0U);
}

TEST_F(PathProofsTest, ALossySearchIsNotFooled) {
  int turn = 0;
  run(seconds(200), [&](const Echo& echo) { return echo.bytes <= 1243 && ++turn % 7 != 0; });
  EXPECT_LE(proof().largest_answered, 1243U);
  EXPECT_GT(proof().largest_answered, 1100U);
}

TEST_F(PathProofsTest, ADeviceThatAnswersNoPingHasNoBlackHole) {
  run(seconds(90), none);
  EXPECT_EQ(proof().largest_answered, 0U);
  for (const Echo& echo : sent) EXPECT_TRUE(echo.bytes == 84 || echo.bytes == 1400) << echo.bytes;
}

TEST_F(PathProofsTest, AnotherMtuStartsAnew) {
  run(seconds(60), [](const Echo& echo) { return echo.bytes <= 1300; });
  EXPECT_EQ(proof().full.answered, 0U);
  link(1280);
  EXPECT_EQ(proof().full.sent, 0U);
  run(seconds(30), [](const Echo& echo) { return echo.bytes <= 1300; });
  EXPECT_EQ(proof().full_bytes, 1280U);
  EXPECT_EQ(proof().full.answered, proof().full.sent);
}

TEST_F(PathProofsTest, BfdIsAProofToo) {
  proofs.set_tunnels({{kTunnel, Asked::kNo}});
  link(1400);
  proofs.bfd_up(kTunnel, clock.wall());
  EXPECT_EQ(proof().method, ProofMethod::kBfd);
  EXPECT_EQ(*proof().proven, clock.wall());
  proofs.bfd_up(999, clock.wall());
  EXPECT_EQ(proofs.find(999), nullptr);
}

}  // namespace
}  // namespace gw::gwd
