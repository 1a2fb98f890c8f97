// Addresses that no packet comes from. Pure.
#pragma once

#include "base/ip.hpp"

namespace gw::worker {

/// RFC 1812 5.3.7, RFC 4291 2.5 to 2.7.
inline bool is_nobodys(const IpAddress& src) {
  if (src.is_multicast() || src.is_loopback() || src.is_unspecified()) return true;
  return src.is_v4() && (src.v4() >> 24 == 0 || src.v4() >= 0xe0000000);  // 0/8; 240/4 and broadcast
}

}  // namespace gw::worker
