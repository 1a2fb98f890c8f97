#include "ebpf/worker/control_traffic.hpp"

#include "base/ip_headers.hpp"
#include "base/wire.hpp"

namespace gw::worker {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint16_t kBgp = 179;

constexpr bool is_bfd(std::uint16_t port) { return port == 3784 || port == 3785 || port == 4784; }

bool judge(std::uint8_t protocol, std::span<const std::uint8_t> payload) {
  constexpr std::uint8_t kRouterSolicitation = 133;
  constexpr std::uint8_t kNeighbourAdvertisement = 136;
  if (protocol == kProtocolIcmpV6)
    return !payload.empty() && payload[0] >= kRouterSolicitation && payload[0] <= kNeighbourAdvertisement;
  if (payload.size() < 4) return false;
  const auto from = load_be<std::uint16_t>(payload.data());
  const auto to = load_be<std::uint16_t>(payload.data() + 2);
  if (protocol == kTcp) return from == kBgp || to == kBgp;
  return protocol == kUdp && is_bfd(to);
}

}  // namespace

bool is_routing_protocol(std::span<const std::uint8_t> packet) {
  constexpr std::size_t kIpv6Header = 40;
  constexpr std::uint16_t kOffsetBits = 0x1fff;
  if (packet.empty()) return false;
  if (packet[0] >> 4 == 6) return packet.size() >= kIpv6Header && judge(packet[6], packet.subspan(kIpv6Header));
  const std::size_t header = (packet[0] & 0x0fu) * 4u;
  if (header < 20 || packet.size() < header || (load_be<std::uint16_t>(packet.data() + 6) & kOffsetBits) != 0)
    return false;
  return judge(packet[9], packet.subspan(header));
}

}  // namespace gw::worker
