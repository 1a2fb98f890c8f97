// Rates as operators write them ("500Mbit/s"), and the clouds' SKUs: bundles of limits with a name. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "gw/config/v1/config.pb.h"

namespace gw::config {

/// Bits a second, each direction by itself; 0: no limit.
struct RateSettings {
  std::uint64_t in_bps = 0;  // out of tunnels, towards the VNet
  std::uint64_t out_bps = 0;
  friend bool operator==(const RateSettings&, const RateSettings&) = default;
};

inline constexpr std::uint64_t kLeastRateBps = 64'000;
inline constexpr std::uint64_t kMostRateBps = 400'000'000'000;

/// A number, with a fraction or not, and a unit of bit/s, kbit/s, Mbit/s, Gbit/s. Errors say what is wrong with it.
Result<std::uint64_t> parse_rate(std::string_view text);
/// "1.25Gbit/s"
std::string rate_text(std::uint64_t bps);

enum class Bgp : std::uint8_t { kNo, kYes };

struct Sku {
  std::string_view name;
  std::size_t tunnels = 0;  // of the gateway, over all instances' connections; 0: no limit
  std::uint64_t bps = 0;    // all tunnels together, each way; 0: no limit
  Bgp bgp = Bgp::kYes;
};
/// With "Unlimited", the default.
std::span<const Sku> skus();
/// Of that name, which is Unlimited's if empty; null: there is none.
const Sku* find_sku(std::string_view name);

/// What one key of a document says: `rates` is 0 in the direction that another key says.
struct StatedRate {
  std::string_view key;  // "rate", "rate_in", "rate_out"
  RateSettings rates;
};
/// The keys that have a part in what is in force; none that is no rate, or that says nothing beside the others.
std::vector<StatedRate> stated_rates(const v1::Gateway& gateway);
std::vector<StatedRate> stated_rates(const v1::Connection& connection);

/// Of a document that passed validate().
Result<RateSettings> resolve_rates(const v1::Gateway& gateway);
Result<RateSettings> resolve_rates(const v1::Connection& connection);

}  // namespace gw::config
