#include "bgp/config_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using namespace std::chrono_literals;
using test::berlin;
using test::gateway;
using test::ip;
using test::joined;
using test::net;
using test::paris;
using test::printed;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;

TEST(Render, Golden) {
  BgpIntent g = gateway();
  g.peers[0].md5 = Secret("hunter2");
  EXPECT_EQ(joined(render(g)), R"(XFRR_start_configuration
bgp route-map delay-timer 0
bgp community-list standard GW-ENDPOINT-06d25f184840 seq 5 permit 65515:1211
bgp community-list standard GW-GSHUT-fa34d30de3cd seq 5 permit graceful-shutdown
bgp community-list standard GW-INTERNAL-2677cc6a0c7e seq 5 permit 65515:1200 65515:1201 65515:1202 65515:1203 65515:1204 65515:1205 65515:1206 65515:1207 65515:1208 65515:1209 65515:1210 65515:1211 65515:1212 65515:1213 65515:1214 65515:1215 65515:1216 65515:1217 65515:1218 65515:1219
bgp community-list standard GW-ISOLATED-29598947e071 seq 5 permit 65515:1201 65515:1210
bgp community-list standard GW-ISOLATED-29598947e071 seq 10 permit 65515:1202 65515:1210
bgp as-path access-list GW-RESERVED-AS-d471ef927fbc seq 5 permit _(0|8074|8075|12076|23456|64496|64497|64498|64499|64500|64501|64502|64503|64504|64505|64506|64507|64508|64509|64510|64511|65515|65517|65518|65519|65520|65535|65536|65537|65538|65539|65540|65541|65542|65543|65544|65545|65546|65547|65548|65549|65550|65551|4294967295)_
bgp community-list standard GW-TOLD-b7aa97af380d seq 5 permit 65515:1200
bgp community-list standard GW-TOLD-b7aa97af380d seq 10 permit 65515:1201
bgp community-list standard GW-TOLD-b7aa97af380d seq 15 permit 65515:1202
bgp community-list standard GW-TOLD-b7aa97af380d seq 20 permit 65515:1204
bgp community-list standard GW-TOLD-b7aa97af380d seq 25 permit 65515:1206
ip prefix-list GW-DEFAULT-f4a054353e90 seq 5 permit 0.0.0.0/0
ipv6 prefix-list GW-DEFAULT6-f3478f160a25 seq 5 permit ::/0
ip prefix-list GW-REFUSED-cea34b4fa548 seq 5 permit 0.0.0.0/8 le 32
ip prefix-list GW-REFUSED-cea34b4fa548 seq 10 permit 10.0.0.0/16 le 32
ip prefix-list GW-REFUSED-cea34b4fa548 seq 15 permit 127.0.0.0/8 le 32
ip prefix-list GW-REFUSED-cea34b4fa548 seq 20 permit 169.254.0.0/16 le 32
ip prefix-list GW-REFUSED-cea34b4fa548 seq 25 permit 224.0.0.0/4 le 32
ip prefix-list GW-REFUSED-cea34b4fa548 seq 30 permit 240.0.0.0/4 le 32
ipv6 prefix-list GW-REFUSED6-48378e4f2a17 seq 5 permit ::/8 le 128
ipv6 prefix-list GW-REFUSED6-48378e4f2a17 seq 10 permit 2001:db8:10::/48 le 128
ipv6 prefix-list GW-REFUSED6-48378e4f2a17 seq 15 permit fe80::/10 le 128
ipv6 prefix-list GW-REFUSED6-48378e4f2a17 seq 20 permit ff00::/8 le 128
route-map GW-NETWORK-77bc52fab452 permit 10
set weight 32768
set community 65515:1200
route-map GW-VPN-IN-c5756facf482 deny 10
match as-path GW-RESERVED-AS-d471ef927fbc
route-map GW-VPN-IN-c5756facf482 deny 20
match ip address prefix-list GW-DEFAULT-f4a054353e90
route-map GW-VPN-IN-c5756facf482 deny 30
match ip address prefix-list GW-REFUSED-cea34b4fa548
route-map GW-VPN-IN-c5756facf482 permit 60
set comm-list GW-INTERNAL-2677cc6a0c7e delete
set extcommunity none
on-match next
route-map GW-VPN-IN-c5756facf482 permit 70
set weight 100
set community 65515:1202 additive
on-match next
route-map GW-VPN-IN-c5756facf482 permit 60000
match community GW-GSHUT-fa34d30de3cd
set weight 0
set local-preference 0
on-match next
route-map GW-VPN-IN-c5756facf482 permit 60010
route-map GW-VPN-IN6-d45badd00fc0 deny 10
match as-path GW-RESERVED-AS-d471ef927fbc
route-map GW-VPN-IN6-d45badd00fc0 deny 20
match ipv6 address prefix-list GW-DEFAULT6-f3478f160a25
route-map GW-VPN-IN6-d45badd00fc0 deny 30
match ipv6 address prefix-list GW-REFUSED6-48378e4f2a17
route-map GW-VPN-IN6-d45badd00fc0 permit 60
set comm-list GW-INTERNAL-2677cc6a0c7e delete
set extcommunity none
on-match next
route-map GW-VPN-IN6-d45badd00fc0 permit 70
set weight 100
set community 65515:1202 additive
on-match next
route-map GW-VPN-IN6-d45badd00fc0 permit 60000
match community GW-GSHUT-fa34d30de3cd
set weight 0
set local-preference 0
on-match next
route-map GW-VPN-IN6-d45badd00fc0 permit 60010
set ipv6 next-hop local fe80::1
route-map GW-VPN-OUT-6d9bd75c715e deny 5
match community GW-ENDPOINT-06d25f184840
route-map GW-VPN-OUT-6d9bd75c715e permit 10
match community GW-TOLD-b7aa97af380d
on-match goto 30
route-map GW-VPN-OUT-6d9bd75c715e deny 20
route-map GW-VPN-OUT-6d9bd75c715e deny 30
match community GW-ISOLATED-29598947e071
route-map GW-VPN-OUT-6d9bd75c715e deny 40
match ip address prefix-list GW-DEFAULT-f4a054353e90
route-map GW-VPN-OUT-6d9bd75c715e permit 60010
set comm-list GW-INTERNAL-2677cc6a0c7e delete
route-map GW-VPN-OUT6-a36d86b382be deny 5
match community GW-ENDPOINT-06d25f184840
route-map GW-VPN-OUT6-a36d86b382be permit 10
match community GW-TOLD-b7aa97af380d
on-match goto 30
route-map GW-VPN-OUT6-a36d86b382be deny 20
route-map GW-VPN-OUT6-a36d86b382be deny 30
match community GW-ISOLATED-29598947e071
route-map GW-VPN-OUT6-a36d86b382be deny 40
match ipv6 address prefix-list GW-DEFAULT6-f3478f160a25
route-map GW-VPN-OUT6-a36d86b382be permit 60010
set comm-list GW-INTERNAL-2677cc6a0c7e delete
router bgp 65515
bgp log-neighbor-changes
no bgp default ipv4-unicast
no bgp ebgp-requires-policy
no bgp network import-check
bgp always-compare-med
bgp bestpath as-path multipath-relax
bgp bestpath compare-routerid
bgp graceful-restart
bgp graceful-restart preserve-fw-state
bgp graceful-restart select-defer-time 30
neighbor GW-TUNNELS peer-group
neighbor GW-TUNNELS timers connect 1
neighbor GW-TUNNELS advertisement-interval 0
neighbor GW-TUNNELS capability extended-nexthop
address-family ipv4 unicast
maximum-paths 8
maximum-paths ibgp 8
neighbor GW-TUNNELS activate
neighbor GW-TUNNELS soft-reconfiguration inbound
neighbor GW-TUNNELS next-hop-self
no neighbor GW-TUNNELS send-community extended
neighbor GW-TUNNELS route-map GW-VPN-IN-c5756facf482 in
neighbor GW-TUNNELS route-map GW-VPN-OUT-6d9bd75c715e out
exit-address-family
address-family ipv6 unicast
maximum-paths 8
maximum-paths ibgp 8
neighbor GW-TUNNELS activate
neighbor GW-TUNNELS soft-reconfiguration inbound
neighbor GW-TUNNELS next-hop-self
no neighbor GW-TUNNELS send-community extended
neighbor GW-TUNNELS route-map GW-VPN-IN6-d45badd00fc0 in
neighbor GW-TUNNELS route-map GW-VPN-OUT6-a36d86b382be out
exit-address-family
exit
hostname gw-a
router bgp 65515
bgp router-id 203.0.113.10
bgp graceful-restart restart-time 120
no bgp graceful-shutdown
neighbor 169.254.21.2 remote-as 65021
neighbor 169.254.21.2 peer-group GW-TUNNELS
neighbor 169.254.21.2 description paris-ce1/gw-a
neighbor 169.254.21.2 update-source 169.254.21.1
neighbor 169.254.21.2 timers 60 180
neighbor 169.254.21.2 password (secret)
neighbor 169.254.21.2 sender-as-path-loop-detection
bmp targets GW
bmp connect 127.0.0.1 port 1790 min-retry 100 max-retry 1000
bmp monitor ipv4 unicast pre-policy
bmp monitor ipv6 unicast pre-policy
exit
address-family ipv4 unicast
network 10.0.0.0/16 route-map GW-NETWORK-77bc52fab452
neighbor 169.254.21.2 soo 65515:1341829536
neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5
exit-address-family
address-family ipv6 unicast
network 2001:db8:10::/48 route-map GW-NETWORK-77bc52fab452
neighbor 169.254.21.2 soo 65515:1341829536
neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5
exit-address-family
exit
XFRR_end_configuration
)");
}

