// Asynchronous client of one FRR daemon's vty socket. Commands are pipelined: all are sent, then every
// status is collected (2,000 commands take 0.1 s; one by one vtysh takes 60 ms each). Everything runs on
// the executor given, one thread's; callers are served in order. After a timeout or an error of the
// stream the connection is closed (replies carry no id) and the owner reconnects.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bgp/vty_protocol.hpp"

namespace gw::bgp {

class VtyClient {
 public:
  using ClosedHandler = std::function<void(const Error& why)>;

  explicit VtyClient(boost::asio::any_io_executor executor);
  /// Closes; on_closed is not called. Operations in flight end with kClosed.
  ~VtyClient();
  VtyClient(const VtyClient&) = delete;
  VtyClient& operator=(const VtyClient&) = delete;

  /// The daemon went away, also while nothing was asked of it. Set before connect().
  void on_closed(ClosedHandler handler);

  /// Connects and enables (privileged mode).
  boost::asio::awaitable<Status> connect(std::string path, std::chrono::milliseconds timeout);
  bool is_open() const;
  void close();

  /// Every command is sent, whatever the others' status; one reply per command, in order.
  boost::asio::awaitable<Result<std::vector<VtyReply>>> run(Commands commands, std::chrono::milliseconds timeout);
  /// The output of one command; a status other than success is kRefused with FRR's words.
  boost::asio::awaitable<Result<std::string>> show(std::string command, std::chrono::milliseconds timeout);
  /// Runs `commands` in configuration mode. All are sent; the first that FRR refused is the error.
  boost::asio::awaitable<Status> configure(Commands commands, std::chrono::milliseconds timeout);

 private:
  class Connection;
  boost::asio::any_io_executor executor_;
  ClosedHandler on_closed_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace gw::bgp
