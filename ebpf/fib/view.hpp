// Reading the forwarding table: pure functions over the shared memory of ebpf/abi/fib.h. Any number of
// threads read while one writes: every entry is loaded once, atomically, and always leads somewhere valid.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/fib.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace gw::fib {

/// Index into the next-hop array; 0 is "no route".
using NextHopIndex = std::uint32_t;

/// The table's memory. Whoever maps it owns it; all zero at first.
struct Memory {
  std::span<std::uint16_t> v4_root;    // 2^24
  std::span<std::uint16_t> v4_groups;  // 256 each
  std::span<std::uint32_t> v6_root;    // 2^16
  std::span<gw_fib_line> v6_lines;     // a multiple of 32, aligned to 64 bytes
  std::span<gw_next_hop> next_hops;    // index 0 is unused
};

template <class T>
inline T load_entry(T& entry) {
  return std::atomic_ref(entry).load(std::memory_order_acquire);
}

inline std::size_t group_index(std::uint16_t entry, std::uint32_t address) {
  return std::size_t{entry - GW_FIB_V4_GROUP} * GW_FIB_NODE_ENTRIES + (address & 0xff);
}

/// `address` in host order.
inline NextHopIndex lookup_v4(const Memory& m, std::uint32_t address) {
  const std::uint16_t e = load_entry(m.v4_root[address >> 8]);
  if (e < GW_FIB_V4_GROUP) [[likely]]
    return e;
  return load_entry(m.v4_groups[group_index(e, address)]);
}

/// The line of a node for the next byte of the address.
inline std::size_t line_index(std::uint32_t node, std::uint8_t byte) {
  const std::uint32_t width = (node & ~GW_FIB_V6_NODE) >> GW_FIB_V6_WIDTH_SHIFT;
  return (node & GW_FIB_V6_LINE_MASK) + (std::uint32_t{byte} << width >> 8);
}

/// The run of a line that holds the byte: the first whose last value is not below it.
inline unsigned run_of(const gw_fib_line& line, std::uint8_t byte) {
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
  // What follows `last` is loaded, too, and does not count: the last run holds all that are left.
  static_assert(offsetof(gw_fib_line, last) == 0);
  const __m128i last = _mm_load_si128(reinterpret_cast<const __m128i*>(&line));
  const __m128i reached = _mm_cmpeq_epi8(_mm_max_epu8(last, _mm_set1_epi8(static_cast<char>(byte))), last);
  return static_cast<unsigned>(__builtin_ctz(static_cast<unsigned>(_mm_movemask_epi8(reached))));
#else
  unsigned run = 0;
  while (line.last[run] < byte) ++run;
  return run;
#endif
}

/// `address`: 16 bytes in network order.
inline NextHopIndex lookup_v6(const Memory& m, const std::uint8_t* address) {
  std::uint32_t e = load_entry(m.v6_root[load_be<std::uint16_t>(address)]);
  NextHopIndex best = 0;
  for (unsigned i = 2; (e & GW_FIB_V6_NODE) && i < 16; ++i) {
    gw_fib_line& line = m.v6_lines[line_index(e, address[i])];
    if (const std::uint32_t inherited = load_entry(line.inherited)) best = inherited;
    e = load_entry(line.entry[run_of(line, address[i])]);
  }
  return e == 0 || (e & GW_FIB_V6_NODE) ? best : e;
}

inline NextHopIndex lookup(const Memory& m, const IpAddress& a) {
  return a.is_v4() ? lookup_v4(m, a.v4()) : lookup_v6(m, a.bytes().data());
}

/// Many at once, which hides the memory's latency: `found[i]` for `addresses[i]`, at most kLookupBurst.
inline constexpr std::size_t kLookupBurst = 64;
void lookup_burst_v4(const Memory& m, std::span<const std::uint32_t> addresses, NextHopIndex* found);
/// Each points to 16 bytes in network order.
void lookup_burst_v6(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found);

/// The ways to do lookup_burst_v6() that this CPU has, from the slowest to the one that is used.
struct BurstV6 {
  std::string_view name;
  void (*lookup)(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found);
};
std::span<const BurstV6> ways_of_burst_v6();

/// The slot of a next hop's only tunnel: no flow needs to be hashed. None: there are several.
inline std::optional<std::uint16_t> only_tunnel(gw_next_hop& hop) {
  const std::uint32_t only = std::atomic_ref(hop.only).load(std::memory_order_relaxed);
  if (only == 0) return std::nullopt;
  return static_cast<std::uint16_t>(only - 1);
}

/// The tunnel slot that carries a flow. `hash` is spread over the buckets by its low bits.
inline std::uint16_t bucket_of(gw_next_hop& hop, std::uint32_t hash) {
  if (const auto only = only_tunnel(hop)) return *only;
  return std::atomic_ref(hop.bucket[hash % GW_NEXT_HOP_BUCKETS]).load(std::memory_order_relaxed);
}

/// The address on the link that a vnet or circuit next hop sends a flow's packets for `dst` to.
inline IpAddress gateway_of(gw_next_hop& hop, const IpAddress& dst, std::uint32_t hash) {
  if (hop.gateway_family == 0) return dst;
  const std::uint8_t i = hop.only != 0 ? 0 : hop.gateways.bucket[hash % GW_NEXT_HOP_BUCKETS];
  const std::uint8_t* const address = hop.gateways.gateway[i % GW_NEXT_HOP_MAX_GATEWAYS].address;
  if (hop.gateway_family == 4) return IpAddress::from_v4(load_be<std::uint32_t>(address));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(address, 16));
}

}  // namespace gw::fib
