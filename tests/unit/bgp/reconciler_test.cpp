// When a difference between gwd's routes and FRR's is one.
#include "bgp/reconciler.hpp"

#include <gtest/gtest.h>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using namespace std::chrono_literals;
using test::net;

class ReconcilerTest : public testing::Test {
 protected:
  ReconcilerTest() { r_.begin_theirs(now_); }
  void both(std::string_view prefix, Exits exits) {
    r_.set_ours(net(prefix), exits, now_);
    r_.set_theirs(net(prefix), std::move(exits), now_);
  }
  bool later(std::chrono::milliseconds by) {
    now_ += by;
    return r_.check(now_);
  }
  enum class Expected : std::uint8_t { kNo, kYes };
  bool stands(std::string_view prefix, Expected expected = Expected::kNo) {
    r_.excuse([=](const Prefix& asked) { return expected == Expected::kYes && asked == net(prefix); }, now_);
    const auto it = r_.differences().find(net(prefix));
    return it != r_.differences().end() && it->second.standing;
  }
  MonoTime now_{1h};
  Reconciler r_;
};

TEST_F(ReconcilerTest, EqualSidesDoNotDiffer) {
  both("10.20.0.0/16", {7});
  EXPECT_FALSE(later(2s));
  EXPECT_TRUE(r_.differences().empty());
  EXPECT_EQ(r_.our_count(), 1U);
  EXPECT_EQ(r_.their_count(), 1U);
}

TEST_F(ReconcilerTest, EachKindIsSaidAfterASecondOfQuiet) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  r_.set_theirs(net("10.2.0.0/16"), {7}, now_);
  r_.set_ours(net("10.3.0.0/16"), {7}, now_);
  r_.set_theirs(net("10.3.0.0/16"), {7, 9}, now_);
  const MonoTime since = now_;
  EXPECT_EQ(r_.next_check(), now_ + Reconciler::kQuiet);
  EXPECT_FALSE(later(999ms));
  EXPECT_TRUE(later(1ms));
  ASSERT_EQ(r_.differences().size(), 3U);
  EXPECT_EQ(r_.differences().at(net("10.1.0.0/16")).kind, DifferenceKind::kMissing);
  EXPECT_EQ(r_.differences().at(net("10.2.0.0/16")).kind, DifferenceKind::kExtra);
  EXPECT_EQ(r_.differences().at(net("10.3.0.0/16")).kind, DifferenceKind::kDifferent);
  EXPECT_EQ(r_.differences().at(net("10.3.0.0/16")).theirs, (Exits{7, 9}));
  EXPECT_EQ(r_.differences().at(net("10.3.0.0/16")).since, since);
  EXPECT_EQ(r_.next_check(), std::nullopt);
}

TEST_F(ReconcilerTest, WhatNothingExcusesStandsAtOnce) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(1s);
  EXPECT_TRUE(stands("10.1.0.0/16"));
}

// A tunnel that came here: its routes are held, and FRR gets them a moment after its session has said them again.
TEST_F(ReconcilerTest, WhatWasExpectedIsJudgedAnewWhenThatHasEnded) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(1s);
  EXPECT_FALSE(stands("10.1.0.0/16", Expected::kYes));
  later(5s);
  EXPECT_FALSE(stands("10.1.0.0/16", Expected::kYes));
  later(250ms);
  EXPECT_FALSE(stands("10.1.0.0/16"));
  r_.set_theirs(net("10.1.0.0/16"), {7}, now_);  // FRR has it
  later(900ms);
  EXPECT_FALSE(stands("10.1.0.0/16"));
  later(100ms);
  EXPECT_TRUE(r_.differences().empty());
}

// Other routes changed all the time while it was expected.
TEST_F(ReconcilerTest, WhatIsJudgedFirstWhenTheExcuseHasEndedWaitsASecondToo) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(500ms);
  r_.set_theirs(net("10.2.0.0/16"), {7}, now_);
  EXPECT_FALSE(stands("10.1.0.0/16", Expected::kYes));
  later(900ms);
  r_.excuse_ended(now_);
  later(100ms);  // judged now
  ASSERT_TRUE(r_.differences().contains(net("10.1.0.0/16")));
  EXPECT_FALSE(stands("10.1.0.0/16"));
  later(900ms);
  EXPECT_TRUE(stands("10.1.0.0/16"));
}

TEST_F(ReconcilerTest, WhatIsStillThereASecondAfterTheExcuseStands) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(1s);
  EXPECT_FALSE(stands("10.1.0.0/16", Expected::kYes));
  later(999ms);
  EXPECT_FALSE(stands("10.1.0.0/16"));
  later(1ms);
  EXPECT_TRUE(stands("10.1.0.0/16"));
}

