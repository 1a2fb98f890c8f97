// What can be asked of a network interface about AF_XDP. Control thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.hpp"
#include "ebpf/xsk/socket.hpp"

namespace gw::xsk {

/// The card leaves VLAN tags in the packet: XDP sees no others, and would take a tagged packet for an untagged one.
/// kUnsupported: it cannot, or never takes them out.
Status keep_vlan_tags(const std::string& interface);

/// Receive queues in use (ethtool channels); 1 where the driver does not say.
Result<std::uint32_t> rx_queues(const std::string& interface);

/// Whether the driver offers zero-copy AF_XDP.
bool offers_zero_copy(int ifindex);

/// What the driver sends as XDP frames at this moment: it may depend on the programs attached, and on a veth's other
/// end, so ask again now and then.
enum class FramesSent : std::uint8_t { kNone, kWhole, kPieces };
FramesSent frames_sent(int ifindex);

struct PortOffer {
  std::string interface;
  CopyMode best = CopyMode::kCopy;  // that its driver offers
};
struct CopyChoice {
  CopyMode mode = CopyMode::kCopy;
  std::string reason;  // for an operator
};
/// One choice for all ports: they share a UMEM, and the kernel binds every socket of a UMEM in the mode of
/// the first one, whatever the socket asks for. Zero copy only if all offer it. Pure.
CopyChoice choose_copy_mode(std::span<const PortOffer> ports);

}  // namespace gw::xsk
