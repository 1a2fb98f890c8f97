// What shows outside: DSCP, ECN and DF policies on whole packets; TFC padding; dummy packets; drops of one SA.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

std::uint8_t outer_class(const Bytes& wire) {
  return wire[0] >> 4 == 4 ? wire[1] : static_cast<std::uint8_t>(wire[0] << 4 | wire[1] >> 4);
}

struct Marks {
  const char* what;
  OuterPolicy policy;
  std::uint8_t copied;  // bits of the inner class that go outside
  std::uint8_t set;
};

TEST(OuterPolicy, TrafficClassForEveryInnerOne) {
  const Marks rows[] = {
      {"default", {}, 0xff, 0},
      {"compatibility mode of ECN", {.ecn = EcnPolicy::kCompatibility}, 0xfc, 0},
      {"no DSCP", {.dscp_policy = DscpPolicy::kFixed}, 0x03, 0},
      {"fixed EF", {.dscp_policy = DscpPolicy::kFixed, .dscp = 46}, 0x03, 0xb8},
      {"fixed EF, no ECN", {.dscp_policy = DscpPolicy::kFixed, .dscp = 46, .ecn = EcnPolicy::kCompatibility}, 0, 0xb8},
      {"a fixed value that nobody uses", {.dscp_policy = DscpPolicy::kFixed, .dscp = 63}, 0x03, 0xfc},
      {"dscp without kFixed", {.dscp = 46}, 0xff, 0},
  };
  for (const Marks& row : rows)
    for (const Family outer : {Family::kV4, Family::kV6})
      for (const Family inner : {Family::kV4, Family::kV6}) {
        SCOPED_TRACE(row.what);
        SaPair pair({.outer = outer, .window = 1024, .policy = row.policy});
        for (int tos = 0; tos < 256; ++tos) {
          const Bytes plain = inner_packet({.family = inner, .tos = static_cast<std::uint8_t>(tos)});
          const Bytes wire = pair.seal(plain);
          EXPECT_EQ(outer_class(wire), (tos & row.copied) | row.set) << tos;
          if (outer == Family::kV4) {
            EXPECT_TRUE(ipv4_checksum_ok(wire.data(), 20));
          }
          EXPECT_EQ(pair.open(wire).inner, plain) << "inner DSCP is not touched";
        }
      }
}

Bytes with_df(Bytes packet, std::uint16_t field) {
  store_be(&packet[6], field);
  fix_ipv4_checksum(packet.data());
  return packet;
}

TEST(OuterPolicy, DontFragment) {
  struct Row {
    DfPolicy policy;
    std::uint16_t inner;
    std::uint16_t outer;
  };
  constexpr std::uint16_t kMore = 0x2000;
  const Row rows[] = {
      {DfPolicy::kSet, 0, kDontFragment},
      {DfPolicy::kSet, kDontFragment, kDontFragment},
      {DfPolicy::kCopy, 0, 0},
      {DfPolicy::kCopy, kDontFragment, kDontFragment},
      {DfPolicy::kCopy, kMore | 7, 0},
      {DfPolicy::kClear, 0, 0},
      {DfPolicy::kClear, kDontFragment, 0},
      {DfPolicy::kSet, kMore, kDontFragment},
  };
  for (const Row& row : rows) {
    SaPair pair({.policy = {.df = row.policy}});
    const Bytes wire = pair.seal(with_df(inner_packet({}), row.inner));
    EXPECT_EQ(load_be<std::uint16_t>(&wire[6]), row.outer) << int(row.policy) << " " << row.inner;
    EXPECT_TRUE(ipv4_checksum_ok(wire.data(), 20));
  }
  // IPv6 is never fragmented on the way (RFC 8200 5): "copy" keeps that promise.
  for (const auto& [policy, want] : {std::pair{DfPolicy::kCopy, kDontFragment}, {DfPolicy::kClear, std::uint16_t{0}}}) {
    SaPair pair({.policy = {.df = policy}});
    const Bytes wire = pair.seal(inner_packet({.family = Family::kV6}));
    EXPECT_EQ(load_be<std::uint16_t>(&wire[6]), want);
  }
}

TEST(OuterPolicy, ChangesFromOnePacketToTheNext) {
  SaPair pair({});
  const Bytes plain = inner_packet({.tos = 0xb9});
  EXPECT_EQ(outer_class(pair.seal(plain)), 0xb9);
  pair.outbound->set_outer_policy({.dscp_policy = DscpPolicy::kFixed, .dscp = 8, .df = DfPolicy::kClear});
  const Bytes wire = pair.seal(plain);
  EXPECT_EQ(outer_class(wire), 8 << 2 | 1);
  EXPECT_EQ(wire[6], 0);
}

