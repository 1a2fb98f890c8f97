// From BMP events and the model to the intended forwarding table.
#include "tests/unit/gwd/control/route_controller_fixture.hpp"

namespace gw::gwd {
namespace {

TEST_F(RouteControllerTest, EqualPathsShareAndAWithdrawalLeavesTheOther) {
  announce("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  announce("169.254.21.6", "10.21.0.0/16");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7, 8}));
  announce("169.254.21.6", "10.21.0.0/16", {65021, 65021});
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7})) << "a longer path is not used";
  withdraw("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8}));
  withdraw("169.254.21.6", "10.21.0.0/16");
  EXPECT_EQ(forwarding.wanted(pfx("10.21.0.0/16")), nullptr);
}

TEST_F(RouteControllerTest, VnetPrefixesGoToTheVnetAndNobodyTakesThemAway) {
  ASSERT_NE(forwarding.wanted(pfx("10.0.0.0/16")), nullptr);
  EXPECT_EQ(forwarding.wanted(pfx("10.0.0.0/16"))->kind, fp::NEXT_HOP_VNET);
  announce("169.254.21.2", "10.0.0.0/16");
  EXPECT_EQ(forwarding.wanted(pfx("10.0.0.0/16"))->kind, fp::NEXT_HOP_VNET);
  announce("169.254.21.2", "10.0.7.0/24");
  EXPECT_EQ(forwarding.wanted(pfx("10.0.7.0/24")), nullptr) << "more specific than the VNet";
  announce("169.254.21.2", "0.0.0.0/0");
  EXPECT_EQ(forwarding.wanted(pfx("0.0.0.0/0")), nullptr);
  announce("169.254.21.2", "10.30.0.0/16", {65021, 65515});
  EXPECT_EQ(forwarding.wanted(pfx("10.30.0.0/16")), nullptr) << "our own AS: a loop";
  const auto counted = routes.peer_routes("ce1/gw-a");
  ASSERT_TRUE(counted);
  EXPECT_EQ(counted->count.received(), 4U);
  EXPECT_EQ(counted->count.accepted(), 0U);
}

TEST_F(RouteControllerTest, ADeadBgpdTakesNoRouteWithIt) {
  announce("169.254.21.2", "10.21.0.0/16");
  routes.handle(bgp::BmpDisconnected{});
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->count.stale, 1U);
  routes.handle(bgp::BmpConnected{});
  up("169.254.21.2");
  announce("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->count.stale, 0U);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
}

TEST_F(RouteControllerTest, ATunnelThatDiesWithBgpdIsLeftWhenBgpdIsBack) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.6", "10.21.0.0/16", {65021, 65021});
  routes.handle(bgp::BmpDisconnected{});
  carrier(7, false);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7})) << "nobody could say what comes instead";
  routes.handle(bgp::BmpConnected{});
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8}));
}

TEST_F(RouteControllerTest, ANotificationWithdrawsASilentBreakDoesNot) {
  announce("169.254.21.2", "10.21.0.0/16");
  down("169.254.21.2", 4);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  up("169.254.21.2");
  down("169.254.21.2", 3);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{}));
}

TEST_F(RouteControllerTest, AFamilyThatThePeerDoesNotPreserveGoesWithTheSession) {
  up("169.254.21.2", {Family::kV4});
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.2", "2001:db8:21::/48");
  down("169.254.21.2", 4);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  EXPECT_EQ(tunnels("2001:db8:21::/48"), (Ids{}));
  up("169.254.21.2", {});
  down("169.254.21.2", 4);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{})) << "no graceful restart at all";
}

