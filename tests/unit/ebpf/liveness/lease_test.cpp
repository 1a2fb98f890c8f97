#include "ebpf/liveness/lease.hpp"

#include <gtest/gtest.h>

#include <random>

namespace gw::liveness {
namespace {

using namespace std::chrono_literals;
constexpr MonoTime kStart{1000s};

TEST(Lease, ItBeginsByAsking) {
  Lease lease({});
  lease.on_send(1, kStart);
  EXPECT_EQ(lease.until(), MonoTime::min());
  lease.on_answer(1, kStart + 1ms);
  EXPECT_EQ(lease.until(), kStart + 120ms);
  EXPECT_EQ(lease.standing(), Lease::Standing::kHeld);
}

TEST(Lease, NobodyThereIsAnAnswerAfterThreeIntervals) {
  Lease lease({});
  for (std::uint64_t n = 1; n <= 3; ++n) {
    lease.on_send(n, kStart + 50ms * n);
    EXPECT_EQ(lease.until(), MonoTime::min()) << n;
  }
  lease.on_send(4, kStart + 200ms);
  EXPECT_EQ(lease.until(), kStart + 320ms);
}

TEST(Lease, EachHeartbeatExtendsItWithOrWithoutAPeer) {
  Lease lease({});
  std::uint64_t n = 1;
  MonoTime t = kStart;
  for (; n <= 4; ++n, t += 50ms) lease.on_send(n, t);
  for (; n < 1000; ++n, t += 50ms) {
    lease.on_send(n, t);
    ASSERT_EQ(lease.until(), t + 120ms);
  }
}

TEST(Lease, AfterAFreezeNothingIsSentBeforeThePeerAnsweredAQuestionOfAfterwards) {
  Lease lease({});
  lease.on_send(1, kStart);
  lease.on_answer(1, kStart);
  const MonoTime woken = kStart + 10s;
  EXPECT_LT(lease.until(), woken) << "the deadline has passed whoever looks first";
  lease.on_answer(1, woken);  // waited in the socket
  EXPECT_LT(lease.until(), woken);
  lease.on_send(2, woken);
  EXPECT_EQ(lease.until(), MonoTime::min());
  EXPECT_EQ(lease.stood_still(), 10s);
  lease.on_answer(1, woken + 1ms);  // so did this
  EXPECT_EQ(lease.until(), MonoTime::min());
  lease.on_answer(2, woken + 2ms);
  EXPECT_EQ(lease.until(), woken + 120ms);
}

TEST(Lease, AShortPauseIsNone) {
  Lease lease({});
  lease.on_send(1, kStart);
  lease.on_answer(1, kStart);
  lease.on_send(2, kStart + 120ms);
  EXPECT_EQ(lease.until(), kStart + 240ms);
}

TEST(Lease, FrozenAgainWhileAskingAsksAnew) {
  Lease lease({});
  lease.on_send(1, kStart);
  lease.on_send(2, kStart + 1s);
  lease.on_answer(1, kStart + 1s);
  EXPECT_EQ(lease.until(), MonoTime::min()) << "the question was asked before the second freeze";
  lease.on_answer(2, kStart + 1001ms);
  EXPECT_EQ(lease.until(), kStart + 1120ms);
}

TEST(Lease, HoldIsShorterThanThePeersPatienceForAnySetting) {
  for (int interval = 10; interval <= 1000; interval += 7) {
    for (unsigned multiplier = 2; multiplier <= 10; ++multiplier) {
      const LeaseSettings s{std::chrono::milliseconds(interval), multiplier};
      EXPECT_LT(s.hold(), s.interval * multiplier);
      EXPECT_GT(s.hold(), s.interval) << "one late heartbeat does not end it";
    }
  }
}

/// Whoever stops at any moment has stopped sending before a peer that counts from the last heartbeat may begin.
TEST(Lease, NeverTwoOwnersThroughPausesOfAnyLength) {
  std::mt19937 random(1);
  const LeaseSettings settings;
  for (int run = 0; run < 2000; ++run) {
    Lease lease(settings);
    MonoTime now = kStart, last_heard = kStart;
    std::uint64_t sequence = 0;
    const auto pause_at = std::uniform_int_distribution<std::uint64_t>(5, 40)(random);
    const auto pause = std::chrono::microseconds(std::uniform_int_distribution<>(0, 400'000)(random));
    MonoTime taken_over = MonoTime::max();
    for (int beat = 0; beat < 60; ++beat) {
      lease.on_send(++sequence, now);
      if (now - last_heard >= settings.interval * settings.multiplier)
        taken_over = std::min(taken_over, last_heard + 150ms);
      last_heard = now;
      if (taken_over == MonoTime::max()) lease.on_answer(sequence, now);  // afterwards its claim is the higher one
      if (taken_over != MonoTime::max()) {
        ASSERT_LT(lease.until(), taken_over) << "run " << run;
        break;
      }
      const auto late = std::chrono::microseconds(std::uniform_int_distribution<>(0, 20'000)(random));
      now += settings.interval + (sequence == pause_at ? pause : late);
    }
  }
}

}  // namespace
}  // namespace gw::liveness
