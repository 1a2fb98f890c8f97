#include "gwd/sync/learned.hpp"

#include <algorithm>
#include <chrono>
#include <format>
#include <optional>
#include <utility>

namespace gw::gwd::sync {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::uint32_t kMaxRestart = 4095;  // s, RFC 4724 3

void fill(const Prefix& prefix, ha::v1::RoutePrefix& out) {
  out.set_address(prefix.address().bytes_string());
  out.set_length(prefix.length());
}

void fill(const routes::Attributes& attributes, ha::v1::RouteAttributes& out) {
  out.set_next_hop(attributes.next_hop.bytes_string());
  for (const routes::AsSegment& segment : attributes.as_path.segments()) {
    ha::v1::RouteAsSegment& to = *out.add_as_path();
    to.set_type(std::to_underlying(segment.type));
    to.mutable_asns()->Add(segment.asns.begin(), segment.asns.end());
  }
  out.set_origin(std::to_underlying(attributes.origin));
  if (attributes.med) out.set_med(*attributes.med);
  if (attributes.local_preference) out.set_local_preference(*attributes.local_preference);
  out.mutable_communities()->Add(attributes.communities.begin(), attributes.communities.end());
}

Result<std::vector<Prefix>> read(const google::protobuf::RepeatedPtrField<ha::v1::RoutePrefix>& prefixes) {
  std::vector<Prefix> out;
  for (const ha::v1::RoutePrefix& prefix : prefixes) {
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::from_bytes(std::string_view(prefix.address())));
    const auto one = Prefix::make(address, prefix.length());
    if (!one || one->address() != address)
      return fail(Errc::kMalformed, std::format("{}/{} is no prefix", address, prefix.length()));
    out.push_back(*one);
  }
  return out;
}

Result<routes::AsPath> read_path(const ha::v1::RouteAttributes& from) {
  std::vector<routes::AsSegment> segments;
  for (const ha::v1::RouteAsSegment& segment : from.as_path()) {
    if (segment.type() < 1 || segment.type() > 4)
      return fail(Errc::kMalformed, std::format("an AS path segment of type {}", segment.type()));
    segments.push_back(
        {static_cast<routes::AsSegment::Type>(segment.type()), {segment.asns().begin(), segment.asns().end()}});
  }
  return routes::AsPath(std::move(segments));
}

Result<routes::AttributesPtr> read(const ha::v1::RouteAttributes& from) {
  routes::Attributes out;
  GW_TRY_ASSIGN(out.next_hop, IpAddress::from_bytes(std::string_view(from.next_hop())));
  GW_TRY_ASSIGN(out.as_path, read_path(from));
  if (from.origin() > 2) return fail(Errc::kMalformed, std::format("origin {}", from.origin()));
  out.origin = static_cast<routes::Origin>(from.origin());
  if (from.has_med()) out.med = from.med();
  if (from.has_local_preference()) out.local_preference = from.local_preference();
  out.communities.assign(from.communities().begin(), from.communities().end());
  return std::make_shared<const routes::Attributes>(std::move(out));
}

Status check_name(const std::string& tunnel) {
  if (tunnel.empty() || tunnel.size() > kMaxName) return fail(Errc::kMalformed, "a tunnel without a usable name");
  return {};
}

}  // namespace

// --- LearnedExport ----------------------------------------------------------------------------

void LearnedExport::say(const ha::v1::LearnedMessage& message) const {
  if (send_) send_(message.SerializeAsString());
}

void LearnedExport::begin(Send send) {
  send_ = std::move(send);
  ha::v1::LearnedMessage first;
  first.mutable_begin();
  say(first);
  for (const auto& [tunnel, learned] : known_) {
    say_session(tunnel, learned);
    say_routes(tunnel, learned);
  }
}

void LearnedExport::say_session(const std::string& tunnel, const Learned& learned) const {
  ha::v1::LearnedMessage message;
  ha::v1::LearnedSession& session = *message.mutable_session();
  session.set_tunnel(tunnel);
  session.set_router_id(learned.router_id.bytes_string());
  session.set_restart_seconds(static_cast<std::uint32_t>(learned.offered.restart_time.count()));
  session.set_keeps_v4(learned.offered.families.contains(Family::kV4));
  session.set_keeps_v6(learned.offered.families.contains(Family::kV6));
  say(message);
}

void LearnedExport::say_routes(const std::string& tunnel, const Learned& learned) const {
  std::map<routes::AttributesPtr, std::vector<Prefix>> by_attributes;
  for (const auto& [prefix, attributes] : learned.routes) by_attributes[attributes].push_back(prefix);
  for (const auto& [attributes, prefixes] : by_attributes) {
    for (std::size_t at = 0; at < prefixes.size(); at += kPrefixes) {
      ha::v1::LearnedMessage message;
      message.mutable_routes()->set_tunnel(tunnel);
      fill(*attributes, *message.mutable_routes()->mutable_attributes());
      for (std::size_t i = at; i < std::min(at + kPrefixes, prefixes.size()); ++i)
        fill(prefixes[i], *message.mutable_routes()->add_announced());
      say(message);
    }
  }
}

void LearnedExport::say_withdrawn(const std::string& tunnel, std::span<const Prefix> prefixes) const {
  for (std::size_t at = 0; at < prefixes.size(); at += kPrefixes) {
    ha::v1::LearnedMessage message;
    message.mutable_routes()->set_tunnel(tunnel);
    for (const Prefix& prefix : prefixes.subspan(at, std::min(kPrefixes, prefixes.size() - at)))
      fill(prefix, *message.mutable_routes()->add_withdrawn());
    say(message);
  }
}

