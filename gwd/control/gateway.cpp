#include "gwd/control/gateway.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/control/port_check.hpp"
#include "gwd/control/sources.hpp"

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
  put.set_rate_in_bps(tunnel.rates.in_bps);
  put.set_rate_out_bps(tunnel.rates.out_bps);
  fill(tunnel.outer, *put.mutable_outer());
  put.set_peer(tunnel.remote.bytes_string());
  return put;
}

// Whom to ask in each tunnel: the BGP peer. A static site has no address of its own there.
std::vector<ProbeTarget> probe_targets(const config::GatewayModel& model) {
  std::vector<ProbeTarget> targets;
  for (const auto& tunnel : model.tunnels) {
    if (tunnel.disabled) continue;
    ProbeTarget& target = targets.emplace_back(tunnel.tunnel_id, tunnel.name, tunnel.device);
    if (!tunnel.bgp || tunnel.bgp->unnumbered) continue;
    target.local = tunnel.bgp->local;
    target.peer = tunnel.bgp->peer;
  }
  return targets;
}

constexpr std::chrono::seconds kLetGo{2};  // bgpd of a device: milliseconds, after a large policy a second
bool is_fe80(const IpAddress& a) { return a.is_v6() && a.is_link_local(); }

constexpr std::uint8_t kLinkLocalLength = 64;  // RFC 4291 2.5.6

GuardPorts guard_ports(const config::GatewayModel& model) {
  const bool open = model.policy.transit == routes::Transit::kOpen;
  return {model.wan_interface, model.vnet_interface, model.circuit_interface,
          open ? CircuitTransit::kOpen : CircuitTransit::kClosed, config::wan_routers(model)};
}

}  // namespace

Gateway::Gateway(boost::asio::io_context& io, const Clock& clock, GatewayPaths paths, KernelNet kernel)
    : io_(io),
      clock_(clock),
      paths_(std::move(paths)),
      kernel_(std::move(kernel)),
      guard_(io),
      fastpath_(io, paths_.fastpath, *this),
      forwarding_(io, fastpath_),
      ike_(io, clock, paths_.vici),
      bfd_(io, clock, paths_.bgp.vty_dir),
      bgp_(io, clock, paths_.bgp, bfd_),
      wan_(io, clock, paths_.bgp.vty_dir),
      routes_(io, clock, forwarding_),
      reconcile_(io, clock, paths_.bgp.vty_dir, bgp_, routes_),
      prober_(io, clock, fastpath_, [this](const std::string& tunnel) {
        const IkeStatus* status = ike_.status(tunnel);
        return status != nullptr && status->state == TunnelState::kUp;
      }) {
  forwarding_.on_tunnel_ready([this](std::uint32_t id) {
    reconcile_.forget_device(id);
    configure_device(id);
  });
  routes_.on_route([this](const Prefix& prefix, const ForwardingEntry* entry) { reconcile_.set_route(prefix, entry); });
  bfd_.on_change([this] { bgp_.refresh(); });
  prober_.on_look([this] { say_traffic(); });
  routes_.on_session_change([this] { bgp_.refresh(); });
  routes_.on_held_change([this] { apply_bgp(); });
  ike_.on_connections_loaded([this] {
    if (ha_) ha_->on_connections_loaded();
  });
  reconcile_.on_other_count([this](const IpAddress& peer) {
    routes_.relearn(peer);
    bgp_.tell_again({peer});
  });
  bgp_.on_applied([this] { bgp_.tell_again(routes_.policy_in_force()); });
  bgp_.on_sessions([this] {
    routes_.set_sessions(bgp_.sessions());
    for (const auto& [address, status] : bfd_.states())
      if (status.path_died()) routes_.held_path_died(address);
    reconcile_.compare_counts();
    if (bgp_intent_) bfd_.set_intent(bgp::bfd_sessions(*bgp_intent_, bgp_.sessions()));
    note_bfd();
    if (model_) wan_.set_sessions(*model_, bgp_.sessions());
  });
}

