// Which AS numbers may stand where: the clouds' reservations and IANA's. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace gw::config {

inline constexpr std::uint32_t kDefaultAsn = 65515;

/// Why the gateway itself may not have it; empty: it may.
std::string_view reserved_for_gateway(std::uint32_t asn);
/// Why a site may not have it: in addition those that clouds keep for their gateways.
std::string_view reserved_for_site(std::uint32_t asn);

}  // namespace gw::config
