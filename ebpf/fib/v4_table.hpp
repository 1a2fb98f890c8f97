// IPv4 in the forwarding table: DIR-24-8 kept in step with a tree of the routes. A route that comes, changes or
// goes is written over the entries of its range that no longer prefix covers, one atomic store each. One
// writer; readers (fib/view.hpp, BPF) run alongside, groups are filled before they are published and used
// again only after a grace period. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/fib/route_tree.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

/// Of the memory's groups, so many are kept for addresses of this machine: each is a /32, and without it the packets
/// to the gateway itself would be forwarded. On top of what --fib-v4-groups says.
inline constexpr std::uint32_t kOwnV4Groups = 64;

/// Whose a prefix is.
enum class Claim : std::uint8_t { kRoute, kOwnAddress };

class V4Table {
 public:
  /// `reclaim`: waits for readers and calls release_retired(); called when memory runs short.
  V4Table(const Memory& memory, std::function<void()> reclaim);

  /// Adds or replaces; what was there before (hop 0: nothing). kLimit when groups run out; nothing has then changed.
  Result<RouteValue> set(const Prefix& prefix, const RouteValue& value, Claim claim = Claim::kRoute);
  /// What was there (hop 0: nothing).
  Result<RouteValue> erase(const Prefix& prefix);
  /// The prefix will be changed soon.
  void prefetch(const Prefix& prefix) const {
    __builtin_prefetch(&root_[prefix.address().v4() >> (32 - GW_FIB_V4_ROOT_BITS)], 1);
    tree_.prefetch(prefix);
  }

  RouteTree& routes() { return tree_; }
  const RouteTree& routes() const { return tree_; }

  std::size_t retired() const { return retired_.size(); }
  void release_retired();
  std::size_t groups() const { return root_groups_; }
  std::size_t groups_free() const { return free_.size(); }
  std::size_t memory_bytes() const { return tree_.memory_bytes() + free_.capacity() * sizeof(std::uint16_t); }

 private:
  static constexpr unsigned kGroupDepth = GW_FIB_V4_ROOT_BITS / 8;
  bool may_open(Claim claim) const { return free_.size() > (claim == Claim::kRoute ? kOwnV4Groups : 0); }
  bool open_group(std::uint32_t slot, Claim claim);
  Error full(Claim claim) const;
  void close_group(std::uint32_t slot, NextHopIndex hop);
  NextHopIndex cover(const RouteTree::Place& place, const Prefix& prefix) const;
  void write(const RouteTree::Place& place, const Prefix& prefix, NextHopIndex hop);
  void write_region(const RouteTree::Region& region, std::uint16_t hop);
  void write_group(std::uint16_t entry, const RouteTree::Node& node, unsigned heap, std::uint16_t hop);

  std::span<std::uint16_t> root_;
  std::span<std::uint16_t> groups_;
  const std::size_t root_groups_;
  std::function<void()> reclaim_;
  RouteTree tree_;
  std::vector<std::uint16_t> free_;
  std::vector<std::uint16_t> retired_;
};

}  // namespace gw::fib
