// Slots of tunnels, which packets between workers and the programs' steering are told of by number.
#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "ebpf/control/tunnels.hpp"
#include "packets.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::control {
namespace {

using namespace packet_test;

// A packet that a worker has handed over for tunnel 1 must not meet tunnel 2 in its place.
TEST(TunnelSlots, TheSlotOfATunnelThatHasGoneIsTheLastToBeUsedAgain) {
  if (!can_run()) GTEST_SKIP() << "needs root";
  constexpr std::uint32_t kSlots = 4;
  auto maps = xdp::Maps::create({.max_sas = 16, .fib = kSmallFib});
  ASSERT_TRUE(maps) << maps.error().describe();
  test::WorkerRig rig({.workers = 1, .tunnels = kSlots, .frames_each = 64});
  const SystemClock clock;
  Tunnels tunnels(rig.workers(), *maps, tun::FdStore::from_environment(), clock);
  const auto gone = tunnels.acquire_slot(1);
  ASSERT_TRUE(gone) << gone.error().describe();
  tunnels.release_slot(1);
  for (std::uint32_t id = 2; id < kSlots + 1; ++id) {
    const auto slot = tunnels.acquire_slot(id);
    ASSERT_TRUE(slot) << slot.error().describe();
    EXPECT_NE(*slot, *gone) << "tunnel " << id;
  }
  EXPECT_EQ(tunnels.acquire_slot(kSlots + 1).value_or(worker::kNoTunnel), *gone);
}

}  // namespace
}  // namespace gw::control
