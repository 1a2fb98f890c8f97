// The packet path of one worker: what happens to a burst between two ports, of whatever kind. wan -> decapsulate
// -> vnet port, circuit port, another tunnel, or tunnel device; vnet or circuit port or tunnel device -> encapsulate
// -> wan. Works for the tunnels that this worker owns; packets of others' tunnels are handed over. Every packet ends in
// a port, a device, the kernel, another worker or a drop counter. Worker thread; the control thread changes it through
// Worker::call().
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/memory_use.hpp"
#include "base/spsc_queue.hpp"
#include "ebpf/abi/xdp.h"
#include "ebpf/capture/tap.hpp"
#include "ebpf/esp/codec.hpp"
#include "ebpf/fib/view.hpp"
#include "ebpf/ip/reassembly.hpp"
#include "ebpf/ip/token_bucket.hpp"
#include "ebpf/net/netlink.hpp"
#include "ebpf/net/raw_sender.hpp"
#include "ebpf/worker/counters.hpp"
#include "ebpf/worker/gateway_rate.hpp"
#include "ebpf/worker/handover.hpp"
#include "ebpf/worker/parking.hpp"
#include "ebpf/worker/policing.hpp"
#include "ebpf/worker/port.hpp"
#include "ebpf/worker/route_burst.hpp"
#include "ebpf/worker/shared.hpp"
#include "ebpf/worker/trace.hpp"

namespace gw::worker {

/// IPv4 packets without DF that are too big for the tunnel.
enum class InnerFragmentation : std::uint8_t {
  kRefuse,  // as with DF: the sender is told
  kCut,     // before encryption (RFC 4301 8.2, D.1)
};

struct TunnelConfig {
  std::uint32_t id = 0;
  int tun_fd = -1;             // the control thread's; -1: not configured, packets are dropped
  std::uint16_t mtu = 0;       // of inner packets: what is configured, or what the path has room for
  std::uint16_t path_mtu = 0;  // of outer packets; 0: that of the port
  std::uint16_t mss = 0;       // 0: no clamping
  InnerFragmentation fragmentation = InnerFragmentation::kRefuse;
};

/// What a tunnel sends with. The SA is the control thread's; it goes only after deactivate().
struct ActiveSa {
  esp::OutboundSa* sa = nullptr;
  SaKey key;
  PathIndex path = 0;
  GateIndex gate = kNoGate;  // of the address it sends from
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

/// ESP in UDP that the kernel put together from fragments (rejoin.cpp says why).
struct RejoinedEsp {
  SaKey key;
  IpAddress source;
  std::uint16_t source_port = 0;
  std::uint8_t traffic_class = 0;
  std::span<const std::uint8_t> bytes;  // from the SPI on
};

class DataPath {
 public:
  struct Parts {
    WorkerIndex index = 0;
    Shared& shared;
    Exchange& exchange;
    FramePool& frames;
    Port& wan;
    Port& vnet;
    net::RawSender& raw;
    esp::CryptoBackend& crypto;
    const Clock& clock;
    fib::Memory fib;
    SpscQueue<Notice>& notices;
    std::span<TunnelCounters> tunnels;  // by slot; written by the owner
    WorkerCounters& counters;
    Port* circuit = nullptr;  // null: none
  };
  explicit DataPath(const Parts& parts);

  // --- changes (control thread, through Worker::call; of tunnels that this worker owns) ---
  WorkerIndex index() const { return parts_.index; }
  esp::CryptoBackend& crypto() { return parts_.crypto; }
  void set_tunnel(TunnelSlot slot, const TunnelConfig& config) { tunnels_[slot].config = config; }
  /// In place of those before; packets below both rates lose nothing.
  void set_rates(TunnelSlot slot, const Rates& rates);
  /// What each tunnel has of the gateway's rate for itself; none: the gateway has no rate.
  void set_share(const Rates& share);
  const TunnelConfig& tunnel(TunnelSlot slot) const { return tunnels_[slot].config; }
  void activate(TunnelSlot slot, const ActiveSa& active) { tunnels_[slot].active = active; }
  const ActiveSa& active(TunnelSlot slot) const { return tunnels_[slot].active; }
  /// The tunnel sends no more with this SA, if it did: no packet uses it when this returns.
  void deactivate(TunnelSlot slot, const esp::OutboundSa& sa);
  void set_links(const net::Link& wan, const net::Link& vnet);
  /// Packets that were parked for the SA are delivered.
  void release_parked(const SaKey& key);
  capture::Tap& tap() { return tap_; }

