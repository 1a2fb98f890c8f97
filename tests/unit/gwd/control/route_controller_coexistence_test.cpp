// The circuit, the other instance and tunnels, to the same prefixes.
#include "tests/unit/gwd/control/route_controller_fixture.hpp"

namespace gw::gwd {
namespace {

// The circuit's two routers, a VNet router and the other instance beside the tunnels.
class CoexistenceTest : public RouteControllerTest {
 protected:
  void SetUp() override {
    RouteControllerTest::SetUp();
    model.vnet_address = ip("10.0.0.4");
    add("er1-primary/gw-a", routes::SourceKind::kCircuit, "192.168.30.18", 12076);
    add("er1-secondary/gw-a", routes::SourceKind::kCircuit, "192.168.30.26", 12076);
    add("vnet:rs1/gw-a", routes::SourceKind::kVnet, "10.0.0.1", 65100);
    add("instance:gw-b", routes::SourceKind::kPartner, "10.0.0.5", 65515);
    routes.set_model(model);
    for (const config::SessionModel& session : model.sessions) {
      const std::string address = session.bgp.peer.to_string();
      up(address);
    }
  }
  void add(std::string name, routes::SourceKind kind, std::string_view address, std::uint32_t asn) {
    config::SessionModel session;
    session.name = std::move(name);
    session.kind = kind;
    session.bgp.peer = ip(address);
    session.bgp.peer_asn = asn;
    model.sessions.push_back(std::move(session));
  }
  void announce_via(std::string_view address, std::string_view prefix, std::string_view next_hop,
                    std::vector<std::uint32_t> path, std::vector<std::uint32_t> communities = {}) {
    announce_via(address, prefix, ip(next_hop), std::move(path), std::move(communities));
  }
  void announce_via(std::string_view address, std::string_view prefix, const IpAddress& next_hop,
                    std::vector<std::uint32_t> path, std::vector<std::uint32_t> communities = {}) {
    auto attributes = std::make_shared<routes::Attributes>();
    attributes->next_hop = next_hop;
    attributes->as_path = routes::AsPath::sequence(std::move(path));
    attributes->communities = std::move(communities);
    routes.handle(bgp::BmpEvent(bgp::BmpRoutes{peer(address), std::move(attributes), {pfx(prefix)}, {}, ""}));
  }
  std::string way(std::string_view prefix) const {
    const ForwardingEntry* entry = forwarding.wanted(pfx(prefix));
    if (entry == nullptr) return "none";
    std::string out = fp::NextHopKind_Name(entry->kind).substr(9);
    for (const std::uint32_t id : entry->tunnel_ids) out += std::format(" tun{}", id);
    for (const IpAddress& gateway : entry->gateways) out += std::format(" {}", gateway);
    return out + (entry->behind == fp::BEHIND_TUNNELS   ? " tunnels"
                  : entry->behind == fp::BEHIND_CIRCUIT ? " circuit"
                                                        : "");
  }
};

TEST_F(CoexistenceTest, TheCircuitWinsAndTheTunnelIsItsBackup) {
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.26", "10.21.0.0/16", "192.168.30.26", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18 192.168.30.26");
  down("192.168.30.18", 3);
  down("192.168.30.26", 3);
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
}

// A rule may give both classes one weight; two that are shut down have none. What comes out of the circuit's interface
// must not be sent to a tunnel's peer.
TEST_F(CoexistenceTest, EqualPathsOfTwoKindsAreNotMixed) {
  model.tunnels.push_back(bgp_tunnel("ce3/gw-a", 9, "169.254.21.10"));
  routes.set_model(model);
  up("169.254.21.10");
  announce_via("169.254.21.10", "10.21.0.0/16", "169.254.21.10", {65021, 65021}, {routes::kGracefulShutdown});
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021}, {routes::kGracefulShutdown});
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun9") << "the lower router id and address";
  withdraw("169.254.21.10", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18");
}

