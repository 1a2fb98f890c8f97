// What is a duration and what is not.
#include "base/duration.hpp"

#include <gtest/gtest.h>

namespace gw {
namespace {

using namespace std::chrono_literals;

TEST(Duration, UnitsAreRead) {
  EXPECT_EQ(parse_duration("300ms").value(), 300ms);
  EXPECT_EQ(parse_duration("0s").value(), 0s);
  EXPECT_EQ(parse_duration("27000s").value(), 27000s);
  EXPECT_EQ(parse_duration("5m").value(), 5min);
  EXPECT_EQ(parse_duration("1h").value(), 1h);
  EXPECT_EQ(parse_duration("366d").value(), 366 * 24h);
}

TEST(Duration, AnythingElseIsRefusedWithItsReason) {
  EXPECT_EQ(parse_duration("45").error().message, "'45' has no unit");
  EXPECT_EQ(parse_duration("367d").error().message, "'367d' is longer than a year");
  EXPECT_EQ(parse_duration("99999999999999999999h").error().message, "'99999999999999999999h' is longer than a year");
  for (const char* text : {"", "s", "-1s", "1.5s", "1 s", "1h30m", "1sec", "0x10s"})
    EXPECT_EQ(parse_duration(text).error().code, Errc::kMalformed) << text;
}

}  // namespace
}  // namespace gw