TEST(Render, FileIsTheSameWithTheSecret) {
  BgpIntent g = gateway();
  g.peers[0].md5 = Secret("hunter2");
  const Secret file = render_file(g);
  EXPECT_TRUE(file.text().contains("neighbor 169.254.21.2 password hunter2\n"));
  EXPECT_TRUE(file.text().contains("\nfrr defaults traditional\n"));
  EXPECT_TRUE(file.text().ends_with("exit-address-family\nexit\n"));
}

TEST(Diff, NothingForNothing) { EXPECT_THAT(printed(diff(gateway(), gateway())), IsEmpty()); }

TEST(Diff, ANewPeerStaysDownUntilItIsComplete) {
  BgpIntent after = gateway();
  after.peers.push_back(berlin());
  EXPECT_THAT(
      printed(diff(gateway(), after)),
      ElementsAre("router bgp 65515", "neighbor 169.254.21.6 remote-as 65022", "neighbor 169.254.21.6 shutdown",
                  "neighbor 169.254.21.6 peer-group GW-TUNNELS", "neighbor 169.254.21.6 description berlin-ce1/gw-a",
                  "neighbor 169.254.21.6 update-source 169.254.21.5", "neighbor 169.254.21.6 timers 60 180",
                  "neighbor 169.254.21.6 sender-as-path-loop-detection", "address-family ipv4 unicast",
                  "neighbor 169.254.21.6 soo 65515:1093807985",
                  "neighbor 169.254.21.6 maximum-prefix 4000 80 restart 5", "exit-address-family",
                  "address-family ipv6 unicast", "neighbor 169.254.21.6 soo 65515:1093807985",
                  "neighbor 169.254.21.6 maximum-prefix 4000 80 restart 5", "exit-address-family",
                  "no neighbor 169.254.21.6 shutdown", "exit"));
  EXPECT_FALSE(changes_import(diff(gateway(), after)));
  EXPECT_THAT(printed(diff(after, gateway())), ElementsAre("router bgp 65515", "no neighbor 169.254.21.6", "exit"));
}

