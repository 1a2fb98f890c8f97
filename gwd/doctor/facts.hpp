// Questions that more than one rule asks of a snapshot. Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gw/api/v1/snapshot.pb.h"

namespace gw::doctor {

namespace api = ::gw::api::v1;

bool component_connected(const api::Snapshot& snapshot, std::string_view name);
bool is_up(const api::SnapshotTunnel& tunnel);
/// nullptr: the session is not a tunnel's, or the tunnel is not in the snapshot.
const api::SnapshotTunnel* tunnel_of(const api::Snapshot& snapshot, const api::SnapshotSession& session);
const api::SnapshotSession* session_of(const api::Snapshot& snapshot, const api::SnapshotTunnel& tunnel);

bool is_established(const api::SnapshotSession& session);
/// A site's session, of this or another VNet: it runs in a tunnel.
bool is_vpn(const api::SnapshotSession& session);
bool is_circuit(const api::SnapshotSession& session);
/// bgpd is there, the session is wanted, and it is not established.
bool is_down(const api::Snapshot& snapshot, const api::SnapshotSession& session);
bool refused_for_asn(const api::SnapshotSession& session);
bool ended_by_limit(const api::SnapshotSession& session);

struct Traffic {  // of others than the gateway itself
  std::uint64_t in = 0;
  std::uint64_t out = 0;
};
Traffic forwarded(const api::TrafficWindow& window);
/// Enough of the one to tell, and next to nothing of the other.
bool one_way(std::uint64_t much, std::uint64_t little);

/// Seconds from `unix_ms` to the snapshot; 0 if it is later.
std::uint64_t age_seconds(const api::Snapshot& snapshot, std::uint64_t unix_ms);
/// "3 s", "12 min", "5 h": rounded down.
std::string duration_text(std::uint64_t seconds);
/// "1 route", "2 routes", "2 prefixes"
std::string count_text(std::uint64_t count, std::string_view singular);

}  // namespace gw::doctor