  // --- packets (worker thread) ---
  /// A burst of a port, counted. Of one in kLatencySample it is counted how long its packets take until they are with
  /// the kernel or have ended; of those that are handed over, by the worker that gets them. What waits for something
  /// counts as done.
  void work_off(Burst& burst, void (DataPath::*handle)(Burst&));
  /// For one more look at the clock. A prime: bursts come from ports in turn.
  static constexpr std::uint64_t kLatencySample = 17;
  /// The burst is worked off in place.
  void from_wan(Burst& burst);
  void from_vnet(Burst& burst) { from_clear(burst, GW_SIDE_VNET); }
  void from_circuit(Burst& burst) { from_clear(burst, GW_SIDE_CIRCUIT); }
  /// ESP in UDP that came in fragments; its SA is ours, or was a moment ago.
  void from_kernel(const RejoinedEsp& packet);
  /// Reads up to a burst from the tunnel's device, counted; the number read.
  std::size_t from_tun(TunnelSlot slot);
  /// Works off up to a burst from each other worker; how many packets.
  std::size_t from_peers();
  /// Packets of other workers wait at this moment.
  bool has_peers_packets() const;
  /// Packets of tunnels whose endpoint was handed over: by the way that there is now, if there is one.
  void send_waiting();
  bool has_movers() const { return !movers_.empty(); }
  /// Drops what was parked for an SA that did not come or an endpoint that is still nobody's, and fragments of packets
  /// that stayed incomplete. Cheap to call every round: it looks at all that waits only when kLookForLate has gone by.
  void expire_waiting();
  /// All of that at once: its packets are dropped.
  void forget_waiting();
  static constexpr std::chrono::milliseconds kLookForLate{100};
  // --- what would happen (worker thread; trace.cpp) ---
  /// The tunnel that a packet of a clear port goes into, any worker's; kNoTunnel: its route is none.
  TunnelSlot trace_choice(const esp::Packet& p) const;
  /// Into a tunnel of ours. The packet is written to, nothing else changes; nothing is sent, counted or told.
  SendingTrace trace_sending(esp::Packet p, TunnelSlot tunnel);
  /// Decrypted with this SA of ours.
  ReceivingTrace trace_received(esp::Packet p, const Inbound& in);

  bool has_waiting() const { return !parking_.empty() || !movers_.empty() || !reassembler_.empty(); }
  std::size_t waiting_packets() const { return parking_.size() + movers_.size(); }
  /// Packets whose fragments are not all there.
  MemoryUse fragmented() const {
    return MemoryUse::reserved("packets in fragments", reassembler_.bytes_of_one(), reassembler_.datagrams(),
                               reassembler_.capacity());
  }
  /// True once after notices were queued.
  bool take_notified() { return std::exchange(notified_, false); }

 private:
  struct alignas(64) Tunnel {
    TunnelConfig config;
    ActiveSa active;
    MonoTime next_acquire{};
    bool policed = false;  // its rate or the gateway's is limited
  };
  /// What a packet of the burst belongs to, beside esp::Packet.
  struct Slot {
    FrameAddress frame = kBorrowed;
    TunnelSlot tunnel = kNoTunnel;
    std::uint8_t link_bytes = 0;  // of the link header that is still in front of it; 0: none
    gw_side side = GW_SIDE_VNET;  // outbound: where it came from
    Inbound* in = nullptr;
    std::uint32_t inner_bytes = 0;
  };
  enum class Source : std::uint8_t { kVnet, kTun };
  /// What a burst holds besides its packets while SAs are looked up.
  using Buckets = std::array<std::size_t, kBurst>;

