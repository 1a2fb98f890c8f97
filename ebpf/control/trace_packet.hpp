// The packet that is traced, made of what an operator says of it. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::control {

struct TraceQuery {
  enum class From : std::uint8_t { kVnet, kCircuit, kTunnel, kWan };
  From from = From::kVnet;
  std::uint32_t tunnel_id = 0;  // kTunnel
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0;  // TCP, UDP
  std::uint16_t destination_port = 0;
  std::uint32_t size = 0;                                                                    // of the IP packet
  enum class Cutting : std::uint8_t { kForbidden, kAllowed } cutting = Cutting::kForbidden;  // IPv4: DF
};

/// Headers and nothing else.
std::uint32_t least_size(const TraceQuery& query);
/// kInvalidArgument names the field as in fastpath.proto's Trace.
Status check_query(const TraceQuery& query);
/// An IP packet with 64 hops left, TCP without SYN, an ICMP echo request; zeros behind. Of a query that was checked.
std::vector<std::uint8_t> make_packet(const TraceQuery& query);
/// The outer packet of a tunnel as its peer sends it, as far as it is read before decryption.
struct OuterQuery {
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;  // 0: native ESP
  std::uint16_t destination_port = 0;
  std::uint32_t spi = 0;
};
std::vector<std::uint8_t> make_outer(const OuterQuery& query);

}  // namespace gw::control
