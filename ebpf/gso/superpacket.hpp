// A packet as the kernel hands it over with a virtio-net header (VIRTIO 1.2 5.1.6): possibly up to 64 KiB that
// stand for many segments, possibly with a checksum left to the card. The header's lengths are not believed:
// everything is found in the packet itself and compared. Pure; worker thread.
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "base/ip.hpp"
#include "ebpf/abi/drop.h"

namespace gw::gso {

/// struct virtio_net_hdr_v1, which linux/virtio_net.h does not give to C++ (it has a member named "class"): with
/// num_buffers, as TUNSETVNETHDRSZ 12 makes it; in the machine's byte order.
struct VnetHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
  std::uint16_t num_buffers = 0;
};
static_assert(sizeof(VnetHeader) == 12);

inline constexpr std::uint8_t kVnetNeedsChecksum = 1;  // in flags
enum VnetGso : std::uint8_t {                          // gso_type
  kVnetNone = 0,
  kVnetTcp4 = 1,
  kVnetUfo = 3,
  kVnetTcp6 = 4,
  kVnetUdp = 5,
  kVnetEcn = 0x80,  // with TCP: the first segment has CWR
};

enum class Offload : std::uint8_t { kNone, kTcp, kUdp };

/// Checked: every offset lies within `bytes`.
struct Superpacket {
  std::span<std::uint8_t> bytes;  // from the IP header to the end of the packet
  Family family = Family::kV4;
  Offload offload = Offload::kNone;
  std::uint16_t l4_offset = 0;      // offload: of the TCP or UDP header
  std::uint16_t header_length = 0;  // offload: IP and TCP or UDP headers
  std::uint16_t segment_bytes = 0;  // offload: payload of each segment but the last
  std::uint16_t segments = 1;
  bool checksum = true;             // offload: segments carry one; not so UDP over IPv4 without
  std::uint16_t checksum_from = 0;  // no offload: first byte that an unfinished checksum covers; 0: it is finished
  std::uint16_t checksum_at = 0;    // no offload: where it goes

  /// Bytes of the longest segment's IP packet.
  std::uint32_t longest() const {
    return offload == Offload::kNone ? static_cast<std::uint32_t>(bytes.size())
                                     : std::uint32_t{header_length} + segment_bytes;
  }
};

/// GW_DROP_MALFORMED_INNER: no IP packet, or one that contradicts its virtio header.
std::expected<Superpacket, gw_drop> parse_superpacket(const VnetHeader& header, std::span<std::uint8_t> bytes);

/// Finishes the checksum of a packet without offload, in place.
void complete_checksum(const Superpacket& packet);

}  // namespace gw::gso
