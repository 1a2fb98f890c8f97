// One packet in a caller-owned buffer, with room before and after it: what bursts are made of. Plain
// data; owned by the worker that fills it. Offsets are bytes from `base`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpf/abi/drop.h"

namespace gw::esp {

class OutboundSa;
class InboundSa;

/// Room that encapsulation may need around the inner packet: outer IPv6 40, UDP 8, ESP 8, IV 8; and
/// padding 3, trailer 2, ICV 16. Link headers come on top.
inline constexpr std::uint32_t kMaxHeadroom = 64;
inline constexpr std::uint32_t kMaxTailroom = 24;

struct Packet {
  std::uint8_t* base = nullptr;  // first byte that may be written
  std::uint32_t capacity = 0;    // bytes from base
  std::uint32_t offset = 0;      // of the IP header: inner before encapsulation, outer after; and back
  std::uint32_t length = 0;      // bytes of the IP packet
  gw_drop drop = GW_DROP_NONE;   // set: the packet is skipped by every step from then on
  union {                        // which SA, set by the caller's lookup
    OutboundSa* out = nullptr;
    InboundSa* in;
  };
  std::uint64_t cookie = 0;  // the caller's (frame address, tunnel); never read here

  std::uint8_t* data() const { return base + offset; }
  std::span<std::uint8_t> bytes() const { return {data(), length}; }
  std::uint32_t tailroom() const { return capacity - offset - length; }
};

}  // namespace gw::esp