TEST(Diff, AnUnnumberedNeighbourIsItsDevice) {
  BgpIntent g = gateway();
  g.peers[0].unnumbered = true;
  g.peers[0].local = g.peers[0].peer = ip("fe80::a");
  const auto there = printed(diff(gateway(), g));
  EXPECT_THAT(there, Contains("no neighbor 169.254.21.2"));
  EXPECT_THAT(there, Contains("neighbor tun1 interface v6only remote-as 65021"));
  EXPECT_THAT(there, Contains("neighbor tun1 peer-group GW-TUNNELS"));
  EXPECT_THAT(there, Not(Contains(HasSubstr("update-source"))));
  EXPECT_THAT(printed(diff(g, gateway())), Contains("no neighbor tun1"));
}

TEST(Diff, TheLastOfItsKindTakesGroupAndPolicyAlong) {
  BgpIntent after = gateway();
  after.peers.clear();
  const auto commands = printed(diff(gateway(), after));
  EXPECT_THAT(std::vector(commands.begin(), commands.begin() + 4),
              ElementsAre("router bgp 65515", "no neighbor 169.254.21.2", "no neighbor GW-TUNNELS peer-group", "exit"));
  for (auto it = commands.begin() + 5; it != commands.end() - 1; ++it) {
    EXPECT_TRUE(it->starts_with("no ") && it->contains(" GW-")) << *it;
  }
}

