#include "gwd/control/route_forwarding.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "gwd/control/sources.hpp"
#include "routes/decide.hpp"

namespace gw::gwd {
namespace {

constexpr std::size_t kMaxGateways = 16;  // of fastpath.proto's Route

/// A next hop that can be asked for on the link: IPv6 routes over an IPv4 session may have a v4-mapped one or the
/// peer's link-local one, and then the session's address is as good.
bool is_usable(const IpAddress& next_hop) {
  if (next_hop.is_unspecified() || next_hop.is_loopback() || next_hop.is_multicast()) return false;
  static const Prefix kReserved = Prefix::parse("::/8").value();  // with the v4-mapped ones, RFC 4291 2.5
  return next_hop.is_v4() || (!next_hop.is_link_local() && !kReserved.contains(next_hop));
}

bool in_tunnel(routes::SourceKind kind) {
  return kind == routes::SourceKind::kVpnTunnel || kind == routes::SourceKind::kBranchVnet ||
         kind == routes::SourceKind::kStaticSite;
}

/// Tunnels, circuit and VNet are ways of their own: one set of next hops is of one of them.
enum class Way : std::uint8_t { kTunnels, kCircuit, kVnet };
Way way_of(routes::SourceKind kind) {
  if (in_tunnel(kind)) return Way::kTunnels;
  return kind == routes::SourceKind::kCircuit ? Way::kCircuit : Way::kVnet;
}

/// What the other instance or pair reaches; VNet, spokes and what their routers tell are the VNet's there as here.
fp::Behind behind(routes::SourceKind original) {
  if (in_tunnel(original)) return fp::BEHIND_TUNNELS;
  return original == routes::SourceKind::kCircuit ? fp::BEHIND_CIRCUIT : fp::BEHIND_VNET;
}

Way way_of(const routes::Path& path, const routes::Rib& rib) { return way_of(rib.source(path.source).kind); }

// Classes have different weights, so paths of a set are of one way: unless a rule gives two classes the same, or both
// are being shut down (RFC 8326).
bool is_mixed(std::span<const routes::Path> paths, const routes::Rib& rib) {
  const Way first = way_of(paths.front(), rib);
  return std::ranges::any_of(paths, [&](const routes::Path& path) { return way_of(path, rib) != first; });
}

std::vector<routes::Path> of_best_way(std::span<const routes::Path> paths, const routes::Rib& rib) {
  const auto best = std::ranges::min_element(paths, [&](const routes::Path& a, const routes::Path& b) {
    return routes::compare_tie(rib.source(a.source), rib.source(b.source)).order < 0;
  });
  std::vector<routes::Path> out;
  std::ranges::copy_if(paths, std::back_inserter(out),
                       [&](const routes::Path& path) { return way_of(path, rib) == way_of(*best, rib); });
  return out;
}

std::optional<IpAddress> address_of_instance(const config::GatewayModel& model, std::string_view name) {
  if (!model.ha) return std::nullopt;
  const auto& all = model.ha->instances;
  const auto instance = std::ranges::find(all, name, &config::HaInstance::name);
  return instance == all.end() ? std::nullopt : instance->vnet_address;
}

/// Next hops of one family, sorted, each once.
std::vector<IpAddress> gateways_of(std::span<const routes::Path> paths, const routes::Rib& rib,
                                   const std::set<IpAddress>& own) {
  std::vector<IpAddress> given;
  std::vector<IpAddress> peers;
  for (const routes::Path& path : paths) {
    const IpAddress& peer = rib.source(path.source).peer_address;
    const IpAddress& hop = is_usable(path.next_hop) ? path.next_hop : peer;
    if (own.contains(hop)) continue;  // told back to us: it would be a loop
    given.push_back(hop);
    peers.push_back(peer);
  }
  const auto mixed = [](const std::vector<IpAddress>& all) {
    return std::ranges::any_of(all, [&](const IpAddress& a) { return a.family() != all.front().family(); });
  };
  std::vector<IpAddress>& out = mixed(given) ? peers : given;
  if (mixed(out)) std::erase_if(out, [](const IpAddress& a) { return a.is_v6(); });
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  if (out.size() > kMaxGateways) out.resize(kMaxGateways);
  return std::move(out);
}

}  // namespace

void RouteForwarding::set_model(const config::GatewayModel& model) {
  vnet_next_hops_ = model.vnet_next_hops;
  ids_.clear();
  away_.clear();
  for (const config::TunnelModel& tunnel : model.tunnels) ids_[tunnel.name] = tunnel.tunnel_id;
  for (const config::TunnelModel& tunnel : model.elsewhere) {
    ids_[tunnel.name] = tunnel.tunnel_id;
    away_[tunnel.tunnel_id] = address_of_instance(model, tunnel.carrier);
  }
  own_.clear();
  for (const InterfaceAddress& address : model.circuit_addresses) own_.insert(address.address);
  if (model.vnet_address) own_.insert(*model.vnet_address);
}

bool RouteForwarding::set_carrier(std::uint32_t tunnel_id, Carrier carrier) {
  return carrier == Carrier::kUp ? without_carrier_.erase(tunnel_id) > 0 : without_carrier_.insert(tunnel_id).second;
}

bool RouteForwarding::has_carrier(std::string_view source) const {
  const auto id = ids_.find(source);
  return id == ids_.end() || away_.contains(id->second) || !without_carrier_.contains(id->second);
}

std::vector<std::string> RouteForwarding::sources_of(std::uint32_t tunnel_id) const {
  const auto it = std::ranges::find(ids_, tunnel_id, [](const auto& entry) { return entry.second; });
  if (it == ids_.end()) return {};
  return {it->first, std::string(kStaticPrefix) + it->first};
}

std::optional<std::uint32_t> RouteForwarding::tunnel_of(const routes::Source& source) const {
  std::string_view tunnel = source.name;
  if (source.kind == routes::SourceKind::kStaticSite) tunnel.remove_prefix(kStaticPrefix.size());
  const auto id = ids_.find(tunnel);
  if (id == ids_.end()) return std::nullopt;
  return id->second;
}

std::optional<ForwardingEntry> RouteForwarding::tunnels(std::span<const routes::Path> paths,
                                                        const routes::Rib& rib) const {
  std::vector<std::uint32_t> all;
  std::vector<std::uint32_t> away;
  for (const routes::Path& path : paths)
    if (const auto id = tunnel_of(rib.source(path.source))) (away_.contains(*id) ? away : all).push_back(*id);
  if (all.empty()) return by_carriers(away);
  ForwardingEntry entry{.kind = fp::NEXT_HOP_TUNNELS};
  std::ranges::copy_if(all, std::back_inserter(entry.tunnel_ids),
                       [&](std::uint32_t id) { return !without_carrier_.contains(id); });
  if (entry.tunnel_ids.empty()) entry.tunnel_ids = std::move(all);
  std::ranges::sort(entry.tunnel_ids);
  return entry;
}

// The instances that carry the tunnels now.
std::optional<ForwardingEntry> RouteForwarding::by_carriers(std::span<const std::uint32_t> ids) const {
  std::set<IpAddress> carriers;
  for (const std::uint32_t id : ids)
    if (const auto& address = away_.at(id)) carriers.insert(*address);
  if (carriers.empty()) return std::nullopt;
  return ForwardingEntry{.kind = fp::NEXT_HOP_VNET,
                         .tunnel_ids = {},
                         .gateways = {carriers.begin(), carriers.end()},
                         .behind = fp::BEHIND_TUNNELS};
}

std::optional<ForwardingEntry> RouteForwarding::entry(const Prefix& prefix, std::span<const routes::Path> paths,
                                                      const routes::Rib& rib) const {
  if (paths.empty()) return std::nullopt;
  if (is_mixed(paths, rib)) return entry(prefix, of_best_way(paths, rib), rib);
  const routes::Source& first = rib.source(paths.front().source);
  if (in_tunnel(first.kind)) return tunnels(paths, rib);
  ForwardingEntry entry{.kind = first.kind == routes::SourceKind::kCircuit ? fp::NEXT_HOP_CIRCUIT : fp::NEXT_HOP_VNET};
  if (first.type == routes::PeerType::kLocal) {
    for (const IpAddress& next_hop : vnet_next_hops_)
      if (next_hop.family() == prefix.family()) entry.gateways = {next_hop};
    return entry;
  }
  if (first.kind == routes::SourceKind::kPartner) entry.behind = behind(paths.front().original);
  entry.gateways = gateways_of(paths, rib, own_);
  if (entry.gateways.empty()) return std::nullopt;
  return entry;
}

}  // namespace gw::gwd
