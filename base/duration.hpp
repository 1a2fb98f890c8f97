// Durations as operators write them: "300ms", "9s", "5m", "1h", "2d". Any thread.
#pragma once

#include <chrono>
#include <string_view>

#include "base/result.hpp"

namespace gw {

/// A whole number and a unit, nothing else: a bare number is kMalformed (seconds or minutes?), as is more
/// than a year.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace gw
