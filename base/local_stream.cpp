#include "base/local_stream.hpp"

#include <sys/un.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>
#include <utility>

#include "base/secret.hpp"

namespace gw {

namespace asio = boost::asio;
using asio::awaitable;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

}  // namespace

LocalStream::LocalStream(asio::any_io_executor executor, std::string peer)
    : peer_(std::move(peer)), socket_(executor), more_to_write_(executor) {}

awaitable<Status> LocalStream::connect(std::string path, std::chrono::milliseconds timeout, Handlers handlers) {
  const auto self = shared_from_this();
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    co_return fail(Errc::kInvalidArgument, std::format("socket path is too long: {}", path));
  // A Unix connect() blocks only on a full backlog; the timer ends that.
  asio::steady_timer timer(socket_.get_executor(), timeout);
  timer.async_wait([self](const boost::system::error_code& error) {
    if (error || self->open_) return;
    self->connect_timed_out_ = true;
    boost::system::error_code ignored;
    self->socket_.close(ignored);
  });
  const auto [error] = co_await socket_.async_connect(asio::local::stream_protocol::endpoint(path), kToken);
  if (connect_timed_out_) co_return fail(Errc::kTimeout, std::format("{} does not accept on {}", peer_, path));
  if (error) co_return fail(Errc::kIo, std::format("connecting to {} at {}: {}", peer_, path, error.message()));
  open_ = true;
  handlers_ = std::move(handlers);
  asio::co_spawn(socket_.get_executor(), [self] { return self->read_loop(); }, asio::detached);
  asio::co_spawn(socket_.get_executor(), [self] { return self->write_loop(); }, asio::detached);
  co_return Status{};
}

void LocalStream::send(std::string bytes) {
  if (!open_) return wipe(bytes);
  outgoing_.push_back(std::move(bytes));
  more_to_write_.cancel();
}

void LocalStream::end(Error why) {
  if (!std::exchange(open_, false)) return;
  boost::system::error_code ignored;
  socket_.close(ignored);
  more_to_write_.cancel();
  for (std::string& bytes : outgoing_) wipe(bytes);
  outgoing_.clear();
  // What the handlers hold may own this object, and one of them may be running.
  const Handlers handlers = std::exchange(handlers_, {});
  handlers.ended(why);
}

void LocalStream::end_after(const boost::system::error_code& error) {
  end({Errc::kClosed, std::format("connection to {} ended: {}", peer_, error.message()), {}, {}});
}

awaitable<void> LocalStream::read_loop() {
  const auto self = shared_from_this();
  std::array<std::uint8_t, 16384> bytes;
  while (open_) {
    const auto [error, n] = co_await socket_.async_read_some(asio::buffer(bytes), kToken);
    if (!open_) break;
    if (error) {
      end_after(error);
      break;
    }
    const auto received = handlers_.received;  // a copy: it may end the connection
    if (const Status understood = received(std::span(bytes).first(n)); !understood)
      end({Errc::kClosed, std::format("{} sent what cannot be: {}", peer_, understood.error().describe()), {}, {}});
  }
}

awaitable<void> LocalStream::write_loop() {
  const auto self = shared_from_this();
  while (open_) {
    if (outgoing_.empty()) {
      more_to_write_.expires_at(asio::steady_timer::time_point::max());
      co_await more_to_write_.async_wait(kToken);
      continue;
    }
    std::string bytes = std::move(outgoing_.front());
    outgoing_.pop_front();
    const auto [error, n] = co_await asio::async_write(socket_, asio::buffer(bytes), kToken);
    wipe(bytes);
    if (error) end_after(error);
  }
}

}  // namespace gw
