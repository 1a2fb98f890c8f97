// wan -> decapsulate -> vnet port, circuit port, or another tunnel (across.cpp); or the tunnel's device for everything
// that wants the kernel: local addresses, unresolved neighbours, TTL 1, no route.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/wire.hpp"
#include "ebpf/esp/outer.hpp"
#include "ebpf/esp/rewrite.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/link_layer.hpp"
#include "ebpf/worker/martians.hpp"

namespace gw::worker {
namespace {

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

IpAddress inner_src(const esp::Packet& p) {
  if (p.data()[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(p.data() + 12));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(p.data() + 8, 16));
}

IpAddress inner_dst(const esp::Packet& p) {
  if (p.data()[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(p.data() + 16));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(p.data() + 24, 16));
}

SaKey key_of(const esp::InboundSa& sa) { return {sa.spi(), *IpAddress::from_bytes(sa.dst())}; }

// A peer whose packets come from two places in turn would have a notice, a log line and charon's work for each packet.
constexpr std::chrono::seconds kMappingInterval{1};

std::uint8_t ttl_of(const esp::Packet& p) { return p.data()[p.data()[0] >> 4 == 4 ? 8 : 7]; }

/// Multicast and broadcast that a site has no business to send into our networks. What is for this link (OSPF,
/// neighbour discovery, RFC 5771 4, RFC 4291 2.7) is the kernel's. None is routed into or out of tunnels.
bool is_multicast_for_others(const IpAddress& dst) {
  if (dst.is_v4()) {
    constexpr std::uint32_t kLocalNetworkControl = 0xe0000000 >> 8;  // 224.0.0.0/24
    return dst.v4() == 0xffffffff || (dst.is_multicast() && dst.v4() >> 8 != kLocalNetworkControl);
  }
  constexpr unsigned kLinkLocalScope = 2;
  return dst.is_multicast() && (dst.bytes()[1] & 0xfu) > kLinkLocalScope;
}

}  // namespace

/// Takes off what is in front of the ESP header; the SA's key is then in `meta`.
gw_drop DataPath::find_esp(esp::Packet& p, PacketMeta& meta) {
  if (meta.layer == Layer::kEsp) return GW_DROP_NONE;
  if (meta.layer == Layer::kEthernet && !skip_link_layer(p)) return GW_DROP_TRUNCATED;
  meta.layer = Layer::kIp;
  esp::OuterHeader outer;
  if (const gw_drop reason = esp::strip_outer(p, outer); reason != GW_DROP_NONE) return reason;
  const std::uint8_t* dst = outer.destination;
  meta.key.dst = outer.family == Family::kV4 ? IpAddress::from_v4(load_be<std::uint32_t>(dst))
                                             : IpAddress::from_v6(std::span<const std::uint8_t, 16>(dst, 16));
  meta.key.spi = outer.spi;
  meta.layer = Layer::kEsp;
  return GW_DROP_NONE;
}

/// Keeps the packet until its SA comes, a borrowed one in a frame. False: no place, or no SA will come: BPF lets
/// through what it cannot look into, fragments and all but the first of a train, whoever sent it.
bool DataPath::park(const esp::Packet& p, const PacketMeta& meta) {
  if (parts_.shared.reserved.find(meta.key) == nullptr) return false;
  Parked kept{p, meta};
  if (kept.meta.frame == kBorrowed && !to_frame(kept.packet, kept.meta.frame, meta.key.dst.family())) return false;
  if (parking_.park(meta.key, kept, now_)) return true;
  if (meta.frame == kBorrowed) parts_.frames.give(kept.meta.frame);
  return false;
}

// With many SAs every packet's SA is somewhere else in memory. The burst goes through these steps together, so that
// memory answers for all of its packets at once, not for one after the other.
void DataPath::from_wan(Burst& burst) {
  read_clock();
  full_bursts_ = burst.full() ? full_bursts_ + 1 : 0;
  Buckets buckets;
  const std::size_t parsed = parse_burst(burst, buckets);
  decapsulate(burst, assign_sas(burst, buckets, parsed));
  flush_handovers();
}

/// Moves packets that have an ESP header to the front; how many.
std::size_t DataPath::parse_burst(Burst& burst, Buckets& buckets) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < burst.count; ++i) {
    gw_drop reason = find_esp(burst.packets[i], burst.meta[i]);
    if (reason == GW_DROP_OUTER_FRAGMENT) [[unlikely]] {
      if (!rejoin(burst.packets[i], burst.meta[i])) continue;
      reason = find_esp(burst.packets[i], burst.meta[i]);
    }
    if (reason != GW_DROP_NONE) {
      drop(reason, {.frame = burst.meta[i].frame}, burst.packets[i], burst.meta[i]);
      continue;
    }
    burst.packets[n] = burst.packets[i];
    burst.meta[n] = burst.meta[i];
    buckets[n] = parts_.shared.inbound.bucket(burst.meta[n].key);
    parts_.shared.inbound.prefetch_bucket(buckets[n]);
    ++n;
  }
  for (std::size_t i = 0; i < n; ++i) parts_.shared.inbound.prefetch_node(buckets[i]);
  return n;
}

