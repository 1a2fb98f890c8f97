// From one tunnel into another: what may go that way. A site that announces a default route gets no packet that is of
// another site's link.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine
constexpr std::size_t kFrom = 0;

Bytes with_destination(Bytes packet, std::string_view address) {
  store_be(&packet[10], std::uint16_t{0});
  store_be(&packet[16], IpAddress::parse(address)->v4());
  store_be(&packet[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(packet.data(), 20))));
  return packet;
}

/// Both ends of what stands for a tunnel's device.
class AcrossTest : public testing::TestWithParam<std::size_t> {
 protected:
  AcrossTest() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) std::abort();
    device_.reset(ends[0]);
    kernel_.reset(ends[1]);
    rig_.workers().call(WorkerRig::slot(kFrom), [&](DataPath& d) {
      TunnelConfig config = d.tunnel(WorkerRig::slot(kFrom));
      config.tun_fd = device_.get();
      d.set_tunnel(WorkerRig::slot(kFrom), config);
    });
    // The default route leads into the tunnel of the parameter.
    const std::size_t to = GetParam();
    rig_.route({*Prefix::parse("0.0.0.0/0"),
                {GW_NEXT_HOP_TUNNELS, {{static_cast<std::uint32_t>(to + 1), WorkerRig::slot(to), 1420}}, {}}});
  }

  /// What the kernel gets; empty: nothing in time.
  Bytes at_kernel() {
    Bytes packet(2048);
    for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;) {
      const ssize_t n = ::recv(kernel_.get(), packet.data(), packet.size(), 0);
      if (n > 0) {
        packet.resize(static_cast<std::size_t>(n));
        return packet;
      }
      std::this_thread::sleep_for(1ms);
    }
    return {};
  }
  TunnelTotals totals(std::size_t tunnel) { return rig_.workers().totals(WorkerRig::slot(tunnel)); }

  Fd device_;
  Fd kernel_;
  WorkerRig rig_{{.workers = 1, .tunnels = 2, .frames_each = 64}};
};

TEST_P(AcrossTest, WhatIsOfTheLinkIsTheKernels) {
  std::uint32_t number = 0;
  // OSPF, VRRP (whose TTL is 255), a neighbour's address; what no router forwards (RFC 1812 5.3.7).
  for (const std::string_view address :
       {"224.0.0.5", "224.0.0.18", "169.254.9.9", "127.0.0.1", "0.0.0.9", "240.0.0.1"}) {
    const Bytes packet = with_destination(rig_.from_site(kFrom, ++number), address);
    rig_.wan(0).inject(std::vector<Bytes>{rig_.seal(kFrom, packet)});
    EXPECT_EQ(at_kernel(), packet) << address;
  }
  EXPECT_TRUE(rig_.all_frames_are_free());
  EXPECT_EQ(totals(kFrom).slow_path_in, number);
  EXPECT_EQ(totals(1).out_packets, 0U);
  for (const std::uint64_t drops : totals(kFrom).in_drops) EXPECT_EQ(drops, 0U);
}

INSTANTIATE_TEST_SUITE_P(DefaultRoute, AcrossTest, testing::Values(kFrom, std::size_t{1}), [](const auto& test) {
  return std::string(test.param == kFrom ? "BackToTheSite" : "ToAnotherSite");
});

TEST(Across, ARouteIsFollowed) {
  WorkerRig rig({.workers = 1, .tunnels = 2, .frames_each = 64});
  rig.route({*Prefix::parse("0.0.0.0/0"), {GW_NEXT_HOP_TUNNELS, {{2, WorkerRig::slot(1), 1420}}, {}}});
  rig.wan(0).inject(std::vector<Bytes>{rig.seal(0, with_destination(rig.from_site(0, 7), "192.0.2.80"))});
  std::vector<Bytes> wire;
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       wire.empty() && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms))
    wire = rig.wan(0).take_sent();
  ASSERT_EQ(wire.size(), 1U);
  EXPECT_EQ(WorkerRig::number_of(rig.open(wire[0])), 7U);
  EXPECT_TRUE(rig.all_frames_are_free());
}

}  // namespace
}  // namespace gw::worker
