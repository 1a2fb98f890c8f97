#include "gwd/config/sessions.hpp"

#include <algorithm>
#include <format>

#include "base/duration.hpp"
#include "gwd/config/secret_file.hpp"

namespace gw::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Timers {
  seconds keepalive;
  seconds hold;
  BfdSettings bfd;
};
constexpr seconds kCloudKeepalive{60};
constexpr seconds kCloudHold{180};
constexpr BfdSettings kTunnelBfd{milliseconds(100), 3};
constexpr BfdSettings kCircuitBfd{milliseconds(300), 3};
// Both ends are ours.
constexpr Timers kOwnTimers{seconds(3), seconds(9), {milliseconds(100), 3}};

Result<BfdSettings> resolve_bfd(const v1::Bfd& bfd, BfdSettings out) {
  if (!bfd.interval().empty()) {
    GW_TRY_ASSIGN(out.interval, parse_duration(bfd.interval()));
  }
  if (bfd.multiplier() != 0) out.multiplier = static_cast<std::uint8_t>(bfd.multiplier());
  return out;
}

Result<seconds> whole_seconds(const std::string& text) {
  GW_TRY_ASSIGN(const auto value, parse_duration(text));
  return std::chrono::duration_cast<seconds>(value);
}

Result<BgpSettings> resolve_bgp(const v1::BgpSession& bgp, const InnerPair& ends, const BfdSettings& bfd,
                                SecretReader secrets) {
  BgpSettings out;
  out.local = ends.local;
  out.peer = ends.peer;
  out.hold = kCloudHold;
  if (!bgp.hold().empty()) {
    GW_TRY_ASSIGN(out.hold, whole_seconds(bgp.hold()));
  }
  out.keepalive = std::min(kCloudKeepalive, std::max(seconds(1), out.hold / 3));
  if (!bgp.keepalive().empty()) {
    GW_TRY_ASSIGN(out.keepalive, whole_seconds(bgp.keepalive()));
  }
  if (!bgp.md5_file().empty()) {
    GW_TRY_ASSIGN(out.md5, secrets.read(bgp.md5_file()));
    out.md5_unreadable = out.md5.empty();
  }
  out.graceful_restart = !bgp.no_graceful_restart();
  out.max_routes = bgp.max_routes() == 0 ? routes::kDefaultMaxRoutes : bgp.max_routes();
  if (!bgp.no_bfd()) {
    GW_TRY_ASSIGN(out.bfd, resolve_bfd(bgp.bfd(), bfd));
  }
  return out;
}

Status resolve_circuit(const v1::Circuit& circuit, const ResolveOptions& options, GatewayModel& model) {
  for (const v1::CircuitPeer& peer : circuit.peers()) {
    const auto local = peer.local().find(model.instance);
    if (local == peer.local().end()) continue;
    SessionModel session;
    session.name = circuit_session_name(circuit, peer, model.instance);
    session.kind = routes::SourceKind::kCircuit;
    session.circuit = circuit.name();
    session.interface = model.circuit_interface;
    GW_TRY_ASSIGN(const InterfaceAddress own, InterfaceAddress::parse(local->second.address()));
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(peer.address()));
    GW_TRY_ASSIGN(session.bgp, resolve_bgp(circuit.bgp(), {own.address, address}, kCircuitBfd,
                                           SecretReader(options, session.fault)));
    session.bgp.peer_asn = circuit.asn() == 0 ? kCircuitAsn : circuit.asn();
    model.sessions.push_back(std::move(session));
    if (!std::ranges::contains(model.circuit_addresses, own)) model.circuit_addresses.push_back(own);
  }
  return {};
}

Status resolve_router(const v1::VnetRouter& router, const ResolveOptions& options, GatewayModel& model) {
  SessionModel session;
  session.name = std::format("vnet:{}/{}", router.name(), model.instance);
  session.kind = routes::SourceKind::kVnet;
  session.interface = model.vnet_interface;
  GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(router.address()));
  GW_TRY_ASSIGN(session.bgp, resolve_bgp(router.bgp(), {*model.vnet_address, address}, kTunnelBfd,
                                         SecretReader(options, session.fault)));
  session.bgp.peer_asn = router.asn();
  // Whoever keeps the routes of an instance that broke off without a word, because it promised to go on forwarding,
  // sends them into nothing when all of it died (FRR forgets BFD with the session). The router has the other
  // instance's.
  if (model.ha) session.bgp.graceful_restart = false;
  model.sessions.push_back(std::move(session));
  return {};
}

