// What is told of ESP for SPIs that are not installed: a flood from one source hides no other one's.
#include <chrono>
#include <thread>
#include <vector>

#include "ebpf/xdp/tc_programs.hpp"
#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;
using namespace std::chrono_literals;

constexpr auto kInterval = std::chrono::nanoseconds(GW_XDP_EVENT_INTERVAL_NS);

class UnknownSpiTest : public WanTest {
 protected:
  std::vector<IpAddress> heard() {
    std::vector<IpAddress> sources;
    maps_->consume([&](const UnknownSpi& event) { sources.push_back(event.src); });
    return sources;
  }
};

TEST_F(UnknownSpiTest, AFloodOfOneSourceHidesNoOther) {
  const Bytes flood = wan_v4(esp(kUnknown), 50, {.src = ip("203.0.113.66")});
  const Bytes site = wan_v4(esp(kUnknown), 50, {.src = ip("203.0.113.10")});
  EXPECT_EQ(run(program_->program_fd(), flood), XDP_DROP);
  EXPECT_EQ(heard(), std::vector{*IpAddress::parse("203.0.113.66")});
  std::this_thread::sleep_for(kInterval + 1ms);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(run(program_->program_fd(), flood), XDP_DROP);
  EXPECT_EQ(run(program_->program_fd(), site), XDP_DROP);
  EXPECT_EQ(heard(), std::vector{*IpAddress::parse("203.0.113.10")});
}

TEST_F(UnknownSpiTest, ManySourcesAreHeardOneByOne) {
  for (int i = 1; i < 200; ++i) {
    const std::string source = "203.0.113." + std::to_string(i);
    (void)run(program_->program_fd(), wan_v4(esp(kUnknown), 50, {.src = ip(source.c_str())}));
  }
  EXPECT_LE(heard().size(), 10u);
}

TEST_F(UnknownSpiTest, AnIpv6SourceIsItsNetwork) {
  (void)run(program_->program_fd(), wan_v6(esp(kUnknown), 50, {.src = ip("2001:db8:9:1::1")}));
  EXPECT_EQ(heard().size(), 1u);
  std::this_thread::sleep_for(kInterval + 1ms);
  (void)run(program_->program_fd(), wan_v6(esp(kUnknown), 50, {.src = ip("2001:db8:9:1:ffff::2")}));
  EXPECT_TRUE(heard().empty());
  (void)run(program_->program_fd(), wan_v6(esp(kUnknown), 50, {.src = ip("2001:db8:9:2::1")}));
  EXPECT_EQ(heard().size(), 1u);
}

}  // namespace
}  // namespace gw::xdp
