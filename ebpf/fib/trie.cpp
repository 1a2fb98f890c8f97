#include "ebpf/fib/trie.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>

namespace gw::fib {
namespace {

std::uint32_t leaf(unsigned length, NextHopIndex hop) { return (length << GW_FIB_LENGTH_SHIFT) | hop; }
unsigned length_of(std::uint32_t entry) { return (entry & ~GW_FIB_NODE_BIT) >> GW_FIB_LENGTH_SHIFT; }
bool is_node(std::uint32_t entry) { return (entry & GW_FIB_NODE_BIT) != 0; }

void store_entry(std::uint32_t& entry, std::uint32_t value) {
  std::atomic_ref(entry).store(value, std::memory_order_release);
}

/// Bits [from, from + count) of the address as a number; count is at most 24.
std::size_t bits_of(const IpAddress& a, unsigned from, unsigned count) {
  const auto bytes = a.bytes();
  std::size_t value = 0;
  for (unsigned i = from / 8; i < (from + count) / 8; ++i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

Trie::Trie(Family family, Storage storage)
    : bits_(address_bits(family)),
      root_bits_(family == Family::kV4 ? GW_FIB_V4_ROOT_BITS : GW_FIB_V6_ROOT_BITS),
      root_(storage.root),
      nodes_(storage.nodes),
      population_(storage.nodes.size() / GW_FIB_NODE_ENTRIES) {
  assert(root_.size() == std::size_t{1} << root_bits_);
  free_.reserve(population_.size());
  for (std::size_t n = population_.size(); n-- > 0;) free_.push_back(static_cast<std::uint32_t>(n));
}

/// The entries of the level that begins after `base_bits` bits.
std::span<std::uint32_t> Trie::level(unsigned base_bits) { return base_bits == 0 ? root_ : nodes_; }

/// The entry on the prefix's path (or the first it covers) in `node`, which begins after base_bits bits.
std::size_t Trie::first_entry(const Prefix& p, unsigned base_bits, std::uint32_t node) const {
  if (base_bits == 0) return bits_of(p.address(), 0, root_bits_);
  return std::size_t{node} * GW_FIB_NODE_ENTRIES + bits_of(p.address(), base_bits, kStride);
}

std::size_t Trie::nodes_needed(const Prefix& p) const {
  std::uint32_t entry = root_[first_entry(p, 0, 0)];
  unsigned end = root_bits_;
  for (; p.length() > end && is_node(entry); end += kStride)
    entry = nodes_[first_entry(p, end, entry & GW_FIB_INDEX_MASK)];
  return p.length() <= end ? 0 : (p.length() - end + kStride - 1) / kStride;
}

/// A node that repeats the leaf it replaces, complete before readers can see it.
std::uint32_t Trie::publish_node(std::span<std::uint32_t> entries, std::size_t index) {
  const std::uint32_t node = free_.back();
  free_.pop_back();
  population_[node] = 0;
  const auto content = nodes_.subspan(std::size_t{node} * GW_FIB_NODE_ENTRIES, GW_FIB_NODE_ENTRIES);
  for (auto& e : content) std::atomic_ref(e).store(entries[index], std::memory_order_relaxed);
  store_entry(entries[index], GW_FIB_NODE_BIT | node);
  return node;
}

/// Applies `rule` (old leaf -> new leaf) to a range and to everything below it.
void Trie::store_range(std::span<std::uint32_t> entries, std::size_t first, std::size_t count, const auto& rule) {
  for (std::size_t i = first; i < first + count; ++i) {
    const std::uint32_t old = entries[i];
    if (is_node(old))
      store_range(nodes_, std::size_t{old & GW_FIB_INDEX_MASK} * GW_FIB_NODE_ENTRIES, GW_FIB_NODE_ENTRIES, rule);
    else if (const std::uint32_t now = rule(old); now != old)
      store_entry(entries[i], now);
  }
}

/// Walks to the level where the prefix ends and rewrites the leaves it covers. The path exists.
void Trie::rewrite(const Prefix& p, const auto& rule) {
  unsigned base = 0;
  unsigned end = root_bits_;
  std::uint32_t node = 0;
  while (p.length() > end) {
    node = level(base)[first_entry(p, base, node)] & GW_FIB_INDEX_MASK;
    base = end;
    end += kStride;
  }
  store_range(level(base), first_entry(p, base, node), std::size_t{1} << (end - p.length()), rule);
}

Status Trie::insert(const Prefix& prefix, NextHopIndex hop) {
  assert(address_bits(prefix.family()) == bits_ && hop != 0 && hop <= GW_FIB_INDEX_MASK);
  const bool is_new = !prefixes_.contains(prefix);
  if (nodes_needed(prefix) > free_.size())
    return fail(Errc::kLimit, std::format("forwarding table: {} nodes for prefixes longer than /{} are in use",
                                          population_.size() - free_.size(), root_bits_));
  std::uint32_t node = 0;
  for (unsigned base = 0, end = root_bits_; prefix.length() > end; base = end, end += kStride) {
    const std::size_t index = first_entry(prefix, base, node);
    const std::uint32_t entry = level(base)[index];
    node = is_node(entry) ? entry & GW_FIB_INDEX_MASK : publish_node(level(base), index);
    if (is_new) ++population_[node];
  }
  const std::uint32_t value = leaf(prefix.length(), hop);
  rewrite(prefix, [value](std::uint32_t old) { return length_of(old) <= length_of(value) ? value : old; });
  prefixes_[prefix] = hop;
  return {};
}

/// The leaf of the longest other prefix that contains `p`, 0 if none does.
std::uint32_t Trie::cover_of(const Prefix& p) const {
  for (unsigned length = p.length(); length-- > 0;) {
    const auto shorter = Prefix::make(p.address(), length);
    if (const auto it = prefixes_.find(*shorter); it != prefixes_.end()) return leaf(length, it->second);
  }
  return 0;
}

bool Trie::erase(const Prefix& prefix) {
  if (prefixes_.erase(prefix) == 0) return false;
  const std::uint32_t cover = cover_of(prefix);
  const unsigned length = prefix.length();
  rewrite(prefix, [cover, length](std::uint32_t old) { return old != 0 && length_of(old) == length ? cover : old; });
  retire_empty(prefix);
  return true;
}

/// Counts the prefix out of the nodes on its path and folds the first that holds none any more; every
/// node below that one is empty as well.
void Trie::retire_empty(const Prefix& p) {
  std::span<std::uint32_t> parent;
  std::size_t parent_index = 0;
  bool folded = false;
  std::uint32_t node = 0;
  for (unsigned base = 0, end = root_bits_; p.length() > end; base = end, end += kStride) {
    const std::size_t index = first_entry(p, base, node);
    node = level(base)[index] & GW_FIB_INDEX_MASK;
    if (--population_[node] > 0) continue;
    if (!folded) {
      folded = true;
      parent = level(base);
      parent_index = index;
    }
    retired_.push_back(node);
  }
  if (!folded) return;
  // All entries of an empty node are the same leaf: what covers the whole node.
  std::uint32_t entry = parent[parent_index];
  while (is_node(entry)) entry = nodes_[std::size_t{entry & GW_FIB_INDEX_MASK} * GW_FIB_NODE_ENTRIES];
  store_entry(parent[parent_index], entry);
}

NextHopIndex Trie::find(const Prefix& prefix) const {
  const auto it = prefixes_.find(prefix);
  return it == prefixes_.end() ? 0 : it->second;
}

void Trie::release(std::span<const std::uint32_t> nodes) { free_.insert(free_.end(), nodes.begin(), nodes.end()); }

}  // namespace gw::fib
