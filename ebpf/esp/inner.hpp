// Reading an IP packet of unknown quality: header sanity, and the flow it belongs to (addresses, protocol,
// ports). Every length is checked against the bytes there are. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/ip.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"

namespace gw::esp {

struct InnerHeader {
  Family family;
  std::uint32_t header_length;  // IPv4 with options; IPv6: 40
  std::uint32_t total_length;   // at most the bytes given
};

/// Version, header length, total length within `bytes`, IPv4 header checksum. Bytes after total_length are
/// TFC padding (RFC 4303 2.7). Nothing if malformed.
inline std::optional<InnerHeader> check_inner(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < 20) return std::nullopt;
  const std::uint8_t* p = bytes.data();
  if (p[0] >> 4 == 4) {
    const std::uint32_t header = (p[0] & 0xfU) * 4;
    const std::uint32_t total = load_be<std::uint16_t>(p + 2);
    if (header < 20 || total < header || total > bytes.size() || !ipv4_checksum_ok(p, header)) return std::nullopt;
    return InnerHeader{Family::kV4, header, total};
  }
  if (p[0] >> 4 == 6 && bytes.size() >= 40) {
    const std::uint32_t total = 40U + load_be<std::uint16_t>(p + 4);
    if (total > bytes.size()) return std::nullopt;
    return InnerHeader{Family::kV6, 40, total};
  }
  return std::nullopt;
}

/// Where the transport header is, after IPv6 extension headers.
struct Transport {
  std::uint8_t protocol = 0;
  std::uint32_t offset = 0;  // 0: not in this packet
  bool fragment = false;     // any fragment, the first one, too
};

inline Transport find_transport_v4(std::span<const std::uint8_t> packet) {
  const std::uint16_t field = load_be<std::uint16_t>(packet.data() + 6);
  Transport t{.protocol = packet[9], .offset = (packet[0] & 0xfU) * 4, .fragment = (field & 0x3fff) != 0};
  if ((field & 0x1fff) != 0) t.offset = 0;
  return t;
}
Transport find_transport_v6(std::span<const std::uint8_t> packet);

/// `packet` starts with a header that check_inner() accepted and is total_length long.
inline Transport find_transport(std::span<const std::uint8_t> packet, Family family) {
  return family == Family::kV4 ? find_transport_v4(packet) : find_transport_v6(packet);
}

struct Flow {
  Family family;
  std::uint8_t protocol;        // after IPv6 extension headers
  bool fragment;                // any fragment, the first one, too
  bool has_ports;               // false: non-first fragment, truncated, or a protocol without ports
  std::uint64_t address[2][2];  // [0] source, [1] destination; host order halves; IPv4 in [i][1]
  std::uint16_t port[2];        // ICMP: both type << 8 | code
  std::uint32_t l4_offset;      // of the transport header; 0 if it is not there
};

/// `packet` starts with a header that check_inner() accepted and is total_length long.
Flow parse_flow(std::span<const std::uint8_t> packet, Family family);

}  // namespace gw::esp