/// Moves packets whose SA is ours to the front, with their SA; how many. Unknown are an SA that just went and one
/// that is about to come.
std::size_t DataPath::assign_sas(Burst& burst, const Buckets& buckets, std::size_t count) {
  const bool pressed = is_pressed();
  const bool tapped = tap_.wants(capture::Point::kOuter);
  std::size_t n = 0;
  for (std::size_t i = 0; i < count; ++i) {
    esp::Packet& p = burst.packets[i];
    const PacketMeta& meta = burst.meta[i];
    Inbound* const in = parts_.shared.inbound.find_in(buckets[i], meta.key);
    if (!in) {
      if (park(p, meta)) continue;
      if (tapped) [[unlikely]]
        tap_arrived(p, meta, nullptr);
      drop(GW_DROP_UNKNOWN_SPI, {.frame = meta.frame}, p, meta);
      continue;
    }
    if (in->owner != parts_.index) {
      hand_over(in->owner, p, meta, {.key = meta.key, .tunnel = in->tunnel, .way = Handover::Way::kInbound});
      continue;
    }
    if (tapped) [[unlikely]]
      tap_arrived(p, meta, in);
    if (!open_.may_receive(in->gate)) [[unlikely]] {
      drop(GW_DROP_STANDBY, {.frame = meta.frame, .tunnel = in->tunnel, .in = in}, p, meta);
      continue;
    }
    if (pressed) [[unlikely]] {
      if (const gw_drop reason = police_early(p, in->tunnel); reason != GW_DROP_NONE) {
        drop(reason, {.frame = meta.frame, .tunnel = in->tunnel, .in = in}, p, meta);
        continue;
      }
    }
    p.in = in->sa.get();
    __builtin_prefetch(p.in);
    __builtin_prefetch(reinterpret_cast<const char*>(p.in) + 64);
    slots_[n] = {.frame = meta.frame, .tunnel = in->tunnel, .in = in};
    burst.packets[n++] = p;
  }
  for (std::size_t i = 0; i < n; ++i) {
    esp::RuntimeRecord& record = burst.packets[i].in->record();
    __builtin_prefetch(&record.next_sequence, 1);
    __builtin_prefetch(record.replay_bitmap, 1);
  }
  return n;
}

/// The first `count` packets of the burst, whose slots are filled.
void DataPath::decapsulate(Burst& burst, std::size_t count) {
  auto& packets = burst.packets;
  if (tap_.wants(capture::Point::kDrops)) [[unlikely]]
    keep_for_tap(std::span(packets).first(count));
  const esp::BurstResult result = codec_.decapsulate(std::span(packets).first(count), now_ms_);
  if (tap_.wants(capture::Point::kInner)) [[unlikely]]
    tap_decapsulated(std::span(packets).first(count));
  RouteBurst sources;
  RouteBurst destinations;
  for (std::size_t i = 0; i < count; ++i) {
    Inbound& in = *slots_[i].in;
    if (result.events != 0) report_inbound(in);
    // Whatever was in the packet: the peer has the key. A queue that is full gets it with a later packet.
    if (!in.confirmed && in.sa->has_received()) [[unlikely]]
      in.confirmed = notify(Confirmed{key_of(*in.sa)});
    if (packets[i].drop != GW_DROP_NONE) {
      drop_decapsulated(packets[i].drop, slots_[i], packets[i], i);
      continue;
    }
    const std::uint8_t* const header = packets[i].data();
    const Family family = family_of(packets[i]);
    sources.add(i, header + (family == Family::kV4 ? 12 : 8), family);
    destinations.add(i, header + (family == Family::kV4 ? 16 : 24), family);
  }
  sources.find(parts_.fib);
  destinations.find(parts_.fib);
  std::size_t across = 0;  // moved to the front
  for (std::size_t i = 0; i < count; ++i) {
    if (packets[i].drop != GW_DROP_NONE) continue;
    if (deliver(packets[i], slots_[i], {hop_of(sources, i), hop_of(destinations, i)}) == Delivered::kDone) continue;
    packets[across] = packets[i];
    slots_[across++] = slots_[i];
  }
  flush_clear();
  if (across > 0) send_across(std::span(packets).first(across));
}

