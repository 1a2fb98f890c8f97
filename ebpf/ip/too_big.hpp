// ICMP "fragmentation needed" (RFC 1191) and "packet too big" (RFC 8201) about ESP that we sent: what the message
// quotes of it. Anybody can send such a message; who believes it has to check the SA and the sequence number first.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/ip.hpp"

namespace gw::ip {

struct TooBig {
  IpAddress src;               // of the quoted packet: ours
  IpAddress dst;               // the peer
  std::uint16_t src_port = 0;  // 0: native ESP
  std::uint16_t dst_port = 0;
  std::uint32_t spi = 0;
  std::uint32_t sequence = 0;  // the lower half
  std::uint32_t mtu = 0;       // what fits the next hop; from old routers a guess (RFC 1191 7.1)
};

/// `message` begins at the ICMP header. The checksum of IPv4's is checked, of IPv6's not: it needs the addresses.
/// Nothing if it is another message, quotes something else, or too little to be checked: SPI and sequence number.
std::optional<TooBig> parse_too_big(std::span<const std::uint8_t> message, Family family);

/// The sequence number is one that an SA which is at `last_sent` has sent not long ago.
bool recently_sent(std::uint32_t sequence, std::uint64_t last_sent);

}  // namespace gw::ip
