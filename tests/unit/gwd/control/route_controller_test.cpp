// From BMP events and the model to the intended forwarding table. No sockets: the events are handed in, and
// the fast path client never connects.
#include "gwd/control/route_controller.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;

Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }
IpAddress ip(std::string_view t) { return IpAddress::parse(t).value(); }

config::TunnelModel bgp_tunnel(std::string name, std::uint32_t id, std::string_view peer) {
  config::TunnelModel t;
  t.name = std::move(name);
  t.tunnel_id = id;
  t.device = std::format("tun{}", id);
  t.bgp.emplace();
  t.bgp->peer = ip(peer);
  t.bgp->peer_asn = 65021;
  t.bgp->max_routes = 10;
  return t;
}

class RouteControllerTest : public ::testing::Test, public FastpathListener {
 protected:
  void on_fastpath_up(const fp::HelloReply&) override {}
  void on_fastpath_down(const Error&) override {}
  void on_fastpath_event(const fp::Event&) override {}

  // Two tunnels with BGP, 7 and 8.
  void SetUp() override {
    model.asn = 65515;
    model.instance = "gw-a";
    model.vnet_prefixes = {pfx("10.0.0.0/16")};
    model.policy.safe.vnet_prefixes = model.vnet_prefixes;
    model.tunnels.push_back(bgp_tunnel("ce1/gw-a", 7, "169.254.21.2"));
    model.tunnels.push_back(bgp_tunnel("ce2/gw-a", 8, "169.254.21.6"));
    routes.set_model(model);
    routes.handle(bgp::BmpConnected{});
    up("169.254.21.2");
    up("169.254.21.6");
  }
  bgp::BmpPeer peer(std::string_view address) const { return {ip(address), 65021, ip("10.21.0.1")}; }
  void up(std::string_view address, std::set<Family> preserved = {Family::kV4, Family::kV6}) {
    routes.handle(bgp::BmpEvent(bgp::BmpPeerUp{peer(address), ip("169.254.21.1"), 65515, {60s, std::move(preserved)}}));
  }
  void down(std::string_view address, std::uint8_t reason) {
    routes.handle(bgp::BmpEvent(bgp::BmpPeerDown{peer(address), reason, "text"}));
  }
  void announce(std::string_view address, std::string_view prefix, std::vector<std::uint32_t> path = {65021}) {
    auto attributes = std::make_shared<routes::Attributes>();
    attributes->next_hop = ip(address);
    attributes->as_path = routes::AsPath::sequence(std::move(path));
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), std::move(attributes), {pfx(prefix)}, {}, ""}));
  }
  void withdraw(std::string_view address, std::string_view prefix) {
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), nullptr, {}, {pfx(prefix)}, ""}));
  }
  void end_of_rib(std::string_view address) {
    for (const Family family : {Family::kV4, Family::kV6})
      routes.handle(bgp::BmpEvent(bgp::BmpEndOfRib{peer(address), family}));
  }
  void carrier(std::uint32_t id, bool has) {
    fp::TunnelState state;
    state.set_tunnel_id(id);
    state.set_carrier(has);
    routes.set_carrier(id, state);
  }
  std::vector<std::uint32_t> tunnels(std::string_view prefix) const {
    const auto* entry = forwarding.wanted(pfx(prefix));
    return entry == nullptr ? std::vector<std::uint32_t>{} : entry->tunnel_ids;
  }

  boost::asio::io_context io;
  ManualClock clock;
  FastpathClient client{io, "/nonexistent", *this};
  Forwarding forwarding{io, client};
  RouteController routes{io, clock, forwarding};
  config::GatewayModel model;
};

using Ids = std::vector<std::uint32_t>;

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

// Two instances, and tunnels that move to the other one and back.
class MovedTunnelTest : public RouteControllerTest {
 protected:
  void SetUp() override {
    model.ha.emplace();
    model.ha->instances = {{.name = "gw-a", .sync = {}, .vnet_address = ip("10.0.0.4")},
                           {.name = "gw-b", .sync = {}, .vnet_address = ip("10.0.0.5")}};
    RouteControllerTest::SetUp();
  }
  void move(std::string_view carrier) {
    for (auto* list : {&model.elsewhere, &model.tunnels}) {
      const auto found = std::ranges::find(*list, "ce1/gw-a", &config::TunnelModel::name);
      if (found == list->end()) continue;
      config::TunnelModel tunnel = std::move(*found);
      list->erase(found);
      tunnel.carrier = carrier;
      (carrier == "gw-a" ? model.tunnels : model.elsewhere).push_back(std::move(tunnel));
      break;
    }
    routes.set_model(model);
  }
  std::vector<IpAddress> gateways(std::string_view prefix) const {
    const auto* entry = forwarding.wanted(pfx(prefix));
    if (entry == nullptr || entry->kind != fp::NEXT_HOP_VNET || entry->behind != fp::BEHIND_TUNNELS) return {};
    return entry->gateways;
  }
};

