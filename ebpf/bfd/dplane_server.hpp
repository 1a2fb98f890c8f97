// bfdd's connection: gw-fastpath listens on 127.0.0.1, and bfdd is started with `--dplaneaddr ipv4c:127.0.0.1:PORT`. It
// is bfdd that connects, because a bfdd that listens says Down for every session when the connection breaks, and sends
// Down to the peers itself (bfdd/dplane.c, bfd_dplane_ctx_free); one that connects keeps what it knows, and connects
// again after 3 s. By TCP, because bfdd 10.3 cannot connect to a Unix socket (it gives connect(2) a length that is too
// large for one: EINVAL). Only FRR's processes and root's are listened to. Nothing here blocks. Liveness thread.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/bfd/dplane_message.hpp"

namespace gw::bfd {

class DplaneServer {
 public:
  /// What bfdd may leave unread before the connection is given up: all sessions' states many times.
  static constexpr std::size_t kMaxUnsent = std::size_t{4} << 20;

  struct Handlers {
    std::function<void(const DplaneMessage&)> message;
    std::function<void()> connected;
    std::function<void(std::uint32_t user)> refused;
    std::function<void(const std::string& why)> disconnected;
  };

  static Result<Fd> listen(std::uint16_t port);

  /// `epoll`: where the descriptors are watched, with themselves as data.
  DplaneServer(Fd listener, int epoll, Handlers handlers);

  bool owns(int fd) const { return fd >= 0 && (fd == listener_.get() || fd == connection_.get()); }
  void ready(int fd, std::uint32_t events);
  /// Without effect while bfdd is away.
  void send(const std::vector<std::uint8_t>& message);
  void flush();
  bool connected() const { return static_cast<bool>(connection_); }

 private:
  void accept();
  bool is_allowed(const sockaddr_in& from);
  void read();
  void end(const std::string& why);
  void watch_writable(std::uint32_t events);

  Fd listener_;
  int epoll_;
  Handlers handlers_;
  std::vector<std::uint32_t> users_;  // that may connect
  std::uint16_t port_ = 0;
  Fd connection_;
  DplaneReader reader_;
  std::vector<std::uint8_t> unsent_;
  bool waits_ = false;  // until the socket takes more
};

}  // namespace gw::bfd
