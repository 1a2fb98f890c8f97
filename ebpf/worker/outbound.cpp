// vnet port or tunnel device -> encapsulate -> wan.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/ip_headers.hpp"
#include "base/wire.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/esp/rewrite.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/limits.hpp"
#include "ebpf/worker/link_layer.hpp"

namespace gw::worker {
namespace {

constexpr std::chrono::seconds kAcquireInterval{1};  // fastpath.proto, Acquire

constexpr std::size_t kSpiBytes = 4;

/// An outer packet without DF. A gso port's headers are the kernel's.
bool may_be_cut(const esp::Packet& p) {
  constexpr std::uint8_t kDontFragmentBit = kDontFragment >> 8;
  const std::uint8_t* h = p.data();
  return h[0] >> 4 == 4 && (h[6] & kDontFragmentBit) == 0;
}

void prefetch_sa(const esp::OutboundSa* sa) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < sizeof *sa; at += kLine) __builtin_prefetch(reinterpret_cast<const char*>(sa) + at);
}

std::uint8_t outer_traffic_class(const esp::Packet& p) {
  const std::uint8_t* h = p.data();
  return h[0] >> 4 == 4 ? h[1] : static_cast<std::uint8_t>(h[0] << 4 | h[1] >> 4);
}

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

struct Addresses {
  IpAddress src;
  IpAddress dst;
};

Addresses addresses_of(const esp::Packet& p) {
  const std::uint8_t* h = p.data();
  if (family_of(p) == Family::kV4)
    return {IpAddress::from_v4(load_be<std::uint32_t>(h + 12)), IpAddress::from_v4(load_be<std::uint32_t>(h + 16))};
  return {IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + 8, 16)),
          IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + 24, 16))};
}

const std::uint8_t* destination_of(const esp::Packet& p) { return p.data() + (family_of(p) == Family::kV4 ? 16 : 24); }

/// Closes gaps. Onto itself it would not be a copy for nothing only: it waits for what has just been written piece by
/// piece.
void move_up(auto& items, std::size_t from, std::size_t to) {
  if (from != to) [[unlikely]]
    items[to] = items[from];
}

bool is_plain(const gw_next_hop& hop) { return hop.kind == GW_NEXT_HOP_VNET || hop.kind == GW_NEXT_HOP_CIRCUIT; }

bool is_broadcast(const IpAddress& a) { return a.is_v4() && a.v4() == 0xffffffff; }

/// What an unnumbered BGP session learns its peer's address from (RFC 4861 4.2): zebra sends it, the kernel does not.
bool is_router_advertisement(const esp::Packet& p) {
  static constexpr std::uint8_t kAllNodes[16] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  constexpr std::uint8_t kType = 134;
  const std::uint8_t* h = p.data();
  return p.length > 40 && h[0] >> 4 == 6 && h[6] == kProtocolIcmpV6 && h[7] == 255 && h[40] == kType &&
         std::memcmp(h + 24, kAllNodes, sizeof kAllNodes) == 0;
}

/// Router solicitations and multicast reports of the tunnel device itself: ICMPv6, after a hop-by-hop header or
/// not, to ff02::/16. There is no such link to keep up, and no healthy gateway should count them as drops.
bool is_upkeep_of_link(const esp::Packet& p) {
  constexpr std::uint8_t kHopByHop = 0;
  const std::uint8_t* h = p.data();
  return p.length >= 40 && h[0] >> 4 == 6 && (h[6] == kProtocolIcmpV6 || h[6] == kHopByHop) && h[24] == 0xff &&
         h[25] == 0x02 && !is_router_advertisement(p);
}

/// ESP of this SA's tunnel between this SA's endpoints, in UDP or not. IKE on the same ports has a zero marker
/// where the SPI is (RFC 3948 2.2).
bool is_output_of(const esp::OutboundSa& sa, const esp::Packet& p) {
  const auto header = sa.header();
  const std::uint8_t* h = p.data();
  const bool v4 = sa.outer_family() == Family::kV4;
  if (h[0] >> 4 != header[0] >> 4 || h[v4 ? 9 : 6] != header[v4 ? 9 : 6]) return false;
  const std::size_t addresses = v4 ? 12 : 8;
  const std::size_t transport = v4 ? 20 : 40;
  if (std::memcmp(h + addresses, &header[addresses], transport - addresses) != 0) return false;
  if (!sa.udp()) return true;
  constexpr std::size_t kPortsBytes = 4;
  constexpr std::size_t kMarkerAt = 8;
  if (p.length < transport + kMarkerAt + 4 || (v4 && h[0] != 0x45)) return false;
  return std::memcmp(h + transport, &header[transport], kPortsBytes) == 0 &&
         load_be<std::uint32_t>(h + transport + kMarkerAt) != 0;
}

}  // namespace

