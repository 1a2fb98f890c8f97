#include "ike/connection.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/ike/intent.hpp"

namespace gw::ike {
namespace {

using namespace std::chrono_literals;
using test::paris;

TEST(Connection, Ikev1HasOnePairOfNetworksAndNothingThatItCannotSay) {
  auto t = paris();
  t.version = IkeVersion::kV1;
  t.ike_proposals = {{"AES256", "SHA256", "DHGroup14"}};
  t.esp_proposals = {"aes256gcm16-modp2048-noesn"};
  t.esn = Esn::kNever;
  const auto message = render_connection(t);
  ASSERT_TRUE(message) << message.error().describe();
  const std::string text = message->to_string();
  EXPECT_TRUE(text.contains("  version = 1\n"));
  EXPECT_TRUE(text.contains("proposals = [aes256-sha256-modp2048]"));
  EXPECT_TRUE(text.contains("local_ts = [0.0.0.0/0]\n"));
  EXPECT_TRUE(text.contains("remote_ts = [0.0.0.0/0]\n"));
}

TEST(Connection, Ikev1RefusesWhatItCannotSay) {
  const auto refused = [](const std::function<void(TunnelIntent&)>& change) {
    auto t = paris();
    t.version = IkeVersion::kV1;
    t.ike_proposals = {{"AES256", "SHA256", "DHGroup14"}};
    t.esn = Esn::kNever;
    EXPECT_TRUE(validate(t));
    change(t);
    const auto status = validate(t);
    return status ? std::string() : status.error().describe();
  };
  EXPECT_EQ(refused([](auto& t) { t.ike_proposals = {{"GCMAES256", "SHA384", "ECP384"}}; }),
            "ike.encryption: IKEv1 has no GCMAES256 for its own messages");
  EXPECT_EQ(refused([](auto& t) { t.esn = Esn::kOffer; }), "esn: not with IKEv1");
  EXPECT_EQ(refused([](auto& t) {
              t.local_selectors = {Prefix::parse("10.0.0.0/8").value(), Prefix::parse("10.0.0.0/9").value()};
            }),
            "local_selectors: IKEv1 has one pair of networks for each tunnel");
}

TEST(Connection, Golden) {
  const auto message = render_connection(paris());
  ASSERT_TRUE(message) << message.error().describe();
  EXPECT_EQ(message->to_string(), R"(paris-ce1/gw-a {
  version = 2
  local_addrs = [203.0.113.10]
  remote_addrs = [198.51.100.1]
  proposals = [aes256gcm16-prfsha384-ecp384]
  unique = never
  mobike = no
  encap = no
  fragmentation = yes
  keyingtries = 1
  dpd_delay = 45s
  rekey_time = 28530s
  over_time = 270s
  rand_time = 270s
  reauth_time = 0s
  send_certreq = no
  if_id_in = 7
  if_id_out = 7
  local {
    auth = psk
    id = 203.0.113.10
  }
  remote {
    auth = psk
    id = ce1.paris.example
  }
  children {
    paris-ce1/gw-a {
      mode = tunnel
      esp_proposals = [aes256gcm16-esn-noesn]
      local_ts = [0.0.0.0/0, ::/0]
      remote_ts = [0.0.0.0/0, ::/0]
      if_id_in = 7
      if_id_out = 7
      life_time = 27000s
      rekey_time = 26730s
      rand_time = 270s
      replay_window = 1024
      start_action = none
      close_action = none
      dpd_action = clear
      life_bytes = 104857600000
      rekey_bytes = 94371840000
      rand_bytes = 5242880000
    }
  }
}
)");
}

TEST(Connection, ChoicesOfTheOperator) {
  TunnelIntent t = paris();
  t.encapsulation = Encapsulation::kForceUdp;
  t.esn = Esn::kNever;
  t.esp_proposals = {"aes128gcm16-modp2048-noesn", "aes256-sha256-ecp256-noesn"};
  t.tfc_padding = 700;
  t.ipsec_lifetime = {.rekey = 9s, .jitter = 1s, .hard = 40s};
  t.ipsec_lifetime_kb = 0;
  t.local_selectors = {Prefix::parse("10.0.0.0/16").value()};
  const std::string text = render_connection(t)->to_string();
  EXPECT_TRUE(text.contains("encap = yes")) << text;
  EXPECT_TRUE(text.contains("[aes128gcm16-modp2048-noesn, aes256-sha256-ecp256-noesn]")) << text;
  EXPECT_TRUE(text.contains("tfc_padding = 700")) << text;
  EXPECT_TRUE(text.contains("life_time = 40s\n      rekey_time = 9s\n      rand_time = 1s")) << text;
  EXPECT_TRUE(text.contains("local_ts = [10.0.0.0/16]")) << text;
  EXPECT_FALSE(text.contains("life_bytes")) << text;
  EXPECT_TRUE(text.contains("rekey_packets = 2147483648")) << text;
}

TEST(Connection, SecretOwnsOnlyTheRemoteId) {
  const auto message = render_secret(paris());
  ASSERT_TRUE(message);
  EXPECT_EQ(message->to_string(), "id = paris-ce1/gw-a\ntype = IKE\ndata = (secret)\nowners = [ce1.paris.example]\n");
}

TEST(Connection, Keywords) {
  EXPECT_EQ(ike_keyword({"AES256", "SHA256", "DHGroup14"}), "aes256-sha256-modp2048");
  EXPECT_EQ(ike_keyword({"GCMAES128", "SHA256", "ECP256"}), "aes128gcm16-prfsha256-ecp256");
  EXPECT_EQ(ike_keyword({"AES128", "SHA1", "DHGroup2"}), "aes128-sha1-modp1024");
}

TEST(Connection, RefusalsNameTheField) {
  struct Row {
    const char* field;
    std::function<void(TunnelIntent&)> change;
  };
  const std::vector<Row> rows{
      {"name", [](TunnelIntent& t) { t.name = "two words"; }},
      {"name", [](TunnelIntent& t) { t.name.clear(); }},
      {"tunnel_id", [](TunnelIntent& t) { t.tunnel_id = 0; }},
      {"remote.identity", [](TunnelIntent& t) { t.remote.identity = "a b"; }},
      {"remote.identity", [](TunnelIntent& t) { t.remote.identity = "203.0.113.10"; }},
      {"remote.address", [](TunnelIntent& t) { t.remote.address = {}; }},
      {"remote.address", [](TunnelIntent& t) { t.remote.address = IpAddress::parse("2001:db8::1").value(); }},
      {"ike.encryption", [](TunnelIntent& t) { t.ike_proposals[0].encryption = "DES3"; }},
      {"ike.integrity", [](TunnelIntent& t) { t.ike_proposals[0].integrity = "MD5"; }},
      {"ike.dh_group", [](TunnelIntent& t) { t.ike_proposals[0].dh_group = "DHGroup1"; }},
      {"esp_proposals", [](TunnelIntent& t) { t.esp_proposals.clear(); }},
      {"esp_proposals", [](TunnelIntent& t) { t.esp_proposals = {"aes256gcm16", ""}; }},
      {"esp_proposals", [](TunnelIntent& t) { t.esp_proposals = {"aes256gcm16, aes128"}; }},
      {"ipsec_lifetime", [](TunnelIntent& t) { t.ipsec_lifetime = {.rekey = 0s, .jitter = 0s, .hard = 30s}; }},
      {"ipsec_lifetime", [](TunnelIntent& t) { t.ipsec_lifetime = {.rekey = 5s, .jitter = 0s, .hard = 5s}; }},
      {"ike_lifetime", [](TunnelIntent& t) { t.ike_lifetime = {.rekey = 5s, .jitter = 5s, .hard = 9s}; }},
      {"dpd_delay", [](TunnelIntent& t) { t.dpd_delay = 0s; }},
      {"replay_window", [](TunnelIntent& t) { t.replay_window = 8192; }},
  };
  for (const Row& row : rows) {
    TunnelIntent t = paris();
    row.change(t);
    const auto message = render_connection(t);
    ASSERT_FALSE(message) << row.field;
    EXPECT_EQ(message.error().field, row.field);
  }
  TunnelIntent t = paris();
  t.psk = {};
  EXPECT_EQ(render_secret(t).error().field, "psk");
}

TEST(Connection, ADeadPeerIsFoundWithinDpdDelayAndAHalfMinute) {
  // 2 + 3 + 4.5 + 6.75 + 10.125 s of retransmissions
  EXPECT_EQ(detection_time(45s), 45s + 26375ms);
}

}  // namespace
}  // namespace gw::ike
