// Services and tunnels.
#include "tests/unit/gwd/doctor/snapshots.hpp"

namespace gw::doctor::test {
const std::vector<Case>& tunnel_cases() {
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
      {"bgpd refuses something",
       [](auto& s) { s.mutable_status()->mutable_components(2)->set_problem("it refuses 'neighbor nonsense'"); },
       {"ServiceNotRunning bgpd error"}},
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
      {"silent between two keepalives of BGP: the device answers neither echoes nor BFD",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_window()->set_silent_seconds(58);
         tunnel(s, kBerlin).mutable_window()->set_out_since_in(16);
         tunnel(s, kBerlin).mutable_proof()->set_proven_unix_ms(0);
         tunnel(s, kBerlin).mutable_proof()->set_small_answered(0);
         tunnel(s, kBerlin).mutable_proof()->set_full_answered(0);
       },
       {}},
      {"silent for longer than that",
       [](auto& s) {
         tunnel(s, kBerlin).mutable_window()->set_silent_seconds(121);
         tunnel(s, kBerlin).mutable_window()->set_out_since_in(30);
         tunnel(s, kBerlin).mutable_proof()->set_proven_unix_ms(0);
         tunnel(s, kBerlin).mutable_proof()->set_small_answered(0);
         tunnel(s, kBerlin).mutable_proof()->set_full_answered(0);
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
  };
  return all;
}

}  // namespace gw::doctor::test
