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