TEST(TfcPadding, SmallerPacketsAllLookAlike) {  // RFC 4303 2.7
  constexpr std::uint16_t kPadTo = 600;
  for (const char* transform : {"AES_GCM_16-256", "AES_CBC-256/HMAC_SHA2_256_128", "CHACHA20_POLY1305"}) {
    SCOPED_TRACE(transform);
    SaPair pair({.transform = transform, .window = 1024, .pad_to = kPadTo});
    const std::size_t same = outer_length(*pair.outbound, 20);
    for (std::size_t size = 20; size <= 700; size += 17) {
      const Bytes plain = inner_packet({.size = size});
      Buffer b(plain, kMaxHeadroom, kMaxTailroom + kPadTo);
      b.packet.out = pair.outbound.get();
      ASSERT_EQ(pair.encap.encapsulate({&b.packet, 1}, 1).passed, 1U);
      EXPECT_EQ(b.packet.length, outer_length(*pair.outbound, static_cast<std::uint32_t>(size)));
      if (size <= kPadTo) {
        EXPECT_EQ(b.packet.length, same) << size;
      }
      EXPECT_EQ(pair.open(b.bytes()).inner, plain) << size;
    }
  }
}

TEST(TfcPadding, IsZerosAndNotWhatTheBufferHeld) {
  SaPair pair({.transform = "NULL/HMAC_SHA2_256_128", .pad_to = 200});
  Buffer b(inner_packet({.size = 60}), kMaxHeadroom, kMaxTailroom + 200);  // around it: guard bytes, not zeros
  b.packet.out = pair.outbound.get();
  ASSERT_EQ(pair.encap.encapsulate({&b.packet, 1}, 1).passed, 1U);
  const Bytes wire = b.bytes();
  const Bytes padding(wire.begin() + 28 + 60, wire.begin() + 28 + 200);
  EXPECT_EQ(padding, Bytes(140, 0));
}

TEST(TfcPadding, WithoutRoomItIsADropThatUsesNoNumbers) {
  SaPair pair({.pad_to = 600});
  Buffer b(inner_packet({.size = 100}));
  b.packet.out = pair.outbound.get();
  pair.encap.encapsulate({&b.packet, 1}, 1);
  EXPECT_EQ(b.packet.drop, GW_DROP_NO_HEADROOM);
  EXPECT_EQ(pair.out_record.next_sequence, 1U);
}

TEST(Dummies, AreAuthenticCountAndGoNowhere) {  // RFC 4303 2.6
  for (const char* transform : {"AES_GCM_16-256", "AES_CBC-128/HMAC_SHA1_96"}) {
    SCOPED_TRACE(transform);
    SaPair pair({.transform = transform, .policy = {.dscp_policy = DscpPolicy::kFixed, .dscp = 10}});
    for (const std::size_t size : {0U, 1U, 64U, 1400U}) {
      Buffer b(Bytes(size, 0xee));
      b.packet.out = pair.outbound.get();
      ASSERT_EQ(pair.encap.encapsulate_dummies({&b.packet, 1}, 1).passed, 1U) << size;
      EXPECT_EQ(b.packet.length, outer_length(*pair.outbound, static_cast<std::uint32_t>(size)));
      EXPECT_EQ(outer_class(b.bytes()), 10 << 2) << "as the packets that it hides among";
      const Bytes wire = b.bytes();
      EXPECT_EQ(pair.open(wire).drop, GW_DROP_DUMMY);
      EXPECT_EQ(pair.open(wire).drop, GW_DROP_REPLAY);
    }
    EXPECT_EQ(pair.in_record.packets, 4U);
    EXPECT_EQ(pair.in_record.replay_top, 4U);
    EXPECT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_NONE);
  }
}

TEST(SaDrops, AreCountedByReasonForBothDirections) {
  SaPair pair({.out_lifetime = {.hard_packets = 3}});
  const auto drops = pair.inbound->drops();
  const Bytes wire = pair.seal(inner_packet({}));
  Bytes bad = wire;
  bad.back() ^= 1;
  pair.open(bad);
  pair.open(bad);
  pair.open(wire);
  pair.open(wire);
  pair.open(pair.forge(Bytes{0, 4}, 9));
  EXPECT_EQ(drops->get(GW_DROP_ICV), 2U);
  EXPECT_EQ(drops->get(GW_DROP_REPLAY), 1U);
  EXPECT_EQ(drops->get(GW_DROP_MALFORMED_INNER), 1U);
  EXPECT_EQ(drops->get(GW_DROP_TRUNCATED), 0U);
  pair.seal(inner_packet({}));
  pair.seal(inner_packet({}));
  Buffer late(inner_packet({}));
  late.packet.out = pair.outbound.get();
  pair.encap.encapsulate({&late.packet, 1}, 1);
  EXPECT_EQ(pair.outbound->drops()->get(GW_DROP_HARD_EXPIRED), 1U);
  pair.inbound.reset();
  EXPECT_EQ(drops->get(GW_DROP_ICV), 2U) << "they outlive the SA for whoever reads them";
}

}  // namespace
}  // namespace gw::esp::test
