// What an operator may change under an interface while its AF_XDP sockets are open, and what follows from it: they
// were made for the receive queues and the MTU of the start. Control thread, every second.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace gw::xsk {

class PortWatch {
 public:
  struct Start {
    std::string interface;
    std::uint32_t queues = 0;      // with sockets
    std::uint32_t largest_ip = 0;  // bytes of an IP packet that the buffers take
  };
  explicit PortWatch(Start start) : start_(std::move(start)) {}

  /// kUnsupported: there are more receive queues than sockets, and what arrives on the others is lost until a restart.
  /// An MTU above what the buffers take is only warned of, once: nothing is lost until somebody uses it. An interface
  /// that is gone is not our business (control::Paths tells).
  Status check();

 private:
  Start start_;
  std::uint32_t warned_mtu_ = 0;
};

}  // namespace gw::xsk
