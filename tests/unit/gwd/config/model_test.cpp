// The resolved model: defaults, profiles, overrides, identities, and stability.
#include "gwd/config/model.hpp"

#include <gmock/gmock.h>

#include <format>

#include "gwd/config/compile.hpp"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::ElementsAre;
using namespace std::chrono_literals;

// Two instances that take over from each other.
std::string shared_document() {
  std::string text = kDocument;
  for (const std::string n : {"0", "1"})
    text = with(text, std::format("203.0.113.1{} }} ] }}\n      vnet: {{ interface: eth1 }}\n", n),
                std::format("203.0.113.1{} }} ] }}\n      vnet: {{ interface: eth1, address: 10.0.0.{} }}\n"
                            "      sync: [ 10.255.0.{} ]\n",
                            n, n == "0" ? "4" : "5", n == "0" ? "1" : "2"));
  return text;
}

class Model : public testing::Test {
 protected:
  void SetUp() override {
    dir_.write("a.psk", "secret-of-a\n");
    dir_.write("b.psk", "secret-of-b\n");
  }
  Compiled compiled(const std::string& text, const std::string& instance = "gw-a") {
    return compile({.text = text, .file = dir_.file("gateway.yaml"), .instance = instance});
  }
  GatewayModel model(const std::string& text, const std::string& instance = "gw-a") {
    Compiled out = compiled(text, instance);
    for (const Finding& finding : out.findings) EXPECT_EQ(finding.severity, Severity::kWarning) << finding.describe();
    if (!out.model) throw std::runtime_error("no model");
    return std::move(*out.model);
  }
  TempDir dir_;
};

TEST_F(Model, DefaultsAreTheClouds) {
  const GatewayModel gateway = model(with(kDocument, "  asn: 65515\n", ""));
  EXPECT_EQ(gateway.gateway, "hub-east");
  EXPECT_EQ(gateway.asn, 65515U);
  EXPECT_EQ(gateway.router_id.to_string(), "203.0.113.10");
  EXPECT_EQ(gateway.wan_interface, "eth0");
  EXPECT_EQ(gateway.vnet_interface, "eth1");
  EXPECT_EQ(gateway.vnet_prefixes.at(0).to_string(), "10.0.0.0/16");
  EXPECT_EQ(gateway.metrics_address, "127.0.0.1");
  EXPECT_EQ(gateway.metrics_port, 9620);
  ASSERT_EQ(gateway.tunnels.size(), 1U);
  const TunnelModel& tunnel = gateway.tunnels[0];
  EXPECT_EQ(tunnel.name, "paris-ce1/gw-a");
  EXPECT_EQ(tunnel.device, std::format("tun{}", tunnel.tunnel_id));
  EXPECT_LE(tunnel.device.size(), 15U);
  EXPECT_EQ(tunnel.local.to_string(), "203.0.113.10");
  EXPECT_EQ(tunnel.remote.to_string(), "198.51.100.1");
  EXPECT_EQ(tunnel.local_identity, "203.0.113.10");
  EXPECT_EQ(tunnel.remote_identity, "198.51.100.1");
  EXPECT_EQ(tunnel.psk.text(), "secret-of-a");
  EXPECT_THAT(tunnel.ike.proposals, ElementsAre("aes256-sha256-modp2048"));
  EXPECT_EQ(tunnel.ike.times, (RekeyTimes{28530s, 270s, 28800s}));
  EXPECT_THAT(tunnel.esp.proposals,
              ElementsAre("aes256gcm16-modp2048-ecp256-ecp384-esn-noesn", "aes256gcm16-esn-noesn"));
  EXPECT_EQ(tunnel.esp.times, (RekeyTimes{26730s, 270s, 27000s}));
  EXPECT_EQ(tunnel.esp.hard_bytes, 102'400'000ULL * 1024);
  EXPECT_LT(tunnel.esp.rekey_bytes, tunnel.esp.hard_bytes);
  EXPECT_EQ(tunnel.esp.replay_window, 1024U);
  EXPECT_TRUE(tunnel.esp.esn);
  EXPECT_EQ(tunnel.dpd_delay, 45s);
  EXPECT_EQ(tunnel.initiate, Initiate::kDefault);
  EXPECT_EQ(tunnel.mtu, 1400U);
  EXPECT_EQ(tunnel.mss, 1350U);
  ASSERT_TRUE(tunnel.bgp);
  EXPECT_EQ(tunnel.bgp->peer_asn, 65021U);
  EXPECT_EQ(tunnel.bgp->keepalive, 60s);
  EXPECT_EQ(tunnel.bgp->hold, 180s);
  EXPECT_EQ(tunnel.bgp->max_routes, 4000U);
  EXPECT_TRUE(tunnel.bgp->graceful_restart);
  EXPECT_EQ(tunnel.bgp->bfd, (BfdSettings{std::chrono::milliseconds(100), 3}));
  EXPECT_TRUE(tunnel.bgp->md5.empty());
  EXPECT_TRUE(Prefix::parse("169.254.21.0/24")->contains(tunnel.bgp->local));
}

