// gwd's keep-alive to systemd (WatchdogSec=): said by the main loop itself, and only while the sync thread, if there is
// one, goes on as well. A loop that hangs is thus a gwd that systemd starts anew. Owner: main; thread: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/service_manager.hpp"

namespace gw::gwd {

class Watchdog {
 public:
  /// A number that grows while the sync thread goes on; none: there is no such thread.
  using SyncProgress = std::function<std::optional<std::uint64_t>()>;

  Watchdog(boost::asio::io_context& io, ServiceManager manager, SyncProgress progress);

  /// Says that gwd is ready, and from then on that it is alive.
  void start();
  void stop() { timer_.cancel(); }

 private:
  void tick();
  bool sync_goes_on();

  ServiceManager manager_;
  SyncProgress progress_;
  boost::asio::steady_timer timer_;
  std::optional<std::uint64_t> seen_;
};

}  // namespace gw::gwd
