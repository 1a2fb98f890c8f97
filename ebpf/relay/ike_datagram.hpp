// An IKE datagram on its way between a UDP port of ours and charon. A value; any thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/abi/ike_relay.h"

namespace gw::relay {

inline constexpr std::uint16_t kIkePort = 500;
inline constexpr std::uint16_t kNatTPort = 4500;

struct UdpEnd {
  IpAddress address;
  std::uint16_t port = 0;
  friend bool operator==(const UdpEnd&, const UdpEnd&) = default;
};

struct IkeFlow {
  UdpEnd local;
  UdpEnd peer;
  std::uint32_t scope_id = 0;  // interface of a link-local peer
  std::uint8_t traffic_class = 0;
  friend bool operator==(const IkeFlow&, const IkeFlow&) = default;
};

struct IkeMessage {
  IkeFlow flow;
  std::span<const std::uint8_t> payload;  // of UDP: on port 4500 with the non-ESP marker; somebody else's bytes
};
/// A message of the relay's socket. kMalformed: too short, another version, family or port.
Result<IkeMessage> parse_ike_message(std::span<const std::uint8_t> bytes);
gw_ike_datagram ike_header(const IkeFlow& flow);

}  // namespace gw::relay
