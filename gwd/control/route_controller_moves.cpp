// RouteController, tunnels that move between instances: what was learned before is held until the session has said it
// again, and what another instance carries now leads there for a while.
#include <algorithm>
#include <map>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/route_controller.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

// bgpd lets go of their sessions; the routes stay a while, as another instance's.
std::map<IpAddress, RouteController::Peer> RouteController::take_moved_peers(const config::GatewayModel& model) {
  std::map<IpAddress, Peer> moved;
  for (const config::TunnelModel& tunnel : model.elsewhere) {
    if (!tunnel.bgp || tunnel.carrier.empty()) continue;
    const auto before = peers_.find(tunnel.bgp->peer);
    if (before == peers_.end() || name_of(before->second) != tunnel.name) continue;
    Peer& peer = moved[tunnel.bgp->peer] = std::move(before->second);
    peers_.erase(before);
    if (std::exchange(peer.moved, true)) continue;
    peer.up = false;
    peer.asked_again = false;
    peer.restarting = false;
    peer.held = false;
    peer.end_of_rib.clear();
    rib_.mark_stale(peer.source);
    learned_.forget(tunnel.name);
    sweep_later(peer, kMovedTime);
  }
  return moved;
}

// A static site is no longer ours: at once, or if another instance carries its tunnel now, after a while.
void RouteController::let_static_go(const std::string& source, const config::GatewayModel& model) {
  const bool moved = std::ranges::any_of(model.elsewhere, [&](const config::TunnelModel& tunnel) {
    return !tunnel.carrier.empty() && source == std::string(kStaticPrefix) + tunnel.name;
  });
  if (!moved) {
    rib_.remove_source(*rib_.find_source(source));
    return;
  }
  auto& timer = moved_static_[source] = std::make_unique<asio::steady_timer>(io_, kMovedTime);
  timer->async_wait([this, source, own = timer.get()](const boost::system::error_code& error) {
    // One that was queued when the site came back is not cancelled any more.
    const auto it = moved_static_.find(source);
    if (error || it == moved_static_.end() || it->second.get() != own) return;
    rib_.remove_source(*rib_.find_source(source));
    moved_static_.erase(source);
    if (held_changed_) held_changed_();
    publish();
  });
}

bool RouteController::is_open(const std::string& tunnel) const {
  return learned_.find(tunnel) != nullptr || learned_elsewhere_.find(tunnel) != nullptr;
}

bool RouteController::has_just_opened(const IpAddress& address) const {
  const auto it = peers_.find(address);
  return it != peers_.end() && it->second.up && it->second.opened && clock_.now() - *it->second.opened < kTold;
}

void RouteController::path_died(const IpAddress& address) {
  const auto it = peers_.find(address);
  if (it == peers_.end() || it->second.up || it->second.moved || rib_.count(it->second.source).stale == 0) return;
  log::warning("routes", "{}: the path to {} is dead: its routes are withdrawn", name_of(it->second), address);
  withdraw(it->second);
  publish();
}

void RouteController::held_path_died(const IpAddress& address) {
  const auto it = peers_.find(address);
  if (it != peers_.end() && it->second.held) path_died(address);
}

// Its tunnel is carried here from now on, and bgpd opens the session. Until then: what the other instance has said of
// it, or what is left from when it was here before.
void RouteController::hold(Peer& peer) {
  if (auto learned = learned_elsewhere_.take(name_of(peer))) adopt(peer, std::move(*learned));
  if (rib_.count(peer.source).stale == 0) return;
  peer.held = true;
  sweep_later(peer, std::max(peer.offered.restart_time, kReopenTime));
  log::info("routes", "{}: {} routes are held until its session is open again", name_of(peer),
            rib_.count(peer.source).stale);
}

void RouteController::adopt(Peer& peer, sync::Learned learned) {
  const std::string name = name_of(peer);
  routes::Source source = rib_.source(peer.source);
  source.router_id = learned.router_id;
  rib_.put_source(std::move(source));
  rib_.withdraw_all(peer.source);
  peer.offered = learned.offered;
  learned_.session(name, learned.router_id, learned.offered);
  std::map<routes::AttributesPtr, bgp::BmpRoutes> updates;
  for (const auto& [prefix, attributes] : learned.routes) updates[attributes].announced.push_back(prefix);
  for (auto& [attributes, update] : updates) {
    update.attributes = attributes;
    rib_.announce(peer.source, attributes, update.announced, clock_.now());
    learned_.routes(name, update);
  }
  rib_.mark_stale(peer.source);
}

void RouteController::release(Peer& peer) {
  if ((std::exchange(peer.held, false) || peer.moved) && held_changed_) held_changed_();
}

void RouteController::tell_what_is_left(const Peer& peer) {
  const std::vector<Prefix> left = rib_.prefixes(peer.source);
  learned_.keep_only(name_of(peer), {left.begin(), left.end()});
}

// What moved away is a last resort from here on (RFC 8326): whoever hears the new owner turns to it, and nobody is
// without a route before he does.
std::vector<bgp::OriginIntent> RouteController::held_origins() const {
  std::vector<bgp::OriginIntent> out;
  for (const auto& [address, peer] : peers_) {
    if (!peer.held && !peer.moved) continue;
    std::map<std::vector<std::uint32_t>, std::vector<Prefix>> by_path;
    std::size_t count = 0;
    for (const Prefix& prefix : rib_.prefixes(peer.source)) {
      if (count == kMaxHeld) break;
      if (!peer.moved && !is_held(prefix, name_of(peer))) continue;
      const auto path = accepted_path(prefix, name_of(peer));
      if (path) by_path[*path].push_back(prefix), ++count;
    }
    for (auto& [path, prefixes] : by_path) {
      std::ranges::sort(prefixes);
      bgp::OriginIntent origin{rib_.source(peer.source), std::move(prefixes), {}, path};
      origin.source.type = routes::PeerType::kLocal;
      if (peer.moved) origin.communities = {routes::kGracefulShutdown};
      out.push_back(std::move(origin));
    }
  }
  for (const auto& [name, timer] : moved_static_) {
    const routes::SourceId source = *rib_.find_source(name);
    out.push_back({rib_.source(source), rib_.prefixes(source), {routes::kGracefulShutdown}});
  }
  return out;
}

// Not said again yet, and no other session here has a route: bgpd would prefer its own to what it is told.
bool RouteController::is_held(const Prefix& prefix, std::string_view source) const {
  bool held = false;
  for (const routes::Explanation& route : rib_.explain(prefix)) {
    if (route.action != routes::Action::kAccept) continue;
    if (!route.stale && route.candidate.source->kind != routes::SourceKind::kPartner) return false;
    held = held || route.candidate.source->name == source;
  }
  return held;
}

// Of a route that policy takes. Sets are left out: bgpd has no words for them.
std::optional<std::vector<std::uint32_t>> RouteController::accepted_path(const Prefix& prefix,
                                                                         std::string_view source) const {
  for (const routes::Explanation& route : rib_.explain(prefix)) {
    if (route.action != routes::Action::kAccept || route.candidate.source->name != source) continue;
    std::vector<std::uint32_t> path;
    for (const routes::AsSegment& segment : route.candidate.attributes->as_path.segments())
      if (segment.type == routes::AsSegment::Type::kSequence)
        path.insert(path.end(), segment.asns.begin(), segment.asns.end());
    return path;
  }
  return std::nullopt;
}

}  // namespace gw::gwd
