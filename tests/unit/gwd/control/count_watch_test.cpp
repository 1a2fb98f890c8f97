#include "gwd/control/count_watch.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;

constexpr CountWatch::Counts kSame{{4, 1}, {4, 1}};
constexpr CountWatch::Counts kGhost{{4, 1}, {3, 1}};

TEST(CountWatch, OnlyWhatStaysIsSaidAndOnce) {
  CountWatch watch;
  EXPECT_FALSE(watch.see("paris", kGhost, MonoTime(0s)));
  EXPECT_FALSE(watch.see("paris", kGhost, MonoTime(11s)));
  EXPECT_EQ(watch.alarm(), "");
  EXPECT_TRUE(watch.see("paris", kGhost, MonoTime(12s)));
  EXPECT_EQ(watch.alarm(), "bgpd has taken 3 IPv4 and 1 IPv6 routes of paris, gwd 4 and 1 (RoutesDiffer)");
  EXPECT_FALSE(watch.see("paris", kGhost, MonoTime(20s)));
  EXPECT_FALSE(watch.see("paris", kSame, MonoTime(21s)));
  EXPECT_EQ(watch.alarm(), "");
}

TEST(CountWatch, NumbersThatMoveAreTraffic) {
  CountWatch watch;
  for (std::size_t i = 0; i < 30; ++i)
    EXPECT_FALSE(watch.see("paris", {{100 + i, 0}, {90 + i, 0}}, MonoTime(std::chrono::seconds(i))));
  EXPECT_EQ(watch.alarm(), "");
}

TEST(CountWatch, ASessionThatIsDownOrGoneHasNoAlarm) {
  CountWatch watch;
  for (const char* name : {"paris", "lyon"}) {
    (void)watch.see(name, kGhost, MonoTime(0s));
    EXPECT_TRUE(watch.see(name, kGhost, MonoTime(15s)));
  }
  watch.forget("lyon");
  EXPECT_TRUE(watch.alarm().contains("paris"));
  watch.keep_only({"lyon"});
  EXPECT_EQ(watch.alarm(), "");
}

}  // namespace
}  // namespace gw::gwd
