#include "bgp/bmp_server.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <utility>

namespace gw::bgp {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
}

class BmpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::any_io_executor executor, Handlers handlers)
      : acceptor_(executor), executor_(std::move(executor)), handlers_(std::move(handlers)) {}

  Status listen(std::uint16_t port);
  std::uint16_t port() const { return port_; }
  void close();

 private:
  struct Stream {
    explicit Stream(tcp::socket s) : socket(std::move(s)) {}
    tcp::socket socket;
    BmpSession session;
  };
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> read_loop(std::shared_ptr<Stream> stream);
  /// Hands on all whole events; an error is the end of the stream.
  Status deliver(const std::shared_ptr<Stream>& stream);
  void drop(const std::shared_ptr<Stream>& stream, Error why);

  tcp::acceptor acceptor_;
  asio::any_io_executor executor_;
  Handlers handlers_;
  std::shared_ptr<Stream> current_;
  std::uint16_t port_ = 0;
  bool closed_ = false;
};

Status BmpServer::Impl::listen(std::uint16_t port) {
  boost::system::error_code error;
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
  const auto failed = [&](std::string_view what) {
    return fail(Errc::kIo, std::format("BMP port {}: {}: {}", port, what, error.message()));
  };
  if (acceptor_.open(endpoint.protocol(), error)) return failed("socket");
  if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error)) return failed("reuse");
  if (acceptor_.bind(endpoint, error)) return failed("bind");
  if (acceptor_.listen(4, error)) return failed("listen");
  port_ = acceptor_.local_endpoint(error).port();
  asio::co_spawn(executor_, [self = shared_from_this()] { return self->accept_loop(); }, asio::detached);
  return {};
}

void BmpServer::Impl::close() {
  closed_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  if (current_) current_->socket.close(ignored);
  current_.reset();
}

void BmpServer::Impl::drop(const std::shared_ptr<Stream>& stream, Error why) {
  if (closed_ || current_ != stream) return;
  boost::system::error_code ignored;
  stream->socket.close(ignored);
  current_.reset();
  if (handlers_.disconnected) handlers_.disconnected({std::move(why)});
}

asio::awaitable<void> BmpServer::Impl::accept_loop() {
  const auto self = shared_from_this();
  while (!closed_) {
    auto [error, socket] = co_await acceptor_.async_accept(kToken);
    if (closed_) co_return;
    if (error) continue;  // the connection was gone before it was accepted
    if (const auto old = current_) drop(old, {Errc::kClosed, "replaced by a new BMP connection", {}, {}});
    if (closed_) co_return;
    const auto stream = std::make_shared<Stream>(std::move(socket));
    current_ = stream;
    if (handlers_.connected) handlers_.connected({});
    asio::co_spawn(executor_, [self, stream] { return self->read_loop(stream); }, asio::detached);
  }
}

Status BmpServer::Impl::deliver(const std::shared_ptr<Stream>& stream) {
  for (;;) {
    GW_TRY_ASSIGN(const auto event, stream->session.next());
    if (!event) return {};
    if (closed_ || current_ != stream) return fail(Errc::kClosed, "closed");
    if (handlers_.event) handlers_.event(*event);
  }
}

asio::awaitable<void> BmpServer::Impl::read_loop(std::shared_ptr<Stream> stream) {
  const auto self = shared_from_this();
  std::vector<std::uint8_t> bytes(65536);
  while (!closed_ && current_ == stream) {
    const auto [error, n] = co_await stream->socket.async_read_some(asio::buffer(bytes), kToken);
    if (error) {
      drop(stream, {Errc::kClosed, std::format("BMP connection ended: {}", error.message()), {}, {}});
      co_return;
    }
    stream->session.feed(std::span(bytes).first(n));
    if (const Status done = deliver(stream); !done) {
      drop(stream, done.error());
      co_return;
    }
  }
}

BmpServer::BmpServer(asio::any_io_executor executor, Handlers handlers)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handlers))) {}
BmpServer::~BmpServer() { close(); }
Status BmpServer::listen(std::uint16_t port) { return impl_->listen(port); }
std::uint16_t BmpServer::port() const { return impl_->port(); }
void BmpServer::close() { impl_->close(); }

}  // namespace gw::bgp
