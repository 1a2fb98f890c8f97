// Two instances as one gateway: drives the HA machine (ha/), feeds it with what happens (sync channel, heartbeats of
// the data path, this machine's health, the operator) and has its decisions carried out. It decides nothing itself.
// Owner: Gateway, while the document has two instances that share state; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/config/model.hpp"
#include "gwd/control/certificate_watch.hpp"
#include "gwd/control/endpoint_switch.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/ha_codec.hpp"
#include "gwd/control/kernel_net.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/control/model_ptr.hpp"
#include "gwd/control/port_watch.hpp"
#include "gwd/control/site_watch.hpp"
#include "gwd/control/wan_announcements.hpp"
#include "gwd/sync/channel.hpp"
#include "gwd/sync/etcd_lease.hpp"
#include "ha/machine.hpp"
#include "ike/ha_link.hpp"

namespace gw::gwd {

class HaController final : private sync::ChannelListener {
 public:
  /// Reports and the machine's ticks; half of what it takes for a frozen instance.
  static constexpr std::chrono::milliseconds kTick{50};
  /// A fast path that has not answered by then has stopped (ha/event.hpp, LocalHealth).
  static constexpr std::chrono::milliseconds kHealthTimeout{100};

  struct Parts {
    boost::asio::io_context& io;
    const Clock& clock;
    FastpathClient& fastpath;
    KernelNet& kernel;
    std::string fastpath_socket;  // for the sync thread's own session
    std::string ike_socket;       // of charon's gw-ha plugin; made here
    std::string release;          // of this gwd
  };
  /// What the rest of gwd does; called on the control thread.
  struct Gateway {
    /// Tunnels are carried where their endpoint is now; routes alone, or everything.
    std::function<void(const config::Carriers&)> route_by;
    std::function<void(const config::Carriers&)> carry_by;
    /// `move: bgp`: its host route is announced on the wan by this claim, or not any more.
    std::function<void(const IpAddress&, std::optional<ha::Epoch>)> announce_route;
    /// What keeps the wan's routers from knowing that it is here; empty: nothing.
    std::function<std::string(const IpAddress&)> unannounced;
    /// The intended forwarding table is in gw-fastpath.
    std::function<bool()> forwarding_in_sync;
    std::function<void(std::vector<fp::SaId>)> rekey;
    /// GRACEFUL_SHUTDOWN on the sessions of an endpoint, or (no address) of the whole instance.
    std::function<void(const ha::GracefulShutdown&)> graceful_shutdown;
    /// Who of those that it asks is seen to move away from an endpoint (SiteWatch).
    std::function<std::optional<std::vector<std::uint32_t>>(const IpAddress&)> waits_for;
    /// The other instance's learned routes and sessions; a new session begins with nothing of them.
    std::function<void()> sync_reset;
    /// No path to it is left; one is there again and the session goes on.
    std::function<void()> peer_lost;
    std::function<void()> peer_back;
    /// Nothing is heard of it on any path.
    std::function<void()> peer_dead;
    /// charon has every connection of the document: only then it can be told of IKE SAs.
    std::function<bool()> connections_loaded;
    /// charon does, when it is asked something.
    std::function<bool()> ike_answers;
    std::function<void(sync::Kind, std::string)> sync_message;
  };

  HaController(const Parts& parts, const config::GatewayModel& model, Gateway gateway);
  ~HaController() override;

  /// Whether the machine can work with these settings; the error names the field.
  static Status check(const config::HaModel& model);

  Status start();
  /// What is under way is finished; idle() says when. Only then may it be destroyed, and not in one of its own calls.
  void stop();
  bool idle() const { return running_ == 0 && switch_.idle() && sites_.idle() && certificates_.idle(); }
  /// A new document with the same instances; kInvalidArgument: it needs a new controller.
  Status reconfigure(const config::GatewayModel& model);

  void on_fastpath_up(const fp::HelloReply& hello);
  void on_fastpath_down();
  void on_fastpath_event(const fp::Event& event);
  void on_connections_loaded();

  /// The operator's word; refused with the reason, or begun.
  Status command(const ha::Command& command);
  /// To the other instance's gateway.sync_message.
  void send(sync::Kind kind, std::string payload) { channel_.send(kind, std::move(payload)); }

