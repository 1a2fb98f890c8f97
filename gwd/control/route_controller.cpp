#include "gwd/control/route_controller.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/log.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::string_view kVnetSource = "vnet";

std::string static_source(const std::string& tunnel) { return "static:" + tunnel; }

// RFC 7854 4.9: 1 and 3 came with a NOTIFICATION, 5 is configuration; 2 and 4 are a session that just broke. bgpd 10.3
// says 2 for nearly everything; set_sessions() learns what BFD ended.
bool broke_silently(std::uint8_t reason) { return reason == 2 || reason == 4; }

routes::Source bgp_source(const config::GatewayModel& model, const config::TunnelModel& tunnel) {
  return {.kind = routes::SourceKind::kVpnTunnel,
          .name = tunnel.name,
          .type = routes::PeerType::kEbgp,
          .peer_asn = tunnel.bgp->peer_asn,
          .router_id = {},
          .peer_address = tunnel.bgp->peer,
          .site = tunnel.site,
          .instance = model.instance};
}

routes::Source local_source(const config::GatewayModel& model, const std::string& name) {
  routes::Source source{.kind = name == kVnetSource ? routes::SourceKind::kVnet : routes::SourceKind::kStaticSite,
                        .name = name,
                        .type = routes::PeerType::kLocal,
                        .router_id = {},
                        .peer_address = {},
                        .instance = model.instance};
  const auto tunnel = std::ranges::find_if(model.tunnels, [&](const auto& t) { return static_source(t.name) == name; });
  if (tunnel != model.tunnels.end()) source.site = tunnel->site;
  return source;
}

routes::PolicyPtr policy_of(const config::GatewayModel& model) {
  auto policy = std::make_shared<routes::Policy>();
  policy->safe = {.gateway_asn = model.asn, .vnet_prefixes = model.vnet_prefixes};
  for (const auto& tunnel : model.tunnels) {
    if (tunnel.bgp) policy->peers[tunnel.name].max_routes = tunnel.bgp->max_routes;
  }
  return policy;
}

}  // namespace

RouteController::RouteController(asio::io_context& io, const Clock& clock, Forwarding& forwarding)
    : io_(io),
      clock_(clock),
      forwarding_(forwarding),
      bmp_(io.get_executor(), {.connected = [this](const bgp::BmpConnected& event) { handle(event); },
                               .disconnected = [this](const bgp::BmpDisconnected& event) { handle(event); },
                               .event = [this](const bgp::BmpEvent& event) { handle(event); }}),
      learning_(io) {}

Status RouteController::listen(std::uint16_t bmp_port) {
  learning_.expires_after(kLearningTime);
  learning_.async_wait([this](const boost::system::error_code& error) {
    if (error || complete_) return;
    log::info("routes", "learning time is over");
    complete_ = true;
    forwarding_.set_complete();
  });
  return bmp_.listen(bmp_port);
}

void RouteController::stop() {
  bmp_.close();
  learning_.cancel();
  for (auto& [address, peer] : peers_) peer.sweep->cancel();
}

void RouteController::set_model(const config::GatewayModel& model) {
  vnet_next_hop_ = model.vnet_next_hop;
  ids_.clear();
  for (const auto& tunnel : model.tunnels) ids_[tunnel.name] = tunnel.tunnel_id;
  set_peers(model);
  rib_.set_policy(policy_of(model));
  set_local_routes(model);
  publish();
  publish_all();  // the VNet's next hop and tunnel ids are not the Rib's
  check_complete();
}

void RouteController::set_peers(const config::GatewayModel& model) {
  std::map<IpAddress, Peer> peers;
  for (const auto& tunnel : model.tunnels) {
    if (!tunnel.bgp) continue;
    const auto before = peers_.find(tunnel.bgp->peer);
    if (before != peers_.end() && name_of(before->second) == tunnel.name &&
        rib_.source(before->second.source).peer_asn == tunnel.bgp->peer_asn) {
      Peer& peer = peers[tunnel.bgp->peer] = std::move(before->second);
      peer.max_routes = tunnel.bgp->max_routes;
      routes::Source source = bgp_source(model, tunnel);
      source.router_id = rib_.source(peer.source).router_id;
      rib_.put_source(std::move(source));
      peers_.erase(before);
    }
  }
  for (auto& [address, peer] : peers_) {
    peer.sweep->cancel();
    rib_.remove_source(peer.source);
  }
  peers_ = std::move(peers);
  for (const auto& tunnel : model.tunnels) {
    if (!tunnel.bgp || peers_.contains(tunnel.bgp->peer)) continue;
    Peer& peer = peers_[tunnel.bgp->peer];
    peer.source = rib_.put_source(bgp_source(model, tunnel));
    peer.max_routes = tunnel.bgp->max_routes;
    peer.sweep = std::make_unique<asio::steady_timer>(io_);
  }
}

