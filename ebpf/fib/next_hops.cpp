#include "ebpf/fib/next_hops.hpp"

#include <algorithm>
#include <boost/container_hash/hash.hpp>
#include <cassert>
#include <cstring>

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

std::uint8_t winner(std::uint32_t bucket, std::span<const IpAddress> gateways) {
  const auto score = [bucket](const IpAddress& gateway) {
    std::uint64_t h = bucket + 0x9e3779b97f4a7c15ull;
    for (const std::uint8_t byte : gateway.bytes()) h = mix(h ^ byte);
    return h;
  };
  return static_cast<std::uint8_t>(std::ranges::max_element(gateways, {}, score) - gateways.begin());
}

gw_zone zone_of(const NextHop& hop) {
  switch (hop.kind) {
    case GW_NEXT_HOP_TUNNELS: return GW_ZONE_TUNNELS;
    case GW_NEXT_HOP_CIRCUIT: return GW_ZONE_CIRCUIT;
    default: return hop.behind;
  }
}

/// Only of records that nobody reads yet, and nobody ever changes: gateways come and go with their records.
void write_gateways(gw_gateways& to, std::span<const IpAddress> gateways) {
  std::memset(&to, 0, sizeof to);
  for (std::size_t i = 0; i < gateways.size(); ++i) std::ranges::copy(gateways[i].bytes(), to.gateway[i].address);
  if (gateways.size() < 2) return;
  for (std::uint32_t b = 0; b < GW_NEXT_HOP_BUCKETS; ++b) to.bucket[b] = winner(b, gateways);
}

}  // namespace

std::size_t hash_value(const NextHop& hop) {
  std::size_t seed = hop.kind;
  for (const TunnelRef& t : hop.tunnels) {
    boost::hash_combine(seed, t.id);
    boost::hash_combine(seed, std::uint32_t{t.slot} << 16 | t.mtu);
  }
  for (const IpAddress& gateway : hop.gateways) boost::hash_combine(seed, gateway);
  boost::hash_combine(seed, static_cast<unsigned>(hop.behind));
  return seed;
}

NextHops::NextHops(std::span<gw_next_hop> memory)
    : memory_(memory.first(std::min<std::size_t>(memory.size(), GW_FIB_MAX_NEXT_HOPS))), records_(memory_.size()) {
  assert(memory.size() > 1);
  for (std::size_t i = memory_.size(); i-- > 1;) free_.push_back(static_cast<NextHopIndex>(i));
}

/// Readers may be looking: what they read while they forward is stored one by one, and only if it differs.
void NextHops::write(NextHopIndex index) {
  const NextHop& hop = records_[index].hop;
  gw_next_hop& m = memory_[index];
  const auto store = [](auto& place, auto value) {
    if (place != value) std::atomic_ref(place).store(value, std::memory_order_relaxed);
  };
  const bool tunnels = hop.kind == GW_NEXT_HOP_TUNNELS;
  const bool plain = hop.kind == GW_NEXT_HOP_VNET || hop.kind == GW_NEXT_HOP_CIRCUIT;
  store(m.mtu, tunnels ? std::uint32_t{std::ranges::min(hop.tunnels, {}, &TunnelRef::mtu).mtu} : 0u);
  if (tunnels)
    store(m.only, hop.tunnels.size() == 1 ? hop.tunnels[0].slot + 1u : 0u);
  else
    store(m.only, hop.gateways.size() == 1 ? 1u : 0u);
  if (tunnels)
    for (std::uint32_t b = 0; b < GW_NEXT_HOP_BUCKETS; ++b) store(m.bucket[b], winner(b, hop.tunnels));
  store(m.gateway_family, hop.gateways.empty() ? 0u : hop.gateways[0].is_v4() ? 4u : 6u);
  store(m.zone, static_cast<std::uint32_t>(zone_of(hop)));
  if (plain) write_gateways(m.gateways, hop.gateways);
  store(m.kind, static_cast<std::uint32_t>(hop.kind));
}

Result<NextHopIndex> NextHops::acquire(const NextHop& hop) {
  if (const auto it = by_value_.find(hop); it != by_value_.end()) {
    ++records_[it->second].references;
    return it->second;
  }
  if (free_.empty())
    return fail(Errc::kLimit, std::format("forwarding table: all {} next hops are in use; "
                                          "gw-fastpath --fib-next-hops sets how many there are",
                                          memory_.size() - 1));
  const NextHopIndex index = free_.back();
  free_.pop_back();
  records_[index] = {hop, 1};
  if (!hop.gateways.empty()) ++gateways_version_;
  write(index);
  by_value_.emplace(hop, index);
  return index;
}

/// A record that was rewritten may be equal to another, which then has the name.
void NextHops::forget(NextHopIndex index) {
  const auto it = by_value_.find(records_[index].hop);
  if (it != by_value_.end() && it->second == index) by_value_.erase(it);
}

void NextHops::release(NextHopIndex index) {
  Record& r = records_[index];
  assert(r.references > 0);
  if (--r.references > 0) return;
  forget(index);
  retired_.push_back(index);
  if (!r.hop.gateways.empty()) ++gateways_version_;
}

void NextHops::rewrite(NextHopIndex index, NextHop hop) {
  forget(index);
  records_[index].hop = std::move(hop);
  by_value_.emplace(records_[index].hop, index);
  write(index);
}

void NextHops::replace_tunnel(const TunnelRef& tunnel) {
  for (NextHopIndex i = 1; i < records_.size(); ++i) {
    if (records_[i].references == 0) continue;
    NextHop hop = records_[i].hop;
    const auto it = std::ranges::find(hop.tunnels, tunnel.id, &TunnelRef::id);
    if (it == hop.tunnels.end() || *it == tunnel) continue;
    *it = tunnel;
    rewrite(i, std::move(hop));
  }
}

std::vector<NextHopIndex> NextHops::remove_tunnel(std::uint32_t id) {
  std::vector<NextHopIndex> emptied;
  for (NextHopIndex i = 1; i < records_.size(); ++i) {
    if (records_[i].references == 0) continue;
    NextHop hop = records_[i].hop;
    if (std::erase_if(hop.tunnels, [id](const TunnelRef& t) { return t.id == id; }) == 0) continue;
    if (hop.tunnels.empty())
      emptied.push_back(i);
    else
      rewrite(i, std::move(hop));
  }
  return emptied;
}

std::set<std::pair<gw_next_hop_kind, IpAddress>> NextHops::gateways() const {
  std::set<std::pair<gw_next_hop_kind, IpAddress>> all;
  for (const Record& r : records_)
    if (r.references > 0)
      for (const IpAddress& gateway : r.hop.gateways) all.emplace(r.hop.kind, gateway);
  return all;
}

void NextHops::release_retired() {
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
}

}  // namespace gw::fib
