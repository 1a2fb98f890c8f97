// When a port counts as silent. No kernel here: the lab of two instances pulls the cables.
#include "gwd/control/port_watch.hpp"

#include <gtest/gtest.h>

#include "gwd/control/announcement.hpp"

namespace gw::gwd {
namespace {
using namespace std::chrono_literals;
using Verdict = PortSilence::Verdict;

class PortSilenceTest : public testing::Test {
 protected:
  Verdict at(std::chrono::milliseconds time, std::uint64_t received) {
    return silence.look(MonoTime(1s) + time, received);
  }
  PortSilence silence{50ms};
};

TEST_F(PortSilenceTest, NobodyIsAskedWhilePacketsCome) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(at(i * 45ms, static_cast<std::uint64_t>(i)), Verdict::kHeard) << i;
}

TEST_F(PortSilenceTest, WhoeverIsAskedHasTimeToAnswer) {
  EXPECT_EQ(at(0ms, 7), Verdict::kHeard);
  EXPECT_EQ(at(49ms, 7), Verdict::kHeard);
  EXPECT_EQ(at(50ms, 7), Verdict::kAsk);
  EXPECT_EQ(at(99ms, 7), Verdict::kAsk);
  EXPECT_EQ(at(100ms, 7), Verdict::kSilent);
  EXPECT_EQ(at(125ms, 7), Verdict::kSilent) << "and is asked again";
}

TEST_F(PortSilenceTest, OnePacketIsEnough) {
  at(0ms, 7);
  at(50ms, 7);
  ASSERT_EQ(at(100ms, 7), Verdict::kSilent);
  EXPECT_EQ(at(101ms, 8), Verdict::kHeard);
  EXPECT_EQ(at(150ms, 8), Verdict::kHeard);
  EXPECT_EQ(at(151ms, 8), Verdict::kAsk);
}

// A pause of this process is nobody's silence.
TEST_F(PortSilenceTest, WhoeverWasNotAskedIsNotSilent) {
  at(0ms, 7);
  EXPECT_EQ(at(60'000ms, 7), Verdict::kAsk);
  EXPECT_EQ(at(60'049ms, 7), Verdict::kAsk);
  EXPECT_EQ(at(60'050ms, 7), Verdict::kSilent);
}

TEST_F(PortSilenceTest, ACounterThatBeganAnewIsAPacket) {
  at(0ms, 7);
  at(50ms, 7);
  ASSERT_EQ(at(100ms, 7), Verdict::kSilent);
  EXPECT_EQ(at(110ms, 0), Verdict::kHeard);
}

// RFC 5227 2.1.1: the sender's address is zero, so that no table changes.
TEST(ArpProbe, LeavesNoTrace) {
  const MacAddress mac{2, 0, 0, 0, 0, 1};
  const auto frame = arp_probe(IpAddress::parse("192.0.2.1").value(), mac);
  const std::vector<std::uint8_t> tail(frame.begin() + 20, frame.end());
  EXPECT_EQ(tail, (std::vector<std::uint8_t>{0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1}));
}

}  // namespace
}  // namespace gw::gwd
