// `gw-fastpath --upgrade`: has the gw-fastpath that runs start its successor, and waits until that forwards.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace gw::handover {

/// What happened, for people. kRefused: why the one that runs goes on; kNotFound: none does.
Result<std::string> request_successor(const std::string& path, const std::vector<std::string>& options);

}  // namespace gw::handover
