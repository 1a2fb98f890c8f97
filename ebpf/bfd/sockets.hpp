// BFD's UDP sockets (RFC 5881 4, 5; RFC 5883 5): one for each port and family that all sessions receive by, one for
// each session that it sends by, bound to its device. A tunnel's device is its TUN: what is sent there is encrypted by
// the worker that owns the tunnel, and what comes was decrypted by it. Liveness thread.
#pragma once

#include <array>
#include <functional>

#include "base/fd.hpp"
#include "ebpf/bfd/engine.hpp"

namespace gw::bfd {

/// Binds ports 3784 and 4784: nobody else on this machine may.
class Receivers {
 public:
  static Result<Receivers> open();

  /// Those of a process before this one, as its fds() had them: -1 is none.
  static Receivers adopt(std::array<Fd, 4> fds);

  std::array<int, 4> fds() const;
  /// Reads what waits at a descriptor, a bounded number of packets.
  void read(int fd, const std::function<void(const Received&)>& packet);

 private:
  struct Socket {
    Fd fd;
    Hops hops = Hops::kSingle;
  };
  std::array<Socket, 4> sockets_;
};

/// A LinkFactory.
Result<std::unique_ptr<Link>> open_link(const SessionKey& key);

}  // namespace gw::bfd
