// The packet path of one worker: what happens to a burst between two ports, of whatever kind. wan -> decapsulate
// -> vnet port or tunnel device; vnet port or tunnel device -> encapsulate -> wan. Owns the SAs, the tunnels' and
// neighbours' tables; reads the forwarding table. Every packet ends in a port, a device, the kernel, or
// a drop counter. Worker thread; the control thread changes it through Worker::call().
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/fib/view.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/net/raw_sender.hpp"
#include "ebpf/worker/counters.hpp"
#include "ebpf/worker/parking.hpp"
#include "ebpf/worker/port.hpp"

namespace gw::worker {

/// The way to a peer; an index into the worker's table, given out by the control thread.
using PathIndex = std::uint32_t;
using EthernetHeader = std::array<std::uint8_t, kEthernetBytes>;

struct TunnelConfig {
  std::uint32_t id = 0;
  int tun_fd = -1;  // the control thread's; -1: not configured, packets are dropped
  std::uint16_t mtu = 0;
  std::uint16_t mss = 0;  // 0: no clamping
};

// --- what the worker tells the control thread -----------------------------------------------------

struct SaNotice {
  SaKey key;
  std::uint8_t events = 0;  // esp::Event bits
  esp::Endpoint seen;       // with kMapping
};
/// The first authenticated packet of an inbound SA.
struct Confirmed {
  SaKey key;
};
struct NoOutboundSa {
  TunnelSlot tunnel = 0;
  IpAddress src;
  IpAddress dst;
};
using Notice = std::variant<SaNotice, Confirmed, NoOutboundSa>;

// ---------------------------------------------------------------------------------------------------

class DataPath {
 public:
  struct Parts {
    FramePool& frames;
    Port& wan;
    Port& vnet;
    net::RawSender& raw;
    esp::CryptoBackend& crypto;
    const Clock& clock;
    fib::Memory fib;
    SpscQueue<Notice>& notices;
    std::span<TunnelCounters> tunnels;  // by slot
    WorkerCounters& counters;
  };
  explicit DataPath(const Parts& parts);

  // --- changes (control thread, through Worker::call) ---
  esp::CryptoBackend& crypto() { return parts_.crypto; }
  void set_tunnel(TunnelSlot slot, const TunnelConfig& config);
  const TunnelConfig& tunnel(TunnelSlot slot) const { return tunnels_[slot].config; }

  /// Packets that were parked for it are delivered at once.
  void install(const SaKey& key, TunnelSlot slot, std::unique_ptr<esp::InboundSa> sa);
  void install(const SaKey& key, PathIndex path, std::unique_ptr<esp::OutboundSa> sa);
  /// Gone for good when this returns: no packet uses it any more. An active outbound SA stops being that.
  void remove(const SaKey& key);
  esp::InboundSa* inbound(const SaKey& key);
  esp::OutboundSa* outbound(const SaKey& key);
  /// A live SA got another destination, takes another path (outbound).
  void move(const SaKey& from, const SaKey& to);
  void set_path(const SaKey& outbound, PathIndex path);
  void activate(TunnelSlot slot, const SaKey& outbound);

  /// The Ethernet header to a peer; none: unresolved, the kernel sends.
  void set_path_header(PathIndex path, const std::optional<EthernetHeader>& header);
  void set_neighbour(const IpAddress& address, const std::optional<net::MacAddress>& mac);
  void clear_neighbours() { neighbours_.clear(); }

  /// What was used since the last call, so that the kernel can be told.
  struct Used {
    std::vector<PathIndex> paths;
    std::vector<IpAddress> neighbours;
  };
  Used take_used();

  // --- packets (worker thread) ---
  /// The burst is worked off in place.
  void from_wan(Burst& burst);
  void from_vnet(Burst& burst);
  /// Reads up to a burst from the tunnel's device; the number read.
  std::size_t from_tun(TunnelSlot slot);
  /// Drops what was parked for an SA that did not come.
  void expire_parked();
  bool has_parked() const { return !parking_.empty(); }
  /// True once after notices were queued.
  bool take_notified() { return std::exchange(notified_, false); }

 private:
  struct Inbound {
    std::unique_ptr<esp::InboundSa> sa;
    TunnelSlot tunnel = kNoTunnel;
    bool confirmed = false;
  };
  struct Outbound {
    std::unique_ptr<esp::OutboundSa> sa;
    PathIndex path = 0;
  };
  struct Tunnel {
    TunnelConfig config;
    Outbound* active = nullptr;
    SaKey active_key;
    std::uint64_t next_acquire_ms = 0;
  };
  struct Path {
    std::optional<EthernetHeader> header;
    bool used = false;
  };
  struct Neighbour {
    net::MacAddress mac;
    bool used = false;
  };
  /// What a packet of the burst belongs to, beside esp::Packet.
  struct Slot {
    FrameAddress frame = kBorrowed;
    TunnelSlot tunnel = kNoTunnel;
    Inbound* in = nullptr;
    Outbound* out = nullptr;
    std::uint32_t inner_bytes = 0;
  };
  enum class Source : std::uint8_t { kVnet, kTun };

  gw_next_hop& hop_to(const IpAddress& dst) const { return parts_.fib.next_hops[fib::lookup(parts_.fib, dst)]; }
  gw_drop find_sa(esp::Packet& p, PacketMeta& meta, Slot& s);
  bool park(const esp::Packet& p, const PacketMeta& meta);
  void deliver(esp::Packet& p, const Slot& s);
  bool is_spoofed(const IpAddress& src, const IpAddress& dst) const;
  bool forward_to_vnet(esp::Packet& p, const Slot& s);
  void write_to_tun(const esp::Packet& p, const Slot& s);
  gw_drop choose_tunnel(const esp::Packet& p, Slot& s);
  gw_drop prepare_outbound(esp::Packet& p, Slot& s, Source source);
  void encapsulate(std::span<esp::Packet> packets);
  void transmit(esp::Packet& p, const Slot& s);
  void flush_wan();
  void flush_vnet();
  void count_out(TunnelSlot tunnel, std::uint32_t inner_bytes);
  void count_in(TunnelSlot tunnel, std::uint32_t inner_bytes);
  void read_clock();
  void drop(gw_drop reason, const Slot& s);
  void drop(gw_drop reason, FrameAddress frame, DropCounters& counted);
  /// False: the queue to the control thread is full; counted.
  bool notify(Notice notice);
  void report_events(esp::SaCommon& sa, const SaKey& key, const esp::Endpoint& seen);
  void acquire(TunnelSlot slot, const esp::Packet& p);

  Parts parts_;
  esp::Codec codec_;
  std::vector<Tunnel> tunnels_;
  boost::unordered_flat_map<SaKey, std::unique_ptr<Inbound>> inbound_;
  boost::unordered_flat_map<SaKey, std::unique_ptr<Outbound>> outbound_;
  boost::unordered_flat_map<IpAddress, Neighbour> neighbours_;
  std::vector<Path> paths_;
  struct Parked {
    esp::Packet packet;
    PacketMeta meta;
  };
  Parking<SaKey, Parked> parking_;
  Burst from_tun_;
  std::array<Slot, kBurst> slots_;
  std::uint64_t now_ms_ = 0;
  bool notified_ = false;
};

}  // namespace gw::worker
