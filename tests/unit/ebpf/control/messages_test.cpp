// Every fault that a client can put into a request, by the field the answer names.
#include "ebpf/rpc/messages.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace gw::rpc {
namespace {

std::string packed(std::string_view text) { return IpAddress::parse(text).value().bytes_string(); }

fp::AddSa good_sa() {
  fp::AddSa m;
  m.mutable_id()->set_spi(0x1001);
  m.mutable_id()->set_dst(packed("192.0.2.1"));
  m.mutable_src()->set_address(packed("192.0.2.2"));
  m.mutable_src()->set_port(4500);
  m.mutable_dst()->set_address(packed("192.0.2.1"));
  m.mutable_dst()->set_port(4500);
  m.set_inbound(true);
  m.set_tunnel_id(1);
  m.set_encryption(fp::AES_GCM_16);
  m.set_key(std::string(36, 'k'));
  m.set_esn(true);
  m.set_replay_window(100);
  for (auto* s : {m.add_local_selectors(), m.add_remote_selectors()}) {
    s->set_first(packed("0.0.0.0"));
    s->set_last(packed("255.255.255.255"));
    s->set_last_port(65535);
  }
  m.mutable_lifetime()->set_hard_seconds(3600);
  return m;
}

TEST(Messages, AddSaBecomesParameters) {
  const auto r = parse_add_sa(good_sa(), {});
  ASSERT_TRUE(r) << r.error().describe();
  EXPECT_EQ(r->key().spi, 0x1001u);
  EXPECT_EQ(r->direction, esp::Direction::kInbound);
  EXPECT_EQ(r->origin, esp::KeyOrigin::kReplayed) << "not fresh unless it says so";
  EXPECT_EQ(r->algorithm, "AES_GCM_16-256");
  EXPECT_EQ(r->parameters.replay_window, 128u) << "rounded up to a multiple of 64";
  EXPECT_EQ(r->parameters.sequence_mode, esp::SequenceMode::kExtended);
  EXPECT_EQ(r->parameters.key.size(), 36u);
  EXPECT_EQ(r->hard_lifetime, std::chrono::hours(1));
}

TEST(Messages, ReplayWindowStaysWithinItsBounds) {
  auto m = good_sa();
  for (const auto& [sent, used] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {0, 64}, {64, 64}, {65, 128}, {4096, 4096}, {0xffffffff, 4096}}) {
    m.set_replay_window(sent);
    EXPECT_EQ(parse_add_sa(m, {})->parameters.replay_window, used) << sent;
  }
}

TEST(Messages, EveryFaultOfAddSaNamesItsField) {
  const std::vector<std::pair<std::string, std::function<void(fp::AddSa&)>>> faults = {
      {"id.spi", [](auto& m) { m.mutable_id()->set_spi(255); }},
      {"id.dst", [](auto& m) { m.mutable_id()->set_dst("xyz"); }},
      {"id.dst", [](auto& m) { m.mutable_id()->clear_dst(); }},
      {"src.address", [](auto& m) { m.mutable_src()->set_address(std::string(15, 'a')); }},
      {"src.port", [](auto& m) { m.mutable_src()->set_port(65536); }},
      {"dst.address", [](auto& m) { m.mutable_dst()->set_address(packed("192.0.2.9")); }},
      {"tunnel_id", [](auto& m) { m.set_tunnel_id(0); }},
      {"tunnel_id", [](auto& m) { m.set_tunnel_id(1u << 24); }},
      {"encryption", [](auto& m) { m.clear_encryption(); }},
      {"key", [](auto& m) { m.set_key(std::string(32, 'k')); }},
      {"key", [](auto& m) { m.clear_key(); }},
      {"key", [](auto& m) { m.set_key("abc"); }},
      {"integrity", [](auto& m) { m.set_integrity(fp::HMAC_SHA1_96); }},
      {"integrity", [](auto& m) { m.set_encryption(fp::AES_CBC); }},
      {"integrity", [](auto& m) { m.set_integrity(static_cast<fp::Integrity>(99)); }},
      {"integrity_key", [](auto& m) { m.set_integrity_key("abc"); }},
      {"tfc_pad_to", [](auto& m) { m.set_tfc_pad_to(9001); }},
      {"local_selectors", [](auto& m) { m.clear_local_selectors(); }},
      {"remote_selectors", [](auto& m) { m.clear_remote_selectors(); }},
      {"local_selectors[0].first", [](auto& m) { m.mutable_local_selectors(0)->set_first("a"); }},
      {"remote_selectors[0].protocol", [](auto& m) { m.mutable_remote_selectors(0)->set_protocol(256); }},
      {"remote_selectors[0].last_port", [](auto& m) { m.mutable_remote_selectors(0)->set_last_port(70000); }},
  };
  for (const auto& [field, spoil] : faults) {
    auto m = good_sa();
    spoil(m);
    const auto r = parse_add_sa(m, {});
    ASSERT_FALSE(r) << field;
    EXPECT_EQ(r.error().field, field) << r.error().describe();
    EXPECT_EQ(r.error().message.find("kkkk"), std::string::npos) << "a key in a message";
  }
}

