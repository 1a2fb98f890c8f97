#include "ebpf/control/forwarding.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.hpp"

namespace gw::control {
namespace {

/// BPF programs run inside RCU sections; this barrier waits for those that run now (milliseconds). Without it
/// (a kernel without CONFIG_MEMBARRIER) a program may read reused memory for one packet.
void wait_for_bpf() {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
  static const bool told = [] {
    log::warning("fib", "membarrier: {}; a packet may meet a reused forwarding entry", std::strerror(errno));
    return true;
  }();
  (void)told;
}

}  // namespace

Forwarding::Forwarding(const fib::Memory& memory, worker::Workers& workers)
    : table_(memory, [&workers] {
        workers.quiesce();  // every burst that was in work is done
        wait_for_bpf();
      }) {}

Status Forwarding::update(std::span<const fib::Route> add, std::span<const Prefix> remove, std::uint64_t generation) {
  Status done = with_gateways(table_.update(add, remove, static_cast<fib::Generation>(generation)));
  if (changes_ && done) {
    for (const fib::Route& route : add) changes_->routes[route.prefix] = route;
    for (const Prefix& prefix : remove) changes_->routes[prefix] = std::nullopt;
  }
  return done;
}

void Forwarding::record_changes() { changes_.emplace(); }

Result<std::map<Prefix, std::optional<fib::Route>>> Forwarding::take_changes() {
  auto taken = std::exchange(changes_, std::nullopt).value_or(Changes{});
  if (taken.others)
    return fail(Errc::kUnsupported, "tunnels or routes were swept away meanwhile; once more, when that is over");
  return std::move(taken.routes);
}

Status Forwarding::sweep(std::uint64_t generation) {
  if (changes_) changes_->others = true;
  return with_gateways(table_.sweep(static_cast<fib::Generation>(generation)));
}

Status Forwarding::with_gateways(Status done) {
  if (!on_gateways_ || gateways_version_ == table_.gateways_version()) return done;
  gateways_version_ = table_.gateways_version();
  Gateways gateways;
  for (const auto& [kind, address] : table_.gateways())
    gateways.insert({kind == GW_NEXT_HOP_CIRCUIT ? GW_SIDE_CIRCUIT : GW_SIDE_VNET, address});
  on_gateways_(gateways);
  return done;
}

void Forwarding::set_local(std::span<const IpAddress> addresses) {
  if (auto done = table_.set_local(addresses); !done)
    log::error("fib", "our own addresses: {}", done.error().describe());
}

Status Forwarding::tunnel_changed(const fib::TunnelRef& tunnel) {
  table_.replace_tunnel(tunnel);
  return {};
}

Status Forwarding::tunnel_removed(std::uint32_t id) {
  if (changes_) changes_->others = true;
  return table_.remove_tunnel(id);
}

}  // namespace gw::control
