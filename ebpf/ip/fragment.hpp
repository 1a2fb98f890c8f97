// IP fragments: reading one of unknown quality, and cutting an IPv4 packet (RFC 791 3.2) or a packet of our own
// over IPv6 (RFC 8200 4.5) into them. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/ip.hpp"

namespace gw::ip {

inline constexpr std::uint32_t kMaxV4Header = 60;
inline constexpr std::uint32_t kV6Header = 40;
inline constexpr std::uint32_t kV6FragmentHeader = 8;

/// What the headers say of a packet that is a fragment. The spans point into it.
struct Fragment {
  Family family = Family::kV4;
  std::span<const std::uint8_t> src;
  std::span<const std::uint8_t> dst;
  std::uint32_t id = 0;
  std::uint8_t protocol = 0;  // of what was cut; IPv6: valid in the first fragment only
  std::uint8_t ecn = 0;
  std::uint32_t offset = 0;  // bytes
  enum class Place : std::uint8_t { kMoreFollow, kLast } place = Place::kLast;
  std::span<const std::uint8_t> header;   // IPv4 with options; IPv6: the 40 bytes, without the fragment header
  std::span<const std::uint8_t> payload;  // by the length field, not by the bytes that there are

  std::uint32_t end() const { return offset + static_cast<std::uint32_t>(payload.size()); }
};

enum class FragmentFault : std::uint8_t {
  kNone,
  kNotAFragment,  // whole, or an atomic fragment's header is not directly behind the IPv6 header
  kMalformed,     // headers that contradict themselves; empty; not a multiple of 8; beyond 65535 bytes
};

/// `bytes` begins at the IP header and may be longer than the packet (Ethernet padding). Over IPv6 only a fragment
/// header directly behind the IPv6 header is looked at. An atomic fragment (RFC 6946) is one: offset 0, the last.
FragmentFault parse_fragment(std::span<const std::uint8_t> bytes, Fragment& out);

/// Cuts one IPv4 packet, fragment by fragment. Options go along as RFC 791 says: all in the first, those with the
/// copied flag in the others. A packet that is a fragment itself is cut further.
class FragmenterV4 {
 public:
  /// `packet` is one that esp::check_inner() accepts, but for its checksum, and its total length long; it outlives
  /// the fragmenter. Nothing
  /// if it must not be cut (DF), if no 8 bytes of payload fit `mtu`, if there is nothing to cut, or if it is a
  /// fragment that parse_fragment() calls malformed: its pieces' offsets would wrap to the packet's beginning.
  static std::optional<FragmenterV4> make(std::span<const std::uint8_t> packet, std::uint32_t mtu);
  /// Writes the next fragment; 0 when there is none any more. `out` has room for `mtu` bytes.
  std::uint32_t next(std::span<std::uint8_t> out);

 private:
  FragmenterV4(std::span<const std::uint8_t> packet, std::uint32_t mtu);
  bool is_malformed_fragment() const;
  std::span<const std::uint8_t> packet_;
  std::uint32_t mtu_ = 0;
  std::uint32_t header_ = 0;        // bytes, of the packet
  std::uint32_t later_header_ = 0;  // bytes, of all fragments but the first
  std::array<std::uint8_t, kMaxV4Header> later_{};
  std::uint32_t done_ = 0;  // bytes of payload
};

/// Cuts a packet of our own over IPv6, made by us: nobody else may (RFC 8200 4.5). It has no extension headers.
class FragmenterV6 {
 public:
  /// Nothing if there is nothing to cut. `mtu` at least 1280.
  static std::optional<FragmenterV6> make(std::span<const std::uint8_t> packet, std::uint32_t mtu, std::uint32_t id);
  std::uint32_t next(std::span<std::uint8_t> out);

 private:
  FragmenterV6(std::span<const std::uint8_t> packet, std::uint32_t mtu, std::uint32_t id)
      : packet_(packet), mtu_(mtu), id_(id) {}
  std::span<const std::uint8_t> packet_;
  std::uint32_t mtu_ = 0;
  std::uint32_t id_ = 0;
  std::uint32_t done_ = 0;
};

}  // namespace gw::ip
