#include "gwd/api/snapshot.hpp"

#include <sys/timex.h>

#include <algorithm>
#include <utility>

#include "gwd/api/redact.hpp"
#include "gwd/api/replies.hpp"

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

void add_tunnels(const Gateway& gateway, const fp::TunnelList& listed, api::Snapshot& out) {
  const api::TunnelsReply tunnels = make_tunnels_reply(gateway, listed);
  for (const api::Tunnel& shown : tunnels.tunnels()) {
    const config::TunnelModel* model = gateway.model()->find_tunnel(shown.name());
    if (model == nullptr) continue;
    api::SnapshotTunnel& t = *out.add_tunnels();
    *t.mutable_tunnel() = shown;
    t.set_site(model->site);
    t.set_configured_mtu(model->mtu);
    const auto info = std::ranges::find(listed.tunnels(), model->tunnel_id, &fp::TunnelInfo::tunnel_id);
    if (info == listed.tunnels().end()) continue;
    t.set_last_in_unix_ms(info->last_in_unix_ms());
    t.set_last_out_unix_ms(info->last_out_unix_ms());
    for (const auto& drop : info->drops()) fill_drop(drop, *t.add_in_drops());
    for (const auto& drop : info->out_drops()) fill_drop(drop, *t.add_out_drops());
  }
}

void add_differences(const Gateway& gateway, api::SnapshotRoutes& out) {
  const auto& all = gateway.reconcile().differences();
  out.set_differences_count(all.size());
  for (const auto& [prefix, difference] : all) {
    api::RouteDifference& d = *out.add_differences();
    d.set_prefix(prefix.to_string());
    d.set_where("frr");
    d.set_what(bgp::to_string(difference.kind));
    d.set_detail(ReconcileController::describe(difference));
  }
}

void fill_settings(const config::BgpSettings& bgp, api::SnapshotSession& out) {
  out.set_bfd_wanted(bgp.bfd.has_value());
  out.set_keepalive_seconds(static_cast<std::uint32_t>(bgp.keepalive.count()));
  out.set_hold_seconds(static_cast<std::uint32_t>(bgp.hold.count()));
  out.set_max_routes(bgp.max_routes);
}

void fill_status(const bgp::PeerStatus& status, api::SnapshotSession& out) {
  out.set_advertised_v4(status.advertised_v4);
  out.set_advertised_v6(status.advertised_v6);
  out.set_path_died(status.path_died);
  out.set_last_reset(status.last_reset);
}

void add_sessions(const Gateway& gateway, api::Snapshot& out) {
  const api::BgpPeersReply peers = make_bgp_peers_reply(gateway);
  const auto& sessions = gateway.bgp().sessions();
  const routes::Rib& rib = gateway.routes().rib();
  for (const auto& tunnel : gateway.model()->tunnels) {
    if (!tunnel.bgp) continue;
    const auto shown = std::ranges::find(peers.peers(), tunnel.name, &api::BgpPeer::tunnel);
    if (shown == peers.peers().end()) continue;
    api::SnapshotSession& session = *out.add_sessions();
    *session.mutable_peer() = *shown;
    session.set_name(tunnel.name);
    session.set_site(tunnel.site);
    session.set_disabled(tunnel.disabled);
    session.set_drops_at_limit(true);
    fill_settings(*tunnel.bgp, session);
    if (const auto status = sessions.find(tunnel.bgp->peer); status != sessions.end())
      fill_status(status->second, session);
    const auto source = rib.find_source(tunnel.name);
    if (!source) continue;
    session.set_kind(std::string(routes::to_string(rib.source(*source).kind)));
    const routes::SourceCount count = rib.count(*source);
    session.set_routes_v4(count.of_family[0].accepted);
    session.set_routes_v6(count.of_family[1].accepted);
  }
}

}  // namespace

asio::awaitable<api::Snapshot> take_snapshot(SnapshotSources sources) {
  Gateway& gateway = sources.gateway;
  api::Snapshot out;
  out.set_version(1);
  fp::ClientFrame frame;
  frame.mutable_list_tunnels();
  const fp::Response tunnels = co_await ask(gateway, frame);
  frame.mutable_list_sas();
  const fp::Response sas = co_await ask(gateway, frame);
  frame.mutable_get_counters();
  const fp::Response counters = co_await ask(gateway, frame);
  frame.mutable_list_ports();
  const fp::Response ports = co_await ask(gateway, frame);

  out.set_taken_unix_ms(unix_ms(sources.clock.wall()));
  out.set_clock_synchronized(clock_synchronized());
  *out.mutable_status() = sources.status();
  *out.mutable_sas() = make_sas_reply(gateway, sas.sas());
  *out.mutable_counters() = make_counters_reply(gateway, counters.counters());
  *out.mutable_interfaces() = make_interfaces_reply(ports.ports());
  if (!gateway.model()) co_return out;
  if (const auto running = sources.config.running(); running && *running)
    out.set_configuration(without_secrets((*running)->document, *gateway.model()));
  add_tunnels(gateway, tunnels.tunnels(), out);
  add_sessions(gateway, out);
  out.mutable_routes()->set_prefixes(gateway.routes().rib().size());
  out.mutable_routes()->set_forwarded(gateway.forwarding().route_count());
  add_differences(gateway, *out.mutable_routes());
  co_return out;
}

}  // namespace gw::gwd
