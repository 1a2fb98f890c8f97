// The list of VLANs in a program's memory: keys of gw_vlan_key(), 0 ends it. Control thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "ebpf/abi/xdp.h"

namespace gw::xdp {

/// What does not fit takes the slow way.
template <class Word>
void write_vlans(Word (&to)[GW_XDP_MAX_VLANS], std::span<const std::uint64_t> keys) {
  const std::size_t n = std::min(keys.size(), std::size(to));
  std::copy(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(n), to);
  std::fill(to + n, to + GW_XDP_MAX_VLANS, 0);
}

}  // namespace gw::xdp