Status Gateway::start() {
  if (auto ok = routes_.listen(paths_.bmp_port); !ok)
    return std::unexpected(std::move(ok).error().with_context("BMP listener"));
  if (auto ok = reconcile_.listen(); !ok) return std::unexpected(std::move(ok).error().with_context("FPM listener"));
  fastpath_.start();
  forwarding_.start();
  ike_.start();
  bfd_.start();
  bgp_.start();
  wan_.start();
  reconcile_.start();
  prober_.start();
  return {};
}

void Gateway::stop() {
  if (ha_) ha_->stop();
  reconcile_.stop();
  prober_.stop();
  guard_.stop();
  routes_.stop();
  wan_.stop();
  bgp_.stop();
  bfd_.stop();
  ike_.stop();
  forwarding_.stop();
  fastpath_.stop();
}

Gateway::KernelState Gateway::kernel_state(const config::TunnelModel& tunnel) {
  KernelState state;
  if (tunnel.bgp && tunnel.bgp->unnumbered)
    state.address = DeviceAddress::on_link(tunnel.device, {tunnel.bgp->local, kLinkLocalLength});
  else if (tunnel.bgp)
    state.address = DeviceAddress::point_to_point(tunnel.device, tunnel.bgp->local, tunnel.bgp->peer);
  else
    for (const Prefix& prefix : tunnel.static_prefixes) state.routes.insert({prefix, tunnel.device});
  return state;
}

void Gateway::apply(ModelPtr next) {
  document_ = std::move(next);
  const bool shared = wants_ha(*document_);
  if (shared || ha_) apply_ha(*document_);
  if (!ha_) stand_alone();
  if (!shared)
    apply_model(document_);
  else if (ha_ && !ha_ending_ && ha_->decided())
    apply_model(std::make_shared<const config::GatewayModel>(carried_model(*document_, ha_->carriers())));
}

void Gateway::apply_model(ModelPtr next) {
  const config::GatewayModel& model = *next;
  // Before anything can attract traffic.
  guard_.keep(guard_ports(model));
  apply_tunnels(model);
  apply_circuit(model);
  apply_vnet(model);
  reconcile_.set_model(model);
  routes_.set_model(model);
  ike_.set_model(next);
  prober_.set_targets(probe_targets(model));
  model_ = std::move(next);
  apply_bgp();
  compare_ports();
}

void Gateway::apply_bgp() {
  if (!model_) return;
  // Until it is decided who has what, bgpd announces what it did before.
  if (!ha_ || (!ha_ending_ && ha_->decided()))
    wan_.set_document(*model_, ha_ ? std::optional(ha_->announcements()) : std::nullopt);
  bgp::BgpIntent wanted = bgp_intent(*model_, routes_.bmp_port(), {routes_.without_carrier(), routes_.held_origins()});
  wanted.graceful_shutdown = draining_;
  wanted.endpoints = wan_.endpoints();
  for (const config::TunnelModel& tunnel : model_->tunnels) {
    if (!leaving_.contains(tunnel.local)) continue;
    const auto peer = std::ranges::find(wanted.peers, tunnel.name, &bgp::PeerIntent::name);
    if (peer != wanted.peers.end()) peer->graceful_shutdown = true;
  }
  const auto intent = std::make_shared<const bgp::BgpIntent>(std::move(wanted));
  bgp_intent_ = intent;
  bfd_.set_intent(bgp::bfd_sessions(*intent, bgp_.sessions()));
  bgp_.set_intent(intent);
}

// zebra 10.3 crashes when a device goes that it sends router advertisements on: bgpd has to let go of it first.
void Gateway::remove_tunnel(std::uint32_t id, const KernelState& state) {
  if (!state.address || !is_fe80(state.address->local)) return forwarding_.remove_tunnel(id);
  const auto later = [](Gateway* self, std::uint32_t tunnel) -> boost::asio::awaitable<void> {
    boost::asio::steady_timer timer(self->io_, kLetGo);
    co_await timer.async_wait(boost::asio::use_awaitable);
    if (!self->kernel_states_.contains(tunnel)) self->forwarding_.remove_tunnel(tunnel);
  };
  boost::asio::co_spawn(io_, later(this, id), kEndOnException);
}

