// What the ports' programs would do with a packet that does not exist: the tcx programs, loaded once more over the same
// tables (routes, neighbours, SPIs, settings) and with counters, events and limits of their own, are run on it by the
// kernel (BPF_PROG_TEST_RUN). Nothing is sent, counted or told. The XDP programs decide by the same files
// (forward.bpf.h, guard.bpf.h). Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"
#include "ebpf/abi/xdp.h"
#include "ebpf/xdp/maps.hpp"

namespace gw::xdp {

class DryRun {
 public:
  /// The kernel takes no larger ones, a page less what it has around them.
  static constexpr std::uint32_t kMaxPacket = 3500;

  /// `maps` outlives this. `max_packet`: as the ports' programs have it. A program is loaded when it is first asked.
  DryRun(const Maps& maps, std::uint32_t max_packet);
  DryRun(DryRun&&) noexcept;
  ~DryRun();

  // Both return what was counted for the packet.
  /// An IP packet that comes by the port of `side` (GW_SIDE_TUNNELS: decrypted, on a data TUN) from no particular
  /// neighbour, without VLAN tags.
  Result<gw_xdp_counter> forward(gw_side side, std::span<const std::uint8_t> packet);
  /// By the wan port, the first one of its source.
  Result<gw_xdp_counter> guard(std::span<const std::uint8_t> packet);

 private:
  struct Clear;
  struct Wan;
  const Maps& maps_;
  std::uint32_t max_packet_;
  std::array<std::unique_ptr<Clear>, 3> clear_;  // by enum gw_side
  std::unique_ptr<Wan> wan_;
};

}  // namespace gw::xdp
