// Two workers at work, with real hand-over between them; the ports are memory, the peer is a codec here.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::MemoryPort;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

/// What comes out of these ports until there are `wanted`.
std::vector<Bytes> collect(const std::vector<MemoryPort*>& ports, std::size_t wanted) {
  std::vector<Bytes> all;
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       all.size() < wanted && std::chrono::steady_clock::now() < end;) {
    for (MemoryPort* port : ports)
      for (Bytes& packet : port->take_sent()) all.push_back(std::move(packet));
    std::this_thread::sleep_for(1ms);
  }
  return all;
}

std::uint64_t handed_over(WorkerRig& rig) {
  std::uint64_t all = 0;
  for (const auto& worker : rig.workers().all()) all += worker->counters().handed_over.get();
  return all;
}

/// Sends in pieces that the hand-over rings take.
constexpr std::size_t kPiece = 256;

class WorkersTest : public testing::TestWithParam<MemoryPort::Lending> {
 protected:
  WorkerRig rig_{{.lending = GetParam()}};
  std::vector<MemoryPort*> wan_{&rig_.wan(0), &rig_.wan(1)};
  std::vector<MemoryPort*> vnet_{&rig_.vnet(0), &rig_.vnet(1)};
};
INSTANTIATE_TEST_SUITE_P(Memory, WorkersTest,
                         testing::Values(MemoryPort::Lending::kFrames, MemoryPort::Lending::kBorrowed),
                         [](const auto& test) {
                           return test.param == MemoryPort::Lending::kFrames ? "frames" : "borrowed";
                         });

TEST_P(WorkersTest, TunnelsAreDealtEvenly) {
  EXPECT_EQ(rig_.workers().load(0), 4U);
  EXPECT_EQ(rig_.workers().load(1), 4U);
}

TEST_P(WorkersTest, OutboundIsSentByTheOwnerInOrderAndOnce) {
  constexpr std::uint32_t kEach = 400;
  std::map<std::size_t, std::uint32_t> next;
  for (std::uint32_t begin = 0; begin < kEach; begin += 32) {
    // Both workers receive packets of every tunnel; of one tunnel one queue at a time, as receive-side scaling does.
    for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) {
      std::vector<Bytes> packets;
      for (std::uint32_t i = begin; i < std::min(begin + 32, kEach); ++i) packets.push_back(rig_.to_site(tunnel, i));
      vnet_[tunnel / 2 % 2]->inject(packets);
    }
    const std::size_t expected = 8 * (std::min(begin + 32, kEach) - begin);
    for (const Bytes& wire : collect(wan_, expected)) {
      const Bytes inner = rig_.open(wire);
      ASSERT_FALSE(inner.empty()) << "not authentic, or sent twice";
      ASSERT_EQ(WorkerRig::number_of(inner), next[WorkerRig::tunnel_of(inner)]++) << "out of order";
    }
  }
  for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) {
    EXPECT_EQ(next[tunnel], kEach) << "tunnel " << tunnel;
    EXPECT_EQ(rig_.workers().totals(WorkerRig::slot(tunnel)).out_packets, kEach);
  }
  // Tunnels go to the workers in turn, queues change every second tunnel: half of them meet the wrong worker.
  EXPECT_EQ(handed_over(rig_), 4 * kEach);
  EXPECT_TRUE(rig_.all_frames_are_free());
}

TEST_P(WorkersTest, InboundIsDecryptedByTheOwner) {
  constexpr std::uint32_t kEach = 400;
  std::map<std::size_t, std::set<std::uint32_t>> got;
  for (std::uint32_t i = 0; i < kEach; i += 16) {
    for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) {
      std::vector<Bytes> packets;
      for (std::uint32_t k = i; k < i + 16; ++k) packets.push_back(rig_.seal(tunnel, rig_.from_site(tunnel, k)));
      wan_[tunnel / 2 % 2]->inject(packets);
    }
    for (const Bytes& inner : collect(vnet_, 8 * 16))
      EXPECT_TRUE(got[WorkerRig::tunnel_of(inner)].insert(WorkerRig::number_of(inner)).second) << "twice";
  }
  for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) EXPECT_EQ(got[tunnel].size(), kEach);
  EXPECT_EQ(handed_over(rig_), 4 * kEach);
  EXPECT_TRUE(rig_.all_frames_are_free());
}

TEST_P(WorkersTest, ReplayOnTheOtherQueueIsRefused) {
  const Bytes wire = rig_.seal(0, rig_.from_site(0, 1));
  wan_[0]->inject({{wire}});
  ASSERT_EQ(collect(vnet_, 1).size(), 1U);
  wan_[1]->inject({{wire}});
  for (int i = 0; i < 1000 && rig_.workers().totals(0).in_drops[GW_DROP_REPLAY] == 0; ++i)
    std::this_thread::sleep_for(1ms);
  EXPECT_EQ(rig_.workers().totals(0).in_drops[GW_DROP_REPLAY], 1U);
  EXPECT_TRUE(rig_.all_frames_are_free());
}

