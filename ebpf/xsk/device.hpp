// What can be asked of a network interface about AF_XDP. Control thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace gw::xsk {

/// Receive queues in use (ethtool channels); 1 where the driver does not say.
Result<std::uint32_t> rx_queues(const std::string& interface);

/// Whether the driver offers zero-copy AF_XDP.
bool offers_zero_copy(int ifindex);

}  // namespace gw::xsk
