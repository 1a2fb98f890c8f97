// Each rule against a table of snapshots: a healthy one in which one thing is wrong, or nearly wrong.
#include "gwd/doctor/doctor.hpp"

#include <gmock/gmock.h>

#include <format>
#include <functional>
#include <set>

namespace gw::doctor {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kNow = 1'700'000'000'000;
constexpr std::uint64_t kHourAgo = kNow - 3'600'000;

// paris: circuit, and a tunnel that waits. berlin: a tunnel only. The partner is the VPN pair's other side.
api::SnapshotTunnel tunnel(const std::string& name, const std::string& site) {
  api::SnapshotTunnel t;
  t.set_site(site);
  t.set_configured_mtu(1400);
  t.set_last_in_unix_ms(kNow - 1000);
  t.set_last_out_unix_ms(kNow - 1000);
  auto& shown = *t.mutable_tunnel();
  shown.set_name(name);
  shown.set_connection(name.substr(0, name.find('/')));
  shown.set_state("up");
  shown.set_local_address("203.0.113.10");
  shown.set_remote_address("198.51.100.2");
  shown.set_up_since_unix_ms(kHourAgo);
  shown.set_mtu(1400);
  auto& window = *t.mutable_window();
  window.set_seconds(60);
  window.set_in_packets(1000);
  window.set_out_packets(1000);
  window.set_slow_path_packets(80);
  auto& proof = *t.mutable_proof();
  proof.set_method("echo");
  proof.set_proven_unix_ms(kNow - 3000);
  proof.set_watched_since_unix_ms(kHourAgo);
  proof.set_small_sent(20);
  proof.set_small_answered(20);
  proof.set_full_bytes(1400);
  proof.set_full_sent(5);
  proof.set_full_answered(5);
  return t;
}

api::SnapshotSession session(const std::string& name, const std::string& kind, std::uint32_t asn) {
  api::SnapshotSession s;
  s.set_name(name);
  s.set_kind(kind);
  s.set_hold_seconds(180);
  s.set_routes_v4(10);
  s.set_max_routes(4000);
  s.set_drops_at_limit(true);
  s.set_routes_best(10);
  s.mutable_peer()->set_neighbor("169.254.21.2");
  s.mutable_peer()->set_local_address("169.254.21.1");
  s.mutable_peer()->set_asn(asn);
  s.mutable_peer()->set_state("Established");
  s.mutable_peer()->set_connected_seconds(3600);
  return s;
}

api::Snapshot healthy() {
  api::Snapshot s;
  s.set_version(1);
  s.set_taken_unix_ms(kNow);
  s.set_prefers("circuit");
  for (const char* name : {"gw-fastpath", "charon", "bgpd", "bfdd"}) {
    auto& c = *s.mutable_status()->add_components();
    c.set_name(name);
    c.set_connected(true);
    c.set_since_unix_ms(kHourAgo);
    c.set_detail("does not answer: systemctl status");
  }
  *s.add_tunnels() = tunnel("paris-ce1/gw-a", "paris");
  *s.add_tunnels() = tunnel("berlin-ce1/gw-a", "berlin");
  *s.add_sessions() = session("paris-ce1/gw-a", "vpn tunnel", 65021);
  s.mutable_sessions(0)->set_site("paris");
  s.mutable_sessions(0)->set_routes_best(0);
  s.mutable_sessions(0)->set_routes_behind_circuit(10);
  s.mutable_sessions(0)->set_bfd_wanted(true);
  s.mutable_sessions(0)->mutable_peer()->set_bfd("up 100ms x 3");
  // What a standby tunnel carries is the gateway's own.
  s.mutable_tunnels(0)->mutable_window()->set_in_packets(41);
  s.mutable_tunnels(0)->mutable_window()->set_out_packets(43);
  *s.add_sessions() = session("berlin-ce1/gw-a", "vpn tunnel", 65022);
  s.mutable_sessions(1)->set_site("berlin");
  *s.add_sessions() = session("er1-primary/gw-a", "circuit", 12076);
  s.mutable_sessions(2)->set_advertised_v4(12);
  s.mutable_sessions(2)->set_advertised_limit(1000);
  *s.add_sessions() = session("er1-secondary/gw-a", "circuit", 12076);
  *s.add_sessions() = session("partner:10.0.0.6", "partner", 65515);
  *s.add_sessions() = session("instance:gw-b", "partner", 65515);
  *s.add_sessions() = session("vnet:rs1/gw-a", "vnet", 65100);
  return s;
}
constexpr int kParis = 0, kBerlin = 1, kPrimary = 2, kSecondary = 3, kPartner = 4, kInstance = 5, kVnetRouter = 6;

void only_way(api::Snapshot& s, std::uint32_t bfd_ms, std::uint32_t takeover_ms) {
  s.set_takeover_ms(takeover_ms);
  s.mutable_sessions(kParis)->set_only_way(true);
  s.mutable_sessions(kParis)->set_bfd_detection_ms(bfd_ms);
}

void add_wan(api::Snapshot& s, const char* router, const char* state) {
  api::SnapshotSession& wan = *s.add_sessions();
  wan = session(std::format("wan:{}/gw-a", router).c_str(), "wan", 65300);
  wan.mutable_peer()->set_neighbor(router);
  wan.mutable_peer()->set_state(state);
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

void refuse(api::Snapshot& s, const char* reason) {
  auto& r = *s.mutable_routes()->add_refused();
  r.set_source("berlin-ce1/gw-a");
  r.set_reason(reason);
  r.set_count(3);
  r.set_example("10.30.0.0/16");
  r.set_as_path("65022 65515");
}

api::BgpPeer& peer(api::Snapshot& s, int session) { return *s.mutable_sessions(session)->mutable_peer(); }
api::SnapshotTunnel& tunnel(api::Snapshot& s, int index) { return *s.mutable_tunnels(index); }

struct Case {
  const char* about;
  std::function<void(api::Snapshot&)> change;
  std::vector<std::string> found;  // "Name subject severity", all of them
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"nothing is wrong", [](auto&) {}, {}},
      // ServiceNotRunning
      {"charon is away",
       [](auto& s) { s.mutable_status()->mutable_components(1)->set_connected(false); },
       {"ServiceNotRunning charon error"}},
      {"gw-fastpath is away, and every tunnel with it",
       [](auto& s) {
         s.mutable_status()->mutable_components(0)->set_connected(false);
         for (auto& t : *s.mutable_tunnels()) {
           t.mutable_tunnel()->set_state("down");
           t.mutable_tunnel()->set_fault("ServiceNotRunning");
         }
       },
       {"ServiceNotRunning gw-fastpath critical"}},
      {"gw-fastpath serves other ports",
       [](auto& s) { s.mutable_status()->mutable_components(0)->set_problem("its wan is eth9"); },
       {"ServiceNotRunning gw-fastpath critical"}},
      {"no document could be taken",
       [](auto& s) { s.mutable_status()->set_config_error("2 errors"); },
       {"ServiceNotRunning gwd critical"}},
      // ConnectionsNotConnected
      {"gw-fastpath runs and refuses a tunnel's keys",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_tunnel()->set_state("connecting");
         tunnel(s, kBerlin).mutable_tunnel()->set_fault("ServiceNotRunning");
         peer(s, kBerlin).set_state("Active");
       },
       {"ConnectionsNotConnected berlin-ce1/gw-a critical"}},
      {"a key differs",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_tunnel()->set_state("connecting");
         tunnel(s, kBerlin).mutable_tunnel()->set_fault("Authentication");
         peer(s, kBerlin).set_state("Active");
       },
       {"ConnectionsNotConnected berlin-ce1/gw-a critical"}},
      {"a tunnel is disabled",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_tunnel()->set_state("disabled");
         s.mutable_sessions(kBerlin)->set_disabled(true);
         peer(s, kBerlin).set_state("Disabled");
       },
       {}},
      {"packets pass with the SAs of a charon that ended",
       [](auto& s) { tunnel(s, kBerlin).mutable_tunnel()->set_state("esp-only"); },
       {"ConnectionsNotConnected berlin-ce1/gw-a warning"}},
      // TunnelBlackHole
      {"packets go out, none come in",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_window()->set_silent_seconds(31);
         tunnel(s, kBerlin).mutable_window()->set_out_since_in(12);
       },
       {"TunnelBlackHole berlin-ce1/gw-a critical"}},
      {"silent for a moment",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_window()->set_silent_seconds(15);
         tunnel(s, kBerlin).mutable_window()->set_out_since_in(400);
       },
       {}},
      {"silent, but hardly anything was sent",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_window()->set_silent_seconds(45);
         tunnel(s, kBerlin).mutable_window()->set_out_since_in(2);
       },
       {}},
      // MtuBlackHole
      {"large echoes are lost",
       [](auto& s) { tunnel(s, kBerlin).mutable_proof()->set_full_answered(0); },
       {"MtuBlackHole berlin-ce1/gw-a error"}},
      {"one large echo was lost", [](auto& s) { tunnel(s, kBerlin).mutable_proof()->set_full_answered(4); }, {}},
      {"the device answers no echo at all",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_proof()->set_full_answered(0);
         tunnel(s, kBerlin).mutable_proof()->set_small_answered(0);
         tunnel(s, kBerlin).mutable_proof()->set_proven_unix_ms(0);
       },
       {}},
      {"too early to know about large ones",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_proof()->set_full_sent(2);
         tunnel(s, kBerlin).mutable_proof()->set_full_answered(0);
       },
       {}},
      // RateExceeded
      {"over its own rate",
       [](auto& s) { tunnel(s, kBerlin).mutable_window()->set_over_rate_out(1); },
       {"RateExceeded berlin-ce1/gw-a warning"}},
      {"over the gateway's rate",
       [](auto& s) { tunnel(s, kBerlin).mutable_window()->set_over_gateway_rate_in(9); },
       {"RateExceeded berlin-ce1/gw-a warning"}},
      // BackupNotProven
      {"the backup never answered",
       [](auto& s) { tunnel(s, kParis).mutable_proof()->set_proven_unix_ms(0); },
       {"BackupNotProven paris-ce1/gw-a error"}},
      {"the backup's proof is old",
       [](auto& s) { tunnel(s, kParis).mutable_proof()->set_proven_unix_ms(kNow - 61'000); },
       {"BackupNotProven paris-ce1/gw-a error"}},
      {"the backup's proof is a minute old",
       [](auto& s) { tunnel(s, kParis).mutable_proof()->set_proven_unix_ms(kNow - 59'000); },
       {}},
      {"the backup is just up",
       [](auto& s) {
         tunnel(s, kParis).mutable_proof()->set_proven_unix_ms(0);
         tunnel(s, kParis).mutable_proof()->set_watched_since_unix_ms(kNow - 10'000);
       },
       {}},
      {"not a backup: nobody has to prove a tunnel that is in use",
       [](auto& s) { tunnel(s, kBerlin).mutable_proof()->set_proven_unix_ms(0); },
       {}},
      // VpnErSessionDown and the other instance
      {"the pairs have lost each other",
       [](auto& s) { peer(s, kPartner).set_state("Active"); },
       {"VpnErSessionDown partner:10.0.0.6 critical"}},
      {"the instances have lost each other",
       [](auto& s) { peer(s, kInstance).set_state("Idle"); },
       {"InstanceSessionDown instance:gw-b error"}},
      // CircuitSessionDown, VnetSessionDown
      {"one circuit router is away",
       [](auto& s) { peer(s, kPrimary).set_state("Connect"); },
       {"CircuitSessionDown er1-primary/gw-a error"}},
      {"the whole circuit is away",
       [](auto& s) {
         peer(s, kPrimary).set_state("Connect");
         peer(s, kSecondary).set_state("Connect");
       },
       {"CircuitSessionDown er1-primary/gw-a critical", "CircuitSessionDown er1-secondary/gw-a critical"}},
      {"the route server is away",
       [](auto& s) { peer(s, kVnetRouter).set_state("Active"); },
       {"VnetSessionDown vnet:rs1/gw-a error"}},
      // WanSessionDown
      {"one of two routers on the wan is away",
       [](auto& s) {
         add_wan(s, "192.0.2.1", "Active");
         add_wan(s, "192.0.2.9", "Established");
       },
       {"WanSessionDown wan:192.0.2.1/gw-a error"}},
      {"no router on the wan is left of one family",
       [](auto& s) {
         add_wan(s, "192.0.2.1", "Active");
         add_wan(s, "2001:db8:1::1", "Established");
       },
       {"WanSessionDown wan:192.0.2.1/gw-a critical"}},
      {"bgpd is away: nothing is known of its sessions",
       [](auto& s) {
         s.mutable_status()->mutable_components(2)->set_connected(false);
         for (int i = 0; i < s.sessions_size(); ++i) peer(s, i).set_state("Unknown");
       },
       {"ServiceNotRunning bgpd error"}},
      // AsnMismatch
      {"the device has another AS number",
       [](auto& s) {
         peer(s, kBerlin).set_state("Idle");
         peer(s, kBerlin).set_last_error("OPEN Message Error/Bad Peer AS");
         s.mutable_sessions(kBerlin)->set_last_reset("BGP Notification send");
       },
       {"AsnMismatch berlin-ce1/gw-a critical"}},
      {"the circuit router expects another AS number",
       [](auto& s) {
         peer(s, kPrimary).set_state("Active");
         peer(s, kPrimary).set_last_error("OPEN Message Error/Bad Peer AS");
         s.mutable_sessions(kPrimary)->set_last_reset("BGP Notification received");
       },
       {"AsnMismatch er1-primary/gw-a critical"}},
      {"it had another AS number, once",
       [](auto& s) { peer(s, kBerlin).set_last_error("OPEN Message Error/Bad Peer AS"); },
       {}},
      // BgpSessionDown
      {"no session in a tunnel that is up",
       [](auto& s) { peer(s, kBerlin).set_state("Active"); },
       {"BgpSessionDown berlin-ce1/gw-a critical"}},
      {"the tunnel has just come up",
       [](auto& s) {
         peer(s, kBerlin).set_state("Active");
         tunnel(s, kBerlin).mutable_tunnel()->set_up_since_unix_ms(kNow - 5000);
       },
       {}},
      // BgpSessionStuck
      {"a session that is up says nothing for two keepalives",
       [](auto& s) {
         s.mutable_sessions(kParis)->set_agreed_hold_seconds(180);
         s.mutable_sessions(kParis)->set_silent_seconds(120);
       },
       {"BgpSessionStuck paris-ce1/gw-a error"}},
      {"one keepalive is late",
       [](auto& s) {
         s.mutable_sessions(kParis)->set_agreed_hold_seconds(180);
         s.mutable_sessions(kParis)->set_silent_seconds(119);
       },
       {}},
      {"nobody has agreed on keepalives", [](auto& s) { s.mutable_sessions(kParis)->set_silent_seconds(5000); }, {}},
      // BfdNotAnswered
      {"the device does not answer BFD",
       [](auto& s) { peer(s, kParis).set_bfd("not answered"); },
       {"BfdNotAnswered paris-ce1/gw-a warning"}},
      {"BFD is off",
       [](auto& s) {
         peer(s, kParis).set_bfd("off");
         s.mutable_sessions(kParis)->set_bfd_wanted(false);
       },
       {}},
      {"the session has just come up, BFD has not yet",
       [](auto& s) {
         peer(s, kParis).set_bfd("not answered");
         peer(s, kParis).set_connected_seconds(3);
       },
       {}},
      {"bfdd is away: nobody knows who answers",
       [](auto& s) {
         s.mutable_status()->mutable_components(3)->set_connected(false);
         peer(s, kParis).set_bfd("not answered");
       },
       {"ServiceNotRunning bfdd error"}},
      // RouteLimitNear
      {"80 % of the limit",
       [](auto& s) { s.mutable_sessions(kBerlin)->set_routes_v4(3200); },
       {"RouteLimitNear berlin-ce1/gw-a warning"}},
      {"just below 80 %", [](auto& s) { s.mutable_sessions(kBerlin)->set_routes_v4(3199); }, {}},
      {"both families count for themselves",
       [](auto& s) {
         s.mutable_sessions(kBerlin)->set_routes_v4(3000);
         s.mutable_sessions(kBerlin)->set_routes_v6(3000);
       },
       {}},
      {"at the limit, which only warns",
       [](auto& s) {
         s.mutable_sessions(kBerlin)->set_routes_v6(4000);
         s.mutable_sessions(kBerlin)->set_drops_at_limit(false);
       },
       {"RouteLimitNear berlin-ce1/gw-a error"}},
      {"no limit",
       [](auto& s) {
         s.mutable_sessions(kBerlin)->set_routes_v4(900'000);
         s.mutable_sessions(kBerlin)->set_max_routes(0);
       },
       {}},
      {"the limit has ended the session",
       [](auto& s) {
         peer(s, kBerlin).set_state("Idle (PfxCt)");
         peer(s, kBerlin).set_last_error("Cease/Maximum Number of Prefixes Reached");
       },
       {"RouteLimitNear berlin-ce1/gw-a critical"}},
      {"the circuit is told nearly all that it takes",
       [](auto& s) { s.mutable_sessions(kPrimary)->set_advertised_v4(800); },
       {"RouteLimitNear er1-primary/gw-a warning"}},
      {"what the circuit is told counts for each family",
       [](auto& s) {
         s.mutable_sessions(kPrimary)->set_advertised_v4(700);
         s.mutable_sessions(kPrimary)->set_advertised_v6(700);
       },
       {}},
      {"the circuit is told more than it takes",
       [](auto& s) { s.mutable_sessions(kPrimary)->set_advertised_v6(1001); },
       {"RouteLimitNear er1-primary/gw-a error"}},
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

std::vector<std::string> lines(const Findings& findings) {
  std::vector<std::string> out;
  for (const Finding& f : findings)
    out.push_back(std::string(f.name) + " " + f.subject + " " + std::string(to_string(f.severity)));
  return out;
}

TEST(Doctor, EachSnapshotHasExactlyItsFindings) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.about);
    api::Snapshot snapshot = healthy();
    c.change(snapshot);
    EXPECT_EQ(lines(examine(snapshot)), c.found);
  }
}

TEST(Doctor, EveryRuleHasACaseThatFires) {
  std::set<std::string> seen;
  for (const Case& c : cases())
    for (const std::string& line : c.found) seen.insert(line.substr(0, line.find(' ')));
  for (const Rule& rule : rules()) EXPECT_TRUE(seen.contains(std::string(rule.name))) << rule.name;
}

TEST(Doctor, EveryFindingSaysWhatItLeadsToAndWhatToDo) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.about);
    api::Snapshot snapshot = healthy();
    c.change(snapshot);
    for (const Finding& f : examine(snapshot)) {
      EXPECT_FALSE(f.evidence.empty());
      EXPECT_FALSE(f.consequence.empty());
      ASSERT_FALSE(f.remedy.empty());
      for (const std::string& line : f.evidence) EXPECT_FALSE(line.empty());
      for (const std::string& line : f.remedy) EXPECT_FALSE(line.empty());
    }
  }
}