TEST_F(MovedTunnelTest, ItsRoutesLeadToTheInstanceThatCarriesIt) {
  announce("169.254.21.2", "10.21.0.0/16");
  move("gw-b");
  EXPECT_EQ(gateways("10.21.0.0/16"), std::vector{ip("10.0.0.5")});
  down("169.254.21.2", 5);  // bgpd lets go of the session
  withdraw("169.254.21.2", "10.21.0.0/16");
  carrier(7, false);
  EXPECT_EQ(gateways("10.21.0.0/16"), std::vector{ip("10.0.0.5")});
  move("gw-a");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{7})) << "until its session says otherwise";
}

TEST_F(MovedTunnelTest, AnotherTunnelOfOursComesFirst) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce("169.254.21.6", "10.21.0.0/16");
  move("gw-b");
  EXPECT_EQ(tunnels("10.21.0.0/16"), (Ids{8}));
}

TEST_F(MovedTunnelTest, WhatNobodyCarriesIsNoWay) {
  announce("169.254.21.2", "10.21.0.0/16");
  move("");
  EXPECT_EQ(forwarding.wanted(pfx("10.21.0.0/16")), nullptr);
}

TEST_F(MovedTunnelTest, AStaticSiteMovesToo) {
  model.tunnels.front().bgp.reset();
  model.tunnels.front().static_prefixes = {pfx("10.40.0.0/16")};
  routes.set_model(model);
  ASSERT_EQ(tunnels("10.40.0.0/16"), (Ids{7}));
  EXPECT_TRUE(routes.waiting().empty());
  move("gw-b");
  EXPECT_EQ(gateways("10.40.0.0/16"), std::vector{ip("10.0.0.5")});
  EXPECT_EQ(routes.waiting().size(), 1U);
  model.elsewhere.front().static_prefixes = {pfx("10.41.0.0/16")};
  move("gw-a");
  EXPECT_EQ(tunnels("10.41.0.0/16"), (Ids{7}));
  EXPECT_EQ(forwarding.wanted(pfx("10.40.0.0/16")), nullptr);
}

// This instance is gw-b, and ce3/gw-a is gw-a's until it comes here.
class TakenOverTest : public RouteControllerTest {
 protected:
  void SetUp() override {
    RouteControllerTest::SetUp();
    model.elsewhere.push_back(bgp_tunnel("ce3/gw-a", 9, "169.254.21.10"));
    model.elsewhere.back().carrier = "gw-a";
    routes.set_model(model);
    theirs.begin([this](std::string message) { ASSERT_TRUE(routes.sync_from(message)); });
    theirs.session("ce3/gw-a", ip("10.33.0.1"), {60s, {Family::kV4}});
    theirs.routes("ce3/gw-a", {{}, learned({65021, 65033}), {pfx("10.33.0.0/16"), pfx("10.0.7.0/24")}, {}, ""});
  }
  static routes::AttributesPtr learned(std::vector<std::uint32_t> path) {
    auto attributes = std::make_shared<routes::Attributes>();
    attributes->next_hop = ip("169.254.21.10");
    attributes->as_path = routes::AsPath::sequence(std::move(path));
    return attributes;
  }
  void take_over() {
    model.tunnels.push_back(std::move(model.elsewhere.back()));
    model.elsewhere.pop_back();
    routes.set_model(model);
  }
  void run_for(std::chrono::steady_clock::duration time) {
    io.restart();
    io.run_for(time);
  }

  sync::LearnedExport theirs;
};

