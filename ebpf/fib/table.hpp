// The forwarding table as the control thread sees it: routes in, the readers' memory and next hops maintained.
// Two layers: addresses of this machine hide routes of the same prefix. A batch is applied whole or not at
// all. Memory that was taken out is used again after the readers have been waited for, which happens seldom:
// when much has gathered, or when there is need. Control thread only; readers use fib/view.hpp.
//
// Memory per route with the full Internet table (1,062,046 routes): docs/benchmarks.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/memory_use.hpp"
#include "base/result.hpp"
#include "ebpf/fib/next_hops.hpp"
#include "ebpf/fib/reading.hpp"
#include "ebpf/fib/v4_table.hpp"
#include "ebpf/fib/v6_table.hpp"

namespace gw::fib {

struct Route {
  Prefix prefix;
  NextHop hop;
  friend bool operator==(const Route&, const Route&) = default;
};

/// Of whoever sends routes: a later session of the same has a higher one.
using Generation = std::uint32_t;

class Table {
 public:
  /// Returns when every reader has finished the packet it was at.
  using WaitForReaders = std::function<void()>;
  Table(const Memory& memory, WaitForReaders wait);
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// Adds or replaces `add`, then takes `remove` out (absent ones are no error). kLimit: nothing was added.
  Status update(std::span<const Route> add, std::span<const Prefix> remove, Generation generation = 0);
  /// Takes out the routes that no generation from this one on has sent.
  Status sweep(Generation generation);
  /// The machine's own addresses, as a whole. kLimit: the ones that fit are in, and the first that does not is named.
  Status set_local(std::span<const IpAddress> addresses);
  /// A tunnel changed (MTU, slot): so do its routes.
  void replace_tunnel(const TunnelRef& tunnel) { hops_.replace_tunnel(tunnel); }
  /// A tunnel goes: out of every group; routes that had no other go, too. No reader knows it afterwards.
  Status remove_tunnel(std::uint32_t id);

  /// In the order of family, address and length.
  std::vector<Route> routes() const;

  /// What readers find.
  Reading read(const IpAddress& destination) const { return fib::read(memory_, destination); }

  /// Of all routes: see NextHops.
  std::set<std::pair<gw_next_hop_kind, IpAddress>> gateways() const { return hops_.gateways(); }
  std::uint64_t gateways_version() const { return hops_.gateways_version(); }

  struct Usage {
    std::size_t routes_v4 = 0, routes_v6 = 0;
    std::size_t v4_groups = 0, v6_lines = 0, next_hops = 0;  // in use
    std::size_t control_bytes = 0;                           // what the control thread keeps beside them
  };
  Usage usage() const;
  /// The same, in bytes.
  std::vector<MemoryUse> memory() const;
  /// Waits for readers and makes what was taken out usable again.
  void reclaim();

 private:
  struct Change {
    Prefix prefix;
    RouteValue now;
    RouteValue before;  // hop 0: there was no route
  };
  bool is_local(const Prefix& p) const;
  RouteValue find(const Prefix& prefix);
  Result<RouteValue> put(const Prefix& prefix, const RouteValue& value);
  Result<RouteValue> take_out(const Prefix& prefix);
  Result<RouteValue> show(const Prefix& prefix, const RouteValue& value);
  Status show_own(const IpAddress& address);
  Status show_own_no_more(const IpAddress& address);
  Result<RouteValue> hide(const Prefix& prefix);
  void prefetch(const Prefix& prefix) const;
  Result<Change> add(const Route& route, Generation generation);
  void undo(std::span<const Change> changes);
  void reclaim_if_much();
  void each_route(const std::function<void(const Prefix&, const RouteValue&)>& handle) const;

  Memory memory_;
  WaitForReaders wait_;
  V4Table v4_;
  V6Table v6_;
  NextHops hops_;
  std::set<IpAddress> local_;
  std::map<Prefix, RouteValue> hidden_;  // routes for addresses of ours
  NextHopIndex local_hop_;
};

}  // namespace gw::fib
