// The listen address of the metrics endpoint: loopback only, since it has neither TLS nor a login. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::config {

inline constexpr std::string_view kDefaultMetrics = "127.0.0.1:9620";

struct MetricsAddress {
  IpAddress address;
  std::uint16_t port = 0;
};

/// "127.0.0.1:9620", "[::1]:9620"
Result<MetricsAddress> parse_metrics_address(std::string_view text);

}  // namespace gw::config
