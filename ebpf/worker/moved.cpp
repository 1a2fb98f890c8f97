// Packets that BPF gave us for a tunnel, and whose route leads to a neighbour (VNet, circuit) since: they were on their
// way while it moved. They go there from here, so that a planned move loses nothing. What may go from where to where
// is decided as in BPF (xdp/forward.bpf.h); what comes by a data TUN has no link header, so its neighbour is not known,
// and a packet may return to it once: there it is in BPF's hands, and ends.
#include <cstring>

#include "ebpf/worker/data_path.hpp"
#include "ebpf/worker/martians.hpp"

namespace gw::worker {
namespace {

IpAddress source_of(const esp::Packet& p) {
  const std::uint8_t* const h = p.data();
  if (h[0] >> 4 == 4) return IpAddress::from_v4(load_be<std::uint32_t>(h + 12));
  return IpAddress::from_v6(std::span<const std::uint8_t, 16>(h + 8, 16));
}

bool is_ours_or_vnets(const gw_next_hop& source) {
  return source.kind == GW_NEXT_HOP_LOCAL || (source.kind == GW_NEXT_HOP_VNET && source.zone == GW_ZONE_VNET);
}

}  // namespace

/// gw_judge() and gw_find_neighbour() of forward.bpf.h, for a plain next hop.
gw_drop DataPath::check_moved(const esp::Packet& p, const Slot& s, gw_next_hop& hop, gw_side side) const {
  const bool open = parts_.shared.circuit_transit.load(std::memory_order_relaxed);
  // Its source was judged when it was decrypted (check_inner_ends()).
  if (side == GW_SIDE_TUNNELS) return hop.zone == GW_ZONE_CIRCUIT && !open ? GW_DROP_TRANSIT_CLOSED : GW_DROP_NONE;
  const IpAddress src = source_of(p);
  if (src.is_link_local() || is_nobodys(src)) return GW_DROP_SPOOFED_SOURCE;
  if (side == GW_SIDE_CIRCUIT) {
    if (is_ours_or_vnets(parts_.fib.next_hops[fib::lookup(parts_.fib, src)])) return GW_DROP_SPOOFED_SOURCE;
    if (hop.zone == GW_ZONE_CIRCUIT) return GW_DROP_HAIRPIN;
    return hop.zone == GW_ZONE_TUNNELS && !open ? GW_DROP_TRANSIT_CLOSED : GW_DROP_NONE;
  }
  if (hop.kind != GW_NEXT_HOP_VNET || s.link_bytes == 0) return GW_DROP_NONE;
  constexpr std::size_t kMac = std::tuple_size_v<net::MacAddress>;
  const Neighbour* const to = next_hop_of(hop, p);
  const std::uint8_t* const from = p.data() - s.link_bytes + kMac;  // behind the destination: the source
  return to && std::memcmp(to->header.bytes.data(), from, kMac) == 0 ? GW_DROP_HAIRPIN : GW_DROP_NONE;
}

/// It leaves with flush_clear(). The hop is counted here, or by the program on the data TUN. What only the kernel can
/// send (a host whose MAC is not known) gets to it by the circuit's data TUN.
void DataPath::forward_moved(esp::Packet& p, const Slot& s, gw_next_hop& hop, gw_side side) {
  if (const gw_drop reason = check_moved(p, s, hop, side); reason != GW_DROP_NONE) return drop(reason, s, p);
  const bool to_circuit = hop.kind == GW_NEXT_HOP_CIRCUIT;
  switch (to_circuit ? forward_to_circuit(p, s) : forward_to_vnet(p, s, hop)) {
    case Forwarded::kQueued: return;
    case Forwarded::kBroadcast: return drop(GW_DROP_MULTICAST, s, p);
    case Forwarded::kNoFrame: return drop(GW_DROP_NO_FRAME, s, p);
    case Forwarded::kKernel: break;
  }
  if (to_circuit || forward_to_circuit(p, s) != Forwarded::kQueued) drop(GW_DROP_NO_NEIGHBOUR, s, p);
}

}  // namespace gw::worker