// As in from_wan(), the burst goes through these steps together.
void DataPath::from_clear(Burst& burst, gw_side side) {
  read_clock();
  const std::size_t sound = check_burst(burst, side);
  auto& packets = burst.packets;
  RouteBurst routes;
  for (std::size_t i = 0; i < sound; ++i)
    if (!burst.meta[i].same_flow) routes.add(i, destination_of(packets[i]), family_of(packets[i]));
  routes.find(parts_.fib);
  std::size_t n = 0;
  bool moved = false;
  Choice choice;
  gw_next_hop* hop = nullptr;
  for (std::size_t i = 0; i < sound; ++i) {
    esp::Packet& p = packets[i];
    Slot& s = slots_[i];
    if (!burst.meta[i].same_flow) {
      hop = &hop_of(routes, i);
      choice = choose_tunnel(p, *hop);
    }
    s.tunnel = choice.tunnel;
    if (choice.refused != GW_DROP_NONE) [[unlikely]] {
      if (is_plain(*hop)) {
        forward_moved(p, s, *hop, side);
        moved = true;
      } else {
        refuse(choice.refused, p, s);
      }
    } else if (const WorkerIndex owner = parts_.shared.owner(s.tunnel); owner != parts_.index) {
      hand_over(owner, p, burst.meta[i],
                {.tunnel = s.tunnel, .way = Handover::Way::kOutbound, .side = static_cast<std::uint8_t>(side)});
    } else {
      __builtin_prefetch(&tunnels_[s.tunnel]);
      move_up(packets, i, n);
      move_up(slots_, i, n++);
    }
  }
  send_to_tunnels(std::span(packets).first(n));
  flush_handovers();
  if (moved) [[unlikely]]
    flush_clear();
}

/// Moves packets whose headers are sound to the front, with their slots, at their IP headers; how many. XDP asked the
/// same a moment ago.
std::size_t DataPath::check_burst(Burst& burst, gw_side side) {
  std::size_t n = 0;
  std::size_t after_sound = 0;  // the packet behind the last sound one
  for (std::size_t i = 0; i < burst.count; ++i) {
    esp::Packet& p = burst.packets[i];
    PacketMeta& meta = burst.meta[i];
    const std::uint32_t start = p.offset;
    if (meta.layer == Layer::kEthernet && !skip_link_layer(p)) {
      drop(GW_DROP_TRUNCATED, {.frame = meta.frame}, p, meta);
      continue;
    }
    const auto inner = esp::check_inner(p.bytes());
    if (!inner) {
      drop(GW_DROP_MALFORMED_INNER, {.frame = meta.frame}, p);
      continue;
    }
    p.length = inner->total_length;
    // A gso port is told which packets lack one, and has seen to it.
    if (meta.layer == Layer::kEthernet) (void)esp::complete_checksum(p.bytes(), inner->family);
    // The packet before it is not there to take the lookup from.
    if (after_sound != i) meta.same_flow = false;
    after_sound = i + 1;
    slots_[n] = {.frame = meta.frame, .link_bytes = static_cast<std::uint8_t>(p.offset - start), .side = side};
    move_up(burst.packets, i, n);
    move_up(burst.meta, i, n++);
  }
  return n;
}

/// packets[i] belongs to slots_[i], whose tunnel is ours. As in from_wan(), memory is asked for the whole burst.
void DataPath::send_to_tunnels(std::span<esp::Packet> packets) {
  for (std::size_t i = 0; i < packets.size(); ++i) prefetch_sa(tunnels_[slots_[i].tunnel].active.sa);
  std::size_t n = 0;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    if (const gw_drop reason = prepare_outbound(packets[i], slots_[i], Source::kVnet); reason != GW_DROP_NONE) {
      // What is received for it yet was ours a moment ago.
      if (reason == GW_DROP_STANDBY && open_.may_receive(tunnels_[slots_[i].tunnel].active.gate))
        park_mover(packets[i], slots_[i]);
      else
        refuse(reason, packets[i], slots_[i]);
    } else {
      move_up(packets, i, n);
      move_up(slots_, i, n++);
    }
  }
  encapsulate(packets.first(n), slots_);
}

