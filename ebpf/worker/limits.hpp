// How large an inner packet of a tunnel may be. Pure.
#pragma once

#include <algorithm>

#include "ebpf/ip/path_mtu.hpp"
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {

/// Never less than every host may count on: what the path has no room for then goes in outer fragments.
inline std::uint32_t inner_limit(const TunnelConfig& config, Family inner) {
  return std::max<std::uint32_t>(config.mtu, ip::least_inner_mtu(inner));
}

}  // namespace gw::worker
