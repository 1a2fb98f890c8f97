#include "ebpf/gso/superpacket.hpp"

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/gso/checksum.hpp"

namespace gw::gso {
namespace {

std::uint8_t protocol_of(const Superpacket& p) { return p.bytes[p.family == Family::kV4 ? 9 : 6]; }

/// The offload that the header asks for, if it fits the packet's family.
std::expected<Offload, gw_drop> offload_of(const VnetHeader& header, Family family) {
  switch (header.gso_type & ~kVnetEcn) {
    case kVnetNone: return Offload::kNone;
    case kVnetTcp4:
      if (family == Family::kV4) return Offload::kTcp;
      break;
    case kVnetTcp6:
      if (family == Family::kV6) return Offload::kTcp;
      break;
    case kVnetUdp: return Offload::kUdp;
    default: break;  // UFO, tunnels: not asked for
  }
  return std::unexpected(GW_DROP_MALFORMED_INNER);
}

/// A single packet; its checksum may be unfinished. What is covered need not be TCP or UDP.
bool parse_single(const VnetHeader& header, std::uint32_t ip_header, Superpacket& p) {
  if ((header.flags & kVnetNeedsChecksum) == 0) return true;
  const std::uint32_t at = std::uint32_t{header.csum_start} + header.csum_offset;
  if (header.csum_start < ip_header || at + 2 > p.bytes.size()) return false;
  p.checksum_from = header.csum_start;
  p.checksum_at = static_cast<std::uint16_t>(at);
  return true;
}

bool parse_segmented(const VnetHeader& header, Superpacket& p) {
  const bool tcp = p.offload == Offload::kTcp;
  const esp::Flow flow = esp::parse_flow(p.bytes, p.family);
  if (flow.fragment || flow.l4_offset == 0 || flow.protocol != (tcp ? kProtocolTcp : kProtocolUdp)) return false;
  const std::span<const std::uint8_t> l4 = p.bytes.subspan(flow.l4_offset);
  if (l4.size() < (tcp ? kTcpHeader : kUdpHeader)) return false;
  std::uint32_t l4_header = kUdpHeader;
  if (tcp) l4_header = (l4[12] >> 4) * 4U;
  if (l4_header < (tcp ? kTcpHeader : kUdpHeader) || l4_header >= l4.size()) return false;
  const std::size_t payload = l4.size() - l4_header;
  if (header.gso_size == 0) return false;

  const std::uint16_t checksum_offset = tcp ? kTcpChecksum : kUdpChecksum;
  if ((header.flags & kVnetNeedsChecksum) != 0) {
    if (header.csum_start != flow.l4_offset || header.csum_offset != checksum_offset) return false;
  } else {
    // Only UDP over IPv4 may go without (RFC 768); any other would get a right checksum for wrong bytes.
    if (tcp || p.family != Family::kV4 || load_be<std::uint16_t>(&l4[kUdpChecksum]) != 0) return false;
    p.checksum = false;
  }
  p.l4_offset = static_cast<std::uint16_t>(flow.l4_offset);
  p.header_length = static_cast<std::uint16_t>(flow.l4_offset + l4_header);
  p.segment_bytes = header.gso_size;
  p.segments = static_cast<std::uint16_t>((payload + header.gso_size - 1) / header.gso_size);
  return true;
}

}  // namespace

std::expected<Superpacket, gw_drop> parse_superpacket(const VnetHeader& header, std::span<std::uint8_t> bytes) {
  const auto inner = esp::check_inner(bytes);
  if (!inner) return std::unexpected(GW_DROP_MALFORMED_INNER);
  Superpacket p{.bytes = bytes.first(inner->total_length), .family = inner->family};
  const auto offload = offload_of(header, inner->family);
  if (!offload) return std::unexpected(offload.error());
  p.offload = *offload;
  const bool fits = *offload == Offload::kNone ? parse_single(header, inner->header_length, p)
                                               : p.bytes.size() == bytes.size() && parse_segmented(header, p);
  if (!fits) return std::unexpected(GW_DROP_MALFORMED_INNER);
  return p;
}

void complete_checksum(const Superpacket& p) {
  if (p.checksum_from == 0) return;
  // The field holds the pseudo-header's part of the sum already.
  const auto covered = p.bytes.subspan(p.checksum_from);
  auto checksum = static_cast<std::uint16_t>(~sum_of(covered.data(), covered.size()));
  if (checksum == 0 && protocol_of(p) == kProtocolUdp) checksum = 0xffff;  // RFC 768: 0 is "none"
  store_be(&p.bytes[p.checksum_at], checksum);
}

}  // namespace gw::gso
