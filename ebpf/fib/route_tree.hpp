// The routes of one family, as they were given: a tree with a node for each byte of the address. A node's
// prefixes (those that end within its byte) are bits of a heap: index 1 is length 0 of the byte, 2 and 3 are
// length 1, ... 256 to 511 length 8. Values and children are arrays in the order of their bits. Without
// pointers: 112 bytes a node, 8 a route. Control thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.hpp"
#include "ebpf/fib/array_pool.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

struct RouteValue {
  NextHopIndex hop = 0;
  std::uint32_t generation = 0;  // of who sent it
};

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = UINT32_MAX;

/// First and last value of the byte that heap index `heap` covers.
struct ByteRange {
  unsigned first = 0;
  unsigned last = 0;
};
ByteRange bytes_of(unsigned heap);

class RouteTree {
 public:
  struct Child {
    NodeId node = kNoNode;
    std::uint32_t entry = 0;  // what the forwarding table says to get there; the user's
  };
  struct Node {
    std::array<std::uint64_t, 8> prefixes{};
    std::array<std::uint64_t, 4> children{};
    ArrayRef values;
    ArrayRef kids;
    bool empty() const { return values.size == 0 && kids.size == 0; }
    bool has_prefix(unsigned heap) const { return (prefixes[heap / 64] >> (heap % 64)) & 1; }
    bool has_child(unsigned byte) const { return (children[byte / 64] >> (byte % 64)) & 1; }
  };
  /// Where a prefix is: its node, its bit there, and the nodes above it.
  struct Place {
    std::array<NodeId, 16> path;  // path[0] is the root, path[depth] the prefix's node
    unsigned depth = 0;
    unsigned heap = 0;
    unsigned made_from = 16;  // nodes from this depth on are new
  };

  /// What a heap index of a node covers. `base`: the address bits above the node, as a number.
  struct Region {
    NodeId node = 0;
    unsigned depth = 0;
    unsigned heap = 1;
    std::uint32_t base = 0;
  };

  RouteTree();

  /// Makes the nodes that are missing; their children's entries are 0.
  Place make(const Prefix& prefix);
  /// False: there is no such route.
  bool find(const Prefix& prefix, Place& place) const;
  /// The value at a place, null without a route.
  RouteValue* value(const Place& place);
  /// Adds or replaces; what was there (hop 0: nothing).
  RouteValue set(const Place& place, const RouteValue& value);
  /// What was there; something was.
  RouteValue erase(const Place& place);
  /// Takes out the nodes at the end of the path that are empty; the depth of the last that stays.
  unsigned prune(const Place& place, std::span<const std::uint8_t> address);

  /// The prefix will be changed soon: the nodes near the root are in the caches, the next one is fetched.
  void prefetch(const Prefix& prefix) const {
    NodeId id = 0;
    for (unsigned d = 0; d < 2; ++d) {
      const Child* c = child(id, prefix.address().bytes()[d]);
      if (!c) return;
      id = c->node;
    }
    __builtin_prefetch(&nodes_[id].prefixes, 1);
    __builtin_prefetch(&nodes_[id].values, 1);
  }

  const Node& node(NodeId id) const { return nodes_[id]; }
  /// Children in the order of their bytes.
  std::span<Child> children(NodeId id) { return kids_.of(nodes_[id].kids); }
  Child* child(NodeId id, unsigned byte);
  const Child* child(NodeId id, unsigned byte) const;
  /// Calls handle(heap, value) for the node's prefixes, shorter ones first.
  void each_prefix(NodeId id, const auto& handle) const {
    const Node& n = nodes_[id];
    const RouteValue* value = values_.of(n.values).data();
    for (unsigned word = 0; word < n.prefixes.size(); ++word)
      for (std::uint64_t bits = n.prefixes[word]; bits != 0; bits &= bits - 1)
        handle(word * 64 + static_cast<unsigned>(std::countr_zero(bits)), *value++);
  }
  /// The next hop of the longest prefix of this node that covers `heap` and is shorter; 0: none.
  NextHopIndex cover_in_node(NodeId id, unsigned heap) const;
  /// The same for the node's longest prefix that covers the byte.
  NextHopIndex longest_in_node(NodeId id, unsigned byte) const { return cover_in_node(id, 2 * (256u + byte)); }
  /// True: a prefix of this node longer than `heap`, which covers the byte, covers the byte as well.
  static bool is_covered(const Node& n, unsigned byte, unsigned heap);

  /// Calls handle(depth, heap, address bytes, value) for every route, in the order of addresses.
  template <class Handle>
  void each(const Handle& handle) const {
    std::array<std::uint8_t, 16> address{};
    walk(0, 0, 1, address, handle);
  }

  std::size_t size() const { return size_; }
  std::size_t memory_bytes() const;

 private:
  NodeId make_node();
  std::size_t rank_of_prefix(const Node& n, unsigned heap) const;
  std::size_t rank_of_child(const Node& n, unsigned byte) const;

  template <class Handle>
  void walk(NodeId id, unsigned depth, unsigned heap, std::array<std::uint8_t, 16>& address,
            const Handle& handle) const {
    const Node& n = nodes_[id];
    if (n.has_prefix(heap)) {
      address[depth] = static_cast<std::uint8_t>(bytes_of(heap).first);
      handle(depth, heap, address, values_.of(n.values)[rank_of_prefix(n, heap)]);
    }
    if (heap < GW_FIB_NODE_ENTRIES) {
      walk(id, depth, heap * 2, address, handle);
      walk(id, depth, heap * 2 + 1, address, handle);
    } else if (const unsigned byte = heap - GW_FIB_NODE_ENTRIES; n.has_child(byte)) {
      address[depth] = static_cast<std::uint8_t>(byte);
      walk(child(id, byte)->node, depth + 1, 1, address, handle);
      address[depth + 1] = 0;
    }
    if (heap == 1) address[depth] = 0;
  }

  std::vector<Node> nodes_;
  std::vector<NodeId> free_;
  ArrayPool<RouteValue> values_;
  ArrayPool<Child> kids_;
  std::size_t size_ = 0;
};

}  // namespace gw::fib
