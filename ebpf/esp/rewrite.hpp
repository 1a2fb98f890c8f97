// What forwarding does to an inner packet besides encrypting it: TTL, TCP MSS, flow hash. Pure; in place;
// checksums are updated, not recomputed (RFC 1624), so an error in the packet stays visible to its receiver.
// All take a packet that check_inner() accepted, cut to its total length.
#pragma once

#include <cstdint>
#include <span>

#include "base/ip.hpp"

namespace gw::esp {

/// False when the TTL or hop limit is 0 or 1: the packet is left alone and not forwarded.
bool decrement_ttl(std::span<std::uint8_t> packet, Family family);

/// Lowers the MSS option of a TCP SYN to `mss_v4` (IPv6: 20 less). 0: never. True if the packet was changed.
bool clamp_mss(std::span<std::uint8_t> packet, Family family, std::uint16_t mss_v4);

/// Finishes a TCP or UDP checksum that the sender's kernel left to its network card: on veth, and virtio within
/// one machine, no card ever does. It leaves the folded sum of the pseudo-header in the field, and only that is
/// changed. A right checksum that happens to have this value stays as it is: it is what comes out. True if it was
/// such a packet. Before everything that updates the checksum.
bool complete_checksum(std::span<std::uint8_t> packet, Family family);

/// Of addresses, protocol and ports (addresses and protocol alone for fragments): all packets of a datagram's
/// flow have one value, the same in every process and on every machine. Not symmetric.
std::uint32_t flow_hash(std::span<const std::uint8_t> packet, Family family);

}  // namespace gw::esp
