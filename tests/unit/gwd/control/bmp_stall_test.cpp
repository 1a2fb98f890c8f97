#include "gwd/control/bmp_stall.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;

TEST(BmpStall, ASessionThatHadNothingIsNoReason) {
  BmpStall stall;
  stall.lost(0, MonoTime(1s));
  EXPECT_FALSE(stall.due());
}

TEST(BmpStall, OneStreamForSessionsThatDieTogether) {
  BmpStall stall;
  stall.lost(4, MonoTime(1s));
  EXPECT_EQ(stall.due(), MonoTime(1s + 150ms + 40us));
  stall.lost(4, MonoTime(1s + 90ms));
  EXPECT_EQ(stall.due(), MonoTime(1s + 240ms + 40us));
  stall.reopened(0, MonoTime(2s));
  EXPECT_FALSE(stall.due());
}

TEST(BmpStall, BgpdHasLetGoOfAllBefore) {
  BmpStall stall;
  stall.lost(100'000, MonoTime(1s));
  EXPECT_EQ(stall.due(), MonoTime(2s + 150ms));
  stall.lost(1, MonoTime(1s + 10ms));  // not sooner for a small one
  EXPECT_EQ(stall.due(), MonoTime(2s + 150ms));
}

TEST(BmpStall, SessionsThatFlapDoNotKeepBgpdBusy) {
  BmpStall stall;
  stall.reopened(100, MonoTime(10s));
  stall.lost(1, MonoTime(10s));
  EXPECT_EQ(stall.due(), MonoTime(11s));
  stall.reopened(100'000, MonoTime(20s));
  stall.lost(1, MonoTime(21s));
  EXPECT_EQ(stall.due(), MonoTime(30s));
}

}  // namespace
}  // namespace gw::gwd
