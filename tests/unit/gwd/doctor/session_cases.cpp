// BGP sessions.
#include <format>

#include "tests/unit/gwd/doctor/snapshots.hpp"

namespace gw::doctor::test {
namespace {

void add_wan(api::Snapshot& s, const char* router, const char* state) {
  api::SnapshotSession& wan = *s.add_sessions();
  wan = session(std::format("wan:{}/gw-a", router).c_str(), "wan", 65300);
  wan.mutable_peer()->set_neighbor(router);
  wan.mutable_peer()->set_state(state);
}

}  // namespace

const std::vector<Case>& session_cases() {
  static const std::vector<Case> all{
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
  };
  return all;
}

}  // namespace gw::doctor::test