TEST(Diff, OneChangedOfFiveHundredIsItsOwnCommandsOnly) {
  BgpIntent before = gateway();
  BgpIntent after = gateway();
  for (unsigned i = 1; i <= 500; ++i) {
    for (BgpIntent* g : {&before, &after}) {
      PeerIntent p = paris();
      p.name = std::format("site{}/gw-a", i);
      p.local = IpAddress::from_v4(0xa9fe1500 + 4 * i + 1);
      p.peer = IpAddress::from_v4(0xa9fe1500 + 4 * i + 2);
      p.md5 = Secret("k");
      g->peers.push_back(std::move(p));
    }
  }
  EXPECT_THAT(printed(diff(before, after)), IsEmpty());
  after.peers[250].hold = 9s;
  after.peers[250].keepalive = 3s;
  after.peers[250].md5 = Secret("other");
  const std::string name = after.peers[250].peer.to_string();
  EXPECT_THAT(printed(diff(before, after)), ElementsAre("router bgp 65515", std::format("neighbor {} timers 3 9", name),
                                                        std::format("neighbor {} password (secret)", name), "exit"));
  after.peers[250].md5 = {};
  test::change_policy(after, [&](routes::Policy& p) { p.peers[after.peers[250].name].max_routes = 0; });
  EXPECT_THAT(printed(diff(before, after)),
              ElementsAre("router bgp 65515", std::format("no neighbor {} password", name),
                          std::format("neighbor {} timers 3 9", name), "address-family ipv4 unicast",
                          std::format("no neighbor {} maximum-prefix", name), "exit-address-family",
                          "address-family ipv6 unicast", std::format("no neighbor {} maximum-prefix", name),
                          "exit-address-family", "exit"));
}

// bgpd never has half of a policy: what is new is made beside what is old, then the group moves, then what is old goes.
TEST(Diff, PolicyMovesAtOnce) {
  BgpIntent after = gateway();
  test::set_vnet(after, {net("10.0.0.0/16"), net("10.9.0.0/16"), net("2001:db8:10::/48")});
  const auto commands = printed(diff(gateway(), after));
  const auto router = std::ranges::find(commands, "router bgp 65515");
  const auto end = std::ranges::find(router, commands.end(), "exit");
  EXPECT_EQ(commands.front(), "XFRR_start_configuration");
  EXPECT_EQ(*(router - 1), "XFRR_end_configuration");
  EXPECT_TRUE(std::all_of(commands.begin(), router, [](const auto& c) { return !c.starts_with("no "); }));
  // What is originated comes first: bgpd forgets what changes while it judges its routes anew.
  EXPECT_THAT(std::vector(router, end),
              ElementsAre("router bgp 65515", "address-family ipv4 unicast",
                          MatchesRegex("network 10.9.0.0/16 route-map GW-NETWORK-[0-9a-f]+"),
                          MatchesRegex("neighbor GW-TUNNELS route-map GW-VPN-IN-[0-9a-f]+ in"), "exit-address-family"));
  EXPECT_THAT(std::vector(end + 1, commands.end()),
              ElementsAre("XFRR_start_configuration", MatchesRegex("no route-map GW-VPN-IN-.*"),
                          MatchesRegex("no ip prefix-list GW-REFUSED-.*"), "XFRR_end_configuration"));
  EXPECT_TRUE(changes_import(diff(gateway(), after)));
  EXPECT_THAT(printed(choose_again(after)), ElementsAre("router bgp 65515", "bgp bestpath compare-routerid", "exit"));
}

TEST(Diff, WhatIsSpecialAboutASiteIsItsNeighboursOwn) {
  BgpIntent before = gateway();
  before.peers.push_back(berlin());
  BgpIntent after = gateway();
  after.peers.push_back(berlin());
  test::change_policy(after, [](routes::Policy& p) {
    p.import_rules = {{.name = "berlin-lp", .match = {.site = "berlin"}, .set = {.local_preference = 150}}};
  });
  std::vector<std::string> neighbours;
  for (const std::string& c : printed(diff(before, after))) {
    if (c.starts_with("neighbor ")) neighbours.push_back(c);
  }
  EXPECT_THAT(neighbours, ElementsAre(MatchesRegex("neighbor 169.254.21.6 route-map GW-VPN-IN-.* in"),
                                      MatchesRegex("neighbor 169.254.21.6 route-map GW-VPN-IN6-.* in")));
  const auto back = printed(diff(after, before));
  EXPECT_THAT(back, Contains(MatchesRegex("no neighbor 169.254.21.6 route-map GW-VPN-IN-.* in")));
  EXPECT_THAT(back, Not(Contains(HasSubstr("169.254.21.2"))));
}