void Gateway::apply_tunnels(const config::GatewayModel& model) {
  std::map<std::uint32_t, KernelState> kernel_states;
  for (const auto& tunnel : model.tunnels) kernel_states[tunnel.tunnel_id] = kernel_state(tunnel);
  // gw-fastpath has their SAs and devices; the kernel has no address or route there until they are carried here.
  for (const auto& tunnel : model.elsewhere) kernel_states[tunnel.tunnel_id] = {};
  for (const auto& [id, old] : kernel_states_) {
    const auto now = kernel_states.find(id);
    if (now == kernel_states.end())
      remove_tunnel(id, old);
    else
      remove_stale_kernel_state(old, now->second);
  }
  kernel_states_ = std::move(kernel_states);
  for (const auto* list : {&model.tunnels, &model.elsewhere}) {
    for (const auto& tunnel : *list) {
      forwarding_.set_tunnel(to_put_tunnel(tunnel));
      if (forwarding_.is_ready(tunnel.tunnel_id)) configure_device(tunnel.tunnel_id);
    }
  }
}

// The circuit's interface is the machine's own: it is there before gw-fastpath is.
void Gateway::apply_circuit(const config::GatewayModel& model) {
  std::vector<DeviceAddress> wanted;
  for (const InterfaceAddress& address : model.circuit_addresses)
    wanted.push_back(DeviceAddress::on_link(model.circuit_interface, address));
  for (const DeviceAddress& old : circuit_addresses_) {
    if (std::ranges::contains(wanted, old)) continue;
    if (const auto done = kernel_.remove_address(old); !done) log::warning("kernel", "{}", done.error().describe());
  }
  for (const DeviceAddress& address : wanted)
    if (const auto done = kernel_.add_address(address); !done) log::error("kernel", "{}", done.error().describe());
  circuit_addresses_ = std::move(wanted);
  fp::PutSettings settings;
  settings.set_circuit_transit(model.policy.transit == routes::Transit::kOpen);
  settings.set_rate_in_bps(model.rates.in_bps);
  settings.set_rate_out_bps(model.rates.out_bps);
  forwarding_.set_settings(settings);
}

// What the kernel sends itself (errors to inner senders, packets that the fast path leaves to it) finds the VNet and
// its spokes where packets of the fast path do.
void Gateway::apply_vnet(const config::GatewayModel& model) {
  std::set<DeviceRoute> wanted;
  for (const LocalSource& local : local_sources(model)) {
    if (local.tunnel != nullptr) continue;
    for (const Prefix& prefix : local.prefixes)
      for (const IpAddress& next_hop : model.vnet_next_hops)
        if (prefix.family() == next_hop.family()) wanted.insert({prefix, model.vnet_interface, next_hop});
  }
  for (const DeviceRoute& old : vnet_routes_) {
    if (wanted.contains(old)) continue;
    if (const auto done = kernel_.remove_route(old); !done) log::warning("kernel", "{}", done.error().describe());
  }
  for (const DeviceRoute& route : wanted)
    if (const auto done = kernel_.add_route(route); !done) log::error("kernel", "{}", done.error().describe());
  vnet_routes_ = std::move(wanted);
}

// BFD's packets take the way of all others: up is a proof.
void Gateway::note_bfd() {
  if (!model_) return;
  for (const auto& tunnel : model_->tunnels) {
    if (!tunnel.bgp) continue;
    const auto state = bfd_.states().find(tunnel.bgp->peer);
    if (state != bfd_.states().end() && state->second.up) prober_.bfd_up(tunnel.tunnel_id);
  }
}

void Gateway::remove_stale_kernel_state(const KernelState& before, const KernelState& after) {
  const auto report = [](const Status& done) {
    if (!done) log::warning("kernel", "{}", done.error().describe());
  };
  // A device keeps its link-local address: without one bgpd has no IPv6 routes there.
  const bool stays = before.address && is_fe80(before.address->local);
  if (before.address && before.address != after.address && !stays) report(kernel_.remove_address(*before.address));
  for (const auto& route : before.routes)
    if (!after.routes.contains(route)) report(kernel_.remove_route(route));
}

