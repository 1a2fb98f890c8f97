// Keeps the kernel from forwarding in the clear what belongs into a tunnel. XDP leaves packets without a
// tunnel route to the kernel; were the kernel to follow its default route, a VNet packet would leave the wan
// unencrypted while its tunnel is down. An nftables table of our own forwards only between the VNet and
// tunnel devices (and the circuit, where there is one), and drops (counted) everything else between the gateway's
// ports. The circuit is another network's: of the gateway itself it sees BGP, BFD and ping. On the wan there is no BGP
// and no BFD but the routers' of wan.routers: what is for a tunnel's address comes out of the tunnel. And of a tunnel's
// BGP session only one end connects at a time (session_turns.hpp). Thread: control.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::gwd {

/// Whether packets go between the circuit and tunnels.
enum class CircuitTransit : std::uint8_t { kClosed, kOpen };

/// The ports a guard stands between. Names are interface names (validated: at most 15 of [A-Za-z0-9._-]).
struct GuardPorts {
  std::string wan;
  std::string vnet;
  std::string circuit = {};  // empty: none
  CircuitTransit transit = CircuitTransit::kClosed;
  std::vector<IpAddress> wan_routers = {};  // who may speak BGP and BFD on the wan
  friend bool operator==(const GuardPorts&, const GuardPorts&) = default;
};

/// The nftables script, which replaces an earlier guard in one transaction. Pure.
std::string render_forward_guard(const GuardPorts& ports);

/// Runs nft with the script. The guard stays when gwd ends. kIo with nft's words.
Status install_forward_guard(const GuardPorts& ports);

}  // namespace gw::gwd