Status resolve_wan_router(const v1::WanRouter& router, const ResolveOptions& options, GatewayModel& model) {
  SessionModel session;
  session.name = std::format("wan:{}/{}", router.name(), model.instance);
  session.kind = routes::SourceKind::kWan;
  session.interface = model.wan_interface;
  GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(router.address()));
  GW_TRY_ASSIGN(const IpAddress local, IpAddress::parse(router.local()));
  GW_TRY_ASSIGN(session.bgp,
                resolve_bgp(router.bgp(), {local, address}, kCircuitBfd, SecretReader(options, session.fault)));
  session.bgp.peer_asn = router.asn();
  session.bgp.max_routes = 0;  // nothing is learned
  model.sessions.push_back(std::move(session));
  return {};
}

Status resolve_wan(const v1::Config& config, const ResolveOptions& options, GatewayModel& model) {
  for (const v1::Instance& instance : config.gateway().instances()) {
    if (instance.name() != model.instance) continue;
    for (const v1::WanRouter& router : instance.wan().routers()) {
      if (auto done = resolve_wan_router(router, options, model); !done)
        return std::unexpected(std::move(done).error().with_context("wan router " + router.name()));
    }
  }
  return {};
}

SessionModel own_session(const GatewayModel& model, std::string name, const IpAddress& peer) {
  SessionModel session;
  session.name = std::move(name);
  session.kind = routes::SourceKind::kPartner;
  session.interface = model.vnet_interface;
  session.bgp.local = *model.vnet_address;
  session.bgp.peer = peer;
  session.bgp.peer_asn = model.asn;
  session.bgp.keepalive = kOwnTimers.keepalive;
  session.bgp.hold = kOwnTimers.hold;
  session.bgp.max_routes = 0;
  session.bgp.bfd = kOwnTimers.bfd;
  return session;
}

}  // namespace

Result<Secret> SecretReader::read(const std::string& file) {
  auto secret = read_secret_file(resolve_path(file, options_.base_dir));
  if (secret || options_.secrets == UnreadableSecrets::kRefuse) return secret;
  fault_ = secret.error().message;
  return Secret();
}

std::string circuit_session_name(const v1::Circuit& circuit, const v1::CircuitPeer& peer, std::string_view instance) {
  return std::format("{}-{}/{}", circuit.name(), peer.name(), instance);
}

std::optional<BfdSettings> tunnel_bfd(const v1::BgpSession& bgp) {
  if (bgp.no_bfd()) return std::nullopt;
  const auto bfd = resolve_bfd(bgp.bfd(), kTunnelBfd);
  return bfd ? std::optional(*bfd) : std::nullopt;
}

Result<BgpSettings> resolve_tunnel_bgp(const v1::BgpSession& bgp, const InnerPair& ends, std::uint32_t peer_asn,
                                       SecretReader secrets) {
  GW_TRY_ASSIGN(BgpSettings out, resolve_bgp(bgp, ends, kTunnelBfd, secrets));
  out.peer_asn = peer_asn;
  out.unnumbered = bgp.unnumbered();
  return out;
}

Status resolve_sessions(const v1::Config& config, const ResolveOptions& options, GatewayModel& model) {
  for (const v1::Circuit& circuit : config.circuits()) {
    if (auto done = resolve_circuit(circuit, options, model); !done)
      return std::unexpected(std::move(done).error().with_context("circuit " + circuit.name()));
  }
  GW_TRY(resolve_wan(config, options, model));
  if (!model.vnet_address) return {};
  for (const v1::VnetRouter& router : config.vnet().routers()) {
    if (auto done = resolve_router(router, options, model); !done)
      return std::unexpected(std::move(done).error().with_context("vnet router " + router.name()));
  }
  for (const v1::Instance& instance : config.gateway().instances()) {
    if (instance.name() == model.instance || instance.vnet().address().empty()) continue;
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(instance.vnet().address()));
    model.sessions.push_back(own_session(model, "instance:" + instance.name(), address));
    if (model.ha)
      model.sessions.back().bgp.bfd = BfdSettings{model.ha->heartbeat, static_cast<std::uint8_t>(model.ha->multiplier)};
  }
  for (const std::string& text : config.coexistence().partner()) {
    GW_TRY_ASSIGN(const IpAddress address, IpAddress::parse(text));
    model.sessions.push_back(own_session(model, std::format("partner:{}", address), address));
  }
  return {};
}

}  // namespace gw::config