TEST_F(Model, OverridesLieOverTheProfileAndTheProfileOverTheDefault) {
  std::string text = with(kDocument, "    ipsec: { encryption: GCMAES256 }",
                          "    profile: mine\n    ike: { integrity: SHA384 }\n    ipsec: { pfs: None, lifetime: 5s, "
                          "no_esn: true }\n    initiate: responder-only\n"
                          "    mtu: 1300\n    udp_encapsulation: true\n    disabled: true\n    bgp: { hold: 9s }");
  text +=
      "profiles:\n  - { name: mine, ike: { encryption: GCMAES128, lifetime: 1h, rekey_margin: 10m }, ipsec: { "
      "encryption: GCMAES128 }, dpd: { delay: 10s } }\n";
  const GatewayModel gateway = model(text);
  const TunnelModel& tunnel = gateway.tunnels.at(0);
  EXPECT_THAT(tunnel.ike.proposals, ElementsAre("aes128gcm16-prfsha384-modp2048"));
  EXPECT_EQ(tunnel.ike.times, (RekeyTimes{3000s, 600s, 3600s}));
  EXPECT_THAT(tunnel.esp.proposals, ElementsAre("aes128gcm16-noesn"));
  // Short lifetimes have a grace, so that a rekeying which retransmits does not come too late.
  EXPECT_EQ(tunnel.esp.times, (RekeyTimes{5s, 0s, 35s}));
  EXPECT_FALSE(tunnel.esp.esn);
  EXPECT_EQ(tunnel.dpd_delay, 10s);
  EXPECT_EQ(tunnel.initiate, Initiate::kResponderOnly);
  EXPECT_EQ(tunnel.mtu, 1300U);
  EXPECT_EQ(tunnel.mss, 1250U);
  EXPECT_EQ(tunnel.encapsulation, v1::ENCAPSULATION_UDP);
  EXPECT_TRUE(tunnel.disabled);
  EXPECT_EQ(tunnel.bgp->hold, 9s);
  EXPECT_EQ(tunnel.bgp->keepalive, 3s);
}

