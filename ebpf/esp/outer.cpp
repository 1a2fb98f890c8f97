#include "ebpf/esp/outer.hpp"

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::esp {
namespace {

struct IpHeader {
  std::uint32_t header = 0;  // bytes before what the protocol carries
  std::uint32_t total = 0;   // of the IP packet, at most the bytes there are
  std::uint8_t protocol = 0;
  std::uint8_t traffic_class = 0;
  std::uint8_t source_at = 0;
  std::uint8_t destination_at = 0;
};

gw_drop parse_v4(std::span<const std::uint8_t> p, IpHeader& ip) {
  if (p.size() < 20) return GW_DROP_TRUNCATED;
  ip = {.header = (p[0] & 0xfU) * 4,
        .total = load_be<std::uint16_t>(&p[2]),
        .protocol = p[9],
        .traffic_class = p[1],
        .source_at = 12,
        .destination_at = 16};
  if (ip.header < 20 || ip.total < ip.header) return GW_DROP_MALFORMED_OUTER;
  if (ip.total > p.size()) return GW_DROP_TRUNCATED;
  if (!ipv4_checksum_ok(p.data(), ip.header)) return GW_DROP_MALFORMED_OUTER;
  return (load_be<std::uint16_t>(&p[6]) & 0x3fff) != 0 ? GW_DROP_OUTER_FRAGMENT : GW_DROP_NONE;
}

// Extension headers before ESP are legal and sent by nobody: refused but for the fragment's own reason.
gw_drop parse_v6(std::span<const std::uint8_t> p, IpHeader& ip) {
  if (p.size() < 40) return GW_DROP_TRUNCATED;
  ip = {.header = 40,
        .total = 40U + load_be<std::uint16_t>(&p[4]),
        .protocol = p[6],
        .traffic_class = static_cast<std::uint8_t>(p[0] << 4 | p[1] >> 4),
        .source_at = 8,
        .destination_at = 24};
  if (ip.total > p.size()) return GW_DROP_TRUNCATED;
  return ip.protocol == kProtocolFragment ? GW_DROP_OUTER_FRAGMENT : GW_DROP_NONE;
}

// RFC 3948 2.1. The UDP checksum is not looked at: the ICV covers what matters, and 0 is what is sent.
gw_drop parse_udp(std::span<const std::uint8_t> p, IpHeader& ip, std::uint16_t& source_port) {
  if (ip.total - ip.header < 8) return GW_DROP_TRUNCATED;
  const std::uint8_t* udp = &p[ip.header];
  source_port = load_be<std::uint16_t>(udp);
  const std::uint32_t length = load_be<std::uint16_t>(udp + 4);
  if (source_port == 0 || load_be<std::uint16_t>(udp + 2) != kNatTraversalPort) return GW_DROP_MALFORMED_OUTER;
  if (length < 8 || length > ip.total - ip.header) return GW_DROP_MALFORMED_OUTER;
  ip.total = ip.header + length;
  ip.header += 8;
  return GW_DROP_NONE;
}

}  // namespace

gw_drop strip_outer(Packet& packet, OuterHeader& outer) {
  const std::span<const std::uint8_t> p = packet.bytes();
  if (p.empty()) return GW_DROP_TRUNCATED;
  IpHeader ip;
  gw_drop drop = GW_DROP_MALFORMED_OUTER;
  switch (p[0] >> 4) {
    case 4:
      outer.family = Family::kV4;
      drop = parse_v4(p, ip);
      break;
    case 6:
      outer.family = Family::kV6;
      drop = parse_v6(p, ip);
      break;
    default: break;
  }
  if (drop != GW_DROP_NONE) return drop;
  std::uint16_t source_port = 0;
  if (ip.protocol == kProtocolUdp) {
    if (drop = parse_udp(p, ip, source_port); drop != GW_DROP_NONE) return drop;
  } else if (ip.protocol != kProtocolEsp) {
    return GW_DROP_MALFORMED_OUTER;
  }
  if (ip.total - ip.header < sizeof outer.spi) return GW_DROP_TRUNCATED;
  outer.destination = &p[ip.destination_at];
  outer.spi = load_be<std::uint32_t>(&p[ip.header]);
  packet.source = &p[ip.source_at];
  packet.source_port = source_port;
  packet.traffic_class = ip.traffic_class;
  packet.offset += ip.header;
  packet.length = ip.total - ip.header;
  return GW_DROP_NONE;
}

}  // namespace gw::esp
