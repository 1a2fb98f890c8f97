// What workers tell of their load: sizes of bursts, how long packets take, CPU time; and who counts what was handed
// over.
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

template <std::size_t N>
std::uint64_t total(const std::array<Counter, N>& counters) {
  return std::accumulate(counters.begin(), counters.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Counter& c) { return sum + c.get(); });
}

template <class Condition>
bool comes_true(Condition condition) {
  for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(100us);
  }
  return condition();
}

/// One packet after the other, each a burst of its own at worker 0; until it has left by either worker.
void send_singly(WorkerRig& rig, std::size_t tunnel, std::uint32_t packets) {
  const WorkerCounters& receiver = rig.workers()[0].counters();
  const WorkerCounters& owner = rig.workers().owner(WorkerRig::slot(tunnel)).counters();
  for (std::uint32_t i = 0; i < packets; ++i) {
    const std::uint64_t bursts = receiver.bursts.get();
    const std::uint64_t taken = owner.taken_over.get();
    rig.vnet(0).inject(std::vector<Bytes>{rig.to_site(tunnel, i)});
    ASSERT_TRUE(comes_true([&] { return receiver.bursts.get() == bursts + 1; }));
    if (rig.owner(tunnel) == 0) continue;
    ASSERT_TRUE(comes_true([&] { return owner.taken_over.get() == taken + 1; }));
  }
}

std::size_t tunnel_of_worker(WorkerRig& rig, WorkerIndex worker) {
  for (std::size_t tunnel = 0; tunnel < 8; ++tunnel)
    if (rig.owner(tunnel) == worker) return tunnel;
  ADD_FAILURE() << "no tunnel of worker " << int{worker};
  return 0;
}

TEST(LatencyClass, DoublesFromHalfAMicrosecond) {
  EXPECT_EQ(latency_class(0), 0U);
  EXPECT_EQ(latency_class(1), 0U);
  EXPECT_EQ(latency_class(500), 0U);
  for (std::size_t i = 1; i < kLatencyClasses - 1; ++i) {
    EXPECT_EQ(latency_class(kShortestLatencyNs << i), i) << "the bound is in its class";
    EXPECT_EQ(latency_class((kShortestLatencyNs << i) + 1), i + 1) << "and nothing beyond it";
  }
  EXPECT_EQ(latency_class(~std::uint64_t{0} / 2), kLatencyClasses - 1);
}

TEST(BurstClass, HasTheSizesThatItsNamesSay) {
  constexpr std::array<std::size_t, kBurstClasses> kUpTo{1, 2, 4, 8, 16, 32, 64};
  for (std::size_t i = 0, n = 1; n <= kBurst; ++n) {
    if (n > kUpTo[i]) ++i;
    EXPECT_EQ(burst_class(n), i) << n << " packets";
  }
}

TEST(LatencyCounters, KeepTheLongestAndTheSum) {
  LatencyCounters c;
  c.count(400, 3);
  c.count(70'000, 2);
  c.count(900, 1);
  c.count(5'000'000, 0);
  EXPECT_EQ(total(c.packets), 6U);
  EXPECT_EQ(c.packets[0].get(), 3U);
  EXPECT_EQ(c.packets[1].get(), 1U);
  EXPECT_EQ(c.packets[latency_class(70'000)].get(), 2U);
  EXPECT_EQ(c.sum_ns.get(), 3 * 400U + 2 * 70'000U + 900U);
  EXPECT_EQ(c.max_ns.get(), 70'000U) << "nothing was counted for the longest";
}

TEST(LoadCounters, OneBurstInSeventeenIsTimedWhereItsPacketsLeave) {
  WorkerRig rig({});
  constexpr std::uint32_t kBursts = 2 * DataPath::kLatencySample + 1;  // the first, and two more
  const WorkerCounters& own = rig.workers()[0].counters();
  const WorkerCounters& other = rig.workers()[1].counters();

  send_singly(rig, tunnel_of_worker(rig, 0), kBursts);
  EXPECT_EQ(own.burst_sizes[0].get(), kBursts);
  EXPECT_TRUE(comes_true([&] { return total(own.latency.packets) == 3; })) << total(own.latency.packets);
  EXPECT_EQ(total(other.latency.packets), 0U);
  EXPECT_GT(own.latency.max_ns.get(), 0U);
  EXPECT_GE(own.latency.sum_ns.get(), own.latency.max_ns.get());

  // The next ones that are timed are numbers 51, 68 and 85 of all: of the other worker's tunnel.
  send_singly(rig, tunnel_of_worker(rig, 1), 3 * DataPath::kLatencySample);
  EXPECT_TRUE(comes_true([&] { return total(other.latency.packets) == 3; })) << total(other.latency.packets);
  EXPECT_EQ(total(own.latency.packets), 3U) << "what was handed over is not counted twice";
}

TEST(LoadCounters, ABurstCountsAllOfItsPackets) {
  WorkerRig rig({.workers = 1});
  std::vector<Bytes> packets;
  for (std::uint32_t i = 0; i < 32; ++i) packets.push_back(rig.to_site(0, i));
  rig.vnet(0).inject(packets);
  const WorkerCounters& c = rig.workers()[0].counters();
  ASSERT_TRUE(comes_true([&] { return c.bursts.get() == 1; }));
  EXPECT_EQ(c.burst_sizes[burst_class(32)].get(), 1U);
  EXPECT_EQ(c.packets.get(), 32U);
  EXPECT_EQ(total(c.latency.packets), 32U) << "the first burst is timed";
}

TEST(LoadCounters, CpuTimeGrowsWithWorkAndStopsWithTheThread) {
  WorkerRig rig({.workers = 1});
  Worker& worker = rig.workers()[0];
  const std::uint64_t before = worker.cpu_ns();
  send_singly(rig, 0, 200);
  const std::uint64_t after = worker.cpu_ns();
  EXPECT_GT(after, before);
  const WorkerCounters& c = worker.counters();
  // One round in 61 is timed, and about one in 20 has a packet: so it may take a while until one is both.
  EXPECT_TRUE(comes_true([&] {
    send_singly(rig, 0, 20);
    return c.polling_ns.get() > 0 && c.busy_ns.get() > 0;
  }));
  rig.workers().stop();
  const std::uint64_t used = worker.cpu_ns();
  EXPECT_GE(used, after) << "the thread has gone; what it used is not forgotten";
  EXPECT_EQ(worker.cpu_ns(), used);
  worker.count([](WorkerCounters& w) { w.cpu_ns_before.set(77); });
  EXPECT_EQ(worker.cpu_ns(), used + 77) << "that of a process before this one counts";
}

}  // namespace
}  // namespace gw::worker
