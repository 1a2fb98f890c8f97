// What Prometheus scrapes: the clouds' metric names in snake_case, and our own with the prefix gw_. Built
// from one look at everything at the time of the scrape; nothing is sampled in between. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gw/api/v1/api.pb.h"
#include "gw/api/v1/ha.pb.h"
#include "gwd/api/http_server.hpp"
#include "gwd/control/config_service.hpp"
#include "gwd/control/gateway.hpp"
#include "gwd/pki/lifetime.hpp"
#include "gwd/sync/channel.hpp"

namespace gw::gwd {

/// One look at the gateway, as the API shows it.
struct MetricsSnapshot {
  std::string instance;
  ::gw::api::v1::TunnelsReply tunnels;
  ::gw::api::v1::BgpPeersReply peers;
  fp::TunnelList fastpath_tunnels;
  fp::Counters counters;
  std::optional<fp::Memory> memory;  // of gw-fastpath; none: it did not answer
  std::vector<ComponentStatus> components;
  std::uint32_t revision = 0;
  std::size_t vnet_prefixes = 0;
  std::size_t routes = 0;
  std::size_t route_differences = 0;         // to FRR
  std::optional<::gw::api::v1::HaReply> ha;  // there is another instance
  std::optional<sync::ChannelStats> sync;    // the same
  std::vector<pki::CertificateEnd> certificates;
  MonoTime at;
  WallTime wall;
};

/// Bandwidth is the difference between two scrapes.
class BandwidthMeter {
 public:
  struct Bytes {
    std::uint64_t in = 0;
    std::uint64_t out = 0;
  };
  /// Bits per second, both ways together, since the last call for `tunnel`; 0 the first time and after a
  /// counter went back (gw-fastpath restarted).
  double bits_per_second(const std::string& tunnel, Bytes bytes, MonoTime at);

 private:
  struct Last {
    std::uint64_t bytes = 0;
    MonoTime at;
  };
  std::map<std::string, Last> last_;
};

/// Prometheus text format. Pure but for the meter's memory.
std::string render_metrics(const MetricsSnapshot& snapshot, BandwidthMeter& meter);

/// Serves GET /metrics.
class MetricsEndpoint {
 public:
  MetricsEndpoint(Gateway& gateway, const ConfigService& config, const Clock& clock)
      : gateway_(gateway), config_(config), clock_(clock) {}
  boost::asio::awaitable<HttpResponse> handle(HttpRequest request);

 private:
  Gateway& gateway_;
  const ConfigService& config_;
  const Clock& clock_;
  BandwidthMeter meter_;
};

}  // namespace gw::gwd
