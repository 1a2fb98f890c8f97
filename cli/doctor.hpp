// `gwctl doctor` and `gwctl support-bundle`: what is wrong here, or was wrong where a bundle comes from.
// Owner: one run of gwctl.
#pragma once

#include <string>

#include "cli/session.hpp"
#include "gw/api/v1/snapshot.pb.h"

namespace gw::cli {

std::string render(const api::DoctorReply& reply, const View& view);

/// Of the running gateway. kNo when there are findings.
int examine_gateway(const Session& session);
/// Of a support bundle, or of a snapshot alone as JSON; asks no gwd.
int examine_bundle(const Session& session, const std::string& file);
/// Writes one file, mode 0600; an empty `file` becomes a name with gateway, instance and time.
int write_bundle(const Session& session, const std::string& file);

}  // namespace gw::cli
