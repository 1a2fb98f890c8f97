// One session against packets made by hand: RFC 5880 6.8, section by section.
#include "ebpf/bfd/session.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace gw::bfd {
namespace {

using namespace std::chrono_literals;
constexpr MonoTime kStart{1000s};
constexpr std::uint32_t kOurs = 11, kTheirs = 22;
const Settings kFast{.desired_min_tx = Interval(50ms), .required_min_rx = Interval(50ms), .detect_multiplier = 3};

Packet from_peer(State state) {
  return {.state = state,
          .detect_multiplier = 3,
          .my_discriminator = kTheirs,
          .your_discriminator = state == State::kDown ? 0 : kOurs,
          .desired_min_tx = state == State::kUp ? Interval(50ms) : Interval(1s),
          .required_min_rx = Interval(50ms)};
}

/// All that is to be sent now.
std::vector<Packet> drain(Session& s, MonoTime now) {
  std::vector<Packet> out;
  s.advance(now);
  while (auto p = s.take_packet(now)) {
    out.push_back(*p);
    if (out.size() > 5) ADD_FAILURE() << "it never stops sending";
    if (out.size() > 5) break;
  }
  return out;
}

Session up_session(MonoTime now = kStart, const Settings& settings = kFast) {
  Session s(kOurs, settings, now);
  EXPECT_TRUE(s.receive(from_peer(State::kInit), now));
  EXPECT_EQ(s.state(), State::kUp);
  drain(s, now);
  Packet final = from_peer(State::kUp);
  final.final = true;
  EXPECT_TRUE(s.receive(final, now));
  drain(s, now);
  return s;
}

struct Transition {
  State from, heard, to;
};

class BfdTransitions : public ::testing::TestWithParam<Transition> {};

Session in_state(State state) {
  Session s(kOurs, kFast, kStart);
  if (state == State::kAdminDown) {
    Settings off = kFast;
    off.admin = Admin::kDisabled;
    s.configure(off, kStart);
  }
  if (state == State::kInit) (void)s.receive(from_peer(State::kDown), kStart);
  if (state == State::kUp) (void)s.receive(from_peer(State::kInit), kStart);
  EXPECT_EQ(s.state(), state);
  drain(s, kStart);
  return s;
}

TEST_P(BfdTransitions, AsInRfc5880Section6_8_6) {
  const auto [from, heard, to] = GetParam();
  Session s = in_state(from);
  const bool accepted = s.receive(from_peer(heard), kStart).has_value();
  EXPECT_EQ(accepted, from != State::kAdminDown);
  EXPECT_EQ(s.state(), to) << to_string(from) << " hears " << to_string(heard);
  if (from != to) {
    const auto sent = drain(s, kStart);
    ASSERT_FALSE(sent.empty()) << "a change is told at once";
    EXPECT_EQ(sent[0].state, to);
  }
  if (from == State::kUp && to == State::kDown) {
    EXPECT_EQ(s.diagnostic(), Diagnostic::kNeighborSignaledDown);
  }
}

using enum State;
INSTANTIATE_TEST_SUITE_P(
    All, BfdTransitions,
    ::testing::Values(Transition{kAdminDown, kAdminDown, kAdminDown}, Transition{kAdminDown, kDown, kAdminDown},
                      Transition{kAdminDown, kInit, kAdminDown}, Transition{kAdminDown, kUp, kAdminDown},
                      Transition{kDown, kAdminDown, kDown}, Transition{kDown, kDown, kInit},
                      Transition{kDown, kInit, kUp}, Transition{kDown, kUp, kDown},
                      Transition{kInit, kAdminDown, kDown}, Transition{kInit, kDown, kInit},
                      Transition{kInit, kInit, kUp}, Transition{kInit, kUp, kUp}, Transition{kUp, kAdminDown, kDown},
                      Transition{kUp, kDown, kDown}, Transition{kUp, kInit, kUp}, Transition{kUp, kUp, kUp}));

TEST(BfdSession, SendsAtMostOnceASecondUntilItIsUp) {
  Session s(kOurs, kFast, kStart);
  std::size_t sent = 0;
  for (MonoTime t = kStart; t < kStart + 100s; t += 5ms) {
    for (const Packet& p : drain(s, t)) {
      EXPECT_EQ(p.desired_min_tx, Interval(1s));
      EXPECT_EQ(p.required_min_rx, Interval(50ms));
      EXPECT_EQ(p.your_discriminator, 0u);
      ++sent;
    }
  }
  EXPECT_GE(sent, 100u);
  EXPECT_LE(sent, 136u) << "75 % of a second is the shortest interval";
}

TEST(BfdSession, IntervalsAreReducedByUpToAQuarter) {
  for (const std::uint8_t multiplier : std::vector<std::uint8_t>{1, 3}) {
    Settings settings = kFast;
    settings.detect_multiplier = multiplier;
    Session s = up_session(kStart, settings);
    MonoTime last = kStart;
    std::chrono::nanoseconds shortest{1h}, longest{0};
    for (MonoTime t = kStart; t < kStart + 50s; t += 100us) {
      if ((t - kStart) % 50ms == 0ns) (void)s.receive(from_peer(kUp), t);
      for (std::size_t n = drain(s, t).size(); n > 0; --n) {
        if (last != kStart) {
          shortest = std::min<std::chrono::nanoseconds>(shortest, t - last);
          longest = std::max<std::chrono::nanoseconds>(longest, t - last);
        }
        last = t;
      }
    }
    EXPECT_GE(shortest, 37'500us);
    EXPECT_LE(shortest, 38'500us);
    EXPECT_GE(longest, multiplier == 1 ? 44ms : 49ms);
    EXPECT_LE(longest, multiplier == 1 ? 45'100us : 50'100us);
  }
}

TEST(BfdSession, DetectionTimeIsThePeersMultiplierTimesTheSlowerOfBothIntervals) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  EXPECT_EQ(s.detection_time(), Interval(150ms));
  p.desired_min_tx = Interval(200ms);
  p.detect_multiplier = 5;
  ASSERT_TRUE(s.receive(p, kStart));
  EXPECT_EQ(s.detection_time(), Interval(1s));
  s.advance(kStart + 999ms);
  EXPECT_EQ(s.state(), kUp);
  s.advance(kStart + 1s);
  EXPECT_EQ(s.state(), kDown);
  EXPECT_EQ(s.diagnostic(), Diagnostic::kDetectionTimeExpired);
  const auto sent = drain(s, kStart + 1s);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].your_discriminator, 0u);
  EXPECT_EQ(sent[0].diagnostic, Diagnostic::kDetectionTimeExpired);
  EXPECT_EQ(sent[0].desired_min_tx, Interval(1s));
}

