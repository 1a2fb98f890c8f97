// The running gateway: owns the controllers, wires them to each other, and brings them to a model. Nothing
// here waits: apply() states the intent, the controllers' loops reconcile until it is so, and again
// whenever charon, FRR or gw-fastpath died and returned. Owner: main; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "gwd/control/bfd_controller.hpp"
#include "gwd/control/bgp_controller.hpp"
#include "gwd/control/fastpath_client.hpp"
#include "gwd/control/forwarding.hpp"
#include "gwd/control/guard_keeper.hpp"
#include "gwd/control/ha_controller.hpp"
#include "gwd/control/ike_controller.hpp"
#include "gwd/control/kernel_net.hpp"
#include "gwd/control/model_ptr.hpp"
#include "gwd/control/path_prober.hpp"
#include "gwd/control/reconcile_controller.hpp"
#include "gwd/control/route_controller.hpp"
#include "gwd/control/wan_announcements.hpp"

namespace gw::gwd {

struct GatewayPaths {
  std::string vici;      // charon's socket
  std::string fastpath;  // gw-fastpath's socket
  BgpPaths bgp;
  std::uint16_t bmp_port = 0;  // 0: any free one
  std::string ike_ha;          // gwd's socket for charon's gw-ha plugin; empty: endpoints stay where they are at home
};

/// What to tell the operator while one of them is away.
inline constexpr std::string_view kFastpathAway =
    "does not answer: systemctl status gw-fastpath, journalctl -u gw-fastpath";
inline constexpr std::string_view kCharonAway = "does not answer: systemctl status gw-charon, journalctl -u gw-charon";
inline constexpr std::string_view kBfddAway = "does not answer: dead paths are noticed by BGP's timers only";
inline constexpr std::string_view kBgpdAway = "does not answer: systemctl status gw-bgpd, journalctl -u gw-bgpd";

/// A program that gwd works with, as `gwctl status` shows it.
struct ComponentStatus {
  std::string name;
  bool connected = false;
  std::string detail;
  std::string problem;            // connected, but not as it should be; empty: nothing is wrong
  std::optional<WallTime> since;  // of the connection, or since it was lost
};

class Gateway final : private FastpathListener {
 public:
  Gateway(boost::asio::io_context& io, const Clock& clock, GatewayPaths paths, KernelNet kernel);

  Status start();
  void stop();
  void apply(ModelPtr next);

  /// What this instance brings about now: with another instance, the endpoints as they are carried. Null before the
  /// first apply(), and a moment longer with another instance.
  const ModelPtr& model() const { return model_; }
  /// Null: the document has one instance, or two that share no state.
  HaController* ha() { return ha_.get(); }
  /// Whoever keeps the other instance's document the same (ConfigService).
  struct ConfigSyncPorts {
    std::function<void()> session;  // begins, or goes on after a break
    std::function<void()> lost;
    std::function<void(std::string_view)> message;
  };
  void on_config_sync(ConfigSyncPorts ports) { config_sync_ = std::move(ports); }
  const HaController* ha() const { return ha_.get(); }
  FastpathClient& fastpath() { return fastpath_; }
  const FastpathClient& fastpath() const { return fastpath_; }
  const IkeController& ike() const { return ike_; }
  BgpController& bgp() { return bgp_; }
  const BgpController& bgp() const { return bgp_; }
  const BfdController& bfd() const { return bfd_; }
  const WanAnnouncements& wan() const { return wan_; }
  const RouteController& routes() const { return routes_; }
  const ReconcileController& reconcile() const { return reconcile_; }
  const Forwarding& forwarding() const { return forwarding_; }
  const PathProber& paths() const { return prober_; }
  const std::string& crypto_backend() const { return crypto_backend_; }
  std::vector<ComponentStatus> components() const;

 private:
  void on_fastpath_up(const fp::HelloReply& hello) override;
  void on_fastpath_down(const Error& why) override;
  void on_fastpath_event(const fp::Event& event) override;

  /// What gwd sets in the kernel for one tunnel.
  struct KernelState {
    std::optional<DeviceAddress> address;
    std::set<DeviceRoute> routes;
  };
  static KernelState kernel_state(const config::TunnelModel& tunnel);
  std::optional<std::vector<std::uint32_t>> waits_for(const IpAddress& endpoint) const;
  void on_peer_session();
  void say_traffic() const;
  void on_peer_message(sync::Kind kind, const std::string& message);
  bool wants_ha(const config::GatewayModel& document) const;
  void apply_ha(const config::GatewayModel& document);
  void stand_alone();
  boost::asio::awaitable<void> end_ha();
  HaController::Gateway ha_callbacks();
  void apply_model(ModelPtr next);
  boost::asio::awaitable<void> rekey_tunnels_of(std::vector<fp::SaId> sas);
  void apply_tunnels(const config::GatewayModel& model);
  void apply_circuit(const config::GatewayModel& model);
  void apply_vnet(const config::GatewayModel& model);
  void apply_bgp();
  void remove_tunnel(std::uint32_t id, const KernelState& state);
  void configure_address(const DeviceAddress& address);
  void configure_device(std::uint32_t tunnel_id);
  void set_static_routes(std::uint32_t tunnel_id);
  boost::asio::awaitable<void> learn_ports();
  void compare_ports();
  void note_bfd();
  void remove_stale_kernel_state(const KernelState& before, const KernelState& after);

  boost::asio::io_context& io_;
  const Clock& clock_;
  GatewayPaths paths_;
  KernelNet kernel_;
  GuardKeeper guard_;
  FastpathClient fastpath_;
  Forwarding forwarding_;
  IkeController ike_;
  BfdController bfd_;
  BgpController bgp_;
  WanAnnouncements wan_;
  RouteController routes_;
  ReconcileController reconcile_;
  PathProber prober_;
  ModelPtr document_;  // as the operator gave it
  ModelPtr model_;
  std::map<std::uint32_t, KernelState> kernel_states_;
  BgpIntentPtr bgp_intent_;
  std::vector<DeviceAddress> circuit_addresses_;
  std::set<DeviceRoute> vnet_routes_;
  std::string crypto_backend_;
  fp::PortList served_ports_;
  std::string port_problem_;
  std::optional<WallTime> fastpath_since_;
  ConfigSyncPorts config_sync_;
  bool ha_ending_ = false;
  bool draining_ = false;             // sessions are told that this instance is about to stop
  std::set<IpAddress> leaving_;       // endpoints: the sessions of their tunnels are told that they move
  std::unique_ptr<HaController> ha_;  // last: its callbacks use the others
};

}  // namespace gw::gwd
