// One line about a packet, as tcpdump would say it, but shorter: addresses, ports, what it carries. Of bytes that may
// be cut off or forged anywhere. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace gw::cli::capture {

/// `bytes` begin at an IP header; the packet has `length`.
std::string summarize(std::span<const std::uint8_t> bytes, std::uint32_t length);

}  // namespace gw::cli::capture
