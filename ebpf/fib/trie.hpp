// One address family of the forwarding table: a root of 2^n entries, then 8-bit nodes (DIR-24-8 for
// IPv4). Controlled prefix expansion with the prefix length in each leaf, so that a shorter prefix never
// hides a longer one. One writer; readers (fib/view.hpp, XDP) run alongside: leaves are stored
// atomically, nodes are filled before they are published and reused only after a grace period.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::fib {

class Trie {
 public:
  struct Storage {
    std::span<std::uint32_t> root;
    std::span<std::uint32_t> nodes;
  };
  /// The memory outlives the trie, is all zero and is written by nobody else.
  Trie(Family family, Storage storage);

  /// Adds or replaces. kLimit when nodes run out; nothing has then changed.
  Status insert(const Prefix& prefix, NextHopIndex hop);
  /// False: there was no such prefix.
  bool erase(const Prefix& prefix);
  /// 0: no such prefix (exact match).
  NextHopIndex find(const Prefix& prefix) const;

  std::size_t size() const { return prefixes_.size(); }
  std::size_t free_nodes() const { return free_.size(); }

  /// Nodes taken out of the trie since the last call; readers may still be in them.
  std::vector<std::uint32_t> take_retired() { return std::exchange(retired_, {}); }
  /// After a grace period: the nodes may be used again.
  void release(std::span<const std::uint32_t> nodes);

 private:
  struct Step {
    std::size_t entry;   // index into root (first step) or nodes
    std::uint32_t node;  // where it leads
  };
  static constexpr unsigned kStride = 8;

  std::uint32_t load(const Step& s) const;
  std::span<std::uint32_t> level(unsigned base_bits);
  std::size_t first_entry(const Prefix& p, unsigned base_bits, std::uint32_t node) const;
  std::size_t nodes_needed(const Prefix& p) const;
  std::uint32_t publish_node(std::span<std::uint32_t> entries, std::size_t index);
  void store_range(std::span<std::uint32_t> entries, std::size_t first, std::size_t count, const auto& rule);
  std::uint32_t cover_of(const Prefix& p) const;
  void rewrite(const Prefix& p, const auto& rule);
  void retire_empty(const Prefix& p);

  const unsigned bits_;
  const unsigned root_bits_;
  std::span<std::uint32_t> root_;
  std::span<std::uint32_t> nodes_;
  std::unordered_map<Prefix, NextHopIndex> prefixes_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> retired_;
  std::vector<std::uint32_t> population_;  // per node: prefixes that end in it or below
};

}  // namespace gw::fib