void RouteController::set_local_routes(const config::GatewayModel& model) {
  std::map<std::string, std::set<Prefix>, std::less<>> wanted;
  wanted[std::string(kVnetSource)] = {model.vnet_prefixes.begin(), model.vnet_prefixes.end()};
  for (const auto& tunnel : model.tunnels)
    if (!tunnel.bgp && !tunnel.disabled)
      wanted[static_source(tunnel.name)] = {tunnel.static_prefixes.begin(), tunnel.static_prefixes.end()};
  for (const auto& [name, prefixes] : local_) {
    if (!wanted.contains(name)) rib_.remove_source(*rib_.find_source(name));
  }
  const auto attributes = std::make_shared<const routes::Attributes>();
  for (const auto& [name, prefixes] : wanted) {
    const routes::SourceId source = rib_.put_source(local_source(model, name));
    std::vector<Prefix> gone;
    std::ranges::set_difference(local_[name], prefixes, std::back_inserter(gone));
    rib_.withdraw(source, gone);
    rib_.announce(source, attributes, std::vector<Prefix>(prefixes.begin(), prefixes.end()), clock_.now());
  }
  local_ = std::move(wanted);
}

void RouteController::set_carrier(std::uint32_t tunnel_id, fastpath::v1::TunnelState state) {
  const bool changed =
      state.carrier() ? without_carrier_.erase(tunnel_id) > 0 : without_carrier_.insert(tunnel_id).second;
  if (!changed) return;
  for (auto& [address, peer] : peers_) {
    if (peer.up || !bmp_connected_ || has_carrier(peer)) continue;
    peer.sweep->cancel();
    rib_.withdraw_all(peer.source);
  }
  publish();
  publish_all();
}

bool RouteController::has_carrier(const Peer& peer) const {
  const auto id = ids_.find(name_of(peer));
  return id != ids_.end() && !without_carrier_.contains(id->second);
}

std::optional<PeerRoutes> RouteController::peer_routes(std::string_view tunnel) const {
  const auto it = std::ranges::find_if(peers_, [&](const auto& entry) { return name_of(entry.second) == tunnel; });
  if (it == peers_.end()) return std::nullopt;
  return PeerRoutes{rib_.count(it->second.source), it->second.limit};
}

void RouteController::handle(const bgp::BmpConnected&) {
  bmp_connected_ = true;
  log::info("routes", "bgpd's BMP stream is there");
}

void RouteController::handle(const bgp::BmpDisconnected&) {
  bmp_connected_ = false;
  log::warning("routes", "bgpd's BMP stream ended; its routes stay for {} s", kRestartTime.count());
  for (auto& [address, peer] : peers_) {
    peer.end_of_rib.clear();
    peer.up = false;
    rib_.mark_stale(peer.source);
    sweep_later(peer, kRestartTime);
  }
}

void RouteController::handle(const bgp::BmpEvent& event) {
  if (const auto* up = std::get_if<bgp::BmpPeerUp>(&event))
    on_peer_up(*up);
  else if (const auto* down = std::get_if<bgp::BmpPeerDown>(&event))
    on_peer_down(*down);
  else if (const auto* change = std::get_if<bgp::BmpRoutes>(&event))
    on_routes(*change);
  else if (const auto* end = std::get_if<bgp::BmpEndOfRib>(&event))
    on_end_of_rib(*end);
  publish();
  check_complete();
}

void RouteController::on_peer_up(const bgp::BmpPeerUp& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  peer.end_of_rib.clear();
  peer.up = true;
  log::info("routes", "{}: BGP session with {} AS {} is up", name_of(peer), event.peer.address, event.peer.asn);
  if (session_changed_) session_changed_();
  routes::Source source = rib_.source(peer.source);
  source.router_id = event.peer.router_id;
  rib_.put_source(std::move(source));
}

void RouteController::on_peer_down(const bgp::BmpPeerDown& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  peer.end_of_rib.clear();
  peer.up = false;
  log::warning("routes", "{}: BGP session with {} went down: {}", name_of(peer), event.peer.address, event.text);
  if (broke_silently(event.reason) && has_carrier(peer)) {
    rib_.mark_stale(peer.source);
    sweep_later(peer, kRestartTime);
  } else {
    withdraw(peer);
  }
  if (session_changed_) session_changed_();
}

void RouteController::withdraw(Peer& peer) {
  peer.sweep->cancel();
  rib_.withdraw_all(peer.source);
}

void RouteController::on_routes(const bgp::BmpRoutes& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  if (!event.malformed.empty())
    log::warning("routes", "{}: malformed UPDATE, treated as withdrawal: {}", name_of(peer), event.malformed);
  rib_.withdraw(peer.source, event.withdrawn);
  if (!event.announced.empty()) rib_.announce(peer.source, event.attributes, event.announced, clock_.now());
  update_limit(peer);
}

