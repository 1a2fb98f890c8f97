// Rates of tunnels and of the gateway, with packets through real workers. The rates are so low that what is earned
// while the test runs is a packet or two: what passes is the burst.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
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
constexpr std::size_t kSize = 1000;
constexpr ip::ByteRate kFifty{1000, 50 * kSize};
constexpr std::size_t kEarned = 20;                // packets, should the machine be that slow
constexpr std::uint32_t kOurAddress = 0x0a0100c8;  // 10.1.0.200

std::uint64_t drops(WorkerRig& rig, std::size_t tunnel, gw_drop reason) {
  const TunnelTotals totals = rig.workers().totals(WorkerRig::slot(tunnel));
  return totals.in_drops[reason] + totals.out_drops[reason];
}

std::uint64_t passed(WorkerRig& rig, std::size_t tunnel) {
  const TunnelTotals totals = rig.workers().totals(WorkerRig::slot(tunnel));
  return totals.in_packets + totals.out_packets;
}

void limit(WorkerRig& rig, std::size_t tunnel, const Rates& rates) {
  rig.workers().call(WorkerRig::slot(tunnel), [&](DataPath& d) { d.set_rates(WorkerRig::slot(tunnel), rates); });
}

/// All of them have passed or were dropped for a rate.
bool await_all(WorkerRig& rig, std::size_t tunnel, std::uint64_t packets) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    if (passed(rig, tunnel) + drops(rig, tunnel, GW_DROP_RATE_TUNNEL) + drops(rig, tunnel, GW_DROP_RATE_GATEWAY) >=
        packets)
      return true;
    std::this_thread::sleep_for(2ms);
  }
  return false;
}

void flood_out(WorkerRig& rig, std::size_t tunnel, std::size_t packets) {
  std::vector<Bytes> batch;
  for (std::size_t i = 0; i < packets; ++i) batch.push_back(rig.to_site(tunnel, static_cast<std::uint32_t>(i), kSize));
  rig.vnet(rig.owner(tunnel)).inject(batch);
}

void flood_in(WorkerRig& rig, std::size_t tunnel, std::size_t packets) {
  std::vector<Bytes> batch;
  for (std::size_t i = 0; i < packets; ++i)
    batch.push_back(rig.seal(tunnel, rig.from_site(tunnel, static_cast<std::uint32_t>(i), kSize)));
  rig.wan(rig.owner(tunnel)).inject(batch);
}

TEST(Policing, EachDirectionHasItsOwnRate) {
  WorkerRig rig({.workers = 2});
  limit(rig, 1, {.in = kFifty, .out = {}});
  flood_out(rig, 1, 200);
  ASSERT_TRUE(await_all(rig, 1, 200));
  EXPECT_EQ(passed(rig, 1), 200u);
  flood_in(rig, 1, 200);
  ASSERT_TRUE(await_all(rig, 1, 400));
  const TunnelTotals totals = rig.workers().totals(WorkerRig::slot(1));
  EXPECT_GE(totals.in_packets, 50u);
  EXPECT_LE(totals.in_packets, 50u + kEarned);
  EXPECT_EQ(totals.in_drops[GW_DROP_RATE_TUNNEL], 200 - totals.in_packets);
  EXPECT_EQ(totals.out_drops[GW_DROP_RATE_TUNNEL], 0u);
  EXPECT_TRUE(rig.all_frames_are_free());
}

TEST(Policing, OneTunnelsRateIsNotAnothers) {
  WorkerRig rig({.workers = 2});
  limit(rig, 1, {.in = {}, .out = kFifty});
  for (const std::size_t tunnel : {1u, 2u}) flood_out(rig, tunnel, 300);
  for (const std::size_t tunnel : {1u, 2u}) ASSERT_TRUE(await_all(rig, tunnel, 300));
  EXPECT_LE(passed(rig, 1), 50u + kEarned);
  EXPECT_EQ(passed(rig, 2), 300u);
}

