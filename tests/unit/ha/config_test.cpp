// What a configuration of the machine must not be, and that claims have one order.
#include "ha/config.hpp"

#include <gtest/gtest.h>

#include "ha/machine.hpp"

namespace gw::ha {
namespace {

constexpr Instance kA{0};
constexpr Instance kB{1};
constexpr Instance kC{2};

Configuration pair() {
  return {.self = kA,
          .members = {{kA, "gw-a"}, {kB, "gw-b"}},
          .endpoints = {{IpAddress::from_v4(0xcb00710a), kA}, {IpAddress::from_v4(0xcb00710b), kB}}};
}

std::string fault(const Configuration& c) {
  const Status status = check(c);
  return status ? "" : status.error().describe();
}

TEST(HaConfiguration, APairIsFine) { EXPECT_EQ(fault(pair()), ""); }

TEST(HaConfiguration, FaultsAreNamed) {
  Configuration c = pair();
  c.members.pop_back();
  EXPECT_EQ(fault(c), "instances: active/active needs two instances");
  c = pair();
  c.members[1].id = kA;
  EXPECT_EQ(fault(c), "instances: number 0 is there twice");
  c = pair();
  c.members[1].id = Instance{16};
  EXPECT_EQ(fault(c), "instances: gw-b has number 16; 0 to 15 are possible");
  c = pair();
  c.self = kC;
  EXPECT_EQ(fault(c), "instances: this instance is not one of them");
  c = pair();
  c.members.push_back({kC, "gw-c"});
  EXPECT_EQ(fault(c), "lease.kind: the embedded lease is for two instances, not 3: it needs etcd");
  c.lease = LeaseKind::kEtcd;
  EXPECT_EQ(fault(c), "");
  c = pair();
  c.mode = Mode::kActiveStandby;
  c.preferred = kC;
  EXPECT_EQ(fault(c), "preferred: there is no instance 2");
  c = pair();
  c.endpoints[1].address = c.endpoints[0].address;
  EXPECT_EQ(fault(c), "endpoints: 203.0.113.10 is there twice");
  c = pair();
  c.endpoints[1].home = kC;
  EXPECT_EQ(fault(c), "endpoints: 203.0.113.11 is at home on instance 2, which is none");
  c = pair();
  c.timing.frozen = c.timing.lease_hold;
  EXPECT_EQ(fault(c), "timing: frozen must be below lease_hold: a machine would act on silence that was its own");
}

TEST(HaConfiguration, NamesOfMembersAndOfOthers) {
  EXPECT_EQ(pair().name_of(kB), "gw-b");
  EXPECT_EQ(pair().name_of(Instance{7}), "instance 7");
}

TEST(HaEpoch, EachClaimIsHigherThanAllSeenAndNoTwoAreEqual) {
  for (const Epoch seen : {Epoch{0}, Epoch{15}, Epoch{16}, next_epoch(next_epoch(5, kB), kA)}) {
    EXPECT_GT(next_epoch(seen, kA), seen);
    EXPECT_NE(next_epoch(seen, kA), next_epoch(seen, kB));
    EXPECT_EQ(claimant(next_epoch(seen, kB)), kB);
    EXPECT_EQ(term(next_epoch(seen, kA)), term(seen) + 1);
  }
}

}  // namespace
}  // namespace gw::ha
