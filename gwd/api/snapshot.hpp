// Takes the snapshot that the doctor's rules look at (proto/gw/api/v1/snapshot.proto): asks gw-fastpath, reads the
// controllers, and walks the routes in slices, so that nothing else in gwd waits. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>

#include "base/clock.hpp"
#include "gw/api/v1/snapshot.pb.h"
#include "gwd/control/config_service.hpp"
#include "gwd/control/gateway.hpp"

namespace gw::gwd {

namespace api = ::gw::api::v1;

struct SnapshotSources {
  Gateway& gateway;
  const ConfigService& config;
  const Clock& clock;
  std::function<api::StatusReply()> status;
};

/// What cannot be asked at the moment is empty in it; the status says who is away.
boost::asio::awaitable<api::Snapshot> take_snapshot(SnapshotSources sources);

}  // namespace gw::gwd