TEST_F(TakenOverTest, ItsRoutesAreThereAtOnceAndBgpdIsToldThem) {
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
  EXPECT_TRUE(routes.held_origins().empty());
  take_over();
  EXPECT_EQ(tunnels("10.33.0.0/16"), (Ids{9}));
  EXPECT_TRUE(routes.is_stale(pfx("10.33.0.0/16")));
  EXPECT_EQ(routes.waiting(), std::set<std::string>{"ce3/gw-a"});
  const auto held = routes.held_origins();
  ASSERT_EQ(held.size(), 1U);
  EXPECT_EQ(held.front().prefixes, std::vector{pfx("10.33.0.0/16")}) << "not what policy refuses: a part of the VNet";
  EXPECT_EQ(held.front().source.name, "ce3/gw-a");
  EXPECT_EQ(held.front().as_path, (std::vector<std::uint32_t>{65021, 65033})) << "no shorter than it was";
  EXPECT_TRUE(held.front().communities.empty());
  EXPECT_EQ(bgp_intent(model, 0, {{}, held}).origins.size(), 2U) << "the VNet's, too";
}

TEST_F(TakenOverTest, WhatGoesAgainIsALastResortForAWhile) {
  take_over();
  model.elsewhere.push_back(std::move(model.tunnels.back()));
  model.tunnels.pop_back();
  model.elsewhere.back().carrier = "gw-a";
  routes.set_model(model);
  const auto held = routes.held_origins();
  ASSERT_EQ(held.size(), 1U);
  EXPECT_EQ(held.front().prefixes, std::vector{pfx("10.33.0.0/16")});
  EXPECT_EQ(held.front().communities, std::vector{routes::kGracefulShutdown});
}

TEST_F(TakenOverTest, AWithdrawalBeforeItCameCounts) {
  theirs.routes("ce3/gw-a", {{}, nullptr, {}, {pfx("10.33.0.0/16")}, ""});
  take_over();
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
}

TEST_F(TakenOverTest, ASessionThatWasDownLeavesNothing) {
  theirs.nothing("ce3/gw-a");
  take_over();
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
  EXPECT_TRUE(routes.held_origins().empty());
}

TEST_F(TakenOverTest, WhenTheSessionIsOpenAgainItHasTheLastWord) {
  take_over();
  bool told = false;
  routes.on_held_change([&] { told = true; });
  up("169.254.21.10");
  auto update = bgp::BmpRoutes{peer("169.254.21.10"), learned({65021}), {pfx("10.34.0.0/16")}, {}, ""};
  routes.handle(bgp::BmpEvent(std::move(update)));
  EXPECT_EQ(tunnels("10.33.0.0/16"), (Ids{9})) << "not said again yet";
  EXPECT_FALSE(told);
  std::map<IpAddress, bgp::PeerStatus> sessions;
  sessions[ip("169.254.21.10")].state = "Established";
  sessions[ip("169.254.21.10")].end_of_rib_v4 = sessions[ip("169.254.21.10")].end_of_rib_v6 = true;
  routes.set_sessions(sessions);
  run_for(RouteController::kSettle + 200ms);
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
  EXPECT_EQ(tunnels("10.34.0.0/16"), (Ids{9}));
  EXPECT_TRUE(told);
  EXPECT_TRUE(routes.held_origins().empty());
}

TEST_F(TakenOverTest, WhatIsSaidAgainIsNotHeldAnyMore) {
  take_over();
  int told = 0;
  routes.on_held_change([&] { ++told; });
  up("169.254.21.10");
  const auto say = [&](const char* prefix) {
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer("169.254.21.10"), learned({65021, 65033}), {pfx(prefix)}, {}, ""}));
  };
  say("10.33.0.0/16");
  EXPECT_EQ(told, 0);
  EXPECT_TRUE(routes.held_origins().empty()) << "what is left is refused";
  say("10.0.7.0/24");
  EXPECT_EQ(told, 1);
  EXPECT_EQ(tunnels("10.33.0.0/16"), (Ids{9}));
  EXPECT_TRUE(routes.waiting().empty());
}

TEST_F(TakenOverTest, ASessionIsOpenAsEitherInstanceSays) {
  EXPECT_TRUE(routes.is_open("ce3/gw-a"));
  EXPECT_FALSE(routes.is_open("ce4/gw-a"));
  take_over();
  EXPECT_TRUE(routes.is_open("ce3/gw-a"));
  theirs.nothing("ce3/gw-a");
  EXPECT_TRUE(routes.is_open("ce3/gw-a")) << "it is ours now";
  routes.path_died(ip("169.254.21.10"));
  EXPECT_FALSE(routes.is_open("ce3/gw-a"));
}

