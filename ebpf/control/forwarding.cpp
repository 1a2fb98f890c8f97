#include "ebpf/control/forwarding.hpp"

#include "base/log.hpp"

namespace gw::control {

Status Forwarding::update(std::span<const fib::Route> add, std::span<const Prefix> remove, std::uint64_t generation) {
  auto done = table_.update(add, remove);
  reclaim();  // also after a failure: undoing retires memory, too
  if (!done) return done;
  for (const fib::Route& route : add) generations_[route.prefix] = generation;
  for (const Prefix& prefix : remove) generations_.erase(prefix);
  return {};
}

Status Forwarding::sweep(std::uint64_t generation) {
  std::vector<Prefix> old;
  for (const auto& [prefix, sent] : generations_)
    if (sent < generation) old.push_back(prefix);
  return update({}, old, generation);
}

void Forwarding::set_local(std::span<const IpAddress> addresses) {
  if (auto done = table_.set_local(addresses); !done)
    log::error("fib", "our own addresses: {}", done.error().describe());
  reclaim();
}

Status Forwarding::tunnel_changed(const fib::TunnelRef& tunnel) {
  auto done = table_.replace_tunnel(tunnel);
  reclaim();
  return done;
}

Status Forwarding::tunnel_removed(std::uint32_t id) {
  auto done = table_.remove_tunnel(id);
  reclaim();
  return done;
}

void Forwarding::reclaim() {
  const fib::Table::Retired retired = table_.take_retired();
  if (retired.empty()) return;
  workers_.quiesce();
  table_.release(retired);
}

}  // namespace gw::control
