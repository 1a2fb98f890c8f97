// The packet threads: what they did between two looks, and histograms in powers of two. Pure; any thread.
#pragma once

#include "cli/render.hpp"

namespace gw::cli {

/// What was counted between two replies; `later` as it is if gw-fastpath began anew in between.
api::WorkersReply between(const api::WorkersReply& earlier, const api::WorkersReply& later);

}  // namespace gw::cli
