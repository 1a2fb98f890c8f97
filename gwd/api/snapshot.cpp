#include "gwd/api/snapshot.hpp"

#include <sys/timex.h>

#include <algorithm>
#include <format>
#include <ranges>
#include <utility>

#include "gwd/api/ha.hpp"
#include "gwd/api/redact.hpp"
#include "gwd/api/replies.hpp"
#include "gwd/api/slices.hpp"
#include "gwd/control/forwarding_check.hpp"
#include "gwd/control/sources.hpp"
#include "routes/survey.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

bool clock_synchronized() {
  timex state{};
  return ::adjtimex(&state) != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

asio::awaitable<fp::Response> ask(Gateway& gateway, fp::ClientFrame frame) {
  auto reply = co_await gateway.fastpath().request(std::move(frame));
  co_return reply ? std::move(*reply) : fp::Response{};
}

void fill_window(const TrafficWindow& window, api::TrafficWindow& out) {
  out.set_seconds(static_cast<std::uint32_t>(window.length.count()));
  out.set_in_packets(window.in_packets);
  out.set_out_packets(window.out_packets);
  out.set_slow_path_packets(window.slow_path_packets);
  out.set_too_big(window.too_big);
  out.set_over_rate_in(window.over_rate.in);
  out.set_over_rate_out(window.over_rate.out);
  out.set_over_gateway_rate_in(window.over_gateway_rate.in);
  out.set_over_gateway_rate_out(window.over_gateway_rate.out);
  out.set_out_since_in(window.out_since_in);
  out.set_silent_seconds(static_cast<std::uint32_t>(window.silent.count()));
}

void add_tunnels(const Gateway& gateway, const fp::TunnelList& listed, api::Snapshot& out) {
  const api::TunnelsReply tunnels = make_tunnels_reply(gateway, listed);
  for (const api::Tunnel& shown : tunnels.tunnels()) {
    const config::TunnelModel* model = gateway.model()->find_tunnel(shown.name());
    if (model == nullptr) continue;
    api::SnapshotTunnel& t = *out.add_tunnels();
    *t.mutable_tunnel() = shown;
    t.set_site(model->site);
    t.set_configured_mtu(model->mtu);
    fill_window(gateway.paths().traffic(model->tunnel_id), *t.mutable_window());
    if (const PathProof* proof = gateway.paths().proof(model->tunnel_id)) fill_proof(*proof, *t.mutable_proof());
    const auto info = std::ranges::find(listed.tunnels(), model->tunnel_id, &fp::TunnelInfo::tunnel_id);
    if (info == listed.tunnels().end()) continue;
    t.set_last_in_unix_ms(info->last_in_unix_ms());
    t.set_last_out_unix_ms(info->last_out_unix_ms());
    for (const auto& drop : info->drops()) fill_drop(drop, *t.add_in_drops());
    for (const auto& drop : info->out_drops()) fill_drop(drop, *t.add_out_drops());
  }
}

// What the other instance says of tunnels that are here in this document is of before they moved.
void add_peer_tunnels(const Gateway& gateway, api::Snapshot& out) {
  const auto& traffic = gateway.routes().traffic_elsewhere();
  for (const config::TunnelModel& tunnel : gateway.model()->elsewhere) {
    const auto found = traffic.find(tunnel.name);
    if (found == traffic.end()) continue;
    api::PeerTunnel& t = *out.add_peer_tunnels();
    t.set_name(tunnel.name);
    t.set_site(tunnel.site);
    t.set_instance(tunnel.carrier);
    t.set_seconds(found->second.seconds);
    t.set_in_packets(found->second.in_packets);
    t.set_out_packets(found->second.out_packets);
  }
}

/// Whether the site of this tunnel has no open session in a tunnel that ends at the other instance while all is well.
bool is_only_way(const Gateway& gateway, const config::TunnelModel& tunnel) {
  const config::GatewayModel& model = *gateway.model();
  if (!model.ha) return false;
  if (model.ha->mode == config::HaMode::kActiveStandby) return true;
  const auto is_another = [&](const config::TunnelModel& t) {
    return t.site == tunnel.site && t.home != tunnel.home && gateway.routes().is_open(t.name);
  };
  return std::ranges::none_of(model.tunnels, is_another) && std::ranges::none_of(model.elsewhere, is_another);
}

void fill_settings(const config::BgpSettings& bgp, api::SnapshotSession& out) {
  out.set_bfd_wanted(bgp.bfd.has_value());
  if (bgp.bfd) out.set_bfd_detection_ms(static_cast<std::uint32_t>((bgp.bfd->interval * bgp.bfd->multiplier).count()));
  out.set_keepalive_seconds(static_cast<std::uint32_t>(bgp.keepalive.count()));
  out.set_hold_seconds(static_cast<std::uint32_t>(bgp.hold.count()));
}

void fill_status(const bgp::PeerStatus& status, api::SnapshotSession& out) {
  out.set_advertised_v4(status.advertised_v4);
  out.set_advertised_v6(status.advertised_v6);
  out.set_path_died(status.path_died);
  out.set_last_reset(status.last_reset);
  out.set_silent_seconds(static_cast<std::uint32_t>(status.silent.count()));
  out.set_agreed_hold_seconds(static_cast<std::uint32_t>(status.hold.count()));
  out.set_unsent_messages(status.unsent);
}

void fill_routes(const Gateway& gateway, const std::string& name, const routes::Survey& survey,
                 api::SnapshotSession& out) {
  const routes::Rib& rib = gateway.routes().rib();
  const routes::PeerPolicy& policy = rib.importer().policy().peer(name);
  out.set_max_routes(policy.max_routes);
  out.set_drops_at_limit(policy.at_limit == routes::LimitAction::kDropSession);
  if (const auto source = rib.find_source(name)) {
    const routes::SourceCount count = rib.count(*source);
    out.set_routes_v4(count.of_family[0].accepted);
    out.set_routes_v6(count.of_family[1].accepted);
  }
  if (const auto found = survey.sources.find(name); found != survey.sources.end()) {
    out.set_routes_best(found->second.best);
    out.set_routes_behind_circuit(found->second.behind_circuit);
    out.set_routes_over_circuit(found->second.over_circuit);
  }
}

void add_sessions(const Gateway& gateway, const routes::Survey& survey, api::Snapshot& out) {
  const api::BgpPeersReply peers = make_bgp_peers_reply(gateway);
  const auto& statuses = gateway.bgp().sessions();
  for (const SessionSource& source : session_sources(*gateway.model())) {
    const std::string& name = source.source.name;
    const auto shown = std::ranges::find(peers.peers(), name, &api::BgpPeer::source);
    if (shown == peers.peers().end()) continue;
    api::SnapshotSession& session = *out.add_sessions();
    *session.mutable_peer() = *shown;
    session.set_name(name);
    session.set_kind(std::string(routes::to_string(source.source.kind)));
    session.set_site(source.source.site);
    session.set_disabled(source.disabled);
    if (source.source.kind == routes::SourceKind::kCircuit) session.set_advertised_limit(routes::kToldToCircuit);
    fill_settings(*source.bgp, session);
    if (source.tunnel != nullptr) session.set_only_way(is_only_way(gateway, *source.tunnel));
    if (const auto status = statuses.find(source.bgp->peer); status != statuses.end())
      fill_status(status->second, session);
    fill_routes(gateway, name, survey, session);
  }
}

void add_routes(const SnapshotSources& sources, const routes::Survey& survey, api::SnapshotRoutes& out) {
  const Gateway& gateway = sources.gateway;
  out.set_prefixes(survey.prefixes);
  out.set_forwarded(gateway.forwarding().route_count());
  for (const Prefix& prefix : survey.sample) add_effective_route(gateway, sources.clock, prefix, *out.mutable_sample());
  out.set_more_specific_count(survey.more_specific_count);
  for (const routes::MoreSpecific& more : survey.more_specific) {
    api::MoreSpecificRoute& m = *out.add_more_specific();
    m.set_prefix(more.prefix.to_string());
    m.set_source(more.source);
    m.set_covering_prefix(more.covering.to_string());
    m.set_covering_source(more.covering_source);
  }
  for (const routes::RefusedGroup& group : survey.refused) {
    api::RefusedRoute& r = *out.add_refused();
    r.set_source(group.source);
    r.set_reason(group.reason == routes::RefusedFor::kOwnAsn ? "own-asn" : "vnet-prefix");
    r.set_count(group.count);
    r.set_example(group.routes.front().prefix.to_string());
    r.set_as_path(group.routes.front().as_path);
  }
}

constexpr int kDifferences = 100;

std::string way_text(const config::GatewayModel& model, const ForwardingEntry& entry) {
  std::string ways;
  for (const std::uint32_t id : entry.tunnel_ids) {
    const auto tunnel = std::ranges::find(model.tunnels, id, &config::TunnelModel::tunnel_id);
    ways += std::format("{}{}", ways.empty() ? "" : ", ",
                        tunnel == model.tunnels.end() ? std::format("tunnel {}", id) : tunnel->name);
  }
  for (const IpAddress& gateway : entry.gateways) ways += std::format("{}{}", ways.empty() ? "" : ", ", gateway);
  switch (entry.kind) {
    case fp::NEXT_HOP_TUNNELS: return ways;
    case fp::NEXT_HOP_VNET: return ways.empty() ? "the VNet" : std::format("the VNet by {}", ways);
    case fp::NEXT_HOP_CIRCUIT: return std::format("the circuit by {}", ways);
    case fp::NEXT_HOP_KERNEL: return "the kernel";
    case fp::NEXT_HOP_LOCAL: return "this machine";
    default: return "no route";
  }
}

ForwardingEntry entry_of(const fp::Route& route) {
  ForwardingEntry entry{.kind = route.kind(),
                        .tunnel_ids = {route.tunnel_ids().begin(), route.tunnel_ids().end()},
                        .gateways = {},
                        .behind = route.behind()};
  for (const std::string& gateway : route.gateways())
    if (const auto address = IpAddress::from_bytes(gateway)) entry.gateways.push_back(*address);
  return entry;
}

void add_differences(const Gateway& gateway, const ForwardingCheck& check, api::SnapshotRoutes& out) {
  const auto& refused = gateway.forwarding().refused_routes();
  const auto& of_frr = gateway.reconcile().differences();
  out.set_fastpath_checked(check.asked);
  out.set_differences_count(refused.size() + check.differences.size() + of_frr.size());
  for (const ForwardingDifference& difference : check.differences | std::views::take(kDifferences)) {
    api::RouteDifference& d = *out.add_differences();
    d.set_prefix(difference.prefix.to_string());
    d.set_where("fast path");
    d.set_what(difference.found.kind() == fp::NEXT_HOP_UNSPECIFIED ? "missing" : "different");
    d.set_detail(std::format("gwd: {}; packets meet: {}", way_text(*gateway.model(), difference.decided),
                             way_text(*gateway.model(), entry_of(difference.found))));
  }
  for (const Prefix& prefix : refused | std::views::take(kDifferences)) {
    api::RouteDifference& d = *out.add_differences();
    d.set_prefix(prefix.to_string());
    d.set_where("fast path");
    d.set_what("missing");
    d.set_detail("gw-fastpath did not take it");
  }
  for (const auto& [prefix, difference] : of_frr | std::views::take(kDifferences)) {
    api::RouteDifference& d = *out.add_differences();
    d.set_prefix(prefix.to_string());
    d.set_where("frr");
    d.set_what(bgp::to_string(difference.kind));
    d.set_detail(ReconcileController::describe(difference));
  }
}

// What bgpd refused the Rib may have although it is withdrawn (routes::Withdrawals). bgpd's Adj-RIB-In knows.
asio::awaitable<void> leave_out_ghosts(Gateway& gateway, std::vector<routes::RefusedGroup>& groups) {
  const routes::Rib& rib = gateway.routes().rib();
  for (routes::RefusedGroup& group : groups) {
    const auto source = rib.find_source(group.source);
    if (!source) continue;
    const IpAddress peer = rib.source(*source).peer_address;
    for (const routes::RefusedRoute& route : std::vector(group.routes)) {
      const auto received = co_await gateway.bgp().has_received(peer, route.prefix);
      if (!received || *received) continue;
      std::erase_if(group.routes, [&](const routes::RefusedRoute& other) { return other.prefix == route.prefix; });
      --group.count;
    }
  }
  std::erase_if(groups, [](const routes::RefusedGroup& group) { return group.routes.empty(); });
}

std::string_view preferred(const routes::Policy& policy) {
  const auto weight = [&](routes::SourceKind kind) { return policy.weights[std::to_underlying(kind)]; };
  return weight(routes::SourceKind::kVpnTunnel) > weight(routes::SourceKind::kCircuit) ? "vpn" : "circuit";
}

}  // namespace

