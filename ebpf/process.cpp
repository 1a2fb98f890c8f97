#include "ebpf/process.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <format>
#include <utility>

#include "base/log.hpp"
#include "base/wire.hpp"

namespace gw {
namespace fp = ::gw::fastpath::v1;
namespace {

using namespace std::chrono_literals;

constexpr auto kRouteSettle = 50ms;  // route changes come in bursts
// charon's plugin tries again several times a second.
constexpr auto kCharonGrace = 2s;

std::string beside(const std::string& path, const char* name) {
  return (std::filesystem::path(path).parent_path() / name).string();
}

/// ESP in UDP that the kernel put together, for the worker that has the SA. False: none has.
bool give_to_owner(worker::Workers& workers, const relay::IkeFlow& flow, std::span<const std::uint8_t> packet) {
  constexpr std::size_t kEspHeaderBytes = 8;
  if (packet.size() < kEspHeaderBytes) return false;
  const worker::SaKey key{load_be<std::uint32_t>(packet.data()), flow.local.address};
  const worker::Inbound* const sa = workers.shared().inbound.find(key);
  if (!sa) return false;
  workers[sa->owner].call([&](worker::DataPath& d) {
    d.from_kernel({.key = key,
                   .source = flow.peer.address,
                   .source_port = flow.peer.port,
                   .traffic_class = flow.traffic_class,
                   .bytes = packet});
  });
  return true;
}
relay::IkeRelay::Parts ike_parts(Foundation& base, const Clock& clock) {
  relay::IkeRelay::Parts parts{.sockets = std::move(base.ike_sockets),
                               .inbox = base.ike.get(),
                               .clock = clock,
                               .grace = kCharonGrace,
                               .esp = nullptr};
  const bool gso = base.ike != nullptr;
  if (!gso)
    parts.esp = [&workers = *base.workers](const relay::IkeFlow& flow, std::span<const std::uint8_t> packet) {
      return give_to_owner(workers, flow, packet);
    };
  return parts;
}

/// "eth1 (gso)"; empty: there is none.
std::string port_text(const std::vector<rpc::PortFacts>& facts, std::string_view side) {
  const auto port = std::ranges::find(facts, side, &rpc::PortFacts::side);
  return port == facts.end() ? std::string{} : std::format("{} ({})", port->interface, port->kind);
}

}  // namespace

Result<std::unique_ptr<Fastpath>> Fastpath::make(const FastpathOptions& options, handover::Taker* from) {
  static const SystemClock clock;
  GW_TRY_ASSIGN(Foundation base, Foundation::open(options, clock, from));
  return std::unique_ptr<Fastpath>(new Fastpath(std::move(base), options));
}

Fastpath::Fastpath(Foundation base, const FastpathOptions& o)
    : base_(std::move(base)),
      ike_(io_, ike_parts(base_, clock_)),
      liveness_(std::move(base_.liveness), {*base_.workers, clock_, static_cast<std::uint8_t>(o.instance)}),
      tunnels_(*base_.workers, base_.maps, std::move(base_.fds), clock_),
      forwarding_(as_memory(base_.maps.fib()), *base_.workers),
      adjacencies_(base_.maps, std::move(base_.adjacency_netlink)),
      paths_({*base_.workers,
              adjacencies_,
              std::move(base_.netlink),
              std::move(base_.monitor),
              {o.wan, o.vnet, base_.data_tun ? base_.data_tun->name() : "", o.circuit,
               base_.circuit_tun ? base_.circuit_tun->name() : ""}}),
      endpoints_(base_.workers->shared().gates, base_.maps, clock_),
      sas_({*base_.workers, base_.maps, *base_.store, tunnels_, paths_, endpoints_, clock_, o.instance, o.max_sas}),
      path_mtus_({sas_, tunnels_, forwarding_, clock_}, std::move(base_.icmp)),
      tracer_({*base_.workers, base_.maps, tunnels_, sas_, as_memory(base_.maps.fib()),
               [&facts = base_.facts](std::string_view side) { return port_text(facts, side); },
               base_.buffers.jumbo() ? worker::kLargeFrameBytes : std::uint32_t{GW_XDP_MAX_PACKET}}),
      service_({*base_.workers, base_.maps, ike_, tunnels_, rates_, forwarding_, sas_, path_mtus_, liveness_, tracer_,
                clock_, base_.facts, o.max_sas, o.circuit.empty() ? rpc::CircuitPort::kNone : rpc::CircuitPort::kThere,
                o.transforms}),
      server_(io_, service_),
      events_(server_, sas_, tunnels_),
      capture_({.io = io_,
                .workers = *base_.workers,
                .tunnels = tunnels_,
                .sas = sas_,
                .clock = clock_,
                .interface = base_.facts.front().interface,
                .kind = base_.facts.front().kind}),
      giver_({.io = io_,
              .clock = clock_,
              .program = base_.program,
              .service = service_,
              .forwarding = forwarding_,
              .self = question(o),
              .offer = [this] { return succession::offer(estate()); },
              .fds = [this] { return descriptors(); },
              .unsettled = [this] { return service_.endpoints_move() || base_.workers->has_waiting(); },
              .stop = [this](fp::HandoverFinal& out) { succession::stop(estate(), out); },
              .go_on = [this] { succession::go_on(estate()); },
              .gone = [this](int pid) { leave_to(pid); }}) {
  ike_.only_if([this](const IpAddress& local) {
    return base_.workers->shared().gates.may_send(endpoints_.gate_of(local), clock_.now());
  });
  ike_.leave_by([this](const relay::IkeFlow& flow) {
    return paths_.detour({.src = flow.local.address, .dst = flow.peer.address});
  });
  if (base_.store->shares_endpoints()) {
    base_.workers->shared().gates.hold();
    log::info("ha", "one of several instances: nothing is sent before gwd says which endpoints are ours");
  }
  if (base_.buffers.jumbo()) tunnels_.set_max_mtu(control::Tunnels::kMaxJumboMtu);
}

/// Calls `handler` whenever the descriptor is readable.
void Fastpath::watch(asio::posix::stream_descriptor& fd, std::function<void()> handler) {
  fd.async_wait(asio::posix::stream_descriptor::wait_read,
                [this, &fd, handler = std::move(handler)](const boost::system::error_code& error) {
                  if (error) return;
                  handler();
                  watch(fd, handler);
                });
}
Status Fastpath::serve(const FastpathOptions& options, handover::Taker* from) {
  GW_TRY(start_watching());
  if (from) GW_TRY(succeed(*from));
  GW_TRY(listen(options));
  io_.run();
  // Not ours to close: their owners do.
  for (auto* fd : {&notices_, &liveness_events_, &xdp_events_, &netlink_, &icmp_v4_, &icmp_v6_}) (void)fd->release();
  capture_.stop();
  server_.stop();
  ike_.stop();
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Status Fastpath::start_watching() {
  GW_TRY(
      paths_.start({[this](std::span<const IpAddress> addresses) {
                      forwarding_.set_local(addresses);
                      if (auto done = base_.maps.set_local(addresses); !done)
                        log::error("xdp", "{}", done.error().describe());
                    },
                    [this](gw_side side, const net::Link& link) { set_clear_link(side, link); },
                    [this](const net::Link& link) { path_mtus_.set_link_mtu(link.mtu); },
                    [this](gw_side side, std::span<const control::VlanStack> stacks) { set_clear_vlans(side, stacks); },
                    // The sockets are gone with the interface: a restart binds new ones.
                    [this](const Error& error) {
                      failure_ = error;
                      io_.stop();
                    }}));
  forwarding_.on_gateways([this](const auto& gateways) { adjacencies_.set_gateways(gateways); });
  sas_.on_leaving([this] { asio::post(io_, [this] { remove_leaving(); }); });
  sas_.on_sync_frame([this](const auto& frame) { events_.sync_frame(frame); });
  sas_.on_active([this](std::uint32_t tunnel) { path_mtus_.refresh(tunnel); });
  tunnels_.on_carrier([this](std::uint32_t id, tun::Carrier state) {
    events_.tunnel_state(id, state);
    const control::Tunnels::Tunnel* tunnel = tunnels_.find(id);
    if (state == tun::Carrier::kUp && tunnel && tunnel->settings) liveness_.adopt(tunnel->settings->device);
  });
  liveness_.on_findings({[this](const auto& status) { events_.peer_state(status); },
                         [this](const auto& loss) { events_.endpoint_lost(loss); },
                         [this](const auto& message) { events_.bfd_sync(message); }});

  notices_.assign(base_.workers->notice_fd());
  xdp_events_.assign(base_.maps.events_fd());
  netlink_.assign(paths_.monitor_fd());
  watch(notices_, [this] { events_.forward_notices(*base_.workers); });
  liveness_events_.assign(liveness_.event_fd());
  watch(liveness_events_, [this] { liveness_.forward_events(); });
  watch(xdp_events_, [this] { events_.forward_unknown_spis(base_.maps); });
  icmp_v4_.assign(path_mtus_.icmp_fds()[0]);
  icmp_v6_.assign(path_mtus_.icmp_fds()[1]);
  for (auto* icmp : {&icmp_v4_, &icmp_v6_}) watch(*icmp, [this] { path_mtus_.on_icmp(); });
  watch(netlink_, [this] {
    if (!paths_.on_readable() || std::exchange(routes_due_, true)) return;
    route_timer_.expires_after(kRouteSettle);
    route_timer_.async_wait([this](const boost::system::error_code& error) {
      routes_due_ = false;
      if (!error) paths_.refresh_routes();
    });
  });
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    log::info("main", "signal {}: ending", signal);
    io_.stop();
  });
  return {};
}

Status Fastpath::listen(const FastpathOptions& options) {
  tick();
  sync_tick();
  GW_TRY(ike_.listen(options.ike_socket.empty() ? beside(options.socket, "ike.sock") : options.ike_socket,
                     base_.inherited.take("ike")));
  GW_TRY(server_.listen(options.socket, base_.inherited.take("rpc")));
  GW_TRY(giver_.listen(handover::socket_beside(options.socket), base_.inherited.take("handover")));
  // Packets do not wait for somebody to look at them.
  if (const Status done = capture_.listen(beside(options.socket, "capture.sock")); !done)
    log::error("capture", "there can be none: {}", done.error().describe());
  tell_manager("READY=1");
  log::info("main", "ready at {}", options.socket);
  return {};
}

}  // namespace gw
