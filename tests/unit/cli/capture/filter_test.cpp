#include "cli/capture/filter.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace gw::cli::capture {
namespace {

// 10.9.0.5.1000 > 10.1.0.10.2000: UDP, 4 bytes
const std::vector<std::uint8_t> kUdp{0x45, 0, 0, 32, 0,    0,    0x40, 0,    64, 17, 0, 0, 10, 9, 0, 5,
                                     10,   1, 0, 10, 0x03, 0xe8, 0x07, 0xd0, 0,  12, 0, 0, 1,  2, 3, 4};

bool matches(const std::string& expression) {
  const auto filter = Filter::compile(expression);
  EXPECT_TRUE(filter) << filter.error().describe();
  return filter && filter->matches(kUdp, 32);
}

TEST(CaptureFilter, TheLanguageOfTcpdump) {
  EXPECT_TRUE(matches(""));
  EXPECT_TRUE(matches("  "));
  EXPECT_TRUE(matches("udp port 2000"));
  EXPECT_TRUE(matches("src net 10.9.0.0/16 and dst host 10.1.0.10"));
  EXPECT_TRUE(matches("ip[8] = 64 and not tcp"));
  EXPECT_FALSE(matches("tcp"));
  EXPECT_FALSE(matches("ip6"));
  EXPECT_FALSE(matches("ip proto 50"));
  EXPECT_TRUE(matches("less 32"));
  EXPECT_FALSE(matches("greater 33"));
}

TEST(CaptureFilter, OfAPacketThatWasCutOff) {
  const auto filter = Filter::compile("udp port 2000").value();
  EXPECT_FALSE(filter.matches(std::span(kUdp).first(20), 32)) << "the ports are not there";
  EXPECT_FALSE(filter.matches({}, 32));
  EXPECT_TRUE(Filter::compile("greater 1000")->matches(std::span(kUdp).first(20), 1400)) << "the real length";
}

TEST(CaptureFilter, AFaultIsNamedInLibpcapsWords) {
  for (const std::string expression :
       {"udp port", "tcp and and", "host 300.1.2.3.4.5", "ether host 1:2:3:4:5:6 )", "port 99999999"}) {
    const auto filter = Filter::compile(expression);
    ASSERT_FALSE(filter) << expression;
    EXPECT_EQ(filter.error().field, "filter");
    EXPECT_TRUE(filter.error().message.starts_with("'" + expression + "': ")) << filter.error().message;
    EXPECT_GT(filter.error().message.size(), expression.size() + 8);
  }
}

}  // namespace
}  // namespace gw::cli::capture