TEST_F(Model, RatesOfTunnelsAndOfTheSku) {
  EXPECT_EQ(model(kDocument).tunnels[0].rates, RateSettings{});
  EXPECT_EQ(model(kDocument).rates, RateSettings{});
  std::string text = with(kDocument, "    ipsec:", "    rate: 1.25Gbit/s\n    rate_in: 500kbit/s\n    ipsec:");
  text = with(text, "  asn: 65515\n", "  asn: 65515\n  sku: VpnGw1\n  rate_out: 2Gbit/s\n");
  const GatewayModel gateway = model(text);
  EXPECT_EQ(gateway.tunnels[0].rates, (RateSettings{500'000, 1'250'000'000}));
  EXPECT_EQ(gateway.rates, (RateSettings{650'000'000, 2'000'000'000}));
  const v1::Config config = compiled(text).config;
  EXPECT_TRUE(rates_beyond(config, gateway, 0).empty()) << "nobody knows";
  EXPECT_TRUE(rates_beyond(config, gateway, 2'000'000'000).empty());
  const Findings beyond = rates_beyond(config, gateway, 1'000'000'000);
  ASSERT_EQ(beyond.size(), 2u);
  EXPECT_EQ(beyond[0].field, "gateway.rate_out");
  EXPECT_EQ(beyond[1].field, "connections[0].rate");
  EXPECT_EQ(beyond[1].message, "1.25Gbit/s is more than the link of eth0 carries, 1Gbit/s");
  EXPECT_EQ(beyond[1].expected, "at most 1Gbit/s, or no `rate`");
  ASSERT_EQ(rates_beyond(config, gateway, 600'000'000).size(), 2u) << "a SKU is a product, whatever the machine";
}

TEST_F(Model, RatesAreNamedByTheKeyThatSaysThem) {
  v1::Connection connection;
  EXPECT_TRUE(stated_rates(connection).empty());
  connection.set_rate("2Mbit/s");
  connection.set_rate_in("1Mbit/s");
  const auto keys = [&] {
    std::string out;
    for (const auto& [key, rates] : stated_rates(connection))
      out += std::format("{} {} {}; ", key, rates.in_bps, rates.out_bps);
    return out;
  };
  EXPECT_EQ(keys(), "rate 0 2000000; rate_in 1000000 0; ");
  connection.set_rate_out("3Mbit/s");
  EXPECT_EQ(keys(), "rate_in 1000000 0; rate_out 0 3000000; ");
}

TEST_F(Model, OtherCloudsProfile) {
  const GatewayModel gateway = model(with(kDocument, "ipsec:", "profile: other-cloud\n    ipsec:"));
  EXPECT_EQ(gateway.tunnels[0].esp.times, (RekeyTimes{3330s, 270s, 3600s}));
  EXPECT_EQ(gateway.tunnels[0].dpd_delay, 30s);
}

TEST_F(Model, APublicAddressIsTheIdentityAndADeviceMayHaveItsOwn) {
  std::string text = with(kDocument, "{ address: 203.0.113.10 }", "{ address: 10.9.0.10, public: 203.0.113.10 }");
  text = with(text, "address: 198.51.100.1 ", "address: 198.51.100.1, identity: ce1.paris.example ");
  const GatewayModel gateway = model(text);
  EXPECT_EQ(gateway.tunnels[0].local.to_string(), "10.9.0.10");
  EXPECT_EQ(gateway.tunnels[0].local_identity, "203.0.113.10");
  EXPECT_EQ(gateway.tunnels[0].remote_identity, "ce1.paris.example");
  EXPECT_EQ(gateway.endpoints[0].public_address->to_string(), "203.0.113.10");
}

TEST_F(Model, TheEndpointIsTheAskedOneOrTheFirstOfTheFamily) {
  std::string text = with(kDocument, "{ address: 203.0.113.10 }",
                          "{ address: \"2001:db8::10\" }, { address: 203.0.113.10 }, { address: 203.0.113.20 }");
  EXPECT_EQ(model(text).tunnels[0].local.to_string(), "203.0.113.10");
  text = with(text, "ipsec:", "endpoint: 203.0.113.20\n    ipsec:");
  EXPECT_EQ(model(text).tunnels[0].local.to_string(), "203.0.113.20");
  EXPECT_EQ(model(text, "gw-b").tunnels[0].local.to_string(), "203.0.113.11");
}

TEST_F(Model, AStaticSiteHasNoBgp) {
  const GatewayModel gateway = model(with(kDocument, "    asn: 65021\n", "    static: [ 172.16.0.0/16 ]\n"));
  EXPECT_FALSE(gateway.tunnels[0].bgp);
  EXPECT_EQ(gateway.tunnels[0].static_prefixes.at(0).to_string(), "172.16.0.0/16");
}

TEST_F(Model, GivenInnerAddressesAreTakenAndAvoidedByOthers) {
  const std::string given = "    bgp: { addresses: { gw-a: { local: 10.255.0.1, peer: 10.255.0.2 } } }\n";
  const GatewayModel gateway = model(kDocument + given);
  EXPECT_EQ(gateway.tunnels[0].bgp->local.to_string(), "10.255.0.1");
  EXPECT_EQ(gateway.tunnels[0].bgp->peer.to_string(), "10.255.0.2");
  // The other instance's are still allocated, from its own range.
  EXPECT_TRUE(Prefix::parse("169.254.22.0/24")->contains(model(kDocument + given, "gw-b").tunnels[0].bgp->local));
}

TEST_F(Model, AnAppendedConnectionLeavesTheOthersEqual) {
  const GatewayModel before = model(kDocument);
  GatewayModel after = model(kDocument + "  - { name: paris-ce2, device: paris/ce2, secret: { psk_file: b.psk } }\n");
  ASSERT_EQ(after.tunnels.size(), 2U);
  EXPECT_EQ(after.tunnels[0], before.tunnels[0]);
  EXPECT_FALSE(after == before);
  after.tunnels.pop_back();
  EXPECT_EQ(after.policy.peers.erase("paris-ce2/gw-a"), 1U);
  EXPECT_TRUE(after == before);
}

TEST_F(Model, AChangedSecretIsAChangedTunnel) {
  const GatewayModel before = model(kDocument);
  dir_.write("a.psk", "another\n");
  EXPECT_FALSE(model(kDocument).tunnels[0] == before.tunnels[0]);
}

TEST_F(Model, FindTunnel) {
  const GatewayModel gateway = model(kDocument);
  EXPECT_EQ(gateway.find_tunnel("paris-ce1/gw-a"), &gateway.tunnels[0]);
  EXPECT_EQ(gateway.find_tunnel("paris-ce1/gw-b"), nullptr);
}

TEST_F(Model, TheOtherInstancesTunnelsAreKnownWhereStateIsShared) {
  EXPECT_TRUE(model(kDocument).elsewhere.empty());
  const GatewayModel here = model(shared_document());
  ASSERT_EQ(here.tunnels.size(), 1U);
  ASSERT_EQ(here.elsewhere.size(), 1U);
  EXPECT_EQ(here.elsewhere[0].name, "paris-ce1/gw-b");
  EXPECT_EQ(here.elsewhere[0].home, "gw-b");
  EXPECT_EQ(here.elsewhere[0].carrier, "gw-b");
  // The same tunnel as the other instance sees it: what an endpoint takes along when it moves.
  EXPECT_EQ(here.elsewhere[0], model(shared_document(), "gw-b").tunnels.at(0));
  // Its policy is there before it comes.
  EXPECT_TRUE(here.policy.peers.contains("paris-ce1/gw-b"));
}

TEST_F(Model, TunnelsAreCarriedWhereTheirEndpointIs) {
  const GatewayModel home = model(shared_document());
  const auto a = *IpAddress::parse("203.0.113.10");
  const auto b = *IpAddress::parse("203.0.113.11");
  EXPECT_EQ(carried_model(home, {{a, "gw-a"}, {b, "gw-b"}}), home);
  const GatewayModel both = carried_model(home, {{a, "gw-a"}, {b, "gw-a"}});
  EXPECT_EQ(both.tunnels.size(), 2U);
  EXPECT_TRUE(both.elsewhere.empty());
  EXPECT_EQ(both.find_tunnel("paris-ce1/gw-b")->carrier, "gw-a");
  const GatewayModel none = carried_model(both, {{a, "gw-b"}});
  EXPECT_TRUE(none.tunnels.empty());
  ASSERT_EQ(none.elsewhere.size(), 2U);
  EXPECT_EQ(none.elsewhere[0].carrier, "gw-b");
  EXPECT_EQ(none.elsewhere[1].carrier, "") << "nobody has it";
  EXPECT_EQ(carried_model(none, {{a, "gw-a"}, {b, "gw-b"}}), home);
}

TEST_F(Model, AnUnknownInstanceIsAFinding) {
  const Compiled other = compiled(kDocument, "gw-z");
  EXPECT_FALSE(other.model);
  ASSERT_EQ(other.findings.size(), 1U);
  EXPECT_THAT(
      other.findings[0].describe(),
      testing::EndsWith(":5:3: gateway.instances: gwd was told that this machine is 'gw-z', which is none of them "
                        "(expected gwd --instance gw-a or gw-b: GWD_OPTIONS in /etc/default/gw)"));
  EXPECT_THAT(compiled(kDocument, "").findings.at(0).describe(),
              testing::EndsWith(":5:3: gateway.instances: gwd was not told which of them this machine is "
                                "(expected gwd --instance gw-a or gw-b: GWD_OPTIONS in /etc/default/gw)"));
}

TEST_F(Model, NothingIsResolvedFromAFaultyDocument) {
  const Compiled faulty = compiled(with(kDocument, "GCMAES256", "DES"));
  EXPECT_FALSE(faulty.model);
  EXPECT_TRUE(has_errors(faulty.findings));
}

}  // namespace
}  // namespace gw::config
