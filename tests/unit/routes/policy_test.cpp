#include "routes/policy.hpp"

#include <gtest/gtest.h>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::net;

ImportPolicy policy() { return {.gateway_asn = 65515, .vnet_prefixes = {net("10.0.0.0/16"), net("2001:db8:10::/48")}}; }

TEST(ImportPolicy, Table) {
  struct Row {
    const char* prefix;
    std::vector<std::uint32_t> path;
    std::optional<Refusal> expected;
  };
  const std::vector<Row> rows{
      {"10.20.0.0/16", {65021}, std::nullopt},
      {"0.0.0.0/0", {65021}, Refusal::kDefaultRoute},
      {"::/0", {65021}, Refusal::kDefaultRoute},
      {"169.254.21.0/24", {65021}, Refusal::kMartian},
      {"169.254.0.0/16", {65021}, Refusal::kMartian},
      {"127.0.0.1/32", {65021}, Refusal::kMartian},
      {"224.0.0.0/8", {65021}, Refusal::kMartian},
      {"fe80::/64", {65021}, Refusal::kMartian},
      {"::/96", {65021}, Refusal::kMartian},
      {"10.0.0.0/16", {65021}, Refusal::kVnetPrefix},
      {"10.0.4.0/24", {65021}, Refusal::kInsideVnet},
      {"10.0.0.0/8", {65021}, std::nullopt},  // covering is accepted
      {"2001:db8:10::/48", {65021}, Refusal::kVnetPrefix},
      {"2001:db8:10:1::/64", {65021}, Refusal::kInsideVnet},
      {"10.20.0.0/16", {65021, 65515}, Refusal::kOwnAsn},
      {"10.20.0.0/16", {65021, 12076}, Refusal::kReservedAsn},
      {"10.20.0.0/16", {23456}, Refusal::kReservedAsn},
      {"10.20.0.0/16", {64500}, Refusal::kReservedAsn},
      {"10.20.0.0/16", {65516}, std::nullopt},
      {"10.20.0.0/16", {65519}, Refusal::kReservedAsn},
      {"10.20.0.0/16", {4200000000}, std::nullopt},
      {"10.20.0.0/16", {4294967295}, Refusal::kReservedAsn},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(check_import(policy(), net(row.prefix), AsPath::sequence(row.path)), row.expected) << row.prefix;
  }
}

TEST(ImportPolicy, WhatTheOperatorOpensIsOpen) {
  ImportPolicy p = policy();
  p.default_route = DefaultRoute::kAllow;
  p.allowed_asns = {65518};
  EXPECT_EQ(check_import(p, net("0.0.0.0/0"), AsPath::sequence({65021})), std::nullopt);
  EXPECT_EQ(check_import(p, net("10.20.0.0/16"), AsPath::sequence({65518})), std::nullopt);
}

TEST(ImportPolicy, PeerAsnIsCheckedAndTheReasonSaysWhatToUse) {
  EXPECT_EQ(check_peer_asn(policy(), 65021), std::nullopt);
  EXPECT_NE(check_peer_asn(policy(), 65515)->find("own"), std::string::npos);
  EXPECT_NE(check_peer_asn(policy(), 8075)->find("private"), std::string::npos);
  EXPECT_TRUE(check_peer_asn(policy(), 0));
}

TEST(RouteLimit, WarnsAtEightyPercent) {
  EXPECT_EQ(check_limit(3199, 4000), LimitState::kOk);
  EXPECT_EQ(check_limit(3200, 4000), LimitState::kNear);
  EXPECT_EQ(check_limit(4000, 4000), LimitState::kReached);
  EXPECT_EQ(check_limit(1'000'000, 0), LimitState::kOk);
}

}  // namespace
}  // namespace gw::routes
