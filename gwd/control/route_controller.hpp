// From routes to forwarding: takes bgpd's Adj-RIBs-In (BMP, pre-policy), applies the import policy, merges
// them with the VNet's and the static sites' prefixes, and tells Forwarding what each prefix's best set is.
// Owner: Gateway; thread: control.
//
// What is gone without a word may be back in a moment, so it is kept as stale and goes on forwarding (RFC
// 4724): all of bgpd's routes when bgpd dies, a peer's when its session broke without a NOTIFICATION and its
// tunnel still has carrier. A peer behind a dead tunnel forwards nothing. The same when a tunnel comes here from
// another instance: what that one had learned in it is held until the session, which bgpd opens anew, has said it
// again.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "bgp/bmp_server.hpp"
#include "gwd/config/model.hpp"
#include "gwd/control/bgp_controller.hpp"
#include "gwd/control/bmp_stall.hpp"
#include "gwd/control/forwarding.hpp"
#include "gwd/control/hand_over_delay.hpp"
#include "gwd/control/route_forwarding.hpp"
#include "gwd/sync/learned.hpp"
#include "routes/import.hpp"
#include "routes/rib.hpp"

namespace gw::gwd {

/// Of one BGP source.
struct PeerRoutes {
  routes::SourceCount count;
  routes::LimitState limit = routes::LimitState::kOk;
};
/// One BGP session: what has been learned of it.
struct LearnedSession {
  std::string name;
  IpAddress peer;
  routes::SourceCount count;
  bool complete = false;  // up, and nothing of before it is waited for
};

class RouteController {
 public:
  /// Routes of a session that bgpd is told while it is held. Each is a command to bgpd; what a site usually has, and
  /// not the Internet's table, which is forwarded all the same.
  static constexpr std::size_t kMaxHeld = 4000;
  /// Between a peer's End-of-RIB and the end of what it did not announce again. bgpd's BMP says End-of-RIB when
  /// its own walk of the table ends, which may be before the peer has sent everything.
  static constexpr std::chrono::seconds kSettle{5};
  /// After bgpd died: it announces this restart time for us (RFC 4724 3), so by then its sessions are back.
  static constexpr std::chrono::seconds kRestartTime{120};
  /// No peer that restarts is waited for longer, and none that is back for its End-of-RIB: bgpd's stalepath-time.
  static constexpr std::chrono::seconds kStalePath{360};
  /// After bgpd was asked to tell a session's routes again, and of its silence: what is still held back is gone.
  static constexpr std::chrono::seconds kTellAgain{10};
  /// For bgpd to tell a full table again (100,000 routes: 2 s).
  static constexpr std::chrono::seconds kRelearn{60};
  /// For bgpd to connect again when its stream was opened anew; a connection that comes later is a new bgpd's.
  static constexpr std::chrono::seconds kReopen{3};
  /// After a start of gwd, when it knows whom to wait for: by now every peer that will come has come.
  static constexpr std::chrono::seconds kLearningTime{60};

  /// The routes of a tunnel that another instance carries now lead there for this long. By then that instance has
  /// heard the site itself (its session is back within 3 s) and told us over iBGP.
  static constexpr std::chrono::seconds kMovedTime{30};

  /// A tunnel that came from another instance: its session is open again by then, though the peer offered to wait less
  /// or not at all. It did not break: nothing is wrong with what was learned.
  static constexpr std::chrono::seconds kReopenTime{30};

  /// bgpd tells a session that opens nothing for a second, in case others open. Who holds the routes of before
  /// meanwhile (RFC 4724) loses them if the session breaks again before this is over.
  static constexpr std::chrono::seconds kTold{2};

  RouteController(boost::asio::io_context& io, const Clock& clock, Forwarding& forwarding);

  Status listen(std::uint16_t bmp_port);
  std::uint16_t bmp_port() const { return bmp_.port(); }
  void stop();

  void set_model(const config::GatewayModel& model);

  // What bgpd's BMP stream says; called by the listener, and by tests.
  void handle(const bgp::BmpConnected&);
  void handle(const bgp::BmpDisconnected&);
  void handle(const bgp::BmpEvent& event);

