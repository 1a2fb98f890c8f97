// A daemon's vty replies, and bgpd's and bfdd's JSON in them.
#include <map>
#include <string_view>

#include "bgp/bfd_model.hpp"
#include "bgp/summary.hpp"
#include "bgp/vty_protocol.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  gw::bgp::VtyReader reader(1 << 16);
  reader.feed(text);
  for (;;) {
    const auto reply = reader.next();
    if (!reply || !*reply) break;
  }
  if (auto sessions = gw::bgp::parse_summary(text)) (void)gw::bgp::add_neighbors(text, *sessions);
  std::map<gw::IpAddress, gw::bgp::PeerStatus> peers;  // a reply about neighbors is no summary
  (void)gw::bgp::add_neighbors(text, peers);
  (void)gw::bgp::parse_routes(text, {}, gw::bgp::Direction::kReceived);
  (void)gw::bgp::parse_routes(text, {}, gw::bgp::Direction::kAdvertised);
  if (const auto bfd = gw::bgp::parse_bfd(text)) (void)gw::bgp::bfd_diff(gw::bgp::configured(*bfd), {});
  return 0;
}
