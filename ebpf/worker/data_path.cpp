// Tables and what both directions share; the directions are in inbound.cpp and outbound.cpp.
#include "ebpf/worker/data_path.hpp"

#include "ebpf/worker/random_seed.hpp"

namespace gw::worker {

DataPath::DataPath(const Parts& parts)
    : parts_(parts),
      codec_(parts.crypto),
      tunnels_(parts.tunnels.size()),
      meters_(parts.tunnels.size()),
      gateway_in_{parts.shared.rate_in, {}},
      gateway_out_{parts.shared.rate_out, {}},
      reassembler_(random_seed(), {.datagram_bytes = parts.frames.memory().frame_bytes() - kHeadroom}),
      handovers_(parts.exchange.workers()) {
  for (auto& staged : handovers_) staged.reserve(kBurst);
}

void DataPath::deactivate(TunnelSlot slot, const esp::OutboundSa& sa) {
  if (tunnels_[slot].active.sa == &sa) tunnels_[slot].active = {};
}

void DataPath::set_links(const net::Link& wan, const net::Link& vnet) {
  parts_.wan.set_link(wan);
  parts_.vnet.set_link(vnet);
}

void DataPath::release_parked(const SaKey& key) {
  std::array<Parked, kBurst> parked;
  while (const std::size_t n = parking_.take(key, parked)) {
    scratch_.count = n;
    for (std::size_t i = 0; i < n; ++i) {
      scratch_.packets[i] = parked[i].packet;
      scratch_.meta[i] = parked[i].meta;
    }
    from_wan(scratch_);
  }
}

void DataPath::expire_waiting() {
  const MonoTime now = parts_.clock.now();
  if (now - looked_for_late_ < kLookForLate) return;
  looked_for_late_ = now;
  read_clock();
  expire_waiting(now_);
}

void DataPath::forget_waiting() {
  read_clock();
  expire_waiting(MonoTime::max());
}

void DataPath::expire_waiting(MonoTime now) {
  reassembler_.expire(now);
  count_fragment_drops();
  parking_.expire(now, [this](const SaKey&, const Parked& late) {
    drop(GW_DROP_UNKNOWN_SPI, {.frame = late.meta.frame}, late.packet, late.meta);
  });
  movers_.expire(now, [this](TunnelSlot tunnel, const Parked& late) {
    drop(GW_DROP_MOVE_LATE, {.frame = late.meta.frame, .tunnel = tunnel}, late.packet);
  });
}

// --- shared by both directions ---------------------------------------------------------------------

void DataPath::drop(gw_drop reason, const Slot& s, const esp::Packet& p) {
  drop(reason, s, p, {.frame = s.frame, .layer = Layer::kIp});
}

void DataPath::drop(gw_drop reason, const Slot& s, const esp::Packet& p, const PacketMeta& meta) {
  if (tap_.wants(capture::Point::kDrops)) [[unlikely]]
    tap_drop(reason, s, p, meta);
  count_drop(reason, s);
}

void DataPath::drop_decapsulated(gw_drop reason, const Slot& s, const esp::Packet& p, std::size_t i) {
  if (tap_.wants(capture::Point::kDrops)) [[unlikely]]
    tap_drop_decapsulated(reason, s, p, i);
  count_drop(reason, s);
}

void DataPath::drop(const Port& port, const Outgoing& out, gw_drop reason, DropCounters& counted) {
  if (tap_.wants(capture::Point::kDrops)) [[unlikely]]
    tap_drop(port, out, reason);
  count_drop(reason, out.frame, counted);
}

void DataPath::count_drop(gw_drop reason, const Slot& s) {
  if (s.tunnel == kNoTunnel) return count_drop(reason, s.frame, parts_.counters.drops);
  TunnelCounters& tunnel = parts_.tunnels[s.tunnel];
  count_drop(reason, s.frame, s.in != nullptr ? tunnel.in_drops : tunnel.out_drops);
}

void DataPath::count_drop(gw_drop reason, FrameAddress frame, DropCounters& counted) {
  counted[reason].add();
  parts_.frames.give(frame);
}

void DataPath::count_out(TunnelSlot tunnel, std::uint32_t inner_bytes) {
  TunnelCounters& counters = parts_.tunnels[tunnel];
  counters.out_packets.add();
  counters.out_bytes.add(inner_bytes);
  counters.last_out_ms.set(now_ms_);
}

void DataPath::count_in(TunnelSlot tunnel, std::uint32_t inner_bytes) {
  TunnelCounters& counters = parts_.tunnels[tunnel];
  counters.in_packets.add();
  counters.in_bytes.add(inner_bytes);
}

/// Packets that were encrypted when their endpoint was ours, and it is not any more: we did not run meanwhile. When it
/// is handed over they leave: the control thread waits for them before it says where we stopped.
void DataPath::drop_gated() {
  const OpenGates before = open_;
  open_ = parts_.shared.gates.open_at(parts_.clock.now());
  if ((before.send & ~open_.finish) == 0) [[likely]]
    return;
  const auto closed = [this](const Outgoing& o) { return !open_.may_finish(tunnels_[o.tunnel].active.gate); };
  parts_.wan.withdraw_if(
      closed, [this](const Outgoing& o) { drop(parts_.wan, o, GW_DROP_STANDBY, parts_.tunnels[o.tunnel].out_drops); });
}

void DataPath::flush_wan() {
  if (parts_.shared.gates.any()) drop_gated();
  const auto flushed = parts_.wan.flush([this](std::span<const Outgoing> sent) {
    if (tap_.wants(capture::Point::kOuter)) [[unlikely]]
      tap_sent(sent);
  });
  for (const Outgoing& o : flushed) {
    if (o.lost == GW_DROP_NONE)
      count_out(o.tunnel, o.inner_bytes);
    else
      drop(parts_.wan, o, o.lost, parts_.tunnels[o.tunnel].out_drops);
  }
}

void DataPath::flush_clear() {
  checked_dst_ = {};
  checked_is_broadcast_ = false;
  flush_clear(parts_.vnet);
  if (parts_.circuit) flush_clear(*parts_.circuit);
}

void DataPath::flush_clear(Port& port) {
  for (const Outgoing& o : port.flush()) {
    if (o.tunnel == kNoTunnel) [[unlikely]] {  // moved.cpp
      if (o.lost == GW_DROP_NONE)
        parts_.counters.moved.add();
      else
        drop(port, o, o.lost, parts_.counters.drops);
    } else if (o.lost == GW_DROP_NONE) {
      count_in(o.tunnel, o.inner_bytes);
    } else {
      drop(port, o, o.lost, parts_.tunnels[o.tunnel].in_drops);
    }
  }
}

/// Once a burst.
void DataPath::read_clock() {
  now_ = parts_.clock.now();
  open_ = parts_.shared.gates.open_at(now_);
  wall_ = parts_.clock.wall();
  const auto wall = wall_.time_since_epoch();
  now_ms_ = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(wall).count());
}

void DataPath::work_off(Burst& burst, void (DataPath::*handle)(Burst&)) {
  const std::size_t packets = burst.count;
  begin_timing();
  (this->*handle)(burst);
  end_timing(packets);
  parts_.counters.count_burst(packets);
}

void DataPath::begin_timing() {
  timed_ = parts_.counters.bursts.get() % kLatencySample == 0;
  timed_elsewhere_ = 0;
}

/// Since the burst's read_clock().
void DataPath::end_timing(std::size_t packets) {
  if (!std::exchange(timed_, false)) return;
  if (packets <= timed_elsewhere_) return;
  const auto took = static_cast<std::uint64_t>((parts_.clock.now() - now_).count());
  parts_.counters.latency.count(took, packets - timed_elsewhere_);
}

bool DataPath::notify(Notice notice) {
  const bool queued = parts_.notices.push(std::move(notice));
  if (!queued) parts_.counters.notices_lost.add();
  notified_ = true;
  return queued;
}

void DataPath::report(esp::SaCommon& sa, const SaNotice& notice) {
  if (notice.events != 0 && !notify(notice)) sa.not_told(notice.events);
}

}  // namespace gw::worker
