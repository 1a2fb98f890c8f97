// Numbers of IP and what it carries that every packet parser needs: protocol numbers (IANA), header lengths in bytes,
// places of fields (RFC 791, 8200, 768, 9293). Header-only.
#pragma once

#include <cstdint>

namespace gw {

inline constexpr std::uint8_t kProtocolIcmp = 1;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kProtocolFragment = 44;  // IPv6 fragment header
inline constexpr std::uint8_t kProtocolEsp = 50;
inline constexpr std::uint8_t kProtocolIcmpV6 = 58;

inline constexpr std::uint32_t kIpv4Header = 20;  // without options
inline constexpr std::uint32_t kIpv6Header = 40;
inline constexpr std::uint32_t kTcpHeader = 20;  // without options
inline constexpr std::uint32_t kUdpHeader = 8;
inline constexpr std::uint32_t kIcmpHeader = 8;  // of an error, both versions

inline constexpr std::uint16_t kTcpChecksum = 16;  // from the start of the TCP header
inline constexpr std::uint16_t kUdpChecksum = 6;

// Of IPv4's 16 bits of flags and fragment offset.
inline constexpr std::uint16_t kDontFragment = 0x4000;
inline constexpr std::uint16_t kMoreFragments = 0x2000;
inline constexpr std::uint16_t kFragmentOffset = 0x1fff;  // in units of 8 bytes

}  // namespace gw
