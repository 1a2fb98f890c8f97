// routes/import.hpp, step by step: each row is stopped or changed by exactly the line it names.
#include "routes/import.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;
using test::net;

Policy policy() {
  Policy p;
  p.safe.vnet_prefixes = {net("10.0.0.0/16"), net("2001:db8:10::/48")};
  p.peers["filtered"].import_filter = {{"paris-in/10", {net("10.20.0.0/16"), 16, 24}, Action::kAccept},
                                       {"paris-in/20", {net("10.30.0.0/16"), 16, 32}, Action::kRefuse}};
  p.peers["open"].default_route = DefaultRoute::kAllow;
  p.peers["open"].allowed_asns = {65518};
  p.import_rules = {
      {.name = "no-lab", .match = {.prefixes = {{net("10.99.0.0/16"), 16, 32}}}, .action = Action::kRefuse},
      {.name = "paris-lp", .match = {.site = "paris"}, .set = {.local_preference = 150, .med = 7}},
      {.name = "tagged", .match = {.community = 77}, .set = {.weight = 5, .add_communities = {78}, .prepend = 2}},
      {.name = "far", .match = {.asn_in_path = 65031}, .set = {.local_preference = 50}}};
  return p;
}

struct Row {
  const char* prefix;
  std::function<void(Build&)> change;
  const char* line;
  Action action;
};

TEST(Import, EveryLineDecidesOnce) {
  const auto as = [](std::vector<std::uint32_t> path) {
    return [path](Build& b) { b.attributes.as_path = AsPath::sequence(path); };
  };
  const auto from = [](std::string name) { return [name](Build& b) { b.source.name = name; }; };
  constexpr auto kNo = Action::kRefuse;
  constexpr auto kYes = Action::kAccept;
  const std::vector<Row> rows{
      {"10.50.0.0/16", [](Build&) {}, "accepted: nothing speaks against it", kYes},
      {"0.0.0.0/0", [](Build&) {}, "safe prefixes: a default route is not accepted from this peer", kNo},
      {"::/0", [](Build&) {}, "safe prefixes: a default route is not accepted from this peer", kNo},
      {"0.0.0.0/0", from("open"), "accepted: nothing speaks against it", kYes},
      {"169.254.21.0/24", [](Build&) {},
       "safe prefixes: not a network that can be routed (loopback, link-local, multicast, reserved)", kNo},
      {"10.0.0.0/16", [](Build&) {}, "safe prefixes: equal to a VNet prefix", kNo},
      {"10.0.4.0/24", [](Build&) {}, "safe prefixes: more specific than a VNet prefix", kNo},
      {"2001:db8:10:1::/64", [](Build&) {}, "safe prefixes: more specific than a VNet prefix", kNo},
      {"10.0.0.0/8", [](Build&) {}, "accepted: nothing speaks against it", kYes},
      {"10.20.4.0/24", from("filtered"), "filter paris-in/10", kYes},
      {"10.20.4.0/25", from("filtered"), "filter: no line of the peer's import filter matches", kNo},
      {"10.30.4.0/24", from("filtered"), "filter paris-in/20", kNo},
      {"10.50.0.0/16", as({65021, 65515}), "AS numbers: the gateway's own AS is in the path (loop)", kNo},
      {"10.50.0.0/16", as({65021, 12076}), "AS numbers: a reserved AS is in the path", kNo},
      {"10.50.0.0/16", as({65518}), "AS numbers: a reserved AS is in the path", kNo},
      {"10.50.0.0/16",
       [](Build& b) {
         b.source.name = "open";
         b.attributes.as_path = AsPath::sequence({65518});
       },
       "accepted: nothing speaks against it", kYes},
      {"10.50.0.0/16",
       [](Build& b) {
         b.source.kind = SourceKind::kCircuit;
         b.attributes.as_path = AsPath::sequence({12076, 65021});
       },
       "accepted: nothing speaks against it", kYes},
      {"10.99.1.0/24", [](Build&) {}, "policy no-lab", kNo},
      {"10.50.0.0/16", [](Build& b) { b.source.site = "paris"; }, "policy paris-lp", kYes},
      {"10.50.0.0/16", as({65021, 65031}), "policy far", kYes},
      {"10.50.0.0/16", [](Build& b) { b.attributes.communities = {kGracefulShutdown}; },
       "graceful shutdown: the peer asked to use it last (RFC 8326)", kYes},
      {"10.0.0.0/16",
       [](Build& b) {
         b.source.kind = SourceKind::kVnet;
         b.source.type = PeerType::kLocal;
       },
       "local: the gateway's own configuration", kYes},
  };
  const Importer importer(std::make_shared<const Policy>(policy()));
  for (const Row& row : rows) {
    Build b;
    row.change(b);
    Attributes a = b.attributes;
    const ImportVerdict v = importer.apply(b.source, net(row.prefix), a);
    EXPECT_EQ(importer.line(v.line), row.line) << row.prefix;
    EXPECT_EQ(v.action, row.action) << row.prefix << ' ' << row.line;
  }
}

