#include "ebpf/esp/rewrite.hpp"

#include <algorithm>
#include <bit>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/flow_hash.h"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/inner.hpp"

namespace gw::esp {
namespace {

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint16_t kV6Difference = 20;  // an IPv6 header is 20 bytes longer

// Offset of the MSS value within the TCP header; 0 if there is none or the options are malformed.
std::uint32_t find_mss(std::span<const std::uint8_t> tcp) {
  enum : std::uint8_t { kEnd = 0, kNop = 1, kMss = 2 };
  std::size_t at = kTcpHeader;
  while (at < tcp.size()) {
    if (tcp[at] == kEnd) return 0;
    if (tcp[at] == kNop) {
      ++at;
      continue;
    }
    if (at + 2 > tcp.size() || tcp[at + 1] < 2 || at + tcp[at + 1] > tcp.size()) return 0;
    if (tcp[at] == kMss) return tcp[at + 1] == 4 ? static_cast<std::uint32_t>(at + 2) : 0;
    at += tcp[at + 1];
  }
  return 0;
}

// The TCP header with options of a SYN; empty for everything else.
std::span<std::uint8_t> syn_header(std::span<std::uint8_t> packet, Family family) {
  // The quick way out, for nearly every packet: IPv4 that is not TCP.
  if (family == Family::kV4 && packet[9] != kProtocolTcp) return {};
  const Flow flow = parse_flow(packet, family);
  if (flow.protocol != kProtocolTcp || flow.l4_offset == 0) return {};
  const auto tcp = packet.subspan(flow.l4_offset);
  if (tcp.size() < kTcpHeader || (tcp[13] & kSyn) == 0) return {};
  const std::size_t length = (tcp[12] >> 4) * std::size_t{4};
  if (length < kTcpHeader || length > tcp.size()) return {};
  return tcp.first(length);
}

}  // namespace

bool decrement_ttl(std::span<std::uint8_t> packet, Family family) {
  if (family == Family::kV6) {
    if (packet[7] <= 1) return false;
    --packet[7];
    return true;
  }
  if (packet[8] <= 1) return false;
  // Nothing is read that was just written in another size: that would wait for the write.
  const auto before = load_be<std::uint16_t>(&packet[8]);
  const auto after = static_cast<std::uint16_t>(before - 0x100);
  store_be(&packet[8], after);
  store_be(&packet[10], updated_checksum(load_be<std::uint16_t>(&packet[10]), before, after));
  return true;
}

bool complete_checksum(std::span<std::uint8_t> packet, Family family) {
  const Transport transport = find_transport(packet, family);
  if (transport.fragment || transport.offset == 0) return false;
  const auto l4 = packet.subspan(transport.offset);
  const bool tcp = transport.protocol == kProtocolTcp;
  if (!tcp && transport.protocol != kProtocolUdp) return false;
  const std::size_t at = tcp ? kTcpChecksum : kUdpChecksum;
  if (l4.size() < at + 2) return false;
  const std::uint64_t addresses = family == Family::kV4 ? sum16(&packet[12], 8) : sum16(&packet[8], 32);
  if (load_be<std::uint16_t>(&l4[at]) != fold16(addresses + transport.protocol + l4.size())) return false;
  // The field is the pseudo-header's part of the sum already.
  const auto checksum = static_cast<std::uint16_t>(~fold16(sum16(l4.data(), l4.size())));
  store_be(&l4[at], !tcp && checksum == 0 ? std::uint16_t{0xffff} : checksum);  // RFC 768: 0 is "none"
  return true;
}

bool clamp_mss(std::span<std::uint8_t> packet, Family family, std::uint16_t mss_v4) {
  if (mss_v4 == 0) return false;
  const auto tcp = syn_header(packet, family);
  if (tcp.empty()) return false;
  const std::uint32_t at = find_mss(tcp);
  if (at == 0) return false;
  const std::uint16_t cut = family == Family::kV6 ? kV6Difference : 0;
  const auto wanted = static_cast<std::uint16_t>(mss_v4 > cut ? mss_v4 - cut : 1);
  const auto before = load_be<std::uint16_t>(&tcp[at]);
  if (before <= wanted) return false;
  store_be(&tcp[at], wanted);
  // At an odd offset the two bytes belong to two words of the checksum, each in the other half: one's
  // complement arithmetic lets us update with both values byte-swapped (RFC 1071 2B).
  const bool odd = at % 2 != 0;
  store_be(&tcp[16], updated_checksum(load_be<std::uint16_t>(&tcp[16]), odd ? std::byteswap(before) : before,
                                      odd ? std::byteswap(wanted) : wanted));
  return true;
}

std::uint32_t flow_hash(std::span<const std::uint8_t> packet, Family family) {
  const Flow f = parse_flow(packet, family);
  std::uint64_t h = f.protocol;
  if (family == Family::kV4) {
    h = gw_flow_mix(h, f.address[0][1] << 32 | f.address[1][1]);
  } else {
    for (const auto& end : f.address)
      for (const std::uint64_t half : end) h = gw_flow_mix(h, half);
  }
  if (!f.fragment && f.has_ports) h = gw_flow_mix(h, std::uint64_t{f.port[0]} << 16 | f.port[1]);
  return gw_flow_fold(h);
}

}  // namespace gw::esp
