// BPF gave a packet to a worker for a tunnel, and its route moved to a neighbour before the worker looked: it goes
// there, by BPF's rules. The race is made, not waited for: the table has changed before the port gives the packet.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <chrono>
#include <thread>

#include "base/wire.hpp"
#include "ebpf/abi/gates.h"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/worker/shared.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::MemoryPort;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

constexpr net::MacAddress kOurs{2, 0, 0, 0, 0, 1};
constexpr net::MacAddress kHost{2, 0, 0, 0, 0, 2};
constexpr net::MacAddress kGatewayMac{2, 0, 0, 0, 0, 3};
const IpAddress kGateway = *IpAddress::parse("10.1.0.9");
const IpAddress kGateway6 = *IpAddress::parse("2001:db8:1::9");

Bytes frame_of(const net::MacAddress& from, const Bytes& packet) {
  Bytes frame(kOurs.begin(), kOurs.end());
  frame.insert(frame.end(), from.begin(), from.end());
  frame.push_back(packet[0] >> 4 == 4 ? 0x08 : 0x86);
  frame.push_back(packet[0] >> 4 == 4 ? 0x00 : 0xdd);
  frame.insert(frame.end(), packet.begin(), packet.end());
  return frame;
}

Bytes with_address(Bytes packet, std::size_t at, std::uint32_t address) {
  store_be(&packet[10], std::uint16_t{0});
  store_be(&packet[at], address);
  store_be(&packet[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(packet.data(), 20))));
  return packet;
}
Bytes with_source(Bytes packet, std::uint32_t address) { return with_address(std::move(packet), 12, address); }
Bytes with_destination(Bytes packet, std::uint32_t address) { return with_address(std::move(packet), 16, address); }
constexpr std::uint32_t kSite = 0x0a090005;       // behind tunnel 0
constexpr std::uint32_t kElsewhere = 0x0a320005;  // 10.50.0.5: not the VNet's
constexpr std::uint32_t kOfTheLink = 0xa9fe0105;  // 169.254.1.5

/// From 2001:db8:1::5 to 2001:db8:9::5.
Bytes packet_v6() {
  Bytes p(60);
  p[0] = 0x60;
  p[5] = 20;
  p[6] = 17;
  p[7] = 63;
  std::ranges::copy(IpAddress::parse("2001:db8:1::5")->bytes(), p.begin() + 8);
  std::ranges::copy(IpAddress::parse("2001:db8:9::5")->bytes(), p.begin() + 24);
  p[45] = 20;
  return p;
}

/// A vnet port as an xsk port has it: Ethernet, frames.
class EthernetPort final : public Port {
 public:
  explicit EthernetPort(FramePool& frames)
      : Port(Framing::kEthernet), frames_(frames), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), fd_(event_.get()) {
    set_link({.ifindex = 1, .name = "test", .mac = kOurs, .mtu = 1500, .up = true});
  }
  void inject(const std::vector<Bytes>& frames) {
    const std::scoped_lock lock(mutex_);
    incoming_ = frames;
    (void)::eventfd_write(event_.get(), 1);
  }
  std::vector<Bytes> take_sent() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(sent_, {});
  }
  void receive(Burst& burst) override {
    const std::scoped_lock lock(mutex_);
    eventfd_t value = 0;
    (void)::eventfd_read(event_.get(), &value);
    for (const Bytes& packet : std::exchange(incoming_, {})) {
      const std::size_t i = burst.add();
      ASSERT_TRUE(frames_.take(burst.meta[i].frame));
      std::uint8_t* const base = frames_.at(burst.meta[i].frame);
      std::ranges::copy(packet, base + kHeadroom);
      burst.packets[i] = {.base = base,
                          .capacity = frames_.memory().frame_bytes(),
                          .offset = kHeadroom,
                          .length = static_cast<std::uint32_t>(packet.size())};
    }
  }
  bool maintain() override { return false; }
  std::span<const int> fds() const override { return {&fd_, 1}; }
  Losses losses() const override { return {}; }

 protected:
  void send(std::span<Outgoing> packets) override {
    const std::scoped_lock lock(mutex_);
    for (const Outgoing& packet : packets) sent_.emplace_back(packet.data, packet.data + packet.length);
  }
  void settle(std::span<const Outgoing> packets) override {
    for (const Outgoing& packet : packets) frames_.give(packet.frame);
  }

 private:
  FramePool& frames_;
  Fd event_;
  int fd_;
  std::mutex mutex_;
  std::vector<Bytes> incoming_;
  std::vector<Bytes> sent_;
};

