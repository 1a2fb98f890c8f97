// Circuits, VNet routers, spokes, partner pairs and policy: what a document with all of them becomes, and every rule
// of their validation once, by one edit of it.
#include <gmock/gmock.h>

#include "gwd/config/compile.hpp"
#include "gwd/config/policy.hpp"
#include "gwd/config/validate.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using routes::SourceKind;
using testing::ElementsAre;
using testing::IsEmpty;

const std::string kEverything = R"(version: 1
gateway:
  name: hub-east
  asn: 65515
  instances:
    - name: gw-a
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.10 } ] }
      vnet: { interface: eth1, address: 10.0.0.4 }
      circuit: { interface: eth2 }
    - name: gw-b
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.11 } ] }
      vnet: { interface: eth1, address: 10.0.0.5 }
      circuit: { interface: eth2 }
vnet:
  prefixes: [ 10.0.0.0/16 ]
  routers: [ { name: rs1, address: 10.0.0.1, asn: 65100 } ]
  peerings: [ { name: spoke-1, prefixes: [ 10.1.0.0/16 ], use_remote_gateways: true } ]
sites:
  - name: paris
    asn: 65021
    isolate: true
    devices: [ { name: ce1, address: 198.51.100.1, loopback: 10.10.30.254 } ]
  - name: hub-west
    asn: 65516
    kind: vnet
    devices: [ { name: gw1, address: 198.51.100.9 } ]
connections:
  - name: paris-ce1
    device: paris/ce1
    secret: { psk_file: a.psk }
    bgp:
      limit_action: warn
      allowed_asns: [ 64500 ]
      import_filter: [ { prefix: 10.10.0.0/16, le: 24 }, { prefix: 10.0.0.0/8, ge: 9, action: refuse } ]
  - name: hub-west-gw1
    device: hub-west/gw1
    secret: { psk_file: a.psk }
circuits:
  - name: er1
    bgp: { bfd: {}, accept_default_route: true }
    peers:
      - { name: primary, address: 192.168.30.18, local: { gw-a: { address: 192.168.30.17/29 }, gw-b: { address: 192.168.30.19/29 } } }
      - { name: secondary, address: 192.168.30.26, local: { gw-a: { address: 192.168.30.25/29 } } }
coexistence: { prefer: circuit, transit: true }
policy:
  - name: paris-lp
    match: { site: paris, prefixes: [ { prefix: 10.10.0.0/16, le: 24 } ], community: 65021:7 }
    set: { local_preference: 0, communities: [ graceful-shutdown ] }
  - name: circuit-prepend
    direction: export
    match: { circuit: er1 }
    set: { prepend: 2 }
)";

class Coexistence : public testing::Test {
 protected:
  void SetUp() override { dir_.write("a.psk", "secret-of-a\n"); }
  GatewayModel model(const std::string& text, const std::string& instance = "gw-a") const {
    const std::string file = dir_.file("g.yaml");
    Compiled compiled = compile({.text = text, .file = file, .instance = instance});
    for (const Finding& finding : compiled.findings) ADD_FAILURE() << finding.describe();
    return compiled.model ? std::move(*compiled.model) : GatewayModel();
  }
  TempDir dir_;
};

std::vector<std::string> names(const GatewayModel& model) {
  std::vector<std::string> out;
  for (const SessionModel& session : model.sessions)
    out.push_back(
        std::format("{} {}->{} AS{}", session.name, session.bgp.local, session.bgp.peer, session.bgp.peer_asn));
  return out;
}

TEST_F(Coexistence, SessionsOfEveryKind) {
  EXPECT_THAT(names(model(kEverything)),
              ElementsAre("er1-primary/gw-a 192.168.30.17->192.168.30.18 AS12076",
                          "er1-secondary/gw-a 192.168.30.25->192.168.30.26 AS12076",
                          "vnet:rs1/gw-a 10.0.0.4->10.0.0.1 AS65100", "instance:gw-b 10.0.0.4->10.0.0.5 AS65515"));
  EXPECT_THAT(names(model(kEverything, "gw-b")),
              ElementsAre("er1-primary/gw-b 192.168.30.19->192.168.30.18 AS12076",
                          "vnet:rs1/gw-b 10.0.0.5->10.0.0.1 AS65100", "instance:gw-a 10.0.0.5->10.0.0.4 AS65515"));
}

