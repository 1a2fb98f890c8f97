#include "gwd/control/route_controller.hpp"

#include <algorithm>
#include <utility>

#include "base/log.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr std::string_view kVnetSource = "vnet";

std::string static_source(const std::string& tunnel) { return "static:" + tunnel; }

// RFC 7854 4.9: 1 and 3 came with a NOTIFICATION, 5 is configuration; 2 and 4 are a session that just broke.
bool broke_silently(std::uint8_t reason) { return reason == 2 || reason == 4; }

routes::Candidate local_candidate(routes::SourceKind kind, std::string name, MonoTime since) {
  auto source = std::make_shared<routes::Source>();
  source->kind = kind;
  source->name = std::move(name);
  source->type = routes::PeerType::kLocal;
  auto attributes = std::make_shared<routes::Attributes>();
  attributes->weight = 32768;  // FRR's weight of what is locally originated
  return {std::move(source), std::move(attributes), false, since};
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
  import_ = {.gateway_asn = model.asn, .vnet_prefixes = model.vnet_prefixes};
  vnet_next_hop_ = model.vnet_next_hop;
  ids_.clear();
  std::map<IpAddress, Peer> peers;
  for (const auto& tunnel : model.tunnels) {
    ids_[tunnel.name] = tunnel.tunnel_id;
    if (!tunnel.bgp) continue;
    const auto before = peers_.find(tunnel.bgp->peer);
    if (before != peers_.end() && before->second.source->name == tunnel.name &&
        before->second.source->peer_asn == tunnel.bgp->peer_asn) {
      Peer& peer = peers[tunnel.bgp->peer] = std::move(before->second);
      peer.max_routes = tunnel.bgp->max_routes;
      peers_.erase(before);
      continue;
    }
    Peer& peer = peers[tunnel.bgp->peer];
    auto source = std::make_shared<routes::Source>();
    source->name = tunnel.name;
    source->peer_asn = tunnel.bgp->peer_asn;
    source->peer_address = tunnel.bgp->peer;
    peer.source = std::move(source);
    peer.max_routes = tunnel.bgp->max_routes;
    peer.sweep = std::make_unique<asio::steady_timer>(io_);
  }
  for (auto& [address, peer] : peers_) {
    peer.sweep->cancel();
    rib_.withdraw_all(peer.source->name);
  }
  peers_ = std::move(peers);
  set_local_routes(model);
  publish();
  // Entries that did not change in the Rib may still change in forwarding: the VNet's next hop, tunnel ids.
  for (const Prefix& prefix : rib_.prefixes()) publish(prefix, rib_.best(prefix));
  check_complete();
}

void RouteController::set_local_routes(const config::GatewayModel& model) {
  std::map<std::string, std::set<Prefix>, std::less<>> wanted;
  wanted[std::string(kVnetSource)] = {model.vnet_prefixes.begin(), model.vnet_prefixes.end()};
  for (const auto& tunnel : model.tunnels)
    if (!tunnel.bgp && !tunnel.disabled)
      wanted[static_source(tunnel.name)] = {tunnel.static_prefixes.begin(), tunnel.static_prefixes.end()};
  for (const auto& [source, prefixes] : local_) {
    const auto now = wanted.find(source);
    for (const Prefix& prefix : prefixes)
      if (now == wanted.end() || !now->second.contains(prefix)) rib_.withdraw(prefix, source);
  }
  for (const auto& [source, prefixes] : wanted) {
    const auto kind = source == kVnetSource ? routes::SourceKind::kVnet : routes::SourceKind::kStaticSite;
    const routes::Candidate candidate = local_candidate(kind, source, clock_.now());
    for (const Prefix& prefix : prefixes)
      if (const auto before = local_.find(source); before == local_.end() || !before->second.contains(prefix))
        rib_.upsert(prefix, candidate);
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
    rib_.withdraw_all(peer.source->name);
  }
  publish();
  for (const Prefix& prefix : rib_.prefixes()) publish(prefix, rib_.best(prefix));
}

bool RouteController::has_carrier(const Peer& peer) const {
  const auto id = ids_.find(peer.source->name);
  return id != ids_.end() && !without_carrier_.contains(id->second);
}

