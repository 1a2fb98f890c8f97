// What a document would change: which sources go, begin anew or are new, and which prefixes of the gateway's own.
#include "gwd/control/what_if.hpp"

#include <gmock/gmock.h>

#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
Prefix net(std::string_view text) { return Prefix::parse(text).value(); }

config::TunnelModel tunnel(std::string name, std::string_view peer) {
  config::TunnelModel t;
  t.name = std::move(name);
  t.site = t.name.substr(0, t.name.find('-'));
  t.home = t.carrier = t.name.substr(t.name.find('/') + 1);
  t.local = ip(t.home == "gw-a" ? "203.0.113.10" : "203.0.113.11");
  t.bgp.emplace();
  t.bgp->local = ip("169.254.21.1");
  t.bgp->peer = ip(peer);
  t.bgp->peer_asn = 65021;
  return t;
}

config::GatewayModel model() {
  config::GatewayModel m;
  m.instance = "gw-a";
  m.asn = 65515;
  m.vnet_prefixes = {net("10.0.0.0/16"), net("10.9.0.0/16")};
  m.tunnels.push_back(tunnel("paris-ce1/gw-a", "169.254.21.2"));
  m.tunnels.push_back(tunnel("berlin-ce1/gw-a", "169.254.21.6"));
  config::TunnelModel lyon;
  lyon.name = "lyon-ce1/gw-a";
  lyon.site = "lyon";
  lyon.home = lyon.carrier = "gw-a";
  lyon.local = ip("203.0.113.10");
  lyon.static_prefixes = {net("10.40.0.0/16")};
  m.tunnels.push_back(std::move(lyon));
  config::SessionModel circuit;
  circuit.name = "er1-primary/gw-a";
  circuit.bgp.peer = ip("192.168.30.18");
  circuit.bgp.peer_asn = 12076;
  m.sessions.push_back(std::move(circuit));
  return m;
}

class WhatIfDocument : public testing::Test {
 protected:
  void SetUp() override {
    for (const SessionSource& session : session_sources(now)) rib.put_source(session.source);
    for (const LocalSource& local : local_sources(now)) rib.put_source(local.source);
  }
  DocumentScenario scenario() const { return scenario_of(now, next, rib); }

  config::GatewayModel now = model();
  config::GatewayModel next = model();
  routes::Rib rib;
};

TEST_F(WhatIfDocument, TheSameDocumentChangesNothing) {
  const DocumentScenario s = scenario();
  EXPECT_THAT(s.gone, IsEmpty());
  EXPECT_THAT(s.restarted, IsEmpty());
  EXPECT_THAT(s.unknown, IsEmpty());
  EXPECT_THAT(s.scenario.down, IsEmpty());
  EXPECT_THAT(s.scenario.withdrawn, IsEmpty());
  EXPECT_THAT(s.scenario.added, IsEmpty());
  ASSERT_TRUE(s.scenario.policy);
}

// This instance has the other one's endpoint, which the document knows at home.
TEST_F(WhatIfDocument, EndpointsStayWhereTheyAre) {
  next.elsewhere.push_back(tunnel("oslo-ce1/gw-b", "169.254.22.2"));
  now.tunnels.push_back(next.elsewhere.back());
  now.tunnels.back().carrier = "gw-a";
  EXPECT_THAT(scenario().gone, IsEmpty());
  // And the reverse: ours are carried there.
  now.elsewhere = std::move(now.tunnels);
  now.tunnels.clear();
  for (config::TunnelModel& t : now.elsewhere) t.carrier = "gw-b";
  EXPECT_THAT(scenario().unknown, IsEmpty());
  EXPECT_THAT(scenario().scenario.added, IsEmpty());
}

TEST_F(WhatIfDocument, SourcesThatGo) {
  next.tunnels.erase(next.tunnels.begin());
  next.tunnels[0].disabled = true;
  next.sessions.clear();
  const DocumentScenario s = scenario();
  EXPECT_THAT(s.gone, ElementsAre("berlin-ce1/gw-a", "er1-primary/gw-a", "paris-ce1/gw-a"));
  EXPECT_EQ(s.scenario.down.size(), 3U);
}

TEST_F(WhatIfDocument, SourcesThatComeOrBeginAnew) {
  next.tunnels.push_back(tunnel("rome-ce1/gw-a", "169.254.21.14"));
  next.tunnels[0].bgp->peer_asn = 65099;
  next.tunnels[1].bgp->md5 = Secret(std::string_view("password"));
  const DocumentScenario s = scenario();
  EXPECT_THAT(s.unknown, ElementsAre("rome-ce1/gw-a"));
  EXPECT_THAT(s.restarted, ElementsAre("berlin-ce1/gw-a", "paris-ce1/gw-a"));
  EXPECT_THAT(s.scenario.down, IsEmpty());
}

TEST_F(WhatIfDocument, PrefixesOfOurOwn) {
  next.vnet_prefixes = {net("10.0.0.0/16"), net("10.8.0.0/16")};
  next.tunnels[2].static_prefixes.clear();
  const DocumentScenario s = scenario();
  EXPECT_EQ(s.scenario.withdrawn.at("vnet"), std::set<Prefix>{net("10.9.0.0/16")});
  EXPECT_EQ(s.scenario.withdrawn.at("static:lyon-ce1/gw-a"), std::set<Prefix>{net("10.40.0.0/16")});
  ASSERT_EQ(s.scenario.added.size(), 1U);
  EXPECT_EQ(s.scenario.added[0].prefix, net("10.8.0.0/16"));
  EXPECT_EQ(s.scenario.added[0].source.name, "vnet");
}

TEST_F(WhatIfDocument, ThePolicyIsTheDocuments) {
  next.policy.weights = routes::class_weights(routes::Prefer::kVpn);
  EXPECT_EQ(scenario().scenario.policy->weights, routes::class_weights(routes::Prefer::kVpn));
}

}  // namespace
}  // namespace gw::gwd