TEST(Diff, ANeighbourOfAnotherKindIsAnotherOne) {
  BgpIntent before = gateway();
  before.peers.push_back(berlin());
  BgpIntent after = gateway();
  after.peers.push_back(berlin());
  after.peers[1].kind = routes::SourceKind::kBranchVnet;
  const auto commands = printed(diff(before, after));
  const auto gone = std::ranges::find(commands, "no neighbor 169.254.21.6");
  ASSERT_NE(gone, commands.end());
  EXPECT_NE(std::find(gone, commands.end(), "neighbor 169.254.21.6 remote-as 65022"), commands.end());
  EXPECT_NE(std::find(gone, commands.end(), "neighbor 169.254.21.6 peer-group GW-BRANCHES"), commands.end());
  EXPECT_NE(std::find(gone, commands.end(), "no neighbor 169.254.21.6 shutdown"), commands.end());
}

TEST(Diff, LimitsAndAsNumbersOfANeighbour) {
  BgpIntent after = gateway();
  test::change_policy(after, [](routes::Policy& p) {
    routes::PeerPolicy& paris = p.peers["paris-ce1/gw-a"];
    paris.max_routes = 100;
    paris.at_limit = routes::LimitAction::kWarn;
    paris.as_override = routes::AsOverride::kYes;
    paris.private_asns = routes::PrivateAsns::kRemove;
  });
  EXPECT_THAT(printed(diff(gateway(), after)),
              ElementsAre("router bgp 65515", "no neighbor 169.254.21.2 sender-as-path-loop-detection",
                          "address-family ipv4 unicast", "neighbor 169.254.21.2 as-override",
                          "neighbor 169.254.21.2 remove-private-AS all",
                          "neighbor 169.254.21.2 maximum-prefix 100 80 warning-only", "exit-address-family",
                          "address-family ipv6 unicast", "neighbor 169.254.21.2 as-override",
                          "neighbor 169.254.21.2 remove-private-AS all",
                          "neighbor 169.254.21.2 maximum-prefix 100 80 warning-only", "exit-address-family", "exit"));
}

TEST(Diff, AnInstanceThatIsDrainedSaysSoOnEverySession) {
  BgpIntent drained = gateway();
  drained.graceful_shutdown = true;
  EXPECT_THAT(printed(diff(gateway(), drained)), ElementsAre("router bgp 65515", "bgp graceful-shutdown", "exit"));
  EXPECT_THAT(printed(diff(drained, gateway())), ElementsAre("router bgp 65515", "no bgp graceful-shutdown", "exit"));
}

TEST(Diff, ASessionWhoseTunnelMovesIsToldSoAlone) {
  BgpIntent moving = gateway();
  moving.peers.front().graceful_shutdown = true;
  const auto lines = printed(diff(gateway(), moving));
  EXPECT_THAT(lines, Contains("set community graceful-shutdown additive"));
  const auto sessions = [&](const std::string& line) { return line.starts_with("neighbor "); };
  EXPECT_EQ(std::ranges::count_if(lines, sessions), 2) << "its route-map out, of either family";
  EXPECT_TRUE(std::ranges::all_of(lines, [&](const std::string& line) {
    return !sessions(line) || line.starts_with("neighbor 169.254.21.2 route-map GW-VPN-OUT");
  }));
}

TEST(Diff, WhatIsHeldKeepsItsPathAndSaysThatItMoves) {
  BgpIntent holding = gateway();
  OriginIntent origin = holding.origins.front();
  origin.prefixes = {Prefix::parse("10.33.0.0/16").value()};
  origin.communities = {routes::kGracefulShutdown};
  origin.as_path = {65021, 65033};
  holding.origins.push_back(origin);
  const auto lines = printed(diff(gateway(), holding));
  EXPECT_THAT(lines, Contains("set as-path prepend 65021 65033"));
  EXPECT_THAT(lines, Contains(HasSubstr("65535:0")));
  EXPECT_THAT(lines, Contains("set weight 0")) << "any other route is better";
}

