// Sessions that are started because nothing speaks against them any more.
#include "bgp/reopen.hpp"

#include <gtest/gtest.h>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using test::ip;
using Names = std::vector<std::string>;

TEST(Reopen, WhatBgpdForgotAfterBfd) {
  BgpIntent intent;
  const IpAddress peer = ip("169.254.21.6");
  intent.peers.emplace_back();
  intent.peers.back().peer = peer;
  intent.peers.back().bfd = BfdIntent{};
  std::map<IpAddress, PeerStatus> sessions;
  PeerStatus& session = sessions[peer];
  session.state = "Idle";
  session.path_died = true;
  session.uptime = std::chrono::seconds(5);
  BfdStates bfd;
  bfd[peer].up = true;
  EXPECT_EQ(forgotten(intent, sessions, bfd), Names{"169.254.21.6"});
  session.uptime = std::chrono::seconds(4);
  EXPECT_TRUE(forgotten(intent, sessions, bfd).empty()) << "it may come by itself";
  session.uptime = std::chrono::seconds(50);
  session.watched = BfdIntent{};
  EXPECT_TRUE(forgotten(intent, sessions, bfd).empty()) << "bgpd is let go of it first";
  session.watched.reset();
  bfd[peer].up = false;
  EXPECT_TRUE(forgotten(intent, sessions, bfd).empty());
}

BgpIntent with_limit(std::uint32_t max_routes, routes::LimitAction action = routes::LimitAction::kDropSession) {
  BgpIntent g;
  g.peers.push_back(test::paris());
  test::change_policy(g, [&](routes::Policy& policy) {
    routes::PeerPolicy& peer = policy.peers["paris-ce1/gw-a"];
    peer.max_routes = max_routes;
    peer.at_limit = action;
  });
  return g;
}

TEST(Reopen, WhoseLimitIsLarger) {
  const BgpIntent ten = with_limit(10);
  const std::vector<IpAddress> paris{ip("169.254.21.2")};
  EXPECT_EQ(raised_limits(ten, with_limit(20)), paris);
  EXPECT_EQ(raised_limits(ten, with_limit(0)), paris) << "no limit";
  EXPECT_EQ(raised_limits(ten, with_limit(10, routes::LimitAction::kWarn)), paris);
  EXPECT_TRUE(raised_limits(ten, ten).empty());
  EXPECT_TRUE(raised_limits(ten, with_limit(5)).empty()) << "it would end again";
  BgpIntent disabled = with_limit(20);
  disabled.peers[0].disabled = true;
  EXPECT_TRUE(raised_limits(ten, disabled).empty());
}

}  // namespace
}  // namespace gw::bgp
