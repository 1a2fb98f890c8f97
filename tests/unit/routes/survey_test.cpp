#include "routes/survey.hpp"

#include <gmock/gmock.h>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;
using test::net;

constexpr std::uint32_t kGateway = 65515, kCircuitAs = 12076, kParis = 65021, kBerlin = 65022;

class SurveyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Policy policy;
    policy.safe.vnet_prefixes = {net("10.0.0.0/16")};
    policy.peers["er1"].allowed_asns = {kCircuitAs};
    rib.set_policy(std::make_shared<const Policy>(policy));
    circuit = add(SourceKind::kCircuit, "er1", "192.168.30.18");
    paris = add(SourceKind::kVpnTunnel, "paris", "169.254.21.2");
    berlin = add(SourceKind::kVpnTunnel, "berlin", "169.254.21.6");
  }
  SourceId add(SourceKind kind, std::string name, std::string_view address, PeerType type = PeerType::kEbgp) {
    return rib.put_source({.kind = kind,
                           .name = std::move(name),
                           .type = type,
                           .peer_asn = kind == SourceKind::kCircuit ? kCircuitAs : kParis,
                           .router_id = ip("192.0.2.1"),
                           .peer_address = ip(address)});
  }
  void announce(SourceId id, std::string_view prefix, std::vector<std::uint32_t> path,
                std::vector<std::uint32_t> communities = {}) {
    Build b;
    b.attributes.next_hop = rib.source(id).peer_address;
    b.attributes.as_path = AsPath::sequence(std::move(path));
    b.attributes.communities = std::move(communities);
    const Prefix p = net(prefix);
    rib.announce(id, b.shared(), {&p, 1}, {});
    rib.drain();
  }
  Survey survey(std::size_t slice = 1000) {
    SurveyWalk walk(rib);
    while (walk.step(slice)) {
    }
    return walk.finish();
  }

  Rib rib;
  SourceId circuit{}, paris{}, berlin{};
};

TEST_F(SurveyTest, NothingIsNothing) {
  const Survey s = survey();
  EXPECT_EQ(s.prefixes, 0U);
  EXPECT_TRUE(s.sources.empty());
}

TEST_F(SurveyTest, WhoIsUsedAndWhoWaits) {
  announce(circuit, "10.20.0.0/16", {kCircuitAs, kParis});
  announce(paris, "10.20.0.0/16", {kParis});
  announce(paris, "10.21.0.0/16", {kParis});
  announce(berlin, "10.30.0.0/16", {kBerlin});
  const Survey s = survey();
  EXPECT_EQ(s.prefixes, 3U);
  EXPECT_EQ(s.sources.at("er1").best, 1U);
  EXPECT_EQ(s.sources.at("paris").best, 1U);
  EXPECT_EQ(s.sources.at("paris").behind_circuit, 1U);
  EXPECT_EQ(s.sources.at("paris").over_circuit, 0U);
  EXPECT_EQ(s.sources.at("berlin").behind_circuit, 0U);
  EXPECT_EQ(s.sample.size(), 3U);
}

TEST_F(SurveyTest, WhoIsPreferredToTheCircuit) {
  Policy policy = rib.importer().policy();
  policy.weights = class_weights(Prefer::kVpn);
  announce(circuit, "10.20.0.0/16", {kCircuitAs, kParis});
  announce(paris, "10.20.0.0/16", {kParis});
  rib.set_policy(std::make_shared<const Policy>(policy));
  rib.drain();
  const Survey s = survey();
  EXPECT_EQ(s.sources.at("paris").best, 1U);
  EXPECT_EQ(s.sources.at("paris").over_circuit, 1U);
  EXPECT_EQ(s.sources.at("paris").behind_circuit, 0U);
}

TEST_F(SurveyTest, ThePartnersRoutesAreWhatTheyWere) {
  const SourceId partner = add(SourceKind::kPartner, "partner:10.0.0.6", "10.0.0.6", PeerType::kIbgp);
  announce(partner, "10.20.0.0/16", {kCircuitAs, kParis}, {class_community(SourceKind::kCircuit)});
  announce(paris, "10.20.0.0/16", {kParis});
  announce(paris, "10.20.5.0/24", {kParis});
  const Survey s = survey();
  EXPECT_EQ(s.sources.at("paris").behind_circuit, 1U);
  ASSERT_EQ(s.more_specific.size(), 1U);
  EXPECT_EQ(s.more_specific[0].covering_source, "partner:10.0.0.6");
}

