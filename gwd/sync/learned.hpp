// What BGP has taught the instance that carries a tunnel, as the other instance keeps it for the day the tunnel moves
// there: the peer's OPEN and its routes, as received. Told as messages of kind `routes` (gw.ha.v1.LearnedMessage).
// Pure: bytes in and out, no sockets, no clock. Owner: RouteController; thread: control.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "bgp/bmp.hpp"
#include "gw/ha/v1/ha.pb.h"
#include "routes/candidate.hpp"

namespace gw::gwd::sync {

/// One tunnel's session.
struct Learned {
  IpAddress router_id;
  bgp::GracefulRestart offered;  // by the peer
  std::map<Prefix, routes::AttributesPtr> routes;
};

/// What a tunnel carried of hosts' packets.
struct CarriedTraffic {
  std::uint32_t seconds = 0;
  std::uint64_t in_packets = 0;
  std::uint64_t out_packets = 0;
  friend bool operator==(const CarriedTraffic&, const CarriedTraffic&) = default;
};
using TrafficByTunnel = std::map<std::string, CarriedTraffic, std::less<>>;

/// Of the tunnels carried here: keeps what was learned and says each change.
class LearnedExport {
 public:
  /// Prefixes of one message: with attributes, less than 32 KiB.
  static constexpr std::size_t kPrefixes = 1000;
  /// With traffic, of one message: the doctor names some of them.
  static constexpr std::size_t kTunnels = 1000;
  using Send = std::function<void(std::string message)>;

  /// Says everything from now on, beginning with all that there is.
  void begin(Send send);
  /// Nobody listens any more.
  void end() { send_ = nullptr; }

  void session(const std::string& tunnel, const IpAddress& router_id, const bgp::GracefulRestart& offered);
  /// Nothing happens for a tunnel without session().
  void routes(const std::string& tunnel, const bgp::BmpRoutes& change);
  /// What else was known is gone.
  void keep_only(const std::string& tunnel, const std::set<Prefix>& kept);
  void nothing(const std::string& tunnel);
  /// Said and not kept: of kTunnels at most.
  void traffic(const TrafficByTunnel& traffic) const;
  /// The tunnel is carried elsewhere now: who has it says what it learns.
  void forget(const std::string& tunnel) { known_.erase(tunnel); }

  const Learned* find(const std::string& tunnel) const;

 private:
  void say(const ha::v1::LearnedMessage& message) const;
  void say_session(const std::string& tunnel, const Learned& learned) const;
  void say_routes(const std::string& tunnel, const Learned& learned) const;
  void say_withdrawn(const std::string& tunnel, std::span<const Prefix> prefixes) const;

  Send send_;
  std::map<std::string, Learned, std::less<>> known_;
};

/// Of the tunnels carried by the other instance.
class LearnedImport {
 public:
  /// A message that is not as it should be changes nothing (kMalformed: the other one is at fault).
  Status apply(std::string_view message);
  /// Hands over what is known of a tunnel, and forgets it; absent: its session was not up, or nobody told.
  std::optional<Learned> take(const std::string& tunnel);
  const Learned* find(const std::string& tunnel) const;
  std::size_t tunnels() const { return known_.size(); }
  /// What was said last.
  const TrafficByTunnel& traffic() const { return traffic_; }
  void forget_traffic() { traffic_.clear(); }

 private:
  Status apply_session(const ha::v1::LearnedSession& message);
  Status apply_routes(const ha::v1::LearnedRoutes& message);
  Status apply_traffic(const ha::v1::TunnelTraffic& message);

  std::map<std::string, Learned, std::less<>> known_;
  TrafficByTunnel traffic_;
};

}  // namespace gw::gwd::sync
