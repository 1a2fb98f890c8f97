// BGP neighbours on the wan: what the document becomes, and every rule of its validation once, by one edit.
#include <gmock/gmock.h>

#include "gwd/config/compile.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string kWan = R"(version: 1
gateway:
  name: hub-east
  instances:
    - name: gw-a
      wan:
        interface: eth0
        endpoints: [ { address: 203.0.113.10, move: bgp } ]
        routers:
          - { name: edge1, address: 192.0.2.1, local: 192.0.2.4, asn: 65300 }
      vnet: { interface: eth1, address: 10.0.0.4 }
      sync: [ 10.255.0.1 ]
    - name: gw-b
      wan:
        interface: eth0
        endpoints: [ { address: 203.0.113.11 } ]
        routers:
          - { name: edge1, address: 192.0.2.1, local: 192.0.2.5, asn: 65300, bgp: { hold: 9s, no_bfd: true } }
          - { name: edge2, address: 192.0.2.2, local: 192.0.2.5, asn: 65301 }
      vnet: { interface: eth1, address: 10.0.0.5 }
      sync: [ 10.255.0.2 ]
vnet:
  prefixes: [ 10.0.0.0/16 ]
)";

std::optional<GatewayModel> model_of(const std::string& instance) {
  Compiled compiled = compile({kWan, "/etc/gw/gateway.yaml", instance});
  for (const Finding& finding : compiled.findings) ADD_FAILURE() << finding.describe();
  return std::move(compiled.model);
}

std::vector<SessionModel> wan_sessions(const GatewayModel& model) {
  std::vector<SessionModel> out;
  for (const SessionModel& session : model.sessions)
    if (session.kind == routes::SourceKind::kWan) out.push_back(session);
  return out;
}

TEST(WanModel, HasTheRoutersOfItsOwnInstance) {
  const auto model = model_of("gw-a");
  ASSERT_TRUE(model.has_value());
  const auto sessions = wan_sessions(*model);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions[0].name, "wan:edge1/gw-a");
  EXPECT_EQ(sessions[0].interface, "eth0");
  EXPECT_EQ(sessions[0].bgp.local, IpAddress::parse("192.0.2.4").value());
  EXPECT_EQ(sessions[0].bgp.peer, IpAddress::parse("192.0.2.1").value());
  EXPECT_EQ(sessions[0].bgp.peer_asn, 65300U);
  EXPECT_EQ(sessions[0].bgp.bfd, (BfdSettings{std::chrono::milliseconds(300), 3}));
  EXPECT_TRUE(sessions[0].bgp.graceful_restart) << "a restart of bgpd takes nobody's way";
  EXPECT_EQ(sessions[0].bgp.max_routes, 0U);
  EXPECT_EQ(model->policy.peer("wan:edge1/gw-a").max_routes, 0U);
  EXPECT_EQ(model->ha->endpoints[0].move, MoveBy::kBgp);
  EXPECT_EQ(model->ha->endpoints[1].move, MoveBy::kGarp);
}

TEST(WanModel, TheSessionsSettingsAreTheDocuments) {
  const auto model = model_of("gw-b");
  ASSERT_TRUE(model.has_value());
  const auto sessions = wan_sessions(*model);
  ASSERT_EQ(sessions.size(), 2U);
  EXPECT_EQ(sessions[0].bgp.hold, std::chrono::seconds(9));
  EXPECT_FALSE(sessions[0].bgp.bfd.has_value());
  EXPECT_EQ(sessions[1].bgp.local, sessions[0].bgp.local);
}

struct Edit {
  std::string from;
  std::string to;
  std::string finding;
};

class WanRule : public testing::TestWithParam<Edit> {};

TEST_P(WanRule, IsReportedOnce) {
  const TempDir dir;
  EXPECT_THAT(findings_of(with(kWan, GetParam().from, GetParam().to), dir.path()), ElementsAre(GetParam().finding));
}