enum class Circuit : std::uint8_t { kNone, kThere };

class MovedTest : public testing::Test {
 protected:
  void begin(Circuit circuit) {
    WorkerRig::Options options{.workers = 1, .tunnels = 2, .frames_each = 256};
    options.make_vnet = [this](FramePool& pool, WorkerIndex) {
      auto port = std::make_unique<EthernetPort>(pool);
      vnet_ = port.get();
      return port;
    };
    if (circuit == Circuit::kThere)
      options.make_circuit = [this](FramePool& pool, WorkerIndex) {
        auto port = std::make_unique<MemoryPort>(pool, MemoryPort::Lending::kBorrowed);
        circuit_ = port.get();
        return port;
      };
    rig_.emplace(options);
  }
  /// The site behind tunnel 0 is now behind a gateway.
  void move(gw_next_hop_kind kind, gw_zone behind = GW_ZONE_VNET) {
    rig_->route({*Prefix::parse("10.9.0.0/24"), {kind, {}, {kGateway}, behind}});
    rig_->route({*Prefix::parse("2001:db8:9::/48"), {kind, {}, {kGateway6}, behind}});
  }
  /// The endpoint of tunnel 0 is another instance's since a moment ago: packets for it wait.
  void hand_over() {
    auto& gates = rig_->workers().shared().gates;
    const GateIndex gate = gates.take();
    gates.set_receive_until(gate, GW_GATE_FOREVER);
    rig_->workers().call(WorkerRig::slot(0), [&](DataPath& d) {
      ActiveSa active = d.active(WorkerRig::slot(0));
      active.gate = gate;
      d.activate(WorkerRig::slot(0), active);
    });
  }
  bool one_waits() {
    const auto& waited = rig_->workers()[0].counters().waited;
    for (const auto end = std::chrono::steady_clock::now() + kPatience;
         waited.get() == 0 && std::chrono::steady_clock::now() < end;)
      std::this_thread::sleep_for(1ms);
    return waited.get() == 1;
  }
  void know_gateway() {
    for (const IpAddress& address : {kGateway, kGateway6}) {
      Neighbour neighbour;
      neighbour.header.length = kEthernetBytes;
      std::ranges::copy(kGatewayMac, neighbour.header.bytes.begin());
      std::ranges::copy(kOurs, neighbour.header.bytes.begin() + 6);
      rig_->workers().shared().neighbours.insert(address, std::move(neighbour));
    }
  }
  template <class Port>
  static std::vector<Bytes> sent(Port& port, std::size_t wanted) {
    std::vector<Bytes> all;
    for (const auto end = std::chrono::steady_clock::now() + kPatience;
         all.size() < wanted && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms))
      for (Bytes& packet : port.take_sent()) all.push_back(std::move(packet));
    return all;
  }
  std::uint64_t drops(gw_drop reason) {
    const auto& counter = rig_->workers()[0].counters().drops[reason];
    for (const auto end = std::chrono::steady_clock::now() + kPatience;
         counter.get() == 0 && std::chrono::steady_clock::now() < end;)
      std::this_thread::sleep_for(1ms);
    return counter.get();
  }
  std::uint64_t moved() { return rig_->workers()[0].counters().moved.get(); }
  /// Neither sent nor kept, but dropped for this reason.
  void expect_refused(gw_drop reason) {
    EXPECT_EQ(drops(reason), 1U);
    EXPECT_TRUE(vnet_->take_sent().empty());
    EXPECT_TRUE(rig_->wan(0).take_sent().empty());
    if (circuit_) {
      EXPECT_TRUE(circuit_->take_sent().empty());
    }
    EXPECT_EQ(moved(), 0U);
    EXPECT_TRUE(rig_->all_frames_are_free());
  }

  std::optional<WorkerRig> rig_;
  EthernetPort* vnet_ = nullptr;
  MemoryPort* circuit_ = nullptr;
};

