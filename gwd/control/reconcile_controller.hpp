// Watches that FRR would forward as gwd does: takes zebra's routes from its FPM stream, compares them with what
// RouteController decided, says where they differ and tries to heal it: bgpd is asked to look at its routes again, and
// a session whose route bgpd has left without a best path is started anew (frr-findings, "unsorted"). gw-fastpath
// follows gwd alone; what suffers from a difference is what the kernel and other routers are told. Owner: Gateway;
// thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "bgp/fpm.hpp"
#include "bgp/loopback_server.hpp"
#include "bgp/reconciler.hpp"
#include "bgp/vty_client.hpp"
#include "gwd/config/model.hpp"
#include "gwd/control/bgp_controller.hpp"
#include "gwd/control/count_watch.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/control/route_controller.hpp"

namespace gw::gwd {

class ReconcileController {
 public:
  static constexpr std::chrono::milliseconds kPoll{250};
  static constexpr std::chrono::milliseconds kTimeout{5000};
  static constexpr std::chrono::seconds kReconnectPause{1};
  static constexpr std::chrono::seconds kHealPause{5};  // for FRR to act
  static constexpr std::size_t kMaxRestarts = 4;        // sessions started anew for one alarm
  static constexpr std::size_t kMaxShown = 100;

  ReconcileController(boost::asio::io_context& io, const Clock& clock, std::string vty_dir, BgpController& bgp,
                      const RouteController& routes);

  Status listen();
  void start();
  void stop();

  void set_model(const config::GatewayModel& model);
  /// What gwd forwards a prefix by that BGP has told; nullptr: by nothing, or by what is its own (FRR has no route).
  void set_route(const Prefix& prefix, const ForwardingEntry* entry);
  /// bgpd's sessions have been read: its numbers are compared with gwd's.
  void compare_counts();
  /// Told of a session whose numbers differ and stay different: it is to be learned again.
  void on_other_count(std::function<void(const IpAddress& peer)> callback) { other_count_ = std::move(callback); }
  /// The tunnel's device may be another one now.
  void forget_device(std::uint32_t tunnel_id) { tunnel_exits_.erase(tunnel_id); }

  /// zebra's routes are there.
  bool connected() const { return connected_; }
  std::optional<WallTime> since() const { return since_; }
  /// Why they are not.
  const std::string& trouble() const { return trouble_; }
  const bgp::Reconciler& state() const { return reconciler_; }
  /// What differs and should not; kMaxShown at most.
  const std::map<Prefix, bgp::Difference>& differences() const { return alarms_; }
  /// "2 routes are others in FRR than in gwd (RoutesDiffer): 10.1.0.0/16 missing: ..."; empty: all is well.
  std::string alarm() const;
  /// "gwd: tun1 tun2; FRR: tun1"
  static std::string describe(const bgp::Difference& difference);

 private:
  enum class Stage : std::uint8_t { kNone, kSoft, kHard };
  Status receive(std::span<const std::uint8_t> bytes);
  void set_connected(bool connected);
  boost::asio::awaitable<void> configure_zebra();
  boost::asio::awaitable<Status> tell_zebra();
  boost::asio::awaitable<void> compare();
  void judge();
  boost::asio::awaitable<void> heal();
  boost::asio::awaitable<void> restart_sessions();
  bgp::Exits exits_of(const ForwardingEntry& entry);

  boost::asio::io_context& io_;
  const Clock& clock_;
  BgpController& bgp_;
  const RouteController& routes_;
  std::string path_;
  bgp::VtyClient vty_;
  LoopWake zebra_wake_;
  LoopWake compare_wake_;
  bgp::FpmSession session_;
  bgp::Reconciler reconciler_;
  CountWatch counts_;
  std::function<void(const IpAddress&)> other_count_;
  std::map<Prefix, bgp::Difference> alarms_;
  std::map<std::uint32_t, std::string> devices_;  // tunnel id -> device
  std::map<std::uint32_t, std::uint32_t> tunnel_exits_;
  std::uint32_t vnet_exit_ = 0;
  std::uint32_t circuit_exit_ = 0;
  std::string trouble_ = "zebra (FRR) has not connected yet";
  std::optional<WallTime> since_;
  Stage stage_ = Stage::kNone;
  MonoTime next_heal_{};
  std::set<std::string> waiting_;  // RouteController::waiting(), at the last look
  bool connected_ = false;
  bool stopping_ = false;
  bgp::LoopbackServer server_;  // last: it calls into the others until it is closed
};

}  // namespace gw::gwd