TEST_P(WorkersTest, AFullRingIsACountedDrop) {
  const std::size_t tunnel = rig_.owner(0) == 1 ? 0 : 1;  // owned by worker 1
  constexpr std::size_t kMany = kHandoverPlaces + 500;
  std::vector<Bytes> packets;
  for (std::uint32_t i = 0; i < kMany; ++i) packets.push_back(rig_.to_site(tunnel, i));
  // Its owner does not come to it: as a worker that was descheduled.
  rig_.workers()[1].call([&](DataPath&) {
    vnet_[0]->inject(packets);
    for (int i = 0; i < 5000 && rig_.workers().totals(WorkerRig::slot(tunnel)).out_drops[GW_DROP_HANDOVER_FULL] < 500;
         ++i)
      std::this_thread::sleep_for(1ms);
  });
  EXPECT_EQ(collect(wan_, kHandoverPlaces).size(), kHandoverPlaces);
  const TunnelTotals totals = rig_.workers().totals(WorkerRig::slot(tunnel));
  EXPECT_EQ(totals.out_packets, kHandoverPlaces);
  EXPECT_EQ(totals.out_drops[GW_DROP_HANDOVER_FULL], 500U) << "every packet is sent or counted";
  EXPECT_TRUE(rig_.all_frames_are_free());
}

TEST(Workers, NoFrameForAHandOverIsACountedDrop) {
  WorkerRig small({.frames_each = 64, .lending = MemoryPort::Lending::kBorrowed});
  const std::size_t tunnel = small.owner(0) == 1 ? 0 : 1;
  std::vector<Bytes> packets;
  for (std::uint32_t i = 0; i < 200; ++i) packets.push_back(small.to_site(tunnel, i));
  small.workers()[1].call([&](DataPath&) {
    small.vnet(0).inject(packets);
    for (int i = 0; i < 5000 && small.workers().totals(WorkerRig::slot(tunnel)).out_drops[GW_DROP_NO_FRAME] < 136; ++i)
      std::this_thread::sleep_for(1ms);
  });
  EXPECT_EQ(collect({&small.wan(0), &small.wan(1)}, 64).size(), 64U);
  EXPECT_EQ(small.workers().totals(WorkerRig::slot(tunnel)).out_drops[GW_DROP_NO_FRAME], 136U);
  EXPECT_TRUE(small.all_frames_are_free());
}

// SAs come and go under traffic of both directions on both workers; every packet that went in is delivered or counted.
TEST_P(WorkersTest, SasComeAndGoUnderTraffic) {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  for (std::uint32_t round = 0; round < 40; ++round) {
    for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) {
      std::vector<Bytes> outbound;
      std::vector<Bytes> inbound;
      for (std::uint32_t i = 0; i < 8; ++i) {
        outbound.push_back(rig_.to_site(tunnel, i));
        inbound.push_back(rig_.seal(tunnel, rig_.from_site(tunnel, i)));
      }
      vnet_[(tunnel + round) % 2]->inject(outbound);
      wan_[(tunnel + round) % 2]->inject(inbound);
      out += outbound.size();
      in += inbound.size();
    }
    const std::size_t changed = round % 8;
    rig_.remove(changed);
    rig_.install(changed);
  }
  const auto counted = [&] {
    std::uint64_t all = 0;
    for (std::size_t tunnel = 0; tunnel < 8; ++tunnel) {
      const TunnelTotals t = rig_.workers().totals(WorkerRig::slot(tunnel));
      all += t.in_packets + t.out_packets;
      for (std::size_t i = 0; i < GW_DROP_COUNT; ++i) all += t.in_drops[i] + t.out_drops[i];
    }
    for (const auto& worker : rig_.workers().all())
      for (const Counter& c : worker->counters().drops) all += c.get();
    return all;
  };
  // Parked packets of an SPI that is gone are dropped after a second.
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       counted() < in + out && std::chrono::steady_clock::now() < end;)
    std::this_thread::sleep_for(5ms);
  EXPECT_EQ(counted(), in + out);
  EXPECT_TRUE(rig_.all_frames_are_free());
}

TEST(Workers, GraceCoversAllOfThem) {
  WorkerRig rig({.workers = 3, .tunnels = 3});
  std::atomic<int> ran{0};
  rig.workers().call_all([&](DataPath&) { ++ran; });
  EXPECT_EQ(ran.load(), 3);
  rig.workers().quiesce();
}

TEST(Workers, SleepingWorkersAreWokenByAHandOver) {
  WorkerRig rig({});
  std::this_thread::sleep_for(50ms);  // both sleep
  const std::size_t tunnel = rig.owner(0) == 1 ? 0 : 1;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint32_t i = 0; i < 20; ++i) {
    rig.vnet(0).inject({{rig.to_site(tunnel, i)}});
    ASSERT_EQ(collect({&rig.wan(0), &rig.wan(1)}, 1).size(), 1U);
    std::this_thread::sleep_for(2ms);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, kPatience / 2);
}

// The control side frees SAs and devices after this.
TEST_P(WorkersTest, NothingMovesAfterStop) {
  vnet_[0]->inject(std::vector<Bytes>{rig_.to_site(0, 1)});
  ASSERT_EQ(collect(wan_, 1).size(), 1U);
  rig_.workers().stop();
  vnet_[0]->inject(std::vector<Bytes>{rig_.to_site(0, 2)});
  std::this_thread::sleep_for(10ms);
  EXPECT_EQ(vnet_[0]->waiting(), 1U);
  std::vector<std::thread::id> ran_on;
  rig_.workers().call_all([&](DataPath&) { ran_on.push_back(std::this_thread::get_id()); });
  rig_.workers().call(WorkerRig::slot(0), [&](DataPath&) { ran_on.push_back(std::this_thread::get_id()); });
  EXPECT_EQ(ran_on, std::vector(3, std::this_thread::get_id()));
  rig_.workers().stop();
}

}  // namespace
}  // namespace gw::worker
