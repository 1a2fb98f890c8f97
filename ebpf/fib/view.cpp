#include "ebpf/fib/view.hpp"

#include <array>

namespace gw::fib {

void lookup_burst_v4(const Memory& m, std::span<const std::uint32_t> addresses, NextHopIndex* found) {
  std::uint16_t* const root = m.v4_root.data();
  for (const std::uint32_t a : addresses) __builtin_prefetch(&root[a >> 8]);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::uint16_t e = load_entry(root[addresses[i] >> 8]);
    found[i] = e < GW_FIB_V4_GROUP ? e : load_entry(m.v4_groups[group_index(e, addresses[i])]);
  }
}

/// Level by level over the whole burst: each step loads one line that the step before has prefetched. Whoever
/// is done leaves the list of those still at work; nothing in the loop depends on a guessed branch.
void lookup_burst_v6(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found) {
  std::array<gw_fib_line*, kLookupBurst> line;
  std::array<std::uint8_t, kLookupBurst> work;
  gw_fib_line* const lines = m.v6_lines.data();
  std::size_t at_work = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::uint32_t e = load_entry(m.v6_root[load_be<std::uint16_t>(addresses[i])]);
    const bool node = (e & GW_FIB_V6_NODE) != 0;
    found[i] = node ? 0 : e;
    line[i] = lines + (node ? line_index(e, addresses[i][2]) : 0);
    __builtin_prefetch(line[i]);
    work[at_work] = static_cast<std::uint8_t>(i);
    at_work += node;
  }
  for (unsigned level = 2; at_work > 0 && level < 16; ++level) {
    const unsigned next = level < 15 ? level + 1 : level;
    const std::size_t count = at_work;
    at_work = 0;
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint8_t i = work[k];
      const std::uint8_t* const address = addresses[i];
      gw_fib_line& here = *line[i];
      const std::uint32_t inherited = load_entry(here.inherited);
      const std::uint32_t e = load_entry(here.entry[run_of(here, address[level])]);
      const std::uint32_t best = inherited != 0 ? inherited : found[i];
      const bool node = (e & GW_FIB_V6_NODE) != 0;
      found[i] = node || e == 0 ? best : e;
      line[i] = lines + (node ? line_index(e, address[next]) : 0);
      __builtin_prefetch(line[i]);
      work[at_work] = i;
      at_work += node;
    }
  }
}

}  // namespace gw::fib
