// What happens to a pair, one thing at a time, and how long it takes.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/ha/world.hpp"

namespace gw::ha::sim {
namespace {

constexpr unsigned kA = 0;
constexpr unsigned kB = 1;

class Pair : public ::testing::Test {
 protected:
  World w{2, LeaseKind::kEmbedded, 1, World::Record::kYes};
  IpAddress a = w.endpoint(kA);
  IpAddress b = w.endpoint(kB);

  bool owns(unsigned node, const IpAddress& e) {
    return w.senders(e) == std::vector{node} && w.state(node, e) == State::kOwned;
  }
  void begin() {
    w.start(kA);
    w.start(kB);
    ASSERT_TRUE(w.run_until([&] { return owns(kA, a) && owns(kB, b); }, ms(3000))) << w.history();
    w.run(ms(1000));
  }
  void TearDown() override { EXPECT_TRUE(w.violations().empty()) << w.violations().front() << "\n" << w.history(); }
};

TEST_F(Pair, EachOwnsItsOwnAfterAStart) {
  begin();
  const auto moves = w.moves();
  w.run(ms(10'000));
  EXPECT_EQ(w.moves(), moves) << w.history();
}

TEST_F(Pair, ADeadInstanceIsReplacedWithin200ms) {
  begin();
  w.kill(kA);
  const auto took = w.run_until([&] { return w.may_send(kB, a); }, ms(2000));
  ASSERT_TRUE(took) << w.history();
  EXPECT_LT(*took, ms(220)) << w.history();
  EXPECT_GT(*took, ms(90)) << "before a frozen fast path has stopped";
}

TEST_F(Pair, CutSyncNetworksMoveNothingHoweverLong) {
  begin();
  const auto moves = w.moves();
  w.cut_sync(true);
  w.run(ms(60'000));
  EXPECT_TRUE(owns(kA, a) && owns(kB, b));
  EXPECT_EQ(w.moves(), moves) << w.history();
  w.cut_sync(false);
  w.run(ms(5'000));
  EXPECT_EQ(w.moves(), moves) << w.history();
}

TEST_F(Pair, WithoutItsGwdItsEndpointIsTakenAfterAWhileThatCutSyncNetworksDoNotShorten) {
  begin();
  w.cut_sync(true);
  w.run(ms(60'000));
  w.kill_gwd(kA);
  const auto took = w.run_until([&] { return owns(kB, a); }, ms(10'000));
  ASSERT_TRUE(took) << w.history();
  EXPECT_GT(*took, w.config().timing.control_grace) << w.history();
  EXPECT_LT(*took, w.config().timing.control_grace + ms(1300)) << w.history();

  // It is back, and hears nobody's gwd: what it lost stays where it is until they can speak.
  w.start(kA);
  const auto moves = w.moves();
  w.run(ms(30'000));
  EXPECT_TRUE(owns(kB, a) && owns(kB, b)) << w.history();
  EXPECT_EQ(w.moves(), moves) << w.history();
  w.cut_sync(false);
  EXPECT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(8000))) << w.history();
}

TEST_F(Pair, AfterItsReturnItGetsItsEndpointBack) {
  begin();
  w.kill(kA);
  w.run(ms(3000));
  w.start(kA);
  ASSERT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(8000))) << w.history();
  EXPECT_TRUE(owns(kB, b));
}

TEST_F(Pair, DrainMovesEverythingAndUndrainBringsItBack) {
  begin();
  ASSERT_TRUE(w.command(kA, Drain{}));
  ASSERT_TRUE(w.run_until([&] { return owns(kB, a); }, ms(4000))) << w.history();
  w.run(ms(5000));
  EXPECT_TRUE(owns(kB, a)) << "a drained instance gets nothing back";
  ASSERT_TRUE(w.command(kA, Undrain{}));
  ASSERT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(4000))) << w.history();
}

constexpr LocalHealth kNoIke{Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kUp, Link::kDown};
constexpr LocalHealth kWhole{Link::kUp, Link::kUp, Link::kUp, Link::kUp};

TEST_F(Pair, WhoCannotNegotiateGivesItsEndpointAwayAndGetsItBack) {
  begin();
  w.links(kA, kNoIke);
  ASSERT_TRUE(w.run_until([&] { return owns(kB, a); }, ms(4000))) << w.history();
  w.run(ms(10'000));
  EXPECT_TRUE(owns(kB, a)) << "it comes back before charon does\n" << w.history();
  w.links(kA, kWhole);
  ASSERT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(8000))) << w.history();
}

TEST_F(Pair, WithoutIkeOnBothSidesEachForwardsOn) {
  begin();
  w.links(kA, kNoIke);
  w.links(kB, kNoIke);
  w.run(ms(10'000));
  EXPECT_TRUE(owns(kA, a) && owns(kB, b)) << w.history();
  w.kill(kA);
  ASSERT_TRUE(w.run_until([&] { return w.may_send(kB, a); }, ms(2000))) << "forwarding is better than nothing\n"
                                                                        << w.history();
}

// As after an upgrade in place, whose connection breaks: nothing has been missed that an alarm could be about.
TEST_F(Pair, AFastPathThatIsBackAtOnceIsNoNews) {
  begin();
  w.run(ms(20'000));  // what begins right after a start is spared anyway
  for (int i = 0; i < 20; ++i) {
    w.kill_fastpath(kA);
    w.run(ms(10));
    w.start_fastpath(kA);
    for (int look = 0; look < 200; ++look) {
      w.run(ms(5));
      const auto alarms = w.node(kA).machine->snapshot(w.now()).alarms;
      ASSERT_TRUE(alarms.empty()) << alarms.front().text << "\n" << w.history();
    }
  }
  EXPECT_TRUE(owns(kA, a) && owns(kB, b)) << w.history();
}

// Its request may overtake the report that it is not drained any more: refused for that, it asks again.
TEST_F(Pair, UndrainIsNotLostOnWhoHasNotHeardOfIt) {
  begin();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(w.command(kA, Drain{}));
    ASSERT_TRUE(w.run_until([&] { return owns(kB, a); }, ms(4000))) << w.history();
    w.run(ms(500 + 7 * i));
    ASSERT_TRUE(w.command(kA, Undrain{}));
    ASSERT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(8000))) << w.history();
  }
}

class PairWithEtcd : public ::testing::Test {
 protected:
  World w{2, LeaseKind::kEtcd, 1, World::Record::kYes};
  IpAddress a = w.endpoint(kA);
  IpAddress b = w.endpoint(kB);

  bool owns(unsigned node, const IpAddress& e) {
    return w.senders(e) == std::vector{node} && w.state(node, e) == State::kOwned;
  }
  void begin() {
    w.start(kA);
    w.start(kB);
    ASSERT_TRUE(w.run_until([&] { return owns(kA, a) && owns(kB, b); }, ms(3000))) << w.history();
    w.run(ms(1000));
  }
  void TearDown() override { EXPECT_TRUE(w.violations().empty()) << w.violations().front() << "\n" << w.history(); }
};

// It is heard and well otherwise: what it were given it would have to refuse, after nobody had sent for a while.
TEST_F(PairWithEtcd, WhoCannotReachEtcdGetsNothingBackBeforeItCan) {
  begin();
  w.reach_etcd(kA, false);
  ASSERT_TRUE(w.run_until([&] { return owns(kB, a); }, kTtl + ms(1000))) << w.history();
  EXPECT_FALSE(w.run_until([&] { return !owns(kB, a); }, ms(20'000))) << w.history();
  EXPECT_FALSE(w.command(kB, Move{a, Instance{kA}})) << "nor by the operator's word";
  EXPECT_FALSE(w.command(kB, Drain{}));
  w.reach_etcd(kA, true);
  ASSERT_TRUE(w.run_until([&] { return owns(kA, a); }, ms(8000))) << w.history();
}

// What waits at the old owner, and what still comes there, goes to the new one: also before etcd has told of the grant.
TEST_F(PairWithEtcd, WhoHandedItOverKnowsItsNewOwnerAtOnce) {
  begin();
  ASSERT_TRUE(w.command(kA, Move{a, Instance{kB}}));
  ASSERT_TRUE(w.run_until([&] { return w.state(kA, a) == State::kHandedOver; }, ms(5000))) << w.history();
  const auto owner = [&]() -> std::optional<Instance> {
    const Snapshot s = w.node(kA).machine->snapshot(w.now());
    return std::ranges::find(s.endpoints, a, &Snapshot::Endpoint::address)->owner;
  };
  w.reach_etcd(kA, false);  // so that it hears of nothing by that
  for (int look = 0; look < 300; ++look) {
    ASSERT_EQ(owner(), Instance{kB}) << w.history();
    w.run(ms(1));
  }
  EXPECT_EQ(w.state(kA, a), State::kStandby);
}

TEST_F(PairWithEtcd, WithoutEtcdNobodySendsAndWhenItIsBackEachHasItsOwn) {
  begin();
  for (const unsigned node : {kA, kB}) w.reach_etcd(node, false);
  ASSERT_TRUE(w.run_until([&] { return w.senders(a).empty() && w.senders(b).empty(); }, kTtl)) << w.history();
  EXPECT_FALSE(w.run_until([&] { return !w.senders(a).empty() || !w.senders(b).empty(); }, ms(10'000)));
  for (const unsigned node : {kA, kB}) w.reach_etcd(node, true);
  ASSERT_TRUE(w.run_until([&] { return owns(kA, a) && owns(kB, b); }, ms(8000))) << w.history();
}

class Modes : public Pair {
 protected:
  /// Both instances are told, not at the same moment.
  void set(Mode mode, unsigned preferred = kA) {
    w.reconfigure([&](Configuration& c) {
      c.mode = mode;
      c.preferred = static_cast<Instance>(preferred);
    });
  }
  bool has_both(unsigned node) { return owns(node, a) && owns(node, b); }
};

TEST_F(Modes, AnotherModeMovesWhatBelongsElsewhereAtOnce) {
  begin();
  const struct {
    Mode mode;
    unsigned preferred;
    unsigned has_a, has_b;
  } steps[] = {{Mode::kActiveStandby, kB, kB, kB}, {Mode::kActiveActive, kA, kA, kB},
               {Mode::kActiveStandby, kA, kA, kA}, {Mode::kActiveStandby, kB, kB, kB},
               {Mode::kActiveStandby, kA, kA, kA}, {Mode::kActiveActive, kA, kA, kB}};
  for (const auto& s : steps) {
    set(s.mode, s.preferred);
    ASSERT_TRUE(w.run_until([&] { return owns(s.has_a, a) && owns(s.has_b, b); }, ms(5000))) << w.history();
    const auto moves = w.moves();
    w.run(ms(10'000));
    ASSERT_EQ(w.moves(), moves) << w.history();
  }
}

TEST_F(Modes, AStandbyThatTookOverGivesBackAfterTheDelayAndNotBefore) {
  begin();
  set(Mode::kActiveStandby, kA);
  ASSERT_TRUE(w.run_until([&] { return has_both(kA); }, ms(5000))) << w.history();
  w.run(ms(1000));
  w.kill(kA);
  ASSERT_TRUE(w.run_until([&] { return has_both(kB); }, ms(500))) << w.history();
  w.run(ms(3000));
  w.start(kA);
  const auto back = w.run_until([&] { return has_both(kA); }, ms(12'000));
  ASSERT_TRUE(back) << w.history();
  EXPECT_GE(*back, w.config().timing.failback_delay) << "the mode's change is long over: " << w.history();
}

TEST_F(Modes, TheStandbysEndMovesNothing) {
  begin();
  set(Mode::kActiveStandby, kA);
  ASSERT_TRUE(w.run_until([&] { return has_both(kA); }, ms(5000))) << w.history();
  const auto moves = w.moves();
  w.kill(kB);
  w.run(ms(5000));
  w.start(kB);
  w.run(ms(10'000));
  EXPECT_EQ(w.moves(), moves) << w.history();
}

TEST_F(Modes, ANewModeIsNewerThanWhatAnOperatorMovedBefore) {
  begin();
  ASSERT_TRUE(w.command(kA, Move{a, static_cast<Instance>(kB)}));
  ASSERT_TRUE(w.run_until([&] { return has_both(kB); }, ms(5000))) << w.history();
  w.run(ms(10'000));
  ASSERT_TRUE(has_both(kB)) << "it stays where the operator put it";
  set(Mode::kActiveStandby, kA);
  EXPECT_TRUE(w.run_until([&] { return has_both(kA); }, ms(5000))) << w.history();
}

TEST_F(Modes, WhoPrefersADeadInstanceWaitsForIt) {
  begin();
  w.kill(kB);
  ASSERT_TRUE(w.run_until([&] { return has_both(kA); }, ms(500))) << w.history();
  set(Mode::kActiveStandby, kB);
  w.run(ms(5000));
  ASSERT_TRUE(has_both(kA)) << w.history();
  w.start(kB);
  EXPECT_TRUE(w.run_until([&] { return has_both(kB); }, ms(12'000))) << w.history();
}

}  // namespace
}  // namespace gw::ha::sim
