// Keeps gw-fastpath at the intended tunnels and routes: holds what is wanted and what was acknowledged,
// and sends the difference, whoever of the two restarted. What gw-fastpath refuses is set aside, reported and
// tried again later; it never holds up the rest. Owner: Gateway; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ip.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/loop_wake.hpp"

namespace gw::gwd {

/// Where a prefix goes; the value of the intended forwarding table.
struct ForwardingEntry {
  fp::NextHopKind kind = fp::NEXT_HOP_KERNEL;
  std::vector<std::uint32_t> tunnel_ids;  // kind tunnels: sorted, 1..16
  std::vector<IpAddress> gateways;        // kind vnet: routers on the VNet, none: on link; kind circuit: its routers
  fp::Behind behind = fp::BEHIND_VNET;    // kind vnet with gateways: another instance's sites or circuit
  friend bool operator==(const ForwardingEntry&, const ForwardingEntry&) = default;
};

using ForwardingTable = std::map<Prefix, ForwardingEntry>;

class Forwarding {
 public:
  /// Routes in one frame: well below the frame limit, and small enough not to hold the worker up.
  static constexpr std::size_t kBatch = 512;
  static constexpr std::chrono::seconds kRetryRefused{10};

  Forwarding(boost::asio::io_context& io, FastpathClient& client);

  /// Called once for every tunnel that gw-fastpath has acknowledged: its TUN device exists now.
  void on_tunnel_ready(std::function<void(std::uint32_t tunnel_id)> callback) { tunnel_ready_ = std::move(callback); }

  void start();
  void stop();

  /// What is so already is not sent again.
  void set_tunnel(const fp::PutTunnel& tunnel);
  void remove_tunnel(std::uint32_t tunnel_id);
  /// Packets between the circuit and tunnels; sent with the next change.
  void set_settings(const fp::PutSettings& settings);
  void set_route(const Prefix& prefix, ForwardingEntry entry);
  void remove_route(const Prefix& prefix);
  /// From now on routes that gw-fastpath has and gwd does not want may be swept. Before (just after a
  /// start, while BGP is being re-learned) they stay.
  void set_complete();

  /// A new session: nothing is acknowledged any more.
  void resync();

  /// What a prefix is to do; nullptr when it has no route.
  const ForwardingEntry* wanted(const Prefix& prefix) const {
    const auto it = wanted_routes_.find(prefix);
    return it == wanted_routes_.end() ? nullptr : &it->second;
  }
  /// gw-fastpath has the tunnel as it is wanted: its TUN device exists.
  bool is_ready(std::uint32_t tunnel_id) const { return ready_tunnels_.contains(tunnel_id); }
  const ForwardingTable& table() const { return wanted_routes_; }
  /// Nothing about it is on its way.
  bool is_settled(const Prefix& prefix) const { return has_route(prefix) && !to_add_.contains(prefix); }
  bool complete() const { return complete_; }
  bool in_sync() const { return !settings_dirty_ && dirty_tunnels_.empty() && to_add_.empty() && to_remove_.empty(); }
  bool has_route(const Prefix& prefix) const { return acknowledged_routes_.contains(prefix); }
  std::size_t route_count() const { return wanted_routes_.size(); }
  /// Prefixes that gw-fastpath did not take.
  const std::set<Prefix>& refused_routes() const { return refused_routes_; }
  /// Tunnels and routes that gw-fastpath did not take.
  std::size_t refused_count() const { return refused_tunnels_.size() + refused_routes_.size(); }

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<Status> push_settings();
  boost::asio::awaitable<Status> push_tunnels();
  boost::asio::awaitable<Status> push_tunnel(std::uint32_t id);
  boost::asio::awaitable<Status> push_routes();
  boost::asio::awaitable<Status> push_batch(std::vector<Prefix> batch);
  std::vector<Prefix> take_batch();
  /// gw-fastpath is to be told what is wanted of `prefix`.
  void tell(const Prefix& prefix);
  void retry_refused();
  boost::asio::awaitable<Status> push_sync_done();

  boost::asio::io_context& io_;
  FastpathClient& client_;
  LoopWake wake_;
  std::function<void(std::uint32_t)> tunnel_ready_;
  std::map<std::uint32_t, fp::PutTunnel> wanted_tunnels_;
  fp::PutSettings wanted_settings_;
  bool settings_dirty_ = false;
  std::set<std::uint32_t> dirty_tunnels_;
  std::set<std::uint32_t> ready_tunnels_;
  ForwardingTable wanted_routes_;
  std::set<Prefix> acknowledged_routes_;
  // What gw-fastpath has not been told yet; disjoint. Two, for a whole table that comes while another one goes.
  std::set<Prefix> to_add_;
  std::set<Prefix> to_remove_;
  std::set<std::uint32_t> refused_tunnels_;
  std::set<Prefix> refused_routes_;
  bool complete_ = false;
  bool sync_done_sent_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
