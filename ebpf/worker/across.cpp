// From one tunnel into another (site to site): decapsulated packets that the forwarding table sends through a tunnel
// go on without the kernel. Those that want a router's judgement are its, as on the clear ports: TTL 1, options, groups
// and addresses of the link.
#include "base/wire.hpp"
#include "ebpf/esp/inner.hpp"
#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/martians.hpp"

namespace gw::worker {
namespace {

bool is_special(const esp::Packet& p) {
  constexpr std::uint8_t kHopByHop = 0;
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return h[0] != 0x45 || h[8] <= 1;
  return h[6] == kHopByHop || h[7] <= 1;
}

bool has_room(const esp::Packet& p, const FrameAddress frame) {
  return frame != kBorrowed && p.offset >= esp::kMaxHeadroom && p.capacity - p.offset - p.length >= esp::kMaxTailroom;
}

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

IpAddress destination_of(const esp::Packet& p) {
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(h + 16));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + 24, 16));
}

}  // namespace

/// Into which tunnel; kNoTunnel and no reason: the kernel has to see to it.
DataPath::Choice DataPath::judge_across(const esp::Packet& p, TunnelSlot from, gw_next_hop& hop) const {
  if (is_special(p) || !is_forwardable(destination_of(p))) return {};
  const Choice choice = choose_tunnel(p, hop);
  if (choice.refused == GW_DROP_NONE && choice.tunnel == from) return {.refused = GW_DROP_HAIRPIN, .tunnel = from};
  return choice;
}

/// kAcross: the packet is in a frame with room around it, and its slot is that of the tunnel it goes into.
DataPath::Delivered DataPath::forward_across(esp::Packet& p, Slot& s, gw_next_hop& hop) {
  const Choice choice = judge_across(p, s.tunnel, hop);
  if (choice.refused != GW_DROP_NONE) {
    drop(choice.refused, s, p);
    return Delivered::kDone;
  }
  if (choice.tunnel == kNoTunnel) {
    write_to_tun(p, s);
    return Delivered::kDone;
  }
  FrameAddress frame = s.frame;
  if (!has_room(p, frame)) {
    p.source = nullptr;  // has done its work
    if (!to_frame(p, frame, family_of(p))) {
      drop(GW_DROP_NO_FRAME, s, p);
      return Delivered::kDone;
    }
    parts_.frames.give(s.frame);
  }
  count_in(s.tunnel, p.length);
  p = {.base = p.base, .capacity = p.capacity, .offset = p.offset, .length = p.length};
  s = {.frame = frame, .tunnel = choice.tunnel, .side = GW_SIDE_TUNNELS};
  return Delivered::kAcross;
}

/// packets[i] belongs to slots_[i].
void DataPath::send_across(std::span<esp::Packet> packets) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const TunnelSlot tunnel = slots_[i].tunnel;
    if (const WorkerIndex owner = parts_.shared.owner(tunnel); owner != parts_.index) {
      hand_over(owner, packets[i], {.frame = slots_[i].frame},
                {.tunnel = tunnel, .way = Handover::Way::kOutbound, .side = GW_SIDE_TUNNELS});
      continue;
    }
    packets[n] = packets[i];
    slots_[n++] = slots_[i];
  }
  send_to_tunnels(packets.first(n));
}

}  // namespace gw::worker
