// Routes, both instances, certificates.
#include "tests/unit/gwd/doctor/snapshots.hpp"

namespace gw::doctor::test {
namespace {

void only_way(api::Snapshot& s, std::uint32_t bfd_ms, std::uint32_t takeover_ms) {
  s.set_takeover_ms(takeover_ms);
  s.mutable_sessions(kParis)->set_only_way(true);
  s.mutable_sessions(kParis)->set_bfd_detection_ms(bfd_ms);
}

void add_zebra(api::Snapshot& s, const std::string& problem) {
  api::Component& zebra = *s.mutable_status()->add_components();
  zebra.set_name("zebra");
  zebra.set_connected(true);
  zebra.set_problem(problem);
}

api::RouteDifference& differs(api::Snapshot& s, const char* where) {
  auto& d = *s.mutable_routes()->add_differences();
  d.set_prefix("10.20.0.0/16");
  d.set_where(where);
  d.set_what("missing");
  d.set_since_unix_ms(kNow - 5000);
  return d;
}

void ends(api::Snapshot& s, const char* severity) {
  auto& c = *s.mutable_ha()->add_certificates();
  c.set_file("gw-a.crt");
  c.set_severity(severity);
  c.set_seconds_left(500'000);
  c.set_text("gw-a.crt is good until 2023-11-20, for 5 more days");
  c.set_renewal("gwctl ha renew");
}

struct Packets {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
};
/// berlin's tunnels: the one here, and one that the other instance carries.
void berlin(api::Snapshot& s, Packets here, Packets there) {
  auto& window = *s.mutable_tunnels(kBerlin)->mutable_window();
  window.set_in_packets(here.in + 40);  // BGP, BFD
  window.set_out_packets(here.out + 40);
  auto& other = *s.add_peer_tunnels();
  other.set_name("berlin-ce1/gw-b");
  other.set_site("berlin");
  other.set_instance("gw-b");
  other.set_seconds(60);
  other.set_in_packets(there.in);
  other.set_out_packets(there.out);
}

}  // namespace

const std::vector<Case>& route_cases() {
  static const std::vector<Case> all{
      // AsnLoop, GatewaySubnetRouteLoop
      {"routes come back", [](auto& s) { refuse(s, "own-asn"); }, {"AsnLoop berlin-ce1/gw-a error"}},
      {"a site claims the VNet",
       [](auto& s) { refuse(s, "vnet-prefix"); },
       {"GatewaySubnetRouteLoop berlin-ce1/gw-a warning"}},
      // MoreSpecificViaVpn
      {"a tunnel takes a part of what the circuit has",
       [](auto& s) {
         auto& m = *s.mutable_routes()->add_more_specific();
         m.set_prefix("10.20.5.0/24");
         m.set_source("paris-ce1/gw-a");
         m.set_covering_prefix("10.20.0.0/16");
         m.set_covering_source("er1-primary/gw-a");
       },
       {"MoreSpecificViaVpn paris-ce1/gw-a warning"}},
      {"the operator prefers the VPN",
       [](auto& s) {
         s.mutable_routes()->add_more_specific()->set_source("paris-ce1/gw-a");
         s.set_prefers("vpn");
       },
       {}},
      // AsymmetricPath
      {"the site answers by the tunnel, we by the circuit",
       [](auto& s) { tunnel(s, kParis).mutable_window()->set_in_packets(640); },
       {"AsymmetricPath paris-ce1/gw-a warning"}},
      {"a few packets still come by the tunnel",
       [](auto& s) { tunnel(s, kParis).mutable_window()->set_in_packets(80); },
       {}},
      {"we prefer the tunnel, the site the circuit",
       [](auto& s) {
         s.mutable_sessions(kParis)->set_routes_best(10);
         s.mutable_sessions(kParis)->set_routes_behind_circuit(0);
         s.mutable_sessions(kParis)->set_routes_over_circuit(10);
         tunnel(s, kParis).mutable_window()->set_out_packets(900);
       },
       {"AsymmetricPath paris-ce1/gw-a warning"}},
      {"a site that only sends, and has no circuit",
       [](auto& s) { tunnel(s, kBerlin).mutable_window()->set_out_packets(40); },
       {}},
      // RouteNotInFastPath, RouteNotInFrr
      {"a route is not in the fast path",
       [](auto& s) { differs(s, "fast path"); },
       {"RouteNotInFastPath 1 prefix critical"}},
      {"routes are not in FRR",
       [](auto& s) {
         for (int i = 0; i < 5; ++i) differs(s, "frr");
       },
       {"RouteNotInFrr 5 prefixes error"}},
      {"nor is zebra blamed for them, which answers",
       [](auto& s) {
         differs(s, "frr");
         add_zebra(s, "1 route is another in FRR than in gwd (RoutesDiffer)");
       },
       {"RouteNotInFrr 1 prefix error"}},
      {"only numbers of routes differ",
       [](auto& s) {
         add_zebra(s, "bgpd has taken 3 IPv4 and 1 IPv6 routes of berlin-ce1/gw-a, gwd 4 and 1 (RoutesDiffer)");
       },
       {"RouteNotInFrr numbers of routes error"}},
      // ConfigurationsDiffer
      {"another alarm of the pair", [](auto& s) { s.mutable_ha()->add_alarms()->set_kind("HaPeerDead"); }, {}},
      {"the instances run different documents",
       [](auto& s) {
         api::HaAlarm& alarm = *s.mutable_ha()->add_alarms();
         alarm.set_kind("HaConfigurationsDiffer");
         alarm.set_text("gw-b committed what this instance cannot run: secrets/paris.psk: No such file");
       },
       {"ConfigurationsDiffer the two instances error"}},
      // CertificateEnds
      {"the certificates are good for long", [](auto& s) { ends(s, ""); }, {}},
      {"a certificate ends this month", [](auto& s) { ends(s, "warning"); }, {"CertificateEnds gw-a.crt warning"}},
      {"a certificate ends this week", [](auto& s) { ends(s, "error"); }, {"CertificateEnds gw-a.crt error"}},
      // BfdBeforeTakeover
      {"a site with one tunnel and fast BFD, of a single instance", [](auto& s) { only_way(s, 300, 0); }, {}},
      {"the same of a pair", [](auto& s) { only_way(s, 300, 350); }, {"BfdBeforeTakeover paris-ce1/gw-a info"}},
      {"its BFD waits long enough", [](auto& s) { only_way(s, 700, 350); }, {}},
      {"its BFD is not answered",
       [](auto& s) {
         only_way(s, 300, 350);
         peer(s, kParis).set_bfd("off");
       },
       {}},
      {"it has another way",
       [](auto& s) {
         only_way(s, 300, 350);
         s.mutable_sessions(kParis)->set_only_way(false);
       },
       {}},
      // AsymmetricInstances
      {"both instances carry both directions",
       [](auto& s) { berlin(s, {.in = 5000, .out = 4000}, {.in = 3000, .out = 6000}); },
       {}},
      {"a site's packets come in here and leave there",
       [](auto& s) { berlin(s, {.in = 5000, .out = 100}, {.in = 80, .out = 4000}); },
       {"AsymmetricInstances site berlin info"}},
      {"they come in there and leave here",
       [](auto& s) { berlin(s, {.in = 100, .out = 5000}, {.in = 4000, .out = 80}); },
       {"AsymmetricInstances site berlin info"}},
      {"a part of what comes in here is answered here",
       [](auto& s) { berlin(s, {.in = 5000, .out = 600}, {.in = 80, .out = 4000}); },
       {}},
      {"a site that only sends", [](auto& s) { berlin(s, {.in = 5000}, {}); }, {}},
      {"a few packets prove nothing", [](auto& s) { berlin(s, {.in = 999}, {.out = 999}); }, {}},
      {"nor do they in one direction", [](auto& s) { berlin(s, {.in = 5000}, {.out = 999}); }, {}},
      {"the other instance carries another site's packets",
       [](auto& s) {
         berlin(s, {.in = 5000}, {.out = 5000});
         s.mutable_peer_tunnels(0)->set_site("rome");
       },
       {}},
  };
  return all;
}

}  // namespace gw::doctor::test