  /// bgpd judges by the policy of the last set_model(), too. Returns the peers some of whose routes are held back
  /// (routes::Rib::set_policy): bgpd is to be asked for them again.
  std::vector<IpAddress> policy_in_force();

  /// From now on, what the tunnels that are carried here learn is said to the other instance; first all of it.
  void sync_to(sync::LearnedExport::Send send) { learned_.begin(std::move(send)); }
  /// The other instance is not there any more.
  void sync_ended() {
    learned_.end();
    learned_elsewhere_.forget_traffic();
  }
  /// What tunnels carried lately: those of here for the other instance, and the other one's.
  void say_traffic(const sync::TrafficByTunnel& traffic) const { learned_.traffic(traffic); }
  const sync::TrafficByTunnel& traffic_elsewhere() const { return learned_elsewhere_.traffic(); }
  /// What the other instance says of its own (a message of kind `routes`). Used when a tunnel comes here: set_model().
  Status sync_from(std::string_view message) { return learned_elsewhere_.apply(message); }
  /// Whether a tunnel's session is open, here or as the other instance says.
  bool is_open(const std::string& tunnel) const;
  /// Its session here has opened within kTold.
  bool has_just_opened(const IpAddress& peer) const;
  /// What is held for tunnels that came here, or that have just gone to another instance: bgpd does not know it, and is
  /// to go on announcing it.
  std::vector<bgp::OriginIntent> held_origins() const;
  /// Told when held_origins() is another, but for set_model().
  void on_held_change(std::function<void()> callback) { held_changed_ = std::move(callback); }
  /// Nothing passes to this peer any more, whatever it promised: its stale routes go.
  void path_died(const IpAddress& peer);
  /// Its BFD session, which came here with its tunnel, has expired. Means nothing for a peer that restarts itself: its
  /// BFD may do, too (RFC 5882 4.3).
  void held_path_died(const IpAddress& peer);

  /// Told when a session came or went.
  void on_session_change(std::function<void()> callback) { session_changed_ = std::move(callback); }

  /// Told of every decision: what a prefix is forwarded by because of BGP; nullptr: nothing, or what is the gateway's
  /// own.
  void on_route(std::function<void(const Prefix&, const ForwardingEntry*)> callback) { decided_ = std::move(callback); }
  /// The BGP peers that a prefix's best routes come from.
  std::vector<IpAddress> peers_of(const Prefix& prefix) const;
  /// A source of its best routes is being waited for (RFC 4724), or has just moved to another instance: FRR may have
  /// let go of it already.
  bool is_stale(const Prefix& prefix) const;
  /// The sources that this can be because of.
  std::set<std::string> waiting() const;

  /// A tunnel without carrier is left out of a best set that has others, and a static site behind it has no route here:
  /// another instance may have one.
  void set_carrier(std::uint32_t tunnel_id, fastpath::v1::TunnelState state);
  /// Tunnel ids.
  const std::set<std::uint32_t>& without_carrier() const { return ways_.without_carrier(); }
  /// bgpd's view, to know whether everything has been learned after a start.
  void set_sessions(const std::map<IpAddress, bgp::PeerStatus>& sessions);

  const routes::Rib& rib() const { return rib_; }
  std::vector<LearnedSession> sessions() const;
  /// What gwd has of this peer stays in use until bgpd, which is to be asked, has told it again; the rest goes then.
  void relearn(const IpAddress& peer);
  /// Absent: the tunnel has no BGP.
  std::optional<PeerRoutes> peer_routes(std::string_view tunnel) const;

 private:
  struct Peer {
    routes::SourceId source = 0;
    std::uint32_t max_routes = 0;  // of a family
    bool graceful_restart = true;  // configured
    bool unnumbered = false;
    bgp::GracefulRestart offered;  // by the peer, in its last OPEN
    routes::LimitState limit = routes::LimitState::kOk;
    routes::LimitState told = routes::LimitState::kOk;  // of what a circuit's router is told
    std::set<Family> families;                          // that the peer takes part in
    std::set<Family> end_of_rib;                        // of the present session
    bool up = false;                                    // as BMP says
    std::optional<MonoTime> opened;      // this session, unless it was up when the stream was opened anew
    bool moved = false;                  // its tunnel is carried by another instance: what was learned leads there
    bool held = false;                   // its stale routes are another instance's knowledge, or from before it moved
    std::optional<MonoTime> told_again;  // since bgpd was asked to: when it last told something
    bool restarting = false;             // its session broke, and what it offered to preserve is kept
    bool asked_again = false;            // was up when the stream was opened anew: its routes have not all come yet
    bool sweeping = false;               // what is still stale goes when `sweep` runs out
    std::unique_ptr<boost::asio::steady_timer> sweep;
  };

