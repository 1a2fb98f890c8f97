#include "gwd/doctor/facts.hpp"

#include <algorithm>
#include <format>

namespace gw::doctor {
namespace {

// Below this many packets of others in the window nobody can tell a direction.
constexpr std::uint64_t kTrafficPackets = 50;
// Of the larger direction; what BGP, BFD and echoes of both sides do not cancel out is less.
constexpr std::uint64_t kOneWayPercent = 10;

}  // namespace

// The gateway's own packets go through the TUN device, about as many each way.
Traffic forwarded(const api::TrafficWindow& window) {
  const std::uint64_t own = (window.slow_path_packets() + 1) / 2;
  return {window.in_packets() - std::min(own, window.in_packets()),
          window.out_packets() - std::min(own, window.out_packets())};
}

bool one_way(std::uint64_t much, std::uint64_t little) {
  return much >= kTrafficPackets && little * 100 <= much * kOneWayPercent;
}

bool component_connected(const api::Snapshot& snapshot, std::string_view name) {
  return std::ranges::any_of(snapshot.status().components(),
                             [&](const api::Component& c) { return c.name() == name && c.connected(); });
}

bool is_up(const api::SnapshotTunnel& tunnel) {
  return tunnel.tunnel().state() == "up" || tunnel.tunnel().state() == "esp-only";
}

const api::SnapshotTunnel* tunnel_of(const api::Snapshot& snapshot, const api::SnapshotSession& session) {
  if (!is_vpn(session)) return nullptr;
  const auto& tunnels = snapshot.tunnels();
  const auto it = std::ranges::find(tunnels, session.name(), [](const auto& t) { return t.tunnel().name(); });
  return it == tunnels.end() ? nullptr : &*it;
}

const api::SnapshotSession* session_of(const api::Snapshot& snapshot, const api::SnapshotTunnel& tunnel) {
  const auto& sessions = snapshot.sessions();
  const auto it = std::ranges::find(sessions, tunnel.tunnel().name(), &api::SnapshotSession::name);
  return it == sessions.end() ? nullptr : &*it;
}

bool is_established(const api::SnapshotSession& session) { return session.peer().state() == "Established"; }

bool is_vpn(const api::SnapshotSession& session) {
  return session.kind() == "vpn tunnel" || session.kind() == "branch vnet";
}

bool is_circuit(const api::SnapshotSession& session) { return session.kind() == "circuit"; }

bool is_down(const api::Snapshot& snapshot, const api::SnapshotSession& session) {
  return !session.disabled() && !is_established(session) && component_connected(snapshot, "bgpd");
}

// RFC 4271 6.2, in bgpd's words.
bool refused_for_asn(const api::SnapshotSession& session) {
  return session.peer().last_error().contains("Bad Peer AS") || session.last_reset().contains("Bad Peer AS");
}

// RFC 4486: Cease, Maximum Number of Prefixes Reached.
bool ended_by_limit(const api::SnapshotSession& session) {
  return session.peer().last_error().contains("Maximum Number of Prefixes") || session.peer().state().contains("PfxCt");
}

std::uint64_t age_seconds(const api::Snapshot& snapshot, std::uint64_t unix_ms) {
  return unix_ms >= snapshot.taken_unix_ms() ? 0 : (snapshot.taken_unix_ms() - unix_ms) / 1000;
}

std::string duration_text(std::uint64_t seconds) {
  if (seconds < 120) return std::format("{} s", seconds);
  if (seconds < 2 * 3600) return std::format("{} min", seconds / 60);
  return std::format("{} h", seconds / 3600);
}

std::string count_text(std::uint64_t count, std::string_view singular) {
  const std::string_view ending = singular.ends_with('x') ? "es" : "s";
  return std::format("{} {}{}", count, singular, count == 1 ? "" : ending);
}

}  // namespace gw::doctor
