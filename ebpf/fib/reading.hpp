// What the table's memory says about an address, as a packet would find it: nothing of the control thread's own books,
// so that both can be compared. Any thread that keeps the table from reclaiming meanwhile: the control thread.
#pragma once

#include <cstdint>
#include <vector>

#include "ebpf/fib/view.hpp"

namespace gw::fib {

struct Reading {
  gw_next_hop_kind kind = GW_NEXT_HOP_NONE;
  std::vector<std::uint16_t> slots;  // kind tunnels: those that flows can meet, ascending
  std::vector<IpAddress> gateways;   // kinds vnet, circuit: likewise
  gw_zone behind = GW_ZONE_VNET;
  friend bool operator==(const Reading&, const Reading&) = default;
};

Reading read(const Memory& memory, const IpAddress& destination);

}  // namespace gw::fib
