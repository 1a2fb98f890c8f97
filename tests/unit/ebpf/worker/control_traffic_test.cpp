#include "ebpf/worker/control_traffic.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "base/wire.hpp"

namespace gw::worker {
namespace {

struct Ports {
  std::uint16_t from = 0;
  std::uint16_t to = 0;
};

std::vector<std::uint8_t> v4(std::uint8_t protocol, Ports ports, std::uint16_t fragment = 0) {
  std::vector<std::uint8_t> p(40);
  p[0] = 0x45;
  store_be(&p[6], fragment);
  p[9] = protocol;
  store_be(&p[20], ports.from);
  store_be(&p[22], ports.to);
  return p;
}

std::vector<std::uint8_t> v6(std::uint8_t protocol, Ports ports) {
  std::vector<std::uint8_t> p(60);
  p[0] = 0x60;
  p[6] = protocol;
  store_be(&p[40], ports.from);
  store_be(&p[42], ports.to);
  return p;
}

TEST(ControlTraffic, BgpBothWaysAndBfd) {
  EXPECT_TRUE(is_routing_protocol(v4(6, {40000, 179})));
  EXPECT_TRUE(is_routing_protocol(v4(6, {179, 40000})));
  EXPECT_TRUE(is_routing_protocol(v6(6, {179, 40000})));
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{3784, 3785, 4784}) {
    EXPECT_TRUE(is_routing_protocol(v4(17, {49152, port})));
    EXPECT_TRUE(is_routing_protocol(v6(17, {49152, port})));
  }
}

TEST(ControlTraffic, NeighbourDiscovery) {
  auto packet = v6(58, {});
  for (const std::uint8_t type : std::initializer_list<std::uint8_t>{133, 134, 135, 136}) {
    packet[40] = type;
    EXPECT_TRUE(is_routing_protocol(packet)) << int{type};
  }
  packet[40] = 128;
  EXPECT_FALSE(is_routing_protocol(packet)) << "ping";
}

TEST(ControlTraffic, AllElseIsNot) {
  EXPECT_FALSE(is_routing_protocol(v4(6, {40000, 443})));
  EXPECT_FALSE(is_routing_protocol(v4(17, {179, 179})));
  EXPECT_FALSE(is_routing_protocol(v4(6, {3784, 3784})));
  EXPECT_FALSE(is_routing_protocol(v4(17, {3784, 53}))) << "the source port is the sender's choice";
  EXPECT_FALSE(is_routing_protocol(v4(6, {179, 179}, 0x0001))) << "a later fragment";
  EXPECT_TRUE(is_routing_protocol(v4(6, {179, 179}, 0x2000))) << "the first one";
}

TEST(ControlTraffic, ShortPackets) {
  for (const auto& whole : {v4(6, {179, 179}), v6(17, {1, 3784})})
    for (std::size_t n = 0; n < whole.size(); ++n)
      (void)is_routing_protocol(
          std::vector<std::uint8_t>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)));
  auto options = v4(6, {179, 179});
  options[0] = 0x4f;
  EXPECT_FALSE(is_routing_protocol(options)) << "its header is longer than all of it";
}

}  // namespace
}  // namespace gw::worker
