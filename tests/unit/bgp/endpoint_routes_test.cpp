// What the wan's routers are told, and what nobody else is.
#include "bgp/endpoint_routes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bgp/leftovers.hpp"
#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using test::gateway;
using test::ip;
using test::joined;
using test::printed;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

PeerIntent edge(const char* local, const char* peer) {
  PeerIntent p;
  p.name = std::format("wan:{}/gw-a", peer);
  p.kind = routes::SourceKind::kWan;
  p.local = ip(local);
  p.peer = ip(peer);
  p.remote_asn = 65300;
  return p;
}

BgpIntent with_wan() {
  BgpIntent g = gateway();
  g.peers.push_back(edge("192.0.2.2", "192.0.2.1"));
  g.peers.push_back(edge("2001:db8:1::2", "2001:db8:1::1"));
  g.endpoints = {{ip("203.0.113.10")}, {ip("203.0.113.11")}, {ip("2001:db8:e::10")}};
  test::change_policy(g, [](routes::Policy& p) {
    for (const char* name : {"wan:192.0.2.1/gw-a", "wan:2001:db8:1::1/gw-a"}) p.peers[name].max_routes = 0;
  });
  return g;
}

/// The lines of the route-map that a neighbour or group has in this direction, in the block of a family.
std::vector<std::string> map_of(const std::vector<std::string>& lines, std::string_view who, std::string_view family,
                                std::string_view direction) {
  std::string name;
  bool inside = false;
  for (const std::string& line : lines) {
    if (line.starts_with("address-family ")) inside = line.contains(family);
    const std::string start = std::format("neighbor {} route-map ", who);
    if (inside && line.starts_with(start) && line.ends_with(std::format(" {}", direction)))
      name = line.substr(start.size(), line.rfind(' ') - start.size());
  }
  std::vector<std::string> out;
  bool in_map = false;
  for (const std::string& line : lines) {
    const bool head = line.starts_with("route-map ");
    if (head) in_map = line.starts_with(std::format("route-map {} ", name));
    if (!head && (line.starts_with("router ") || line.starts_with("XFRR"))) in_map = false;
    if (in_map && !name.empty()) out.push_back(line);
  }
  return out;
}

TEST(Wan, NothingIsLearnedOrKept) {
  const auto lines = printed(render(with_wan()));
  for (const char* family : {"ipv4", "ipv6"})
    EXPECT_THAT(map_of(lines, "GW-WAN", family, "in"),
                ElementsAre(MatchesRegex("route-map GW-WAN-IN.* deny 10"), HasSubstr("description")));
  EXPECT_THAT(lines, Not(Contains("neighbor GW-WAN soft-reconfiguration inbound")));
  EXPECT_THAT(lines, Not(Contains(MatchesRegex("neighbor (192.0.2.1|2001:db8:1::1) route-map .* in"))))
      << "the group's is for all";
}

TEST(Wan, ASessionIsToldTheEndpointsOfItsFamilyAndNoOther) {
  const auto lines = printed(render(with_wan()));
  EXPECT_THAT(
      map_of(lines, "192.0.2.1", "ipv4", "out"),
      ElementsAre(MatchesRegex("route-map GW-WAN-OUT-.* permit 10"),
                  MatchesRegex("match ip address prefix-list GW-ENDPOINTS-.*"),
                  MatchesRegex("match community GW-ENDPOINT-.*"), MatchesRegex("set comm-list GW-INTERNAL-.* delete")));
  EXPECT_THAT(lines, Contains(MatchesRegex("ip prefix-list GW-ENDPOINTS-.* seq 5 permit 203.0.113.10/32")));
  EXPECT_THAT(lines, Contains(MatchesRegex("ip prefix-list GW-ENDPOINTS-.* seq 10 permit 203.0.113.11/32")));
  EXPECT_THAT(lines, Contains(MatchesRegex("ipv6 prefix-list GW-ENDPOINTS6-.* seq 5 permit 2001:db8:e::10/128")));
  EXPECT_THAT(map_of(lines, "2001:db8:1::1", "ipv6", "out"), Contains(MatchesRegex(".* prefix-list GW-ENDPOINTS6-.*")));
  // What a neighbour has not of its own it has of its group.
  for (const char* family : {"ipv4", "ipv6"})
    EXPECT_THAT(map_of(lines, "GW-WAN", family, "out"), Contains(MatchesRegex("route-map GW-WAN-OUT.* deny 10")));
  EXPECT_TRUE(map_of(lines, "192.0.2.1", "ipv6", "out").empty());
  EXPECT_TRUE(map_of(lines, "2001:db8:1::1", "ipv4", "out").empty());
}

