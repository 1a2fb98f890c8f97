// IPv6 lookups of a burst, level by level, in portable code and compiled for AVX2; and the choice among the ways.
// Any thread.
#include "ebpf/fib/burst_v6.hpp"

#include <array>
#include <vector>

namespace gw::fib {
namespace {

#define GW_INLINE inline __attribute__((always_inline))

/// Hides a value's origin: from arithmetic that stands for a condition, the compiler would make a branch, which
/// here is guessed wrong every other time (15 ns a lookup).
GW_INLINE std::uint32_t opaque(std::uint32_t value) {
  asm("" : "+r"(value));
  return value;
}
/// All ones if the value is 0, else 0.
GW_INLINE std::uint32_t if_zero(std::uint32_t value) { return opaque(((value | (0 - value)) >> 31) - 1); }
/// All ones if the entry leads to a node, else 0.
GW_INLINE std::uint32_t if_node(std::uint32_t entry) { return opaque(0 - (entry >> 31)); }

/// One step of an IPv6 lookup: what the line says about the byte. `best`: what was found above.
GW_INLINE std::uint32_t step(gw_fib_line& line, std::uint8_t byte, NextHopIndex& best) {
  const std::uint32_t inherited = load_entry(line.inherited);
  const std::uint32_t e = load_entry(line.entry[run_of(line, byte)]);
  const std::uint32_t above = inherited | (best & if_zero(inherited));
  const std::uint32_t leaf = e & ~if_node(e);
  best = leaf | (above & if_zero(leaf));
  return e;
}

/// The same for a node near the root: many lines, an entry for each value. Its width is guessed right.
GW_INLINE std::uint32_t first_step(const Memory& m, std::uint32_t node, std::uint8_t byte, NextHopIndex& best) {
  gw_fib_line& line = m.v6_lines[line_index(node, byte)];
  constexpr std::uint32_t kWidthMask = 7u << GW_FIB_V6_WIDTH_SHIFT;
  if ((node & kWidthMask) != GW_FIB_V6_MAX_WIDTH << GW_FIB_V6_WIDTH_SHIFT) return step(line, byte, best);
  constexpr std::uint8_t kValues = GW_FIB_NODE_ENTRIES >> GW_FIB_V6_MAX_WIDTH;
  const std::uint32_t inherited = load_entry(line.inherited);
  const std::uint32_t e = load_entry(line.entry[byte % kValues]);
  const std::uint32_t leaf = e & ~if_node(e);
  best = leaf | (inherited & if_zero(leaf));
  return e;
}

/// Level by level over the whole burst: each step loads one line that the step before has prefetched. Whoever
/// is done leaves the list of those still at work; nothing in the loops depends on a guessed branch. The first
/// two levels are in the caches anyway (few /16 have longer prefixes) and are one step.
GW_INLINE void lookup_v6_levels(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found) {
  std::array<gw_fib_line*, kLookupBurst> line;
  std::array<std::uint64_t, kLookupBurst> key;  // what is left of the upper half, from the next byte on
  std::array<std::uint8_t, kLookupBurst> work;
  gw_fib_line* const lines = m.v6_lines.data();
  std::size_t at_work = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto k = load_be<std::uint64_t>(addresses[i]);
    std::uint32_t e = load_entry(m.v6_root[k >> 48]);
    NextHopIndex best = e & ~if_node(e);
    if (e & GW_FIB_V6_NODE) [[likely]]
      e = first_step(m, e, static_cast<std::uint8_t>(k >> 40), best);
    found[i] = best;
    key[i] = k << 24;
    line[i] = lines + (line_index(e, static_cast<std::uint8_t>(key[i] >> 56)) & if_node(e));
    __builtin_prefetch(line[i]);
    work[at_work] = static_cast<std::uint8_t>(i);
    at_work += e >> 31;
  }
  for (unsigned level = 3; at_work > 0 && level < 16; ++level) {
    if (level == 7 || level == 14)  // the key's last byte is at its top: those of the lower half follow
      for (std::size_t n = 0; n < at_work; ++n) {
        const std::uint8_t* const a = addresses[work[n]];
        key[work[n]] |= level == 7 ? load_be<std::uint64_t>(a + 8) >> 8 : std::uint64_t{a[15]} << 48;
      }
    const std::size_t count = at_work;
    at_work = 0;
    for (std::size_t n = 0; n < count; ++n) {
      const std::uint8_t i = work[n];
      const std::uint32_t e = step(*line[i], static_cast<std::uint8_t>(key[i] >> 56), found[i]);
      key[i] <<= 8;
      line[i] = lines + (line_index(e, static_cast<std::uint8_t>(key[i] >> 56)) & if_node(e));
      __builtin_prefetch(line[i]);
      work[at_work] = i;
      at_work += e >> 31;
    }
  }
}

void burst_v6_any(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found) {
  lookup_v6_levels(m, addresses, found);
}

#ifdef __x86_64__
/// The same code; the compiler has shorter instructions for shifts, bit searches and spreading a byte.
__attribute__((target("avx2,bmi,bmi2"))) void burst_v6_avx2(const Memory& m,
                                                            std::span<const std::uint8_t* const> addresses,
                                                            NextHopIndex* found) {
  lookup_v6_levels(m, addresses, found);
}
#endif

std::vector<BurstV6> find_ways() {
  std::vector<BurstV6> ways = {{"portable", &burst_v6_any}};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
    ways.push_back({"avx2", &burst_v6_avx2});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    ways.push_back({"avx512", &burst_v6_avx512});
#endif
  return ways;
}

const std::vector<BurstV6> all_ways = find_ways();

}  // namespace

std::span<const BurstV6> ways_of_burst_v6() { return all_ways; }

void lookup_burst_v6(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found) {
  all_ways.back().lookup(m, addresses, found);
}

}  // namespace gw::fib
