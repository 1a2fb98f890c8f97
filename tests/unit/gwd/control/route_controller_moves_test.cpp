// Tunnels that move between two instances, and what becomes of their routes.
#include "tests/unit/gwd/control/route_controller_fixture.hpp"

namespace gw::gwd {
namespace {

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

}  // namespace
}  // namespace gw::gwd
