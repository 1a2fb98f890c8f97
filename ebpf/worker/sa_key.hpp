// What an SA is found by: SPI and outer destination (RFC 4301 4.1).
#pragma once

#include <compare>
#include <cstdint>
#include <cstring>

#include "base/ip.hpp"

namespace gw::worker {

struct SaKey {
  std::uint32_t spi = 0;
  IpAddress dst;
  friend auto operator<=>(const SaKey&, const SaKey&) = default;
};
/// SPIs are random numbers already; destinations are few.
inline std::size_t hash_value(const SaKey& key) {
  std::uint64_t dst = 0;
  if (key.dst.is_v4()) {
    dst = key.dst.v4();
  } else {
    std::uint64_t halves[2];
    std::memcpy(halves, key.dst.bytes().data(), sizeof halves);
    dst = halves[0] ^ halves[1];
  }
  return dst * 0x9e3779b97f4a7c15ull ^ key.spi;
}

}  // namespace gw::worker
