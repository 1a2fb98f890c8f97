// Addresses that no packet comes from, and those that no router forwards to. Pure.
#pragma once

#include "base/ip.hpp"
#include "base/wire.hpp"

namespace gw::worker {

/// ::ffff:0:0/96 (RFC 4291 2.5.5.2): an IPv4 address to the sockets of a host with both families, and on no wire
/// (RFC 6890). A site would speak for the VNet's IPv4 addresses with it.
inline bool is_v4_mapped(const IpAddress& a) {
  constexpr std::uint32_t kMapped = 0xffff;
  return a.is_v6() && load_be<std::uint64_t>(a.bytes().data()) == 0 &&
         load_be<std::uint32_t>(a.bytes().data() + 8) == kMapped;
}

/// RFC 1812 5.3.7, RFC 4291 2.5 to 2.7.
inline bool is_nobodys(const IpAddress& src) {
  if (src.is_multicast() || src.is_loopback() || src.is_unspecified()) return true;
  if (src.is_v6()) return is_v4_mapped(src);
  return src.v4() >> 24 == 0 || src.v4() >= 0xe0000000;  // 0/8; 240/4 and broadcast
}

/// Not of a link, and not for many: what else comes out of a tunnel is for its own ends, whatever the routes say, also
/// where a site announces a default route. As the clear ports have it (xdp/fib.bpf.h).
inline bool is_forwardable(const IpAddress& dst) { return !dst.is_link_local() && !is_nobodys(dst); }

}  // namespace gw::worker