TEST(BfdSession, DueIsWhenTheDetectionTimeEnds) {
  Session s = up_session();
  ASSERT_TRUE(s.receive(from_peer(kUp), kStart + 1s));
  MonoTime now = kStart + 1s;
  while (s.state() == kUp) {
    drain(s, now);
    ASSERT_GT(s.due(), now);
    now = s.due();
    s.advance(now);
    ASSERT_LE(now, kStart + 1s + 150ms);
  }
  EXPECT_EQ(now, kStart + 1s + 150ms);
}

TEST(BfdSession, APollIsAnsweredAtOnce) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  p.poll = true;
  ASSERT_TRUE(s.receive(p, kStart + 1ms));
  const auto sent = drain(s, kStart + 1ms);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].final);
  EXPECT_FALSE(sent[0].poll);
}

TEST(BfdSession, GoingUpPollsBecauseItsIntervalChanged) {
  Session s(kOurs, kFast, kStart);
  ASSERT_TRUE(s.receive(from_peer(kInit), kStart));
  auto sent = drain(s, kStart);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].poll);
  EXPECT_EQ(sent[0].desired_min_tx, Interval(50ms));
  sent = drain(s, kStart + 50ms);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].poll) << "until the peer answers";
  Packet final = from_peer(kUp);
  final.final = true;
  ASSERT_TRUE(s.receive(final, kStart + 60ms));
  sent = drain(s, kStart + 100ms);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_FALSE(sent[0].poll);
}

TEST(BfdSession, SlowerSendingWaitsForThePeersAnswer) {
  Session s = up_session();
  Settings slow = kFast;
  slow.desired_min_tx = Interval(500ms);
  s.configure(slow, kStart);
  const auto sent = drain(s, kStart);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].poll);
  EXPECT_EQ(sent[0].desired_min_tx, Interval(500ms));
  EXPECT_EQ(s.transmit_interval(), Interval(50ms)) << "it still expects one each 50 ms";
  Packet final = from_peer(kUp);
  final.final = true;
  ASSERT_TRUE(s.receive(final, kStart + 5ms));
  EXPECT_EQ(s.transmit_interval(), Interval(500ms));
}

TEST(BfdSession, ExpectingMoreWaitsForThePeersAnswer) {
  Settings slow = kFast;
  slow.required_min_rx = Interval(1s);
  Session s = up_session(kStart, slow);
  EXPECT_EQ(s.detection_time(), Interval(3s));
  s.configure(kFast, kStart);
  EXPECT_EQ(s.detection_time(), Interval(3s)) << "the peer still sends one a second";
  Packet final = from_peer(kUp);
  final.final = true;
  ASSERT_TRUE(s.receive(final, kStart));
  EXPECT_EQ(s.detection_time(), Interval(150ms));
}

TEST(BfdSession, FasterSendingBeginsAtOnce) {
  Settings slow = kFast;
  slow.desired_min_tx = Interval(1s);
  Session s = up_session(kStart, slow);
  s.configure(kFast, kStart + 10ms);
  EXPECT_EQ(s.transmit_interval(), Interval(50ms));
  drain(s, kStart + 10ms);
  EXPECT_LE(s.due(), kStart + 60ms);
}

