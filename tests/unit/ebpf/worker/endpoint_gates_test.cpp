// The gates of endpoints: what is open when, and workers that stop at once.
#include "ebpf/worker/endpoint_gates.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "ebpf/abi/drop.h"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;

constexpr MonoTime at(std::chrono::nanoseconds t) { return MonoTime(t); }

class EndpointGatesTest : public testing::Test {
 protected:
  gw_gates memory_{};
  EndpointGates gates_{memory_};
};

TEST_F(EndpointGatesTest, WithoutEndpointsEverythingIsOpen) {
  EXPECT_FALSE(gates_.any());
  EXPECT_EQ(gates_.open_at(at(1s)).send, ~std::uint64_t{0});
  EXPECT_TRUE(gates_.may_send(kNoGate, at(1s)));
}

TEST_F(EndpointGatesTest, ANewPlaceIsClosedAndOthersAreNot) {
  const GateIndex gate = gates_.take();
  ASSERT_NE(gate, kNoGate);
  EXPECT_FALSE(gates_.may_send(gate, at(1s)));
  EXPECT_FALSE(gates_.open_at(at(1s)).may_send(gate));
  EXPECT_FALSE(gates_.open_at(at(1s)).may_receive(gate));
  EXPECT_TRUE(gates_.open_at(at(1s)).may_send(kNoGate));
}

TEST_F(EndpointGatesTest, ADeadlineIsTheFirstMomentThatIsClosed) {
  const GateIndex gate = gates_.take();
  gates_.set(gate, {boot_ns(at(10s)), 5});
  EXPECT_TRUE(gates_.may_send(gate, at(10s - 1ns)));
  EXPECT_FALSE(gates_.may_send(gate, at(10s)));
  EXPECT_FALSE(gates_.open_at(at(10s)).may_send(gate));
}

TEST_F(EndpointGatesTest, TheEmbeddedLeaseClosesAllOfThem) {
  const GateIndex one = gates_.take();
  const GateIndex two = gates_.take();
  for (const GateIndex gate : {one, two}) gates_.set(gate, {GW_GATE_FOREVER, 5});
  gates_.set_lease_until(boot_ns(at(3s)));
  EXPECT_TRUE(gates_.open_at(at(3s - 1ns)).may_send(one));
  EXPECT_FALSE(gates_.open_at(at(3s)).may_send(one));
  EXPECT_FALSE(gates_.open_at(at(3s)).may_send(two));
  EXPECT_TRUE(gates_.open_at(at(3s)).may_send(kNoGate));
}

TEST_F(EndpointGatesTest, AHigherClaimOfTheOtherClosesAndOnlyAHigherOneOfOursOpens) {
  const GateIndex gate = gates_.take();
  gates_.set(gate, {GW_GATE_FOREVER, 5});
  gates_.note_other_claim(gate, 4);
  EXPECT_TRUE(gates_.may_send(gate, at(1s)));
  gates_.note_other_claim(gate, 6);
  EXPECT_FALSE(gates_.may_send(gate, at(1s)));
  gates_.note_other_claim(gate, 3);  // heard late
  EXPECT_FALSE(gates_.may_send(gate, at(1s)));
  gates_.set(gate, {GW_GATE_FOREVER, 5});
  EXPECT_FALSE(gates_.may_send(gate, at(1s)));
  gates_.set(gate, {GW_GATE_FOREVER, 7});
  EXPECT_TRUE(gates_.may_send(gate, at(1s)));
}

TEST_F(EndpointGatesTest, WhatWasHandedOverIsStillReceivedForAWhile) {
  const GateIndex gate = gates_.take();
  gates_.set_receive_until(gate, boot_ns(at(12s)));
  EXPECT_FALSE(gates_.open_at(at(11s)).may_send(gate));
  EXPECT_TRUE(gates_.open_at(at(11s)).may_receive(gate));
  EXPECT_FALSE(gates_.open_at(at(12s)).may_receive(gate));
}

