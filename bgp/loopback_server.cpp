#include "bgp/loopback_server.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <format>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "base/loopback_peer.hpp"
#include "base/spawn.hpp"

namespace gw::bgp {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
// Out of file descriptors, what wants to be accepted waits in the backlog.
constexpr std::chrono::milliseconds kAcceptAgain{100};

}  // namespace

class LoopbackServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::any_io_executor executor, std::string what, Handlers handlers)
      : acceptor_(executor),
        pause_(executor),
        executor_(std::move(executor)),
        what_(std::move(what)),
        handlers_(std::move(handlers)) {}

  Status listen(std::uint16_t port);
  std::uint16_t port() const { return port_; }
  void close();
  void drop(const Error& why) {
    if (const auto current = current_) drop(current, why);
  }

 private:
  using Socket = std::shared_ptr<tcp::socket>;
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> read_loop(Socket socket);
  bool is_allowed(const tcp::socket& socket);
  void drop(const Socket& socket, const Error& why);

  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  asio::any_io_executor executor_;
  std::string what_;
  Handlers handlers_;
  Socket current_;
  std::uint16_t port_ = 0;
  std::optional<std::uint32_t> refused_user_;
  bool closed_ = false;
};

Status LoopbackServer::Impl::listen(std::uint16_t port) {
  boost::system::error_code error;
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
  const auto failed = [&](std::string_view step) {
    return fail(Errc::kIo, std::format("{} port {}: {}: {}", what_, port, step, error.message()));
  };
  if (acceptor_.open(endpoint.protocol(), error)) return failed("socket");
  if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error)) return failed("reuse");
  if (acceptor_.bind(endpoint, error)) return failed("bind");
  if (acceptor_.listen(16, error)) return failed("listen");
  port_ = acceptor_.local_endpoint(error).port();
  asio::co_spawn(executor_, [self = shared_from_this()] { return self->accept_loop(); }, kEndOnException);
  return {};
}

void LoopbackServer::Impl::close() {
  closed_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  if (current_) current_->close(ignored);
  current_.reset();
}

void LoopbackServer::Impl::drop(const Socket& socket, const Error& why) {
  if (closed_ || current_ != socket) return;
  boost::system::error_code ignored;
  socket->close(ignored);
  current_.reset();
  if (handlers_.disconnected) handlers_.disconnected(why);
}

bool LoopbackServer::Impl::is_allowed(const tcp::socket& socket) {
  boost::system::error_code error;
  const auto from = socket.remote_endpoint(error);
  if (error) return false;  // already gone
  const auto user = owner_of_connection(from.port(), port_);
  if (user && std::ranges::contains(frr_users(), *user)) return true;
  // Said once for each user: who tries again and again must not fill the log.
  if (user && std::exchange(refused_user_, user) != user)
    log::warning("bgp", "{}: a connection from a process of user {} was refused: only FRR speaks here", what_, *user);
  return false;
}

asio::awaitable<void> LoopbackServer::Impl::accept_loop() {
  const auto self = shared_from_this();
  while (!closed_) {
    auto [error, accepted] = co_await acceptor_.async_accept(kToken);
    if (closed_) co_return;
    if (error) {
      pause_.expires_after(kAcceptAgain);
      co_await pause_.async_wait(kToken);
      continue;
    }
    if (!is_allowed(accepted)) continue;
    if (const auto old = current_) drop(old, {Errc::kClosed, "replaced by a new " + what_ + " connection", {}, {}});
    if (closed_) co_return;
    const auto socket = std::make_shared<tcp::socket>(std::move(accepted));
    current_ = socket;
    if (handlers_.connected) handlers_.connected();
    asio::co_spawn(executor_, [self, socket] { return self->read_loop(socket); }, kEndOnException);
  }
}

asio::awaitable<void> LoopbackServer::Impl::read_loop(Socket socket) {
  const auto self = shared_from_this();
  std::vector<std::uint8_t> bytes(65536);
  while (!closed_ && current_ == socket) {
    const auto [error, n] = co_await socket->async_read_some(asio::buffer(bytes), kToken);
    if (closed_ || current_ != socket) co_return;
    if (error) {
      drop(socket, {Errc::kClosed, std::format("{} connection ended: {}", what_, error.message()), {}, {}});
      co_return;
    }
    if (const Status done = handlers_.received(std::span(bytes).first(n)); !done) {
      drop(socket, done.error());
      co_return;
    }
  }
}

LoopbackServer::LoopbackServer(asio::any_io_executor executor, std::string what, Handlers handlers)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(what), std::move(handlers))) {}
LoopbackServer::~LoopbackServer() { close(); }
Status LoopbackServer::listen(std::uint16_t port) { return impl_->listen(port); }
std::uint16_t LoopbackServer::port() const { return impl_->port(); }
void LoopbackServer::close() { impl_->close(); }
void LoopbackServer::drop(const Error& why) { impl_->drop(why); }

}  // namespace gw::bgp