  void on_peer_up(const bgp::BmpPeerUp& event);
  void tell_session_change() const;
  void on_peer_down(const bgp::BmpPeerDown& event);
  void withdraw(Peer& peer);
  void hold(Peer& peer);
  void adopt(Peer& peer, sync::Learned learned);
  void release(Peer& peer);
  void tell_what_is_left(const Peer& peer);
  bool is_held(const Prefix& prefix, std::string_view source) const;
  std::optional<std::vector<std::uint32_t>> accepted_path(const Prefix& prefix, std::string_view source) const;
  void keep_for_restart(Peer& peer);
  void restart_ended(Peer& peer);
  void drop_unpreserved(Peer& peer);
  void on_routes(const bgp::BmpRoutes& event);
  void on_end_of_rib(const bgp::BmpEndOfRib& event);
  void reopen_after_loss(std::size_t routes);
  void reopen();
  void hear_untold();
  void wait_again(Peer& peer);
  /// Its routes are stale only because the stream is being opened anew.
  bool is_told_again(std::string_view source) const;
  void take_as_whole(Peer& peer, Family family);
  void judge_unheard(Peer& peer, const bgp::PeerStatus* session);
  void drop_held_back(Peer& peer);
  void watch_told(Peer& peer, const bgp::PeerStatus& session);
  const std::string& name_of(const Peer& peer) const { return rib_.source(peer.source).name; }
  std::string far_end(const Peer& peer) const;
  bool has_carrier(const Peer& peer) const;
  /// End-of-RIB has come for each of its families.
  static bool has_told_all(const Peer& peer, const bgp::PeerStatus& session);
  void sweep_later(Peer& peer, std::chrono::seconds after);
  void update_limit(Peer& peer);
  void set_peers(const config::GatewayModel& model);
  std::map<IpAddress, Peer> take_moved_peers(const config::GatewayModel& model);
  void let_static_go(const std::string& source, const config::GatewayModel& model);
  void set_local_routes(const config::GatewayModel& model);
  void set_static_routes(std::uint32_t tunnel_id, const fastpath::v1::TunnelState& state);
  /// What changed.
  void publish();
  void publish_all();
  void publish(const Prefix& prefix, routes::PathSetId best);
  bool is_hand_over(routes::PathSetId best) const;
  /// The best way of this instance itself; none: no candidate is its own.
  std::optional<ForwardingEntry> own_entry(const Prefix& prefix) const;
  void begin_learning();
  void check_complete();

  boost::asio::io_context& io_;
  const Clock& clock_;
  Forwarding& forwarding_;
  bgp::BmpServer bmp_;
  boost::asio::steady_timer learning_;
  boost::asio::steady_timer reopen_;
  BmpStall stall_;
  std::optional<MonoTime> reopened_;  // the stream, and bgpd has not connected again
  routes::Rib rib_;
  RouteForwarding ways_;
  HandOverDelay hand_over_;
  sync::LearnedExport learned_;
  sync::LearnedImport learned_elsewhere_;
  std::map<IpAddress, Peer> peers_;                             // by session address
  std::map<std::string, std::set<Prefix>, std::less<>> local_;  // source -> its prefixes
  // Static sites whose tunnels another instance carries now, until kMovedTime is over.
  std::map<std::string, std::unique_ptr<boost::asio::steady_timer>, std::less<>> moved_static_;
  bool bmp_connected_ = false;
  std::set<IpAddress> open_;  // sessions that the stream has said are up, also to nobody: without a Peer then
  std::function<void()> session_changed_;
  std::function<void()> held_changed_;
  std::function<void(const Prefix&, const ForwardingEntry*)> decided_;
  bool has_model_ = false;  // there is a document, and it is known which of its tunnels are carried here
  bool heard_all_ = false;  // of every peer, or it was waited for long enough
  bool complete_ = false;
};

}  // namespace gw::gwd
