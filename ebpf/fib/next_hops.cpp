#include "ebpf/fib/next_hops.hpp"

#include <algorithm>
#include <cassert>

namespace gw::fib {
namespace {

/// A 64-bit finalizer with full avalanche: neighbouring ids and buckets must not correlate.
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint16_t winner(std::uint32_t bucket, std::span<const TunnelRef> tunnels) {
  const auto score = [bucket](const TunnelRef& t) {
    return mix((std::uint64_t{t.id} << 32 | bucket) + 0x9e3779b97f4a7c15ull);
  };
  return std::ranges::max_element(tunnels, {}, score)->slot;
}

}  // namespace

NextHops::NextHops(std::span<gw_next_hop> memory) : memory_(memory), records_(memory.size()) {
  assert(memory.size() > 1);
  for (std::size_t i = memory.size(); i-- > 1;) free_.push_back(static_cast<NextHopIndex>(i));
}

/// The record is not in use: no reader looks at it until a leaf leads there.
void NextHops::write(NextHopIndex index, const NextHop& hop) {
  gw_next_hop& m = memory_[index];
  m = {};
  m.kind = hop.kind;
  if (hop.kind == GW_NEXT_HOP_TUNNELS) {
    m.mtu = std::ranges::min(hop.tunnels, {}, &TunnelRef::mtu).mtu;
    for (std::uint32_t b = 0; b < GW_NEXT_HOP_BUCKETS; ++b) m.bucket[b] = winner(b, hop.tunnels);
  }
  if (hop.kind == GW_NEXT_HOP_VNET && !hop.gateway.is_unspecified()) {
    m.gateway_family = hop.gateway.is_v4() ? 4 : 6;
    std::ranges::copy(hop.gateway.bytes(), m.gateway);
  }
}

Result<NextHopIndex> NextHops::acquire(const NextHop& hop) {
  if (const auto it = by_value_.find(hop); it != by_value_.end()) {
    ++records_[it->second].references;
    return it->second;
  }
  if (free_.empty()) return fail(Errc::kLimit, std::format("next-hop table is full ({})", memory_.size() - 1));
  const NextHopIndex index = free_.back();
  free_.pop_back();
  write(index, hop);
  records_[index] = {hop, 1};
  by_value_.emplace(hop, index);
  return index;
}

void NextHops::release(NextHopIndex index) {
  Record& r = records_[index];
  assert(r.references > 0);
  if (--r.references > 0) return;
  by_value_.erase(r.hop);
  retired_.push_back(index);
}

void NextHops::reuse(std::span<const NextHopIndex> indexes) {
  free_.insert(free_.end(), indexes.begin(), indexes.end());
}

}  // namespace gw::fib