TEST(Messages, AnUnknownAlgorithmIsUnsupported) {
  auto m = good_sa();
  m.set_encryption(static_cast<fp::Encryption>(77));
  EXPECT_EQ(code_of(parse_add_sa(m, {}).error().code), fp::UNSUPPORTED);
  EXPECT_TRUE(parse_add_sa(m, {}).error().message.starts_with("algorithm 77 "));
}

fp::AddSa sa_with(fp::Encryption encryption, std::size_t key, fp::Integrity integrity, std::size_t integrity_key) {
  auto m = good_sa();
  m.set_encryption(encryption);
  m.set_key(std::string(key, 'k'));
  m.set_integrity(integrity);
  m.set_integrity_key(std::string(integrity_key, 'i'));
  return m;
}

TEST(Messages, EveryTransformHasItsMessage) {
  const esp::TransformPermissions all{.legacy = true, .test = true};
  std::set<std::string> reached;
  for (int encryption = fp::Encryption_MIN; encryption <= fp::Encryption_MAX; ++encryption)
    for (int integrity = fp::Integrity_MIN; integrity <= fp::Integrity_MAX; ++integrity)
      for (const std::size_t key : {0U, 16U, 20U, 24U, 28U, 32U, 36U})
        for (const std::size_t integrity_key : {0U, 20U, 32U, 48U, 64U}) {
          const auto m = sa_with(static_cast<fp::Encryption>(encryption), key, static_cast<fp::Integrity>(integrity),
                                 integrity_key);
          const auto r = parse_add_sa(m, all);
          if (!r) continue;
          EXPECT_TRUE(reached.insert(r->algorithm).second) << r->algorithm << " twice";
          EXPECT_EQ(r->algorithm, r->parameters.transform->name);
          EXPECT_EQ(r->parameters.integrity_key.size(), integrity_key);
        }
  EXPECT_EQ(reached.size(), esp::transforms().size());
}

TEST(Messages, WeakTransformsWantAPermission) {
  const auto triple_des = sa_with(fp::TRIPLE_DES_CBC, 24, fp::HMAC_SHA1_96, 20);
  const auto null = sa_with(fp::NULL_CIPHER, 0, fp::HMAC_SHA2_256_128, 32);
  for (const auto* m : {&triple_des, &null}) {
    const auto refused = parse_add_sa(*m, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().field, "encryption");
    EXPECT_EQ(code_of(refused.error().code), fp::UNSUPPORTED);
  }
  EXPECT_NE(parse_add_sa(triple_des, {}).error().message.find("--allow-legacy-crypto"), std::string::npos);
  EXPECT_TRUE(parse_add_sa(triple_des, {.legacy = true}));
  EXPECT_FALSE(parse_add_sa(null, {.legacy = true}));
  EXPECT_TRUE(parse_add_sa(null, {.test = true}));
  EXPECT_FALSE(parse_add_sa(triple_des, {.test = true}));
}