TEST(BfdSession, APeerThatWantsNoPacketsGetsNone) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  p.required_min_rx = Interval(0);
  ASSERT_TRUE(s.receive(p, kStart));
  for (MonoTime t = kStart; t < kStart + 10s; t += 100ms) {
    ASSERT_TRUE(s.receive(p, t));
    EXPECT_TRUE(drain(s, t).empty());
  }
  p.poll = true;
  ASSERT_TRUE(s.receive(p, kStart + 10s));
  EXPECT_EQ(drain(s, kStart + 10s).size(), 1u) << "but its polls are answered";
  // It dies: from then on it is asked again.
  std::size_t sent = 0;
  for (MonoTime t = kStart + 10s; t < kStart + 20s; t += 100ms) sent += drain(s, t).size();
  EXPECT_GT(sent, 5u);
}

TEST(BfdSession, APeerThatWantsFewerPacketsGetsFewer) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  p.required_min_rx = Interval(300ms);
  ASSERT_TRUE(s.receive(p, kStart));
  EXPECT_EQ(s.transmit_interval(), Interval(300ms));
}

TEST(BfdSession, DemandModeIsNotFollowed) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  p.demand = true;
  ASSERT_TRUE(s.receive(p, kStart));
  EXPECT_EQ(drain(s, kStart + 51ms).size(), 1u);
}

TEST(BfdSession, APassiveOneWaitsForThePeer) {
  Settings passive = kFast;
  passive.role = Role::kPassive;
  Session s(kOurs, passive, kStart);
  for (MonoTime t = kStart; t < kStart + 10s; t += 100ms) EXPECT_TRUE(drain(s, t).empty());
  EXPECT_EQ(s.due(), MonoTime::max());
  ASSERT_TRUE(s.receive(from_peer(kDown), kStart + 10s));
  EXPECT_EQ(drain(s, kStart + 10s).size(), 1u);
  EXPECT_EQ(s.state(), kInit);
}

TEST(BfdSession, DisabledItSaysSoAndHearsNothing) {
  Session s = up_session();
  Settings off = kFast;
  off.admin = Admin::kDisabled;
  s.configure(off, kStart);
  auto sent = drain(s, kStart);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].state, kAdminDown);
  EXPECT_EQ(sent[0].diagnostic, Diagnostic::kAdministrativelyDown);
  const auto heard = s.receive(from_peer(kUp), kStart);
  ASSERT_FALSE(heard);
  EXPECT_EQ(heard.error(), Refusal::kSessionDisabled);
  s.configure(kFast, kStart + 1s);
  EXPECT_EQ(s.state(), kDown);
}

TEST(BfdSession, SettingsOutOfRangeAreMadeUsable) {
  Session s(kOurs, {.desired_min_tx = Interval(0), .required_min_rx = Interval(0), .detect_multiplier = 0}, kStart);
  EXPECT_EQ(s.settings().desired_min_tx, Session::kFastest);
  EXPECT_EQ(s.settings().required_min_rx, Session::kFastest) << "0 would ask the peer to be silent";
  EXPECT_EQ(s.settings().detect_multiplier, 1);
}

TEST(BfdSession, LargestTimersDoNotOverflow) {
  Session s = up_session();
  Packet p = from_peer(kUp);
  p.desired_min_tx = p.required_min_rx = Interval::max();
  p.detect_multiplier = 255;
  ASSERT_TRUE(s.receive(p, kStart));
  EXPECT_EQ(s.detection_time(), Interval::max());
  EXPECT_EQ(s.transmit_interval(), Interval::max());
  drain(s, kStart + 1h);
  EXPECT_EQ(s.state(), kUp);
  EXPECT_GT(s.due(), kStart + 1h);
}

TEST(BfdSession, AnotherInstanceGoesOnWithIt) {
  const Snapshot taken = up_session().snapshot();
  const MonoTime later = kStart + 100ms;
  Session s(taken, kFast, later);
  EXPECT_EQ(s.state(), kUp);
  EXPECT_EQ(s.snapshot(), taken);
  const auto sent = drain(s, later);
  ASSERT_EQ(sent.size(), 1u) << "at once: the peer has waited";
  EXPECT_EQ(sent[0].state, kUp);
  EXPECT_EQ(sent[0].my_discriminator, kOurs);
  EXPECT_EQ(sent[0].your_discriminator, kTheirs);
  s.advance(later + 149ms);
  EXPECT_EQ(s.state(), kUp);
  s.advance(later + 150ms);
  EXPECT_EQ(s.state(), kDown) << "if the peer is not there either";
}

TEST(BfdSession, WhatIsDisabledHereIsNotTakenOver) {
  Settings off = kFast;
  off.admin = Admin::kDisabled;
  EXPECT_EQ(Session(up_session().snapshot(), off, kStart).state(), kAdminDown);
}

}  // namespace
}  // namespace gw::bfd
