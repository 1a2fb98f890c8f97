// Who is dead, in one instance's eyes: silence that was its own is nobody's, and whoever hears nothing at all knows
// nothing.
#include "ha/view.hpp"

#include <gtest/gtest.h>

namespace gw::ha {
namespace {

using namespace std::chrono_literals;

constexpr Instance kA{0};
constexpr Instance kB{1};
constexpr LocalHealth kWell{.fastpath = Link::kUp, .forwarding = Link::kUp, .wan = Link::kUp, .vnet = Link::kUp};

class ViewTest : public testing::Test {
 protected:
  ViewTest() {
    view.set_health(kWell);
    pass(1s);
  }
  /// In steps in which a process that runs is woken.
  void pass(std::chrono::milliseconds time) {
    for (const MonoTime end = now + time; now < end;) view.advance(now = std::min(end, now + 20ms));
  }
  /// The process does not run.
  void pause(std::chrono::milliseconds time) { view.advance(now += time); }
  void hear() {
    PeerView& peer = *view.peer(kB);
    peer.channel = Link::kUp;
    peer.report_at = peer.sync_heard = peer.data_heard = now;
    peer.data = Link::kUp;
  }
  /// Our fast path says so, after three intervals.
  void data_silent() { view.peer(kB)->data = Link::kDown; }
  bool dead() const { return view.dead(*view.peer(kB)); }

  MonoTime now = MonoTime{} + 1h;
  View view{{.self = kA,
             .members = {{kA, "gw-a"}, {kB, "gw-b"}},
             .endpoints = {{IpAddress::from_v4(0xcb00710a), kA}, {IpAddress::from_v4(0xcb00710b), kB}}},
            now};
};

TEST_F(ViewTest, SilenceOnBothPathsIsDeath) {
  hear();
  pass(140ms);
  data_silent();
  EXPECT_FALSE(dead()) << "its sync channel has 10 ms left";
  pass(20ms);
  EXPECT_TRUE(dead());
  view.peer(kB)->data = Link::kUp;
  EXPECT_FALSE(dead()) << "one path is enough";
}

TEST_F(ViewTest, WhoHearsNothingKnowsNothing) {
  hear();
  LocalHealth deaf = kWell;
  deaf.hearing = Link::kDown;
  view.set_health(deaf);
  pass(1s);
  data_silent();
  EXPECT_FALSE(dead()) << "perhaps it is we who are cut off";
  view.set_health(kWell);
  EXPECT_TRUE(dead()) << "others are heard, it is not";
}

TEST_F(ViewTest, APauseOfOursIsNobodysSilence) {
  hear();
  pause(5s);
  data_silent();
  EXPECT_FALSE(dead()) << "what it said meanwhile is still in our sockets";
  pass(140ms);
  EXPECT_FALSE(dead());
  pass(20ms);
  EXPECT_TRUE(dead());
}

TEST_F(ViewTest, APauseOfOursRevivesNobody) {
  hear();
  pass(300ms);
  data_silent();
  ASSERT_TRUE(dead());
  pause(5s);
  EXPECT_TRUE(dead()) << "it was dead before";
  hear();
  EXPECT_FALSE(dead());
}

TEST_F(ViewTest, WhileAPortWasDownNothingCouldBeHeard) {
  hear();
  LocalHealth unplugged = kWell;
  unplugged.vnet = Link::kDown;
  view.set_health(unplugged);
  pass(2s);
  data_silent();
  view.set_health(kWell);
  EXPECT_FALSE(dead()) << "its heartbeats came by that port";
  pass(160ms);
  EXPECT_TRUE(dead());
}

TEST_F(ViewTest, WithoutAFastPathNobodyListens) {
  hear();
  pass(1s);
  LocalHealth without = kWell;
  without.fastpath = Link::kDown;
  view.set_health(without);
  EXPECT_FALSE(dead());
  view.set_health(kWell);
  EXPECT_FALSE(dead()) << "it has only begun to listen";
  pass(160ms);
  EXPECT_TRUE(dead());
}

}  // namespace
}  // namespace gw::ha
