// kernel-gw's policies: which SA a tunnel sends with.
#include "ike/plugin/policy_table.h"

#include <gtest/gtest.h>

#include "make_sa.hpp"

namespace gw::kernel_gw_test {
namespace {

class PolicyTable : public testing::Test {
 protected:
  PolicyTable() : sas_(gw_sa_table_create()), policies_(gw_policy_table_create()) {}
  ~PolicyTable() override {
    gw_policy_table_destroy(policies_);
    gw_sa_table_destroy(sas_);
  }

  void install(std::uint32_t spi) {
    gw_sa_params p = params(spi, GW_OUTBOUND);
    gw_sa_table_put(sas_, &p, 0);
  }
  static gw_policy policy(std::uint32_t spi) { return {.tunnel_id = 7, .reqid = 1, .sa = sa_id(spi, kPeer)}; }
  void add(std::uint32_t spi) {
    const gw_policy p = policy(spi);
    gw_policy_table_add(policies_, &p);
  }
  void remove(std::uint32_t spi) {
    const gw_policy p = policy(spi);
    gw_policy_table_remove(policies_, &p);
  }
  std::uint32_t current() const {
    const gw_sa* sa = gw_policy_table_current(policies_, sas_, 7);
    return sa ? sa->params.spi : 0;
  }

  gw_sa_table* sas_;
  gw_policy_table* policies_;
};

TEST_F(PolicyTable, TheLastPolicyWithAnInstalledSaIsCurrent) {
  EXPECT_EQ(current(), 0U);
  install(0x1000);
  EXPECT_EQ(current(), 0U);  // installed, but no policy says to use it
  add(0x1000);
  EXPECT_EQ(current(), 0x1000U);
  add(0x2000);  // its SA is not there
  EXPECT_EQ(current(), 0x1000U);
  install(0x2000);
  EXPECT_EQ(current(), 0x2000U);
}

TEST_F(PolicyTable, EachSelectorPairHoldsAReference) {
  install(0x1000);
  add(0x1000);
  add(0x1000);
  remove(0x1000);
  EXPECT_EQ(current(), 0x1000U);
  remove(0x1000);
  EXPECT_EQ(current(), 0U);
  remove(0x1000);  // once too often: no effect
}

TEST_F(PolicyTable, TheLoserOfACollisionGivesWayToTheOneBefore) {
  install(0x1000);
  install(0x2000);
  add(0x1000);
  add(0x2000);
  remove(0x2000);
  EXPECT_EQ(current(), 0x1000U);
}

TEST_F(PolicyTable, ATrapIsFoundAndIsNeverAnSaToSendWith) {
  std::uint32_t reqid = 0;
  EXPECT_FALSE(gw_policy_table_trap(policies_, 7, &reqid));
  const gw_policy trap = {.tunnel_id = 7, .reqid = 5, .sa = sa_id(0, kPeer)};
  gw_policy_table_add(policies_, &trap);
  EXPECT_TRUE(gw_policy_table_trap(policies_, 7, &reqid));
  EXPECT_EQ(reqid, 5U);
  EXPECT_FALSE(gw_policy_table_trap(policies_, 7 + 1024, &reqid));  // the same bucket
  EXPECT_EQ(current(), 0U);
}

TEST_F(PolicyTable, WhatWasActivatedIsRememberedUntilForgotten) {
  add(0x1000);
  gw_policy_table_set_activated(policies_, 7, 42);
  remove(0x1000);  // MOBIKE takes the policies away and puts them back
  EXPECT_EQ(gw_policy_table_activated(policies_, 7), 42U);
  gw_policy_table_forget_activated(policies_);
  EXPECT_EQ(gw_policy_table_activated(policies_, 7), 0U);
}

}  // namespace
}  // namespace gw::kernel_gw_test