const PeerRoutes* RouteController::peer_routes(std::string_view tunnel) const {
  const auto it = std::ranges::find_if(peers_, [&](const auto& entry) { return entry.second.source->name == tunnel; });
  return it == peers_.end() ? nullptr : &it->second.routes;
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
    rib_.mark_stale(peer.source->name);
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
  log::info("routes", "{}: BGP session with {} AS {} is up", peer.source->name, event.peer.address, event.peer.asn);
  if (peer.source->router_id == event.peer.router_id) return;
  auto source = std::make_shared<routes::Source>(*peer.source);
  source->router_id = event.peer.router_id;
  peer.source = std::move(source);
}

void RouteController::on_peer_down(const bgp::BmpPeerDown& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  peer.end_of_rib.clear();
  peer.up = false;
  log::warning("routes", "{}: BGP session with {} went down: {}", peer.source->name, event.peer.address, event.text);
  if (broke_silently(event.reason) && has_carrier(peer)) {
    rib_.mark_stale(peer.source->name);
    sweep_later(peer, kRestartTime);
  } else {
    peer.sweep->cancel();
    rib_.withdraw_all(peer.source->name);
  }
}

void RouteController::on_routes(const bgp::BmpRoutes& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  Peer& peer = it->second;
  const std::string& name = peer.source->name;
  if (!event.malformed.empty())
    log::warning("routes", "{}: malformed UPDATE, treated as withdrawal: {}", name, event.malformed);
  for (const Prefix& prefix : event.withdrawn) rib_.withdraw(prefix, name);
  for (const Prefix& prefix : event.announced) {
    if (const auto refusal = routes::check_import(import_, prefix, event.attributes->as_path)) {
      ++peer.routes.refused[*refusal];
      log::debug("routes", "{}: {} refused: {}", name, prefix, routes::to_string(*refusal));
      rib_.withdraw(prefix, name);  // it may have been acceptable before
      continue;
    }
    rib_.upsert(prefix, {peer.source, event.attributes, false, clock_.now()});
  }
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
  peer.sweep->async_wait([this, name = peer.source->name](const boost::system::error_code& error) {
    if (error) return;
    for (auto& [address, known] : peers_)
      if (known.source->name == name) known.sweeping = false;
    if (const std::size_t gone = rib_.sweep(name); gone > 0)
      log::info("routes", "{}: {} stale routes removed", name, gone);
    publish();
  });
}

void RouteController::update_limit(Peer& peer) {
  const std::size_t routes = rib_.count(peer.source->name).routes;
  const routes::LimitState now = routes::check_limit(routes, peer.max_routes);
  if (std::exchange(peer.routes.limit, now) == now) return;
  if (now == routes::LimitState::kNear)
    log::warning("routes", "{}: {} routes, the limit is {} (RouteLimitNear)", peer.source->name, routes,
                 peer.max_routes);
  else if (now == routes::LimitState::kReached)
    log::error("routes", "{}: {} routes, the limit of {} is reached; bgpd drops the session", peer.source->name, routes,
               peer.max_routes);
}

void RouteController::publish() {
  for (const routes::Change& change : rib_.drain_changes()) {
    if (change.best)
      publish(change.prefix, *change.best);
    else
      forwarding_.remove_route(change.prefix);
  }
}

void RouteController::publish(const Prefix& prefix, const routes::BestSet& best) {
  if (best.paths.empty()) {
    forwarding_.remove_route(prefix);
    return;
  }
  ForwardingEntry entry;
  if (best.paths.front().source->kind == routes::SourceKind::kVnet) {
    entry.kind = fp::NEXT_HOP_VNET;
    if (vnet_next_hop_ && vnet_next_hop_->family() == prefix.family()) entry.gateway = vnet_next_hop_;
    forwarding_.set_route(prefix, std::move(entry));
    return;
  }
  std::vector<std::uint32_t> all;
  for (const routes::Candidate& path : best.paths) {
    std::string_view tunnel = path.source->name;
    if (path.source->kind == routes::SourceKind::kStaticSite) tunnel.remove_prefix(static_source({}).size());
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
    const bool told = session != sessions.end() && session->second.established() && peer.up &&
                      (peer.end_of_rib.size() == 2 || (session->second.end_of_rib_v4 && session->second.end_of_rib_v6));
    learned = learned && told;
    if (told && rib_.count(peer.source->name).stale > 0 && !std::exchange(peer.sweeping, true))
      sweep_later(peer, kSettle);
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