INSTANTIATE_TEST_SUITE_P(
    Routers, WanRule,
    testing::Values(
        Edit{"{ name: edge1, address: 192.0.2.1, local: 192.0.2.4", "{ name: edge1, local: 192.0.2.4",
             "g.yaml:10:13: gateway.instances[0].wan.routers[0].address: is missing (expected the router's address on "
             "the wan)"},
        Edit{", local: 192.0.2.4", "",
             "g.yaml:10:13: gateway.instances[0].wan.routers[0].local: is missing (expected this instance's own "
             "address on the wan, which stays with it)"},
        Edit{", local: 192.0.2.4, asn: 65300", ", local: 192.0.2.4",
             "g.yaml:10:13: gateway.instances[0].wan.routers[0].asn: is missing (expected the router's AS number)"},
        Edit{"local: 192.0.2.4, asn: 65300", "local: 192.0.2.4, asn: 65515",
             "g.yaml:10:71: gateway.instances[0].wan.routers[0].asn: 65515 is the gateway's own (expected another AS "
             "number)"},
        Edit{"local: 192.0.2.4", "local: 203.0.113.11",
             "g.yaml:10:55: gateway.instances[0].wan.routers[0].local: 203.0.113.11 is an endpoint of gw-b, which "
             "moves (expected this instance's own address on the wan, which stays with it)"},
        Edit{"local: 192.0.2.4", "local: 192.0.2.1",
             "g.yaml:10:55: gateway.instances[0].wan.routers[0].local: 192.0.2.1 is the router's own (expected this "
             "instance's address)"},
        Edit{"local: 192.0.2.4", "local: '2001:db8:1::4'",
             "g.yaml:10:55: gateway.instances[0].wan.routers[0].local: 2001:db8:1::4 and the router's 192.0.2.1 are of "
             "different families (expected two of one family)"},
        Edit{"address: 192.0.2.1, local: 192.0.2.4", "address: 10.0.0.5, local: 192.0.2.4",
             "g.yaml:10:37: gateway.instances[0].wan.routers[0].address: 10.0.0.5 is the VNet address of gw-b "
             "(expected the router's address on the wan)"},
        Edit{"address: 192.0.2.2", "address: 192.0.2.1",
             "g.yaml:19:37: gateway.instances[1].wan.routers[1].address: 192.0.2.1 is also "
             "gateway.instances[1].wan.routers[0] (expected an address of its own for each neighbour)"},
        Edit{"local: 192.0.2.5, asn: 65301", "local: 192.0.2.4, asn: 65301",
             "g.yaml:19:55: gateway.instances[1].wan.routers[1].local: 192.0.2.4 is gw-a's (expected an address of "
             "each instance's own)"},
        Edit{"name: edge2", "name: edge1",
             "g.yaml:19:21: gateway.instances[1].wan.routers[1].name: the name 'edge1' is used twice (expected each "
             "name "
             "once)"},
        Edit{"hold: 9s", "import_filter: [ { prefix: 0.0.0.0/0 } ]",
             "g.yaml:18:85: gateway.instances[1].wan.routers[0].bgp.import_filter: means nothing here: the wan is told "
             "endpoints, and nothing is learned there (expected no such key here)"},
        Edit{"hold: 9s", "unnumbered: true",
             "g.yaml:18:97: gateway.instances[1].wan.routers[0].bgp.unnumbered: is for connections: this session is "
             "not in a tunnel (expected no such key here)"}));

INSTANTIATE_TEST_SUITE_P(
    Endpoints, WanRule,
    testing::Values(
        Edit{
            "{ address: 203.0.113.10, move: bgp }",
            "{ address: 203.0.113.10, move: bgp }, { address: '2001:db8:e::10', move: bgp }",
            "g.yaml:8:95: gateway.instances[0].wan.endpoints[1].move: gw-a has no IPv6 router on the wan: nobody would "
            "hear that it has 2001:db8:e::10 (expected `routers: [ { name, address, local, asn } ]` in gw-a.wan, or "
            "another `move`)"},
        Edit{"        routers:\n          - { name: edge1, address: 192.0.2.1, local: 192.0.2.4, asn: 65300 }\n", "",
             "g.yaml:8:53: gateway.instances[0].wan.endpoints[0].move: gw-a has no IPv4 router on the wan: nobody "
             "would hear that it has 203.0.113.10 (expected `routers: [ { name, address, local, asn } ]` in gw-a.wan, "
             "or another `move`)"},
        Edit{"move: bgp", "move: bgp, hook: /opt/move",
             "g.yaml:8:64: gateway.instances[0].wan.endpoints[0].hook: is run by `move: hook` only (expected `move: "
             "hook`, or no `hook`)"}));

TEST(WanRules, RoutersThatAreToldNothingAreAWarningOfEachInstance) {
  const TempDir dir;
  const std::string told =
      "are told nothing: no endpoint has `move: bgp` (expected `move: bgp` in the endpoints that "
      "they are to hear of)";
  EXPECT_THAT(findings_of(with(kWan, ", move: bgp", ""), dir.path()),
              ElementsAre("g.yaml:9:9: warning: gateway.instances[0].wan.routers: " + told,
                          "g.yaml:17:9: warning: gateway.instances[1].wan.routers: " + told));
}

TEST(WanRules, AnEndpointThatCannotMoveNeedsNoBgp) {
  const TempDir dir;
  std::string text = with(kWan, "      sync: [ 10.255.0.1 ]\n", "");
  text = with(text, "      sync: [ 10.255.0.2 ]\n", "");
  EXPECT_THAT(findings_of(text, dir.path()),
              ElementsAre("g.yaml:8:53: gateway.instances[0].wan.endpoints[0].move: `bgp` is for two instances with "
                          "`sync`: this endpoint has nowhere to move to (expected `sync: [ address ]` in both "
                          "instances, or no `move`)"));
}

TEST(WanRules, TheDocumentIsFine) {
  const TempDir dir;
  EXPECT_THAT(findings_of(kWan, dir.path()), IsEmpty());
}

}  // namespace
}  // namespace gw::config
