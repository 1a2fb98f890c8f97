// ICMP errors that a router sends about a packet it did not forward: RFC 792, RFC 1191 4, RFC 1812 4.3.2, RFC 4443.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/ip.hpp"

namespace gw::ip {

enum class IcmpError : std::uint8_t {
  kTooBig,  // fragmentation needed / packet too big
  kTimeExceeded,
  kNoRoute,      // network unreachable / no route
  kUnreachable,  // host or address unreachable: the route leads into a tunnel that is down
  kProhibited,   // administratively
};

struct IcmpErrorContent {
  IcmpError error = IcmpError::kUnreachable;
  std::uint32_t mtu = 0;  // kTooBig: of the next hop
  IpAddress source;       // one of ours, of the packet's family
};

/// RFC 1812 4.3.2.7, RFC 4443 2.4 e: not about ICMP errors, multicast and broadcast, later fragments, or packets from
/// an address that is no host's. `packet` was accepted by esp::check_inner() and is its total length long.
bool may_be_answered(std::span<const std::uint8_t> packet, IcmpError error);

/// RFC 4443 2.4 c; IPv4 errors are 576 at most (RFC 1812 4.3.2.3).
inline constexpr std::uint32_t kMaxIcmpError = 1280;

/// Writes the whole packet, IP header first, to the sender of `packet`; its length. `out` has kMaxIcmpError bytes and
/// does not overlap `packet`.
std::uint32_t write_icmp_error(std::span<std::uint8_t> out, std::span<const std::uint8_t> packet,
                               const IcmpErrorContent& content);

}  // namespace gw::ip