TEST_F(SurveyTest, AMoreSpecificOneOfTheSameNetworkIsFound) {
  announce(circuit, "10.20.0.0/16", {kCircuitAs, kParis});
  announce(paris, "10.20.5.0/24", {kParis});
  const Survey s = survey(1);
  ASSERT_EQ(s.more_specific_count, 1U);
  EXPECT_EQ(s.more_specific[0].prefix, net("10.20.5.0/24"));
  EXPECT_EQ(s.more_specific[0].source, "paris");
  EXPECT_EQ(s.more_specific[0].covering, net("10.20.0.0/16"));
  EXPECT_EQ(s.more_specific[0].covering_source, "er1");
}

TEST_F(SurveyTest, WhatTheCircuitHasTooIsNotTaken) {
  announce(circuit, "10.20.0.0/16", {kCircuitAs, kParis});
  announce(circuit, "10.20.5.0/24", {kCircuitAs, kParis});
  announce(paris, "10.20.5.0/24", {kParis});
  EXPECT_EQ(survey().more_specific_count, 0U);
}

TEST_F(SurveyTest, AnotherNetworkInsideASummaryIsWhereItShouldBe) {
  announce(circuit, "10.0.0.0/8", {kCircuitAs, kParis});
  announce(berlin, "10.30.0.0/16", {kBerlin});
  EXPECT_EQ(survey().more_specific_count, 0U);
  // Who originates the summary is hidden: it may be berlin.
  announce(circuit, "10.0.0.0/8", {kCircuitAs});
  EXPECT_EQ(survey().more_specific_count, 1U);
}

TEST_F(SurveyTest, EverythingIsInsideTheDefaultRoute) {
  Policy policy = rib.importer().policy();
  policy.peers["er1"].default_route = DefaultRoute::kAllow;
  rib.set_policy(std::make_shared<const Policy>(policy));
  announce(circuit, "0.0.0.0/0", {kCircuitAs, kParis});
  announce(paris, "10.20.5.0/24", {kParis});
  EXPECT_EQ(survey().more_specific_count, 0U);
}

TEST_F(SurveyTest, OnlySoManyAreListedAndAllAreCounted) {
  announce(circuit, "10.20.0.0/16", {kCircuitAs, kParis});
  for (int i = 0; i < 20; ++i) announce(paris, std::format("10.20.{}.0/24", i), {kParis});
  SurveyWalk walk(rib, {.more_specific = 5, .sample = 3});
  while (walk.step(4)) {
  }
  const Survey s = walk.finish();
  EXPECT_EQ(s.more_specific.size(), 5U);
  EXPECT_EQ(s.more_specific_count, 20U);
  EXPECT_EQ(s.sample.size(), 3U);
}

TEST_F(SurveyTest, ALoopWithoutAnotherRouteIsTold) {
  announce(paris, "10.40.0.0/16", {kParis, kGateway});
  announce(paris, "10.41.0.0/16", {kParis, kGateway});
  const Survey s = survey();
  ASSERT_EQ(s.refused.size(), 1U);
  EXPECT_EQ(s.refused[0].source, "paris");
  EXPECT_EQ(s.refused[0].reason, RefusedFor::kOwnAsn);
  EXPECT_EQ(s.refused[0].count, 2U);
  EXPECT_EQ(s.refused[0].routes[0].as_path, "65021 65515");
}

TEST_F(SurveyTest, OurOwnAnnouncementComingBackIsNoFault) {
  // Of a site with two tunnels: berlin's prefix, and the VNet's, told by the other instance.
  announce(berlin, "10.30.0.0/16", {kBerlin});
  announce(paris, "10.30.0.0/16", {kParis, kGateway, kBerlin});
  announce(paris, "10.0.0.0/16", {kParis, kGateway});
  EXPECT_TRUE(survey().refused.empty());
}

TEST_F(SurveyTest, ThePartnerHasTheVnetToo) {
  const SourceId partner = add(SourceKind::kPartner, "instance:gw-b", "10.0.0.5", PeerType::kIbgp);
  announce(partner, "10.0.0.0/16", {});
  EXPECT_TRUE(survey().refused.empty());
}

TEST_F(SurveyTest, ASiteThatClaimsTheVnetIsTold) {
  announce(paris, "10.0.0.0/16", {kParis});
  announce(paris, "10.0.7.0/24", {kParis});
  const Survey s = survey();
  ASSERT_EQ(s.refused.size(), 1U);
  EXPECT_EQ(s.refused[0].reason, RefusedFor::kVnetPrefix);
  EXPECT_EQ(s.refused[0].count, 2U);
}

}  // namespace
}  // namespace gw::routes