TEST_F(EndpointGatesTest, WhatIsEncryptedLeavesBeforeItIsHandedOver) {
  const GateIndex gate = gates_.take();
  gates_.set(gate, {boot_ns(at(10s)), 5});
  gates_.begin_parting(gate);
  const OpenGates open = gates_.open_at(at(1s));
  EXPECT_FALSE(open.may_send(gate));
  EXPECT_TRUE(open.may_finish(gate));
  EXPECT_TRUE(open.may_receive(gate));
  EXPECT_FALSE(gates_.open_at(at(10s)).may_finish(gate)) << "after the deadline";
  gates_.set(gate, {0, 5});
  EXPECT_FALSE(gates_.open_at(at(1s)).may_finish(gate));
  gates_.set(gate, {GW_GATE_FOREVER, 6});
  EXPECT_TRUE(gates_.open_at(at(1s)).may_send(gate)) << "ours again";
  gates_.begin_parting(gate);
  gates_.note_other_claim(gate, 7);
  EXPECT_FALSE(gates_.open_at(at(1s)).may_finish(gate)) << "a higher claim";
}

TEST_F(EndpointGatesTest, OneOfSeveralSendsNothingBeforeItKnowsWhatIsOurs) {
  const GateIndex gate = gates_.take();
  gates_.set(gate, {GW_GATE_FOREVER, 1});
  gates_.hold();
  EXPECT_TRUE(gates_.any());
  for (const GateIndex g : {kNoGate, gate}) {
    EXPECT_FALSE(gates_.may_send(g, at(1s)));
    EXPECT_FALSE(gates_.open_at(at(1s)).may_send(g));
    EXPECT_FALSE(gates_.open_at(at(1s)).may_receive(g));
  }
  gates_.end_hold();
  for (const GateIndex g : {kNoGate, gate}) EXPECT_TRUE(gates_.open_at(at(1s)).may_send(g));
}

TEST_F(EndpointGatesTest, PlacesEndAndComeBack) {
  for (int i = 1; i < GW_GATES; ++i) ASSERT_NE(gates_.take(), kNoGate) << i;
  EXPECT_EQ(gates_.take(), kNoGate);
  gates_.set(9, {GW_GATE_FOREVER, 1});
  gates_.give(9);
  EXPECT_EQ(gates_.take(), 9);
  EXPECT_FALSE(gates_.may_send(9, at(1s))) << "as new";
  for (int i = 1; i < GW_GATES; ++i) gates_.give(static_cast<GateIndex>(i));
  EXPECT_FALSE(gates_.any());
}