TEST(Policing, TakenAwayTheRateIsGone) {
  WorkerRig rig({.workers = 1});
  limit(rig, 1, {.in = {}, .out = kFifty});
  flood_out(rig, 1, 100);
  ASSERT_TRUE(await_all(rig, 1, 100));
  const std::uint64_t before = passed(rig, 1);
  limit(rig, 1, {});
  flood_out(rig, 1, 500);
  ASSERT_TRUE(await_all(rig, 1, 600));
  EXPECT_EQ(passed(rig, 1), before + 500);
}

// The gateway's rate: a tunnel that wants all of it leaves the others their shares.
TEST(Policing, AGreedyTunnelLeavesTheOthersTheirShareOfTheGateway) {
  WorkerRig rig({.workers = 2, .tunnels = 4});
  rig.workers().shared().rate_out.set({4000, 200 * kSize});
  const ip::ByteRate share{1000, 40 * kSize};
  rig.workers().call_all([&](DataPath& d) { d.set_share({.in = {}, .out = share}); });
  flood_out(rig, 1, 2000);
  ASSERT_TRUE(await_all(rig, 1, 2000));
  const std::uint64_t greedy = passed(rig, 1);
  EXPECT_GE(greedy, 190u) << "nobody else wanted any";
  EXPECT_LE(greedy, 200u + 40u + kEarned);
  EXPECT_GE(drops(rig, 1, GW_DROP_RATE_GATEWAY), 2000 - 240 - kEarned);
  EXPECT_EQ(drops(rig, 1, GW_DROP_RATE_TUNNEL), 0u);
  for (const std::size_t tunnel : {0u, 2u, 3u}) {
    flood_out(rig, tunnel, 40);
    ASSERT_TRUE(await_all(rig, tunnel, 40));
    EXPECT_EQ(passed(rig, tunnel), 40u) << tunnel;
  }
}

TEST(Policing, WithoutAGatewayRateThereIsNoShare) {
  WorkerRig rig({.workers = 1});
  rig.workers().shared().rate_out.set({1000, 1000});
  rig.workers().call_all([&](DataPath& d) { d.set_share({.in = {}, .out = {1000, 1000}}); });
  rig.workers().shared().rate_out.set({});
  rig.workers().call_all([&](DataPath& d) { d.set_share({}); });
  flood_out(rig, 1, 300);
  ASSERT_TRUE(await_all(rig, 1, 300));
  EXPECT_EQ(passed(rig, 1), 300u);
}

/// Forged: of a tunnel's SA, and not by its peer.
Bytes forged(WorkerRig& rig, std::size_t tunnel, std::size_t size, std::uint8_t tos) {
  Bytes inner = rig.from_site(tunnel, 1, size);
  inner[1] = tos;
  store_be(&inner[10], std::uint16_t{0});
  store_be(&inner[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(inner.data(), 20))));
  Bytes sealed = rig.seal(tunnel, inner);
  sealed.back() ^= 1;
  return sealed;
}

