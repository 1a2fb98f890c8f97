#include "gwd/control/gateway.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/port_check.hpp"

namespace gw::gwd {
namespace {

void fill(const config::OuterSettings& outer, fp::OuterHeader& out) {
  out.set_dscp_policy(outer.dscp ? fp::DSCP_FIXED : fp::DSCP_COPY);
  out.set_dscp(outer.dscp.value_or(0));
  out.set_ecn(outer.ecn_compatibility ? fp::ECN_COMPATIBILITY : fp::ECN_NORMAL);
  switch (outer.dont_fragment) {
    case config::v1::DONT_FRAGMENT_COPY: out.set_df(fp::DF_COPY); break;
    case config::v1::DONT_FRAGMENT_CLEAR: out.set_df(fp::DF_CLEAR); break;
    default: out.set_df(fp::DF_SET); break;
  }
}

fp::PutTunnel to_put_tunnel(const config::TunnelModel& tunnel) {
  fp::PutTunnel put;
  put.set_tunnel_id(tunnel.tunnel_id);
  put.set_name(tunnel.name);
  put.set_device(tunnel.device);
  put.set_mtu(tunnel.mtu);
  put.set_mss_clamp(tunnel.mss);
  put.set_fragment(tunnel.fragment);
  put.set_carrier(fp::CARRIER_FOLLOWS_SA);
  fill(tunnel.outer, *put.mutable_outer());
  return put;
}

BgpIntentPtr to_bgp_intent(const config::GatewayModel& model, std::uint16_t bmp_port) {
  auto intent = std::make_shared<bgp::BgpIntent>();
  intent->instance = model.instance;
  intent->asn = model.asn;
  intent->router_id = model.router_id;
  intent->bmp_port = bmp_port;
  auto policy = std::make_shared<routes::Policy>();
  policy->safe = {.gateway_asn = model.asn, .vnet_prefixes = model.vnet_prefixes};
  intent->origins.push_back(
      {{.kind = routes::SourceKind::kVnet, .name = "vnet", .type = routes::PeerType::kLocal}, model.vnet_prefixes});
  for (const auto& tunnel : model.tunnels) {
    if (!tunnel.bgp) {
      intent->origins.push_back({{.kind = routes::SourceKind::kStaticSite,
                                  .name = "static:" + tunnel.name,
                                  .type = routes::PeerType::kLocal,
                                  .site = tunnel.site},
                                 tunnel.static_prefixes});
      continue;
    }
    policy->peers[tunnel.name].max_routes = tunnel.bgp->max_routes;
    bgp::PeerIntent peer;
    peer.name = tunnel.name;
    peer.site = tunnel.site;
    peer.device = tunnel.device;
    peer.local = tunnel.bgp->local;
    peer.peer = tunnel.bgp->peer;
    peer.remote_asn = tunnel.bgp->peer_asn;
    peer.keepalive = tunnel.bgp->keepalive;
    peer.hold = tunnel.bgp->hold;
    peer.md5 = tunnel.bgp->md5.clone();
    peer.graceful_restart = tunnel.bgp->graceful_restart;
    if (const auto& bfd = tunnel.bgp->bfd) peer.bfd = bgp::BfdIntent{bfd->interval, bfd->multiplier};
    peer.disabled = tunnel.disabled || tunnel.bgp->md5_unreadable;
    intent->peers.push_back(std::move(peer));
  }
  intent->policy = std::move(policy);
  return intent;
}

}  // namespace

Gateway::Gateway(boost::asio::io_context& io, const Clock& clock, GatewayPaths paths, KernelNet kernel)
    : io_(io),
      clock_(clock),
      paths_(std::move(paths)),
      kernel_(std::move(kernel)),
      fastpath_(io, paths_.fastpath, *this),
      forwarding_(io, fastpath_),
      ike_(io, clock, paths_.vici),
      bfd_(io, clock, paths_.bgp.vty_dir),
      bgp_(io, clock, paths_.bgp, bfd_),
      routes_(io, clock, forwarding_) {
  forwarding_.on_tunnel_ready([this](std::uint32_t id) { configure_device(id); });
  bfd_.on_change([this] { bgp_.refresh(); });
  routes_.on_session_change([this] { bgp_.refresh(); });
  bgp_.on_sessions([this] { routes_.set_sessions(bgp_.sessions()); });
}

Status Gateway::start() {
  if (auto ok = routes_.listen(paths_.bmp_port); !ok)
    return std::unexpected(std::move(ok).error().with_context("BMP listener"));
  fastpath_.start();
  forwarding_.start();
  ike_.start();
  bfd_.start();
  bgp_.start();
  return {};
}

void Gateway::stop() {
  routes_.stop();
  bgp_.stop();
  bfd_.stop();
  ike_.stop();
  forwarding_.stop();
  fastpath_.stop();
}

Gateway::KernelState Gateway::kernel_state(const config::TunnelModel& tunnel) {
  KernelState state;
  if (tunnel.bgp)
    state.address = TunnelAddress{tunnel.device, tunnel.bgp->local, tunnel.bgp->peer};
  else
    for (const Prefix& prefix : tunnel.static_prefixes) state.routes.insert({prefix, tunnel.device});
  return state;
}

void Gateway::apply(ModelPtr next) {
  const config::GatewayModel& model = *next;
  // Before anything can attract traffic.
  if (const GuardPorts ports{model.wan_interface, model.vnet_interface}; guarded_ != ports) {
    if (const auto done = install_forward_guard(ports); done)
      guarded_ = ports;
    else
      log::error("kernel", "{}", done.error().describe());
  }
  std::map<std::uint32_t, KernelState> kernel_states;
  for (const auto& tunnel : model.tunnels) {
    const auto* before = model_ ? model_->find_tunnel(tunnel.name) : nullptr;
    if (before != nullptr && before->tunnel_id != tunnel.tunnel_id) forwarding_.remove_tunnel(before->tunnel_id);
    kernel_states[tunnel.tunnel_id] = kernel_state(tunnel);
    if (const auto old = kernel_states_.find(tunnel.tunnel_id); old != kernel_states_.end())
      remove_stale_kernel_state(old->second, kernel_states[tunnel.tunnel_id]);
  }
  kernel_states_ = std::move(kernel_states);
  if (model_)
    for (const auto& tunnel : model_->tunnels)
      if (!kernel_states_.contains(tunnel.tunnel_id)) forwarding_.remove_tunnel(tunnel.tunnel_id);
  for (const auto& tunnel : model.tunnels) forwarding_.set_tunnel(to_put_tunnel(tunnel));
  routes_.set_model(model);
  ike_.set_model(next);
  const BgpIntentPtr intent = to_bgp_intent(model, routes_.bmp_port());
  bfd_.set_intent(bgp::bfd_sessions(*intent));
  bgp_.set_intent(intent);
  model_ = std::move(next);
  compare_ports();
}

void Gateway::remove_stale_kernel_state(const KernelState& before, const KernelState& after) {
  const auto report = [](const Status& done) {
    if (!done) log::warning("kernel", "{}", done.error().describe());
  };
  if (before.address && before.address != after.address) report(kernel_.remove_address(*before.address));
  for (const auto& route : before.routes)
    if (!after.routes.contains(route)) report(kernel_.remove_route(route));
}

// gw-fastpath has the tunnel, so its device exists: addresses and static routes can be set.
void Gateway::configure_device(std::uint32_t tunnel_id) {
  const auto it = kernel_states_.find(tunnel_id);
  if (it == kernel_states_.end()) return;
  if (it->second.address)
    if (const auto done = kernel_.add_address(*it->second.address); !done)
      log::error("kernel", "{}", done.error().describe());
  for (const auto& route : it->second.routes)
    if (const auto done = kernel_.add_route(route); !done) log::error("kernel", "{}", done.error().describe());
}

void Gateway::on_fastpath_up(const fp::HelloReply& hello) {
  crypto_backend_ = hello.crypto_backend();
  fastpath_since_ = clock_.wall();
  forwarding_.resync();
  boost::asio::co_spawn(io_, learn_ports(), boost::asio::detached);
}

boost::asio::awaitable<void> Gateway::learn_ports() {
  fp::ClientFrame frame;
  frame.mutable_list_ports();
  const auto reply = co_await fastpath_.request(std::move(frame));
  if (!reply) co_return;  // the session is gone; the next one asks again
  served_ports_ = reply->ports();
  // ESP in UDP is what a gso port receives and sends in trains (UDP_GRO, UDP_SEGMENT).
  const bool gso = std::ranges::any_of(
      served_ports_.ports(), [](const fp::PortInfo& port) { return port.side() == "wan" && port.kind() == "gso"; });
  ike_.set_default_encapsulation(gso ? ike::Encapsulation::kForceUdp : ike::Encapsulation::kAuto);
  compare_ports();
}

void Gateway::compare_ports() {
  const std::string before = std::move(port_problem_);
  port_problem_ = model_ ? port_mismatch(served_ports_, {model_->wan_interface, model_->vnet_interface}) : "";
  if (!port_problem_.empty() && port_problem_ != before) log::error("fastpath", "gw-fastpath: {}", port_problem_);
}

void Gateway::on_fastpath_down(const Error&) { fastpath_since_ = clock_.wall(); }

void Gateway::on_fastpath_event(const fp::Event& event) {
  if (event.has_tunnel_state()) routes_.set_carrier(event.tunnel_state().tunnel_id(), event.tunnel_state());
}

std::vector<ComponentStatus> Gateway::components() const {
  std::vector<ComponentStatus> all{
      {"gw-fastpath", fastpath_.connected(),
       fastpath_.connected() ? "crypto " + crypto_backend_ : std::string(kFastpathAway),
       fastpath_.connected() ? port_problem_ : "", fastpath_since_},
      {"charon", ike_.connected(), ike_.connected() ? ike_.version() : std::string(kCharonAway), "", ike_.since()},
      {"bgpd", bgp_.connected(), bgp_.connected() ? bgp_.version() : std::string(kBgpdAway), "", bgp_.since()}};
  if (bfd_.needed())
    all.push_back({"bfdd", bfd_.connected(), bfd_.connected() ? "" : std::string(kBfddAway), "", bfd_.since()});
  return all;
}

}  // namespace gw::gwd
