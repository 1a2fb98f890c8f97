// How many workers there are and where they run.
#include "ebpf/worker/placement.hpp"

#include <gtest/gtest.h>

namespace gw::worker {
namespace {

const Machine kWhole{{0, 1, 2, 3}, 4};

TEST(Place, LeavesACpuToControlAndKernel) {
  EXPECT_EQ(place({}, kWhole, {}).workers, 3U);
  EXPECT_EQ(place({}, {{0}, 1}, {}).workers, 1U);
  EXPECT_EQ(place({}, {{}, 1}, {}).workers, 1U) << "the kernel did not say";
}

TEST(Place, NoMoreThanReceiveQueues) {
  const Placement p = place({}, kWhole, {{"eth0", 8}, {"eth1", 2}});
  EXPECT_EQ(p.workers, 2U);
  EXPECT_EQ(p.reason, "4 CPU(s), eth1 has 2 receive queue(s)");
  EXPECT_EQ(place(4, kWhole, {{"eth0", 1}}).workers, 1U);
  EXPECT_EQ(place(4, kWhole, {{"eth0", 1}}).reason, "4 asked for, eth0 has 1 receive queue(s)");
}

TEST(Place, AsManyAsAskedFor) {
  EXPECT_EQ(place(2, kWhole, {{"eth0", 4}}).workers, 2U);
  EXPECT_EQ(place(6, kWhole, {}).workers, 6U) << "more than CPUs, if somebody wants that";
  EXPECT_EQ(place(1000, kWhole, {}).workers, 64U);
}

TEST(Place, PinsOnlyOnCpusOfItsOwn) {
  for (const auto& cpu : place(2, kWhole, {}).cpus) EXPECT_FALSE(cpu) << "everybody may use these";
  const Placement own = place(2, {{4, 5, 6}, 16}, {});
  ASSERT_EQ(own.cpus.size(), 2U);
  EXPECT_EQ(own.cpus[0], 5) << "the first is for the control thread";
  EXPECT_EQ(own.cpus[1], 6);
  const Placement tight = place(2, {{4, 5}, 16}, {});
  EXPECT_EQ(tight.cpus[0], 4);
  EXPECT_EQ(tight.cpus[1], 5);
  for (const auto& cpu : place(3, {{4, 5}, 16}, {}).cpus) EXPECT_FALSE(cpu) << "too few";
  EXPECT_FALSE(place(1, {{4, 5}, 16}, {}).cpus[0]) << "alone";
}

}  // namespace
}  // namespace gw::worker
