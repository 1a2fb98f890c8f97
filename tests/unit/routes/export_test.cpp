// The export table of routes/export.hpp: every cell, and what stands above the table.
#include "routes/export.hpp"

#include <gtest/gtest.h>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;
using test::net;
using enum SourceKind;

Source peer(SourceKind kind, std::string name = "to") {
  return {.kind = kind,
          .name = std::move(name),
          .type = kind == kPartner ? PeerType::kIbgp : PeerType::kEbgp,
          .peer_asn = 65099,
          .router_id = ip("192.0.2.9"),
          .peer_address = ip("169.254.21.9"),
          .site = kind == kVpnTunnel ? "berlin" : ""};
}

Candidate from(SourceKind kind) {
  Build b;
  b.source.kind = kind;
  b.source.site = kind == kVpnTunnel || kind == kStaticSite ? "paris" : "";
  b.attributes.weight = 100;
  return b();
}

Told told(const Policy& policy, const Candidate& route, const Source& to, const char* prefix = "10.20.0.0/16") {
  Attributes out;
  return apply_export(policy, net(prefix), route, to, out).told;
}

TEST(Export, EveryCellOfTheTable) {
  constexpr Told kYes = Told::kYes;
  constexpr Told kNo = Told::kNo;
  struct Row {
    SourceKind from;
    // To VNet, circuit, VPN site, branch VNet, partner: closed, and with transit.
    std::array<Told, 5> closed;
    std::array<Told, 5> transit;
  };
  const std::vector<Row> rows{
      {kVnet, {kNo, kYes, kYes, kYes, kYes}, {kNo, kYes, kYes, kYes, kYes}},
      {kSpoke, {kNo, kYes, kYes, kYes, kYes}, {kNo, kYes, kYes, kYes, kYes}},
      {kCircuit, {kYes, kNo, kNo, kNo, kYes}, {kYes, kNo, kYes, kYes, kYes}},
      {kVpnTunnel, {kYes, kNo, kYes, kYes, kYes}, {kYes, kYes, kYes, kYes, kYes}},
      {kStaticSite, {kYes, kNo, kYes, kYes, kYes}, {kYes, kYes, kYes, kYes, kYes}},
      {kBranchVnet, {kYes, kNo, kYes, kNo, kYes}, {kYes, kYes, kYes, kYes, kYes}},
      {kPartner, {kYes, kNo, kNo, kNo, kNo}, {kYes, kNo, kNo, kNo, kNo}},
  };
  constexpr std::array kColumns{kVnet, kCircuit, kVpnTunnel, kBranchVnet, kPartner};
  Policy open;
  open.transit = Transit::kOpen;
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < kColumns.size(); ++i) {
      SCOPED_TRACE(std::format("{} -> {}", to_string(row.from), to_string(kColumns[i])));
      EXPECT_EQ(told({}, from(row.from), peer(kColumns[i])), row.closed[i]);
      EXPECT_EQ(told(open, from(row.from), peer(kColumns[i])), row.transit[i]);
    }
  }
}

TEST(Export, ThePartnersRoutesAreAsTheirOriginalSource) {
  const auto carried = [](SourceKind original) {
    Build b;
    b.source.kind = kPartner;
    b.source.type = PeerType::kIbgp;
    b.attributes.communities = {class_community(original)};
    return b();
  };
  for (const SourceKind original : {kVnet, kCircuit, kVpnTunnel, kStaticSite, kBranchVnet, kSpoke}) {
    for (const SourceKind to : {kVnet, kCircuit, kVpnTunnel, kBranchVnet}) {
      EXPECT_EQ(told({}, carried(original), peer(to)), told({}, from(original), peer(to)))
          << to_string(original) << " -> " << to_string(to);
    }
    EXPECT_EQ(told({}, carried(original), peer(kPartner)), Told::kNo) << "never back";
  }
}

TEST(Export, OnlyThePairThatPublishesTellsTheVnet) {
  Policy silent;
  silent.vnet = Publishing::kSilent;
  for (const SourceKind kind : {kCircuit, kVpnTunnel, kStaticSite, kBranchVnet}) {
    EXPECT_EQ(told(silent, from(kind), peer(kVnet)), Told::kNo);
    EXPECT_EQ(told(silent, from(kind), peer(kPartner)), Told::kYes);
  }
}

TEST(Export, AnIsolatedSiteNeitherHearsNorIsHeardByOthers) {
  Policy listener;
  listener.peers["to"].isolation = Isolation::kIsolated;
  EXPECT_EQ(told(listener, from(kVpnTunnel), peer(kVpnTunnel)), Told::kNo);
  EXPECT_EQ(told(listener, from(kVnet), peer(kVpnTunnel)), Told::kYes);
  Policy speaker;
  speaker.peers["a"].isolation = Isolation::kIsolated;
  EXPECT_EQ(told(speaker, from(kVpnTunnel), peer(kVpnTunnel)), Told::kNo);
  EXPECT_EQ(told(speaker, from(kVpnTunnel), peer(kVnet)), Told::kYes);
  // The other instance knows from a community.
  Attributes out;
  apply_export(speaker, net("10.20.0.0/16"), from(kVpnTunnel), peer(kPartner), out);
  EXPECT_TRUE(out.has_community(kIsolatedCommunity));
  Build carried;
  carried.source.kind = kPartner;
  carried.source.type = PeerType::kIbgp;
  carried.attributes.communities = out.communities;
  EXPECT_EQ(told({}, carried(), peer(kVpnTunnel)), Told::kNo);
  EXPECT_EQ(told({}, carried(), peer(kBranchVnet)), Told::kYes);
}