asio::awaitable<api::Snapshot> take_snapshot(SnapshotSources sources) {
  Gateway& gateway = sources.gateway;
  api::Snapshot out;
  out.set_version(1);
  fp::ClientFrame frame;
  routes::SurveyWalk walk(gateway.routes().rib());
  co_await in_slices(walk);
  routes::Survey routes = walk.finish();
  co_await leave_out_ghosts(gateway, routes.refused);
  frame.mutable_list_tunnels();
  const fp::Response tunnels = co_await ask(gateway, frame);
  frame.mutable_list_sas();
  const fp::Response sas = co_await ask(gateway, frame);
  frame.mutable_get_counters();
  const fp::Response counters = co_await ask(gateway, frame);
  frame.mutable_list_ports();
  const fp::Response ports = co_await ask(gateway, frame);

  const ForwardingCheck check = co_await check_forwarding(gateway.forwarding(), gateway.fastpath());

  out.set_taken_unix_ms(unix_ms(sources.clock.wall()));
  out.set_clock_synchronized(clock_synchronized());
  *out.mutable_status() = sources.status();
  *out.mutable_sas() = make_sas_reply(gateway, sas.sas());
  *out.mutable_counters() = make_counters_reply(gateway, counters.counters());
  *out.mutable_interfaces() = make_interfaces_reply(ports.ports());
  if (auto ha = make_ha_reply(gateway, sources.config, sources.clock)) *out.mutable_ha() = std::move(*ha);
  if (!gateway.model()) co_return out;
  if (const auto running = sources.config.running(); running && *running)
    out.set_configuration(without_secrets((*running)->document, *gateway.model()));
  add_tunnels(gateway, tunnels.tunnels(), out);
  add_peer_tunnels(gateway, out);
  if (const auto& ha = gateway.model()->ha; ha && ha->lease == config::LeaseKind::kEmbedded)
    out.set_takeover_ms(static_cast<std::uint32_t>(config::takeover_time(ha->heartbeat, ha->multiplier).count()));
  out.set_prefers(std::string(preferred(gateway.routes().rib().importer().policy())));
  add_sessions(gateway, routes, out);
  add_routes(sources, routes, *out.mutable_routes());
  add_differences(gateway, check, *out.mutable_routes());
  co_return out;
}

}  // namespace gw::gwd
