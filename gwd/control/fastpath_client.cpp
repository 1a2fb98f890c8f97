#include "gwd/control/fastpath_client.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <random>
#include <utility>

#include "base/frame.hpp"
#include "base/log.hpp"
#include "base/secret.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

Errc to_errc(fp::Code code) {
  switch (code) {
    case fp::MALFORMED: return Errc::kMalformed;
    case fp::UNSUPPORTED: return Errc::kUnsupported;
    case fp::INVALID_ARGUMENT: return Errc::kInvalidArgument;
    case fp::ALREADY_EXISTS: return Errc::kAlreadyExists;
    case fp::NOT_FOUND: return Errc::kNotFound;
    case fp::LIMIT: return Errc::kLimit;
    case fp::NEEDS_REKEY: return Errc::kNeedsRekey;
    default: return Errc::kInternal;
  }
}

Error make_error(Errc code, std::string message) {
  return Error{code, std::move(message), {}, std::source_location::current()};
}

}  // namespace

// A request that waits: the timer is its time-out and, cancelled, its wake-up.
struct FastpathClient::Pending {
  Pending(asio::io_context& io, std::uint64_t request_id, std::chrono::milliseconds timeout)
      : id(request_id), timer(io, timeout) {}
  std::uint64_t id;
  asio::steady_timer timer;
  std::optional<Result<fp::Response>> result;
};

FastpathClient::FastpathClient(asio::io_context& io, std::string socket_path, FastpathListener& listener)
    : io_(io), path_(std::move(socket_path)), listener_(listener), socket_(io), pause_(io) {
  std::random_device random;
  epoch_ = (static_cast<std::uint64_t>(random()) << 32) | random();
}

FastpathClient::~FastpathClient() = default;

void FastpathClient::start() { asio::co_spawn(io_, run(), kEndOnException); }

