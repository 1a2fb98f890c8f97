// JSON as bgpd 10.3 prints it, shortened.
#include "bgp/summary.hpp"

#include <gtest/gtest.h>

#include <format>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using test::ip;
using test::net;

constexpr const char* kSummary = R"({
"ipv4Unicast":{"routerId":"203.0.113.10","as":65515,"peers":{
  "169.254.21.2":{"remoteAs":65021,"localAs":65515,"msgRcvd":9,"msgSent":10,"peerUptime":"00:00:06","peerUptimeMsec":6000,
    "pfxRcd":3,"pfxSnt":2,"state":"Established","peerState":"OK"},
  "169.254.21.6":{"remoteAs":65022,"msgRcvd":0,"msgSent":0,"peerUptime":"never","peerUptimeMsec":0,"pfxRcd":0,
    "state":"Active","peerState":"OK"}}}
,
"ipv6Unicast":{"peers":{"169.254.21.2":{"remoteAs":65021,"msgRcvd":9,"msgSent":10,"peerUptimeMsec":6000,"pfxRcd":1,
    "pfxSnt":1,"state":"Established"}}}
})";

TEST(Summary, BothFamiliesOfASession) {
  const auto peers = parse_summary(kSummary);
  ASSERT_TRUE(peers);
  ASSERT_EQ(peers->size(), 2U);
  const PeerStatus& up = peers->at(ip("169.254.21.2"));
  EXPECT_TRUE(up.established());
  EXPECT_EQ(up.asn, 65021U);
  EXPECT_EQ(up.uptime, std::chrono::seconds(6));
  EXPECT_EQ(up.received_v4, 3U);
  EXPECT_EQ(up.received_v6, 1U);
  EXPECT_EQ(up.advertised_v4, 2U);
  EXPECT_EQ(up.messages_received, 9U);
  EXPECT_FALSE(peers->at(ip("169.254.21.6")).established());
}

TEST(Summary, NeighborsAddTheAddressAndTheLastError) {
  auto peers = parse_summary(kSummary).value();
  ASSERT_TRUE(add_neighbors(R"({"169.254.21.2":{"remoteAs":65021,"bgpState":"Established","hostLocal":"169.254.21.1",
      "messageStats":{"totalSent":20,"totalRecv":19},"gracefulRestartInfo":{"endOfRibRecv":{"ipv4Unicast":true,"ipv6Unicast":false}},
      "lastResetDueTo":"Hold Timer Expired","lastResetCode":4}})",
                            peers));
  const PeerStatus& up = peers.at(ip("169.254.21.2"));
  EXPECT_EQ(up.local, ip("169.254.21.1"));
  EXPECT_EQ(up.messages_sent, 20U);
  EXPECT_EQ(up.last_error, "Hold Timer Expired");
  EXPECT_EQ(up.received_v4, 3U);
  EXPECT_TRUE(up.end_of_rib_v4);
  EXPECT_FALSE(up.end_of_rib_v6);
}

// What was known of the session before, its End-of-RIB above all, says nothing of the new one.
TEST(Summary, ASessionThatCameBackBetweenTwoLooksIsAnotherOne) {
  PeerStatus before{.state = "Established", .uptime = std::chrono::seconds(600)};
  PeerStatus after{.state = "Established", .uptime = std::chrono::seconds(605)};
  EXPECT_TRUE(is_same_session(before, after));
  after.uptime = std::chrono::seconds(1);
  EXPECT_FALSE(is_same_session(before, after));
  EXPECT_FALSE(is_same_session(before, {.state = "Active", .uptime = std::chrono::seconds(605)}));
}

TEST(Summary, ANeighbourOnADeviceHasTheSessionsKey) {
  const DeviceKeys keys{{"tun7", ip("fe80::a")}};
  auto peers = parse_summary(R"({"ipv4Unicast":{"peers":{"tun7":{"remoteAs":65021,"state":"Established"},
      "tun8":{"remoteAs":65022,"state":"Idle"}}}})",
                             keys)
                   .value();
  ASSERT_EQ(peers.size(), 1U);
  EXPECT_EQ(peers.at(ip("fe80::a")).name, "tun7");
  ASSERT_TRUE(add_neighbors(R"({"tun7":{"bgpNeighborAddr":"fe80::2","bgpState":"Established"}})", peers, keys));
  EXPECT_EQ(peers.at(ip("fe80::a")).learned, ip("fe80::2"));
  ASSERT_TRUE(add_neighbors(R"({"tun7":{"bgpNeighborAddr":"none","bgpState":"Idle"}})", peers, keys));
  EXPECT_TRUE(peers.at(ip("fe80::a")).learned.is_unspecified());
}

TEST(Summary, SaysWhyASessionIsIdle) {
  auto peers =
      parse_summary(R"j({"ipv4Unicast":{"peers":{"169.254.21.2":{"remoteAs":65021,"state":"Idle (PfxCt)"}}}})j");
  ASSERT_TRUE(peers);
  const PeerStatus& paris = peers->at(ip("169.254.21.2"));
  EXPECT_TRUE(paris.ended_by_limit());
  ASSERT_TRUE(add_neighbors(R"({"169.254.21.2":{"remoteAs":65021,"bgpState":"Idle"}})", *peers));
  EXPECT_TRUE(paris.ended_by_limit()) << "to `neighbors` it is Idle, no more";
  ASSERT_TRUE(add_neighbors(R"({"169.254.21.2":{"remoteAs":65021,"bgpState":"Connect"}})", *peers));
  EXPECT_FALSE(paris.ended_by_limit());
}

