#include "bgp/bmp_server.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <utility>

namespace gw::bgp {
namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
}  // namespace

// Kept alive by its coroutines; a closed one calls no handler any more.
class BmpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::any_io_executor executor, Handlers handlers)
      : executor_(std::move(executor)), acceptor_(executor_), handlers_(std::move(handlers)) {}

  Status listen(std::uint16_t port) {
    const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(4, error);
    if (error) return fail(Errc::kIo, std::format("cannot listen on 127.0.0.1:{}: {}", port, error.message()));
    asio::co_spawn(executor_, [self = shared_from_this()] { return self->accept(); }, asio::detached);
    return {};
  }

  std::uint16_t port() const {
    boost::system::error_code ignored;
    return acceptor_.local_endpoint(ignored).port();
  }

  void close() {
    closed_ = true;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    if (connection_) connection_->close(ignored);
  }

 private:
  using Connection = std::shared_ptr<tcp::socket>;

  asio::awaitable<void> accept() {
    while (!closed_) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (closed_) co_return;
      if (error) {
        asio::steady_timer pause(executor_, std::chrono::milliseconds(100));
        co_await pause.async_wait(kAwait);
        continue;
      }
      if (connection_) end(Error{Errc::kClosed, "a newer BMP connection took its place", {}, std::source_location::current()});
      connection_ = std::make_shared<tcp::socket>(std::move(socket));
      if (handlers_.connected) handlers_.connected({});
      asio::co_spawn(executor_, [self = shared_from_this(), mine = connection_] { return self->serve(mine); }, asio::detached);
    }
  }

  asio::awaitable<void> serve(Connection mine) {
    BmpSession session;
    std::array<std::uint8_t, 65536> buffer;
    for (;;) {
      const auto [error, bytes] = co_await mine->async_read_some(asio::buffer(buffer), kAwait);
      if (closed_ || connection_ != mine) co_return;
      if (error) co_return end(Error{Errc::kClosed, error.message(), {}, std::source_location::current()});
      session.feed(std::span(buffer).first(bytes));
      for (;;) {
        auto event = session.next();
        if (!event) co_return end(std::move(event).error());
        if (!*event) break;
        if (handlers_.event) handlers_.event(**event);
        if (closed_ || connection_ != mine) co_return;
      }
    }
  }

  void end(Error why) {
    boost::system::error_code ignored;
    connection_->close(ignored);
    connection_.reset();
    if (!closed_ && handlers_.disconnected) handlers_.disconnected({std::move(why)});
  }

  asio::any_io_executor executor_;
  tcp::acceptor acceptor_;
  Handlers handlers_;
  Connection connection_;
  bool closed_ = false;
};

BmpServer::BmpServer(asio::any_io_executor executor, Handlers handlers)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handlers))) {}

BmpServer::~BmpServer() { impl_->close(); }

Status BmpServer::listen(std::uint16_t port) { return impl_->listen(port); }
std::uint16_t BmpServer::port() const { return impl_->port(); }
void BmpServer::close() { impl_->close(); }

}  // namespace gw::bgp
