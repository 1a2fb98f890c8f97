// A port and its VLAN and QinQ sub-interfaces: what is in front of a packet that leaves by one of them. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "ebpf/net/netlink.hpp"
#include "ebpf/worker/shared.hpp"

namespace gw::control {

/// Outermost first; at most two.
using VlanStack = std::vector<net::VlanTag>;

struct Face {
  net::MacAddress mac{};
  VlanStack tags;
  std::uint32_t mtu = 0;
  friend bool operator==(const Face&, const Face&) = default;
};
using Faces = std::map<int, Face>;  // by interface

/// The port itself, and its sub-interfaces that are up with their tags. More than two tags: none of ours.
Faces faces_of(const net::Link& port, std::span<const net::Link> links);

/// Without the type, which is each packet's.
worker::LinkHeader header_to(const net::MacAddress& mac, const Face& face);

}  // namespace gw::control
