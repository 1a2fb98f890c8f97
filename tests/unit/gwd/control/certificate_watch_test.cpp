// When a certificate's end is said, and how. The clock is a test's; certificates are real.
#include "gwd/control/certificate_watch.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/support/sandbox.hpp"

namespace gw::gwd {
namespace {

using pki::Lifetime;
using std::chrono::days;
using std::chrono::hours;
using std::chrono::seconds;

struct Row {
  const char* about;
  seconds left;
  Lifetime lifetime;
  const char* severity;
  const char* text;  // behind the file's name
};

// ManualClock begins on 2023-11-14, 22:13:20.
TEST(Lifetime, IsGoodForLongOrSaidInTime) {
  const ManualClock clock;
  for (const Row& row : {
           Row{"new", days(730), Lifetime::kGood, "", "is good until 2025-11-13, for 730 more days"},
           Row{"a second before the month", days(30) + seconds(1), Lifetime::kGood, "",
               "is good until 2023-12-14, for 30 more days"},
           Row{"a month", days(30), Lifetime::kEndsSoon, "warning", "is good until 2023-12-14, for 30 more days"},
           Row{"a second before the week", days(7) + seconds(1), Lifetime::kEndsSoon, "warning",
               "is good until 2023-11-21, for 7 more days"},
           Row{"a week", days(7), Lifetime::kEndsNext, "error", "is good until 2023-11-21, for 7 more days"},
           Row{"the day after tomorrow", hours(47), Lifetime::kEndsNext, "error",
               "is good until 2023-11-16, for 47 more hours"},
           Row{"the last hour", seconds(3599), Lifetime::kEndsNext, "error",
               "is good until 2023-11-14, for 59 more minutes"},
           Row{"over", seconds(0), Lifetime::kExpired, "error", "has expired on 2023-11-14"},
           Row{"long over", -days(100), Lifetime::kExpired, "error", "has expired on 2023-08-06"},
       }) {
    SCOPED_TRACE(row.about);
    const WallTime until = clock.wall() + row.left;
    EXPECT_EQ(pki::lifetime(until, clock.wall()), row.lifetime);
    EXPECT_EQ(pki::severity(row.lifetime), row.severity);
    EXPECT_EQ(pki::describe({"gw-a.crt", until, ""}, clock.wall()), std::string("gw-a.crt ") + row.text);
  }
}

struct CertificateWatchTest : testing::Test {
  pki::KeyPair authority(days length) { return pki::make_authority("hub", {clock.wall(), length}).value(); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(scratch.path() / name, std::ios::binary) << text;
  }
  void issue(const pki::KeyPair& by, days length) {
    write("gw-a.crt", pki::issue(by, {"hub", "gw-a"}, {clock.wall(), length}).value().certificate);
  }
  std::vector<std::string> seen() {
    CertificateWatch watch(io, clock, scratch.path(), "gw-a");
    watch.start();
    io.restart();
    io.poll();
    std::vector<std::string> out;
    for (const auto& end : watch.ends())
      out.push_back(describe(end, clock.wall()).substr(scratch.path().string().size() + 1));
    watch.stop();
    io.run();
    EXPECT_TRUE(watch.idle());
    return out;
  }
  ManualClock clock;
  const test::Scratch scratch;
  boost::asio::io_context io;
};

TEST_F(CertificateWatchTest, LooksAtOursAndAtWhoMadeIt) {
  const auto by = authority(days(3650));
  const auto old = authority(days(3));
  write("ca.crt", by.certificate + old.certificate);
  issue(by, days(730));
  EXPECT_THAT(seen(), testing::ElementsAre("gw-a.crt is good until 2025-11-13, for 730 more days",
                                           "ca.crt is good until 2033-11-11, for 3650 more days"));
  issue(old, days(20));
  EXPECT_THAT(seen(), testing::ElementsAre("gw-a.crt is good until 2023-12-04, for 20 more days",
                                           "ca.crt is good until 2023-11-17, for 3 more days"));
}

TEST_F(CertificateWatchTest, TimePasses) {
  const auto by = authority(days(3650));
  write("ca.crt", by.certificate);
  issue(by, days(40));
  clock.advance(days(50));
  EXPECT_THAT(seen(), testing::ElementsAre("gw-a.crt has expired on 2023-12-24", testing::_));
}

TEST_F(CertificateWatchTest, WhatIsNotACertificateSaysNothing) {
  EXPECT_THAT(seen(), testing::IsEmpty());
  write("gw-a.crt", "x");
  EXPECT_THAT(seen(), testing::IsEmpty());
  issue(authority(days(10)), days(10));
  write("ca.crt", authority(days(10)).certificate);  // another one
  EXPECT_THAT(seen(), testing::ElementsAre(testing::StartsWith("gw-a.crt is good")));
}

}  // namespace
}  // namespace gw::gwd
