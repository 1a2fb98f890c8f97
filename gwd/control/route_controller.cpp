#include "gwd/control/route_controller.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

// RFC 7854 4.9: 1 and 3 came with a NOTIFICATION, 5 is configuration; 2 and 4 are a session that just broke. bgpd 10.3
// says 2 for nearly everything; set_sessions() learns what BFD ended.
bool broke_silently(std::uint8_t reason) { return reason == 2 || reason == 4; }

bool in_tunnel(routes::SourceKind kind) {
  return kind == routes::SourceKind::kVpnTunnel || kind == routes::SourceKind::kBranchVnet;
}

}  // namespace

RouteController::RouteController(asio::io_context& io, const Clock& clock, Forwarding& forwarding)
    : io_(io),
      clock_(clock),
      forwarding_(forwarding),
      bmp_(io.get_executor(), {.connected = [this](const bgp::BmpConnected& event) { handle(event); },
                               .disconnected = [this](const bgp::BmpDisconnected& event) { handle(event); },
                               .event = [this](const bgp::BmpEvent& event) { handle(event); }}),
      learning_(io),
      reopen_(io),
      rib_(std::make_shared<const routes::Policy>(), {}, routes::Withdrawals::kOfRefusedNotTold),
      hand_over_(io, [this](const Prefix& prefix) { publish(prefix, rib_.published(prefix)); }) {}

Status RouteController::listen(std::uint16_t bmp_port) { return bmp_.listen(bmp_port); }

void RouteController::begin_learning() {
  learning_.expires_after(kLearningTime);
  learning_.async_wait([this](const boost::system::error_code& error) {
    if (error || complete_) return;
    log::info("routes", "learning time is over");
    heard_all_ = true;
    check_complete();
  });
}

void RouteController::stop() {
  bmp_.close();
  learning_.cancel();
  reopen_.cancel();
  hand_over_.stop();
  for (auto& [address, peer] : peers_) peer.sweep->cancel();
  moved_static_.clear();
}

void RouteController::set_model(const config::GatewayModel& model) {
  if (!std::exchange(has_model_, true)) begin_learning();
  ways_.set_model(model);
  set_peers(model);
  hear_untold();
  rib_.set_policy(std::make_shared<const routes::Policy>(model.policy));
  for (auto& [address, peer] : peers_) peer.told_again.reset();
  set_local_routes(model);
  publish();
  publish_all();  // the VNet's next hop and tunnel ids are not the Rib's
  check_complete();
}

std::string RouteController::far_end(const Peer& peer) const {
  return peer.unnumbered ? "its link-local address" : rib_.source(peer.source).peer_address.to_string();
}

std::vector<IpAddress> RouteController::policy_in_force() {
  rib_.policy_in_force();
  std::vector<IpAddress> ask;
  for (auto& [address, peer] : peers_) {
    if (rib_.count(peer.source).held_back == 0) continue;
    peer.told_again = clock_.now();
    ask.push_back(address);
  }
  return ask;
}

std::vector<LearnedSession> RouteController::sessions() const {
  std::vector<LearnedSession> out;
  for (const auto& [address, peer] : peers_) {
    const routes::SourceCount count = rib_.count(peer.source);
    const bool complete = bmp_connected_ && peer.up && count.stale == 0 && count.held_back == 0;
    out.push_back({name_of(peer), address, count, complete});
  }
  return out;
}

void RouteController::relearn(const IpAddress& address) {
  const auto it = peers_.find(address);
  if (it == peers_.end()) return;
  rib_.mark_stale(it->second.source);
  sweep_later(it->second, kRelearn);
  it->second.sweeping = true;
}

void RouteController::watch_told(Peer& peer, const bgp::PeerStatus& session) {
  if (rib_.source(peer.source).kind != routes::SourceKind::kCircuit || !session.established()) return;
  const std::size_t told = std::max(session.advertised_v4, session.advertised_v6);
  const routes::LimitState now = routes::check_limit(told, routes::kToldToCircuit);
  if (std::exchange(peer.told, now) == now || now == routes::LimitState::kOk) return;
  log::warning("routes",
               "{}: {} routes are advertised, a circuit takes {} and drops the session above: advertise fewer "
               "(RouteLimitNear)",
               name_of(peer), told, routes::kToldToCircuit);
}