TEST_F(ReconcilerTest, AfterAnExcuseFrrMayBeBusyWithOtherRoutes) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(1s);
  EXPECT_FALSE(stands("10.1.0.0/16", Expected::kYes));
  for (std::uint32_t i = 0; i < 59; ++i) {
    later(1s);
    r_.set_theirs(net("10.2.0.0/16"), {i % 2 + 8}, now_);
    EXPECT_FALSE(stands("10.1.0.0/16")) << i;
  }
  later(1s);
  r_.set_theirs(net("10.2.0.0/16"), {7}, now_);
  EXPECT_TRUE(stands("10.1.0.0/16")) << "for a minute, whatever else happens";
}

TEST_F(ReconcilerTest, WhatStandsStaysWhileFrrChangesItsMind) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(1s);
  EXPECT_TRUE(stands("10.1.0.0/16"));
  r_.set_theirs(net("10.1.0.0/16"), {8}, now_);
  EXPECT_TRUE(stands("10.1.0.0/16"));
  later(1s);
  EXPECT_TRUE(stands("10.1.0.0/16"));
  EXPECT_EQ(r_.differences().at(net("10.1.0.0/16")).kind, DifferenceKind::kDifferent);
}

TEST_F(ReconcilerTest, WhatAgreesInTimeIsNoDifference) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  later(900ms);
  r_.set_theirs(net("10.1.0.0/16"), {7}, now_);
  EXPECT_FALSE(later(5s));
}

TEST_F(ReconcilerTest, ADifferenceEndsWhenTheSidesAgree) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  EXPECT_TRUE(later(1s));
  r_.set_theirs(net("10.1.0.0/16"), {7}, now_);
  EXPECT_FALSE(r_.differences().empty()) << "until it is quiet";
  EXPECT_TRUE(later(1s));
  EXPECT_TRUE(r_.differences().empty());
}

TEST_F(ReconcilerTest, WhileOthersChangeOnlyWhatWaitedAMinuteIsJudged) {
  r_.set_ours(net("10.1.0.0/16"), {7}, now_);
  for (int second = 0; second < 59; ++second) {
    both("10.9.0.0/16", {static_cast<std::uint32_t>(7 + second % 2)});
    EXPECT_FALSE(later(1s - 1ms));
  }
  both("10.9.0.0/16", {9});
  EXPECT_TRUE(later(999ms) || later(1s));
  EXPECT_TRUE(r_.differences().contains(net("10.1.0.0/16")));
}

TEST_F(ReconcilerTest, FrrHasNoMorePathsThanItMay) {
  r_.set_ours(net("10.1.0.0/16"), {1, 2, 3, 4, 5, 6, 7, 8, 9}, now_);
  r_.set_theirs(net("10.1.0.0/16"), {1, 2, 3, 4, 5, 6, 7, 9}, now_);
  r_.set_ours(net("10.2.0.0/16"), {1, 2, 3, 4, 5, 6, 7, 8, 9}, now_);
  r_.set_theirs(net("10.2.0.0/16"), {1, 2, 3, 4, 5, 6, 7}, now_);
  later(1s);
  EXPECT_EQ(r_.differences().size(), 1U);
  EXPECT_TRUE(r_.differences().contains(net("10.2.0.0/16")));
}

TEST_F(ReconcilerTest, WithoutFrrNothingDiffersAndANewStreamIsComparedWhole) {
  both("10.1.0.0/16", {7});
  both("10.2.0.0/16", {7});
  later(1s);
  r_.forget_theirs();
  r_.set_ours(net("10.3.0.0/16"), {7}, now_);
  EXPECT_FALSE(later(10s));
  EXPECT_TRUE(r_.differences().empty());
  r_.begin_theirs(now_);
  r_.set_theirs(net("10.1.0.0/16"), {7}, now_);
  r_.set_theirs(net("10.3.0.0/16"), {7}, now_);
  EXPECT_TRUE(later(1s));
  ASSERT_EQ(r_.differences().size(), 1U);
  EXPECT_TRUE(r_.differences().contains(net("10.2.0.0/16")));
}

TEST_F(ReconcilerTest, WhatBothLostIsForgotten) {
  both("10.1.0.0/16", {7});
  later(1s);
  both("10.1.0.0/16", {});
  later(1s);
  EXPECT_EQ(r_.our_count(), 0U);
  EXPECT_EQ(r_.their_count(), 0U);
  both("10.1.0.0/16", {});  // and again: nothing to judge
  EXPECT_EQ(r_.next_check(), std::nullopt);
}

}  // namespace
}  // namespace gw::bgp
