// The gateway that the tests of this package talk about.
#pragma once

#include <format>

#include "bgp/config_model.hpp"

namespace gw::bgp::test {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline Prefix net(std::string_view text) { return Prefix::parse(text).value(); }

inline PeerIntent paris() {
  PeerIntent p;
  p.tunnel = "paris-ce1/gw-a";
  p.device = "tun1";
  p.local = ip("169.254.21.1");
  p.peer = ip("169.254.21.2");
  p.remote_asn = 65021;
  return p;
}

inline BgpIntent gateway() {
  BgpIntent g;
  g.instance = "gw-a";
  g.router_id = ip("203.0.113.10");
  g.networks = {net("10.0.0.0/16"), net("2001:db8:10::/48")};
  g.import.vnet_prefixes = g.networks;
  g.peers.push_back(paris());
  g.bmp_port = 1790;
  return g;
}

inline std::vector<std::string> printed(const Commands& commands) {
  std::vector<std::string> out;
  for (const Command& c : commands) out.push_back(c.printable());
  return out;
}

inline std::string joined(const Commands& commands) {
  std::string out;
  for (const Command& c : commands) out += c.printable() + "\n";
  return out;
}

}  // namespace gw::bgp::test
