// Two partners and a path between them that is fast, cut or one-way; instances that freeze.
#include "ebpf/liveness/partner.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <optional>

namespace gw::liveness {
namespace {

using namespace std::chrono_literals;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
Secret key(char c = 'k') { return Secret(std::string(kHeartbeatKeyBytes, c)); }
BootNonce nonce(std::uint8_t c) {
  BootNonce n;
  n.fill(c);
  return n;
}

class Pair : public ::testing::Test {
 protected:
  Pair() {
    start(0, 1);
    start(1, 2);
  }
  void start(std::size_t i, std::uint8_t nonce_byte) {
    at_[i].emplace(
        PartnerSettings{
            .own_instance = static_cast<std::uint8_t>(i), .instance = static_cast<std::uint8_t>(1 - i), .timing = {}},
        key(), nonce(nonce_byte), now_);
  }
  Partner& operator[](std::size_t i) { return *at_[i]; }

  void step(std::size_t i) {
    if (frozen_[i]) return;
    Partner& p = *at_[i];
    if (p.advance(now_) && !cut_[i]) queues_[1 - i].push_back(p.datagram());
    for (; !queues_[i].empty(); queues_[i].pop_front()) p.receive(queues_[i].front(), now_);
    p.judge(now_);
  }
  void run(std::chrono::milliseconds time) {
    for (const MonoTime end = now_ + time; now_ < end; now_ += 1ms)
      for (std::size_t i = 0; i < 2; ++i) step(i);
  }
  bool may_send(std::size_t i) { return now_ < at_[i]->lease().until(); }

  MonoTime now_{1000s};
  std::array<std::optional<Partner>, 2> at_;
  std::array<std::deque<std::vector<std::uint8_t>>, 2> queues_;  // to each
  std::array<bool, 2> frozen_{};
  std::array<bool, 2> cut_{};  // what it sends is lost
};

TEST_F(Pair, TheyFindEachOtherWithinMilliseconds) {
  run(10ms);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(at_[i]->status().alive);
    EXPECT_TRUE(may_send(i));
    EXPECT_TRUE(at_[i]->take_changed());
    EXPECT_FALSE(at_[i]->take_changed());
  }
}

TEST_F(Pair, AliveOneMayAlwaysSend) {
  run(10ms);
  for (int i = 0; i < 5000; ++i) {
    run(1ms);
    ASSERT_TRUE(may_send(0) && may_send(1));
  }
}

TEST_F(Pair, AProcessThatGoesOnForAnotherIsNoOtherProcess) {
  run(500ms);
  (void)at_[1]->take_changed();
  for (int i = 0; i < 20; ++i) {
    const Partner::Continuation from = (*this)[0].continuation();
    start(0, static_cast<std::uint8_t>(10 + i));
    EXPECT_FALSE(may_send(0)) << "one that has just started asks";
    (*this)[0].go_on(from);
    EXPECT_TRUE(may_send(0)) << "the lease is the other's";
    for (int ms = 0; ms < 100; ++ms) {
      run(1ms);
      ASSERT_TRUE(may_send(0) && may_send(1));
    }
    EXPECT_FALSE(at_[1]->take_changed()) << "to the peer nothing has happened";
    EXPECT_TRUE(at_[0]->status().alive);
  }
}

TEST_F(Pair, OtherSettingsInterruptNothing) {
  run(500ms);
  const auto held_since = at_[0]->lease().held_since();
  ASSERT_TRUE(held_since);
  start(0, 42);
  EXPECT_FALSE(may_send(0));
  at_[0]->keep_lease(*held_since);
  for (int i = 0; i < 500; ++i) {
    run(1ms);
    ASSERT_TRUE(may_send(0)) << i << " ms";
  }
}

TEST_F(Pair, ALeaseThatEndedMeanwhileIsAskedForAgain) {
  run(500ms);
  const Partner::Continuation from = (*this)[0].continuation();
  now_ += 200ms;
  start(0, 9);
  (*this)[0].go_on(from);
  EXPECT_FALSE(may_send(0));
  (void)(*this)[0].advance(now_);
  EXPECT_EQ((*this)[0].lease().standing(), Lease::Standing::kAsking);
}

TEST_F(Pair, SilenceIsNoticedAfterThreeIntervals) {
  run(1s);
  frozen_[1] = true;
  run(149ms);
  run(55ms);
  EXPECT_FALSE((*this)[0].status().alive);
  EXPECT_TRUE(may_send(0)) << "who is left goes on";
}

TEST_F(Pair, ThatItsGwdIsAwayIsToldOnceAndChangesNothingElse) {
  Partner& a = (*this)[0];
  run(1s);
  EXPECT_EQ(a.status().control, Control::kThere);
  EXPECT_TRUE(a.take_changed());
  (*this)[1].set_control(Control::kAway);
  run(100ms);
  EXPECT_EQ(a.status().control, Control::kAway);
  EXPECT_TRUE(a.status().alive && may_send(0) && may_send(1));
  EXPECT_TRUE(a.take_changed());
  EXPECT_FALSE(a.take_changed());
  (*this)[1].set_control(Control::kThere);
  run(100ms);
  EXPECT_EQ(a.status().control, Control::kThere);
  EXPECT_TRUE(a.take_changed());
}

TEST_F(Pair, AWokenOneSendsNothingBeforeItHasAsked) {
  run(1s);
  frozen_[1] = true;
  run(5s);
  EXPECT_FALSE(may_send(1));
  frozen_[1] = false;
  cut_[0] = true;  // no answer gets through
  queues_[1].clear();
  run(149ms);
  EXPECT_FALSE(may_send(1));
  cut_[0] = false;
  run(60ms);
  EXPECT_TRUE(may_send(1));
}

TEST_F(Pair, AWokenOneLearnsThatItWasReplacedBeforeItMaySend) {
  (*this)[1].set_claims({{ip("198.51.100.1"), Ownership::kOwned, 5}});
  (*this)[0].set_claims({{ip("198.51.100.1"), Ownership::kStandby, 5}});
  run(1s);
  EXPECT_TRUE((*this)[1].take_losses().empty());
  frozen_[1] = true;
  run(200ms);
  (*this)[0].set_claims({{ip("198.51.100.1"), Ownership::kOwned, 6}});
  run(5s);
  frozen_[1] = false;
  for (int i = 0; i < 1000 && !may_send(1); ++i) run(1ms);
  EXPECT_TRUE(may_send(1)) << "for other endpoints";
  EXPECT_EQ((*this)[1].take_losses(), (std::vector<Loss>{{ip("198.51.100.1"), 6}})) << "known before it might";
  run(1s);
  EXPECT_TRUE((*this)[1].take_losses().empty()) << "told once";
  const auto said = (*this)[0].status().claims;
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].ownership, Ownership::kStandby) << "it says so itself";
}

