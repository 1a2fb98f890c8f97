#include "ebpf/ip/path_mtu.hpp"

#include <gtest/gtest.h>

namespace gw::ip {
namespace {

using namespace std::chrono_literals;
constexpr MonoTime kStart{100s};

TEST(PathMtu, ReportsOnlyLowerIt) {
  PathMtu p(Family::kV4);
  EXPECT_FALSE(p.value());
  EXPECT_TRUE(p.report(1400, kStart));
  EXPECT_EQ(p.value(), 1400u);
  EXPECT_FALSE(p.report(1450, kStart));
  EXPECT_FALSE(p.report(1400, kStart));
  EXPECT_TRUE(p.report(1300, kStart));
  EXPECT_EQ(p.value(), 1300u);
}

TEST(PathMtu, NeverBelowTheFloor) {
  PathMtu v4(Family::kV4);
  EXPECT_TRUE(v4.report(68, kStart));
  EXPECT_EQ(v4.value(), 576u);
  PathMtu v6(Family::kV6);
  EXPECT_TRUE(v6.report(0, kStart));
  EXPECT_EQ(v6.value(), 1280u);
}

// RFC 1191 6.3
TEST(PathMtu, TenMinutesAfterTheLastReportTheLinkDecidesAgain) {
  PathMtu p(Family::kV4);
  EXPECT_FALSE(p.age(kStart));
  EXPECT_TRUE(p.report(1400, kStart));
  EXPECT_FALSE(p.report(1400, kStart + 5min)) << "nothing new, but it is still so";
  EXPECT_FALSE(p.age(kStart + 14min));
  EXPECT_TRUE(p.age(kStart + 15min));
  EXPECT_FALSE(p.value());
  EXPECT_FALSE(p.age(kStart + 16min));
  EXPECT_TRUE(p.report(1450, kStart + 16min));
}

}  // namespace
}  // namespace gw::ip
