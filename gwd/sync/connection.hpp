// One TLS connection of the sync channel: reads and writes frames, in time, and ends for a named reason. What frames
// mean is Link's business. Owner: Link (and its own coroutines, until they end); thread: sync.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/frame.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/sync/credentials.hpp"
#include "gwd/sync/kinds.hpp"
#include "gwd/sync/refusal.hpp"

namespace gw::gwd::sync {

/// Bytes to a Frame. A body of a newer release's is none here, and for the caller to ignore.
Judged<wire::Frame> parse_frame(std::string_view bytes);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Tcp = boost::asio::ip::tcp;
  enum class Side : std::uint8_t { kCaller, kAnswerer };

  Connection(Tcp::socket socket, const Credentials& credentials, std::size_t path);

  /// The caller's TCP connection, from one address to the other.
  struct Ends {
    Tcp::endpoint local;
    Tcp::endpoint remote;
  };
  boost::asio::awaitable<Judged<void>> connect(const Ends& ends);
  /// TLS, and whose certificate it is.
  boost::asio::awaitable<Judged<void>> handshake(Side side, const ExpectedPeer& expected);
  /// The next frame of the first exchange.
  boost::asio::awaitable<Judged<wire::Frame>> read_frame();
  /// Frames until it ends; returns why. `take` says what is wrong with a frame.
  boost::asio::awaitable<Refusal> read_all(const std::function<Judged<void>(wire::Frame&)>& take);

  /// Queued ahead of streams' data.
  void say(const wire::Frame& frame);
  /// The same for frames that are bytes already.
  void queue(std::string_view frames) { outgoing_ += frames; }
  /// Bytes of say() and queue() that wait for what is being written.
  std::size_t waiting() const { return outgoing_.size(); }
  /// Writes what say() queued, then what `more` gives, for as long as it is open. Started a second time, it does
  /// nothing.
  boost::asio::awaitable<void> write_all(std::function<std::string()> more);
  void wake() { wake_.wake(); }
  /// Says Bye, and closes once that is written (or cannot be, within a second).
  void end(const Refusal& why);
  void close();
  bool open() const { return socket().is_open(); }
  /// From now on, closed when `within` passes before the next call. Zero: no time-out.
  void expire(std::chrono::milliseconds within);

  std::size_t path() const { return path_; }
  std::string remote() const;

  // Link's notes.
  bool established = false;
  std::uint64_t session = 0;
  MonoTime heard{};                // anything
  std::uint64_t heartbeats = 0;    // sent
  std::uint64_t peer_sent_ns = 0;  // of the last heartbeat heard
  MonoTime peer_heard{};
  std::chrono::microseconds round_trip{0};

 private:
  Tcp::socket& socket() { return stream_.next_layer(); }
  const Tcp::socket& socket() const { return stream_.next_layer(); }
  Refusal ended(const boost::system::error_code& error);

  std::shared_ptr<boost::asio::ssl::context> context_;  // outlives the stream
  boost::asio::ssl::stream<Tcp::socket> stream_;
  boost::asio::steady_timer timer_;
  LoopWake wake_;
  FrameReader frames_{kMaxFrame};
  std::array<std::uint8_t, 32768> buffer_{};
  std::string outgoing_;
  std::size_t path_;
  bool writing_ = false;
  bool ending_ = false;
  bool timed_out_ = false;
};

}  // namespace gw::gwd::sync