  gw_next_hop& hop_of(const RouteBurst& routes, std::size_t packet) const {
    return parts_.fib.next_hops[routes.hop(packet)];
  }
  static gw_drop find_esp(esp::Packet& p, PacketMeta& meta);
  std::size_t parse_burst(Burst& burst, Buckets& buckets);
  std::size_t assign_sas(Burst& burst, const Buckets& buckets, std::size_t count);
  void decapsulate(Burst& burst, std::size_t count);
  bool park(const esp::Packet& p, const PacketMeta& meta);
  void park_mover(const esp::Packet& p, const Slot& s);
  void send_waiting(gw_side side);
  bool has_way(TunnelSlot tunnel, const esp::Packet& p) const;
  bool rejoin(esp::Packet& p, PacketMeta& meta);
  void count_fragment_drops();
  /// What the forwarding table says of a packet's two ends.
  struct Ends {
    const gw_next_hop& source;
    gw_next_hop& destination;
  };
  enum class Delivered : std::uint8_t {
    kDone,
    kAcross,  // still to be sent through another tunnel: `p` and `s` are ready for it
  };
  Delivered deliver(esp::Packet& p, Slot& s, const Ends& ends);
  Delivered forward(esp::Packet& p, Slot& s, gw_next_hop& hop);
  gw_drop check_inner_ends(const esp::Packet& p, const Ends& ends) const;
  static bool is_spoofed(const IpAddress& src, const IpAddress& dst, const Ends& ends);
  enum class Forwarded : std::uint8_t {
    kQueued,
    kKernel,     // the kernel has to see to it
    kBroadcast,  // for all hosts of a network of ours
    kNoFrame,    // it needs room in front, and there is none
  };
  Forwarded judge_for_vnet(const esp::Packet& p, gw_next_hop& hop, Neighbour*& neighbour);
  Forwarded judge_for_circuit(const esp::Packet& p) const;
  Forwarded forward_to_vnet(esp::Packet& p, const Slot& s, gw_next_hop& hop);
  Forwarded forward_to_circuit(esp::Packet& p, const Slot& s);
  Delivered forward_across(esp::Packet& p, Slot& s, gw_next_hop& hop);
  void send_across(std::span<esp::Packet> packets);
  bool make_room_in_front(esp::Packet& p, Outgoing& out);
  Neighbour* next_hop_of(gw_next_hop& hop, const esp::Packet& p) const;
  bool is_vnet_broadcast(const gw_next_hop& hop, const IpAddress& dst);
  void write_to_tun(const esp::Packet& p, const Slot& s);
  void from_clear(Burst& burst, gw_side side);
  std::size_t check_burst(Burst& burst, gw_side side);
  struct Choice {
    gw_drop refused = GW_DROP_NONE;
    TunnelSlot tunnel = kNoTunnel;
  };
  Choice choose_tunnel(const esp::Packet& p, gw_next_hop& hop) const;
  Choice judge_across(const esp::Packet& p, TunnelSlot from, gw_next_hop& hop) const;
  void forward_moved(esp::Packet& p, const Slot& s, gw_next_hop& hop, gw_side side);
  gw_drop check_moved(const esp::Packet& p, const Slot& s, gw_next_hop& hop, gw_side side) const;
  gw_drop judge_sending(const Tunnel& tunnel, const esp::Packet& p, Source source) const;
  gw_drop prepare_outbound(esp::Packet& p, Slot& s, Source source);
  gw_drop prepare_from_tun(esp::Packet& p, Slot& s);
  struct GatewayMeter {
    GatewayRate& rate;
    GatewayPurse purse;
  };
  struct Judged {
    gw_drop refused = GW_DROP_NONE;
    bool in_share = false;
  };
  Judged judge_rate(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes);
  static bool is_our_routing(const esp::Packet& p, const gw_next_hop& destination);
  gw_drop meter(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes);
  void charge(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes);
  bool is_pressed() const;
  gw_drop police_early(const esp::Packet& p, TunnelSlot slot);
  gw_drop police_in(const esp::Packet& p, TunnelSlot slot, const gw_next_hop& destination);
  gw_drop police_out(const esp::Packet& p, TunnelSlot slot, Source source);
  void send_to_tunnels(std::span<esp::Packet> packets);
  bool is_ours(TunnelSlot tunnel) const { return parts_.shared.owner(tunnel) == parts_.index; }
  void hand_over(WorkerIndex to, esp::Packet& p, const PacketMeta& meta, const Handover& rest);
  bool to_frame(esp::Packet& p, FrameAddress& frame, Family family);
  void flush_handovers();
  void drop_handover(const Handover& lost, gw_drop reason, const esp::Packet& p);
  esp::Packet packet_of(const Handover& h) const;
  void take_over(std::span<const Handover> items);
  /// packets[i] belongs to slots[i].
  void encapsulate(std::span<esp::Packet> packets, std::span<Slot> slots);
  struct WayToPeer {
    gw_drop lost = GW_DROP_NONE;
    const LinkHeader* header = nullptr;  // null: the port wants none, or the kernel sends
    int ifindex = 0;
  };
  WayToPeer way_to_peer(TunnelSlot tunnel) const;
  void transmit(esp::Packet& p, const Slot& s);
  bool may_still_send(const Slot& s) const;
  int kernels_way(const Slot& s) const;
  void transmit_by_kernel(const esp::Packet& p, const Slot& s);
  std::uint32_t outer_mtu(const Slot& s) const;
  void refuse(gw_drop reason, const esp::Packet& p, const Slot& s);
  void tell_sender(gw_drop reason, const esp::Packet& p, const Slot& s);
  bool may_cut(const esp::Packet& p, const Slot& s) const;
  void cut_and_encapsulate(const esp::Packet& p, const Slot& s);
  void number_for_fragments(esp::Packet& p);
  void transmit_in_fragments(esp::Packet& p, const Slot& s);
  void flush_wan();
  void drop_gated();
  void flush_clear();
  void flush_clear(Port& port);
  void count_out(TunnelSlot tunnel, std::uint32_t inner_bytes);
  void count_in(TunnelSlot tunnel, std::uint32_t inner_bytes);
  void read_clock();
  /// `p` begins at an IP header.
  void drop(gw_drop reason, const Slot& s, const esp::Packet& p);
  /// On its way in, from wherever `meta` says on.
  void drop(gw_drop reason, const Slot& s, const esp::Packet& p, const PacketMeta& meta);
  /// Number `i` of a burst that the codec has worked on.
  void drop_decapsulated(gw_drop reason, const Slot& s, const esp::Packet& p, std::size_t i);
  /// What was queued at `port`.
  void drop(const Port& port, const Outgoing& out, gw_drop reason, DropCounters& counted);
  void count_drop(gw_drop reason, const Slot& s);
  void count_drop(gw_drop reason, FrameAddress frame, DropCounters& counted);

