// What would become of a packet: the decisions that packets meet, in their order, on one that does not exist. The rules
// are those of the packet path itself (judge_...); what they would do (count, queue, encrypt, tell a sender) is left
// out. tests/system/test_trace.py holds the outcome beside that of real packets.
#include "base/wire.hpp"
#include "ebpf/esp/judge.hpp"
#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/rewrite.hpp"
#include "ebpf/ip/fragment.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/limits.hpp"

namespace gw::worker {
namespace {

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

IpAddress address_at(const esp::Packet& p, std::size_t v4, std::size_t v6) {
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(h + v4));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + v6, 16));
}

gw_drop drop_of(esp::ReserveFault fault) {
  switch (fault) {
    case esp::ReserveFault::kNone: break;
    case esp::ReserveFault::kSequence: return GW_DROP_SEQ_EXHAUSTED;
    case esp::ReserveFault::kIv: return GW_DROP_IV_EXHAUSTED;
  }
  return GW_DROP_NONE;
}

/// Into how many pieces a packet is cut, and how long the largest is; 0: it cannot be.
struct Pieces {
  std::uint32_t count = 0;
  std::uint32_t largest = 0;
};
Pieces cut(std::span<const std::uint8_t> packet, std::uint32_t mtu) {
  Pieces pieces;
  auto fragmenter = ip::FragmenterV4::make(packet, mtu);
  if (!fragmenter) return pieces;
  std::array<std::uint8_t, kLargeFrameBytes> piece;
  for (std::uint32_t n = fragmenter->next({piece.data(), mtu}); n != 0; n = fragmenter->next({piece.data(), mtu})) {
    ++pieces.count;
    pieces.largest = std::max(pieces.largest, n);
  }
  return pieces;
}

}  // namespace

TunnelSlot DataPath::trace_choice(const esp::Packet& p) const {
  gw_next_hop& hop = parts_.fib.next_hops[fib::lookup(parts_.fib, address_at(p, 16, 24))];
  return choose_tunnel(p, hop).tunnel;
}

SendingTrace DataPath::trace_sending(esp::Packet p, TunnelSlot slot) {
  using Step = SendingTrace::Step;
  read_clock();
  SendingTrace out;
  const auto refuse = [&out](Step step, gw_drop reason) {
    out.step = step;
    out.refused = reason;
    return out;
  };
  const Tunnel& tunnel = tunnels_[slot];
  const Slot s{.tunnel = slot};
  if (tunnel.active.sa) out.spi = tunnel.active.key.spi;
  if (const gw_drop reason = judge_sending(tunnel, p, Source::kVnet); reason != GW_DROP_NONE)
    return refuse(reason == GW_DROP_STANDBY ? Step::kGate : Step::kSa, reason);
  p.out = tunnel.active.sa;
  const esp::OutboundSa& sa = *p.out;
  if (!esp::decrement_ttl(p.bytes(), family_of(p))) return refuse(Step::kTtl, GW_DROP_TTL);
  out.inner_limit = inner_limit(tunnel.config, family_of(p));
  const bool too_big = p.length > out.inner_limit;
  out.limited = tunnel.policed;
  if (tunnel.policed && (!too_big || may_cut(p, s)))
    if (const auto judged = judge_rate(meters_[slot].out, gateway_out_, p.length); judged.refused != GW_DROP_NONE)
      return refuse(Step::kRate, judged.refused);
  std::uint32_t bytes = p.length;
  if (too_big) {
    const Pieces pieces = may_cut(p, s) ? cut(p.bytes(), out.inner_limit) : Pieces{};
    if (pieces.count == 0) return refuse(Step::kSize, GW_DROP_TOO_BIG);
    out.pieces = pieces.count;
    bytes = pieces.largest;
  }
  esp::InnerHeader inner{};
  if (const gw_drop reason = esp::judge_encap(sa, p.bytes(), inner); reason != GW_DROP_NONE)
    return refuse(reason == GW_DROP_TS_MISMATCH ? Step::kSelectors : Step::kSa, reason);
  out.outer_bytes = esp::layout_of(sa, bytes).total;
  out.outer_mtu = outer_mtu(s);
  out.sequence = esp::load_field(sa.record().next_sequence);
  const auto fault = esp::fault_of(out.sequence, esp::load_field(sa.record().next_counter), sa.last_sequence());
  if (const gw_drop reason = drop_of(fault); reason != GW_DROP_NONE) return refuse(Step::kNumbers, reason);
  const WayToPeer way = way_to_peer(slot);
  if (way.lost != GW_DROP_NONE) return refuse(Step::kWay, way.lost);
  out.by_kernel = parts_.wan.framing() == Port::Framing::kEthernet && !way.header;
  if (way.header) out.link = *way.header;
  out.ifindex = way.ifindex;
  return out;
}

ReceivingTrace DataPath::trace_received(esp::Packet p, const Inbound& in) {
  using Step = ReceivingTrace::Step;
  using End = ReceivingTrace::End;
  read_clock();
  ReceivingTrace out;
  const auto refuse = [&out](Step step, gw_drop reason) {
    out.step = step;
    out.refused = reason;
    return out;
  };
  const Tunnel& tunnel = tunnels_[in.tunnel];
  if (!open_.may_receive(in.gate)) return refuse(Step::kGate, GW_DROP_STANDBY);
  if (in.sa->hard_expired()) return refuse(Step::kSa, GW_DROP_HARD_EXPIRED);
  if (!in.sa->selectors().matches(p.bytes(), family_of(p), esp::SelectorSet::Way::kRemoteToLocal))
    return refuse(Step::kSelectors, GW_DROP_TS_MISMATCH);
  gw_next_hop& hop = parts_.fib.next_hops[fib::lookup(parts_.fib, address_at(p, 16, 24))];
  const Ends ends{parts_.fib.next_hops[fib::lookup(parts_.fib, address_at(p, 12, 8))], hop};
  if (const gw_drop reason = check_inner_ends(p, ends); reason != GW_DROP_NONE) return refuse(Step::kEnds, reason);
  out.limited = tunnel.policed;
  if (tunnel.policed && !is_our_routing(p, hop))
    if (const auto judged = judge_rate(meters_[in.tunnel].in, gateway_in_, p.length); judged.refused != GW_DROP_NONE)
      return refuse(Step::kRate, judged.refused);
  if (hop.kind == GW_NEXT_HOP_TUNNELS) {
    const Choice choice = judge_across(p, in.tunnel, hop);
    out.into = choice.tunnel;
    if (choice.refused != GW_DROP_NONE) return refuse(Step::kForward, choice.refused);
    out.end = choice.tunnel == kNoTunnel ? End::kKernel : End::kTunnel;
    return out;
  }
  Neighbour* neighbour = nullptr;
  const bool circuit = hop.kind == GW_NEXT_HOP_CIRCUIT;
  const Forwarded way = circuit ? judge_for_circuit(p) : judge_for_vnet(p, hop, neighbour);
  checked_dst_ = {};
  checked_is_broadcast_ = false;
  if (way == Forwarded::kBroadcast) return refuse(Step::kForward, GW_DROP_MULTICAST);
  out.end = way == Forwarded::kKernel ? End::kKernel : circuit ? End::kCircuit : End::kVnet;
  out.framed = neighbour != nullptr;
  if (neighbour) out.link = neighbour->header;
  return out;
}

}  // namespace gw::worker
