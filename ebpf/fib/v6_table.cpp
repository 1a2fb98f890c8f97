#include "ebpf/fib/v6_table.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <format>

namespace gw::fib {
namespace {

void store_entry(std::uint32_t& entry, std::uint32_t value) {
  std::atomic_ref(entry).store(value, std::memory_order_release);
}

bool is_node(std::uint32_t entry) { return (entry & GW_FIB_V6_NODE) != 0; }

LineBlock block_of(std::uint32_t entry) {
  return {entry & GW_FIB_V6_LINE_MASK, (entry & ~GW_FIB_V6_NODE) >> GW_FIB_V6_WIDTH_SHIFT};
}

std::uint32_t entry_to(const LineBlock& b) { return GW_FIB_V6_NODE | b.width << GW_FIB_V6_WIDTH_SHIFT | b.first; }

std::size_t root_slot(std::span<const std::uint8_t> address) { return std::size_t{address[0]} << 8 | address[1]; }

using Entries = std::array<std::uint32_t, GW_FIB_NODE_ENTRIES>;

/// The fewest lines (as a width) whose parts have no more runs than fit. A line of the greatest width is for 8
/// values: it always fits.
unsigned width_for(const Entries& entries) {
  static_assert(GW_FIB_NODE_ENTRIES >> GW_FIB_V6_MAX_WIDTH <= GW_FIB_LINE_RUNS);
  std::array<std::uint16_t, GW_FIB_NODE_ENTRIES> begun{};  // runs that begin up to here
  for (unsigned b = 1; b < GW_FIB_NODE_ENTRIES; ++b)
    begun[b] = static_cast<std::uint16_t>(begun[b - 1] + (entries[b] != entries[b - 1]));
  for (unsigned width = 0; width < GW_FIB_V6_MAX_WIDTH; ++width) {
    const unsigned part = GW_FIB_NODE_ENTRIES >> width;
    bool fits = true;
    for (unsigned first = 0; first < GW_FIB_NODE_ENTRIES && fits; first += part)
      fits = begun[first + part - 1] - begun[first] < GW_FIB_LINE_RUNS;
    if (fits) return width;
  }
  return GW_FIB_V6_MAX_WIDTH;
}

struct ByteSpan {
  unsigned first;
  unsigned count;
};

// Lines of the greatest width have an entry for each value: readers need not search.
constexpr unsigned kDirectValues = GW_FIB_NODE_ENTRIES >> GW_FIB_V6_MAX_WIDTH;

/// One line: the runs of `entries` in the span.
void make_line(gw_fib_line& line, const Entries& entries, const ByteSpan& span) {
  std::ranges::fill(line.last, 0xff);
  std::ranges::fill(line.entry, 0);
  unsigned run = 0;
  line.entry[0] = entries[span.first];
  const bool each = span.count == kDirectValues;
  for (unsigned b = span.first + 1; b < span.first + span.count; ++b) {
    if (entries[b] == entries[b - 1] && !each) continue;
    line.last[run++] = static_cast<std::uint8_t>(b - 1);
    line.entry[run] = entries[b];
  }
}

}  // namespace

V6Table::V6Table(const Memory& m, std::function<void()> reclaim)
    : root_(m.v6_root), lines_(m.v6_lines), reclaim_(std::move(reclaim)), allocator_(m.v6_lines.size()) {
  assert(root_.size() == std::size_t{1} << GW_FIB_V6_ROOT_BITS && lines_.size() <= GW_FIB_V6_LINE_MASK);
}

Error V6Table::full() const {
  return {Errc::kLimit,
          std::format("forwarding table: the {} lines for IPv6 prefixes longer than /16 are in use; "
                      "gw-fastpath --fib-v6-lines sets how many there are",
                      allocator_.size()),
          {},
          {}};
}

// --- nodes ---------------------------------------------------------------------------------------------------

/// A node as lines, before anybody sees it.
struct V6Table::Shape {
  explicit Shape(const Entries& entries) : width(width_for(entries)) {
    const unsigned part = GW_FIB_NODE_ENTRIES >> width;
    for (unsigned i = 0; i < 1u << width; ++i) make_line(lines[i], entries, {i * part, part});
  }
  std::span<const gw_fib_line> used() const { return std::span(lines).first(1u << width); }
  unsigned width;
  std::array<gw_fib_line, 1u << GW_FIB_V6_MAX_WIDTH> lines;
};

V6Table::Content V6Table::content_of(NodeId id) {
  Content c;
  c.leaves.fill(0);
  // Shorter ones come first: what is longer overwrites them.
  tree_.each_prefix(id, [&](unsigned heap, const RouteValue& value) {
    const auto [first, last] = bytes_of(heap);
    std::fill(c.leaves.begin() + first, c.leaves.begin() + last + 1, value.hop);
  });
  c.entries = c.leaves;
  const RouteTree::Node& node = tree_.node(id);
  const RouteTree::Child* child = tree_.children(id).data();
  for (unsigned word = 0; word < node.children.size(); ++word)
    for (std::uint64_t bits = node.children[word]; bits != 0; bits &= bits - 1)
      c.entries[word * 64 + static_cast<unsigned>(std::countr_zero(bits))] = (child++)->entry;
  return c;
}

/// A new node, not yet published; its entry. None: no memory.
std::optional<std::uint32_t> V6Table::write_lines(const Shape& shape, std::uint32_t inherited, Need need) {
  auto block = allocator_.allocate(shape.width, need);
  if (!block) {
    reclaim_();
    block = allocator_.allocate(shape.width, need);
  }
  if (!block) return std::nullopt;
  gw_fib_line* to = &lines_[block->first];
  for (const gw_fib_line& line : shape.used()) {
    *to = line;
    (to++)->inherited = inherited;
  }
  return entry_to(*block);
}

/// True: the node's runs begin and end where they did, only what they say has changed, and is stored.
bool V6Table::rewrite_in_place(std::uint32_t entry, const Shape& shape) {
  const LineBlock b = block_of(entry);
  if (shape.width != b.width) return false;
  gw_fib_line* at = &lines_[b.first];
  for (const gw_fib_line& now : shape.used())
    if (!std::ranges::equal(now.last, (at++)->last)) return false;
  at = &lines_[b.first];
  for (const gw_fib_line& now : shape.used()) {
    gw_fib_line& line = *at++;
    for (unsigned run = 0; run < GW_FIB_LINE_RUNS; ++run)
      if (line.entry[run] != now.entry[run]) store_entry(line.entry[run], now.entry[run]);
  }
  return true;
}

void V6Table::set_inherited(std::uint32_t entry, NextHopIndex hop) {
  const LineBlock b = block_of(entry);
  for (unsigned i = 0; i < 1u << b.width; ++i) store_entry(lines_[b.first + i].inherited, hop);
}

void V6Table::retire(std::uint32_t entry) { retired_.push_back(block_of(entry)); }
void V6Table::give_back(std::uint32_t entry) { allocator_.free(block_of(entry)); }

void V6Table::release_retired() {
  for (const LineBlock& b : retired_) allocator_.free(b);
  retired_.clear();
}

// --- the path to a prefix ------------------------------------------------------------------------------------

/// How readers get to the node.
std::uint32_t V6Table::entry_of(const Spot& s) {
  return s.depth == kRootDepth ? root_[root_slot(s.address)]
                               : tree_.child(s.place.path[s.depth - 1], s.address[s.depth - 1])->entry;
}

/// Readers get to the node by `entry` from now on. The node above has an entry for it alone.
void V6Table::publish(const Spot& s, std::uint32_t entry) {
  if (s.depth == kRootDepth) return store_entry(root_[root_slot(s.address)], entry);
  const std::uint8_t byte = s.address[s.depth - 1];
  gw_fib_line& line = lines_[line_index(entry_of({s.place, s.address, s.depth - 1}), byte)];
  store_entry(line.entry[run_of(line, byte)], entry);
  tree_.child(s.place.path[s.depth - 1], byte)->entry = entry;
}

/// Gives the node its new content, in place or beside. False: no memory, nothing has changed.
bool V6Table::rewrite(const Spot& s, const Content& content, Need need) {
  const std::uint32_t before = entry_of(s);
  const Shape shape(content.entries);
  if (rewrite_in_place(before, shape)) return true;
  const auto now = write_lines(shape, lines_[block_of(before).first].inherited, need);
  if (!now) return false;
  publish(s, *now);
  retire(before);
  return true;
}

/// What the node's own prefixes say where its children are is theirs to inherit.
void V6Table::update_inherited(const Spot& s, const Content& content) {
  const auto [first, last] = bytes_of(s.place.heap);
  for (unsigned byte = first; byte <= last; ++byte) {
    const std::uint32_t child = content.entries[byte];
    if (is_node(child) && lines_[block_of(child).first].inherited != content.leaves[byte])
      set_inherited(child, content.leaves[byte]);
  }
}

/// The new nodes at the end of the path, from the last upwards, and the entry that leads to them. False: no
/// memory, nothing has changed.
bool V6Table::write_branch(const Spot& top) {
  const RouteTree::Place& place = top.place;
  std::array<std::uint32_t, 16> made{};
  unsigned d = place.depth + 1;
  const auto undo = [&] {
    for (; d <= place.depth; ++d) give_back(made[d]);
    return false;
  };
  const bool below_root = top.depth == kRootDepth;
  NextHopIndex inherited = 0;
  std::optional<Content> above;
  if (below_root) {
    inherited = root_[root_slot(top.address)];
  } else {
    above = content_of(place.path[top.depth - 1]);
    inherited = above->leaves[top.address[top.depth - 1]];
  }
  while (d > top.depth) {
    const auto entry =
        write_lines(Shape(content_of(place.path[d - 1]).entries), d - 1 == top.depth ? inherited : 0, Need::kGrow);
    if (!entry) return undo();
    made[--d] = *entry;
    if (d > kRootDepth) tree_.child(place.path[d - 1], top.address[d - 1])->entry = *entry;
  }
  if (below_root) {
    store_entry(root_[root_slot(top.address)], made[d]);
    return true;
  }
  above->entries[top.address[top.depth - 1]] = made[top.depth];
  return rewrite({place, top.address, top.depth - 1}, *above, Need::kGrow) || undo();
}

// --- routes --------------------------------------------------------------------------------------------------

/// Writes the slots of the root that the region covers and no longer prefix does.
void V6Table::write_root(const RouteTree::Region& region, NextHopIndex hop) {
  const RouteTree::Node& node = tree_.node(region.node);
  const auto [first, last] = bytes_of(region.heap);
  for (unsigned byte = first; byte <= last; ++byte) {
    if (RouteTree::is_covered(node, byte, region.heap)) continue;
    const std::uint32_t base = region.base << 8 | byte;
    const RouteTree::Child* child = tree_.child(region.node, byte);
    if (region.depth + 1 < kRootDepth && child) {
      write_root({child->node, region.depth + 1, 1, base}, hop);
      continue;
    }
    const unsigned below = 8 * (kRootDepth - 1 - region.depth);
    for (std::size_t s = std::size_t{base} << below; s < (std::size_t{base} + 1) << below; ++s) {
      if (is_node(root_[s]))
        set_inherited(root_[s], hop);
      else
        store_entry(root_[s], hop);
    }
  }
}

/// The next hop of the longest prefix of at most 16 bits that is shorter than the one at `place`.
NextHopIndex V6Table::root_cover(const RouteTree::Place& place, Bytes address) const {
  if (const NextHopIndex hop = tree_.cover_in_node(place.path[place.depth], place.heap)) return hop;
  return place.depth == 0 ? 0 : tree_.longest_in_node(place.path[0], address[0]);
}

/// Shows readers what the tree says at the spot's prefix, where `hop` is the route or what covers it. False: no
/// memory, nothing has changed.
bool V6Table::write_changes(const Spot& spot, NextHopIndex hop, Need need) {
  const RouteTree::Place& place = spot.place;
  if (place.depth < kRootDepth) {
    write_root({place.path[place.depth], place.depth, place.heap, place.depth == 0 ? 0u : spot.address[0]}, hop);
    return true;
  }
  if (place.made_from <= place.depth) return write_branch({place, spot.address, std::max(place.made_from, kRootDepth)});
  const Content content = content_of(place.path[place.depth]);
  if (!rewrite(spot, content, need)) return false;
  update_inherited(spot, content);
  return true;
}

Result<RouteValue> V6Table::set(const Prefix& prefix, const RouteValue& value) {
  assert(value.hop != 0 && value.hop < GW_FIB_MAX_NEXT_HOPS);
  const RouteTree::Place place = tree_.make(prefix);
  const auto address = prefix.address().bytes();
  const RouteValue before = tree_.set(place, value);
  const Need need = before.hop == 0 ? Need::kGrow : Need::kShrink;
  if (before.hop == value.hop || write_changes({place, address, place.depth}, value.hop, need)) return before;
  if (before.hop != 0) {
    tree_.set(place, before);
  } else {
    tree_.erase(place);
    tree_.prune(place, address);
  }
  return std::unexpected(full());
}

/// Takes the nodes below `stays` out of readers' sight. False: no memory, nothing has changed.
bool V6Table::cut_branch(const Spot& stays) {
  const RouteTree::Place& place = stays.place;
  std::array<std::uint32_t, 16> gone{};
  const unsigned top = std::max(stays.depth + 1, kRootDepth);
  for (unsigned d = top; d <= place.depth; ++d) gone[d] = entry_of({place, stays.address, d});
  if (stays.depth < kRootDepth) {
    store_entry(root_[root_slot(stays.address)], lines_[block_of(gone[top]).first].inherited);
  } else {
    Content content = content_of(place.path[stays.depth]);
    const unsigned byte = stays.address[stays.depth];
    content.entries[byte] = content.leaves[byte];
    if (!rewrite(stays, content, Need::kShrink)) return false;
  }
  for (unsigned d = top; d <= place.depth; ++d) retire(gone[d]);
  return true;
}

/// Takes the node at the end of the path out, and those above that lead to it alone.
bool V6Table::cut_empty(const RouteTree::Place& place, Bytes address) {
  unsigned stays = place.depth - 1;
  for (; stays >= kRootDepth; --stays) {
    const RouteTree::Node& n = tree_.node(place.path[stays]);
    if (n.values.size > 0 || n.kids.size > 1) break;
  }
  return cut_branch({place, address, stays});
}

Result<RouteValue> V6Table::erase(const Prefix& prefix) {
  RouteTree::Place place;
  if (!tree_.find(prefix, place)) return RouteValue{};
  const auto address = prefix.address().bytes();
  const RouteValue before = tree_.erase(place);
  const bool empty = place.depth >= kRootDepth && tree_.node(place.path[place.depth]).empty();
  const NextHopIndex cover = place.depth < kRootDepth ? root_cover(place, address) : 0;
  const bool done =
      empty ? cut_empty(place, address) : write_changes({place, address, place.depth}, cover, Need::kShrink);
  if (!done) {
    tree_.set(place, before);
    return std::unexpected(full());
  }
  tree_.prune(place, address);
  return before;
}

}  // namespace gw::fib
