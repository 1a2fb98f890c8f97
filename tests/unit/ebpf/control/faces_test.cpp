// VLAN and QinQ sub-interfaces of a port, and the headers they put in front.
#include "ebpf/control/faces.hpp"

#include <gtest/gtest.h>

namespace gw::control {
namespace {

constexpr net::MacAddress kPort = {2, 0, 0, 0, 0, 1};
constexpr net::MacAddress kOther = {2, 0, 0, 0, 0, 9};
constexpr net::MacAddress kHost = {2, 0, 0, 0, 0, 2};

net::Link vlan(int ifindex, int parent, net::VlanTag tag) {
  return {.ifindex = ifindex, .mac = kPort, .mtu = 1400, .up = true, .parent = parent, .vlan = tag};
}

std::vector<net::Link> links() {
  std::vector<net::Link> all = {{.ifindex = 3, .mac = kPort, .up = true},
                                {.ifindex = 4, .mac = kOther, .up = true},
                                vlan(10, 3, {0x8100, 100}),
                                vlan(11, 3, {0x88a8, 200}),
                                vlan(12, 11, {0x8100, 30}),
                                vlan(13, 12, {0x8100, 1}),  // three tags
                                vlan(14, 4, {0x8100, 100}),
                                vlan(15, 99, {0x8100, 5})};  // its parent is in another namespace
  all.push_back(vlan(16, 3, {0x8100, 77}));
  all.back().up = false;
  all.push_back({.ifindex = 17, .mac = kPort, .up = true, .parent = 3});  // macvlan, ipvlan
  return all;
}

TEST(Faces, ThePortAndItsVlansAreFaces) {
  const auto all = links();
  const Faces faces = faces_of(all[0], all);
  ASSERT_EQ(faces.size(), 4u);
  EXPECT_TRUE(faces.at(3).tags.empty());
  EXPECT_EQ(faces.at(10).tags, (VlanStack{{0x8100, 100}}));
  EXPECT_EQ(faces.at(11).tags, (VlanStack{{0x88a8, 200}}));
  EXPECT_EQ(faces.at(12).tags, (VlanStack{{0x88a8, 200}, {0x8100, 30}})) << "outermost first";
}

// Where the port itself is a VLAN device (a gso port), its own tag is the kernel's business.
TEST(Faces, APortThatIsAVlanDeviceHasNoTagOfItsOwn) {
  const auto all = links();
  const Faces faces = faces_of(all[3], all);
  ASSERT_EQ(faces.size(), 3u);
  EXPECT_TRUE(faces.at(11).tags.empty());
  EXPECT_EQ(faces.at(12).tags, (VlanStack{{0x8100, 30}}));
  EXPECT_EQ(faces.at(13).tags, (VlanStack{{0x8100, 30}, {0x8100, 1}}));
}

TEST(Faces, Headers) {
  const auto bytes = [](const worker::LinkHeader& h) {
    return std::vector<std::uint8_t>(h.bytes.begin(), h.bytes.begin() + h.length);
  };
  EXPECT_EQ(bytes(header_to(kHost, {kPort, {}})),
            (std::vector<std::uint8_t>{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(
      bytes(header_to(kHost, {kPort, {{0x88a8, 200}, {0x8100, 30}}})),
      (std::vector<std::uint8_t>{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0, 200, 0x81, 0x00, 0, 30, 0, 0}));
}

TEST(Faces, TheTypeIsThePackets) {
  std::array<std::uint8_t, 64> buffer{};
  worker::Outgoing out{.data = buffer.data() + 32, .length = 20};
  write_link_header(out, header_to(kHost, {kPort, {{0x8100, 100}}}), Family::kV6);
  EXPECT_EQ(out.data, buffer.data() + 14);
  EXPECT_EQ(out.length, 38u);
  EXPECT_EQ(buffer[30], 0x86);
  EXPECT_EQ(buffer[31], 0xdd);
}

}  // namespace
}  // namespace gw::control