void Gateway::configure_address(const DeviceAddress& address) {
  const auto report = [](const Status& done) {
    if (!done) log::error("kernel", "{}", done.error().describe());
  };
  if (!is_fe80(address.local)) return report(kernel_.add_address(address));
  // The kernel gave the device one of its own: the peer is to see one and always the same. When it is set anew, bgpd
  // starts the session anew.
  const auto present = kernel_.link_local_addresses(address.device);
  if (!std::ranges::contains(present, address)) report(kernel_.add_address(address));
  for (const DeviceAddress& other : present)
    if (other != address) report(kernel_.remove_address(other));
}

// gw-fastpath has the tunnel, so its device exists: addresses and static routes can be set.
void Gateway::configure_device(std::uint32_t tunnel_id) {
  const auto it = kernel_states_.find(tunnel_id);
  if (it == kernel_states_.end()) return;
  if (it->second.address) configure_address(*it->second.address);
  set_static_routes(tunnel_id);
}

// The kernel would go on sending into a tunnel without carrier what another instance may have a way for.
void Gateway::set_static_routes(std::uint32_t tunnel_id) {
  const auto it = kernel_states_.find(tunnel_id);
  if (it == kernel_states_.end()) return;
  const bool wanted = !routes_.without_carrier().contains(tunnel_id);
  for (const auto& route : it->second.routes)
    if (const auto done = wanted ? kernel_.add_route(route) : kernel_.remove_route(route); !done)
      log::error("kernel", "{}", done.error().describe());
}

void Gateway::on_fastpath_up(const fp::HelloReply& hello) {
  crypto_backend_ = hello.crypto_backend();
  fastpath_since_ = clock_.wall();
  if (ha_)
    ha_->on_fastpath_up(hello);
  else
    stand_alone();
  forwarding_.resync();
  boost::asio::co_spawn(io_, learn_ports(), kEndOnException);
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
  port_problem_ = model_ ? port_mismatch(served_ports_, guard_ports(*model_)) : "";
  if (!port_problem_.empty() && port_problem_ != before) log::error("fastpath", "gw-fastpath: {}", port_problem_);
}

void Gateway::on_fastpath_down(const Error&) {
  fastpath_since_ = clock_.wall();
  if (ha_) ha_->on_fastpath_down();
}

void Gateway::on_fastpath_event(const fp::Event& event) {
  if (ha_) ha_->on_fastpath_event(event);
  if (!event.has_tunnel_state()) return;
  const std::uint32_t tunnel_id = event.tunnel_state().tunnel_id();
  routes_.set_carrier(tunnel_id, event.tunnel_state());
  const auto kernel = kernel_states_.find(tunnel_id);
  if (kernel == kernel_states_.end() || kernel->second.routes.empty()) return;
  set_static_routes(tunnel_id);
  apply_bgp();
}

std::vector<ComponentStatus> Gateway::components() const {
  std::vector<ComponentStatus> all{
      {"gw-fastpath", fastpath_.connected(),
       fastpath_.connected() ? "crypto " + crypto_backend_ : std::string(kFastpathAway),
       fastpath_.connected() ? port_problem_ : "", fastpath_since_},
      {"charon", ike_.connected(), ike_.connected() ? ike_.version() : std::string(kCharonAway), "", ike_.since()},
      {"bgpd", bgp_.connected(), bgp_.connected() ? bgp_.version() : std::string(kBgpdAway),
       bgp_.connected() ? bgp_.problem() : "", bgp_.since()}};
  if (bfd_.needed())
    all.push_back({"bfdd", bfd_.connected(), bfd_.connected() ? "" : std::string(kBfddAway), "", bfd_.since()});
  all.push_back({"zebra", reconcile_.connected(),
                 reconcile_.connected() ? std::format("{} routes", reconcile_.state().their_count())
                                        : "its routes are not compared: " + reconcile_.trouble(),
                 reconcile_.alarm(), reconcile_.since()});
  return all;
}

}  // namespace gw::gwd