void RouteController::drop_held_back(Peer& peer) {
  if (!peer.told_again || clock_.now() - *peer.told_again < kTellAgain) return;
  peer.told_again.reset();
  if (const std::size_t gone = rib_.drop_held_back(peer.source); gone > 0)
    log::info("routes", "{}: {} refused routes were withdrawn unheard", name_of(peer), gone);
  publish();
}

void RouteController::set_peers(const config::GatewayModel& model) {
  std::vector<SessionSource> sessions = session_sources(model);
  std::erase_if(sessions, [](const SessionSource& s) { return s.source.kind == routes::SourceKind::kWan; });
  std::map<IpAddress, Peer> peers = take_moved_peers(model);
  for (const SessionSource& session : sessions) {
    const auto before = peers_.find(session.bgp->peer);
    if (before == peers_.end() || name_of(before->second) != session.source.name ||
        rib_.source(before->second.source).peer_asn != session.source.peer_asn)
      continue;
    Peer& peer = peers[session.bgp->peer] = std::move(before->second);
    const bool came_back = std::exchange(peer.moved, false);
    routes::Source source = session.source;
    source.router_id = rib_.source(peer.source).router_id;
    rib_.put_source(std::move(source));
    if (came_back) hold(peer);
    peers_.erase(before);
  }
  for (auto& [address, peer] : peers_) {
    peer.sweep->cancel();
    learned_.forget(name_of(peer));
    rib_.remove_source(peer.source);
  }
  peers_ = std::move(peers);
  for (const SessionSource& session : sessions) {
    Peer& peer = peers_[session.bgp->peer];
    if (peer.sweep == nullptr) {
      peer.source = rib_.put_source(session.source);
      peer.sweep = std::make_unique<asio::steady_timer>(io_);
      hold(peer);
    }
    peer.max_routes = session.bgp->max_routes;
    peer.graceful_restart = session.bgp->graceful_restart;
    peer.unnumbered = session.bgp->unnumbered;
  }
}

void RouteController::set_local_routes(const config::GatewayModel& model) {
  std::map<std::string, std::set<Prefix>, std::less<>> wanted;
  const std::vector<LocalSource> sources = local_sources(model);
  for (const LocalSource& local : sources) wanted[local.source.name] = {local.prefixes.begin(), local.prefixes.end()};
  for (const auto& [name, prefixes] : local_)
    if (!wanted.contains(name)) let_static_go(name, model);
  for (const auto& [name, prefixes] : wanted)  // back in time
    if (moved_static_.erase(name) > 0) rib_.withdraw_all(*rib_.find_source(name));
  const auto attributes = std::make_shared<const routes::Attributes>();
  for (const LocalSource& local : sources) {
    const std::set<Prefix>& prefixes = wanted[local.source.name];
    const routes::SourceId source = rib_.put_source(local.source);
    std::vector<Prefix> gone;
    std::ranges::set_difference(local_[local.source.name], prefixes, std::back_inserter(gone));
    rib_.withdraw(source, gone);
    if (local.tunnel != nullptr && ways_.without_carrier().contains(local.tunnel->tunnel_id)) continue;
    rib_.announce(source, attributes, std::vector<Prefix>(prefixes.begin(), prefixes.end()), clock_.now());
  }
  local_ = std::move(wanted);
}

void RouteController::set_static_routes(std::uint32_t tunnel_id, const fastpath::v1::TunnelState& state) {
  for (const std::string& name : ways_.sources_of(tunnel_id)) {
    const auto local = local_.find(name);
    if (local == local_.end()) continue;
    const routes::SourceId source = *rib_.find_source(name);
    if (!state.carrier())
      rib_.withdraw_all(source);
    else
      rib_.announce(source, std::make_shared<const routes::Attributes>(),
                    std::vector<Prefix>(local->second.begin(), local->second.end()), clock_.now());
  }
}

void RouteController::set_carrier(std::uint32_t tunnel_id, fastpath::v1::TunnelState state) {
  if (!ways_.set_carrier(tunnel_id, state.carrier() ? Carrier::kUp : Carrier::kDown)) return;
  for (auto& [address, peer] : peers_) {
    if (peer.up || peer.asked_again || peer.moved || has_carrier(peer)) continue;
    if (!bmp_connected_ && !reopened_) continue;
    withdraw(peer);
  }
  set_static_routes(tunnel_id, state);
  publish();
  // Sets stay what they are; which of their tunnels are used does not.
  for (const std::string& name : ways_.sources_of(tunnel_id))
    if (const auto source = rib_.find_source(name))
      for (const Prefix& prefix : rib_.prefixes(*source)) publish(prefix, rib_.published(prefix));
}