// It may wait for its other neighbours before it says anything.
TEST_F(RouteControllerTest, APeerThatIsBackKeepsItsRoutesUntilItHasSaidEverything) {
  const auto up_for = [this](std::set<Family> preserved) {
    routes.handle(
        bgp::BmpEvent(bgp::BmpPeerUp{peer("169.254.21.2"), ip("169.254.21.1"), 65515, {1s, std::move(preserved)}}));
  };
  up_for({Family::kV4, Family::kV6});
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.2", "2001:db8:21::/48");
  down("169.254.21.2", 2);
  up_for({Family::kV4});
  EXPECT_EQ(tunnels("2001:db8:21::/48"), (Ids{})) << "not preserved this time";
  io.run_for(1200ms);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7})) << "its restart time is over, but it is back";
  std::map<IpAddress, bgp::PeerStatus> sessions{
      {ip("169.254.21.2"), {.peer = ip("169.254.21.2"), .state = "Established"}}};
  sessions.begin()->second.end_of_rib_v4 = sessions.begin()->second.end_of_rib_v6 = true;
  routes.set_sessions(sessions);
  io.restart();
  io.run_for(RouteController::kSettle + 200ms);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{})) << "not said again";
}

TEST_F(RouteControllerTest, APeerThatDoesNotComeBackKeepsItsRoutesForItsRestartTime) {
  routes.handle(bgp::BmpEvent(bgp::BmpPeerUp{peer("169.254.21.2"), ip("169.254.21.1"), 65515, {1s, {Family::kV4}}}));
  announce("169.254.21.2", "10.21.0.0/16");
  down("169.254.21.2", 2);
  io.run_for(700ms);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  io.restart();
  io.run_for(500ms);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{}));
}

TEST_F(RouteControllerTest, NoGracefulRestartWhereTheDocumentHasNone) {
  model.tunnels[0].bgp->graceful_restart = false;
  routes.set_model(model);
  announce("169.254.21.2", "10.21.0.0/16");
  down("169.254.21.2", 4);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{}));
}

// bgpd says of both that "this side closed the session"; the difference is in its list of neighbours.
TEST_F(RouteControllerTest, WhatBfdFoundDeadKeepsNoRoutes) {
  announce("169.254.21.2", "10.1.0.0/16");
  int asked = 0;
  routes.on_session_change([&asked] { ++asked; });
  down("169.254.21.2", 2);
  EXPECT_EQ(asked, 1);
  std::map<IpAddress, bgp::PeerStatus> sessions{{ip("169.254.21.2"), {.peer = ip("169.254.21.2"), .state = "Idle"}}};
  routes.set_sessions(sessions);
  EXPECT_EQ(tunnels("10.1.0.0/16"), Ids{7}) << "a router that restarts goes on forwarding";
  sessions.begin()->second.path_died = true;
  routes.set_sessions(sessions);
  EXPECT_EQ(tunnels("10.1.0.0/16"), Ids{});
}

TEST_F(RouteControllerTest, ATunnelWithoutCarrierIsLeftOutWhileThereIsAnother) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.6", "10.21.0.0/16");
  carrier(7, false);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8}));
  carrier(8, false);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7, 8})) << "with none left the drop is counted where the SA is missing";
  carrier(7, true);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
}

TEST_F(RouteControllerTest, ASessionThatBrokeWithItsTunnelKeepsNothing) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.6", "10.21.0.0/16", {65021, 65021});
  carrier(7, false);
  down("169.254.21.2", 2);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8})) << "carrier first";
  carrier(7, true);
  up("169.254.21.2");
  announce("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  down("169.254.21.2", 2);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7})) << "stale";
  carrier(7, false);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8})) << "session first";
}

TEST_F(RouteControllerTest, ARemovedConnectionTakesItsRoutesAndAnUnchangedOneKeepsThem) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.6", "10.22.0.0/16");
  model.tunnels.pop_back();
  routes.set_model(model);
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7}));
  EXPECT_EQ(forwarding.wanted(pfx("10.22.0.0/16")), nullptr);
}

TEST_F(RouteControllerTest, StaticSitesNeedNoBgp) {
  config::TunnelModel site;
  site.name = "lyon/gw-a";
  site.tunnel_id = 9;
  site.device = "tun9";
  site.static_prefixes = {pfx("10.40.0.0/16")};
  model.tunnels.push_back(std::move(site));
  routes.set_model(model);
  EXPECT_EQ(tunnels("10.40.0.0/16"), (Ids{9}));
  model.tunnels.back().static_prefixes = {pfx("10.41.0.0/16")};
  routes.set_model(model);
  EXPECT_EQ(forwarding.wanted(pfx("10.40.0.0/16")), nullptr);
  EXPECT_EQ(tunnels("10.41.0.0/16"), (Ids{9}));
}

