// Reading the forwarding table: pure functions over the shared memory of ebpf/abi/fib.h. Any number of
// threads read while one writes: every entry is loaded once, atomically, and always leads somewhere valid.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/fib.h"

namespace gw::fib {

/// Index into the next-hop array; 0 is "no route".
using NextHopIndex = std::uint32_t;

/// The table's memory. Whoever maps it owns it; roots and nodes are arrays of entries.
struct Memory {
  std::span<std::uint32_t> v4_root;   // 2^24
  std::span<std::uint32_t> v4_nodes;  // 256 each
  std::span<std::uint32_t> v6_root;   // 2^16
  std::span<std::uint32_t> v6_nodes;
  std::span<gw_next_hop> next_hops;
};

inline std::uint32_t load_entry(std::span<std::uint32_t> entries, std::size_t index) {
  return std::atomic_ref(entries[index]).load(std::memory_order_acquire);
}

inline std::size_t child_index(std::uint32_t entry, std::uint8_t byte) {
  return std::size_t{entry & GW_FIB_INDEX_MASK} * GW_FIB_NODE_ENTRIES + byte;
}

/// `address` in host order.
inline NextHopIndex lookup_v4(const Memory& m, std::uint32_t address) {
  std::uint32_t e = load_entry(m.v4_root, address >> 8);
  if (e & GW_FIB_NODE_BIT) e = load_entry(m.v4_nodes, child_index(e, static_cast<std::uint8_t>(address)));
  return e & GW_FIB_NODE_BIT ? 0 : e & GW_FIB_INDEX_MASK;
}

/// `address`: 16 bytes in network order.
inline NextHopIndex lookup_v6(const Memory& m, const std::uint8_t* address) {
  std::uint32_t e = load_entry(m.v6_root, load_be<std::uint16_t>(address));
  for (unsigned i = 2; (e & GW_FIB_NODE_BIT) && i < 16; ++i) e = load_entry(m.v6_nodes, child_index(e, address[i]));
  return e & GW_FIB_NODE_BIT ? 0 : e & GW_FIB_INDEX_MASK;
}

inline NextHopIndex lookup(const Memory& m, const IpAddress& a) {
  return a.is_v4() ? lookup_v4(m, a.v4()) : lookup_v6(m, a.bytes().data());
}

/// The tunnel slot that carries a flow. `hash` is spread over the buckets by its low bits.
inline std::uint16_t bucket_of(gw_next_hop& hop, std::uint32_t hash) {
  return std::atomic_ref(hop.bucket[hash % GW_NEXT_HOP_BUCKETS]).load(std::memory_order_relaxed);
}

}  // namespace gw::fib
