// Explicit congestion notification through a tunnel, RFC 6040. The two ECN bits of traffic class or TOS.
#pragma once

#include <cstdint>
#include <optional>

namespace gw::esp {

inline constexpr std::uint8_t kEcnMask = 3;
enum Ecn : std::uint8_t { kNotEct = 0, kEct1 = 1, kEct0 = 2, kCe = 3 };

/// The inner field after decapsulation, figure 4 of RFC 6040; nothing means drop (a mark that the sender of
/// a not-ECN-capable packet would never learn of). Encapsulation (normal mode, 4.1) copies inner to outer.
constexpr std::optional<std::uint8_t> combined_ecn(std::uint8_t inner, std::uint8_t outer_ecn) {
  if (outer_ecn == kCe) {
    if (inner == kNotEct) return std::nullopt;
    return kCe;
  }
  if (outer_ecn == kEct1 && inner == kEct0) return kEct1;
  return inner;
}

}  // namespace gw::esp
