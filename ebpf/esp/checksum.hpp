// The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Values are as they stand in the
// packet, read in network order. Pure; any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/wire.hpp"

namespace gw::esp {

/// One's complement sum of the bytes as big-endian 16-bit words (an odd last byte is padded with zero),
/// not yet folded; add more to it, then fold16.
inline std::uint64_t sum16(const std::uint8_t* p, std::size_t bytes) {
  std::uint64_t sum = 0;  // 32-bit words: 2^32 of them fit
  for (; bytes >= 4; p += 4, bytes -= 4) sum += load_be<std::uint32_t>(p);
  if (bytes >= 2) {
    sum += load_be<std::uint16_t>(p);
    p += 2;
    bytes -= 2;
  }
  return bytes == 0 ? sum : sum + (std::uint64_t{*p} << 8);
}

constexpr std::uint16_t fold16(std::uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

/// RFC 1624 equation 3: the checksum after one 16-bit word changed.
constexpr std::uint16_t updated_checksum(std::uint16_t checksum, std::uint16_t before, std::uint16_t after) {
  const std::uint32_t sum =
      static_cast<std::uint16_t>(~checksum) + std::uint32_t{static_cast<std::uint16_t>(~before)} + after;
  return static_cast<std::uint16_t>(~fold16(sum));
}

/// True if an IPv4 header (20 to 60 bytes, a multiple of 4) sums up right.
inline bool ipv4_checksum_ok(const std::uint8_t* header, std::size_t bytes) {
  if (bytes != 20) [[unlikely]]
    return fold16(sum16(header, bytes)) == 0xffff;
  // All ones is all ones in either byte order (RFC 1071 2B): no swapping for nearly every packet.
  std::uint64_t first;
  std::uint64_t second;
  std::uint32_t last;
  std::memcpy(&first, header, 8);
  std::memcpy(&second, header + 8, 8);
  std::memcpy(&last, header + 16, 4);
  constexpr std::uint64_t kLow = 0xffffffff;
  return fold16((first & kLow) + (first >> 32) + (second & kLow) + (second >> 32) + last) == 0xffff;
}

}  // namespace gw::esp