  // taps.cpp: only while a capture wants them
  std::uint32_t tunnel_id(TunnelSlot slot) const;
  capture::Mark mark(capture::Point point, const Slot& s) const;
  void tap_arrived(const esp::Packet& p, const PacketMeta& meta, const Inbound* in);
  void tap_decapsulated(std::span<const esp::Packet> packets);
  void tap_clear(std::span<const esp::Packet> packets, std::span<const Slot> slots);
  void tap_sent(std::span<const Outgoing> packets);
  void tap_sent_by_kernel(const esp::Packet& p, const Slot& s);
  void tap_drop(gw_drop reason, const Slot& s, const esp::Packet& p, const PacketMeta& meta);
  void tap_drop_decapsulated(gw_drop reason, const Slot& s, const esp::Packet& p, std::size_t i);
  void tap_drop(const Port& port, const Outgoing& out, gw_drop reason);
  void keep_for_tap(std::span<const esp::Packet> packets);
  void begin_timing();
  void end_timing(std::size_t packets);
  /// False: the queue to the control thread is full; counted.
  bool notify(Notice notice);
  void expire_waiting(MonoTime now);
  void report(esp::SaCommon& sa, const SaNotice& notice);
  void report_inbound(Inbound& in);
  void acquire(TunnelSlot slot, const esp::Packet& p);

  Parts parts_;
  esp::Codec codec_;
  std::vector<Tunnel> tunnels_;
  std::vector<TunnelMeters> meters_;  // by slot
  Rates share_;
  GatewayMeter gateway_in_;
  GatewayMeter gateway_out_;
  unsigned full_bursts_ = 0;  // from wan, in a row
  struct Parked {
    esp::Packet packet;
    PacketMeta meta;
    gw_side side = GW_SIDE_VNET;  // movers
  };
  using ForSpis = Parking<SaKey, Parked>;
  using ForEndpoints = Parking<TunnelSlot, Parked, kForEndpoints>;
  ForSpis parking_;
  ForEndpoints movers_;
  ip::Reassembler reassembler_;
  ip::ErrorLimiter icmp_limit_;
  Burst scratch_;                                 // from tunnel devices and other workers
  std::vector<std::vector<Handover>> handovers_;  // by worker: of this burst
  std::array<Slot, kBurst> slots_;
  IpAddress checked_dst_;  // in this burst, by is_vnet_broadcast()
  bool checked_is_broadcast_ = false;
  MonoTime looked_for_late_{};
  MonoTime now_{};            // for intervals
  OpenGates open_;            // at that time
  std::uint64_t now_ms_ = 0;  // since 1970, for people
  WallTime wall_{};           // of the burst, for captures
  capture::Tap tap_;
  bool notified_ = false;
  bool timed_ = false;
  std::size_t timed_elsewhere_ = 0;  // packets of the burst that is timed, with another worker now

 public:
  // What a worker has for each, at most.
  static constexpr std::size_t kBytesOfTunnel = sizeof(Tunnel) + sizeof(TunnelMeters);
  static constexpr std::size_t kWaitingPlaces = ForSpis::kPlaces + ForEndpoints::kPlaces;
  static constexpr std::size_t kBytesOfWaiting = std::max(ForSpis::kBytesOfOne, ForEndpoints::kBytesOfOne);
};

}  // namespace gw::worker