TEST(Wan, NobodyElseIsToldAnEndpoint) {
  BgpIntent g = with_wan();
  PeerIntent partner = edge("10.0.0.4", "10.0.0.5");
  partner.name = "instance:gw-b";
  partner.kind = routes::SourceKind::kPartner;
  PeerIntent rs1 = edge("10.0.0.4", "10.0.0.1");
  rs1.name = "vnet:rs1/gw-a";
  rs1.kind = routes::SourceKind::kVnet;
  PeerIntent circuit = edge("192.168.30.17", "192.168.30.18");
  circuit.name = "er1-primary/gw-a";
  circuit.kind = routes::SourceKind::kCircuit;
  for (PeerIntent* p : {&partner, &rs1, &circuit}) g.peers.push_back(std::move(*p));
  const auto lines = printed(render(g));
  for (const char* group : {"GW-TUNNELS", "GW-PARTNER", "GW-VNET", "GW-CIRCUIT"}) {
    for (const char* family : {"ipv4", "ipv6"}) {
      const auto map = map_of(lines, group, family, "out");
      ASSERT_GE(map.size(), 2U) << group;
      EXPECT_THAT(map[0], MatchesRegex("route-map .* deny 5")) << group;
      EXPECT_THAT(map[1], MatchesRegex("match community GW-ENDPOINT-.*")) << group;
    }
  }
}

TEST(Wan, AnnouncingIsNoPartOfADifference) {
  BgpIntent announced = with_wan();
  announced.endpoints[0].med = med_of_claim(0x20);
  EXPECT_TRUE(diff(with_wan(), announced).empty());
  EXPECT_EQ(joined(render(with_wan())), joined(render(announced)));
  const std::string file(render_file(announced).text());
  EXPECT_THAT(file, HasSubstr("network 203.0.113.10/32 route-map GW-ENDPOINT-3999999968\n")) << "bgpd starts with it";
  EXPECT_THAT(file, Not(HasSubstr("network 203.0.113.11/32")));
}

TEST(Wan, AnEndpointMoreIsToldToTheRoutersAlone) {
  BgpIntent after = with_wan();
  after.endpoints.push_back({ip("203.0.113.12")});
  for (const std::string& line : printed(diff(with_wan(), after)))
    if (line.starts_with("neighbor ")) {
      EXPECT_THAT(line, MatchesRegex("neighbor 192.0.2.1 route-map GW-WAN-OUT-.* out"));
    }
}

TEST(Announcement, IsBetterThanThatOfEveryEarlierClaim) {
  EXPECT_GT(med_of_claim(0x20), med_of_claim(0x31));
  EXPECT_EQ(med_of_claim(0), 4'000'000'000U);
  EXPECT_EQ(med_of_claim(~std::uint64_t{0}), 0U);
}

TEST(Announcement, IsOneNetworkWithItsMark) {
  EXPECT_THAT(printed(claim_maps({3'999'999'967U})), ElementsAre("route-map GW-ENDPOINT-3999999967 permit 10",
                                                                 "set metric 3999999967", "set community 65515:1211"));
  EXPECT_THAT(
      printed(announce(65515, {ip("2001:db8:e::10"), 3'999'999'967U})),
      ElementsAre("router bgp 65515", "address-family ipv6 unicast",
                  "network 2001:db8:e::10/128 route-map GW-ENDPOINT-3999999967", "exit-address-family", "exit"));
  EXPECT_THAT(printed(withdraw(65515, ip("203.0.113.10"))),
              ElementsAre("router bgp 65515", "address-family ipv4 unicast", "no network 203.0.113.10/32",
                          "exit-address-family", "exit"));
}

TEST(Announcement, ItsRouteMapsAreRead) {
  EXPECT_THAT(read_claim_maps("route-map GW-ENDPOINT-3999999967 permit 10\r\nroute-map GW-ENDPOINT-12 permit 10\n"),
              ElementsAre(12U, 3'999'999'967U));
  EXPECT_THAT(read_claim_maps("route-map GW-ENDPOINT-x permit 10\nroute-map GW-ENDPOINT-99999999999999 permit 10\n"),
              testing::IsEmpty());
  EXPECT_THAT(printed(remove_claim_maps({12U})), ElementsAre("no route-map GW-ENDPOINT-12"));
}

TEST(Leftovers, WhatIsAnnouncedIsTheAnnouncersUnlessItIsNoEndpointAnyMore) {
  const std::string configured = R"(bgp community-list standard GW-ENDPOINT-0123456789ab seq 5 permit 65515:1211
route-map GW-ENDPOINT-3999999968 permit 10
router bgp 65515
 address-family ipv4 unicast
  network 203.0.113.10/32 route-map GW-ENDPOINT-3999999968
  network 203.0.113.99/32 route-map GW-ENDPOINT-3999999968
 exit-address-family
)";
  const Leftovers left = leftovers(configured, with_wan());
  EXPECT_THAT(printed(left.before), Contains("no network 203.0.113.99/32"));
  EXPECT_THAT(printed(left.before), Not(Contains(HasSubstr("203.0.113.10/32"))));
  EXPECT_THAT(printed(left.after), ElementsAre("no bgp community-list standard GW-ENDPOINT-0123456789ab"));
}

}  // namespace
}  // namespace gw::bgp
