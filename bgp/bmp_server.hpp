// bgpd's BMP connection and its events. Runs on the executor given, one thread's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <span>

#include "base/result.hpp"
#include "bgp/bmp.hpp"
#include "bgp/loopback_server.hpp"

namespace gw::bgp {

/// bgpd connected: a full dump of every established peer follows, then End-of-RIBs.
struct BmpConnected {};
/// bgpd or the connection went away: hold the routes stale until the End-of-RIB of the next one.
struct BmpDisconnected {
  Error why;
};

class BmpServer {
 public:
  struct Handlers {
    std::function<void(const BmpConnected&)> connected;
    std::function<void(const BmpDisconnected&)> disconnected;
    std::function<void(const BmpEvent&)> event;
  };
  BmpServer(boost::asio::any_io_executor executor, Handlers handlers);
  BmpServer(const BmpServer&) = delete;
  BmpServer& operator=(const BmpServer&) = delete;

  /// 127.0.0.1; port 0 picks one.
  Status listen(std::uint16_t port) { return server_.listen(port); }
  std::uint16_t port() const { return server_.port(); }
  /// Handlers are not called any more.
  void close() { server_.close(); }
  /// bgpd connects again, after its `min-retry` of 100 ms, and tells everything.
  void reopen(const Error& why) { server_.drop(why); }

 private:
  Status deliver(std::span<const std::uint8_t> bytes);

  Handlers handlers_;
  BmpSession session_;
  LoopbackServer server_;  // last: it calls into the others until it is closed
};

}  // namespace gw::bgp
