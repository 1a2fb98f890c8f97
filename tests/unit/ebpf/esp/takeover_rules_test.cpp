// Where sequence numbers and windows go on after a takeover.
#include "ebpf/esp/takeover_rules.hpp"

#include <gtest/gtest.h>

#include "ebpf/esp/replay.hpp"
#include "ebpf/esp/runtime_rules.hpp"

namespace gw::esp {
namespace {

using namespace std::chrono_literals;

constexpr auto kEsn = SequenceMode::kExtended;
constexpr auto k32 = SequenceMode::k32Bit;
constexpr MonoTime at(std::chrono::nanoseconds t) { return MonoTime(t); }

RuntimeRecord synced(MonoTime now) {
  RuntimeRecord r{};
  EXPECT_TRUE(begin_record(r, Direction::kOutbound,
                           {.origin = KeyOrigin::kSynced,
                            .instance = 1,
                            .now_ns = static_cast<std::uint64_t>(now.time_since_epoch().count())}));
  r.iv_epoch = first_epoch_of(1);
  return r;
}

TEST(Takeover, TheJumpCoversTheHighestRateAtAnyAge) {
  EXPECT_EQ(takeover_jump(0ns), kLeastTakeoverJump);
  for (const auto age : {1ms, 10ms, 200ms, 5'000ms, 600'000ms})
    EXPECT_GE(takeover_jump(age), kLeastTakeoverJump + static_cast<std::uint64_t>(age.count()) * 1500) << age.count();
  EXPECT_GT(takeover_jump(std::chrono::hours(1000)), kMaxSequenceJump);
  EXPECT_EQ(takeover_jump(-5s), kLeastTakeoverJump) << "a clock that jumps back";
}

TEST(Takeover, AnSaThatNobodyElseUsedGoesOnWhereItIs) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_outbound(r, 0));
  r.next_sequence = 500;
  EXPECT_EQ(take_outbound(r, Report::kLast, kEsn, at(9s)), TakenOver::kYes);
  EXPECT_EQ(r.next_sequence, 500U);
}

TEST(Takeover, AFreshSaWhoseFirstReportWasLostStartsBeyondAllItCanHaveSent) {
  RuntimeRecord r = synced(at(10s));
  EXPECT_EQ(take_outbound(r, Report::kLast, kEsn, at(12s)), TakenOver::kYes);
  EXPECT_GE(r.next_sequence, 1 + 2 * kMaxPacketsPerSecond);
  EXPECT_EQ(r.synced_at_ns, 0U);
}

TEST(Takeover, TheLastReportPlusJOrTheExactOnePlusALittle) {
  for (const Report report : {Report::kLast, Report::kExact}) {
    RuntimeRecord r = synced(at(1s));
    note_report(r, 1'000'000, at(20s));
    note_report(r, 900'000, at(21s));  // never back
    EXPECT_EQ(take_outbound(r, report, kEsn, at(21s)), TakenOver::kYes);
    EXPECT_EQ(r.next_sequence, 1'000'000 + (report == Report::kExact ? kPlannedJump : kLeastTakeoverJump));
  }
}

TEST(Takeover, ComingHomeIsBeyondBoth) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_outbound(r, 0));
  r.next_sequence = 5000;
  hand_on(r, Direction::kOutbound, at(10s));
  EXPECT_EQ(r.synced_position, 5000U);
  note_report(r, 7000, at(11s));
  EXPECT_EQ(take_outbound(r, Report::kExact, kEsn, at(12s)), TakenOver::kYes);
  EXPECT_EQ(r.next_sequence, 7000 + kPlannedJump);
  hand_on(r, Direction::kOutbound, at(13s));
  EXPECT_EQ(take_outbound(r, Report::kLast, kEsn, at(13s)), TakenOver::kYes);
  EXPECT_EQ(r.next_sequence, 7000 + kPlannedJump + kLeastTakeoverJump) << "and no report at all";
}

TEST(Takeover, TooOldOrTooNearTheEndNeedsANewKey) {
  RuntimeRecord old = synced(at(1s));
  EXPECT_EQ(take_outbound(old, Report::kLast, kEsn, at(2000s)), TakenOver::kNeedsRekey);
  EXPECT_EQ(old.next_sequence, 1 + kMaxSequenceJump) << "and nothing is repeated meanwhile, as far as can be known";
  RuntimeRecord end = synced(at(1s));
  note_report(end, UINT32_MAX - 1000, at(1s));
  EXPECT_EQ(take_outbound(end, Report::kLast, k32, at(1s)), TakenOver::kNeedsRekey);
  Reservation n{};
  EXPECT_EQ(reserve(end, last_sequence(k32), n), ReserveFault::kSequence);
  RuntimeRecord no_epoch{};
  ASSERT_TRUE(begin_standby(no_epoch, 1));
  EXPECT_EQ(take_outbound(no_epoch, Report::kLast, kEsn, at(1s)), TakenOver::kNeedsRekey);
}

// Whatever the other instance received up to its last report is refused, and after the first packet everything below.
TEST(Takeover, TheWindowBeginsAtTheHigherOfReportAndFirstPacket) {
  for (const std::uint32_t size : {64U, 1024U, 4096U}) {
    const ReplayWindow window(size, kEsn);
    RuntimeRecord r{};
    for (std::uint64_t s = 1; s <= 100; ++s) ASSERT_TRUE(window.accept(r, s));
    hand_on(r, Direction::kInbound, at(1s));
    note_report(r, 5000, at(2s));
    take_inbound(r);
    for (const std::uint64_t s : {1U, 99U, 101U, 4000U, 4999U, 5000U}) EXPECT_FALSE(window.acceptable(r, s)) << s;
    ASSERT_TRUE(window.accept(r, 6000));
    for (const std::uint64_t s : {5001U, 5990U, 5999U, 6000U}) EXPECT_FALSE(window.acceptable(r, s)) << s;
    ASSERT_TRUE(window.accept(r, 6003));
    EXPECT_TRUE(window.acceptable(r, 6001)) << "from here on as ever";
    ASSERT_TRUE(window.accept(r, 6001));
    EXPECT_FALSE(window.acceptable(r, 6001));
    EXPECT_FALSE(window.acceptable(r, 5999));
  }
}

TEST(Takeover, AWindowThatNobodyElseUsedIsAsItWas) {
  const ReplayWindow window(64, kEsn);
  RuntimeRecord r{};
  ASSERT_TRUE(window.accept(r, 10));
  take_inbound(r);
  EXPECT_TRUE(window.acceptable(r, 9));
}

TEST(Takeover, ASyncedInboundSaBeginsWithItsFirstPacket) {
  const ReplayWindow window(64, kEsn);
  RuntimeRecord r{};
  ASSERT_TRUE(begin_record(r, Direction::kInbound, {.origin = KeyOrigin::kSynced, .now_ns = 1}));
  ASSERT_TRUE(window.accept(r, 50));
  EXPECT_FALSE(window.acceptable(r, 49));
  ASSERT_TRUE(window.accept(r, 52));
  EXPECT_TRUE(window.acceptable(r, 51));
}

}  // namespace
}  // namespace gw::esp