TEST_F(CoexistenceTest, TheOtherInstanceIsTheWayWhenItsOwnAreGone) {
  const std::uint32_t vpn = routes::class_community(routes::SourceKind::kVpnTunnel);
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {65021}, {vpn});
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  withdraw("169.254.21.2", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 tunnels");
  // Its circuit is better than our tunnel.
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021},
               {routes::class_community(routes::SourceKind::kCircuit)});
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit");
}

// It may have lost its circuit as well, and not have been able to say so.
TEST_F(CoexistenceTest, ATunnelOfOursComesBeforeTheOtherInstanceForAMoment) {
  const std::uint32_t circuit = routes::class_community(routes::SourceKind::kCircuit);
  announce("169.254.21.2", "10.21.0.0/16");
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021}, {circuit});
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  EXPECT_EQ(way("10.21.0.0/16"), "CIRCUIT 192.168.30.18");
  withdraw("192.168.30.18", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit") << "it still has its circuit";
  // Back and lost again; then the other one says that it lost its circuit, too.
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  withdraw("192.168.30.18", "10.21.0.0/16");
  withdraw("10.0.0.5", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
  io.restart();
  io.run_for(2 * HandOverDelay::kTick + 50ms);
  EXPECT_EQ(way("10.21.0.0/16"), "TUNNELS tun7");
}

TEST_F(CoexistenceTest, WithoutAWayOfOursTheOtherInstanceIsTheWayAtOnce) {
  const std::uint32_t circuit = routes::class_community(routes::SourceKind::kCircuit);
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.5", {12076, 65021}, {circuit});
  announce_via("192.168.30.18", "10.21.0.0/16", "192.168.30.18", {12076, 65021});
  withdraw("192.168.30.18", "10.21.0.0/16");
  EXPECT_EQ(way("10.21.0.0/16"), "VNET 10.0.0.5 circuit");
}

TEST_F(CoexistenceTest, ANextHopOfOursIsNoWay) {
  announce_via("10.0.0.5", "10.21.0.0/16", "10.0.0.4", {65021});
  EXPECT_EQ(way("10.21.0.0/16"), "none");
}

TEST_F(CoexistenceTest, AnIpv6NextHopThatCannotBeAskedForIsTheSessionsPeer) {
  const std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 30, 18};
  announce_via("192.168.30.18", "2001:db8:21::/48", IpAddress::from_v6(mapped), {12076, 65021});
  EXPECT_EQ(way("2001:db8:21::/48"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.18", "2001:db8:22::/48", "fe80::1", {12076, 65021});
  EXPECT_EQ(way("2001:db8:22::/48"), "CIRCUIT 192.168.30.18");
  announce_via("192.168.30.18", "2001:db8:23::/48", "2001:db8:30::18", {12076, 65021});
  EXPECT_EQ(way("2001:db8:23::/48"), "CIRCUIT 2001:db8:30::18");
  // One family for a set: the sessions' addresses.
  announce_via("192.168.30.26", "2001:db8:23::/48", "fe80::2", {12076, 65021});
  EXPECT_EQ(way("2001:db8:23::/48"), "CIRCUIT 192.168.30.18 192.168.30.26");
}

TEST_F(CoexistenceTest, WhatAVnetRouterTellsIsTheVnets) {
  announce_via("10.0.0.1", "10.7.0.0/16", "10.0.0.9", {65100});
  EXPECT_EQ(way("10.7.0.0/16"), "VNET 10.0.0.9");
}

TEST_F(CoexistenceTest, SpokesAreTheVnets) {
  model.spokes.push_back({"spoke-1", {pfx("10.1.0.0/16"), pfx("2001:db8:11::/48")}});
  model.vnet_next_hops = {ip("10.0.0.1"), ip("2001:db8::1")};
  routes.set_model(model);
  EXPECT_EQ(way("10.1.0.0/16"), "VNET 10.0.0.1");
  EXPECT_EQ(way("2001:db8:11::/48"), "VNET 2001:db8::1");
  model.spokes.clear();
  routes.set_model(model);
  EXPECT_EQ(way("10.1.0.0/16"), "none");
}

}  // namespace
}  // namespace gw::gwd
