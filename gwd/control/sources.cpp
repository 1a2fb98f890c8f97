#include "gwd/control/sources.hpp"

#include <memory>
#include <utility>

namespace gw::gwd {
namespace {

routes::Source session_source(const config::GatewayModel& model, const config::BgpSettings& bgp) {
  return {.type = bgp.peer_asn == model.asn ? routes::PeerType::kIbgp : routes::PeerType::kEbgp,
          .peer_asn = bgp.peer_asn,
          .router_id = {},
          .peer_address = bgp.peer,
          .instance = model.instance};
}

routes::Source local_source(const config::GatewayModel& model, routes::SourceKind kind, std::string name) {
  return {.kind = kind,
          .name = std::move(name),
          .type = routes::PeerType::kLocal,
          .router_id = {},
          .peer_address = {},
          .instance = model.instance};
}

bgp::PeerIntent peer_intent(const SessionSource& session) {
  const config::BgpSettings& bgp = *session.bgp;
  bgp::PeerIntent peer;
  peer.name = session.source.name;
  peer.kind = session.source.kind;
  peer.site = session.source.site;
  if (session.tunnel != nullptr && bgp.multihop == 0) peer.device = session.tunnel->device;
  peer.unnumbered = bgp.unnumbered;
  peer.local = bgp.local;
  peer.peer = bgp.peer;
  peer.multihop = bgp.multihop;
  peer.remote_asn = bgp.peer_asn;
  peer.keepalive = bgp.keepalive;
  peer.hold = bgp.hold;
  peer.md5 = bgp.md5.clone();
  peer.graceful_restart = bgp.graceful_restart;
  if (bgp.bfd) peer.bfd = bgp::BfdIntent{bgp.bfd->interval, bgp.bfd->multiplier};
  peer.disabled = session.disabled;
  return peer;
}

}  // namespace

std::vector<SessionSource> session_sources(const config::GatewayModel& model) {
  std::vector<SessionSource> out;
  for (const config::TunnelModel& tunnel : model.tunnels) {
    if (!tunnel.bgp) continue;
    SessionSource session{session_source(model, *tunnel.bgp), &*tunnel.bgp, &tunnel,
                          tunnel.disabled || tunnel.bgp->md5_unreadable};
    session.source.kind = tunnel.kind;
    session.source.name = tunnel.name;
    session.source.site = tunnel.site;
    session.source.instance = tunnel.home;  // rules are about the tunnel, wherever its endpoint is now
    out.push_back(std::move(session));
  }
  for (const config::SessionModel& model_session : model.sessions) {
    const config::BgpSettings& bgp = model_session.bgp;
    SessionSource session{session_source(model, bgp), &bgp, nullptr, bgp.md5_unreadable};
    session.source.kind = model_session.kind;
    session.source.name = model_session.name;
    out.push_back(std::move(session));
  }
  return out;
}

std::vector<LocalSource> local_sources(const config::GatewayModel& model) {
  std::vector<LocalSource> out;
  out.push_back({local_source(model, routes::SourceKind::kVnet, std::string(kVnetSource)), model.vnet_prefixes});
  for (const config::SpokeModel& spoke : model.spokes)
    out.push_back(
        {local_source(model, routes::SourceKind::kSpoke, std::string(kSpokePrefix) + spoke.name), spoke.prefixes});
  for (const config::TunnelModel& tunnel : model.tunnels) {
    if (tunnel.bgp || tunnel.disabled) continue;
    LocalSource site{local_source(model, routes::SourceKind::kStaticSite, std::string(kStaticPrefix) + tunnel.name),
                     tunnel.static_prefixes, &tunnel};
    site.source.site = tunnel.site;
    site.source.instance = tunnel.home;
    out.push_back(std::move(site));
  }
  return out;
}

bgp::BgpIntent bgp_intent(const config::GatewayModel& model, std::uint16_t bmp_port, const Present& present) {
  bgp::BgpIntent intent;
  intent.instance = model.instance;
  intent.asn = model.asn;
  intent.router_id = model.router_id;
  intent.bmp_port = bmp_port;
  intent.policy = std::make_shared<const routes::Policy>(model.policy);
  for (LocalSource& local : local_sources(model))
    if (local.tunnel == nullptr || !present.without_carrier.contains(local.tunnel->tunnel_id))
      intent.origins.push_back({std::move(local.source), std::move(local.prefixes)});
  intent.origins.insert(intent.origins.end(), present.held.begin(), present.held.end());
  for (const SessionSource& session : session_sources(model)) intent.peers.push_back(peer_intent(session));
  return intent;
}

}  // namespace gw::gwd
