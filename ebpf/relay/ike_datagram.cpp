#include "ebpf/relay/ike_datagram.hpp"

#include <algorithm>
#include <cstring>

#include "base/wire.hpp"

namespace gw::relay {
namespace {

IpAddress address_of(std::uint8_t family, const std::uint8_t (&bytes)[16]) {
  return IpAddress::from_bytes(std::span<const std::uint8_t>(bytes).first(family == 4 ? 4 : 16)).value_or(IpAddress{});
}

}  // namespace

Result<IkeMessage> parse_ike_message(std::span<const std::uint8_t> bytes) {
  gw_ike_datagram h;
  if (bytes.size() < sizeof h) return fail(Errc::kMalformed, std::format("{} bytes are no IKE message", bytes.size()));
  std::memcpy(&h, bytes.data(), sizeof h);
  if (h.version != GW_IKE_RELAY_VERSION)
    return fail(Errc::kMalformed,
                std::format("version {} of the IKE relay; this is {}", h.version, GW_IKE_RELAY_VERSION));
  if (h.family != 4 && h.family != 6) return fail(Errc::kMalformed, std::format("address family {}", h.family));
  const IkeFlow flow{.local = {address_of(h.family, h.local), be_to_host(h.local_port_be)},
                     .peer = {address_of(h.family, h.peer), be_to_host(h.peer_port_be)},
                     .scope_id = h.scope_id,
                     .traffic_class = h.traffic_class};
  if (flow.local.port != kIkePort && flow.local.port != kNatTPort)
    return fail(Errc::kMalformed, std::format("local port {} is not {} or {}", flow.local.port, kIkePort, kNatTPort));
  return IkeMessage{flow, bytes.subspan(sizeof h)};
}

gw_ike_datagram ike_header(const IkeFlow& flow) {
  gw_ike_datagram h{};
  h.version = GW_IKE_RELAY_VERSION;
  h.family = flow.peer.address.is_v4() ? 4 : 6;
  h.traffic_class = flow.traffic_class;
  h.local_port_be = host_to_be(flow.local.port);
  h.peer_port_be = host_to_be(flow.peer.port);
  h.scope_id = flow.scope_id;
  std::ranges::copy(flow.local.address.bytes(), h.local);
  std::ranges::copy(flow.peer.address.bytes(), h.peer);
  return h;
}

}  // namespace gw::relay