  ha::Snapshot snapshot() const { return machine_.snapshot(parts_.clock.now()); }
  const sync::ChannelStats& channel() const { return channel_.stats(); }
  /// Grows while the sync thread goes on.
  std::uint64_t sync_reports() const { return channel_.reports(); }
  const ike::HaLink::State& ike() const { return ike_.state(); }
  const std::vector<pki::CertificateEnd>& certificates() const { return certificates_.ends(); }
  const config::HaModel& model() const { return ha_; }
  const std::string& name_of(ha::Instance id) const;
  /// Who carries which endpoint, as of now. Empty until gw-fastpath has said what it holds: a gwd that was restarted
  /// must not take its own endpoints down.
  config::Carriers carriers() const;
  /// What is announced here on the wan, and what may be next, once decided.
  std::map<IpAddress, WanAnnouncements::Claim> announcements() const;
  bool decided() const { return adopted_ || given_up_waiting_; }

 private:
  void on_sync_reset(const sync::PeerInfo& peer) override;
  void on_sync_message(sync::Kind kind, std::string payload) override;
  void on_sync_heartbeat(const sync::PeerHeartbeat& heartbeat) override;
  void on_sync_paths(const std::vector<sync::PathState>& paths) override;

  static ha::Configuration machine_configuration(const config::HaModel& model);
  static sync::ChannelSettings channel_settings(const Parts& parts, const config::GatewayModel& model);
  EndpointSwitch::Owner switch_owner();
  ha::Instance peer() const { return static_cast<ha::Instance>(ha_.peer()); }

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> watch_fastpath();
  void on_fastpath_answers_again();
  void announce_self() const;
  struct Port {
    const std::string* interface;
    PortWatch watch;
    PortSilence::Verdict verdict = PortSilence::Verdict::kHeard;
  };
  boost::asio::awaitable<void> watch_ports();
  /// Whether its verdict is another one.
  static bool look_at(Port& port);
  void configure_watches(const config::GatewayModel& model);
  boost::asio::awaitable<void> redirect();
  boost::asio::awaitable<void> put_peer();
  void configure_switch();
  void tick();
  void check_announcements();
  void carry();
  void feed(const ha::Event& event);
  void carry_out(const std::vector<ha::Action>& actions);
  void carry_out(const ha::Action& action);
  void get_ready(const ha::GetReady& order);
  void shut_down_gracefully(const ha::GracefulShutdown& order);
  void note(const ha::Alarm& alarm);
  void on_control(std::string_view payload);
  void on_ike_state(const ike::HaLink::State& state);
  void send_heartbeat_key();
  void set_heartbeat_key(SharedSecret key);
  void tell_sync_progress();
  ha::LocalHealth health() const;

  Parts parts_;
  Gateway gateway_;
  std::string gateway_name_;
  config::HaModel ha_;
  Port wan_port_;
  Port vnet_port_;
  std::string wan_interface_;
  std::string vnet_interface_;
  MonoTime started_;
  ha::Machine machine_;
  ike::HaLink ike_;
  EndpointSwitch switch_;
  SiteWatch sites_;
  CertificateWatch certificates_;
  sync::EtcdLease etcd_;  // started with `lease: etcd` only
  LoopWake wake_;
  LoopWake health_wake_;
  LoopWake ports_wake_;
  SharedSecret heartbeat_key_;  // empty: none yet
  MonoTime ike_answered_;       // last; since the start, as if then
  bool fastpath_answers_ = false;
  bool adopted_ = false;
  bool given_up_waiting_ = false;
  std::optional<config::Carriers> told_;  // to the gateway
  std::set<IpAddress> unannounced_;       // ours, and no router on the wan knows
  bool session_ = false;                  // the sync channel has begun one
  bool connected_ = false;                // by one sync path at least
  bool ike_there_ = false;
  bool feeding_ = false;
  std::vector<ha::Event> events_;  // that came while others were worked on
  bool stopping_ = false;
  int running_ = 0;        // coroutines
  sync::Channel channel_;  // last: its thread ends first
};

}  // namespace gw::gwd