TEST_F(Coexistence, ACircuitHasItsPortAddressesAndTimers) {
  const GatewayModel gateway = model(kEverything);
  EXPECT_EQ(gateway.circuit_interface, "eth2");
  ASSERT_EQ(gateway.circuit_addresses.size(), 2U);
  EXPECT_EQ(gateway.circuit_addresses[0].to_string(), "192.168.30.17/29");
  EXPECT_EQ(gateway.sessions[0].kind, SourceKind::kCircuit);
  EXPECT_EQ(gateway.sessions[0].interface, "eth2");
  ASSERT_TRUE(gateway.sessions[0].bgp.bfd);
  EXPECT_EQ(gateway.sessions[0].bgp.bfd->interval, std::chrono::milliseconds(300));
  EXPECT_EQ(gateway.policy.peer("er1-primary/gw-a").default_route, routes::DefaultRoute::kAllow);
  EXPECT_THAT(gateway.policy.peer("er1-primary/gw-a").allowed_asns, ElementsAre(12076U));
}

TEST_F(Coexistence, SitesAndTheirKinds) {
  const GatewayModel gateway = model(kEverything);
  EXPECT_EQ(gateway.tunnels[0].kind, SourceKind::kVpnTunnel);
  EXPECT_EQ(gateway.tunnels[0].bgp->peer.to_string(), "10.10.30.254");
  EXPECT_EQ(gateway.tunnels[0].bgp->multihop, 5);
  EXPECT_EQ(gateway.tunnels[1].kind, SourceKind::kBranchVnet);
  EXPECT_EQ(gateway.tunnels[1].bgp->multihop, 0);
  EXPECT_EQ(gateway.policy.peer("paris-ce1/gw-a").isolation, routes::Isolation::kIsolated);
  EXPECT_EQ(gateway.policy.peer("hub-west-gw1/gw-a").isolation, routes::Isolation::kSeesOtherSites);
}

// The listing of the clouds' interoperability articles: the loopback is the gateway's.
TEST_F(Coexistence, OneAddressOfTheGatewayForSeveralTunnels) {
  std::string text = with(kEverything, "loopback: 10.10.30.254", "multihop: 3");
  text = with(text, "      limit_action: warn",
              "      limit_action: warn\n      addresses: { gw-a: { local: 10.10.30.254, peer: 10.2.30.125 } }");
  text = with(text, "    secret: { psk_file: a.psk }\ncircuits",
              "    secret: { psk_file: a.psk }\n    bgp: { addresses: { gw-a: { local: 10.10.30.254, peer: 10.2.30.126 "
              "} } }\ncircuits");
  const GatewayModel gateway = model(text);
  ASSERT_EQ(gateway.tunnels.size(), 2U);
  EXPECT_EQ(gateway.tunnels[0].bgp->local, gateway.tunnels[1].bgp->local);
  EXPECT_EQ(gateway.tunnels[0].bgp->peer.to_string(), "10.2.30.125");
  EXPECT_EQ(gateway.tunnels[0].bgp->multihop, 3) << "also without a loopback of the device";
  EXPECT_EQ(gateway.tunnels[1].bgp->multihop, 0);
}

TEST_F(Coexistence, PolicyOfAPeer) {
  const routes::PeerPolicy peer = model(kEverything).policy.peer("paris-ce1/gw-a");
  EXPECT_EQ(peer.at_limit, routes::LimitAction::kWarn);
  EXPECT_THAT(peer.allowed_asns, ElementsAre(64500U));
  ASSERT_EQ(peer.import_filter.size(), 2U);
  EXPECT_EQ(peer.import_filter[0].name, "paris-ce1 import_filter[0]");
  EXPECT_EQ(peer.import_filter[0].range.shortest, 16);
  EXPECT_EQ(peer.import_filter[0].range.longest, 24);
  EXPECT_EQ(peer.import_filter[1].range.shortest, 9);
  EXPECT_EQ(peer.import_filter[1].range.longest, 32);
  EXPECT_EQ(peer.import_filter[1].action, routes::Action::kRefuse);
}

TEST_F(Coexistence, PolicyOfTheGateway) {
  const routes::Policy policy = model(kEverything).policy;
  EXPECT_EQ(policy.transit, routes::Transit::kOpen);
  EXPECT_EQ(policy.vnet, routes::Publishing::kPublishes);
  EXPECT_EQ(policy.safe.vnet_prefixes.size(), 2U) << "a spoke's prefixes are never learned from a site either";
  ASSERT_EQ(policy.import_rules.size(), 1U);
  const routes::Rule& rule = policy.import_rules[0];
  EXPECT_EQ(rule.match.site, "paris");
  EXPECT_EQ(rule.match.community, 65021U << 16 | 7U);
  EXPECT_EQ(rule.set.local_preference, 0U) << "0 is a value, not an absent one";
  EXPECT_THAT(rule.set.add_communities, ElementsAre(routes::kGracefulShutdown));
  // One line per session of the circuit, with the operator's name.
  ASSERT_EQ(policy.export_rules.size(), 2U);
  EXPECT_EQ(policy.export_rules[0].match.source, "er1-primary/gw-a");
  EXPECT_EQ(policy.export_rules[1].match.source, "er1-secondary/gw-a");
  EXPECT_EQ(policy.export_rules[1].name, "circuit-prepend");
}

