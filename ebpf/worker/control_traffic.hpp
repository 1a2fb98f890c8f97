// Packets that keep a tunnel's routing alive: BGP, BFD, and the neighbour discovery that unnumbered sessions need. No
// rate limit drops them. Pure.
#pragma once

#include <cstdint>
#include <span>

namespace gw::worker {

/// BGP (RFC 4271 8.2.1), BFD (RFC 5881 4, RFC 5883 5) or ICMPv6 of the link (RFC 4861). `packet`: from its IP header
/// on, whose length has been checked. Later fragments have no ports: they are none of it.
bool is_routing_protocol(std::span<const std::uint8_t> packet);

}  // namespace gw::worker
