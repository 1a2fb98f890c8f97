// RouteController without sockets: events are handed in, and the fast path client never connects.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "gwd/control/route_controller.hpp"
#include "gwd/control/sources.hpp"

namespace gw::gwd {

using namespace std::chrono_literals;
using Ids = std::vector<std::uint32_t>;

inline Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }
inline IpAddress ip(std::string_view t) { return IpAddress::parse(t).value(); }

inline config::TunnelModel bgp_tunnel(std::string name, std::uint32_t id, std::string_view peer) {
  config::TunnelModel t;
  t.name = std::move(name);
  t.tunnel_id = id;
  t.device = std::format("tun{}", id);
  t.bgp.emplace();
  t.bgp->peer = ip(peer);
  t.bgp->peer_asn = 65021;
  t.bgp->max_routes = 10;
  return t;
}

class RouteControllerTest : public ::testing::Test, public FastpathListener {
 protected:
  void on_fastpath_up(const fp::HelloReply&) override {}
  void on_fastpath_down(const Error&) override {}
  void on_fastpath_event(const fp::Event&) override {}

  // Two tunnels with BGP, 7 and 8.
  void SetUp() override {
    model.asn = 65515;
    model.instance = "gw-a";
    model.vnet_prefixes = {pfx("10.0.0.0/16")};
    model.policy.safe.vnet_prefixes = model.vnet_prefixes;
    model.tunnels.push_back(bgp_tunnel("ce1/gw-a", 7, "169.254.21.2"));
    model.tunnels.push_back(bgp_tunnel("ce2/gw-a", 8, "169.254.21.6"));
    routes.set_model(model);
    routes.handle(bgp::BmpConnected{});
    up("169.254.21.2");
    up("169.254.21.6");
  }
  bgp::BmpPeer peer(std::string_view address) const { return {ip(address), 65021, ip("10.21.0.1")}; }
  void up(std::string_view address, std::set<Family> preserved = {Family::kV4, Family::kV6}) {
    routes.handle(bgp::BmpEvent(bgp::BmpPeerUp{peer(address), ip("169.254.21.1"), 65515, {60s, std::move(preserved)}}));
  }
  void down(std::string_view address, std::uint8_t reason) {
    routes.handle(bgp::BmpEvent(bgp::BmpPeerDown{peer(address), reason, "text"}));
  }
  void announce(std::string_view address, std::string_view prefix, std::vector<std::uint32_t> path = {65021}) {
    auto attributes = std::make_shared<routes::Attributes>();
    attributes->next_hop = ip(address);
    attributes->as_path = routes::AsPath::sequence(std::move(path));
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), std::move(attributes), {pfx(prefix)}, {}, ""}));
  }
  void withdraw(std::string_view address, std::string_view prefix) {
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), nullptr, {}, {pfx(prefix)}, ""}));
  }
  void end_of_rib(std::string_view address) {
    for (const Family family : {Family::kV4, Family::kV6})
      routes.handle(bgp::BmpEvent(bgp::BmpEndOfRib{peer(address), family}));
  }
  void carrier(std::uint32_t id, bool has) {
    fp::TunnelState state;
    state.set_tunnel_id(id);
    state.set_carrier(has);
    routes.set_carrier(id, state);
  }
  std::vector<std::uint32_t> tunnels(std::string_view prefix) const {
    const auto* entry = forwarding.wanted(pfx(prefix));
    return entry == nullptr ? std::vector<std::uint32_t>{} : entry->tunnel_ids;
  }

  boost::asio::io_context io;
  ManualClock clock;
  FastpathClient client{io, "/nonexistent", *this};
  Forwarding forwarding{io, client};
  RouteController routes{io, clock, forwarding};
  config::GatewayModel model;
};

}  // namespace gw::gwd
