// IPv4 lookups of a burst. Any thread.
#include "ebpf/fib/view.hpp"

namespace gw::fib {

void lookup_burst_v4(const Memory& m, std::span<const std::uint32_t> addresses, NextHopIndex* found) {
  std::uint16_t* const root = m.v4_root.data();
  for (const std::uint32_t a : addresses) __builtin_prefetch(&root[a >> 8]);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::uint16_t e = load_entry(root[addresses[i] >> 8]);
    found[i] = e < GW_FIB_V4_GROUP ? e : load_entry(m.v4_groups[group_index(e, addresses[i])]);
  }
}

}  // namespace gw::fib
