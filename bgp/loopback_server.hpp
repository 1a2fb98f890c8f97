// One stream from one program of this machine: bgpd's BMP, zebra's FPM. Listens on 127.0.0.1 and takes a connection
// only from a process of root, of this program's user or of FRR's: whoever else logs in here must not tell gwd routes,
// nor push FRR's stream aside. A new connection replaces the old (FRR restarted). Runs on the executor given, one
// thread's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"

namespace gw::bgp {

class LoopbackServer {
 public:
  struct Handlers {
    std::function<void()> connected;
    std::function<void(const Error& why)> disconnected;
    /// An error ends the connection.
    std::function<Status(std::span<const std::uint8_t> bytes)> received;
  };
  /// `what`: "BMP", for logs and errors.
  LoopbackServer(boost::asio::any_io_executor executor, std::string what, Handlers handlers);
  /// Closes; handlers are not called any more.
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  /// 127.0.0.1; port 0 picks one.
  Status listen(std::uint16_t port);
  std::uint16_t port() const;
  void close();
  /// Ends the connection of now, if there is one: `disconnected` is called with `why` before this returns.
  void drop(const Error& why);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gw::bgp
