#include "gwd/sync/fastpath_carrier.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>
#include <random>
#include <utility>

#include "base/frame.hpp"
#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;
namespace fp = ::gw::fastpath::v1;
namespace wire = ::gw::ha::v1;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kReconnectPause{50};
constexpr std::chrono::milliseconds kRefusedPause{1000};  // an older gw-fastpath, in the middle of an upgrade
// More than this unread, and it stands still: a full state is shorter than the history.
constexpr std::size_t kStalledBytes = std::size_t{8} << 20;

Error closed(std::string message) { return {Errc::kClosed, std::move(message), {}, std::source_location::current()}; }

}  // namespace

// --- the pair ------------------------------------------------------------------------------------

CarrierPair::Change CarrierPair::local_up(std::uint64_t id) {
  mine_ = id;
  return {.tell_peer = true, .reset_local = true};
}

CarrierPair::Change CarrierPair::local_down() {
  mine_ = 0;
  return {.tell_peer = true};
}

CarrierPair::Change CarrierPair::session_reset() {
  theirs_ = 0;
  return {.tell_peer = true, .reset_local = mine_ != 0};
}

CarrierPair::Change CarrierPair::heard_state(const wire::FastpathCarry& carry) {
  if (std::exchange(theirs_, carry.from()) == carry.from()) return {};
  return {.reset_local = mine_ != 0};
}

wire::FastpathCarry CarrierPair::state() const {
  wire::FastpathCarry out;
  out.set_from(mine_);
  out.set_to(theirs_);
  return out;
}

wire::FastpathCarry CarrierPair::wrap(std::string sync) const {
  wire::FastpathCarry out = state();
  out.set_sync(std::move(sync));
  return out;
}

bool CarrierPair::fits(const wire::FastpathCarry& carry) const {
  return connected() && carry.from() == theirs_ && carry.to() == mine_;
}

// --- I/O -----------------------------------------------------------------------------------------

FastpathCarrier::FastpathCarrier(asio::io_context& io, std::string socket, Send send)
    : io_(io), path_(std::move(socket)), send_(std::move(send)), socket_(io), pause_(io) {
  std::random_device random;  // another gwd process's numbers must not look like ours
  next_id_ = (static_cast<std::uint64_t>(random()) << 32) | 1;
}

void FastpathCarrier::start() { asio::co_spawn(io_, run(), kEndOnException); }

void FastpathCarrier::stop() {
  stopping_ = true;
  pause_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void FastpathCarrier::apply(CarrierPair::Change change) {
  if (change.tell_peer) send_(pair_.state().SerializeAsString());
  if (change.reset_local) reset_local();
}

void FastpathCarrier::reset_local() {
  fp::ClientFrame frame;
  frame.mutable_peer_sync_reset()->set_connected(pair_.connected());
  request(std::move(frame));
}

void FastpathCarrier::on_session_reset() { apply(pair_.session_reset()); }

void FastpathCarrier::on_message(std::string_view payload) {
  wire::FastpathCarry carry;
  if (!carry.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    log::error("sync", "what the other instance carries for gw-fastpath does not parse");
    return;
  }
  if (carry.sync().empty()) return apply(pair_.heard_state(carry));
  if (!pair_.fits(carry) || stalled_) return;
  fp::ClientFrame frame;
  if (!frame.mutable_peer_sync()->ParseFromString(carry.sync())) {
    log::error("sync", "the other gw-fastpath's words do not parse");
    return;
  }
  request(std::move(frame));
}

asio::awaitable<void> FastpathCarrier::run() {
  while (!stopping_) {
    const Error why = co_await converse();
    boost::system::error_code ignored;
    socket_.close(ignored);
    outgoing_.clear();
    stalled_ = false;
    if (std::exchange(up_, false)) {
      if (!stopping_ && reason_ != why.message)
        log::warning("sync", "gw-fastpath's state is not carried: {}", why.message);
      reason_ = why.message;
      apply(pair_.local_down());
    }
    if (stopping_) break;
    pause_.expires_after(why.code == Errc::kRefused ? kRefusedPause : kReconnectPause);
    co_await pause_.async_wait(kAwait);
  }
}

asio::awaitable<Error> FastpathCarrier::converse() {
  const auto [connect_error] = co_await socket_.async_connect(path_, kAwait);
  if (connect_error) co_return closed(std::format("{}: {}", path_, connect_error.message()));
  up_ = true;
  fp::ClientFrame hello;
  hello.mutable_hello()->set_version(1);
  hello.mutable_hello()->set_role(fp::ROLE_SYNC);
  hello.mutable_hello()->set_name("gwd sync");
  hello.mutable_hello()->set_epoch(next_id_);
  request(std::move(hello));
  apply(pair_.local_up(next_id_++));
  FrameReader frames{kMaxAnswerBytes};
  std::array<std::uint8_t, 65536> buffer;
  for (;;) {
    const auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(buffer), kAwait);
    if (error) co_return closed(std::format("gw-fastpath closed the connection: {}", error.message()));
    frames.feed(std::span(buffer).first(bytes));
    for (;;) {
      const auto frame = frames.next();
      if (!frame) co_return frame.error();
      if (!*frame) break;
      if (const auto ok = dispatch(**frame); !ok) co_return ok.error();
    }
  }
}

Status FastpathCarrier::dispatch(std::string_view bytes) {
  fp::ServerFrame frame;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail(Errc::kMalformed, "gw-fastpath sent a frame that does not parse");
  if (frame.has_event()) {
    if (frame.event().has_peer_sync() && pair_.connected())
      send_(pair_.wrap(frame.event().peer_sync().SerializeAsString()).SerializeAsString());
    return {};
  }
  const fp::Status& status = frame.response().status();
  if (status.code() != fp::OK) return fail(Errc::kRefused, std::format("gw-fastpath refused it: {}", status.message()));
  return {};
}

void FastpathCarrier::request(fp::ClientFrame frame) {
  if (!up_) return;
  if (outgoing_.size() > kStalledBytes && !frame.has_peer_sync_reset()) {
    stalled_ = true;
    return;
  }
  frame.set_id(next_request_++);
  append_frame(outgoing_, frame.SerializeAsString());
  if (!std::exchange(writing_, true)) asio::co_spawn(io_, write_pending(), kEndOnException);
}

asio::awaitable<void> FastpathCarrier::write_pending() {
  while (!outgoing_.empty()) {
    const std::string chunk = std::exchange(outgoing_, {});
    const auto [error, bytes] = co_await asio::async_write(socket_, asio::buffer(chunk), kAwait);
    if (error) break;  // the reader sees the same end
    // It goes on: what it has missed, it is told from the beginning.
    if (outgoing_.empty() && std::exchange(stalled_, false)) apply(pair_.local_up(next_id_++));
  }
  writing_ = false;
}

}  // namespace gw::gwd::sync