/// That the peer has moved is told at once, but at most once a second: then the newest place.
void DataPath::report_inbound(Inbound& in) {
  std::uint8_t events = in.sa->take_events();
  if ((events & esp::kMapping) != 0) {
    if (now_ < in.next_mapping) {
      in.sa->not_told(esp::kMapping);
      events &= static_cast<std::uint8_t>(~esp::kMapping);
    } else {
      in.next_mapping = now_ + kMappingInterval;
    }
  }
  report(*in.sa, {key_of(*in.sa), events, in.sa->seen_source()});
}

DataPath::Delivered DataPath::deliver(esp::Packet& p, Slot& s, const Ends& ends) {
  const Tunnel& tunnel = tunnels_[s.tunnel];
  // Both directions of a TCP handshake cross the tunnel: the peer's SYN tells our hosts what to send.
  (void)esp::clamp_mss(p.bytes(), family_of(p), tunnel.config.mss);
  parts_.tunnels[s.tunnel].last_in_ms.set(now_ms_);
  gw_drop reason = check_inner_ends(p, ends);
  if (tunnel.policed && reason == GW_DROP_NONE) reason = police_in(p, s.tunnel, ends.destination);
  if (reason != GW_DROP_NONE) {
    drop(reason, s, p);
    return Delivered::kDone;
  }
  return forward(p, s, ends.destination);
}

/// Where it may come from and go to.
gw_drop DataPath::check_inner_ends(const esp::Packet& p, const Ends& ends) const {
  if (is_spoofed(inner_src(p), inner_dst(p), ends)) return GW_DROP_SPOOFED_SOURCE;
  if (is_multicast_for_others(inner_dst(p))) return GW_DROP_MULTICAST;
  // Ours, or another instance's: of the other instance's it would see a packet from the VNet.
  if (ends.destination.zone == GW_ZONE_CIRCUIT && !parts_.shared.circuit_transit.load(std::memory_order_relaxed))
    return GW_DROP_TRANSIT_CLOSED;
  return GW_DROP_NONE;
}

DataPath::Delivered DataPath::forward(esp::Packet& p, Slot& s, gw_next_hop& hop) {
  Forwarded done = Forwarded::kKernel;
  switch (hop.kind) {
    case GW_NEXT_HOP_TUNNELS: return forward_across(p, s, hop);
    case GW_NEXT_HOP_CIRCUIT: done = forward_to_circuit(p, s); break;
    default: done = forward_to_vnet(p, s, hop); break;
  }
  switch (done) {
    case Forwarded::kQueued: break;
    case Forwarded::kKernel: write_to_tun(p, s); break;
    case Forwarded::kBroadcast: drop(GW_DROP_MULTICAST, s, p); break;
    case Forwarded::kNoFrame: drop(GW_DROP_NO_FRAME, s, p); break;
  }
  return Delivered::kDone;
}

/// No site may speak for us or for the VNet, whatever the SA's selectors say (RFC 1812 5.3.8).
bool DataPath::is_spoofed(const IpAddress& src, const IpAddress& dst, const Ends& ends) {
  // Of the link: BGP between the tunnel's own ends (169.254/16, fe80::/10), neighbour discovery, multicast
  // reports (also from the unspecified address, RFC 4862 5.4.2). For us, never to be forwarded (RFC 3927 2.7).
  if (src.is_link_local() || (src.is_v6() && src.is_unspecified()))
    return !dst.is_multicast() && ends.destination.kind != GW_NEXT_HOP_LOCAL;
  if (is_nobodys(src)) return true;
  const bool of_vnet = ends.source.kind == GW_NEXT_HOP_VNET && ends.source.zone == GW_ZONE_VNET;
  return ends.source.kind == GW_NEXT_HOP_LOCAL || of_vnet;
}

