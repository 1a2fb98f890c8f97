// Proves that tunnels carry packets, whether traffic uses them or not: sends ICMP echoes from a tunnel's own address to
// the peer's through the TUN device, so that gw-fastpath encrypts them like any packet, and reads gw-fastpath's
// counters every 5 s. What follows from that is in path_proofs and traffic_watch. At most 250 echoes a second, whatever
// the number of tunnels. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/path_proofs.hpp"
#include "gwd/control/traffic_watch.hpp"

namespace gw::gwd {

struct ProbeTarget {
  std::uint32_t tunnel_id = 0;
  std::string name;
  std::string device;
  // Both unspecified: nobody to ask.
  IpAddress local;
  IpAddress peer;
};

class PathProber {
 public:
  static constexpr std::chrono::milliseconds kTick{100};
  static constexpr std::chrono::seconds kLookEvery{5};

  /// Whether a tunnel's IKE SA is there. One that only has the ESP SAs of a charon that ended is left alone: a site
  /// that keeps receiving does not ask whether we are alive, and does not come back.
  using HasIke = std::function<bool(const std::string& tunnel)>;
  PathProber(boost::asio::io_context& io, const Clock& clock, FastpathClient& fastpath, HasIke has_ike);

  /// Without the right to open raw sockets nothing is sent, and a warning says so.
  void start();
  void stop();

  void set_targets(std::vector<ProbeTarget> targets);
  /// BFD's session with the tunnel's peer is up.
  void bfd_up(std::uint32_t tunnel_id) { proofs_.bfd_up(tunnel_id, clock_.wall()); }

  /// nullptr: no such tunnel.
  const PathProof* proof(std::uint32_t tunnel_id) const { return proofs_.find(tunnel_id); }
  TrafficWindow traffic(std::uint32_t tunnel_id) const { return traffic_.of(tunnel_id); }
  /// Told after each look at the counters.
  void on_look(std::function<void()> callback) { looked_ = std::move(callback); }

 private:
  using Socket = boost::asio::posix::stream_descriptor;
  void open(Family family);
  boost::asio::awaitable<void> tick();
  boost::asio::awaitable<void> look();
  void look_at(const fp::TunnelInfo& tunnel);
  boost::asio::awaitable<void> receive(Socket& socket, Family family);
  Status send(const Echo& echo);
  void on_packet(const IpAddress& from, std::string_view icmp);
  PathProofs::Moment moment() const { return {clock_.now(), clock_.wall()}; }

  boost::asio::io_context& io_;
  const Clock& clock_;
  FastpathClient& fastpath_;
  HasIke has_ike_;
  PathProofs proofs_;
  TrafficWatch traffic_;
  std::function<void()> looked_;
  std::map<std::uint32_t, ProbeTarget> targets_;
  std::map<IpAddress, std::uint32_t> by_peer_;
  std::optional<Socket> v4_;
  std::optional<Socket> v6_;
  boost::asio::steady_timer tick_timer_;
  boost::asio::steady_timer look_timer_;
  std::uint16_t identifier_;
  std::uint64_t nonce_;  // in every echo: other programs' answers, and made up ones, are none
  bool stopping_ = false;
};

}  // namespace gw::gwd
