// Named bundles of IKE, IPsec and DPD settings: the built-in ones, the document's, and what results for a
// connection. Pure; any thread.
#pragma once

#include <string_view>
#include <vector>

#include "gw/config/v1/config.pb.h"

namespace gw::config {

inline constexpr std::string_view kDefaultProfile = "azure-default";

/// "azure-default" and "other-cloud"; every value present but `pfs` (as the peer likes) and `rekey_margin`.
const std::vector<v1::Profile>& built_in_profiles();

/// Every profile's name, built in and the document's.
std::vector<std::string> profile_names(const v1::Config& config);

/// The connection's profile with its own settings laid over, complete: what a profile of the document
/// leaves out comes from the default profile. An unknown profile counts as the default one.
v1::Profile effective_profile(const v1::Config& config, const v1::Connection& connection);

}  // namespace gw::config
