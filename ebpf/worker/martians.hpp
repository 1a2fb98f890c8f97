// Addresses that no packet comes from, and those that no router forwards to. Pure.
#pragma once

#include "base/ip.hpp"

namespace gw::worker {

/// RFC 1812 5.3.7, RFC 4291 2.5 to 2.7.
inline bool is_nobodys(const IpAddress& src) {
  if (src.is_multicast() || src.is_loopback() || src.is_unspecified()) return true;
  return src.is_v4() && (src.v4() >> 24 == 0 || src.v4() >= 0xe0000000);  // 0/8; 240/4 and broadcast
}

/// Not of a link, and not for many: what else comes out of a tunnel is for its own ends, whatever the routes say, also
/// where a site announces a default route. As the clear ports have it (xdp/fib.bpf.h).
inline bool is_forwardable(const IpAddress& dst) { return !dst.is_link_local() && !is_nobodys(dst); }

}  // namespace gw::worker