TEST(Export, WhatHoldsWhateverTheTableSays) {
  Attributes out;
  const Candidate paris = from(kVpnTunnel);
  const auto line = [&](const Policy& p, const Candidate& c, const Source& to, const char* prefix = "10.20.0.0/16") {
    const ExportVerdict v = apply_export(p, net(prefix), c, to, out);
    EXPECT_EQ(v.told, Told::kNo);
    return v.line;
  };
  EXPECT_EQ(line({}, paris, peer(kVpnTunnel, "a")), "loop: learned from this peer");
  Source second = peer(kVpnTunnel);
  second.site = "paris";
  EXPECT_EQ(line({}, paris, second), "loop: learned from another tunnel of this site");
  for (const auto& [community, name] : {std::pair{kNoAdvertise, "no-advertise"}, std::pair{kNoExport, "no-export"},
                                        std::pair{kNoExportSubconfed, "local-AS"}}) {
    Build quiet;
    quiet.attributes.communities = {community};
    EXPECT_EQ(line({}, quiet(), peer(kVpnTunnel)), std::format("community: {}", name));
    Attributes partner;
    EXPECT_EQ(apply_export({}, net("10.20.0.0/16"), quiet(), peer(kPartner), partner).told,
              community == kNoAdvertise ? Told::kNo : Told::kYes);
  }
  EXPECT_EQ(line({}, paris, peer(kVpnTunnel), "0.0.0.0/0"),
            "safe prefixes: the default route is not advertised to this peer");
  Build loop;
  loop.attributes.as_path = AsPath::sequence({65021, 65099});
  EXPECT_EQ(line({}, loop(), peer(kVpnTunnel)), "loop: the peer's own AS is in the path, it would refuse it");
  EXPECT_EQ(line({}, from(kCircuit), peer(kVpnTunnel)), "export table: circuit -> vpn tunnel needs transit: true");
  Policy filter;
  filter.peers["to"].export_filter = {{"out/10", {net("10.20.0.0/16"), 16, 16}, Action::kRefuse}};
  EXPECT_EQ(line(filter, paris, peer(kVpnTunnel)), "filter out/10");
  EXPECT_EQ(line(filter, paris, peer(kVpnTunnel), "10.21.0.0/16"),
            "filter: no line of the peer's export filter matches");
  Policy rule;
  rule.export_rules = {{.name = "hush", .match = {.site = "berlin"}, .action = Action::kRefuse}};
  EXPECT_EQ(line(rule, paris, peer(kVpnTunnel)), "policy hush");
}

TEST(Export, WhatIsToldLooksAsOrdered) {
  Build b;
  b.attributes.as_path = AsPath::sequence({65021, 65099, 3});
  b.attributes.weight = 200;
  b.attributes.local_preference = 150;
  b.attributes.med = 9;
  Policy p;
  p.peers["to"].as_override = AsOverride::kYes;
  p.export_rules = {{.name = "backup", .match = {.site = "berlin"}, .set = {.med = 5, .prepend = 2}}};
  Attributes out;
  const ExportVerdict v = apply_export(p, net("10.20.0.0/16"), b(), peer(kVpnTunnel), out);
  EXPECT_EQ(v.told, Told::kYes);
  EXPECT_EQ(v.line, "policy backup");
  EXPECT_EQ(out.as_path.to_string(), "65515 65515 65515 65021 65515 3");
  EXPECT_EQ(out.med, 5U);
  EXPECT_EQ(out.weight, 0);
  EXPECT_EQ(out.local_preference, std::nullopt);
  p.peers["to"].private_asns = PrivateAsns::kRemove;
  apply_export(p, net("10.20.0.0/16"), b(), peer(kVpnTunnel), out);
  EXPECT_EQ(out.as_path.to_string(), "65515 65515 3") << "our prepends are private, too; the peer's own stays for it";

  Build local;
  local.source.type = PeerType::kLocal;
  local.source.kind = kVnet;
  local.attributes = {};
  apply_export({}, net("10.0.0.0/16"), local(), peer(kVpnTunnel), out);
  EXPECT_EQ(out.med, 0U) << "bgpd says 0 of what it originates";
  EXPECT_EQ(out.as_path.to_string(), "65515");

  const ExportVerdict partner = apply_export({}, net("10.20.0.0/16"), b(), peer(kPartner), out);
  EXPECT_EQ(partner.told, Told::kYes);
  EXPECT_EQ(out.as_path, b.attributes.as_path) << "iBGP";
  EXPECT_EQ(out.local_preference, 150U);
  EXPECT_TRUE(out.has_community(class_community(kVpnTunnel)));
}

}  // namespace
}  // namespace gw::routes