TEST_F(MovedTest, ToTheCircuit) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_CIRCUIT);
  const Bytes v4 = rig_->to_site(0, 7);
  vnet_->inject({frame_of(kHost, v4), frame_of(kHost, rig_->to_site(1, 8)), frame_of(kHost, packet_v6())});
  // The program on the circuit's data TUN counts the hop: the packets are as they came.
  EXPECT_EQ(sent(*circuit_, 2), (std::vector<Bytes>{v4, packet_v6()}));
  EXPECT_EQ(moved(), 2U);
  const auto tunnel = sent(rig_->wan(0), 1);
  ASSERT_EQ(tunnel.size(), 1U);
  EXPECT_EQ(WorkerRig::number_of(rig_->open(tunnel[0])), 8U) << "its neighbour in the burst went its own way";
  EXPECT_TRUE(rig_->all_frames_are_free());
}

TEST_F(MovedTest, ToAGatewayOfTheVnet) {
  begin(Circuit::kNone);
  move(GW_NEXT_HOP_VNET, GW_ZONE_CIRCUIT);
  know_gateway();
  vnet_->inject({frame_of(kHost, rig_->to_site(0, 7)), frame_of(kHost, packet_v6())});
  const auto frames = sent(*vnet_, 2);
  ASSERT_EQ(frames.size(), 2U);
  for (const Bytes& frame : frames) {
    EXPECT_TRUE(std::equal(kGatewayMac.begin(), kGatewayMac.end(), frame.begin()));
    EXPECT_TRUE(std::equal(kOurs.begin(), kOurs.end(), frame.begin() + 6));
    const std::uint8_t* const ip = frame.data() + kEthernetBytes;
    const bool v4 = ip[0] >> 4 == 4;
    EXPECT_EQ(load_be<std::uint16_t>(frame.data() + 12), v4 ? 0x0800 : 0x86dd);
    EXPECT_EQ(ip[v4 ? 8 : 7], 62) << "one hop";
    if (v4) {
      EXPECT_EQ(esp::fold16(esp::sum16(ip, 20)), 0xffff) << "checksum";
    }
  }
  EXPECT_EQ(moved(), 2U);
  EXPECT_TRUE(rig_->all_frames_are_free());
}

TEST_F(MovedTest, NeverBackToWhomItCameFrom) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_VNET, GW_ZONE_TUNNELS);
  know_gateway();
  vnet_->inject({frame_of(kGatewayMac, rig_->to_site(0, 7))});
  expect_refused(GW_DROP_HAIRPIN);
}

TEST_F(MovedTest, NeverBackIntoTheCircuit) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_CIRCUIT);
  circuit_->inject({{with_source(rig_->to_site(0, 7), kElsewhere)}});
  expect_refused(GW_DROP_HAIRPIN);
}

TEST_F(MovedTest, FromTheCircuitToAnotherInstancesTunnelsIsTransit) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_VNET, GW_ZONE_TUNNELS);
  know_gateway();
  const Bytes packet = with_source(rig_->to_site(0, 7), kElsewhere);
  circuit_->inject({{packet}});
  expect_refused(GW_DROP_TRANSIT_CLOSED);
  rig_->workers().shared().circuit_transit = true;
  circuit_->inject({{packet}});
  EXPECT_EQ(sent(*vnet_, 1).size(), 1U);
}

