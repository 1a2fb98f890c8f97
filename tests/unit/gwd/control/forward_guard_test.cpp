#include "gwd/control/forward_guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ForwardGuard, ReplacesItselfAndLetsOnlyTunnelsThrough) {
  const std::string script = render_forward_guard({"eth0", "eth1"});
  EXPECT_THAT(script, HasSubstr("add table inet gw_guard\ndelete table inet gw_guard\ntable inet gw_guard {"));
  EXPECT_THAT(script, HasSubstr(R"(iifname "eth1" oifname { "tun*", "eth1" } accept)"));
  EXPECT_THAT(script, HasSubstr(R"(iifname "gw-data" oifname "eth1" accept)"));
  EXPECT_THAT(script, HasSubstr(R"(iifname { "tun*", "gw-data", "eth1", "eth0" } counter drop)"));
  EXPECT_THAT(script, HasSubstr(R"(oifname { "tun*", "gw-data", "eth1", "eth0" } counter drop)"));
}

TEST(ForwardGuard, TheCircuitReachesTheVnetAndTunnelsOnlyWithTransit) {
  GuardPorts ports{.wan = "eth0", .vnet = "eth1", .circuit = "eth2"};
  const std::string closed = render_forward_guard(ports);
  EXPECT_THAT(closed, HasSubstr(R"(iifname { "eth2", "eth2.*" } oifname "eth1" accept)"));
  EXPECT_THAT(closed, HasSubstr(R"(iifname "eth1" oifname { "eth2", "eth2.*" } accept)"));
  EXPECT_THAT(closed, Not(HasSubstr(R"(oifname "tun*" accept)")));
  EXPECT_THAT(closed, HasSubstr(R"(iifname { "eth2", "eth2.*" } jump circuit)"));
  ports.transit = CircuitTransit::kOpen;
  const std::string open = render_forward_guard(ports);
  EXPECT_THAT(open, HasSubstr(R"(iifname { "eth2", "eth2.*" } oifname "tun*" accept)"));
  EXPECT_THAT(open, HasSubstr(R"(iifname { "tun*", "gw-circuit" } oifname { "eth2", "eth2.*" } accept)"));
  EXPECT_THAT(render_forward_guard({"eth0", "eth1"}), Not(HasSubstr("circuit")));
}

TEST(ForwardGuard, TheWansBgpIsItsRoutersAlone) {
  GuardPorts ports{.wan = "eth0", .vnet = "eth1"};
  const std::string none = render_forward_guard(ports);
  EXPECT_THAT(none, HasSubstr("iifname { \"eth0\", \"eth0.*\" } jump wan\n"));
  EXPECT_THAT(none, HasSubstr("chain wan {\n    tcp dport 179 counter drop"));
  EXPECT_THAT(none, HasSubstr("tcp sport 179 counter drop"));
  EXPECT_THAT(none, HasSubstr("udp dport { 3784, 3785, 4784 } counter drop"));
  for (const char* text : {"203.0.113.1", "203.0.113.2", "2001:db8:1::1"})
    ports.wan_routers.push_back(IpAddress::parse(text).value());
  const std::string some = render_forward_guard(ports);
  EXPECT_THAT(some,
              HasSubstr("ip saddr { 203.0.113.1, 203.0.113.2 } accept\n    ip6 saddr { 2001:db8:1::1 } accept\n"));
}

TEST(ForwardGuard, OneEndOfATunnelsSessionConnectsAtATime) {
  const std::string script = render_forward_guard({"eth0", "eth1"});
  EXPECT_THAT(script, HasSubstr("chain site_asks {\n    iifname @our_turn counter drop"));
  EXPECT_THAT(script, HasSubstr("chain we_ask {\n    oifname @the_sites_turn counter drop"));
  EXPECT_THAT(script, HasSubstr("hook output priority filter; policy accept;\n    oifname \"tun*\" tcp dport 179"));
}

}  // namespace
}  // namespace gw::gwd
