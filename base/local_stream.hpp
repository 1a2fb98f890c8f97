// A connection to a daemon's Unix stream socket, from the asking side: connects with a time-out, reads as bytes come,
// writes in order, tells once when it is over. Bytes to send may carry secrets: they are wiped when they are gone.
// Library gw::local_stream (Boost.Asio). Everything runs on the executor given, which must be one thread's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"

namespace gw {

/// Lives as long as its owner or one of its loops needs it.
class LocalStream : public std::enable_shared_from_this<LocalStream> {
 public:
  struct Handlers {
    /// An error ends the connection: the peer sent what cannot be. May call end().
    std::function<Status(std::span<const std::uint8_t> bytes)> received;
    /// Called once, by whatever ended the connection, end() included.
    std::function<void(const Error& why)> ended;
  };

  /// `peer` is for error messages: "charon".
  LocalStream(boost::asio::any_io_executor executor, std::string peer);

  /// Once. kTimeout, kIo; kInvalidArgument: no such path is possible.
  boost::asio::awaitable<Status> connect(std::string path, std::chrono::milliseconds timeout, Handlers handlers);
  bool is_open() const { return open_; }
  /// Without effect if the connection is not open.
  void send(std::string bytes);
  void end(Error why);

 private:
  boost::asio::awaitable<void> read_loop();
  boost::asio::awaitable<void> write_loop();
  void end_after(const boost::system::error_code& error);

  std::string peer_;
  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::steady_timer more_to_write_;
  std::deque<std::string> outgoing_;
  Handlers handlers_;
  bool open_ = false;
  bool connect_timed_out_ = false;
};

}  // namespace gw
