// `outer_header` of a connection: what the encrypted packet's header takes from the packet inside. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.hpp"
#include "gw/config/v1/config.pb.h"

namespace gw::config {

struct OuterSettings {
  std::optional<std::uint8_t> dscp;  // 0..63; none: copied from the inner packet
  bool ecn_compatibility = false;
  v1::DontFragment dont_fragment = v1::DONT_FRAGMENT_SET;
  friend bool operator==(const OuterSettings&, const OuterSettings&) = default;
};

/// "copy" or empty, "none", "0" to "63".
Result<std::optional<std::uint8_t>> parse_dscp(std::string_view text);
Result<OuterSettings> resolve_outer(const v1::OuterHeader& outer);

}  // namespace gw::config