TEST(Messages, EveryFaultOfPutTunnelNamesItsField) {
  fp::PutTunnel good;
  good.set_tunnel_id(1);
  good.set_device("tun1");
  good.set_mtu(1400);
  ASSERT_TRUE(parse_put_tunnel(good));
  const std::vector<std::pair<std::string, std::function<void(fp::PutTunnel&)>>> faults = {
      {"tunnel_id", [](auto& m) { m.set_tunnel_id(0); }},
      {"device", [](auto& m) { m.clear_device(); }},
      {"device", [](auto& m) { m.set_device("sixteen-letters!"); }},
      {"mtu", [](auto& m) { m.set_mtu(575); }},
      {"mtu", [](auto& m) { m.set_mtu(9001); }},
      {"mss_clamp", [](auto& m) { m.set_mss_clamp(1401); }},
      {"carrier", [](auto& m) { m.set_carrier(static_cast<fp::CarrierPolicy>(9)); }},
      {"outer.dscp", [](auto& m) { m.mutable_outer()->set_dscp(64); }},
      {"outer.dscp_policy", [](auto& m) { m.mutable_outer()->set_dscp_policy(static_cast<fp::DscpPolicy>(9)); }},
      {"outer.ecn", [](auto& m) { m.mutable_outer()->set_ecn(static_cast<fp::EcnPolicy>(9)); }},
      {"outer.df", [](auto& m) { m.mutable_outer()->set_df(static_cast<fp::DfPolicy>(9)); }},
  };
  for (const auto& [field, spoil] : faults) {
    auto m = good;
    spoil(m);
    const auto r = parse_put_tunnel(m);
    ASSERT_FALSE(r) << field;
    EXPECT_EQ(r.error().field, field);
  }
}

TEST(Messages, OuterHeaderPolicies) {
  fp::PutTunnel m;
  m.set_tunnel_id(1);
  m.set_device("tun1");
  m.set_mtu(1400);
  EXPECT_EQ(parse_put_tunnel(m)->outer, esp::OuterPolicy{}) << "copied, and DF set";
  m.mutable_outer()->set_dscp_policy(fp::DSCP_FIXED);
  m.mutable_outer()->set_dscp(46);
  m.mutable_outer()->set_ecn(fp::ECN_COMPATIBILITY);
  m.mutable_outer()->set_df(fp::DF_COPY);
  EXPECT_EQ(parse_put_tunnel(m)->outer, (esp::OuterPolicy{.dscp_policy = esp::DscpPolicy::kFixed,
                                                          .dscp = 46,
                                                          .ecn = esp::EcnPolicy::kCompatibility,
                                                          .df = esp::DfPolicy::kCopy}));
}

class RouteMessages : public testing::Test {
 protected:
  static fp::Route route(std::string_view prefix, std::uint32_t length, std::vector<std::uint32_t> tunnels) {
    fp::Route m;
    m.set_prefix(packed(prefix));
    m.set_prefix_length(length);
    m.set_kind(fp::NEXT_HOP_TUNNELS);
    for (const auto t : tunnels) m.add_tunnel_ids(t);
    return m;
  }
  static Result<RouteUpdate> parse(const fp::UpdateRoutes& m, CircuitPort circuit = CircuitPort::kThere) {
    const auto find = [](std::uint32_t id) -> std::optional<fib::TunnelRef> {
      if (id == 1 || id == 2) return fib::TunnelRef{id, static_cast<std::uint16_t>(id), 1400};
      return std::nullopt;
    };
    return parse_update_routes(m, {find, circuit});
  }
  static fp::Route plain(fp::NextHopKind kind, std::vector<std::string_view> gateways) {
    fp::Route m = route("192.0.2.0", 24, {});
    m.set_kind(kind);
    for (const auto gateway : gateways) m.add_gateways(packed(gateway));
    return m;
  }
  static std::string fault(const fp::Route& r) {
    fp::UpdateRoutes m;
    *m.add_add() = route("198.51.100.0", 24, {1});
    *m.add_add() = r;
    const auto parsed = parse(m);
    return parsed ? "" : parsed.error().field;
  }
};

TEST_F(RouteMessages, TunnelsAreSortedSoThatTheOrderSentDoesNotMatter) {
  fp::UpdateRoutes m;
  *m.add_add() = route("192.0.2.0", 24, {2, 1});
  const auto parsed = parse(m);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->add[0].hop.tunnels[0].id, 1u);
}

