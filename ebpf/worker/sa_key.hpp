// What an SA is found by: SPI and outer destination (RFC 4301 4.1).
#pragma once

#include <compare>
#include <cstdint>

#include "base/ip.hpp"

namespace gw::worker {

struct SaKey {
  std::uint32_t spi = 0;
  IpAddress dst;
  friend auto operator<=>(const SaKey&, const SaKey&) = default;
};
std::size_t hash_value(const SaKey& key);

}  // namespace gw::worker
