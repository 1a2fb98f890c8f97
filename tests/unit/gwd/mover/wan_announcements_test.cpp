// Which endpoints are announced on the wan, as HA and the document say, and when nobody hears them.
#include "gwd/control/wan_announcements.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

config::SessionModel edge(const char* name, const char* peer) {
  config::SessionModel session;
  session.name = name;
  session.kind = routes::SourceKind::kWan;
  session.bgp.peer = ip(peer);
  return session;
}

/// gw-a of a pair: an endpoint of its own, one of gw-b's, and one that moves by ARP.
config::GatewayModel document() {
  config::GatewayModel model;
  model.instance = "gw-a";
  model.asn = 65515;
  model.ha.emplace();
  model.ha->endpoints = {{.address = ip("203.0.113.10"), .home = 0, .move = config::MoveBy::kBgp},
                         {.address = ip("203.0.113.11"), .home = 1, .move = config::MoveBy::kBgp},
                         {.address = ip("203.0.113.12"), .home = 0, .move = config::MoveBy::kGarp}};
  model.sessions = {edge("wan:edge1/gw-a", "192.0.2.1"), edge("wan:edge2/gw-a", "192.0.2.9")};
  return model;
}

std::map<IpAddress, bgp::PeerStatus> sessions(const char* first, const char* second) {
  std::map<IpAddress, bgp::PeerStatus> out;
  out[ip("192.0.2.1")].state = first;
  out[ip("192.0.2.9")].state = second;
  return out;
}

class WanAnnouncementsTest : public testing::Test {
 protected:
  std::optional<std::uint32_t> med_of(const char* address) const {
    for (const bgp::EndpointIntent& endpoint : wan_.endpoints())
      if (endpoint.address == ip(address)) return endpoint.med;
    ADD_FAILURE() << address << " does not move by BGP";
    return std::nullopt;
  }

  boost::asio::io_context io_;
  ManualClock clock_;
  WanAnnouncements wan_{io_, clock_, "/nonexistent"};
  config::GatewayModel model_ = document();
};

using Claims = std::map<IpAddress, WanAnnouncements::Claim>;

TEST_F(WanAnnouncementsTest, WhatHaDecidesIsAnnouncedByItsClaim) {
  wan_.set(65515, ip("203.0.113.10"), ha::Epoch{0x20});
  const Claims home{{ip("203.0.113.10"), {.announced = true}}, {ip("203.0.113.11"), {}}, {ip("203.0.113.12"), {}}};
  wan_.set_document(model_, home);
  ASSERT_EQ(wan_.endpoints().size(), 2U);
  EXPECT_EQ(med_of("203.0.113.10"), 4'000'000'000U - 0x20);
  EXPECT_EQ(med_of("203.0.113.11"), std::nullopt);
  wan_.set(65515, ip("203.0.113.11"), ha::Epoch{0x30});
  EXPECT_EQ(med_of("203.0.113.11"), 4'000'000'000U - 0x30);
}

TEST_F(WanAnnouncementsTest, WhatIsCarriedElsewhereOrMovesOtherwiseIsNot) {
  wan_.set(65515, ip("203.0.113.10"), ha::Epoch{0x20});
  wan_.set_document(model_, Claims{{ip("203.0.113.10"), {.announced = false}}});
  EXPECT_EQ(med_of("203.0.113.10"), std::nullopt);
  wan_.set(65515, ip("203.0.113.10"), ha::Epoch{0x40});
  model_.ha->endpoints[0].move = config::MoveBy::kGarp;
  wan_.set_document(model_, Claims{{ip("203.0.113.10"), {.announced = true}}});
  EXPECT_EQ(wan_.endpoints().size(), 1U);
}

TEST_F(WanAnnouncementsTest, InstancesThatCannotHearOfEachOtherAnnounceTheirOwn) {
  wan_.set_document(model_, std::nullopt);
  EXPECT_EQ(med_of("203.0.113.10"), 4'000'000'000U);
  EXPECT_EQ(med_of("203.0.113.11"), std::nullopt);
}

TEST_F(WanAnnouncementsTest, WithoutAnOpenSessionNobodyHearsIt) {
  const IpAddress endpoint = ip("203.0.113.10");
  wan_.set_sessions(model_, sessions("Established", "Active"));
  clock_.advance(60s);
  EXPECT_EQ(wan_.unannounced(endpoint), "");
  wan_.set_sessions(model_, sessions("Idle", "Active"));
  clock_.advance(WanAnnouncements::kGrace - 1ms);
  wan_.set_sessions(model_, sessions("Connect", "Active"));
  EXPECT_EQ(wan_.unannounced(endpoint), "") << "it may come back";
  clock_.advance(1ms);
  EXPECT_EQ(wan_.unannounced(endpoint),
            "it is announced to nobody: wan:edge1/gw-a is Connect, wan:edge2/gw-a is Active");
  wan_.set_sessions(model_, sessions("Connect", "Established"));
  EXPECT_EQ(wan_.unannounced(endpoint), "");
}

TEST_F(WanAnnouncementsTest, ItIsKnownWhoHearsAnEndpoint) {
  wan_.set_sessions(model_, sessions("Established", "Active"));
  const IpAddress endpoint = ip("203.0.113.10");
  EXPECT_THAT(wan_.announced_to(endpoint), testing::IsEmpty()) << "not announced here";
  wan_.set(65515, endpoint, ha::Epoch{0x20});
  EXPECT_THAT(wan_.announced_to(endpoint), testing::ElementsAre("wan:edge1/gw-a"));
  wan_.set(65515, ip("2001:db8:e::10"), ha::Epoch{0x20});
  EXPECT_THAT(wan_.announced_to(ip("2001:db8:e::10")), testing::IsEmpty()) << "no session of that family";
  wan_.set(65515, endpoint, std::nullopt);
  EXPECT_THAT(wan_.announced_to(endpoint), testing::IsEmpty());
}

TEST_F(WanAnnouncementsTest, ASessionOfTheOtherFamilyDoesNotCount) {
  wan_.set_sessions(model_, sessions("Established", "Established"));
  clock_.advance(WanAnnouncements::kGrace);
  EXPECT_THAT(wan_.unannounced(ip("2001:db8:e::10")), HasSubstr("there is no router on the wan"));
}

TEST_F(WanAnnouncementsTest, ABgpdThatDoesNotAnswerIsNamed) {
  wan_.set(65515, ip("203.0.113.10"), ha::Epoch{0x20});
  wan_.start();
  io_.run_for(50ms);
  EXPECT_EQ(wan_.unannounced(ip("203.0.113.10")), "");
  clock_.advance(WanAnnouncements::kGrace);
  EXPECT_THAT(wan_.unannounced(ip("203.0.113.10")), HasSubstr("bgpd does not announce it: "));
  wan_.stop();
  io_.restart();
  io_.run_for(200ms);
}

}  // namespace
}  // namespace gw::gwd
