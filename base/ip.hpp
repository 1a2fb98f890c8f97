// IP addresses and prefixes as values: 16 bytes and a family, ordered, hashable, printable.
// Parsing accepts only the canonical forms that operators write; no DNS. Any thread.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <format>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace gw {

enum class Family : std::uint8_t { kV4, kV6 };

inline constexpr unsigned address_bits(Family f) { return f == Family::kV4 ? 32 : 128; }
inline constexpr std::size_t address_bytes(Family f) { return f == Family::kV4 ? 4 : 16; }

class IpAddress {
 public:
  /// 0.0.0.0
  constexpr IpAddress() = default;
  /// "192.0.2.1", "2001:db8::1"; zone ids and IPv4-mapped IPv6 are refused.
  static Result<IpAddress> parse(std::string_view text);
  /// 4 or 16 bytes in network order; anything else is kMalformed.
  static Result<IpAddress> from_bytes(std::span<const std::uint8_t> bytes);
  static Result<IpAddress> from_bytes(std::string_view bytes);  // as protobuf has them
  static IpAddress from_v4(std::uint32_t host_order);
  static IpAddress from_v6(std::span<const std::uint8_t, 16> bytes);

  Family family() const { return family_; }
  bool is_v4() const { return family_ == Family::kV4; }
  bool is_v6() const { return family_ == Family::kV6; }
  /// 4 or 16 bytes, network order.
  std::span<const std::uint8_t> bytes() const { return {bytes_.data(), address_bytes(family_)}; }
  std::string bytes_string() const;
  /// IPv4 only: host order.
  std::uint32_t v4() const;

  bool is_unspecified() const;
  bool is_loopback() const;
  bool is_multicast() const;
  bool is_link_local() const;  // 169.254/16 (APIPA), fe80::/10
  /// Bit `i` from the most significant.
  bool bit(unsigned i) const { return (bytes_[i / 8] >> (7 - i % 8)) & 1; }

  std::string to_string() const;
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
  friend bool operator==(const IpAddress&, const IpAddress&) = default;

 private:
  Family family_ = Family::kV4;
  std::array<std::uint8_t, 16> bytes_{};
};

/// A network: address with the host bits zero, and a length.
class Prefix {
 public:
  constexpr Prefix() = default;  // 0.0.0.0/0
  /// Host bits must be zero ("10.0.0.1/8" is refused, with the network it would be in the message).
  static Result<Prefix> parse(std::string_view text);
  /// Clears the host bits; length beyond the family's is kInvalidArgument.
  static Result<Prefix> make(const IpAddress& address, unsigned length);
  /// /32 or /128.
  static Prefix host(const IpAddress& address);

  const IpAddress& address() const { return address_; }
  unsigned length() const { return length_; }
  Family family() const { return address_.family(); }
  bool contains(const IpAddress& a) const;
  bool contains(const Prefix& p) const;  // p is equal or more specific
  bool overlaps(const Prefix& p) const { return contains(p) || p.contains(*this); }

  std::string to_string() const;
  friend auto operator<=>(const Prefix&, const Prefix&) = default;
  friend bool operator==(const Prefix&, const Prefix&) = default;

 private:
  IpAddress address_;
  std::uint8_t length_ = 0;
};

/// An address with the length of the network it is in: "192.168.30.17/29".
struct InterfaceAddress {
  IpAddress address;
  std::uint8_t length = 0;
  static Result<InterfaceAddress> parse(std::string_view text);
  std::string to_string() const;
  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

std::size_t hash_value(const IpAddress& a);
std::size_t hash_value(const Prefix& p);

}  // namespace gw

template <>
struct std::hash<gw::IpAddress> {
  std::size_t operator()(const gw::IpAddress& a) const { return gw::hash_value(a); }
};
template <>
struct std::hash<gw::Prefix> {
  std::size_t operator()(const gw::Prefix& p) const { return gw::hash_value(p); }
};
template <>
struct std::formatter<gw::IpAddress> : std::formatter<std::string> {
  auto format(const gw::IpAddress& a, auto& ctx) const {
    return std::formatter<std::string>::format(a.to_string(), ctx);
  }
};
template <>
struct std::formatter<gw::Prefix> : std::formatter<std::string> {
  auto format(const gw::Prefix& p, auto& ctx) const { return std::formatter<std::string>::format(p.to_string(), ctx); }
};
