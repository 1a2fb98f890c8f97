#include "tests/unit/gwd/doctor/snapshots.hpp"

namespace gw::doctor::test {
namespace {

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

}  // namespace

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

void refuse(api::Snapshot& s, const char* reason) {
  auto& r = *s.mutable_routes()->add_refused();
  r.set_source("berlin-ce1/gw-a");
  r.set_reason(reason);
  r.set_count(3);
  r.set_example("10.30.0.0/16");
  r.set_as_path("65022 65515");
}

}  // namespace gw::doctor::test
