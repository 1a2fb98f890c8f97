// Rate limits (ADR 22): packets over the rate of their tunnel or of the gateway are dropped, at once and counted for
// their tunnel. Nothing is queued: a queue would make packets late that a drop tells TCP about, and would stand in the
// way of BGP and BFD, which no limit drops. A tunnel that sends ten times its rate is not decrypted in vain: while
// the CPU is the bottleneck, its excess goes before decryption, for the price of a lookup.
#include "ebpf/worker/control_traffic.hpp"
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {
namespace {

/// Bursts that filled up in a row: the worker does not keep up. One train of a gso port fills one or two.
constexpr unsigned kPressed = 16;

/// DSCP CS6, CS7: network control (RFC 4594 3.1). Routers mark BGP and BFD so, and copy it to the outer header
/// (RFC 4301 5.1.2).
bool is_network_control(const esp::Packet& p) { return p.traffic_class >= 48u << 2; }

/// BFD and BGP's keepalives with all that goes around them, where the peer does not copy the mark.
constexpr std::uint32_t kSmall = 256;

/// 10 Mbit/s: a full BGP table in half a minute; nothing for a worker.
constexpr ip::ByteRate kExpress{1'250'000, 65536};

IpAddress address_at(const esp::Packet& p, std::size_t v4, std::size_t v6) {
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(h + v4));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + v6, 16));
}

bool is_of_link(const IpAddress& a) { return a.is_link_local() || a.is_multicast(); }

}  // namespace

void DataPath::set_rates(TunnelSlot slot, const Rates& rates) {
  const MonoTime now = parts_.clock.now();
  TunnelMeters& meters = meters_[slot];
  meters.in.own.set(rates.in, now);
  meters.out.own.set(rates.out, now);
  meters.marked.set(kExpress, now);
  meters.small.set(kExpress, now);
  tunnels_[slot].policed = rates.any() || share_.any();
}

void DataPath::set_share(const Rates& share) {
  const MonoTime now = parts_.clock.now();
  share_ = share;
  for (std::size_t slot = 0; slot < tunnels_.size(); ++slot) {
    TunnelMeters& meters = meters_[slot];
    meters.in.share.set(share.in, now);
    meters.out.share.set(share.out, now);
    meters.marked.set(kExpress, now);
    meters.small.set(kExpress, now);
    tunnels_[slot].policed = meters.in.own.limits() || meters.out.own.limits() || share.any();
  }
}

/// Whether there are so many bytes; none are taken.
DataPath::Judged DataPath::judge_rate(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes) {
  if (!tunnel.own.has(bytes, now_)) return {.refused = GW_DROP_RATE_TUNNEL};
  if (tunnel.share.has(bytes, now_)) return {.in_share = true};
  return {.refused = gateway.purse.has(gateway.rate, bytes, now_) ? GW_DROP_NONE : GW_DROP_RATE_GATEWAY};
}

/// Takes the packet's bytes if there are so many.
gw_drop DataPath::meter(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes) {
  const Judged judged = judge_rate(tunnel, gateway, bytes);
  if (judged.refused != GW_DROP_NONE) return judged.refused;
  tunnel.own.charge(bytes);
  if (judged.in_share) tunnel.share.charge(bytes);
  gateway.purse.pay(gateway.rate, bytes, now_);
  return GW_DROP_NONE;
}

/// Takes them in any case.
void DataPath::charge(Meter& tunnel, GatewayMeter& gateway, std::uint32_t bytes) {
  (void)tunnel.own.has(0, now_);  // brings it up to now
  tunnel.own.charge(bytes);
  tunnel.share.charge(bytes);
  gateway.purse.pay(gateway.rate, bytes, now_);
}

/// Before decryption. Nothing is taken: what is in the packet, and from whom it is, is not known yet.
gw_drop DataPath::police_early(const esp::Packet& p, TunnelSlot slot) {
  if (!tunnels_[slot].policed) return GW_DROP_NONE;
  TunnelMeters& meters = meters_[slot];
  const gw_drop reason = judge_rate(meters.in, gateway_in_, p.length).refused;
  if (reason == GW_DROP_NONE) return GW_DROP_NONE;
  if (is_network_control(p) && meters.marked.take(p.length, now_)) return GW_DROP_NONE;
  if (p.length <= kSmall && meters.small.take(p.length, now_)) return GW_DROP_NONE;
  return reason;
}

bool DataPath::is_pressed() const { return full_bursts_ >= kPressed; }

bool DataPath::is_our_routing(const esp::Packet& p, const gw_next_hop& destination) {
  const bool for_us = destination.kind == GW_NEXT_HOP_LOCAL || is_of_link(address_at(p, 16, 24));
  return for_us && is_routing_protocol(p.bytes());
}

/// An authentic packet out of a tunnel.
gw_drop DataPath::police_in(const esp::Packet& p, TunnelSlot slot, const gw_next_hop& destination) {
  Meter& tunnel = meters_[slot].in;
  if (!is_our_routing(p, destination)) return meter(tunnel, gateway_in_, p.length);
  charge(tunnel, gateway_in_, p.length);
  return GW_DROP_NONE;
}

/// A packet on its way into a tunnel.
gw_drop DataPath::police_out(const esp::Packet& p, TunnelSlot slot, Source source) {
  Meter& tunnel = meters_[slot].out;
  if (source == Source::kVnet || !is_routing_protocol(p.bytes())) return meter(tunnel, gateway_out_, p.length);
  const IpAddress src = address_at(p, 12, 8);
  const bool from_us = is_of_link(src) || parts_.fib.next_hops[fib::lookup(parts_.fib, src)].kind == GW_NEXT_HOP_LOCAL;
  if (!from_us) return meter(tunnel, gateway_out_, p.length);
  charge(tunnel, gateway_out_, p.length);
  return GW_DROP_NONE;
}

}  // namespace gw::worker
