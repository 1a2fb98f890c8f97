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

/// Room that encapsulation may need around the inner packet: outer IPv6 40, UDP 8, ESP 8, IV 16; and padding 15,
/// trailer 2, ICV 32. Link headers come on top, and TFC padding (SaParameters::pad_to).
inline constexpr std::uint32_t kMaxHeadroom = 72;
inline constexpr std::uint32_t kMaxTailroom = 52;

struct Packet {
  std::uint8_t* base = nullptr;  // first byte that may be written
  std::uint32_t capacity = 0;    // bytes from base
  std::uint32_t offset = 0;      // encapsulation: of the inner IP header before, the outer one after;
                                 // decapsulation: of the ESP header before, the inner IP header after
  std::uint32_t length = 0;      // bytes from there to the end of the packet
  gw_drop drop = GW_DROP_NONE;   // set: the packet is skipped by every step from then on
  union {                        // which SA, set by the caller's lookup
    OutboundSa* out = nullptr;
    InboundSa* in;
  };
  // Inbound, from whoever parsed the outer header (strip_outer, or a socket's kernel):
  const std::uint8_t* source = nullptr;  // outer source address, network order, of the SA's outer family
  std::uint16_t source_port = 0;         // UDP, host order; 0: native ESP
  std::uint8_t traffic_class = 0;        // outer TOS or traffic class

  std::uint8_t* data() const { return base + offset; }
  std::span<std::uint8_t> bytes() const { return {data(), length}; }
  std::uint32_t tailroom() const { return capacity - offset - length; }
};

}  // namespace gw::esp
