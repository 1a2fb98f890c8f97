#include "gwd/sync/connection.hpp"

#include <netinet/tcp.h>
#include <openssl/ssl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>
#include <utility>

namespace gw::gwd::sync {
namespace asio = boost::asio;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kWake{1000};
constexpr std::chrono::milliseconds kByeTime{1000};
// What may wait in the kernel before urgent frames: more than a path's bandwidth times delay is of no use.
constexpr int kNotSentLow = 64 * 1024;

void tune(asio::ip::tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  const int fd = socket.native_handle();
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kNotSentLow, sizeof kNotSentLow);
}

}  // namespace

Judged<wire::Frame> parse_frame(std::string_view bytes) {
  wire::Frame frame;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return refuse(wire::REASON_MALFORMED, std::format("a frame of {} bytes does not parse", bytes.size()));
  return frame;
}

Connection::Connection(Tcp::socket socket, const Credentials& credentials, std::size_t path)
    : context_(credentials.context),
      stream_(std::move(socket), *context_),
      timer_(stream_.get_executor()),
      wake_(stream_.get_executor()),
      path_(path) {}

asio::awaitable<Judged<void>> Connection::connect(const Ends& ends) {
  const auto self = shared_from_this();
  boost::system::error_code error;
  socket().open(ends.local.protocol(), error);
  if (!error) socket().bind({ends.local.address(), 0}, error);
  if (error)
    co_return refuse(wire::REASON_STOPPING,
                     std::format("cannot use our address {}: {}", ends.local.address().to_string(), error.message()));
  const auto [failed] = co_await socket().async_connect(ends.remote, kAwait);
  if (timed_out_) co_return refuse(wire::REASON_STOPPING, "no answer in time");
  if (failed) co_return refuse(wire::REASON_STOPPING, failed.message());
  co_return Judged<void>{};
}

asio::awaitable<Judged<void>> Connection::handshake(Side side, const ExpectedPeer& expected) {
  const auto self = shared_from_this();
  tune(socket());
  using Stream = asio::ssl::stream<Tcp::socket>;
  const auto [error] =
      co_await stream_.async_handshake(side == Side::kCaller ? Stream::client : Stream::server, kAwait);
  if (timed_out_) co_return refuse(wire::REASON_STOPPING, "no answer to the TLS handshake in time");
  if (error) {
    // Who reset the connection before anything was said did not judge anybody.
    const bool judged = SSL_get_verify_result(stream_.native_handle()) != X509_V_OK ||
                        error.category() == asio::error::get_ssl_category();
    co_return refuse(judged ? wire::REASON_WRONG_INSTANCE : wire::REASON_STOPPING,
                     handshake_problem(*stream_.native_handle(), error.message()));
  }
  co_return judge_certificate(*stream_.native_handle(), expected);
}

Refusal Connection::ended(const boost::system::error_code& error) {
  if (timed_out_) return {wire::REASON_STOPPING, "nothing was heard in time"};
  // A crash, or a path that broke: it comes back. Half a frame counts for nothing.
  if (frames_.inside_frame() && !ending_) return {wire::REASON_STOPPING, "it ended in the middle of a frame"};
  // In TLS 1.3 a server judges the client's certificate after the client is done.
  if (error.category() == asio::error::get_ssl_category() && error != asio::ssl::error::stream_truncated)
    return {wire::REASON_WRONG_INSTANCE, handshake_problem(*stream_.native_handle(), error.message())};
  return {wire::REASON_STOPPING, error == asio::error::eof || error == asio::ssl::error::stream_truncated
                                     ? "the other side closed the connection"
                                     : error.message()};
}

asio::awaitable<Judged<wire::Frame>> Connection::read_frame() {
  const auto self = shared_from_this();
  for (;;) {
    const auto frame = frames_.next();
    if (!frame) co_return refuse(wire::REASON_OVERSIZED, frame.error().message);
    if (*frame) co_return parse_frame(**frame);
    const auto [error, bytes] = co_await stream_.async_read_some(asio::buffer(buffer_), kAwait);
    if (error) co_return std::unexpected(ended(error));
    frames_.feed(std::span(buffer_).first(bytes));
  }
}

asio::awaitable<Refusal> Connection::read_all(const std::function<Judged<void>(wire::Frame&)>& take) {
  const auto self = shared_from_this();
  for (;;) {
    auto frame = co_await read_frame();
    if (!frame) co_return std::move(frame).error();
    if (ending_) continue;  // what comes after our Bye does not count
    if (auto taken = take(*frame); !taken) co_return std::move(taken).error();
  }
}

void Connection::say(const wire::Frame& frame) {
  if (ending_) return;
  append_frame(outgoing_, frame.SerializeAsString());
  wake_.wake();
}

asio::awaitable<void> Connection::write_all(std::function<std::string()> more) {
  const auto self = shared_from_this();
  if (std::exchange(writing_, true)) co_return;
  while (open()) {
    std::string batch = std::exchange(outgoing_, {});
    if (!ending_) batch += more();
    if (batch.empty()) {
      if (ending_) break;
      co_await wake_.sleep(kWake);
      continue;
    }
    const auto [error, bytes] = co_await asio::async_write(stream_, asio::buffer(batch), kAwait);
    if (error) break;  // the reader names the reason
  }
  if (!ending_) co_return;
  // The Bye gets through before the end does: a close with unread data would be a reset, and the Bye lost.
  boost::system::error_code ignored;
  socket().shutdown(Tcp::socket::shutdown_send, ignored);
}

void Connection::end(const Refusal& why) {
  if (ending_ || !open()) return close();
  wire::Frame frame;
  frame.mutable_bye()->set_reason(why.reason);
  frame.mutable_bye()->set_message(why.message);
  say(frame);
  ending_ = true;
  expire(kByeTime);
}

void Connection::close() {
  ending_ = true;
  timer_.cancel();
  boost::system::error_code ignored;
  socket().close(ignored);
  wake_.wake();
}

void Connection::expire(std::chrono::milliseconds within) {
  timer_.cancel();
  if (within.count() == 0) return;
  timer_.expires_after(within);
  timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->timer_.expiry() > asio::steady_timer::clock_type::now()) return;
    self->timed_out_ = true;
    self->close();
  });
}

std::string Connection::remote() const {
  boost::system::error_code error;
  const auto end = socket().remote_endpoint(error);
  return error ? "unknown" : end.address().to_string();
}

}  // namespace gw::gwd::sync