/// Until `done` or a long time has gone.
bool eventually(const auto& done) {
  for (const auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

TEST(Gate, AClosedOneStopsBothDirectionsAndUsesNoSequenceNumber) {
  test::WorkerRig rig({.workers = 1});
  auto& gates = rig.workers().shared().gates;
  const GateIndex gate = gates.take();
  gates.set(gate, {GW_GATE_FOREVER, 1});
  rig.workers().call(rig.slot(0), [&](DataPath& d) {
    ActiveSa active = d.active(rig.slot(0));
    active.gate = gate;
    d.activate(rig.slot(0), active);
  });
  const auto totals = [&] { return rig.workers().totals(rig.slot(0)); };
  rig.vnet(0).inject(std::vector{rig.to_site(0, 1), rig.to_site(1, 1)});
  ASSERT_TRUE(eventually([&] { return totals().out_packets == 1; }));
  gates.note_other_claim(gate, 2);
  rig.vnet(0).inject(std::vector{rig.to_site(0, 2), rig.to_site(1, 2)});
  ASSERT_TRUE(eventually([&] { return totals().out_drops[GW_DROP_STANDBY] == 1; }));
  EXPECT_EQ(totals().out_packets, 1U);
  ASSERT_TRUE(eventually([&] { return rig.workers().totals(rig.slot(1)).out_packets == 2; })) << "has no gate";
  gates.set(gate, {GW_GATE_FOREVER, 3});
  rig.vnet(0).inject(std::vector<test::Bytes>{rig.to_site(0, 3)});
  ASSERT_TRUE(eventually([&] { return totals().out_packets == 2; }));
  std::uint64_t sequence = 0;
  rig.workers().call(
      rig.slot(0), [&](DataPath& d) { sequence = esp::load_field(d.active(rig.slot(0)).sa->record().next_sequence); });
  EXPECT_EQ(sequence, 3U);
}

/// A quarter of an hour goes by while the first packet is encrypted: the machine did not run.
class FrozenOnce final : public Clock {
 public:
  MonoTime now() const override { return real_.now() + (is_encrypted() ? 15min : 0min); }
  WallTime wall() const override { return real_.wall(); }
  void watch(const esp::RuntimeRecord& record) { record_ = &record; }

 private:
  bool is_encrypted() const {
    const esp::RuntimeRecord* const record = record_;
    return record && esp::load_field(record->next_sequence) > 1;
  }
  SystemClock real_;
  std::atomic<const esp::RuntimeRecord*> record_ = nullptr;
};

TEST(Gate, WhatWasEncryptedBeforeItClosedDoesNotLeaveInFragmentsEither) {
  FrozenOnce clock;
  test::WorkerRig rig({.workers = 1, .tunnels = 1, .frames_each = 64, .clock = &clock});
  auto& gates = rig.workers().shared().gates;
  const GateIndex gate = gates.take();
  gates.set(gate, {boot_ns(clock.now() + 10min), 1});
  rig.workers().call(rig.slot(0), [&](DataPath& d) {
    ActiveSa active = d.active(rig.slot(0));
    active.gate = gate;
    d.activate(rig.slot(0), active);
    clock.watch(active.sa->record());
    TunnelConfig config = d.tunnel(rig.slot(0));
    config.path_mtu = 600;
    d.set_tunnel(rig.slot(0), config);
  });
  rig.vnet(0).inject(std::vector<test::Bytes>{rig.to_site(0, 1, 1000)});
  const auto drops = [&] { return rig.workers().totals(rig.slot(0)).out_drops; };
  ASSERT_TRUE(eventually([&] { return drops() != decltype(drops()){}; }));
  EXPECT_EQ(drops()[GW_DROP_STANDBY], 1U);
  EXPECT_EQ(drops()[GW_DROP_SEND_REFUSED], 0U) << "the kernel was asked to send it";
  EXPECT_TRUE(rig.all_frames_are_free());
}

class HandedOver : public testing::Test {
 protected:
  HandedOver() {
    gate_ = gates().take();
    gates().set(gate_, {GW_GATE_FOREVER, 1});
    rig_.workers().call(rig_.slot(0), [&](DataPath& d) {
      ActiveSa active = d.active(rig_.slot(0));
      active.gate = gate_;
      d.activate(rig_.slot(0), active);
    });
  }
  EndpointGates& gates() { return rig_.workers().shared().gates; }
  void hand_over() {
    gates().set_receive_until(gate_, GW_GATE_FOREVER);
    gates().set(gate_, {0, 1});
  }
  std::uint64_t waited() { return rig_.workers()[0].counters().waited.get(); }
  auto totals() { return rig_.workers().totals(rig_.slot(0)); }

  test::WorkerRig rig_{{.workers = 1}};
  GateIndex gate_ = kNoGate;
};

TEST_F(HandedOver, PacketsWaitAndLeaveWhenItComesBack) {
  hand_over();
  rig_.vnet(0).inject(std::vector{rig_.to_site(0, 1), rig_.to_site(0, 2), rig_.to_site(1, 1)});
  ASSERT_TRUE(eventually([&] { return waited() == 2; }));
  ASSERT_TRUE(eventually([&] { return rig_.workers().totals(rig_.slot(1)).out_packets == 1; })) << "is no endpoint's";
  EXPECT_EQ(totals().out_packets, 0U);
  gates().set(gate_, {GW_GATE_FOREVER, 3});
  ASSERT_TRUE(eventually([&] { return totals().out_packets == 2; }));
  EXPECT_EQ(totals().out_drops[GW_DROP_STANDBY], 0U);
}

TEST_F(HandedOver, NothingWaitsLongerThanSensible) {
  hand_over();
  rig_.vnet(0).inject(std::vector<test::Bytes>{rig_.to_site(0, 1)});
  ASSERT_TRUE(eventually([&] { return totals().out_drops[GW_DROP_MOVE_LATE] == 1; }));
  gates().set(gate_, {GW_GATE_FOREVER, 3});
  rig_.vnet(0).inject(std::vector<test::Bytes>{rig_.to_site(0, 2)});
  ASSERT_TRUE(eventually([&] { return totals().out_packets == 1; })) << "and that is the second one";
}

TEST_F(HandedOver, WhoIsNotWaitedForIsDropped) {
  gates().set(gate_, {0, 1});  // superseded, or never ours
  rig_.vnet(0).inject(std::vector<test::Bytes>{rig_.to_site(0, 1)});
  ASSERT_TRUE(eventually([&] { return totals().out_drops[GW_DROP_STANDBY] == 1; }));
  EXPECT_EQ(waited(), 0U);
}

}  // namespace
}  // namespace gw::worker
