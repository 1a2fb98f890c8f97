// `gwctl ha show` as text. Pure; any thread.
#pragma once

#include <string>

#include "cli/render.hpp"
#include "gw/api/v1/ha.pb.h"

namespace gw::cli {

std::string render(const api::HaReply& reply, const View& view);

/// The instance that has an endpoint while all is well.
const std::string& belongs_to(const api::HaEndpoint& endpoint);

/// For --check: the other instance is heard on both paths and could take over, nothing is alarmed, and every endpoint
/// has an owner.
bool all_up(const api::HaReply& reply);

}  // namespace gw::cli