TEST_F(TakenOverTest, ADeadTunnelIsNotWaitedFor) {
  take_over();
  bool told = false;
  routes.on_held_change([&] { told = true; });
  carrier(9, true);
  EXPECT_EQ(tunnels("10.33.0.0/16"), (Ids{9}));
  carrier(9, false);
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
  EXPECT_TRUE(told);
}

TEST_F(TakenOverTest, ThePathThatDiesWhileHeldTakesItsRoutes) {
  take_over();
  routes.path_died(ip("169.254.21.2"));
  EXPECT_EQ(tunnels("10.33.0.0/16"), (Ids{9})) << "another peer's, and that one is up";
  routes.path_died(ip("169.254.21.10"));
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
}

TEST_F(TakenOverTest, BfdEndsWhatIsHeldAndNotWhatRestarts) {
  take_over();
  announce("169.254.21.2", "10.21.0.0/16");
  down("169.254.21.2", 2);
  routes.held_path_died(ip("169.254.21.2"));
  routes.held_path_died(ip("169.254.21.10"));
  EXPECT_EQ(forwarding.wanted(pfx("10.33.0.0/16")), nullptr);
}

TEST_F(TakenOverTest, TheOtherInstanceIsToldWhatWasTaken) {
  sync::LearnedImport other;
  routes.sync_to([&](std::string message) { ASSERT_TRUE(other.apply(message)); });
  EXPECT_EQ(other.tunnels(), 2U);
  take_over();
  ASSERT_NE(other.find("ce3/gw-a"), nullptr);
  EXPECT_EQ(other.find("ce3/gw-a")->routes.size(), 2U);
  announce("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(other.find("ce1/gw-a")->routes.size(), 1U);
  down("169.254.21.2", 3);
  EXPECT_EQ(other.find("ce1/gw-a"), nullptr);
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

// The circuit's two routers, a VNet router and the other instance beside the tunnels.
class CoexistenceTest : public RouteControllerTest {
 protected:
  void SetUp() override {
    RouteControllerTest::SetUp();
    model.vnet_address = ip("10.0.0.4");
    add("er1-primary/gw-a", routes::SourceKind::kCircuit, "192.168.30.18", 12076);
    add("er1-secondary/gw-a", routes::SourceKind::kCircuit, "192.168.30.26", 12076);
    add("vnet:rs1/gw-a", routes::SourceKind::kVnet, "10.0.0.1", 65100);
    add("instance:gw-b", routes::SourceKind::kPartner, "10.0.0.5", 65515);
    routes.set_model(model);
    for (const config::SessionModel& session : model.sessions) {
      const std::string address = session.bgp.peer.to_string();
      up(address);
    }
  }
  void add(std::string name, routes::SourceKind kind, std::string_view address, std::uint32_t asn) {
    config::SessionModel session;
    session.name = std::move(name);
    session.kind = kind;
    session.bgp.peer = ip(address);
    session.bgp.peer_asn = asn;
    model.sessions.push_back(std::move(session));
  }
  void announce_via(std::string_view address, std::string_view prefix, std::string_view next_hop,
                    std::vector<std::uint32_t> path, std::vector<std::uint32_t> communities = {}) {
    announce_via(address, prefix, ip(next_hop), std::move(path), std::move(communities));
  }
  void announce_via(std::string_view address, std::string_view prefix, const IpAddress& next_hop,
                    std::vector<std::uint32_t> path, std::vector<std::uint32_t> communities = {}) {
    auto attributes = std::make_shared<routes::Attributes>();
    attributes->next_hop = next_hop;
    attributes->as_path = routes::AsPath::sequence(std::move(path));
    attributes->communities = std::move(communities);
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), std::move(attributes), {pfx(prefix)}, {}, ""}));
  }
  std::string way(std::string_view prefix) const {
    const ForwardingEntry* entry = forwarding.wanted(pfx(prefix));
    if (entry == nullptr) return "none";
    std::string out = fp::NextHopKind_Name(entry->kind).substr(9);
    for (const std::uint32_t id : entry->tunnel_ids) out += std::format(" tun{}", id);
    for (const IpAddress& gateway : entry->gateways) out += std::format(" {}", gateway);
    return out + (entry->behind == fp::BEHIND_TUNNELS   ? " tunnels"
                  : entry->behind == fp::BEHIND_CIRCUIT ? " circuit"
                                                        : "");
  }
};