TEST_F(RouteMessages, FaultsNameTheirField) {
  EXPECT_EQ(fault(route("192.0.2.1", 24, {1})), "add[1].prefix");
  EXPECT_EQ(fault(route("192.0.2.0", 33, {1})), "add[1].prefix_length");
  EXPECT_EQ(fault(route("192.0.2.0", 24, {})), "add[1].tunnel_ids");
  EXPECT_EQ(fault(route("192.0.2.0", 24, {3})), "add[1].tunnel_ids");
  EXPECT_EQ(fault(route("192.0.2.0", 24, {1, 1})), "add[1].tunnel_ids");
  EXPECT_EQ(fault(route("192.0.2.0", 24, std::vector<std::uint32_t>(17, 1))), "add[1].tunnel_ids");
  EXPECT_EQ(fault(route("198.51.100.0", 24, {2})), "add") << "the same prefix twice";
  auto unknown = route("192.0.2.0", 24, {1});
  unknown.clear_kind();
  EXPECT_EQ(fault(unknown), "add[1].kind");
  auto gateway = route("192.0.2.0", 24, {});
  gateway.set_kind(fp::NEXT_HOP_VNET);
  gateway.add_gateways("short");
  EXPECT_EQ(fault(gateway), "add[1].gateways[0]");
}

TEST_F(RouteMessages, FaultsOfGatewaysNameTheirField) {
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_VNET, {})), "") << "on link";
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_CIRCUIT, {"192.168.30.18", "192.168.30.22"})), "");
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_CIRCUIT, {"fe80::1"})), "") << "RFC 8950: an IPv6 next hop of an IPv4 prefix";
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_CIRCUIT, {})), "add[1].gateways") << "a circuit is not one link";
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_CIRCUIT, {"192.0.2.1", "2001:db8::1"})), "add[1].gateways[1]");
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_VNET, {"192.0.2.1", "192.0.2.2", "192.0.2.1"})), "add[1].gateways");
  for (const std::string_view nobody : {"0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1"})
    EXPECT_EQ(fault(plain(fp::NEXT_HOP_VNET, {nobody})), "add[1].gateways[0]") << nobody;
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_CIRCUIT, std::vector<std::string_view>(17, "192.0.2.1"))), "add[1].gateways");
  EXPECT_EQ(fault(plain(fp::NEXT_HOP_KERNEL, {"192.0.2.1"})), "add[1].gateways");
  auto tunnels = plain(fp::NEXT_HOP_VNET, {"192.0.2.1"});
  tunnels.add_tunnel_ids(1);
  EXPECT_EQ(fault(tunnels), "add[1].tunnel_ids");
  for (auto handed : {plain(fp::NEXT_HOP_VNET, {}), plain(fp::NEXT_HOP_CIRCUIT, {"192.0.2.1"})}) {
    handed.set_behind(fp::BEHIND_CIRCUIT);
    EXPECT_EQ(fault(handed), "add[1].behind");
  }
  auto nowhere = plain(fp::NEXT_HOP_VNET, {"192.0.2.1"});
  nowhere.set_behind(static_cast<fp::Behind>(9));
  EXPECT_EQ(fault(nowhere), "add[1].behind");
}

TEST_F(RouteMessages, WithoutACircuitPortThereAreNoCircuitRoutes) {
  fp::UpdateRoutes m;
  *m.add_add() = plain(fp::NEXT_HOP_CIRCUIT, {"192.168.30.18"});
  EXPECT_TRUE(parse(m, CircuitPort::kThere));
  const auto refused = parse(m, CircuitPort::kNone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "add[0].kind");
}

TEST_F(RouteMessages, WhatIsListedIsWhatWasSent) {
  fp::UpdateRoutes m;
  *m.add_add() = route("2001:db8::", 32, {1, 2});
  fp::Route& vnet = *m.add_add();
  vnet.set_prefix(packed("10.0.0.0"));
  vnet.set_prefix_length(8);
  vnet.set_kind(fp::NEXT_HOP_VNET);
  vnet.add_gateways(packed("10.1.0.253"));
  vnet.add_gateways(packed("10.1.0.254"));
  vnet.set_behind(fp::BEHIND_TUNNELS);
  *m.add_add() = plain(fp::NEXT_HOP_CIRCUIT, {"192.168.30.18", "192.168.30.22"});
  const auto parsed = parse(m);
  ASSERT_TRUE(parsed) << parsed.error().describe();
  for (int i = 0; i < m.add_size(); ++i) {
    fp::Route back;
    fill(parsed->add[static_cast<std::size_t>(i)], back);
    EXPECT_EQ(back.SerializeAsString(), m.add(i).SerializeAsString());
  }
}

}  // namespace
}  // namespace gw::rpc
