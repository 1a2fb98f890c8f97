// Plain forwarding between VNet and circuit, row by row: one table for both kinds of program and both sides. The
// forwarding table and the neighbours are the real ones, in the programs' own maps.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "ebpf/fib/table.hpp"
#include "ebpf/xdp/programs.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "packets.hpp"

namespace gw::packet_test {

inline constexpr Mac kHostMac = {2, 0, 0, 0, 1, 10};
inline constexpr Mac kRouterMac = {2, 0, 0, 0, 3, 18};

enum class Fate : std::uint8_t {
  kKernel,
  kTunnel,
  kForwarded,  // to ClearRow::next
  kAsked,      // tcx: the gateway is asked for, and the packet waits; XDP: passed on to tcx
  kDropped,
};

/// `fate` as XDP and tcx have it in common.
struct ClearRow {
  const char* what;
  gw_side side;  // that the frame comes by
  Bytes frame;
  Fate fate = Fate::kKernel;
  std::string_view next;                   // kForwarded: neighbour
  gw_xdp_counter counter = GW_XDP_PASSED;  // kForwarded, kDropped
  xdp::Transit transit = xdp::Transit::kClosed;
};
std::vector<ClearRow> clear_rows();

/// A neighbour in the programs' map.
struct ClearNeighbour {
  gw_side side;
  std::string_view address;
  gw_neighbour_state state;
  Mac mac{};
  std::uint32_t mtu = 1500;
  std::vector<std::uint16_t> tags;  // EtherTypes; each with id 100
};
std::vector<ClearNeighbour> clear_neighbours();
/// What is in front of a packet to it, without the EtherType.
Bytes link_header(const ClearNeighbour& neighbour);

/// Both programs of both sides, over one set of maps. Both ports take XDP frames.
class ClearTest : public testing::Test {
 protected:
  void SetUp() override;
  xdp::Counters counters(gw_side side) const;
  int xdp_fd(gw_side side) const { return xdp_[side]->program_fd(); }
  int tc_fd(gw_side side) const { return tc_[side]->program_fd(); }

  std::optional<xdp::Maps> maps_;
  std::optional<xdp::VnetProgram> xdp_[GW_SIDES];
  std::optional<xdp::VnetTcProgram> tc_[GW_SIDES];
  Fd socket_ = unbound_xsk();
  std::optional<fib::Table> table_;
};

/// `frame` one hop on.
Bytes one_hop_on(Bytes packet);

}  // namespace gw::packet_test