TEST_F(RouteControllerTest, AStaticSiteHasARouteWhileItsTunnelHasCarrier) {
  config::TunnelModel site;
  site.name = "lyon/gw-a";
  site.tunnel_id = 9;
  site.device = "tun9";
  site.static_prefixes = {pfx("10.40.0.0/16")};
  model.tunnels.push_back(std::move(site));
  routes.set_model(model);
  carrier(9, false);
  EXPECT_EQ(forwarding.wanted(pfx("10.40.0.0/16")), nullptr);
  EXPECT_EQ(bgp_intent(model, 0, {routes.without_carrier(), {}}).origins.size(), 1U) << "the VNet's alone";
  routes.set_model(model);
  EXPECT_EQ(forwarding.wanted(pfx("10.40.0.0/16")), nullptr) << "a new document does not bring it back";
  carrier(9, true);
  EXPECT_EQ(tunnels("10.40.0.0/16"), (Ids{9}));
  EXPECT_EQ(bgp_intent(model, 0, {routes.without_carrier(), {}}).origins.size(), 2U);
}

TEST_F(RouteControllerTest, NothingIsSweptBeforeEveryPeerHasSaidEverything) {
  std::map<IpAddress, bgp::PeerStatus> sessions;
  for (const char* address : {"169.254.21.2", "169.254.21.6"}) sessions[ip(address)].state = "Established";
  end_of_rib("169.254.21.2");  // as the end of a BMP dump
  routes.set_sessions(sessions);
  EXPECT_FALSE(forwarding.complete());
  sessions[ip("169.254.21.6")].end_of_rib_v4 = true;  // as bgpd shows it
  routes.set_sessions(sessions);
  EXPECT_FALSE(forwarding.complete());
  sessions[ip("169.254.21.6")].end_of_rib_v6 = true;
  routes.set_sessions(sessions);
  EXPECT_TRUE(forwarding.complete());
}

// Most sites have no IPv6: of that nothing is waited for.
TEST_F(RouteControllerTest, APeerOfOneFamilyHasSaidEverythingWithItsEndOfRib) {
  std::map<IpAddress, bgp::PeerStatus> sessions;
  for (const char* address : {"169.254.21.2", "169.254.21.6"}) {
    routes.handle(
        bgp::BmpEvent(bgp::BmpPeerUp{peer(address), ip("169.254.21.1"), 65515, {60s, {Family::kV4}}, {Family::kV4}}));
    sessions[ip(address)].state = "Established";
  }
  routes.handle(bgp::BmpEvent(bgp::BmpEndOfRib{peer("169.254.21.2"), Family::kV4}));
  routes.set_sessions(sessions);
  EXPECT_FALSE(forwarding.complete()) << "the other one has not";
  sessions[ip("169.254.21.6")].end_of_rib_v4 = true;
  routes.set_sessions(sessions);
  EXPECT_TRUE(forwarding.complete());
}

TEST_F(RouteControllerTest, NothingIsSweptBeforeItIsKnownWhatIsCarriedHere) {
  Forwarding later{io, client};
  RouteController begins{io, clock, later};
  begins.handle(bgp::BmpConnected{});
  begins.set_sessions({});
  EXPECT_FALSE(later.complete()) << "of two instances, gwd learns from gw-fastpath what it has before it has a model";
  model.tunnels.clear();
  begins.set_model(model);
  EXPECT_TRUE(later.complete());
}

TEST_F(RouteControllerTest, TheRouteLimitIsWatched) {
  for (int i = 0; i < 8; ++i) announce("169.254.21.2", std::format("10.21.{}.0/24", i));
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->limit, routes::LimitState::kNear);
  for (int i = 8; i < 10; ++i) announce("169.254.21.2", std::format("10.21.{}.0/24", i));
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->limit, routes::LimitState::kReached);
}

}  // namespace
}  // namespace gw::gwd