bool RouteController::has_carrier(const Peer& peer) const { return ways_.has_carrier(name_of(peer)); }

std::optional<PeerRoutes> RouteController::peer_routes(std::string_view tunnel) const {
  const auto it = std::ranges::find_if(peers_, [&](const auto& entry) { return name_of(entry.second) == tunnel; });
  if (it == peers_.end()) return std::nullopt;
  return PeerRoutes{rib_.count(it->second.source), it->second.limit};
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

void RouteController::tell_session_change() const {
  if (session_changed_) session_changed_();
}

void RouteController::on_peer_up(const bgp::BmpPeerUp& event) {
  open_.insert(event.peer.address);
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return tell_session_change();  // the wan's: nothing is learned there
  Peer& peer = it->second;
  peer.end_of_rib.clear();
  peer.up = true;
  peer.offered = event.graceful_restart;
  peer.families = event.families;
  if (!peer.asked_again) peer.opened = clock_.now();
  if (!peer.asked_again)
    log::info("routes", "{}: BGP session with {} AS {} is up", name_of(peer), far_end(peer), event.peer.asn);
  tell_session_change();
  routes::Source source = rib_.source(peer.source);
  source.router_id = event.peer.router_id;
  if (in_tunnel(source.kind)) learned_.session(source.name, source.router_id, peer.offered);
  rib_.put_source(std::move(source));
  if (std::exchange(peer.restarting, false)) restart_ended(peer);
}

void RouteController::on_peer_down(const bgp::BmpPeerDown& event) {
  open_.erase(event.peer.address);
  const auto it = peers_.find(event.peer.address);
  reopen_after_loss(it == peers_.end() ? 1 : rib_.count(it->second.source).accepted());
  if (it == peers_.end()) return tell_session_change();
  if (it->second.moved) return;
  Peer& peer = it->second;
  peer.end_of_rib.clear();
  peer.up = false;
  peer.asked_again = false;
  log::warning("routes", "{}: BGP session with {} went down: {}", name_of(peer), far_end(peer), event.text);
  if (broke_silently(event.reason) && has_carrier(peer))
    keep_for_restart(peer);
  else
    withdraw(peer);
  tell_session_change();
}

void RouteController::on_routes(const bgp::BmpRoutes& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end() || it->second.moved) return;
  Peer& peer = it->second;
  if (!event.malformed.empty())
    log::warning("routes", "{}: malformed UPDATE, treated as withdrawal: {}", name_of(peer), event.malformed);
  if (peer.told_again) peer.told_again = clock_.now();
  rib_.withdraw(peer.source, event.withdrawn);
  if (!event.announced.empty()) rib_.announce(peer.source, event.attributes, event.announced, clock_.now());
  learned_.routes(name_of(peer), event);
  if (peer.held && rib_.count(peer.source).stale == 0) release(peer);  // all of it was said again
  update_limit(peer);
}

void RouteController::on_end_of_rib(const bgp::BmpEndOfRib& event) {
  const auto it = peers_.find(event.peer.address);
  if (it == peers_.end()) return;
  it->second.end_of_rib.insert(event.family);
  if (it->second.asked_again) take_as_whole(it->second, event.family);
}

void RouteController::update_limit(Peer& peer) {
  const routes::SourceCount count = rib_.count(peer.source);
  const std::size_t routes = std::max(count.of_family[0].accepted, count.of_family[1].accepted);
  const routes::LimitState now = routes::check_limit(routes, peer.max_routes);
  if (std::exchange(peer.limit, now) == now) return;
  if (now == routes::LimitState::kNear)
    log::warning("routes", "{}: {} routes, the limit is {} (RouteLimitNear)", name_of(peer), routes, peer.max_routes);
  else if (now == routes::LimitState::kReached)
    log::error("routes", "{}: {} routes, the limit of {} is reached{}", name_of(peer), routes, peer.max_routes,
               rib_.importer().policy().peer(name_of(peer)).at_limit == routes::LimitAction::kWarn
                   ? " (limit_action: warn)"
                   : "; bgpd drops the session");
}

void RouteController::publish() {
  for (const routes::Change& change : rib_.drain()) {
    if (!is_hand_over(change.after))
      hand_over_.forget(change.prefix);
    else if (change.before != routes::kNoPaths && !is_hand_over(change.before))
      hand_over_.hold(change.prefix);
    publish(change.prefix, change.after);
  }
}

