// Asynchronous client of charon's VICI socket. Commands are answered in order and may be in flight
// together; charon works on one at a time per connection, so give what blocks (a synchronous initiate)
// a connection of its own, or initiate asynchronously and follow the events.
//
// Everything runs on the executor given, which must be one thread's. Every operation has a timeout. A
// command that timed out is forgotten and its late answer dropped; the connection goes on. After an
// error of the stream all operations fail with kClosed, on_closed is told once, and the owner reconnects.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "ike/vici_message.hpp"

namespace gw::ike {

class ViciClient {
 public:
  using EventHandler = std::function<void(std::string_view event, const ViciMessage& message)>;
  using ClosedHandler = std::function<void(const Error& why)>;

  explicit ViciClient(boost::asio::any_io_executor executor);
  /// Closes; on_closed is not called. Operations in flight end with kClosed.
  ~ViciClient();
  ViciClient(const ViciClient&) = delete;
  ViciClient& operator=(const ViciClient&) = delete;

  /// Set before connect(). The handler runs on the executor and must not block.
  void on_event(EventHandler handler);
  /// The connection ended other than by close(): charon died or sent what is not VICI.
  void on_closed(ClosedHandler handler);

  /// Connects, or reconnects after a close. Event registrations do not survive a connection.
  boost::asio::awaitable<Status> connect(std::string path, std::chrono::milliseconds timeout);
  bool is_open() const;
  void close();

  /// The answer as it came, whether it says success or not. kUnsupported: charon knows no such command.
  boost::asio::awaitable<Result<ViciMessage>> request(std::string command, ViciMessage message,
                                                      std::chrono::milliseconds timeout);
  /// request(), and `success = no` becomes kRefused with charon's errmsg.
  boost::asio::awaitable<Result<ViciMessage>> command(std::string command, ViciMessage message,
                                                      std::chrono::milliseconds timeout);
  /// A command that answers by a stream of `event`s: stream("list-sas", "list-sa", {}, 2s).
  boost::asio::awaitable<Result<std::vector<ViciMessage>>> stream(std::string command, std::string event,
                                                                  ViciMessage message,
                                                                  std::chrono::milliseconds timeout);
  /// Asks for an event; kUnsupported if charon knows no such event.
  boost::asio::awaitable<Status> subscribe(std::string event, std::chrono::milliseconds timeout);

 private:
  class Connection;
  boost::asio::any_io_executor executor_;
  EventHandler on_event_;
  ClosedHandler on_closed_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace gw::ike