TEST(Doctor, TheWorstComesFirst) {
  api::Snapshot snapshot = healthy();
  refuse(snapshot, "vnet-prefix");
  peer(snapshot, kPartner).set_state("Active");
  tunnel(snapshot, kBerlin).mutable_proof()->set_full_answered(0);
  const api::DoctorReply reply = report(snapshot);
  ASSERT_EQ(reply.findings_size(), 3);
  EXPECT_EQ(reply.findings(0).severity(), "critical");
  EXPECT_EQ(reply.findings(1).severity(), "error");
  EXPECT_EQ(reply.findings(2).severity(), "warning");
}

TEST(Doctor, AReportSaysWhatCouldNotBeSeen) {
  api::Snapshot snapshot = healthy();
  snapshot.mutable_status()->set_gateway("hub");
  snapshot.mutable_status()->mutable_components(0)->set_connected(false);
  const api::DoctorReply reply = report(snapshot);
  EXPECT_EQ(reply.gateway(), "hub");
  EXPECT_THAT(reply.blind(), Contains(HasSubstr("gw-fastpath is away")));
  EXPECT_EQ(static_cast<std::size_t>(reply.rules_size()), rules().size());
}

TEST(Doctor, AnEmptySnapshotHasNoFindings) { EXPECT_THAT(examine(api::Snapshot{}), IsEmpty()); }

TEST(Doctor, WhatGetsThroughIsTheMtuToSet) {
  api::Snapshot snapshot = healthy();
  tunnel(snapshot, kBerlin).mutable_proof()->set_full_answered(0);
  tunnel(snapshot, kBerlin).mutable_proof()->set_largest_answered_bytes(1280);
  const Findings findings = examine(snapshot);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].remedy, Contains("connections[berlin-ce1].mtu: 1280"));
}

}  // namespace
}  // namespace gw::doctor
