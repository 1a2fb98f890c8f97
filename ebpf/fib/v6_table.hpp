// IPv6 in the forwarding table: a trie of compressed nodes kept in step with a tree of the routes, node by node:
// a route that comes, changes or goes touches only its own node (or the root), and the `inherited` entries of
// that node's children. A node whose shape changes is written anew beside the old one and published by one
// store in the node above. One writer; readers (fib/view.hpp, BPF) run alongside; lines are used again only
// after a grace period. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/fib/line_allocator.hpp"
#include "ebpf/fib/route_tree.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

class V6Table {
 public:
  /// `reclaim`: waits for readers and calls release_retired(); called when memory runs short.
  V6Table(const Memory& memory, std::function<void()> reclaim);

  /// Adds or replaces; what was there before (hop 0: nothing). kLimit when lines run out; nothing has then changed.
  Result<RouteValue> set(const Prefix& prefix, const RouteValue& value);
  /// What was there (hop 0: nothing). kLimit: no line for the smaller node (fragmented memory); nothing has changed.
  Result<RouteValue> erase(const Prefix& prefix);
  /// The prefix will be changed soon.
  void prefetch(const Prefix& prefix) const { tree_.prefetch(prefix); }

  RouteTree& routes() { return tree_; }
  const RouteTree& routes() const { return tree_; }

  std::size_t retired() const { return retired_.size(); }
  void release_retired();
  std::size_t lines_free() const { return allocator_.free_lines(); }
  std::size_t memory_bytes() const { return tree_.memory_bytes() + allocator_.memory_bytes(); }
  /// Of that, what is there for the lines whether routes are or not.
  std::size_t lines_bytes() const { return allocator_.memory_bytes(); }

 private:
  static constexpr unsigned kRootDepth = GW_FIB_V6_ROOT_BITS / 8;
  using Entries = std::array<std::uint32_t, GW_FIB_NODE_ENTRIES>;
  using Need = LineAllocator::Need;
  struct Content {
    Entries leaves;   // next hop by the node's own prefixes; 0: none
    Entries entries;  // with the children laid over
  };
  struct Shape;

  Content content_of(NodeId id);
  std::optional<std::uint32_t> write_lines(const Shape& shape, std::uint32_t inherited, Need need);
  bool rewrite_in_place(std::uint32_t entry, const Shape& shape);
  void set_inherited(std::uint32_t entry, NextHopIndex hop);
  void retire(std::uint32_t entry);
  void give_back(std::uint32_t entry);

  using Bytes = std::span<const std::uint8_t>;
  struct Spot {  // a node on the path to a prefix
    const RouteTree::Place& place;
    Bytes address;
    unsigned depth;
  };
  std::uint32_t entry_of(const Spot& spot);
  void publish(const Spot& spot, std::uint32_t entry);
  bool write_branch(const Spot& top);
  bool rewrite(const Spot& spot, const Content& content, Need need);
  void update_inherited(const Spot& spot, const Content& content);
  bool write_changes(const Spot& spot, NextHopIndex hop, Need need);
  bool cut_branch(const Spot& stays);
  bool cut_empty(const RouteTree::Place& place, Bytes address);
  NextHopIndex root_cover(const RouteTree::Place& place, Bytes address) const;
  void write_root(const RouteTree::Region& region, NextHopIndex hop);
  Error full() const;

  std::span<std::uint32_t> root_;
  std::span<gw_fib_line> lines_;
  std::function<void()> reclaim_;
  RouteTree tree_;
  LineAllocator allocator_;
  std::vector<LineBlock> retired_;
};

}  // namespace gw::fib
