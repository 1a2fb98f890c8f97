#include "ebpf/esp/inner.hpp"

#include "base/wire.hpp"

namespace gw::esp {
namespace {

enum Protocol : std::uint8_t {
  kHopByHop = 0,
  kIcmp = 1,
  kTcp = 6,
  kUdp = 17,
  kDccp = 33,
  kRouting = 43,
  kFragment = 44,
  kAh = 51,
  kIcmpV6 = 58,
  kDestinationOptions = 60,
  kSctp = 132,
  kUdpLite = 136,
};

void read_ports(std::span<const std::uint8_t> packet, Flow& flow) {
  const std::size_t left = packet.size() - flow.l4_offset;
  const std::uint8_t* p = packet.data() + flow.l4_offset;
  switch (flow.protocol) {
    case kTcp:
    case kUdp:
    case kDccp:
    case kSctp:
    case kUdpLite:
      if (left < 4) return;
      flow.port[0] = load_be<std::uint16_t>(p);
      flow.port[1] = load_be<std::uint16_t>(p + 2);
      flow.has_ports = true;
      return;
    case kIcmp:
    case kIcmpV6:
      if (left < 2) return;
      flow.port[0] = flow.port[1] = load_be<std::uint16_t>(p);
      flow.has_ports = true;
      return;
    default: return;
  }
}

}  // namespace

// RFC 8200 4.1. Stops at the first header that is none of the extension headers, or is cut short.
Transport find_transport_v6(std::span<const std::uint8_t> packet) {
  Transport t{.protocol = packet[6], .offset = 40};
  for (;;) {
    const std::size_t left = packet.size() - t.offset;
    const std::uint8_t* p = packet.data() + t.offset;
    std::uint32_t length = 0;
    switch (t.protocol) {
      case kHopByHop:
      case kRouting:
      case kDestinationOptions:
        if (left < 8) return {.protocol = t.protocol, .fragment = t.fragment};
        length = (p[1] + 1U) * 8;
        break;
      case kAh:
        if (left < 8) return {.protocol = t.protocol, .fragment = t.fragment};
        length = (p[1] + 2U) * 4;
        break;
      case kFragment: {
        if (left < 8) return {.protocol = t.protocol, .fragment = true};
        const std::uint16_t field = load_be<std::uint16_t>(p + 2);
        t.fragment = t.fragment || (field & 0xfff9) != 0;  // offset or "more"; both 0 is an atomic fragment
        if ((field & 0xfff8) != 0) return {.protocol = p[0], .fragment = true};
        length = 8;
        break;
      }
      default: return t;
    }
    if (length > left) return {.protocol = t.protocol, .fragment = t.fragment};
    t.protocol = p[0];
    t.offset += length;
  }
}

Flow parse_flow(std::span<const std::uint8_t> packet, Family family) {
  Flow flow{};
  flow.family = family;
  const std::uint8_t* p = packet.data();
  if (family == Family::kV4) {
    flow.address[0][1] = load_be<std::uint32_t>(p + 12);
    flow.address[1][1] = load_be<std::uint32_t>(p + 16);
  } else {
    for (std::size_t end = 0; end < 2; ++end)
      for (std::size_t half = 0; half < 2; ++half)
        flow.address[end][half] = load_be<std::uint64_t>(p + 8 + end * 16 + half * 8);
  }
  const Transport transport = find_transport(packet, family);
  flow.protocol = transport.protocol;
  flow.l4_offset = transport.offset;
  flow.fragment = transport.fragment;
  if (flow.l4_offset != 0) read_ports(packet, flow);
  return flow;
}

}  // namespace gw::esp
