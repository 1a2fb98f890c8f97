// A worker's trace of a packet beside what it does with that packet; and that a trace leaves nothing behind.
#include "ebpf/worker/trace.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/wire.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

SendingTrace trace_sending(WorkerRig& rig, std::size_t tunnel, Bytes packet) {
  SendingTrace out;
  rig.workers().call(WorkerRig::slot(tunnel), [&](DataPath& d) {
    const auto length = static_cast<std::uint32_t>(packet.size());
    out = d.trace_sending({.base = packet.data(), .capacity = length, .length = length}, WorkerRig::slot(tunnel));
  });
  return out;
}

std::vector<Bytes> sent(WorkerRig& rig) {
  std::vector<Bytes> all;
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       all.empty() && std::chrono::steady_clock::now() < end;) {
    for (std::size_t w = 0; w < 2; ++w)
      for (Bytes& packet : rig.wan(w).take_sent()) all.push_back(std::move(packet));
    std::this_thread::sleep_for(1ms);
  }
  return all;
}

TEST(Trace, SaysWhatIsSentThen) {
  WorkerRig rig({});
  const Bytes packet = rig.to_site(3, 7, 700);
  const SendingTrace trace = trace_sending(rig, 3, packet);
  EXPECT_EQ(trace.refused, GW_DROP_NONE);
  EXPECT_EQ(trace.step, SendingTrace::Step::kDone);
  rig.vnet(0).inject(std::vector<Bytes>{packet});
  const std::vector<Bytes> wire = sent(rig);
  ASSERT_EQ(wire.size(), 1U);
  EXPECT_EQ(wire[0].size(), trace.outer_bytes);
  // Behind the IPv4 and UDP headers.
  EXPECT_EQ(load_be<std::uint32_t>(&wire[0][28]), trace.spi);
  EXPECT_EQ(load_be<std::uint32_t>(&wire[0][32]), trace.sequence);
  EXPECT_EQ(trace_sending(rig, 3, packet).sequence, trace.sequence + 1)
      << "that packet has taken a number, the trace none";
}

TEST(Trace, LeavesNothingBehind) {
  WorkerRig rig({});
  const TunnelTotals before = rig.workers().totals(WorkerRig::slot(2));
  for (int i = 0; i < 100; ++i) (void)trace_sending(rig, 2, rig.to_site(2, 1, 100));
  rig.remove(2);
  EXPECT_EQ(trace_sending(rig, 2, rig.to_site(2, 1, 100)).refused, GW_DROP_NO_OUTBOUND_SA);
  const TunnelTotals after = rig.workers().totals(WorkerRig::slot(2));
  EXPECT_EQ(after.out_packets, before.out_packets);
  EXPECT_EQ(after.out_drops, before.out_drops);
  EXPECT_EQ(after.last_out_ms, before.last_out_ms);
  EXPECT_FALSE(rig.workers().next_notice()) << "nobody is asked for an SA";
  for (std::size_t w = 0; w < 2; ++w) EXPECT_TRUE(rig.wan(w).take_sent().empty());
  EXPECT_TRUE(rig.all_frames_are_free());
}

TEST(Trace, TooBigAndOutOfHops) {
  WorkerRig rig({});
  const SendingTrace large = trace_sending(rig, 0, rig.to_site(0, 1, 3000));
  EXPECT_EQ(large.refused, GW_DROP_TOO_BIG);
  EXPECT_EQ(large.step, SendingTrace::Step::kSize);
  Bytes last = rig.to_site(0, 1, 100);
  last[8] = 1;
  EXPECT_EQ(trace_sending(rig, 0, last).refused, GW_DROP_TTL);
}

TEST(Trace, ChoosesTheTunnelOfTheRoute) {
  WorkerRig rig({});
  Bytes packet = rig.to_site(5, 1, 100);
  TunnelSlot slot = kNoTunnel;
  rig.workers()[0].call([&](DataPath& d) {
    const auto length = static_cast<std::uint32_t>(packet.size());
    slot = d.trace_choice({.base = packet.data(), .capacity = length, .length = length});
  });
  EXPECT_EQ(slot, WorkerRig::slot(5));
}

}  // namespace
}  // namespace gw::worker
