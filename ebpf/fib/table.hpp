// The forwarding table as the control thread sees it: routes in, trie and next hops maintained. Two
// layers: addresses of this machine hide routes of the same prefix. A batch is applied whole or not at
// all. Control thread only; readers use fib/view.hpp on the same memory.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/fib/next_hops.hpp"
#include "ebpf/fib/trie.hpp"

namespace gw::fib {

struct Route {
  Prefix prefix;
  NextHop hop;
  friend bool operator==(const Route&, const Route&) = default;
};

class Table {
 public:
  explicit Table(const Memory& memory);

  /// Adds or replaces `add`, then takes `remove` out (absent ones are no error). kLimit: nothing changed.
  Status update(std::span<const Route> add, std::span<const Prefix> remove);
  /// The machine's own addresses, as a whole. kLimit: the ones that fit are in.
  Status set_local(std::span<const IpAddress> addresses);
  /// A tunnel changed (MTU, slot): its routes get new records.
  Status replace_tunnel(const TunnelRef& tunnel);
  /// A tunnel goes: out of every group; routes that had no other go, too.
  /// kLimit: no records left for the smaller groups; nothing changed.
  Status remove_tunnel(std::uint32_t id);

  std::vector<Route> routes() const;

  /// Memory that readers may still look at since the last call. Give it back to release() when each of
  /// them has finished the packet it was at.
  struct Retired {
    std::vector<std::uint32_t> v4_nodes, v6_nodes;
    std::vector<NextHopIndex> next_hops;
    bool empty() const { return v4_nodes.empty() && v6_nodes.empty() && next_hops.empty(); }
  };
  Retired take_retired();
  void release(const Retired& retired);

 private:
  struct Change {
    Prefix prefix;
    NextHopIndex now = 0;
    NextHopIndex before = 0;  // 0: there was no route
  };
  Trie& trie(const Prefix& p) { return p.family() == Family::kV4 ? v4_ : v6_; }
  Status carry_out(std::span<Change> changes);
  Status show(const Prefix& prefix, NextHopIndex hop);
  void hide(const Prefix& prefix);
  void remove_route(const Prefix& prefix);
  void remove_local(const IpAddress& address);
  Status rewrite_groups(std::uint32_t tunnel_id, std::optional<TunnelRef> now);

  Trie v4_;
  Trie v6_;
  NextHops hops_;
  std::map<Prefix, NextHopIndex> routes_;  // each holds a reference to its record, hidden or not
  std::set<IpAddress> local_;
  NextHopIndex local_hop_;
};

}  // namespace gw::fib
