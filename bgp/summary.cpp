#include "bgp/summary.hpp"

#include <algorithm>
#include <format>

#include "bgp/json_read.hpp"

namespace gw::bgp {
namespace {

namespace json = json_read::json;
using json_read::number_at;
using json_read::object_at;
using json_read::parse_object;
using json_read::text_at;

std::chrono::seconds milliseconds_at(const json::object& o, std::string_view key) {
  return std::chrono::seconds(number_at(o, key) / 1000);
}

std::optional<IpAddress> key_of(std::string_view name, const DeviceKeys& keys) {
  if (const auto known = keys.find(name); known != keys.end()) return known->second;
  const auto address = IpAddress::parse(name);
  return address ? std::optional(*address) : std::nullopt;
}

void read_peer(const json::object& o, Family family, PeerStatus& peer) {
  peer.asn = static_cast<std::uint32_t>(number_at(o, "remoteAs"));
  peer.local_asn = static_cast<std::uint32_t>(number_at(o, "localAs"));
  peer.internal = peer.asn != 0 && peer.asn == peer.local_asn;
  peer.state = text_at(o, "state");
  peer.uptime = milliseconds_at(o, "peerUptimeMsec");
  peer.messages_received = number_at(o, "msgRcvd");
  peer.messages_sent = number_at(o, "msgSent");
  (family == Family::kV4 ? peer.received_v4 : peer.received_v6) = number_at(o, "pfxRcd");
  (family == Family::kV4 ? peer.advertised_v4 : peer.advertised_v6) = number_at(o, "pfxSnt");
}

void read_end_of_rib(const json::object& neighbor, PeerStatus& peer) {
  const json::object* restart = object_at(neighbor, "gracefulRestartInfo");
  const json::object* received = restart ? object_at(*restart, "endOfRibRecv") : nullptr;
  const auto said = [received](const char* family) {
    const json::value* v = received ? received->if_contains(family) : nullptr;
    return v && v->is_bool() && v->as_bool();
  };
  peer.end_of_rib_v4 = peer.established() && said("ipv4Unicast");
  peer.end_of_rib_v6 = peer.established() && said("ipv6Unicast");
}

std::optional<BfdIntent> watched_bfd(const json::object& neighbor) {
  const json::object* bfd = object_at(neighbor, "peerBfdInfo");
  if (!bfd) return std::nullopt;
  return BfdIntent{std::chrono::milliseconds(number_at(*bfd, "txMinInterval")),
                   static_cast<std::uint8_t>(number_at(*bfd, "detectMultiplier"))};
}

// The reason is of the last NOTIFICATION ever, the reset's cause of this time. Sent to a peer with the code for it
// (RFC 9384), or without a word.
bool ended_by_bfd(std::string_view reset, std::string_view reason) {
  return reset.contains("BFD") || (reset.contains("Notification") && reason.contains("BFD"));
}

std::string origin_of(const json::object& route, const PeerStatus& session, Direction direction) {
  if (direction == Direction::kReceived) return session.internal ? "IBgp" : "EBgp";
  // What this gateway originates has no AS path before it leaves.
  return text_at(route, "path").empty() ? "Network" : "EBgp";
}

RouteRow to_row(const Prefix& network, const json::object& route, const PeerStatus& session, Direction direction) {
  RouteRow row;
  row.network = network;
  for (const char* key : {"nextHop", "nextHopGlobal"}) {
    if (row.next_hop.empty()) row.next_hop = text_at(route, key);
  }
  row.local_address = session.local.is_unspecified() ? std::string() : session.local.to_string();
  // "0.0.0.0" is this side.
  const auto next_hop = IpAddress::parse(row.next_hop);
  if (direction == Direction::kAdvertised && next_hop && next_hop->is_unspecified() &&
      next_hop->family() == session.local.family() && !row.local_address.empty())
    row.next_hop = row.local_address;
  row.source_peer = session.name;
  row.origin = origin_of(route, session, direction);
  row.as_path = text_at(route, "path");
  // bgpd shows what it keeps; our number comes in front when the UPDATE is made.
  if (direction == Direction::kAdvertised && !session.internal && session.local_asn != 0)
    row.as_path = std::format("{}{}{}", session.local_asn, row.as_path.empty() ? "" : " ", row.as_path);
  row.weight = static_cast<std::uint32_t>(number_at(route, "weight"));
  return row;
}

std::string show_routes(std::string_view peer, Family family, std::string_view which) {
  return std::format("show bgp {} unicast neighbors {} {} json", family == Family::kV4 ? "ipv4" : "ipv6", peer, which);
}

}  // namespace

bool is_same_session(const PeerStatus& before, const PeerStatus& after) {
  return before.state == after.state && before.uptime <= after.uptime;
}

std::string show_neighbor(std::string_view neighbour) { return std::format("show bgp neighbors {} json", neighbour); }
std::string show_advertised(std::string_view neighbour, Family family) {
  return show_routes(neighbour, family, "advertised-routes");
}
std::string show_received(std::string_view neighbour, Family family) {
  return show_routes(neighbour, family, "received-routes");
}

std::string show_received(std::string_view neighbour, const Prefix& prefix) {
  return show_routes(neighbour, prefix.family(), std::format("received-routes {}", prefix));
}
std::string clear_soft_in(std::string_view neighbour, Family family) {
  return std::format("clear bgp {} unicast {} soft in", family == Family::kV4 ? "ipv4" : "ipv6", neighbour);
}

DeviceKeys device_keys(const BgpIntent& intent) {
  DeviceKeys out;
  for (const PeerIntent& p : intent.peers) {
    if (p.unnumbered) out[p.device] = p.peer;
  }
  return out;
}

Result<std::map<IpAddress, PeerStatus>> parse_summary(std::string_view text, const DeviceKeys& keys) {
  GW_TRY_ASSIGN(const json::object root, parse_object(text, "BGP summary"));
  std::map<IpAddress, PeerStatus> out;
  for (const Family family : {Family::kV4, Family::kV6}) {
    const json::object* afi = object_at(root, family == Family::kV4 ? "ipv4Unicast" : "ipv6Unicast");
    const json::object* peers = afi ? object_at(*afi, "peers") : nullptr;
    if (!peers) continue;  // no neighbour in this family
    for (const auto& [name, value] : *peers) {
      const auto key = key_of(name, keys);
      if (!key || !value.is_object()) continue;
      PeerStatus& peer = out[*key];
      peer.peer = *key;
      peer.name = name;
      read_peer(value.as_object(), family, peer);
    }
  }
  return out;
}

Status add_neighbors(std::string_view text, std::map<IpAddress, PeerStatus>& peers, const DeviceKeys& keys) {
  GW_TRY_ASSIGN(const json::object root, parse_object(text, "BGP neighbors"));
  for (const auto& [name, value] : root) {
    const auto key = key_of(name, keys);
    if (!key || !value.is_object()) continue;
    const json::object& o = value.as_object();
    PeerStatus& peer = peers[*key];
    peer.peer = *key;
    peer.name = name;
    peer.learned = IpAddress::parse(text_at(o, "bgpNeighborAddr")).value_or(IpAddress());
    peer.asn = static_cast<std::uint32_t>(number_at(o, "remoteAs"));
    // The summary alone says why it is Idle: "Idle (PfxCt)".
    if (const std::string state = text_at(o, "bgpState"); !peer.state.starts_with(state)) peer.state = state;
    for (const char* field : {"hostLocal", "updateSource"}) {
      const auto local = IpAddress::parse(text_at(o, field));
      if (local && peer.local.is_unspecified()) peer.local = *local;
    }
    if (const json::object* stats = object_at(o, "messageStats")) {
      peer.messages_sent = number_at(*stats, "totalSent");
      peer.messages_received = number_at(*stats, "totalRecv");
      peer.unsent = number_at(*stats, "depthOutq");
    }
    peer.silent = milliseconds_at(o, "bgpTimerLastRead");
    peer.hold = milliseconds_at(o, "bgpTimerHoldTimeMsecs");
    read_end_of_rib(o, peer);
    peer.watched = watched_bfd(o);
    // "No AFI/SAFI activated for peer" is the moment between `neighbor` and its family, not a fault.
    const std::string reset = text_at(o, "lastResetDueTo");
    const std::string reason = text_at(o, "lastNotificationReason");
    if (number_at(o, "lastResetCode") != 30) peer.last_error = reason.empty() ? reset : reason;
    peer.last_reset = reset;
    peer.path_died = !peer.established() && ended_by_bfd(reset, reason);
  }
  return {};
}

Result<std::vector<RouteRow>> parse_routes(std::string_view text, const PeerStatus& session, Direction direction) {
  GW_TRY_ASSIGN(const json::object root, parse_object(text, "BGP routes"));
  std::vector<RouteRow> rows;
  const json::object* routes =
      object_at(root, direction == Direction::kReceived ? "receivedRoutes" : "advertisedRoutes");
  if (!routes) return rows;  // no session: bgpd answers with a warning instead
  for (const auto& [name, value] : *routes) {
    const auto network = Prefix::parse(name);
    if (!network || !value.is_object()) continue;
    rows.push_back(to_row(*network, value.as_object(), session, direction));
  }
  std::ranges::sort(rows, {}, &RouteRow::network);
  return rows;
}

}  // namespace gw::bgp
