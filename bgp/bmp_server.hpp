// Listens on loopback for bgpd's BMP connection and hands on its events. One connection at a time: a new
// one replaces the old (bgpd restarted). Runs on the executor given, one thread's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "bgp/bmp.hpp"

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
  /// Closes; handlers are not called any more.
  ~BmpServer();
  BmpServer(const BmpServer&) = delete;
  BmpServer& operator=(const BmpServer&) = delete;

  /// 127.0.0.1; port 0 picks one.
  Status listen(std::uint16_t port);
  std::uint16_t port() const;
  void close();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gw::bgp
