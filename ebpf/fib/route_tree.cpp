#include "ebpf/fib/route_tree.hpp"

#include <bit>
#include <cassert>
#include <utility>

namespace gw::fib {
namespace {

/// std::popcount without the instruction (x86-64 baseline) is a call; these lines are not.
std::size_t count_bits(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555ull;
  x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
  return (x * 0x0101010101010101ull) >> 56;
}

template <std::size_t kWords>
std::size_t rank(const std::array<std::uint64_t, kWords>& words, unsigned bit) {
  std::size_t before = 0;
  for (unsigned w = 0; w < bit / 64; ++w) before += count_bits(words[w]);
  return before + count_bits(words[bit / 64] & ((std::uint64_t{1} << (bit % 64)) - 1));
}

template <std::size_t kWords>
void flip(std::array<std::uint64_t, kWords>& words, unsigned bit) {
  words[bit / 64] ^= std::uint64_t{1} << (bit % 64);
}

unsigned depth_of(const Prefix& p) { return p.length() == 0 ? 0 : (p.length() - 1) / 8; }

unsigned heap_of(const Prefix& p, unsigned depth) {
  const unsigned length = p.length() - depth * 8;
  return (1u << length) | (unsigned{p.address().bytes()[depth]} >> (8 - length));
}

}  // namespace

ByteRange bytes_of(unsigned heap) {
  const auto length = static_cast<unsigned>(std::bit_width(heap)) - 1;
  const unsigned first = (heap << (8 - length)) & 0xff;
  return {first, first + (256u >> length) - 1};
}

RouteTree::RouteTree() { make_node(); }

NodeId RouteTree::make_node() {
  if (free_.empty()) {
    nodes_.emplace_back();
    return static_cast<NodeId>(nodes_.size() - 1);
  }
  const NodeId id = free_.back();
  free_.pop_back();
  nodes_[id] = {};
  return id;
}

std::size_t RouteTree::rank_of_prefix(const Node& n, unsigned heap) const { return rank(n.prefixes, heap); }
std::size_t RouteTree::rank_of_child(const Node& n, unsigned byte) const { return rank(n.children, byte); }

RouteTree::Child* RouteTree::child(NodeId id, unsigned byte) {
  const Node& n = nodes_[id];
  return n.has_child(byte) ? &kids_.of(n.kids)[rank_of_child(n, byte)] : nullptr;
}
const RouteTree::Child* RouteTree::child(NodeId id, unsigned byte) const {
  const Node& n = nodes_[id];
  return n.has_child(byte) ? &kids_.of(n.kids)[rank_of_child(n, byte)] : nullptr;
}

RouteTree::Place RouteTree::make(const Prefix& prefix) {
  Place place;
  place.depth = depth_of(prefix);
  place.heap = heap_of(prefix, place.depth);
  place.path[0] = 0;
  for (unsigned d = 0; d < place.depth; ++d) {
    const unsigned byte = prefix.address().bytes()[d];
    const NodeId above = place.path[d];
    if (const Child* c = child(above, byte)) {
      place.path[d + 1] = c->node;
      continue;
    }
    const NodeId made = make_node();  // moves nodes_
    Node& n = nodes_[above];
    kids_.insert(n.kids, rank_of_child(n, byte), {made, 0});
    flip(n.children, byte);
    place.path[d + 1] = made;
    if (place.made_from > d + 1) place.made_from = d + 1;
  }
  return place;
}

bool RouteTree::find(const Prefix& prefix, Place& place) const {
  place.depth = depth_of(prefix);
  place.heap = heap_of(prefix, place.depth);
  place.made_from = 16;
  place.path[0] = 0;
  for (unsigned d = 0; d < place.depth; ++d) {
    const Child* c = child(place.path[d], prefix.address().bytes()[d]);
    if (!c) return false;
    place.path[d + 1] = c->node;
  }
  return nodes_[place.path[place.depth]].has_prefix(place.heap);
}

RouteValue* RouteTree::value(const Place& place) {
  const Node& n = nodes_[place.path[place.depth]];
  return n.has_prefix(place.heap) ? &values_.of(n.values)[rank_of_prefix(n, place.heap)] : nullptr;
}

RouteValue RouteTree::set(const Place& place, const RouteValue& to) {
  if (RouteValue* v = value(place)) return std::exchange(*v, to);
  Node& n = nodes_[place.path[place.depth]];
  values_.insert(n.values, rank_of_prefix(n, place.heap), to);
  flip(n.prefixes, place.heap);
  ++size_;
  return {};
}

RouteValue RouteTree::erase(const Place& place) {
  Node& n = nodes_[place.path[place.depth]];
  assert(n.has_prefix(place.heap));
  const std::size_t at = rank_of_prefix(n, place.heap);
  const RouteValue before = values_.of(n.values)[at];
  values_.erase(n.values, at);
  flip(n.prefixes, place.heap);
  --size_;
  return before;
}

unsigned RouteTree::prune(const Place& place, std::span<const std::uint8_t> address) {
  unsigned depth = place.depth;
  for (; depth > 0 && nodes_[place.path[depth]].empty(); --depth) {
    Node& above = nodes_[place.path[depth - 1]];
    const unsigned byte = address[depth - 1];
    kids_.erase(above.kids, rank_of_child(above, byte));
    flip(above.children, byte);
    free_.push_back(place.path[depth]);
  }
  return depth;
}

NextHopIndex RouteTree::cover_in_node(NodeId id, unsigned heap) const {
  const Node& n = nodes_[id];
  for (unsigned h = heap / 2; h > 0; h /= 2)
    if (n.has_prefix(h)) return values_.of(n.values)[rank_of_prefix(n, h)].hop;
  return 0;
}

bool RouteTree::is_covered(const Node& n, unsigned byte, unsigned heap) {
  for (unsigned h = GW_FIB_NODE_ENTRIES + byte; h > heap; h /= 2)
    if (n.has_prefix(h)) return true;
  return false;
}

std::size_t RouteTree::memory_bytes() const {
  return nodes_.capacity() * sizeof(Node) + free_.capacity() * sizeof(NodeId) + values_.memory_bytes() +
         kids_.memory_bytes();
}

}  // namespace gw::fib