TEST_F(CoexistenceTest, TheCircuitWinsAndTheTunnelIsItsBackup) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.26", "10.21.0.0/16", "192.168.30.26", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18 192.168.30.26");
  down("192.168.30.18", 3);
  down("192.168.30.26", 3);
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
}

TEST_F(CoexistenceTest, TheOtherInstanceIsTheWayWhenItsOwnAreGone) {
  const std::uint32_t vpn = routes::class_community(routes::SourceKind::kVpnTunnel);
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {65021}, {vpn});
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  withdraw("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 tunnels");
  // Its circuit is better than our tunnel.
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021},
               {routes::class_community(routes::SourceKind::kCircuit)});
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit");
}

// It may have lost its circuit as well, and not have been able to say so.
TEST_F(CoexistenceTest, ATunnelOfOursComesBeforeTheOtherInstanceForAMoment) {
  const std::uint32_t circuit = routes::class_community(routes::SourceKind::kCircuit);
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021}, {circuit});
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18");
  withdraw("192.168.30.18", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit") << "it still has its circuit";
  // Back and lost again; then the other one says that it lost its circuit, too.
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  withdraw("192.168.30.18", "10.21.0.0/16");
  withdraw("10.0.0.5", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  io.restart();
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
}

TEST_F(CoexistenceTest, WithoutAWayOfOursTheOtherInstanceIsTheWayAtOnce) {
  const std::uint32_t circuit = routes::class_community(routes::SourceKind::kCircuit);
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021}, {circuit});
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  withdraw("192.168.30.18", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit");
}

TEST_F(CoexistenceTest, ANextHopOfOursIsNoWay) {
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.4", {65021});
  EXPECT_EQ(way("10.21.0.0/16"), "none");
}

TEST_F(CoexistenceTest, AnIpv6NextHopThatCannotBeAskedForIsTheSessionsPeer) {
  const std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 30, 18};
  announce_via("192.168.30.18", "2001:db8:21::/48", IpAddress::from_v6(mapped), {12076, 65021});
  EXPECT_EQ(way("2001:db8:21::/48"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.18", "2001:db8:22::/48", "fe80::1", {12076, 65021});
  EXPECT_EQ(way("2001:db8:22::/48"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.18", "2001:db8:23::/48", "2001:db8:30::18", {12076, 65021});
  EXPECT_EQ(way("2001:db8:23::/48"), "CIRCUIT 2001:db8:30::18");
  // One family for a set: the sessions' addresses.
  announce_via("192.168.30.26", "2001:db8:23::/48", "fe80::2", {12076, 65021});
  EXPECT_EQ(way("2001:db8:23::/48"), "CIRCUIT 192.168.30.18 192.168.30.26");
}

TEST_F(CoexistenceTest, WhatAVnetRouterTellsIsTheVnets) {
  announce_via("10.0.0.1", "10.7.0.0/16", "10.0.0.9", {65100});
  EXPECT_EQ(way("10.7.0.0/16"), "VNET 10.0.0.9");
}

TEST_F(CoexistenceTest, SpokesAreTheVnets) {
  model.spokes.push_back({"spoke-1", {pfx("10.1.0.0/16"), pfx("2001:db8:11::/48")}});
  model.vnet_next_hops = {ip("10.0.0.1"), ip("2001:db8::1")};
  routes.set_model(model);
  EXPECT_EQ(way("10.1.0.0/16"), "VNET 10.0.0.1");
  EXPECT_EQ(way("2001:db8:11::/48"), "VNET 2001:db8::1");
  model.spokes.clear();
  routes.set_model(model);
  EXPECT_EQ(way("10.1.0.0/16"), "none");
}

TEST_F(RouteControllerTest, TheRouteLimitIsWatched) {
  for (int i = 0; i < 8; ++i) announce("169.254.21.2", std::format("10.21.{}.0/24", i));
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->limit, routes::LimitState::kNear);
  for (int i = 8; i < 10; ++i) announce("169.254.21.2", std::format("10.21.{}.0/24", i));
  EXPECT_EQ(routes.peer_routes("ce1/gw-a")->limit, routes::LimitState::kReached);
}

}  // namespace
}  // namespace gw::gwd
