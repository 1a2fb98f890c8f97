// Messages as charon 6.0.1 sends them.
#include "ike/sas.hpp"

#include <gtest/gtest.h>

namespace gw::ike {
namespace {

ViciMessage child(const char* spi_in) {
  ViciMessage c;
  c.add("name", "paris").add("uniqueid", "3").add("reqid", "1").add("state", "INSTALLED").add("encap", "yes");
  c.add("spi-in", spi_in).add("spi-out", "cafe0002").add("if-id-in", "0000001f").add("if-id-out", "0000001f");
  c.add("encr-alg", "AES_GCM_16").add("encr-keysize", "256").add("esn", "1");
  c.add("bytes-in", "84").add("packets-in", "1").add("bytes-out", "168").add("packets-out", "2");
  c.add("rekey-time", "3300").add("life-time", "3600").add("install-time", "12");
  c.add_list("local-ts", {"0.0.0.0/0", "::/0"}).add_list("remote-ts", {"0.0.0.0/0"});
  return c;
}

ViciMessage ike_sa() {
  ViciMessage m;
  m.add("uniqueid", "5").add("version", "2").add("state", "ESTABLISHED").add("local-host", "203.0.113.10");
  m.add("local-port", "4500").add("local-id", "203.0.113.10").add("remote-host", "198.51.100.1");
  m.add("remote-port", "4500").add("remote-id", "ce1.paris.example").add("initiator", "yes");
  m.add("initiator-spi", "1111111111111111").add("responder-spi", "2222222222222222").add("nat-remote", "yes");
  m.add("encr-alg", "AES_GCM_16").add("encr-keysize", "256").add("prf-alg", "PRF_HMAC_SHA2_384");
  m.add("dh-group", "ECP_384").add("established", "12").add("rekey-time", "27000");
  return m;
}

TEST(Sas, ListSa) {
  ViciMessage children;
  children.add_section("paris-3", child("cafe0001"));
  ViciMessage ike = ike_sa();
  ike.add_section("child-sas", std::move(children));
  ViciMessage m;
  m.add_section("paris", std::move(ike));
  const auto sa = parse_ike_sa(m);
  ASSERT_TRUE(sa);
  EXPECT_EQ(sa->name, "paris");
  EXPECT_EQ(sa->unique_id, 5U);
  EXPECT_EQ(sa->remote.port, 4500);
  EXPECT_EQ(sa->remote.identity, "ce1.paris.example");
  EXPECT_TRUE(sa->initiator);
  EXPECT_TRUE(sa->nat_remote);
  EXPECT_FALSE(sa->nat_local);
  EXPECT_EQ(sa->proposal, "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384");
  ASSERT_EQ(sa->children.size(), 1U);
  const ChildSa& c = sa->children[0];
  EXPECT_EQ(c.spi_in, 0xcafe0001U);
  EXPECT_EQ(c.if_id, 31U);
  EXPECT_EQ(c.encryption, "AES_GCM_16-256");
  EXPECT_TRUE(c.esn);
  EXPECT_TRUE(c.udp_encapsulation);
  EXPECT_EQ(c.packets_out, 2U);
  EXPECT_EQ(c.expires_in, std::chrono::seconds(3600));
  EXPECT_EQ(c.local_selectors.size(), 2U);
}

TEST(Sas, UpAndDown) {
  ViciMessage up;
  up.add("up", "yes").add_section("paris", ike_sa());
  const auto event = parse_event("ike-updown", up);
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<IkeUpdown>(*event).direction, Updown::kUp);
  EXPECT_EQ(std::get<IkeUpdown>(*event).sa.name, "paris");
  ViciMessage down;
  ViciMessage children;
  children.add_section("paris-3", child("cafe0001"));
  ViciMessage ike = ike_sa();
  ike.add_section("child-sas", std::move(children));
  down.add_section("paris", std::move(ike));
  const auto gone = parse_event("child-updown", down);
  ASSERT_TRUE(gone);
  EXPECT_EQ(std::get<ChildUpdown>(*gone).direction, Updown::kDown);
  EXPECT_EQ(std::get<ChildUpdown>(*gone).sa.children.size(), 1U);
}

TEST(Sas, Rekeys) {
  ViciMessage both;
  both.add_section("old", child("cafe0001")).add_section("new", child("cafe0009"));
  ViciMessage children;
  children.add_section("paris-3", std::move(both));
  ViciMessage ike = ike_sa();
  ike.add_section("child-sas", std::move(children));
  ViciMessage m;
  m.add_section("paris", std::move(ike));
  const auto event = parse_event("child-rekey", m);
  ASSERT_TRUE(event) << event.error().describe();
  EXPECT_EQ(std::get<ChildRekey>(*event).before.spi_in, 0xcafe0001U);
  EXPECT_EQ(std::get<ChildRekey>(*event).after.spi_in, 0xcafe0009U);

  ViciMessage ikes;
  ikes.add_section("old", ike_sa()).add_section("new", ike_sa());
  ViciMessage n;
  n.add_section("paris", std::move(ikes));
  EXPECT_TRUE(std::holds_alternative<IkeRekey>(parse_event("ike-rekey", n).value()));
}

TEST(Sas, LogOfAnUnnamedSaHasNoTunnel) {
  ViciMessage m;
  m.add("group", "IKE").add("level", "1").add("thread", "9").add("ikesa-name", "(unnamed)").add("ikesa-uniqueid", "4");
  m.add("msg", "198.51.100.1 is initiating an IKE_SA");
  const auto event = parse_event("log", m);
  ASSERT_TRUE(event);
  const auto& line = std::get<LogLine>(*event);
  EXPECT_EQ(line.tunnel, "");
  EXPECT_EQ(line.thread, 9U);
  EXPECT_EQ(line.unique_id, 4U);
}

TEST(Sas, WhatIsNoSaIsAnError) {
  EXPECT_FALSE(parse_ike_sa({}));
  EXPECT_FALSE(parse_event("ike-rekey", {}));
  EXPECT_EQ(parse_event("list-cert",
                        [] {
                          ViciMessage m;
                          m.add_section("x", {});
                          return m;
                        }())
                .error()
                .code,
            Errc::kUnsupported);
  ViciMessage odd;
  ViciMessage numbers;
  numbers.add("remote-port", "99999").add("uniqueid", "-1");
  odd.add_section("paris", std::move(numbers));
  const auto sa = parse_ike_sa(odd);
  ASSERT_TRUE(sa);
  EXPECT_EQ(sa->remote.port, 0);
  EXPECT_EQ(sa->unique_id, 0U);
}

}  // namespace
}  // namespace gw::ike
