// Deterministic identifiers: the same document gives the same tunnel ids and inner addresses on every
// instance, with no state. A tunnel's place follows from a hash of its name; where two want the same place,
// the earlier in the document has it. So appending a connection changes nobody, and removing or inserting
// one can only move a tunnel that had collided with it. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ip.hpp"

namespace gw::config {

/// 24 bits: fits the fast path's tables and an SPI's prefix; 0 is "no tunnel".
inline constexpr std::uint32_t kMaxTunnelId = (1U << 24) - 1;
/// /30s in one instance's range.
inline constexpr std::size_t kInnerPairs = 64;

/// One id per name, in the order given.
std::vector<std::uint32_t> allocate_tunnel_ids(const std::vector<std::string>& names);

/// The gateway's end of an unnumbered tunnel: fe80::65:515:0:0 and the 24 bits of its id.
IpAddress link_local_of(std::uint32_t tunnel_id);

struct InnerPair {
  IpAddress local;
  IpAddress peer;
  friend bool operator==(const InnerPair&, const InnerPair&) = default;
};

/// Gives each name a /30 of 169.254.21.0/24 (instance 0) or 169.254.22.0/24 (instance 1), gateway .1, peer
/// .2, avoiding `taken`. Names beyond the capacity are absent in the result.
std::map<std::string, InnerPair> allocate_inner_pairs(const std::vector<std::string>& names,
                                                      const std::set<IpAddress>& taken, unsigned instance_index);

}  // namespace gw::config
