#include "bgp/bfd_model.hpp"

#include <algorithm>
#include <format>

#include "bgp/json_read.hpp"

namespace gw::bgp {
namespace {

bool is_fe80(const IpAddress& a) { return a.is_v6() && a.is_link_local(); }

std::string peer_line(const IpAddress& key, const BfdSession& s) {
  const IpAddress& peer = s.learned.is_unspecified() ? key : s.learned;
  if (s.multihop > 0) return std::format("peer {} multihop local-address {}", peer, s.local);
  std::string line = std::format("peer {} local-address {}", peer, s.local);
  if (!s.device.empty()) line += std::format(" interface {}", s.device);
  return line;
}

void add_session(Commands& out, const IpAddress& peer, const BfdSession& s) {
  const auto interval = s.timers.interval.count();
  out.emplace_back(peer_line(peer, s));
  out.emplace_back(std::format("detect-multiplier {}", s.timers.multiplier));
  out.emplace_back(std::format("receive-interval {}", interval));
  out.emplace_back(std::format("transmit-interval {}", interval));
  // What comes from farther away is not the peer's (RFC 5883 5).
  if (s.multihop > 0) out.emplace_back(std::format("minimum-ttl {}", 255 - s.multihop));
  out.emplace_back("exit");
}

bool same_place(const BfdSession& a, const BfdSession& b) {
  return a.local == b.local && a.device == b.device && a.multihop == b.multihop && a.learned == b.learned;
}

}  // namespace

BfdSessions bfd_sessions(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers) {
  BfdSessions out;
  for (const PeerIntent& p : intent.peers) {
    if (!p.bfd || p.disabled) continue;
    BfdSession& session = out[p.peer] = {p.local, p.multihop > 0 ? "" : p.device, p.multihop, *p.bfd};
    const auto status = peers.find(p.peer);
    if (p.unnumbered && status != peers.end()) session.learned = status->second.learned;
  }
  return out;
}

BfdSessions possible(const BfdSessions& wanted, const BfdSessions& present) {
  BfdSessions out;
  for (const auto& [key, session] : wanted) {
    if (key != session.local || !session.learned.is_unspecified()) {
      out[key] = session;
    } else if (const auto known = present.find(key); known != present.end()) {
      out[key] = known->second;
    }
  }
  return out;
}

Commands bfd_diff(const BfdSessions& before, const BfdSessions& after) {
  Commands inside;
  for (const auto& [peer, session] : before) {
    const auto kept = after.find(peer);
    if (kept == after.end() || !same_place(kept->second, session)) {
      inside.emplace_back("no " + peer_line(peer, session));
    }
  }
  for (const auto& [peer, session] : after) {
    const auto was = before.find(peer);
    if (was == before.end() || was->second != session) add_session(inside, peer, session);
  }
  if (inside.empty()) return inside;
  inside.insert(inside.begin(), Command("bfd"));
  inside.emplace_back("exit");
  return inside;
}

bool BfdStatus::path_died() const {
  if (up) return false;
  return diagnostic == "control detection time expired" ||
         (diagnostic == "neighbor signaled session down" && since >= kBackBy);
}

Result<BfdStates> parse_bfd(std::string_view text) {
  namespace json = json_read::json;
  GW_TRY_ASSIGN(const json::value root, json_read::parse(text, "BFD peers"));
  if (!root.is_array()) return fail(Errc::kMalformed, "BFD peers: not a JSON array");
  BfdStates out;
  for (const json::value& value : root.as_array()) {
    const json::object* o = value.if_object();
    if (!o) continue;
    const auto peer = IpAddress::parse(json_read::text_at(*o, "peer"));
    if (!peer) continue;
    const IpAddress local = IpAddress::parse(json_read::text_at(*o, "local")).value_or(IpAddress());
    // Many devices may have the same link-local address behind them.
    const bool unnumbered = is_fe80(*peer);
    if (unnumbered && !is_fe80(local)) continue;  // bfdd forgets it while the session is down
    BfdStatus& status = out[unnumbered ? local : *peer];
    status.session.local = local;
    if (unnumbered) status.session.learned = *peer;
    if (const json::value* multihop = o->if_contains("multihop");
        multihop && multihop->is_bool() && multihop->as_bool())
      status.session.multihop = static_cast<std::uint8_t>(255 - json_read::number_at(*o, "minimum-ttl"));
    else
      status.session.device = json_read::text_at(*o, "interface");
    status.session.timers = {std::chrono::milliseconds(json_read::number_at(*o, "transmit-interval")),
                             static_cast<std::uint8_t>(json_read::number_at(*o, "detect-multiplier"))};
    status.configured = json_read::text_at(*o, "type") == "configured";
    status.up = json_read::text_at(*o, "status") == "up";
    status.since = std::chrono::seconds(json_read::number_at(*o, status.up ? "uptime" : "downtime"));
    status.diagnostic = json_read::text_at(*o, "diagnostic");
  }
  return out;
}

BfdSessions configured(const BfdStates& states) {
  BfdSessions out;
  for (const auto& [peer, status] : states) {
    if (status.configured) out[peer] = status.session;
  }
  return out;
}

Commands attend(const BgpIntent& intent, const std::map<IpAddress, PeerStatus>& peers, const BfdStates& bfd) {
  Commands inside;
  for (const PeerIntent& p : intent.peers) {
    const auto session = peers.find(p.peer);
    if (session == peers.end()) continue;
    const std::optional<BfdIntent>& watched = session->second.watched;
    const bool wanted = p.bfd && !p.disabled && session->second.established();
    const auto state = bfd.find(p.peer);
    const bool answers = state != bfd.end() && state->second.up;
    if (watched && !wanted) {
      inside.emplace_back(std::format("no neighbor {} bfd", neighbour_name(p)));
    } else if (wanted && answers && watched != p.bfd) {
      const auto interval = p.bfd->interval.count();
      inside.emplace_back(
          std::format("neighbor {} bfd {} {} {}", neighbour_name(p), p.bfd->multiplier, interval, interval));
    }
  }
  if (inside.empty()) return inside;
  inside.insert(inside.begin(), Command(std::format("router bgp {}", intent.asn)));
  inside.emplace_back("exit");
  return inside;
}

}  // namespace gw::bgp
