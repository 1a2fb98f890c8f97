// Descriptors that outlive the process, by systemd's protocol: sent to the service manager
// with FDSTORE=1 (sd_notify(3)), handed back after a restart by LISTEN_FDS (sd_listen_fds(3)). Without a
// service manager every call does nothing. Control thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/service_manager.hpp"

namespace gw::tun {

/// A descriptor as it is called in a store; its owner is somebody else.
struct NamedFd {
  std::string name;
  int fd = -1;
};

class FdStore {
 public:
  /// Reads the environment: where to send, what was kept.
  static FdStore from_environment();

  /// What an earlier process left, by name, of the names with this prefix. Once; the descriptors are the caller's.
  std::map<std::string, Fd> take_kept(std::string_view prefix);

  /// As if it had been kept: handed over by a process that still runs.
  void put(std::string name, Fd fd) { kept_[std::move(name)] = std::move(fd); }
  /// Another store's, as if they had been kept.
  void take_all(FdStore& other) { kept_.merge(other.kept_); }
  /// The one of this name, once; none: an empty Fd.
  Fd take(const std::string& name);

  /// Keeps a duplicate. An error is logged by the caller: the program works on, only a crash costs more.
  Status keep(std::string_view name, int fd);
  Status forget(std::string_view name);
  const ServiceManager& manager() const { return manager_; }

 private:
  ServiceManager manager_;
  std::map<std::string, Fd> kept_;
};

}  // namespace gw::tun