void RouteController::on_end_of_rib(const bgp::BmpEndOfRib& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  it->second.end_of_rib.insert(event.family);
}

void RouteController::sweep_later(Peer& peer, std::chrono::seconds after) {
  peer.sweeping = after == kSettle;
  peer.sweep->expires_after(after);
  peer.sweep->async_wait(
      [this, address = rib_.source(peer.source).peer_address](const boost::system::error_code& error) {
        const auto it = peers_.find(address);
        if (error || it == peers_.end()) return;
        it->second.sweeping = false;
        if (const std::size_t gone = rib_.sweep(it->second.source); gone > 0)
          log::info("routes", "{}: {} stale routes removed", name_of(it->second), gone);
        publish();
      });
}

void RouteController::update_limit(Peer& peer) {
  const routes::SourceCount count = rib_.count(peer.source);
  const std::size_t routes = std::max(count.of_family[0].accepted, count.of_family[1].accepted);
  const routes::LimitState now = routes::check_limit(routes, peer.max_routes);
  if (std::exchange(peer.limit, now) == now) return;
  if (now == routes::LimitState::kNear)
    log::warning("routes", "{}: {} routes, the limit is {} (RouteLimitNear)", name_of(peer), routes, peer.max_routes);
  else if (now == routes::LimitState::kReached)
    log::error("routes", "{}: {} routes, the limit of {} is reached; bgpd drops the session", name_of(peer), routes,
               peer.max_routes);
}

void RouteController::publish() {
  for (const routes::Change& change : rib_.drain()) publish(change.prefix, change.after);
}

void RouteController::publish_all() {
  for (const Prefix& prefix : rib_.prefixes()) publish(prefix, rib_.published(prefix));
}

void RouteController::publish(const Prefix& prefix, routes::PathSetId best) {
  const std::span<const routes::Path> paths = rib_.paths(best);
  if (paths.empty()) {
    forwarding_.remove_route(prefix);
    return;
  }
  ForwardingEntry entry;
  const auto kind = [&](const routes::Path& path) { return rib_.source(path.source).kind; };
  if (std::ranges::any_of(paths, [&](const routes::Path& path) { return kind(path) == routes::SourceKind::kVnet; })) {
    entry.kind = fp::NEXT_HOP_VNET;
    if (vnet_next_hop_ && vnet_next_hop_->family() == prefix.family()) entry.gateways = {*vnet_next_hop_};
    forwarding_.set_route(prefix, std::move(entry));
    return;
  }
  std::vector<std::uint32_t> all;
  for (const routes::Path& path : paths) {
    std::string_view tunnel = rib_.source(path.source).name;
    if (kind(path) == routes::SourceKind::kStaticSite) tunnel.remove_prefix(static_source({}).size());
    if (const auto id = ids_.find(tunnel); id != ids_.end()) all.push_back(id->second);
  }
  std::ranges::copy_if(all, std::back_inserter(entry.tunnel_ids),
                       [&](std::uint32_t id) { return !without_carrier_.contains(id); });
  if (entry.tunnel_ids.empty()) entry.tunnel_ids = std::move(all);
  if (entry.tunnel_ids.empty()) {
    forwarding_.remove_route(prefix);
    return;
  }
  std::ranges::sort(entry.tunnel_ids);
  entry.kind = fp::NEXT_HOP_TUNNELS;
  forwarding_.set_route(prefix, std::move(entry));
}

// bgpd's BMP says End-of-RIB at the end of a dump only; what a peer that came up later has said is in the status.
void RouteController::set_sessions(const std::map<IpAddress, bgp::PeerStatus>& sessions) {
  bool learned = bmp_connected_;
  for (auto& [address, peer] : peers_) {
    const auto session = sessions.find(address);
    // Graceful restart is for a peer that goes on forwarding: here nothing passes.
    if (session != sessions.end() && session->second.path_died && !peer.up && rib_.count(peer.source).stale > 0) {
      log::warning("routes", "{}: BFD says that the path to {} is dead: its routes are withdrawn", name_of(peer),
                   address);
      withdraw(peer);
      publish();
    }
    const bool told = session != sessions.end() && session->second.established() && peer.up &&
                      (peer.end_of_rib.size() == 2 || (session->second.end_of_rib_v4 && session->second.end_of_rib_v6));
    learned = learned && told;
    if (told && rib_.count(peer.source).stale > 0 && !std::exchange(peer.sweeping, true)) sweep_later(peer, kSettle);
  }
  if (complete_ || !learned) return;
  complete_ = true;
  forwarding_.set_complete();
}

void RouteController::check_complete() {
  // A gateway without BGP peers has nothing to wait for.
  if (complete_ || !peers_.empty()) return;
  complete_ = true;
  forwarding_.set_complete();
}

}  // namespace gw::gwd
