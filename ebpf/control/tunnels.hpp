// The tunnels: slots in the worker's table, TUN devices and their carrier. A slot is held by a tunnel's
// configuration and by each of its SAs, whichever comes first: after a restart charon and gwd replay in
// any order. A tunnel belongs to one worker from the moment it gets its slot. Control thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/esp/outer_policy.hpp"
#include "ebpf/fib/next_hops.hpp"
#include "ebpf/tun/fd_store.hpp"
#include "ebpf/tun/tun_device.hpp"
#include "ebpf/worker/workers.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw::control {

enum class CarrierPolicy : std::uint8_t { kFollowsSa, kAlways };

struct TunnelSettings {
  std::uint32_t id = 0;
  std::string name;
  std::string device;
  std::uint16_t mtu = 0;
  std::uint16_t mss_clamp = 0;
  worker::InnerFragmentation fragmentation = worker::InnerFragmentation::kRefuse;
  CarrierPolicy carrier = CarrierPolicy::kFollowsSa;
  esp::OuterPolicy outer;
  worker::Rates rates;
  std::optional<IpAddress> peer;
};

/// What the way to the peer has room for, bytes.
struct PathRoom {
  std::uint32_t outer = 0;  // as reported by routers; 0: none did
  std::uint32_t inner = 0;  // 0: not known
  friend bool operator==(const PathRoom&, const PathRoom&) = default;
};

class Tunnels {
 public:
  /// The largest packet that fits a frame with the outer headers, both ways; and where the ports take jumbo packets.
  static constexpr std::uint32_t kMaxMtu = 1690;
  static constexpr std::uint32_t kMaxJumboMtu = 9000;
  /// An adopted device waits this long for charon to replay its SAs.
  static constexpr std::chrono::seconds kAdoptionGrace{15};

  struct Tunnel {
    worker::TunnelSlot slot = worker::kNoTunnel;
    std::size_t sas = 0;
    std::optional<TunnelSettings> settings;
    PathRoom room;
    std::optional<tun::TunDevice> device;
    bool sending = false;         // an outbound SA is active
    std::optional<bool> carrier;  // as last set; none: not set by this process yet
    /// Just adopted: carrier stays as it is, and packets wait in the device, until an SA can send them.
    std::optional<MonoTime> hold_until;
    std::uint64_t generation = 0;  // of the control session that last sent it
  };
  using CarrierCallback = std::function<void(std::uint32_t tunnel_id, tun::Carrier carrier)>;

  Tunnels(worker::Workers& workers, xdp::Maps& maps, tun::FdStore store, const Clock& clock);
  /// Of packets in tunnels; kMaxMtu at first.
  void set_max_mtu(std::uint32_t bytes) { max_mtu_ = bytes; }
  void on_carrier(CarrierCallback callback) { on_carrier_ = std::move(callback); }

  /// Makes or changes the tunnel and its device; nothing changes on failure.
  Status put(const TunnelSettings& settings, std::uint64_t generation);
  /// The device goes. False: no such tunnel. The caller has taken it out of the forwarding table.
  bool remove(std::uint32_t id);
  std::vector<std::uint32_t> older_than(std::uint64_t generation) const;
  /// The MTU in use follows; the caller tells the forwarding table (ref()).
  void set_room(std::uint32_t id, const PathRoom& room);
  /// In use: what is configured, or less. Of a configured tunnel.
  static std::uint16_t inner_mtu(const Tunnel& tunnel);

  /// For an SA: the tunnel's slot, made if needed; kLimit. Give it back with release_slot().
  Result<worker::TunnelSlot> acquire_slot(std::uint32_t id);
  void release_slot(std::uint32_t id);
  /// The tunnel has an active outbound SA, or has none any more.
  void start_sending(std::uint32_t id);
  void stop_sending(std::uint32_t id);

  /// Ends the wait of adopted devices whose time is over.
  void settle_due();
  /// Ends it for all: charon has sent all it has.
  void settle_all();
  /// Devices kept over a restart that no tunnel claimed.
  void drop_unclaimed();

  /// Configured or not; null if unknown.
  const Tunnel* find(std::uint32_t id) const;
  std::optional<std::uint32_t> id_of(worker::TunnelSlot slot) const;
  /// As the forwarding table wants it; none if the tunnel is not configured.
  std::optional<fib::TunnelRef> ref(std::uint32_t id) const;
  const std::map<std::uint32_t, Tunnel>& all() const { return tunnels_; }
  /// Drops of tunnels whose slot another one has taken: totals never go back.
  const worker::DropCounters& retired_drops() const { return retired_drops_; }
  tun::FdStore& store() { return store_; }
  /// The devices' descriptors, as they are called in the store.
  std::vector<tun::NamedFd> device_fds() const;
  /// Devices of a process before this one, for tunnels that are to come.
  void add_kept(tun::FdStore& from);

 private:
  Result<Tunnel*> hold(std::uint32_t id);
  void forget_if_unused(std::uint32_t id);
  enum class Origin : std::uint8_t { kNew, kAdopted };
  struct Obtained {
    tun::TunDevice device;
    Origin origin;
  };
  Result<Obtained> obtain_device(const TunnelSettings& settings);
  static std::uint32_t device_mtu(const TunnelSettings& settings, const PathRoom& room);
  Status replace_device(Tunnel& tunnel, const TunnelSettings& settings);
  Status check_names(const TunnelSettings& settings) const;
  void add_peer(const IpAddress& peer);
  void remove_peer(const IpAddress& peer);
  void discard_device(std::uint32_t id, tun::TunDevice device);
  void apply_carrier(std::uint32_t id, Tunnel& tunnel);
  void end_hold(std::uint32_t id, Tunnel& tunnel);
  void settle_until(MonoTime deadline);
  void tell_worker(std::uint32_t id, const Tunnel& tunnel);

  worker::Workers& workers_;
  xdp::Maps& maps_;
  tun::FdStore store_;
  const Clock& clock_;
  CarrierCallback on_carrier_;
  std::map<std::uint32_t, Tunnel> tunnels_;
  std::map<std::string, Fd> kept_;  // from an earlier process, not yet claimed
  std::map<std::string, std::uint32_t> by_device_;
  std::map<IpAddress, std::size_t> peers_;  // how many tunnels have it
  /// The longest free one is next: what is between workers for the tunnel that had it has left by then.
  std::deque<worker::TunnelSlot> free_slots_;
  std::vector<std::uint32_t> ids_;  // by slot; 0: free
  std::uint32_t max_mtu_ = kMaxMtu;
  worker::DropCounters retired_drops_;
};

}  // namespace gw::control