std::size_t DataPath::from_tun(TunnelSlot slot) {
  const int fd = tunnels_[slot].config.tun_fd;
  const FrameMemory& memory = parts_.frames.memory();
  read_clock();
  begin_timing();
  auto& packets = scratch_.packets;
  std::size_t n = 0;
  std::size_t read = 0;
  for (; fd >= 0 && read < kBurst; ++read) {
    FrameAddress frame = 0;
    if (!parts_.frames.take_for(tunnels_[slot].config.mtu, frame)) break;
    std::uint8_t* const base = memory.at(frame);
    const std::uint32_t capacity = memory.capacity(frame);
    const ssize_t length = ::read(fd, base + kHeadroom, capacity - kHeadroom - esp::kMaxTailroom);
    if (length <= 0) {
      parts_.frames.give(frame);
      break;
    }
    slots_[n] = {.frame = frame, .tunnel = slot};
    packets[n] = {
        .base = base, .capacity = capacity, .offset = kHeadroom, .length = static_cast<std::uint32_t>(length)};
    if (is_upkeep_of_link(packets[n])) {
      parts_.frames.give(frame);
      continue;
    }
    if (const gw_drop reason = prepare_from_tun(packets[n], slots_[n]); reason != GW_DROP_NONE) {
      refuse(reason, packets[n], slots_[n]);
    } else {
      parts_.tunnels[slot].slow_path.add();
      ++n;
    }
  }
  encapsulate(std::span(packets).first(n), slots_);
  end_timing(read);
  if (read > 0) parts_.counters.count_burst(read);
  return read;
}

/// By the next hop of its destination.
DataPath::Choice DataPath::choose_tunnel(const esp::Packet& p, gw_next_hop& hop) const {
  if (hop.kind != GW_NEXT_HOP_TUNNELS) return {.refused = GW_DROP_NO_ROUTE};
  const auto only = fib::only_tunnel(hop);
  const std::uint16_t slot = only ? *only : fib::bucket_of(hop, esp::flow_hash(p.bytes(), family_of(p)));
  if (slot >= tunnels_.size()) return {.refused = GW_DROP_NO_TUNNEL};
  return {.tunnel = slot};
}

/// What keeps the tunnel, which is ours, from sending it; nothing is changed.
gw_drop DataPath::judge_sending(const Tunnel& tunnel, const esp::Packet& p, Source source) const {
  if (!tunnel.active.sa) return GW_DROP_NO_OUTBOUND_SA;
  if (!open_.may_send(tunnel.active.gate)) [[unlikely]]
    return GW_DROP_STANDBY;
  return source == Source::kTun && is_output_of(*tunnel.active.sa, p) ? GW_DROP_RECURSION : GW_DROP_NONE;
}

/// Everything from the tunnel, which is ours, up to encryption.
gw_drop DataPath::prepare_outbound(esp::Packet& p, Slot& s, Source source) {
  Tunnel& tunnel = tunnels_[s.tunnel];
  if (const gw_drop reason = judge_sending(tunnel, p, source); reason != GW_DROP_NONE) [[unlikely]] {
    if (reason == GW_DROP_NO_OUTBOUND_SA) acquire(s.tunnel, p);
    return reason;
  }
  p.out = tunnel.active.sa;
  __builtin_prefetch(&p.out->record().next_sequence, 1);
  const Family family = family_of(p);
  (void)esp::clamp_mss(p.bytes(), family, tunnel.config.mss);
  // What comes out of the tunnel device was forwarded by the kernel, which has counted this hop.
  if (source == Source::kVnet && !esp::decrement_ttl(p.bytes(), family)) return GW_DROP_TTL;
  const bool too_big = p.length > inner_limit(tunnel.config, family);
  if (tunnel.policed && (!too_big || may_cut(p, s)))
    if (const gw_drop over = police_out(p, s.tunnel, source); over != GW_DROP_NONE) return over;
  return too_big ? GW_DROP_TOO_BIG : GW_DROP_NONE;
}

/// What the kernel routed into a tunnel's device.
gw_drop DataPath::prepare_from_tun(esp::Packet& p, Slot& s) {
  const auto inner = esp::check_inner(p.bytes());
  if (!inner) return GW_DROP_MALFORMED_INNER;
  p.length = inner->total_length;
  if (const IpAddress dst = addresses_of(p).dst; dst.is_multicast() || is_broadcast(dst))
    if (!is_router_advertisement(p)) return GW_DROP_NOT_FORWARDABLE;
  return prepare_outbound(p, s, Source::kTun);
}