TEST_F(Coexistence, ASpokeWithoutGatewayTransitIsNobodys) {
  ASSERT_EQ(model(kEverything).spokes.size(), 1U);
  const GatewayModel gateway = model(with(kEverything, "use_remote_gateways: true", "use_remote_gateways: false"));
  EXPECT_TRUE(gateway.spokes.empty()) << "it is announced to nobody, and has no route here";
  EXPECT_EQ(gateway.policy.safe.vnet_prefixes.size(), 1U) << "whoever else has it may announce it";
}

TEST_F(Coexistence, AVpnPairLeavesTheVNetToItsPartner) {
  std::string text = with(kEverything, "coexistence: { prefer: circuit, transit: true }",
                          "coexistence: { role: vpn-pair, prefer: vpn, partner: [ 10.0.0.6, 10.0.0.7 ] }");
  const std::size_t circuits = text.find("circuits:");
  text.erase(circuits, text.find("coexistence:") - circuits);
  text = with(text, "match: { circuit: er1 }", "match: { source: partner }");
  const GatewayModel gateway = model(text);
  EXPECT_EQ(gateway.policy.vnet, routes::Publishing::kSilent);
  EXPECT_GT(gateway.policy.weights[static_cast<std::size_t>(SourceKind::kVpnTunnel)],
            gateway.policy.weights[static_cast<std::size_t>(SourceKind::kCircuit)]);
  EXPECT_EQ(gateway.sessions.back().name, "partner:10.0.0.7");
  EXPECT_EQ(gateway.sessions.back().kind, SourceKind::kPartner);
  EXPECT_EQ(gateway.sessions.back().bgp.peer_asn, 65515U);
}

struct Edit {
  const char* from;
  const char* to;
  const char* finding;
};

class CoexistenceRule : public testing::TestWithParam<Edit> {};

TEST_P(CoexistenceRule, IsReportedOnce) {
  const TempDir dir;
  dir.write("a.psk", "secret-of-a\n");
  std::vector<std::string> out;
  for (const Finding& finding :
       validate(load_document(with(kEverything, GetParam().from, GetParam().to), "g.yaml"), {.base_dir = dir.path()}))
    out.push_back(std::format("{}: {} ({})", finding.field, finding.message, finding.expected));
  EXPECT_THAT(out, ElementsAre(GetParam().finding));
}

INSTANTIATE_TEST_SUITE_P(
    Circuits, CoexistenceRule,
    testing::Values(
        Edit{"address: 192.168.30.17/29", "address: 192.168.31.17/29",
             "circuits[0].peers[0].local[gw-a].address: the circuit's router 192.168.30.18 is not in 192.168.31.17/29 "
             "(an address of the link between the two)"},
        Edit{"address: 192.168.30.17/29", "address: 192.168.30.18/29",
             "circuits[0].peers[0].local[gw-a].address: 192.168.30.18 is the circuit router's own (this instance's "
             "address)"},
        Edit{"gw-b: { address: 192.168.30.19/29 }", "gw-c: { address: 192.168.30.19/29 }",
             "circuits[0].peers[0].local[gw-c]: there is no instance 'gw-c' (a name of gateway.instances)"},
        Edit{"vnet: { interface: eth1, address: 10.0.0.5 }\n      circuit: { interface: eth2 }",
             "vnet: { interface: eth1, address: 10.0.0.5 }",
             "circuits[0].peers[0].local[gw-b]: gw-b has no circuit port (`circuit: { interface }` in the instance)"},
        Edit{"circuit: { interface: eth2 }", "circuit: { interface: eth1 }",
             "gateway.instances[0].circuit.interface: eth1 is the vnet interface (another interface)"},
        Edit{"bgp: { bfd: {}, accept", "bgp: { unnumbered: true, accept",
             "circuits[0].bgp.unnumbered: is for connections: this session is not in a tunnel (no such key here)"},
        Edit{"bgp: { bfd: {}, accept", "bgp: { bfd: {}, no_bfd: true, accept",
             "circuits[0].bgp.bfd: `no_bfd` says that there is none (either `bfd` or `no_bfd`)"},
        Edit{"  - name: er1\n", "  - name: er1\n    asn: 65515\n",
             "circuits[0].asn: 65515 is the gateway's own (the circuit provider's)"},
        Edit{"coexistence: { prefer: circuit", "coexistence: { partner: [ 10.0.0.6 ]",
             "coexistence.partner: a converged pair has no partner pair (no `partner`, or another `role`)"}));

