// Metrics of two instances that are one gateway. Thread: any.
#pragma once

#include <string>

#include "gw/api/v1/ha.pb.h"
#include "gwd/metrics/families.hpp"
#include "gwd/sync/channel.hpp"

namespace gw::gwd::metrics {

namespace api = ::gw::api::v1;

/// Who has which endpoint, as `gwctl ha show` says.
void add_ha(Families& out, const api::HaReply& ha, const std::string& instance);
void add_sync(Families& out, const sync::ChannelStats& sync, const std::string& instance);

}  // namespace gw::gwd::metrics
