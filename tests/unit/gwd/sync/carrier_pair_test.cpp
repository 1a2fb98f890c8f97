// Which pair of gw-fastpaths talks: whatever is said to or by one that is gone is dropped, and both begin anew.
#include <gtest/gtest.h>

#include "gwd/sync/fastpath_carrier.hpp"

namespace gw::gwd::sync {
namespace {

// Two carriers that hear each other at once.
struct Sides {
  CarrierPair a;
  CarrierPair b;
  int a_resets = 0;
  int b_resets = 0;

  void from_a(CarrierPair::Change change) {
    a_resets += change.reset_local;
    if (change.tell_peer) b_resets += b.heard_state(a.state()).reset_local;
  }
  void from_b(CarrierPair::Change change) {
    b_resets += change.reset_local;
    if (change.tell_peer) a_resets += a.heard_state(b.state()).reset_local;
  }
};

TEST(CarrierPair, ConnectsWhenBothAreThere) {
  Sides sides;
  sides.from_a(sides.a.session_reset());
  sides.from_b(sides.b.session_reset());
  sides.from_a(sides.a.local_up(5));
  EXPECT_FALSE(sides.a.connected());
  sides.from_b(sides.b.local_up(9));
  // b hears of a only by a's own word, which it has had.
  EXPECT_TRUE(sides.a.connected());
  EXPECT_TRUE(sides.b.connected());
  EXPECT_TRUE(sides.b.fits(sides.a.wrap("x")));
  EXPECT_TRUE(sides.a.fits(sides.b.wrap("x")));
}

TEST(CarrierPair, DropsWhatWasMeantForAnEarlierOne) {
  Sides sides;
  sides.from_a(sides.a.local_up(5));
  sides.from_b(sides.b.local_up(9));
  const auto to_old = sides.a.wrap("x");
  const auto from_old = sides.b.wrap("x");
  sides.from_b(sides.b.local_down());
  EXPECT_FALSE(sides.a.connected());
  EXPECT_FALSE(sides.b.fits(to_old));
  sides.a_resets = sides.b_resets = 0;
  sides.from_b(sides.b.local_up(10));
  EXPECT_EQ(sides.a_resets, 1);
  EXPECT_EQ(sides.b_resets, 1);
  EXPECT_FALSE(sides.b.fits(to_old));
  EXPECT_FALSE(sides.a.fits(from_old));
  EXPECT_TRUE(sides.b.fits(sides.a.wrap("x")));
}

TEST(CarrierPair, ANewSessionDisconnects) {
  Sides sides;
  sides.from_a(sides.a.local_up(5));
  sides.from_b(sides.b.local_up(9));
  const auto change = sides.a.session_reset();
  EXPECT_TRUE(change.reset_local);
  EXPECT_TRUE(change.tell_peer);
  EXPECT_FALSE(sides.a.connected());
}

TEST(CarrierPair, HearingTheSameAgainIsNoReset) {
  Sides sides;
  sides.from_a(sides.a.local_up(5));
  sides.from_b(sides.b.local_up(9));
  EXPECT_FALSE(sides.a.heard_state(sides.b.state()).reset_local);
}

}  // namespace
}  // namespace gw::gwd::sync
