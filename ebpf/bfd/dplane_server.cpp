#include "ebpf/bfd/dplane_server.hpp"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/loopback_peer.hpp"
#include "base/wire.hpp"

namespace gw::bfd {
namespace {

constexpr int kReads = 16;  // of one wake-up: others get their turn

}  // namespace

Result<Fd> DplaneServer::listen(std::uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("opening the socket for bfdd");
  const int on = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = host_to_be(port);
  address.sin_addr.s_addr = host_to_be(std::uint32_t{INADDR_LOOPBACK});
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), 4) != 0)
    return fail_errno(std::format("listening for bfdd on port {} of 127.0.0.1", port));
  return fd;
}

DplaneServer::DplaneServer(Fd listener, int epoll, Handlers handlers)
    : listener_(std::move(listener)), epoll_(epoll), handlers_(std::move(handlers)), users_(frr_users()) {
  sockaddr_in own{};
  socklen_t length = sizeof own;
  (void)::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&own), &length);
  port_ = be_to_host(own.sin_port);
  epoll_event e{.events = EPOLLIN, .data = {.fd = listener_.get()}};
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_.get(), &e);
}

/// Whoever else logs in here must not tell us sessions, nor push bfdd aside.
bool DplaneServer::is_allowed(const sockaddr_in& from) {
  const auto user = owner_of_connection(be_to_host(from.sin_port), port_);
  if (user && std::ranges::contains(users_, *user)) return true;
  if (user) handlers_.refused(*user);
  return false;
}

void DplaneServer::ready(int fd, std::uint32_t events) {
  if (fd == listener_.get()) return accept();
  if (events & EPOLLOUT) flush();
  if (connection_ && (events & ~static_cast<std::uint32_t>(EPOLLOUT))) read();
}

void DplaneServer::accept() {
  sockaddr_in from{};
  socklen_t length = sizeof from;
  Fd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd || !is_allowed(from)) return;
  const int on = 1;
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connection_) end("another bfdd has connected");
  connection_ = std::move(fd);
  epoll_event e{.events = EPOLLIN, .data = {.fd = connection_.get()}};
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection_.get(), &e);
  handlers_.connected();
}

void DplaneServer::read() {
  std::array<std::uint8_t, 16384> bytes;
  for (int i = 0; i < kReads && connection_; ++i) {
    const auto n = ::recv(connection_.get(), bytes.data(), bytes.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return end(n == 0 ? "it closed the connection" : std::strerror(errno));
    reader_.feed(std::span(bytes).first(static_cast<std::size_t>(n)));
    for (;;) {
      const auto message = reader_.next();
      if (!message) return end(message.error().message);
      if (!*message) break;
      handlers_.message(**message);
      if (!connection_) return;
    }
  }
}

void DplaneServer::send(const std::vector<std::uint8_t>& message) {
  if (!connection_) return;
  if (unsent_.size() + message.size() > kMaxUnsent) return end("it does not read");
  unsent_.insert(unsent_.end(), message.begin(), message.end());
}

void DplaneServer::flush() {
  if (!connection_ || unsent_.empty()) return;
  const auto n = ::send(connection_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return end(std::strerror(errno));
  if (n > 0) unsent_.erase(unsent_.begin(), unsent_.begin() + n);
  if (waits_ == unsent_.empty()) {
    waits_ = !unsent_.empty();
    watch_writable(waits_ ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
}

void DplaneServer::watch_writable(std::uint32_t events) {
  epoll_event e{.events = events, .data = {.fd = connection_.get()}};
  (void)::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection_.get(), &e);
}

void DplaneServer::end(const std::string& why) {
  connection_.reset();
  reader_ = {};
  unsent_.clear();
  waits_ = false;
  handlers_.disconnected(why);
}

}  // namespace gw::bfd