INSTANTIATE_TEST_SUITE_P(
    VNet, CoexistenceRule,
    testing::Values(
        Edit{"{ interface: eth1, address: 10.0.0.5 }", "{ interface: eth1 }",
             "gateway.instances[1].vnet.address: is missing: vnet.routers are told routes by BGP (the instance's own "
             "address on the VNet)"},
        Edit{"address: 10.0.0.5", "address: 10.0.0.4",
             "gateway.instances[1].vnet.address: 10.0.0.4 is also gateway.instances[0].vnet.address (an address of "
             "its own)"},
        Edit{"address: 10.0.0.1, asn", "address: 192.168.30.18, asn",
             "vnet.routers[0].address: 192.168.30.18 is also circuits[0].peers[0].address (an address of its own for "
             "each neighbour)"},
        Edit{"asn: 65100", "asn: 65515", "vnet.routers[0].asn: 65515 is the gateway's own (another AS number)"},
        Edit{", asn: 65100", "", "vnet.routers[0].asn: is missing (the router's AS number)"},
        Edit{"prefixes: [ 10.1.0.0/16 ]", "prefixes: [ 10.0.7.0/24 ]",
             "vnet.peerings[0].prefixes[0]: 10.0.7.0/24 overlaps 10.0.0.0/16 of vnet.prefixes (prefixes that do not "
             "overlap)"},
        Edit{"loopback: 10.10.30.254", "multihop: 256", "sites[0].devices[0].multihop: 256 is out of range (1 to 255)"},
        Edit{"loopback: 10.10.30.254", "loopback: 198.51.100.1",
             "sites[0].devices[0].loopback: 198.51.100.1 is the device's address outside the tunnel (an address "
             "behind the tunnel)"}));

INSTANTIATE_TEST_SUITE_P(
    Policy, CoexistenceRule,
    testing::Values(
        Edit{"match: { site: paris,", "match: { site: pariss,",
             "policy[0].match.site: there is no 'pariss', did you mean 'paris'? (one of paris, hub-west)"},
        Edit{"match: { circuit: er1 }", "match: { circuit: er1, connection: paris-ce1 }",
             "policy[1].match.circuit: no session is a connection's and a circuit's (either `connection` or "
             "`circuit`)"},
        Edit{"community: 65021:7", "community: 70000:7",
             "policy[0].match.community: '70000:7' is not a community (two numbers up to 65535, e.g. 65010:77, or "
             "graceful-shutdown, no-export, no-advertise, blackhole)"},
        Edit{"community: 65021:7", "community: 65515:1203",
             "policy[0].match.community: 65515:1203 is the gateway's own: it tells its other instance where a route "
             "came from (any other; 65515:1200 to 65515:1219 are taken)"},
        Edit{"set: { prepend: 2 }", "set: { prepend: 11 }", "policy[1].set.prepend: 11 is out of range (1 to 10)"},
        Edit{"set: { prepend: 2 }", "set: { local_preference: 200 }",
             "policy[1].set.local_preference: is not advertised (`prepend`, `med` or `communities`, or direction "
             "import)"},
        Edit{"    set: { prepend: 2 }", "    action: refuse\n    set: { prepend: 2 }",
             "policy[1].set: a refused route has nothing to be set (no `set`, or `action: accept`)"},
        Edit{"    bgp: { bfd: {}, accept_default_route: true }", "    bgp: { remove_private_asns: true }",
             "policy[1].set.prepend: is lost towards circuit er1: the gateway's number 65515 is a private one, and "
             "remove_private_asns there takes out what is prepended, too (`med` or `communities`, or no "
             "remove_private_asns)"},
        Edit{"name: circuit-prepend", "name: paris-lp",
             "policy[1].name: the name 'paris-lp' is used twice (each name once)"},
        Edit{"{ prefix: 10.0.0.0/8, ge: 9,", "{ prefix: 10.0.0.0/8, ge: 7,",
             "connections[0].bgp.import_filter[1].ge: 7 is out of range (8 to 32)"},
        Edit{"{ prefix: 10.0.0.0/8, ge: 9,", "{ prefix: 10.0.0.0/8, ge: 16, le: 12,",
             "connections[0].bgp.import_filter[1].le: 12 is out of range (16 to 32)"},
        Edit{"{ prefix: 10.10.0.0/16, le: 24 }, {", "{ le: 24 }, {",
             "connections[0].bgp.import_filter[0].prefix: is missing (a prefix, e.g. 10.0.0.0/8)"}));

TEST(Community, IsReadAsRoutersWriteIt) {
  EXPECT_EQ(parse_community("65010:77"), 65010U << 16 | 77U);
  EXPECT_EQ(parse_community("no-export"), 0xffffff01U);
  for (const char* text : {"", ":", "1:", ":1", "65536:1", "1:65536", "1:2:3", "1:-2", "a:b", "0x1:2", " 1:2"})
    EXPECT_FALSE(parse_community(text)) << text;
}

}  // namespace
}  // namespace gw::config
