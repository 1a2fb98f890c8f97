// Packets for tunnels that another worker owns, and packets of ours that another worker received.
#include <algorithm>
#include <cstring>

#include "ebpf/worker/data_path.hpp"

namespace gw::worker {
/// Copies a borrowed packet into a frame of ours, room in front of it included; `family`: of its source. False: no
/// frame, or too long.
bool DataPath::to_frame(esp::Packet& p, FrameAddress& frame, Family family) {
  const FrameMemory& memory = parts_.frames.memory();
  if (!parts_.frames.take_for(p.length, frame)) return false;
  std::uint8_t* const base = memory.at(frame);
  std::memcpy(base + kHeadroom, p.data(), p.length);
  if (p.source) {
    std::memcpy(base, p.source, family == Family::kV4 ? 4 : 16);
    p.source = base;
  }
  p.base = base;
  p.capacity = memory.capacity(frame);
  p.offset = kHeadroom;
  return true;
}

/// `rest`: what is not in the packet. It leaves with flush_handovers().
void DataPath::hand_over(WorkerIndex to, esp::Packet& p, const PacketMeta& meta, const Handover& rest) {
  Handover item = rest;
  item.frame = meta.frame;
  if (item.frame == kBorrowed && !to_frame(p, item.frame, rest.key.dst.family()))
    return drop_handover(item, GW_DROP_NO_FRAME, p);
  item.source = p.source;
  item.length = p.length;
  item.offset = static_cast<std::uint16_t>(p.offset);
  item.source_port = p.source_port;
  item.traffic_class = p.traffic_class;
  if (timed_) {
    item.received = now_;
    ++timed_elsewhere_;
  }
  handovers_[to].push_back(item);
}

void DataPath::flush_handovers() {
  for (std::size_t to = 0; to < handovers_.size(); ++to) {
    auto& staged = handovers_[to];
    if (staged.empty()) continue;
    const auto peer = static_cast<WorkerIndex>(to);
    const std::size_t sent = parts_.exchange.ring(parts_.index, peer).push(staged);
    parts_.counters.handed_over.add(sent);
    for (const Handover& lost : std::span(staged).subspan(sent))
      drop_handover(lost, GW_DROP_HANDOVER_FULL, packet_of(lost));
    staged.clear();
    parts_.exchange.wake(peer);
  }
}

void DataPath::drop_handover(const Handover& lost, gw_drop reason, const esp::Packet& p) {
  HandoverDrops& drops = parts_.counters.handover_drops[lost.tunnel];
  const bool full = reason == GW_DROP_HANDOVER_FULL;
  if (lost.way == Handover::Way::kInbound)
    (full ? drops.in_full : drops.in_no_frame).add();
  else
    (full ? drops.out_full : drops.out_no_frame).add();
  if (tap_.wants(capture::Point::kDrops)) [[unlikely]] {
    const Layer layer = lost.way == Handover::Way::kInbound ? Layer::kEsp : Layer::kIp;
    tap_drop(reason, {.frame = lost.frame, .tunnel = lost.tunnel}, p,
             {.frame = lost.frame, .layer = layer, .key = lost.key});
  }
  parts_.frames.give(lost.frame);
}

bool DataPath::has_peers_packets() const {
  for (std::size_t from = 0; from < handovers_.size(); ++from)
    if (!parts_.exchange.ring(static_cast<WorkerIndex>(from), parts_.index).empty()) return true;
  return false;
}

std::size_t DataPath::from_peers() {
  std::size_t total = 0;
  std::array<Handover, kBurst> items;
  for (std::size_t from = 0; from < handovers_.size(); ++from) {
    if (from == parts_.index) continue;
    const std::size_t n = parts_.exchange.ring(static_cast<WorkerIndex>(from), parts_.index).pop(items);
    if (n == 0) continue;
    parts_.counters.taken_over.add(n);
    take_over(std::span(items).first(n));
    total += n;
  }
  return total;
}

esp::Packet DataPath::packet_of(const Handover& h) const {
  const FrameMemory& memory = parts_.frames.memory();
  return {.base = memory.at(h.frame),
          .capacity = memory.capacity(h.frame),
          .offset = h.offset,
          .length = h.length,
          .source = h.source,
          .source_port = h.source_port,
          .traffic_class = h.traffic_class};
}

void DataPath::take_over(std::span<const Handover> items) {
  scratch_.count = 0;
  for (const Handover& h : items) {
    if (h.way != Handover::Way::kInbound) continue;
    const std::size_t i = scratch_.add();
    scratch_.packets[i] = packet_of(h);
    scratch_.meta[i].frame = h.frame;
    scratch_.meta[i].layer = Layer::kEsp;
    scratch_.meta[i].key = h.key;
  }
  // Looked up once more: the SA may have gone meanwhile.
  if (scratch_.count > 0) from_wan(scratch_);

  read_clock();
  std::size_t n = 0;
  for (const Handover& h : items) {
    if (h.way != Handover::Way::kOutbound) continue;
    if (!is_ours(h.tunnel)) {  // it went, and its slot to another worker
      drop(GW_DROP_NO_TUNNEL, {.frame = h.frame}, packet_of(h));
      continue;
    }
    slots_[n] = {.frame = h.frame, .tunnel = h.tunnel, .side = static_cast<gw_side>(h.side)};
    scratch_.packets[n++] = packet_of(h);
  }
  send_to_tunnels(std::span(scratch_.packets).first(n));
  for (const Handover& h : items)
    if (h.received != MonoTime{})
      parts_.counters.latency.count(static_cast<std::uint64_t>((parts_.clock.now() - h.received).count()), 1);
}

}  // namespace gw::worker