TEST_F(Pair, AHigherClaimIsTakenAtOnceAndToldOnce) {
  const IpAddress e = ip("198.51.100.1");
  (*this)[0].set_claims({{e, Ownership::kOwned, 5}});
  run(1s);
  (*this)[1].set_claims({{e, Ownership::kOwned, 6}});
  run(55ms);
  EXPECT_EQ((*this)[0].take_losses(), (std::vector<Loss>{{e, 6}}));
  run(1s);
  EXPECT_TRUE((*this)[0].take_losses().empty());
  (*this)[0].set_claims({{e, Ownership::kOwned, 5}});  // gwd has not understood yet
  EXPECT_TRUE((*this)[0].take_losses().empty());
  (*this)[0].set_claims({{e, Ownership::kOwned, 7}});
  run(55ms);
  EXPECT_EQ((*this)[1].take_losses(), (std::vector<Loss>{{e, 7}}));
}

TEST_F(Pair, AnEqualOrLowerClaimTakesNothing) {
  const IpAddress e = ip("198.51.100.1");
  (*this)[0].set_claims({{e, Ownership::kOwned, 5}});
  (*this)[1].set_claims({{e, Ownership::kOwned, 5}});
  run(1s);
  EXPECT_TRUE((*this)[0].take_losses().empty());
  EXPECT_TRUE((*this)[1].take_losses().empty());
}

TEST_F(Pair, OnesOwnFreezeIsNotThePeersDeath) {
  run(1s);
  (*this)[0].take_changed();
  frozen_[0] = true;
  run(2s);
  queues_[0].clear();  // the socket's buffer was small
  frozen_[0] = false;
  run(40ms);
  EXPECT_TRUE((*this)[0].status().alive);
  run(1s);
  EXPECT_TRUE((*this)[0].status().alive);
}

TEST_F(Pair, ARestartedPeerIsBelievedAfterOneExchange) {
  run(1s);
  start(1, 3);
  run(10ms);
  EXPECT_TRUE((*this)[0].status().alive);
  EXPECT_TRUE((*this)[1].status().alive);
  EXPECT_TRUE(may_send(1));
}

TEST_F(Pair, AKeyThatChangesAtDifferentTimesInterruptsNothing) {
  run(1s);
  (*this)[0].take_changed();
  (*this)[1].take_changed();
  (*this)[0].change_key(key('n'), now_);
  run(700ms);
  (*this)[1].change_key(key('n'), now_);
  run(3s);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_FALSE(at_[i]->take_changed());
    EXPECT_TRUE(may_send(i));
    EXPECT_EQ(at_[i]->disbelieved(Disbelief::kKey), 0u);
  }
}

TEST_F(Pair, ACopyOfThisMachineIsNoPeer) {
  Partner copy({.own_instance = 0, .instance = 1, .timing = {}}, key(), nonce(7), now_);
  ASSERT_TRUE(copy.advance(now_));
  (*this)[0].receive(copy.datagram(), now_);
  EXPECT_EQ((*this)[0].disbelieved(Disbelief::kOwnInstance), 1u);
  EXPECT_FALSE((*this)[0].status().alive);
}

TEST_F(Pair, OneWayOnlyEachGoesOn) {
  run(1s);
  cut_[1] = true;
  run(1s);
  EXPECT_FALSE((*this)[0].status().alive);
  EXPECT_TRUE((*this)[1].status().alive);
  EXPECT_TRUE(may_send(0));
  EXPECT_TRUE(may_send(1));
}

TEST_F(Pair, AFloodOfQuestionsIsNotAnsweredOneByOne) {
  run(1s);
  std::size_t answers = 0;
  for (int i = 0; i < 1000; ++i, now_ += 10us) {
    Partner stranger({.own_instance = 1, .instance = 0, .timing = {}}, key(),
                     nonce(static_cast<std::uint8_t>(10 + i % 200)), now_);
    ASSERT_TRUE(stranger.advance(now_));
    (*this)[0].receive(stranger.datagram(), now_);
    if ((*this)[0].advance(now_)) ++answers;
  }
  EXPECT_LE(answers, 7u);
}

}  // namespace
}  // namespace gw::liveness
