// The gateway that the tests of this package talk about.
#pragma once

#include <format>
#include <functional>

#include "bgp/config_model.hpp"

namespace gw::bgp::test {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline Prefix net(std::string_view text) { return Prefix::parse(text).value(); }

inline PeerIntent paris() {
  PeerIntent p;
  p.name = "paris-ce1/gw-a";
  p.site = "paris";
  p.device = "tun1";
  p.local = ip("169.254.21.1");
  p.peer = ip("169.254.21.2");
  p.remote_asn = 65021;
  return p;
}

inline PeerIntent berlin() {
  PeerIntent p = paris();
  p.name = "berlin-ce1/gw-a";
  p.site = "berlin";
  p.device = "tun2";
  p.local = ip("169.254.21.5");
  p.peer = ip("169.254.21.6");
  p.remote_asn = 65022;
  return p;
}

/// Changes a copy of the policy.
inline void change_policy(BgpIntent& g, const std::function<void(routes::Policy&)>& change) {
  auto policy = std::make_shared<routes::Policy>(*g.policy);
  change(*policy);
  g.policy = std::move(policy);
}

inline void set_vnet(BgpIntent& g, std::vector<Prefix> prefixes) {
  change_policy(g, [&](routes::Policy& p) { p.safe.vnet_prefixes = prefixes; });
  g.origins = {{.source = {.kind = routes::SourceKind::kVnet, .name = "vnet", .type = routes::PeerType::kLocal},
                .prefixes = std::move(prefixes)}};
}

inline BgpIntent gateway() {
  BgpIntent g;
  g.instance = "gw-a";
  g.router_id = ip("203.0.113.10");
  set_vnet(g, {net("10.0.0.0/16"), net("2001:db8:10::/48")});
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