void FastpathClient::stop() {
  stopping_ = true;
  pause_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void FastpathClient::renew() {
  if (!connected_) return;
  renewing_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<void> FastpathClient::run() {
  std::string last_reason;
  while (!stopping_) {
    // At most one attempt in each pause, and the first one after a session that lasted at once: a gw-fastpath that was
    // replaced is there already, and nobody has to think that it is away.
    pause_.expires_after(kReconnectPause);
    const Error why = co_await session();
    connected_ = false;
    const bool was_up = std::exchange(said_hello_, false);
    fail_pending(why);
    boost::system::error_code ignored;
    socket_.close(ignored);
    outgoing_.clear();
    if (stopping_) break;
    if (!std::exchange(renewing_, false) && (was_up || why.message != last_reason))
      log::warning("fastpath", "{}", why.message);
    last_reason = why.message;
    if (was_up) listener_.on_fastpath_down(why);
    co_await pause_.async_wait(kAwait);
  }
}

// One connection, from connect to its end; returns why it ended.
asio::awaitable<Error> FastpathClient::session() {
  const auto [connect_error] = co_await socket_.async_connect(path_, kAwait);
  gone_ = gone_ || connect_error;
  if (connect_error)
    co_return make_error(Errc::kClosed,
                         std::format("gw-fastpath does not answer on {}: {}", path_, connect_error.message()));
  bool hello_sent = false;
  FrameReader frames{kMaxAnswerBytes};
  std::array<std::uint8_t, 65536> buffer;
  for (;;) {
    if (!std::exchange(hello_sent, true)) {
      asio::co_spawn(
          io_,
          [](FastpathClient& self) -> asio::awaitable<void> {
            if (const auto ok = co_await self.say_hello(); !ok) {
              log::error("fastpath", "hello was refused: {}", ok.error().describe());
              boost::system::error_code ignored;
              self.socket_.close(ignored);
            }
          }(*this),
          kEndOnException);
    }
    const auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(buffer), kAwait);
    if (error)
      co_return make_error(Errc::kClosed, std::format("gw-fastpath closed the connection: {}", error.message()));
    frames.feed(std::span(buffer).first(bytes));
    for (;;) {
      const auto frame = frames.next();
      if (!frame) co_return frame.error();
      if (!*frame) break;
      if (const auto ok = dispatch(**frame); !ok) co_return ok.error();
    }
  }
}

asio::awaitable<Status> FastpathClient::say_hello() {
  fp::ClientFrame frame;
  auto& hello = *frame.mutable_hello();
  hello.set_version(1);
  hello.set_role(fp::ROLE_CONTROL);
  hello.set_name("gwd");
  hello.set_epoch(epoch_);
  connected_ = true;
  auto reply = co_await ask(std::move(frame));
  if (!reply) co_return std::unexpected(std::move(reply).error());
  gone_ = false;
  said_hello_ = true;
  log::info("fastpath", "connected, crypto {}", reply->hello().crypto_backend());
  listener_.on_fastpath_up(reply->hello());
  co_return Status{};
}

std::shared_ptr<FastpathClient::Pending> FastpathClient::send(fp::ClientFrame frame,
                                                              std::chrono::milliseconds timeout) {
  const std::uint64_t id = next_id_++;
  frame.set_id(id);
  std::string bytes = frame.SerializeAsString();
  append_frame(outgoing_, bytes);
  wipe(bytes);
  const auto pending = std::make_shared<Pending>(io_, id, timeout);
  pending_.emplace(id, pending);
  if (!std::exchange(writing_, true)) asio::co_spawn(io_, write_pending(), kEndOnException);
  return pending;
}

asio::awaitable<Status> FastpathClient::ping(std::chrono::milliseconds timeout) {
  if (!said_hello_) co_return fail(Errc::kClosed, "gw-fastpath is away");
  fp::ClientFrame frame;
  frame.mutable_ping();
  const auto pending = send(std::move(frame), timeout);
  co_await pending->timer.async_wait(kAwait);
  pending_.erase(pending->id);
  if (!pending->result) co_return fail(Errc::kTimeout, "gw-fastpath does not answer");
  if (!*pending->result) co_return std::unexpected(std::move(*pending->result).error());
  co_return Status{};
}

asio::awaitable<Result<fp::Response>> FastpathClient::request(fp::ClientFrame frame) {
  if (!said_hello_)
    co_return fail(Errc::kClosed,
                   "gw-fastpath does not answer: systemctl status gw-fastpath, journalctl -u gw-fastpath");
  co_return co_await ask(std::move(frame));
}

asio::awaitable<Result<fp::Response>> FastpathClient::ask(fp::ClientFrame frame) {
  const auto pending = send(std::move(frame), kRequestTimeout);
  co_await pending->timer.async_wait(kAwait);
  pending_.erase(pending->id);
  if (!pending->result) {
    // Answers come in order: one that is missing means that the rest cannot be trusted either.
    boost::system::error_code ignored;
    socket_.close(ignored);
    co_return fail(Errc::kTimeout, std::format("gw-fastpath did not answer within {} ms", kRequestTimeout.count()));
  }
  if (!*pending->result) co_return std::unexpected(std::move(*pending->result).error());
  const fp::Status& status = (*pending->result)->status();
  if (status.code() != fp::OK)
    co_return std::unexpected(
        Error{to_errc(status.code()), status.message(), status.field(), std::source_location::current()});
  co_return std::move(**pending->result);
}

asio::awaitable<void> FastpathClient::write_pending() {
  while (!outgoing_.empty()) {
    std::string chunk = std::exchange(outgoing_, {});
    const auto [error, bytes] = co_await asio::async_write(socket_, asio::buffer(chunk), kAwait);
    wipe(chunk);       // heartbeat keys
    if (error) break;  // the reader sees the same end and reports it
  }
  writing_ = false;
}

Status FastpathClient::dispatch(std::string_view payload) {
  fp::ServerFrame frame;
  if (!frame.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
    return fail(Errc::kMalformed, "gw-fastpath sent a frame that does not parse");
  if (frame.has_event()) {
    listener_.on_fastpath_event(frame.event());
    return {};
  }
  if (const auto it = pending_.find(frame.response().id()); it != pending_.end()) {
    it->second->result = std::move(*frame.mutable_response());
    it->second->timer.cancel();
  }
  return {};
}

void FastpathClient::fail_pending(const Error& why) {
  for (auto& [id, pending] : pending_) {
    pending->result = std::unexpected(why);
    pending->timer.cancel();
  }
}

}  // namespace gw::gwd
