// The document's policy as routes/ has it: safe imports, classes, filters, limits and the operator's rules, for the
// sessions of one instance. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "gw/config/v1/config.pb.h"
#include "gwd/config/model.hpp"
#include "routes/import.hpp"

namespace gw::config {

/// "65010:77", "graceful-shutdown" or another well-known name (RFC 1997, 7999, 8326).
std::optional<std::uint32_t> parse_community(std::string_view text);

/// `config` has passed validate(); the model's sessions, tunnels and spokes are there.
Result<routes::Policy> resolve_policy(const v1::Config& config, const GatewayModel& model);

}  // namespace gw::config
