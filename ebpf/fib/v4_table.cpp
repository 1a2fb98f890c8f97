#include "ebpf/fib/v4_table.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <format>

namespace gw::fib {
namespace {

void store_entry(std::uint16_t& entry, std::uint16_t value) {
  std::atomic_ref(entry).store(value, std::memory_order_release);
}

std::uint32_t slot_of(const Prefix& p) { return p.address().v4() >> (32 - GW_FIB_V4_ROOT_BITS); }

}  // namespace

V4Table::V4Table(const Memory& m, std::function<void()> reclaim)
    : root_(m.v4_root),
      groups_(m.v4_groups),
      root_groups_(std::min<std::size_t>(groups_.size() / GW_FIB_NODE_ENTRIES, GW_FIB_V4_MAX_GROUPS)),
      reclaim_(std::move(reclaim)) {
  assert(root_.size() == std::size_t{1} << GW_FIB_V4_ROOT_BITS);
  free_.reserve(root_groups_);
  for (std::size_t g = root_groups_; g-- > 0;) free_.push_back(static_cast<std::uint16_t>(g));
}

/// A group that repeats the entry it replaces, complete before readers can see it.
bool V4Table::open_group(std::uint32_t slot, Claim claim) {
  if (!may_open(claim)) reclaim_();
  if (!may_open(claim)) return false;
  const std::uint16_t group = free_.back();
  free_.pop_back();
  for (auto& e : groups_.subspan(std::size_t{group} * GW_FIB_NODE_ENTRIES, GW_FIB_NODE_ENTRIES))
    std::atomic_ref(e).store(root_[slot], std::memory_order_relaxed);
  store_entry(root_[slot], static_cast<std::uint16_t>(GW_FIB_V4_GROUP + group));
  return true;
}

void V4Table::close_group(std::uint32_t slot, NextHopIndex hop) {
  retired_.push_back(static_cast<std::uint16_t>(root_[slot] - GW_FIB_V4_GROUP));
  store_entry(root_[slot], static_cast<std::uint16_t>(hop));
}

void V4Table::release_retired() {
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
}

Error V4Table::full(Claim claim) const {
  const std::size_t all = claim == Claim::kRoute ? root_groups_ - kOwnV4Groups : root_groups_;
  return {Errc::kLimit,
          std::format("forwarding table: all {} groups for IPv4 {} are in use; gw-fastpath --fib-v4-groups sets how "
                      "many there are",
                      all, claim == Claim::kRoute ? "prefixes longer than /24" : "addresses of this machine"),
          {},
          {}};
}

Result<RouteValue> V4Table::set(const Prefix& prefix, const RouteValue& value, Claim claim) {
  assert(value.hop != 0 && value.hop < GW_FIB_MAX_NEXT_HOPS);
  const RouteTree::Place place = tree_.make(prefix);
  if (place.depth == kGroupDepth && place.made_from <= kGroupDepth && !open_group(slot_of(prefix), claim)) {
    tree_.prune(place, prefix.address().bytes());
    return std::unexpected(full(claim));
  }
  const RouteValue before = tree_.set(place, value);
  if (before.hop != value.hop) write(place, prefix, value.hop);
  return before;
}

/// The next hop of the longest shorter prefix that contains this one; 0: none.
NextHopIndex V4Table::cover(const RouteTree::Place& place, const Prefix& prefix) const {
  if (const NextHopIndex hop = tree_.cover_in_node(place.path[place.depth], place.heap)) return hop;
  const auto address = prefix.address().bytes();
  for (unsigned d = place.depth; d-- > 0;)
    if (const NextHopIndex hop = tree_.longest_in_node(place.path[d], address[d])) return hop;
  return 0;
}

Result<RouteValue> V4Table::erase(const Prefix& prefix) {
  RouteTree::Place place;
  if (!tree_.find(prefix, place)) return RouteValue{};
  const NextHopIndex now = cover(place, prefix);
  const RouteValue before = tree_.erase(place);
  const bool group_empty = place.depth == kGroupDepth && tree_.node(place.path[kGroupDepth]).empty();
  if (group_empty)
    close_group(slot_of(prefix), now);
  else
    write(place, prefix, now);
  tree_.prune(place, prefix.address().bytes());
  return before;
}

void V4Table::write(const RouteTree::Place& place, const Prefix& prefix, NextHopIndex hop) {
  const auto entry = static_cast<std::uint16_t>(hop);
  const NodeId id = place.path[place.depth];
  const std::uint32_t above = place.depth == 0 ? 0 : prefix.address().v4() >> (32 - 8 * place.depth);
  if (place.depth == kGroupDepth)
    write_group(root_[above], tree_.node(id), place.heap, entry);
  else
    write_region({id, place.depth, place.heap, above}, entry);
}

/// Writes the entries of the region that no longer prefix covers.
void V4Table::write_region(const RouteTree::Region& region, std::uint16_t hop) {
  const RouteTree::Node& node = tree_.node(region.node);
  const unsigned below = 8 * (kGroupDepth - 1 - region.depth);  // bits of a slot that are below this node's byte
  const auto [first, last] = bytes_of(region.heap);
  for (unsigned byte = first; byte <= last; ++byte) {
    if (RouteTree::is_covered(node, byte, region.heap)) continue;
    const std::uint32_t base = region.base << 8 | byte;
    const RouteTree::Child* child = tree_.child(region.node, byte);
    if (!child)
      for (std::size_t s = std::size_t{base} << below; s < (std::size_t{base} + 1) << below; ++s)
        store_entry(root_[s], hop);
    else if (below == 0)
      write_group(root_[base], tree_.node(child->node), 1, hop);
    else
      write_region({child->node, region.depth + 1, 1, base}, hop);
  }
}

void V4Table::write_group(std::uint16_t entry, const RouteTree::Node& node, unsigned heap, std::uint16_t hop) {
  const auto group = groups_.subspan(group_index(entry, 0), GW_FIB_NODE_ENTRIES);
  const auto [first, last] = bytes_of(heap);
  for (unsigned byte = first; byte <= last; ++byte)
    if (!RouteTree::is_covered(node, byte, heap)) store_entry(group[byte], hop);
}

}  // namespace gw::fib
