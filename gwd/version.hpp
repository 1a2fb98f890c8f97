// The release, from CMake's project version.
#pragma once

#include <string_view>

namespace gw::gwd {

inline constexpr std::string_view kVersion = GW_VERSION;

}  // namespace gw::gwd
