// The forwarding table with its other readers: routes from gwd and our own addresses go into the shared
// memory; memory that was taken out is used again only when all workers and the BPF programs are past it.
// Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

class Forwarding {
 public:
  Forwarding(const fib::Memory& memory, worker::Workers& workers);

  /// Whole or not at all. `generation`: of the control session that sends it.
  Status update(std::span<const fib::Route> add, std::span<const Prefix> remove, std::uint64_t generation);
  /// Takes out the routes that no session since `generation` has sent.
  Status sweep(std::uint64_t generation);

  void set_local(std::span<const IpAddress> addresses);
  Status tunnel_changed(const fib::TunnelRef& tunnel);
  Status tunnel_removed(std::uint32_t id);

  /// From now on, what changes is kept for take_changes(); a removed prefix has no route.
  void record_changes();
  void forget_changes() { changes_.reset(); }
  /// kUnsupported: something changed that is no change of single routes (a tunnel was removed, a sweep).
  Result<std::map<Prefix, std::optional<fib::Route>>> take_changes();

  std::vector<fib::Route> routes() const { return table_.routes(); }
  /// What packets to this address meet.
  fib::Reading read(const IpAddress& destination) const { return table_.read(destination); }
  /// For people.
  std::vector<MemoryUse> memory() const { return table_.memory(); }

  /// Called after every update that changed which gateways routes lead to.
  using Gateways = std::set<xdp::NeighbourAt>;
  void on_gateways(std::function<void(const Gateways&)> handler) { on_gateways_ = std::move(handler); }

 private:
  Status with_gateways(Status done);

  fib::Table table_;
  std::function<void(const Gateways&)> on_gateways_;
  std::uint64_t gateways_version_ = 0;
  struct Changes {
    std::map<Prefix, std::optional<fib::Route>> routes;
    bool others = false;
  };
  std::optional<Changes> changes_;
};

}  // namespace gw::control