void RouteController::publish_all() {
  for (const Prefix& prefix : rib_.prefixes()) publish(prefix, rib_.published(prefix));
}

std::vector<IpAddress> RouteController::peers_of(const Prefix& prefix) const {
  std::vector<IpAddress> out;
  for (const routes::Path& path : rib_.paths(rib_.published(prefix)))
    out.push_back(rib_.source(path.source).peer_address);
  return out;
}

bool RouteController::is_stale(const Prefix& prefix) const {
  return std::ranges::any_of(rib_.paths(rib_.published(prefix)), [this](const routes::Path& path) {
    return rib_.count(path.source).stale > 0 || moved_static_.contains(rib_.source(path.source).name);
  });
}

std::set<std::string> RouteController::waiting() const {
  std::set<std::string> out;
  for (const auto& [address, peer] : peers_)
    if (rib_.count(peer.source).stale > 0) out.insert(name_of(peer));
  for (const auto& [name, timer] : moved_static_) out.insert(name);
  return out;
}

void RouteController::publish(const Prefix& prefix, routes::PathSetId best) {
  const auto paths = rib_.paths(best);
  auto entry = ways_.entry(prefix, paths, rib_);
  if (decided_) {
    const bool own = paths.empty() || rib_.source(paths.front().source).type == routes::PeerType::kLocal;
    decided_(prefix, entry && !own ? &*entry : nullptr);
  }
  if (hand_over_.holds(prefix)) {
    if (auto own_way = own_entry(prefix)) entry = std::move(own_way);
  }
  if (entry)
    forwarding_.set_route(prefix, std::move(*entry));
  else
    forwarding_.remove_route(prefix);
}

bool RouteController::is_hand_over(routes::PathSetId best) const {
  const auto paths = rib_.paths(best);
  return !paths.empty() && rib_.source(paths.front().source).kind == routes::SourceKind::kPartner;
}

std::optional<ForwardingEntry> RouteController::own_entry(const Prefix& prefix) const {
  for (const routes::Explanation& route : rib_.explain(prefix)) {
    const routes::Source& source = *route.candidate.source;
    if (route.action != routes::Action::kAccept || (route.stale && !is_told_again(source.name)) ||
        source.kind == routes::SourceKind::kPartner || !ways_.has_carrier(source.name))
      continue;
    const auto id = rib_.find_source(source.name);
    if (!id) continue;
    const routes::Path path{*id, route.candidate.attributes->next_hop};
    return ways_.entry(prefix, {&path, 1}, rib_);
  }
  return std::nullopt;
}

bool RouteController::has_told_all(const Peer& peer, const bgp::PeerStatus& session) {
  return session.established() && peer.up && std::ranges::all_of(peer.families, [&](Family family) {
           return peer.end_of_rib.contains(family) ||
                  (family == Family::kV4 ? session.end_of_rib_v4 : session.end_of_rib_v6);
         });
}

// bgpd's BMP says End-of-RIB at the end of a dump only; what a peer that came up later has said is in the status.
void RouteController::set_sessions(const std::map<IpAddress, bgp::PeerStatus>& sessions) {
  bool learned = bmp_connected_;
  for (auto& [address, peer] : peers_) {
    if (peer.moved) continue;
    const auto session = sessions.find(address);
    // Graceful restart is for a peer that goes on forwarding: here nothing passes.
    if (session != sessions.end() && session->second.path_died && !peer.up && rib_.count(peer.source).stale > 0) {
      log::warning("routes", "{}: BFD says that the path to {} is dead: its routes are withdrawn", name_of(peer),
                   far_end(peer));
      withdraw(peer);
      publish();
    }
    judge_unheard(peer, session == sessions.end() ? nullptr : &session->second);
    drop_held_back(peer);
    if (session != sessions.end()) watch_told(peer, session->second);
    const bool told = session != sessions.end() && has_told_all(peer, session->second);
    learned = learned && told;
    if (told && rib_.count(peer.source).stale > 0 && !std::exchange(peer.sweeping, true)) sweep_later(peer, kSettle);
  }
  heard_all_ = heard_all_ || (has_model_ && learned);
  check_complete();
}

void RouteController::check_complete() {
  // Until there is a document, or (of two instances) until it is decided who has what, gw-fastpath keeps what it has
  // from before this gwd. A gateway without BGP peers has nothing else to wait for.
  if (complete_ || !has_model_ || !(heard_all_ || peers_.empty())) return;
  complete_ = true;
  forwarding_.set_complete();
}

}  // namespace gw::gwd
