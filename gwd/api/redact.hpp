// Keeps secrets out of what leaves the machine: support bundles and snapshots. Pure, any thread.
#pragma once

#include <string>
#include <string_view>

#include "gwd/config/model.hpp"

namespace gw::gwd {

/// FRR's configuration without its passwords.
std::string mask_passwords(std::string_view frr_config);

/// `text` with every secret of the model replaced, wherever it stands: a comment in the document, a log line.
std::string without_secrets(std::string text, const config::GatewayModel& model);

}  // namespace gw::gwd