TEST_F(MovedTest, WhatWaitedIsJudgedAsComingFromTheCircuit) {
  begin(Circuit::kThere);
  rig_->workers().shared().circuit_transit = true;
  hand_over();
  circuit_->inject({{with_source(rig_->to_site(0, 7), kElsewhere)}});
  ASSERT_TRUE(one_waits());
  move(GW_NEXT_HOP_CIRCUIT);
  expect_refused(GW_DROP_HAIRPIN);
}

TEST_F(MovedTest, WhatWaitedIsJudgedAsComingFromATunnel) {
  begin(Circuit::kThere);
  hand_over();
  rig_->wan(0).inject({{rig_->seal(1, with_destination(rig_->from_site(1, 7), kSite))}});
  ASSERT_TRUE(one_waits());
  move(GW_NEXT_HOP_CIRCUIT);
  expect_refused(GW_DROP_TRANSIT_CLOSED);
}

TEST_F(MovedTest, NobodyOnTheCircuitSpeaksForTheVnet) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_VNET);
  know_gateway();
  circuit_->inject({{rig_->to_site(0, 7)}});
  expect_refused(GW_DROP_SPOOFED_SOURCE);
}

TEST_F(MovedTest, WhatIsOfTheLinkStaysThere) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_CIRCUIT);
  vnet_->inject({frame_of(kHost, with_source(rig_->to_site(0, 7), kOfTheLink))});
  expect_refused(GW_DROP_SPOOFED_SOURCE);
}

TEST_F(MovedTest, AGatewayThatIsNotKnownIsTheKernels) {
  begin(Circuit::kThere);
  move(GW_NEXT_HOP_VNET);
  const Bytes packet = rig_->to_site(0, 7);
  vnet_->inject({frame_of(kHost, packet)});
  EXPECT_EQ(sent(*circuit_, 1), (std::vector<Bytes>{packet})) << "by a data TUN, as it came";
  EXPECT_TRUE(rig_->all_frames_are_free());
}

TEST_F(MovedTest, WithoutAWayToTheKernelItIsADropWithAName) {
  begin(Circuit::kNone);
  move(GW_NEXT_HOP_VNET);
  vnet_->inject({frame_of(kHost, rig_->to_site(0, 7))});
  expect_refused(GW_DROP_NO_NEIGHBOUR);
}

TEST_F(MovedTest, WithoutAnyRouteTheSenderIsRefused) {
  begin(Circuit::kThere);
  rig_->route({*Prefix::parse("10.9.0.0/24"), {GW_NEXT_HOP_KERNEL, {}, {}, GW_ZONE_VNET}});
  vnet_->inject({frame_of(kHost, rig_->to_site(0, 7))});
  expect_refused(GW_DROP_NO_ROUTE);
}

/// As on gso ports: packets are at their IP header, in memory of the port; the data TUN's program sends them.
TEST(MovedOnGsoPortsTest, ToAGatewayOfTheVnet) {
  WorkerRig rig({.workers = 1, .tunnels = 1, .frames_each = 64, .lending = MemoryPort::Lending::kBorrowed});
  rig.route({*Prefix::parse("10.9.0.0/24"), {GW_NEXT_HOP_VNET, {}, {kGateway}, GW_ZONE_CIRCUIT}});
  const Bytes packet = rig.to_site(0, 7);
  rig.vnet(0).inject({{packet}});
  std::vector<Bytes> got;
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       got.empty() && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms))
    got = rig.vnet(0).take_sent();
  EXPECT_EQ(got, (std::vector<Bytes>{packet}));
  EXPECT_EQ(rig.workers()[0].counters().moved.get(), 1U);
  EXPECT_TRUE(rig.all_frames_are_free());
}

}  // namespace
}  // namespace gw::worker
