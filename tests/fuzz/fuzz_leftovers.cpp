// What a bgpd that was configured by somebody, some time, prints of its configuration.
#include <string_view>

#include "bgp/leftovers.hpp"

namespace {

gw::bgp::BgpIntent intent_of_one_peer() {
  gw::bgp::BgpIntent intent;
  intent.instance = "gw-a";
  intent.router_id = *gw::IpAddress::parse("203.0.113.10");
  gw::bgp::PeerIntent& peer = intent.peers.emplace_back();
  peer.name = "paris-ce1/gw-a";
  peer.site = "paris";
  peer.local = *gw::IpAddress::parse("169.254.21.1");
  peer.peer = *gw::IpAddress::parse("169.254.21.2");
  peer.remote_asn = 65021;
  peer.multihop = 5;
  return intent;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const gw::bgp::BgpIntent kIntent = intent_of_one_peer();
  (void)gw::bgp::leftovers({reinterpret_cast<const char*>(data), size}, kIntent);
  return 0;
}
