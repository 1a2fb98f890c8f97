// SAs for the tests of kernel-gw's pure parts.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "ike/plugin/sa_table.h"

namespace gw::kernel_gw_test {

// 192.0.2.<host> (RFC 5737).
inline gw_addr addr(std::uint8_t host) { return {.len = 4, .bytes = {192, 0, 2, host}}; }
inline gw_sa_id sa_id(std::uint32_t spi, gw_addr dst) { return {.spi = spi, .dst = dst}; }

inline const gw_addr kUs = addr(1);
inline const gw_addr kPeer = addr(2);

// Tunnel 7, reqid 1, AES-GCM-256 with the key 0x11 x 36; one v4 selector a side.
inline gw_sa_params params(std::uint32_t spi, gw_direction direction) {
  gw_sa_params p{};
  p.spi = spi;
  p.path.src = direction == GW_INBOUND ? kPeer : kUs;
  p.path.dst = direction == GW_INBOUND ? kUs : kPeer;
  p.direction = direction;
  p.tunnel_id = 7;
  p.reqid = 1;
  p.algorithms = {.encryption = 1, .integrity = 0};  // fastpath.proto's AES_GCM_16
  p.key_len = GW_KEY_MAX;
  std::memset(p.key, 0x11, GW_KEY_MAX);
  for (gw_selectors* side : {&p.local, &p.remote}) {
    side->list = static_cast<gw_selector*>(std::calloc(1, sizeof(gw_selector)));
    side->list[0] = {.first = addr(0), .last = addr(255), .protocol = 0, .first_port = 0, .last_port = 65535};
    side->count = 1;
  }
  return p;
}

}  // namespace gw::kernel_gw_test
