// What a program says to systemd: ready, alive, "keep this descriptor" (sd_notify(3)), without libsystemd. Without a
// service manager every call does nothing; one that does not read is an error, never a wait. A value; any thread, one
// at a time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace gw {

class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  static ServiceManager from_environment();

  /// "READY=1", "WATCHDOG=1", "STATUS=...": one NAME=value a line.
  Status notify(std::string_view state) const { return send(state, -1); }
  /// The same, with a descriptor of which the manager keeps a duplicate.
  Status send(std::string_view state, int fd) const;

  /// How often it wants to hear WATCHDOG=1; none: it does not watch this process. Say it at least twice as often.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

 private:
  std::string socket_;  // empty: no service manager; '@...': abstract
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace gw