TEST(Import, WhatARuleSets) {
  const Importer importer(std::make_shared<const Policy>(policy()));
  Build b;
  b.attributes.communities = {77};
  Attributes a = b.attributes;
  importer.apply(b.source, net("10.50.0.0/16"), a);
  EXPECT_EQ(a.weight, 5);
  EXPECT_EQ(a.communities, (std::vector<std::uint32_t>{77, 78}));
  EXPECT_EQ(a.as_path.to_string(), "65021 65021 65021");
  EXPECT_EQ(a.local_preference, std::nullopt);
  b.source.site = "paris";  // the first line that matches is the only one
  a = b.attributes;
  importer.apply(b.source, net("10.50.0.0/16"), a);
  EXPECT_EQ(a.local_preference, 150U);
  EXPECT_EQ(a.med, 7U);
  EXPECT_EQ(a.weight, 100);
}

TEST(Import, ClassesAreWeightsAndThePartnerCarriesThem) {
  const auto weight = [](Prefer prefer, SourceKind kind, std::vector<std::uint32_t> communities) {
    Policy p;
    p.weights = class_weights(prefer);
    Build b;
    b.source.kind = kind;
    b.attributes.communities = std::move(communities);
    Importer(std::make_shared<const Policy>(p)).apply(b.source, net("10.50.0.0/16"), b.attributes);
    return b.attributes.weight;
  };
  using enum SourceKind;
  EXPECT_EQ(weight(Prefer::kCircuit, kCircuit, {}), 200);
  EXPECT_EQ(weight(Prefer::kCircuit, kVpnTunnel, {}), 100);
  EXPECT_EQ(weight(Prefer::kVpn, kCircuit, {}), 100);
  EXPECT_EQ(weight(Prefer::kVpn, kVpnTunnel, {}), 200);
  EXPECT_EQ(weight(Prefer::kCircuit, kPartner, {class_community(kCircuit)}), 200);
  EXPECT_EQ(weight(Prefer::kCircuit, kPartner, {class_community(kVpnTunnel)}), 100);
  EXPECT_EQ(weight(Prefer::kCircuit, kPartner, {}), 0);
  EXPECT_EQ(weight(Prefer::kCircuit, kVpnTunnel, {class_community(kCircuit)}), 100) << "a site cannot claim to be it";
  EXPECT_EQ(weight(Prefer::kCircuit, kCircuit, {kGracefulShutdown}), 0) << "last, whatever its class";
  EXPECT_EQ(weight(Prefer::kCircuit, kPartner, {class_community(kStaticSite)}), 100) << "a static site is VPN";
  EXPECT_EQ(weight(Prefer::kVpn, kPartner, {class_community(kStaticSite)}), 200);
}

TEST(Import, OurCommunitiesAreNobodyElses) {
  const Importer importer(std::make_shared<const Policy>());
  Build b;
  b.attributes.communities = {77, kIsolatedCommunity, class_community(SourceKind::kVnet)};
  Attributes a = b.attributes;
  importer.apply(b.source, net("10.50.0.0/16"), a);
  EXPECT_EQ(a.communities, (std::vector<std::uint32_t>{77}));
  b.source.kind = SourceKind::kPartner;
  a = b.attributes;
  importer.apply(b.source, net("10.50.0.0/16"), a);
  EXPECT_EQ(a.communities, b.attributes.communities);
}

TEST(Import, ABlackholeIsToldToNobodyOutside) {
  const Importer importer(std::make_shared<const Policy>());
  Build b;
  b.attributes.communities = {kBlackhole};
  importer.apply(b.source, net("10.50.0.0/16"), b.attributes);
  EXPECT_EQ(b.attributes.communities, (std::vector<std::uint32_t>{kBlackhole, kNoExport}));
}

TEST(Import, TheFastWayAgreesWithTheReference) {
  const Importer importer(std::make_shared<const Policy>(policy()));
  Build b;
  EXPECT_TRUE(importer.depends_on_prefix(b.source)) << "no-lab names prefixes";
  Policy plain = policy();
  plain.import_rules.erase(plain.import_rules.begin());
  const Importer without(std::make_shared<const Policy>(plain));
  EXPECT_FALSE(without.depends_on_prefix(b.source));
  b.source.name = "filtered";
  EXPECT_TRUE(without.depends_on_prefix(b.source));
  // Every first byte, with the VNet's and the martians' among them.
  for (unsigned first = 0; first < 256; ++first) {
    for (const unsigned length : {7U, 8U, 16U, 24U}) {
      const Prefix p = Prefix::make(IpAddress::from_v4(first << 24 | 0x00fe0000), length).value();
      const auto safe = without.check_safe(plain.peer("a"), p);
      EXPECT_EQ(safe.has_value(), check_prefix(plain.safe, p).has_value()) << p.to_string();
    }
  }
}

}  // namespace
}  // namespace gw::routes
