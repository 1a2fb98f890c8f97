// Packets for a tunnel whose endpoint was handed over a moment ago and which the other instance does not have yet: they
// came while the table still led into the tunnel. They wait here until it leads to the other instance, or the endpoint
// is ours again. So a planned move loses none of them.
#include "ebpf/worker/data_path.hpp"

namespace gw::worker {
namespace {

Family family_of(const esp::Packet& p) { return p.data()[0] >> 4 == 4 ? Family::kV4 : Family::kV6; }

IpAddress destination_of(const esp::Packet& p) {
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return IpAddress::from_bytes(std::span(h + 16, 4)).value();
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + 24, 16));
}

}  // namespace

/// The packet begins at its IP header, and nothing of it has been changed.
void DataPath::park_mover(const esp::Packet& p, const Slot& s) {
  Parked kept{p, {.frame = s.frame, .layer = Layer::kIp}, s.side};
  if (s.frame == kBorrowed && !to_frame(kept.packet, kept.meta.frame, family_of(p)))
    return drop(GW_DROP_NO_FRAME, s, p);
  if (!movers_.park(s.tunnel, kept, now_))
    return drop(GW_DROP_MOVE_FULL, {.frame = kept.meta.frame, .tunnel = s.tunnel}, kept.packet);
  parts_.counters.waited.add();
}

/// The tunnel sends (again, or nobody keeps it from that), or the packet's route leads elsewhere.
bool DataPath::has_way(TunnelSlot tunnel, const esp::Packet& p) const {
  const ActiveSa& active = tunnels_[tunnel].active;
  if (!active.sa || open_.may_send(active.gate)) return true;
  const Choice choice = choose_tunnel(p, parts_.fib.next_hops[fib::lookup(parts_.fib, destination_of(p))]);
  return choice.refused != GW_DROP_NONE || choice.tunnel != tunnel;
}

// From the beginning, as if they had just come. Nothing that waits again is looked at twice: each round is bounded.
void DataPath::send_waiting() {
  read_clock();
  for (const gw_side side : {GW_SIDE_VNET, GW_SIDE_CIRCUIT, GW_SIDE_TUNNELS}) send_waiting(side);
}

/// Those that came from there: what may go where depends on it.
void DataPath::send_waiting(gw_side side) {
  std::array<Parked, kBurst> ready;
  for (std::size_t rounds = movers_.size() / kBurst + 1; rounds > 0; --rounds) {
    const std::size_t n = movers_.take_if(
        [&](TunnelSlot tunnel, const Parked& p) { return p.side == side && has_way(tunnel, p.packet); }, ready);
    if (n == 0) return;
    scratch_.count = n;
    for (std::size_t i = 0; i < n; ++i) {
      scratch_.packets[i] = ready[i].packet;
      scratch_.meta[i] = ready[i].meta;
    }
    from_clear(scratch_, side);
  }
}

}  // namespace gw::worker
