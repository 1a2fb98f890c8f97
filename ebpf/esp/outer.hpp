// The outer header of a received ESP packet: IPv4 or IPv6, UDP encapsulation (RFC 3948). For ports that receive
// from IP on (AF_XDP, reassembled fragments); a socket's kernel has parsed it already. The codec starts at the
// ESP header and never looks at this one. Pure; every length is checked; any thread.
#pragma once

#include <cstdint>

#include "base/ip.hpp"
#include "ebpf/esp/packet.hpp"

namespace gw::esp {

inline constexpr std::uint16_t kNatTraversalPort = 4500;  // RFC 3948

/// What a packet's SA is looked up by.
struct OuterHeader {
  Family family = Family::kV4;
  const std::uint8_t* destination = nullptr;  // address in the packet, network order
  std::uint32_t spi = 0;                      // host order
};

/// `packet` begins at its outer IP header: it is moved to the ESP header, cut to the ESP packet, and traffic
/// class and source are set. GW_DROP_TRUNCATED, _MALFORMED_OUTER or _OUTER_FRAGMENT: the packet is left alone.
gw_drop strip_outer(Packet& packet, OuterHeader& outer);

}  // namespace gw::esp
