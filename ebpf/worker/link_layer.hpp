// Ethernet and VLAN tags (802.1Q, 802.1ad) in front of a received packet. Pure.
#pragma once

#include "base/wire.hpp"
#include "ebpf/esp/packet.hpp"

namespace gw::worker {

inline constexpr std::uint16_t kTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kTypeIpv6 = 0x86dd;
inline constexpr std::uint16_t kTypeVlan = 0x8100;
inline constexpr std::uint16_t kTypeVlanProvider = 0x88a8;

/// Moves the packet to its IP header, over at most two tags; false if the frame ends first or carries no IP.
inline bool skip_link_layer(esp::Packet& p) {
  std::uint32_t at = 12;
  for (int tags = 0; tags <= 2; ++tags, at += 4) {
    if (p.length < at + 2) return false;
    const auto type = load_be<std::uint16_t>(p.data() + at);
    if (type == kTypeVlan || type == kTypeVlanProvider) continue;
    if (type != kTypeIpv4 && type != kTypeIpv6) return false;
    p.offset += at + 2;
    p.length -= at + 2;
    return true;
  }
  return false;
}

}  // namespace gw::worker
