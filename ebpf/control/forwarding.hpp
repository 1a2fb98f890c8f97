// The forwarding table with its other readers: routes from gwd and our own addresses go into the shared
// memory; memory that was taken out is used again only when all workers and the BPF programs are past it.
// Control thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/worker/workers.hpp"

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

  std::vector<fib::Route> routes() const { return table_.routes(); }

 private:
  fib::Table table_;
};

}  // namespace gw::control
