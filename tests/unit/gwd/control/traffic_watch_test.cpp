#include "gwd/control/traffic_watch.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using std::chrono::seconds;
namespace fp = ::gw::fastpath::v1;

struct Counters {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  std::uint64_t slow = 0;
  std::uint64_t slow_in = 0;
};

class TrafficWatchTest : public testing::Test {
 protected:
  void look(const Counters& counters, bool carrier = true) {
    fp::TunnelList list;
    auto& tunnel = *list.add_tunnels();
    tunnel.set_tunnel_id(1);
    tunnel.set_carrier(carrier);
    tunnel.set_in_packets(counters.in);
    tunnel.set_out_packets(counters.out);
    tunnel.set_slow_path_packets(counters.slow);
    tunnel.set_slow_path_in_packets(counters.slow_in);
    watch.look(list, clock.now());
    clock.advance(seconds(5));
  }
  TrafficWindow window() const { return watch.of(1); }

  ManualClock clock;
  TrafficWatch watch;
};

TEST_F(TrafficWatchTest, TheWindowIsTheLastMinute) {
  EXPECT_EQ(window().length, seconds(0));
  look({.in = 1000, .out = 2000});
  EXPECT_EQ(window().length, seconds(0));
  for (std::uint64_t i = 1; i <= 40; ++i) look({.in = 1000 + 10 * i, .out = 2000 + 20 * i, .slow = i});
  EXPECT_EQ(window().length, TrafficWatch::kWindow);
  EXPECT_EQ(window().in_packets, 120U);
  EXPECT_EQ(window().out_packets, 240U);
  EXPECT_EQ(window().slow_path_packets, 12U);
  EXPECT_EQ(window().silent, seconds(0));
}

TEST_F(TrafficWatchTest, HostsPacketsAreThoseThatTheGatewayDoesNotTakePartIn) {
  look({.in = 10, .out = 20, .slow = 9, .slow_in = 4});
  look({.in = 110, .out = 65, .slow = 69, .slow_in = 24});
  EXPECT_EQ(window().in_of_hosts(), 80U);
  EXPECT_EQ(window().out_of_hosts(), 5U);
}

// Counters are read one after the other.
TEST_F(TrafficWatchTest, HostsPacketsAreNeverLessThanNone) {
  look({});
  look({.in = 3, .out = 3, .slow = 9, .slow_in = 4});
  EXPECT_EQ(window().in_of_hosts(), 0U);
  EXPECT_EQ(window().out_of_hosts(), 0U);
}

TEST_F(TrafficWatchTest, SilenceIsOutWithoutIn) {
  look({.in = 10, .out = 10});
  for (std::uint64_t i = 1; i <= 20; ++i) look({.in = 10, .out = 10 + i});
  EXPECT_EQ(window().silent, seconds(100));
  EXPECT_EQ(window().out_since_in, 20U);
  look({.in = 11, .out = 31});
  EXPECT_EQ(window().silent, seconds(0));
  EXPECT_EQ(window().out_since_in, 0U);
}

TEST_F(TrafficWatchTest, AQuietTunnelIsNotSilent) {
  for (int i = 0; i < 20; ++i) look({.in = 10, .out = 10});
  EXPECT_EQ(window().silent, seconds(0));
}

TEST_F(TrafficWatchTest, ARestartOrANewCarrierStartsAnew) {
  look({.in = 1000, .out = 1000});
  look({.in = 1000, .out = 1100});
  look({.in = 3, .out = 5});
  EXPECT_EQ(window().length, seconds(0));
  EXPECT_EQ(window().out_since_in, 0U);
  look({.in = 3, .out = 9});
  EXPECT_EQ(window().silent, seconds(5));
  look({.in = 3, .out = 10}, false);
  EXPECT_EQ(window().silent, seconds(0));
}

}  // namespace
}  // namespace gw::gwd