/// The fast way, if the forwarding table says vnet; `neighbour` is set if the port wants its link header. Nothing is
/// changed.
DataPath::Forwarded DataPath::judge_for_vnet(const esp::Packet& p, gw_next_hop& hop, Neighbour*& neighbour) {
  const IpAddress dst = inner_dst(p);
  if (hop.kind != GW_NEXT_HOP_VNET || !is_forwardable(dst)) return Forwarded::kKernel;
  if (parts_.vnet.framing() == Port::Framing::kEthernet) {
    neighbour = next_hop_of(hop, p);
    if (!neighbour) return Forwarded::kKernel;
    // RFC 2644: a site does not address all hosts of the VNet at once.
    if (neighbour->header.length == 0) return Forwarded::kBroadcast;
    // The kernel answers with ICMP.
    const std::uint32_t mtu = std::min<std::uint32_t>(parts_.vnet.mtu(), neighbour->mtu);
    return p.length > mtu || ttl_of(p) <= 1 ? Forwarded::kKernel : Forwarded::kQueued;
  }
  // The kernel routes it, counts the hop and knows the MTU; errors are the tunnel device's business.
  if (ttl_of(p) <= 1) return Forwarded::kKernel;
  return is_vnet_broadcast(hop, dst) ? Forwarded::kBroadcast : Forwarded::kQueued;
}

/// Not queued: nothing was done.
DataPath::Forwarded DataPath::forward_to_vnet(esp::Packet& p, const Slot& s, gw_next_hop& hop) {
  Neighbour* neighbour = nullptr;
  if (const Forwarded way = judge_for_vnet(p, hop, neighbour); way != Forwarded::kQueued) return way;
  Outgoing out{.data = p.data(), .length = p.length, .frame = s.frame, .inner_bytes = p.length, .tunnel = s.tunnel};
  if (neighbour) {
    (void)esp::decrement_ttl(p.bytes(), family_of(p));
    if (p.offset < neighbour->header.length) [[unlikely]] {
      if (!make_room_in_front(p, out)) return Forwarded::kNoFrame;
    }
    write_link_header(out, neighbour->header, family_of(p));
    neighbour->used.set();
  }
  parts_.vnet.queue_one() = out;
  return Forwarded::kQueued;
}

DataPath::Forwarded DataPath::judge_for_circuit(const esp::Packet& p) const {
  return !parts_.circuit || !is_forwardable(inner_dst(p)) || ttl_of(p) <= 1 ? Forwarded::kKernel : Forwarded::kQueued;
}

/// The program on the circuit port's data TUN (xdp/decrypted_tc.bpf.c) counts the hop and finds the gateway.
DataPath::Forwarded DataPath::forward_to_circuit(esp::Packet& p, const Slot& s) {
  if (const Forwarded way = judge_for_circuit(p); way != Forwarded::kQueued) return way;
  parts_.circuit->queue_one() = {
      .data = p.data(), .length = p.length, .frame = s.frame, .inner_bytes = p.length, .tunnel = s.tunnel};
  return Forwarded::kQueued;
}

/// A packet that came by a socket begins where its ESP header was: too little for VLAN tags. False: no frame.
bool DataPath::make_room_in_front(esp::Packet& p, Outgoing& out) {
  FrameAddress roomy = 0;
  p.source = nullptr;  // has done its work
  if (!to_frame(p, roomy, Family::kV4)) return false;
  parts_.frames.give(std::exchange(out.frame, roomy));
  out.data = p.data();
  return true;
}

/// The kernel refuses them without a word. Packets for one host come together: it is asked about once.
bool DataPath::is_vnet_broadcast(const gw_next_hop& hop, const IpAddress& dst) {
  if (dst.is_v6() || hop.gateway_family != 0) return false;
  if (dst != checked_dst_) {
    checked_dst_ = dst;
    const Neighbour* const neighbour = parts_.shared.neighbours.find(dst);
    checked_is_broadcast_ = neighbour && neighbour->header.length == 0;
  }
  return checked_is_broadcast_;
}

Neighbour* DataPath::next_hop_of(gw_next_hop& hop, const esp::Packet& p) const {
  const bool several = hop.gateway_family != 0 && hop.only == 0;
  const std::uint32_t hash = several ? esp::flow_hash(p.bytes(), family_of(p)) : 0;
  return parts_.shared.neighbours.find(fib::gateway_of(hop, inner_dst(p), hash));
}

void DataPath::write_to_tun(const esp::Packet& p, const Slot& s) {
  const int fd = tunnels_[s.tunnel].config.tun_fd;
  if (fd < 0) return drop(GW_DROP_NO_TUNNEL, s, p);
  // tun_chr_write_iter(): EIO if the device is down.
  if (::write(fd, p.data(), p.length) < 0) return drop(errno == EIO ? GW_DROP_TUN_DOWN : GW_DROP_TUN_FULL, s, p);
  count_in(s.tunnel, p.length);
  parts_.tunnels[s.tunnel].slow_path.add();
  parts_.tunnels[s.tunnel].slow_path_in.add();
  parts_.frames.give(s.frame);
}

}  // namespace gw::worker