TEST(Summary, NeighborsSayWhatBfdSays) {
  const auto read = [](std::string_view rest) {
    std::map<IpAddress, PeerStatus> peers;
    EXPECT_TRUE(add_neighbors(std::format(R"({{"169.254.21.2":{{"remoteAs":65021,{}}}}})", rest), peers));
    return peers.at(ip("169.254.21.2"));
  };
  EXPECT_EQ(read(R"("bgpState":"Established","peerBfdInfo":{"type":"single hop","detectMultiplier":3,
                    "rxMinInterval":100,"txMinInterval":100,"status":"Up"})")
                .watched,
            (BfdIntent{std::chrono::milliseconds(100), 3}));
  EXPECT_FALSE(read(R"("bgpState":"Established")").watched);
  // FRR 10.3 after its own Cease for BFD; after a session that just ended, with that Cease long ago.
  EXPECT_TRUE(read(R"("bgpState":"Active","lastResetDueTo":"BGP Notification send",
                      "lastNotificationReason":"Cease/BFD Down")")
                  .path_died);
  EXPECT_FALSE(read(R"("bgpState":"Active","lastResetDueTo":"Peer closed the session",
                       "lastNotificationReason":"Cease/BFD Down")")
                   .path_died);
  EXPECT_FALSE(read(R"("bgpState":"Established","lastResetDueTo":"BGP Notification send",
                       "lastNotificationReason":"Cease/BFD Down")")
                   .path_died);
}

TEST(Summary, RoutesInTheCloudsColumns) {
  const PeerStatus session{.peer = ip("169.254.21.2"), .local = ip("169.254.21.1"), .asn = 65021, .local_asn = 65515};
  const auto received = parse_routes(R"({"receivedRoutes":{
      "10.20.0.0/16":{"network":"10.20.0.0/16","nextHop":"169.254.21.2","weight":0,"path":"65021 65022","origin":"IGP"},
      "10.10.0.0/16":{"nextHop":"169.254.21.2","weight":7,"path":"65021"}},"totalPrefixCounter":2})",
                                     session, Direction::kReceived);
  ASSERT_TRUE(received);
  ASSERT_EQ(received->size(), 2U);
  EXPECT_EQ((*received)[0].network, net("10.10.0.0/16"));
  EXPECT_EQ((*received)[1].next_hop, "169.254.21.2");
  EXPECT_EQ((*received)[1].local_address, "169.254.21.1");
  EXPECT_EQ((*received)[1].as_path, "65021 65022");
  EXPECT_EQ((*received)[1].origin, "EBgp");
  PeerStatus other = session;
  other.internal = true;
  EXPECT_EQ(parse_routes(R"({"receivedRoutes":{"10.10.0.0/16":{"nextHop":"10.0.0.5","path":""}}})", other,
                         Direction::kReceived)
                ->at(0)
                .origin,
            "IBgp");
  const auto advertised = parse_routes(R"({"advertisedRoutes":{"2001:db8:10::/48":{"nextHopGlobal":"::","weight":32768,
      "path":""},"10.30.0.0/16":{"nextHop":"0.0.0.0","path":"65022"}}})",
                                       session, Direction::kAdvertised);
  ASSERT_TRUE(advertised);
  EXPECT_EQ((*advertised)[0].origin, "EBgp");
  EXPECT_EQ((*advertised)[0].next_hop, "169.254.21.1") << "this side's address";
  EXPECT_EQ((*advertised)[0].as_path, "65515 65022");
  EXPECT_EQ((*advertised)[1].origin, "Network");
  EXPECT_EQ((*advertised)[1].next_hop, "::");
  EXPECT_EQ((*advertised)[1].as_path, "65515");
  EXPECT_EQ(parse_routes(R"({"advertisedRoutes":{"10.30.0.0/16":{"path":"65022"}}})", other, Direction::kAdvertised)
                ->at(0)
                .as_path,
            "65022")
      << "nothing is added within the AS";
}

TEST(Summary, WhatIsNotWhatItShouldBe) {
  EXPECT_FALSE(parse_summary("% BGP instance not found"));
  EXPECT_FALSE(parse_summary("[]"));
  EXPECT_TRUE(parse_summary("{}")->empty());
  EXPECT_TRUE(parse_summary(R"({"ipv4Unicast":{"peers":{"x":{},"192.0.2.1":3}}})")->empty());
  EXPECT_TRUE(parse_routes(R"({"warning":"No such neighbor"})", {}, Direction::kReceived)->empty());
  EXPECT_FALSE(parse_routes(std::string(100, '['), {}, Direction::kReceived));
}

TEST(Summary, Commands) {
  EXPECT_EQ(show_received("169.254.21.2", Family::kV6),
            "show bgp ipv6 unicast neighbors 169.254.21.2 received-routes json");
  EXPECT_EQ(show_advertised("2001:db8::2", Family::kV4),
            "show bgp ipv4 unicast neighbors 2001:db8::2 advertised-routes json");
}

}  // namespace
}  // namespace gw::bgp
