#include "ebpf/fib/reading.hpp"

#include <set>

namespace gw::fib {

Reading read(const Memory& memory, const IpAddress& destination) {
  gw_next_hop& hop = memory.next_hops[lookup(memory, destination)];
  Reading reading{.kind = static_cast<gw_next_hop_kind>(hop.kind),
                  .slots = {},
                  .gateways = {},
                  .behind = static_cast<gw_zone>(hop.zone)};
  std::set<std::uint16_t> slots;
  std::set<IpAddress> gateways;
  const bool gatewayed = hop.gateway_family != 0 && (hop.kind == GW_NEXT_HOP_VNET || hop.kind == GW_NEXT_HOP_CIRCUIT);
  for (std::uint32_t flow = 0; flow < GW_NEXT_HOP_BUCKETS; ++flow) {
    if (hop.kind == GW_NEXT_HOP_TUNNELS) slots.insert(bucket_of(hop, flow));
    if (gatewayed) gateways.insert(gateway_of(hop, destination, flow));
    if (hop.only != 0) break;
  }
  reading.slots = {slots.begin(), slots.end()};
  reading.gateways = {gateways.begin(), gateways.end()};
  return reading;
}

}  // namespace gw::fib
