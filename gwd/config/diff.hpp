// What changes between two documents, for people: one line a change, lists keyed by name. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "gw/config/v1/config.pb.h"

namespace gw::config {

/// "~ connections[paris-ce1].ipsec.lifetime: 27000s -> 3600s", "+ sites[lyon]", "- connections[x]", in the
/// schema's order. Documents hold no secrets, only the paths of their files.
std::vector<std::string> diff(const v1::Config& from, const v1::Config& to);

}  // namespace gw::config