TEST(Diff, BmpPortMoves) {
  BgpIntent after = gateway();
  after.bmp_port = 1791;
  EXPECT_THAT(printed(diff(gateway(), after)),
              ElementsAre("router bgp 65515", "bmp targets GW",
                          "no bmp connect 127.0.0.1 port 1790 min-retry 100 max-retry 1000",
                          "bmp connect 127.0.0.1 port 1791 min-retry 100 max-retry 1000", "exit", "exit"));
}

TEST(Diff, AnotherAsIsAnotherRouter) {
  BgpIntent after = gateway();
  after.asn = 65010;
  test::change_policy(after, [](routes::Policy& p) { p.safe.gateway_asn = 65010; });
  const auto commands = printed(diff(gateway(), after));
  EXPECT_EQ(commands.front(), "no router bgp 65515");
  EXPECT_EQ(commands.size(), render(after).size() + 1);
}

TEST(Validate, RefusalsNameTheField) {
  EXPECT_TRUE(validate(gateway()));
  struct Row {
    const char* field;
    std::function<void(BgpIntent&)> change;
  };
  const std::vector<Row> rows{
      {"instance", [](BgpIntent& g) { g.instance = "a\nb"; }},
      {"asn", [](BgpIntent& g) { g.asn = 0; }},
      {"router_id", [](BgpIntent& g) { g.router_id = ip("2001:db8::1"); }},
      {"restart_time", [](BgpIntent& g) { g.restart_time = 5000s; }},
      {"policy.safe.gateway_asn",
       [](BgpIntent& g) { test::change_policy(g, [](routes::Policy& p) { p.safe.gateway_asn = 1; }); }},
      {"peers[0].name", [](BgpIntent& g) { g.peers[0].name = "a\nno router bgp"; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].remote_asn = 12076; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].remote_asn = 65515; }},
      {"peers[0].remote_asn", [](BgpIntent& g) { g.peers[0].kind = routes::SourceKind::kPartner; }},
      {"peers[0].kind", [](BgpIntent& g) { g.peers[0].kind = routes::SourceKind::kSpoke; }},
      {"peers[0].peer", [](BgpIntent& g) { g.peers[0].peer = g.peers[0].local; }},
      {"peers[0].peer", [](BgpIntent& g) { g.peers[0].peer = ip("2001:db8::1"); }},
      {"peers[0].hold", [](BgpIntent& g) { g.peers[0].hold = 2s; }},
      {"peers[0].hold", [](BgpIntent& g) { g.peers[0].keepalive = 180s; }},
      {"peers[0].md5", [](BgpIntent& g) { g.peers[0].md5 = Secret("a\nb"); }},
      {"peers[0].md5", [](BgpIntent& g) { g.peers[0].md5 = Secret("two words"); }},
      {"policy.import_rules[0].set.prepend",
       [](BgpIntent& g) {
         test::change_policy(g, [](routes::Policy& p) { p.import_rules = {{.name = "r", .set = {.prepend = 11}}}; });
       }},
      {"policy.export_rules[1].match.community",
       [](BgpIntent& g) {
         test::change_policy(g, [](routes::Policy& p) {
           p.export_rules = {{.name = "r"}, {.name = "s", .match = {.community = routes::kIsolatedCommunity}}};
         });
       }},
      {"policy.import_rules[0].set.add_communities",
       [](BgpIntent& g) {
         test::change_policy(g, [](routes::Policy& p) {
           p.import_rules = {
               {.name = "r", .set = {.add_communities = {routes::class_community(routes::SourceKind::kVnet)}}}};
         });
       }},
      {"peers[1].site",  // two names with one FNV-1a
       [](BgpIntent& g) {
         g.peers.push_back(berlin());
         g.peers[0].site = "costarring";
         g.peers[1].site = "liquid";
       }},
      {"peers[1].peer", [](BgpIntent& g) { g.peers.push_back(paris()); }},
  };
  for (const Row& row : rows) {
    BgpIntent g = gateway();
    row.change(g);
    const auto ok = validate(g);
    ASSERT_FALSE(ok) << row.field;
    EXPECT_EQ(ok.error().field, row.field);
  }
}

}  // namespace
}  // namespace gw::bgp