// A packet that is dropped for its ICV was decrypted; one that is dropped for the rate was not.
TEST(Policing, WhoIsOverHisRateIsNotDecryptedWhileTheWorkerDoesNotKeepUp) {
  WorkerRig rig({.workers = 1});
  limit(rig, 1, {.in = kFifty, .out = {}});
  flood_in(rig, 1, 100);
  ASSERT_TRUE(await_all(rig, 1, 100));
  const std::uint64_t over = drops(rig, 1, GW_DROP_RATE_TUNNEL);
  constexpr std::size_t kBefore = 16 * kBurst;  // the bursts that tell it
  constexpr std::size_t kLater = 1000;
  constexpr std::size_t kExpress = 40;
  std::vector<Bytes> batch;
  for (std::size_t i = 0; i < kBefore + kLater; ++i) batch.push_back(forged(rig, 1, kSize, 0));
  for (std::size_t i = 0; i < kExpress; ++i) batch.push_back(forged(rig, 1, kSize, 48 << 2));
  for (std::size_t i = 0; i < kExpress; ++i) batch.push_back(forged(rig, 1, 100, 0));
  rig.wan(0).inject(batch);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  const auto all = [&] { return drops(rig, 1, GW_DROP_RATE_TUNNEL) - over + drops(rig, 1, GW_DROP_ICV); };
  while (all() < batch.size() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(2ms);
  EXPECT_EQ(all(), batch.size());
  EXPECT_GE(drops(rig, 1, GW_DROP_RATE_TUNNEL) - over, kLater - kEarned);
  EXPECT_GE(drops(rig, 1, GW_DROP_ICV), kBefore - kBurst + 2 * kExpress);
  EXPECT_TRUE(rig.all_frames_are_free());
}

/// A packet for ourselves: its ports, and where it goes.
Bytes for_us(Bytes packet, std::uint8_t protocol, std::uint16_t port) {
  packet[9] = protocol;
  store_be(&packet[16], kOurAddress);
  store_be(&packet[22], port);
  store_be(&packet[10], std::uint16_t{0});
  store_be(&packet[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(packet.data(), 20))));
  return packet;
}

// The tunnel's device, by a socket: what is written to it is what the kernel got.
class WithDevice {
 public:
  WithDevice(WorkerRig& rig, std::size_t tunnel) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds_), 0);
    rig.route({*Prefix::parse("10.1.0.200/32"), {GW_NEXT_HOP_LOCAL, {}, {}}});
    rig.workers().call(WorkerRig::slot(tunnel), [&](DataPath& d) {
      TunnelConfig config = d.tunnel(WorkerRig::slot(tunnel));
      config.tun_fd = fds_[0];
      d.set_tunnel(WorkerRig::slot(tunnel), config);
    });
  }
  ~WithDevice() {
    for (const int fd : fds_) ::close(fd);
  }
  std::size_t take() {
    std::size_t n = 0;
    for (Bytes packet(2000); ::read(fds_[1], packet.data(), packet.size()) > 0;) ++n;
    return n;
  }

 private:
  int fds_[2] = {-1, -1};
};

TEST(Policing, BgpAndBfdForUsPassWhateverTheRate) {
  WorkerRig rig({.workers = 1});
  std::uint64_t sent = 0;
  std::size_t arrived = 0;
  {
    WithDevice device(rig, 1);
    limit(rig, 1, {.in = kFifty, .out = {}});
    flood_in(rig, 1, 200);
    sent += 200;
    ASSERT_TRUE(await_all(rig, 1, sent));
    const std::uint64_t dropped = drops(rig, 1, GW_DROP_RATE_TUNNEL);
    for (int i = 0; i < 30; ++i) {
      rig.wan(0).inject(std::vector{rig.seal(1, for_us(rig.from_site(1, 1, 100), 17, 3784)),
                                    rig.seal(1, for_us(rig.from_site(1, 1, 100), 6, 179))});
      sent += 2;
      ASSERT_TRUE(await_all(rig, 1, sent));
      arrived += device.take();
    }
    EXPECT_EQ(arrived, 60u);
    EXPECT_EQ(drops(rig, 1, GW_DROP_RATE_TUNNEL), dropped);
    // Not everything for us: a flood of pings is a flood.
    for (int i = 0; i < 100; ++i)
      rig.wan(0).inject(std::vector<Bytes>{rig.seal(1, for_us(rig.from_site(1, 1, kSize), 17, 53))});
    sent += 100;
    ASSERT_TRUE(await_all(rig, 1, sent));
    EXPECT_GE(drops(rig, 1, GW_DROP_RATE_TUNNEL), dropped + 100 - kEarned);
    limit(rig, 1, {});
    rig.workers().call(WorkerRig::slot(1), [](DataPath& d) {
      TunnelConfig config = d.tunnel(WorkerRig::slot(1));
      config.tun_fd = -1;
      d.set_tunnel(WorkerRig::slot(1), config);
    });
  }
}

}  // namespace
}  // namespace gw::worker