void LearnedExport::session(const std::string& tunnel, const IpAddress& router_id,
                            const bgp::GracefulRestart& offered) {
  Learned& learned = known_[tunnel];
  learned.router_id = router_id;
  learned.offered = offered;
  say_session(tunnel, learned);
}

void LearnedExport::routes(const std::string& tunnel, const bgp::BmpRoutes& change) {
  const auto it = known_.find(tunnel);
  if (it == known_.end()) return;
  for (const Prefix& prefix : change.withdrawn) it->second.routes.erase(prefix);
  Learned news;  // bgpd tells whole tables again, too
  for (const Prefix& prefix : change.announced) {
    routes::AttributesPtr& known = it->second.routes[prefix];
    if (!known || *known != *change.attributes) news.routes[prefix] = change.attributes;
    known = change.attributes;
  }
  if (!send_) return;
  say_withdrawn(tunnel, change.withdrawn);
  say_routes(tunnel, news);
}

void LearnedExport::keep_only(const std::string& tunnel, const std::set<Prefix>& kept) {
  const auto it = known_.find(tunnel);
  if (it == known_.end()) return;
  std::vector<Prefix> gone;
  for (const auto& [prefix, attributes] : it->second.routes)
    if (!kept.contains(prefix)) gone.push_back(prefix);
  for (const Prefix& prefix : gone) it->second.routes.erase(prefix);
  say_withdrawn(tunnel, gone);
}

void LearnedExport::nothing(const std::string& tunnel) {
  if (known_.erase(tunnel) == 0) return;
  ha::v1::LearnedMessage message;
  message.mutable_nothing()->set_tunnel(tunnel);
  say(message);
}

void LearnedExport::traffic(const TrafficByTunnel& traffic) const {
  ha::v1::LearnedMessage message;
  ha::v1::TunnelTraffic& out = *message.mutable_traffic();
  for (const auto& [tunnel, carried] : traffic) {
    if (out.tunnels_size() == static_cast<int>(kTunnels)) break;
    ha::v1::TunnelTraffic::Tunnel& one = *out.add_tunnels();
    one.set_name(tunnel);
    one.set_seconds(carried.seconds);
    one.set_in_packets(carried.in_packets);
    one.set_out_packets(carried.out_packets);
  }
  say(message);
}

const Learned* LearnedExport::find(const std::string& tunnel) const {
  const auto it = known_.find(tunnel);
  return it == known_.end() ? nullptr : &it->second;
}

// --- LearnedImport ----------------------------------------------------------------------------

Status LearnedImport::apply(std::string_view bytes) {
  ha::v1::LearnedMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Errc::kMalformed, "routes of the other instance: no LearnedMessage");
  switch (message.body_case()) {
    case ha::v1::LearnedMessage::kBegin: known_.clear(); return {};
    case ha::v1::LearnedMessage::kSession: return apply_session(message.session());
    case ha::v1::LearnedMessage::kRoutes: return apply_routes(message.routes());
    case ha::v1::LearnedMessage::kNothing: known_.erase(message.nothing().tunnel()); return {};
    case ha::v1::LearnedMessage::kTraffic: return apply_traffic(message.traffic());
    case ha::v1::LearnedMessage::BODY_NOT_SET: return {};  // of a newer release
  }
  return {};
}

Status LearnedImport::apply_session(const ha::v1::LearnedSession& message) {
  GW_TRY(check_name(message.tunnel()));
  GW_TRY_ASSIGN(const IpAddress router_id, IpAddress::from_bytes(std::string_view(message.router_id())));
  Learned& learned = known_[message.tunnel()];
  learned.router_id = router_id;
  learned.offered.restart_time = std::chrono::seconds(std::min(message.restart_seconds(), kMaxRestart));
  learned.offered.families.clear();
  if (message.keeps_v4()) learned.offered.families.insert(Family::kV4);
  if (message.keeps_v6()) learned.offered.families.insert(Family::kV6);
  return {};
}

Status LearnedImport::apply_routes(const ha::v1::LearnedRoutes& message) {
  const auto it = known_.find(message.tunnel());
  if (it == known_.end())
    return fail(Errc::kMalformed,
                std::format("routes of '{}' without its session", message.tunnel().substr(0, kMaxName)));
  GW_TRY_ASSIGN(const std::vector<Prefix> withdrawn, read(message.withdrawn()));
  GW_TRY_ASSIGN(const std::vector<Prefix> announced, read(message.announced()));
  routes::AttributesPtr attributes;
  if (!announced.empty()) {
    GW_TRY_ASSIGN(attributes, read(message.attributes()));
  }
  for (const Prefix& prefix : withdrawn) it->second.routes.erase(prefix);
  for (const Prefix& prefix : announced) it->second.routes[prefix] = attributes;
  return {};
}

Status LearnedImport::apply_traffic(const ha::v1::TunnelTraffic& message) {
  if (message.tunnels_size() > static_cast<int>(LearnedExport::kTunnels))
    return fail(Errc::kMalformed, std::format("traffic of {} tunnels", message.tunnels_size()));
  TrafficByTunnel next;
  for (const ha::v1::TunnelTraffic::Tunnel& tunnel : message.tunnels()) {
    GW_TRY(check_name(tunnel.name()));
    next[tunnel.name()] = {tunnel.seconds(), tunnel.in_packets(), tunnel.out_packets()};
  }
  traffic_ = std::move(next);
  return {};
}

std::optional<Learned> LearnedImport::take(const std::string& tunnel) {
  const auto it = known_.find(tunnel);
  if (it == known_.end()) return std::nullopt;
  std::optional<Learned> out = std::move(it->second);
  known_.erase(it);
  return out;
}

const Learned* LearnedImport::find(const std::string& tunnel) const {
  const auto it = known_.find(tunnel);
  return it == known_.end() ? nullptr : &it->second;
}

}  // namespace gw::gwd::sync