void DataPath::encapsulate(std::span<esp::Packet> packets, std::span<Slot> slots) {
  if (packets.empty()) return;
  for (std::size_t i = 0; i < packets.size(); ++i) slots[i].inner_bytes = packets[i].length;
  if (tap_.wants(capture::Point::kInner)) [[unlikely]]
    tap_clear(packets, slots);
  const esp::BurstResult result = codec_.encapsulate(packets, now_ms_);
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const Slot& s = slots[i];
    if (result.events != 0)
      report(*packets[i].out, {.key = tunnels_[s.tunnel].active.key, .events = packets[i].out->take_events()});
    if (packets[i].drop != GW_DROP_NONE)
      refuse(packets[i].drop, packets[i], s);
    else
      transmit(packets[i], s);
  }
  flush_wan();
}

DataPath::WayToPeer DataPath::way_to_peer(TunnelSlot tunnel) const {
  const PathIndex path = tunnels_[tunnel].active.path;
  if (parts_.wan.framing() == Port::Framing::kEthernet) {
    const LinkHeader* const header = parts_.shared.paths.use(path);
    return {.lost = header && header->length == 0 ? GW_DROP_NO_ROUTE : GW_DROP_NONE, .header = header};
  }
  // Without a route the kernel would look for the peer on the link, and lose the packet without a word.
  const int ifindex = parts_.shared.paths.interface_of(path);
  return {.lost = ifindex == PathTable::kNoWay ? GW_DROP_NO_ROUTE : GW_DROP_NONE, .ifindex = ifindex};
}

/// Sends a finished outer packet: by the wan port; by the kernel if the port wants a next hop's MAC that is not known.
void DataPath::transmit(esp::Packet& p, const Slot& s) {
  const bool too_long = p.length > outer_mtu(s);
  const auto [lost, header, ifindex] = way_to_peer(s.tunnel);
  if (lost != GW_DROP_NONE) return drop(lost, s, p);
  if (parts_.wan.framing() == Port::Framing::kEthernet) {
    if (may_be_cut(p)) [[unlikely]]
      number_for_fragments(p);
    if (!header && !too_long) return transmit_by_kernel(p, s);
    if (header && p.offset < header->length) return drop(GW_DROP_NO_HEADROOM, s, p);
  }
  if (too_long) [[unlikely]]
    return transmit_in_fragments(p, s);
  const esp::OutboundSa& sa = *p.out;
  Outgoing& out = parts_.wan.queue_one();
  out = {.data = p.data(),
         .length = p.length,
         .frame = s.frame,
         .inner_bytes = s.inner_bytes,
         .tunnel = s.tunnel,
         .traffic_class = outer_traffic_class(p),
         .esp_offset = static_cast<std::uint16_t>(sa.header().size() - kSpiBytes),
         .ifindex = ifindex,
         .sa = &sa};
  if (header) write_link_header(out, *header, sa.outer_family());
}

/// At this moment, as flush_wan() asks it: what the kernel sends for us leaves at once.
bool DataPath::may_still_send(const Slot& s) const {
  return parts_.shared.gates.may_send(tunnels_[s.tunnel].active.gate, parts_.clock.now());
}

/// By which interface the kernel has to send what is for the tunnel's peer; 0: the wan port itself.
int DataPath::kernels_way(const Slot& s) const {
  return std::max(parts_.shared.paths.interface_of(tunnels_[s.tunnel].active.path), PathTable::kUnknown);
}

/// Where the next hop's MAC is not known: the kernel asks for it.
void DataPath::transmit_by_kernel(const esp::Packet& p, const Slot& s) {
  if (!may_still_send(s)) return drop(GW_DROP_STANDBY, s, p);
  switch (const gw_drop lost = parts_.raw.send(p.bytes(), {kernels_way(s)})) {
    case GW_DROP_NONE: break;
    case GW_DROP_UNREACHABLE: return drop(GW_DROP_NO_NEIGHBOUR, s, p);
    default: return drop(lost, s, p);
  }
  if (tap_.wants(capture::Point::kOuter)) [[unlikely]]
    tap_sent_by_kernel(p, s);
  count_out(s.tunnel, s.inner_bytes);
  parts_.frames.give(s.frame);
}

void DataPath::acquire(TunnelSlot slot, const esp::Packet& p) {
  if (now_ < tunnels_[slot].next_acquire) return;
  tunnels_[slot].next_acquire = now_ + kAcquireInterval;
  const Addresses a = addresses_of(p);
  notify(NoOutboundSa{slot, a.src, a.dst});
}

}  // namespace gw::worker
