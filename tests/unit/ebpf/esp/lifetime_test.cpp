// Byte and packet lifetimes: flags in the burst's result, typed drops behind the hard limit.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

std::uint8_t send(SaPair& pair, gw_drop want, std::size_t size = 100) {
  Buffer b(inner_packet({.size = size}));
  b.packet.out = pair.outbound.get();
  const BurstResult r = pair.encap.encapsulate({&b.packet, 1}, 123);
  EXPECT_EQ(b.packet.drop, want);
  EXPECT_EQ(pair.outbound->take_events(), r.events);
  return r.events;
}

TEST(Lifetime, OutboundPackets) {
  SaPair pair({.out_lifetime = {.soft_packets = 2, .hard_packets = 4}});
  EXPECT_EQ(send(pair, GW_DROP_NONE), 0);
  EXPECT_EQ(send(pair, GW_DROP_NONE), kSoftPackets);
  EXPECT_EQ(send(pair, GW_DROP_NONE), 0) << "told once";
  EXPECT_EQ(send(pair, GW_DROP_NONE), kHardPackets);
  EXPECT_EQ(send(pair, GW_DROP_HARD_EXPIRED), 0);
  EXPECT_EQ(pair.out_record.packets, 4U);
  EXPECT_EQ(pair.out_record.next_sequence, 5U);
}

TEST(Lifetime, OutboundBytesCountInnerBytes) {
  SaPair pair({.out_lifetime = {.soft_bytes = 200, .hard_bytes = 301}});
  EXPECT_EQ(send(pair, GW_DROP_NONE), 0);
  EXPECT_EQ(send(pair, GW_DROP_NONE), kSoftBytes);
  EXPECT_EQ(send(pair, GW_DROP_NONE), 0);
  EXPECT_EQ(send(pair, GW_DROP_NONE), kHardBytes);
  EXPECT_EQ(send(pair, GW_DROP_HARD_EXPIRED), 0);
  EXPECT_EQ(counters_of(pair.out_record).bytes, 400U);
  EXPECT_EQ(counters_of(pair.out_record).last_used_ms, 123U);
}

TEST(Lifetime, HardLimitIsExactWithinABurstBothWays) {
  SaPair pair({.out_lifetime = {.hard_packets = 8}, .in_lifetime = {.hard_packets = 5}});
  std::vector<Buffer> buffers;
  std::vector<Packet> packets;
  buffers.reserve(10);
  for (int i = 0; i < 10; ++i) {
    buffers.emplace_back(inner_packet({}));
    buffers.back().packet.out = pair.outbound.get();
    packets.push_back(buffers.back().packet);
  }
  const BurstResult out = pair.encap.encapsulate(packets, 1);
  EXPECT_EQ(out.passed, 8U);
  EXPECT_EQ(out.events, kHardPackets);
  packets.resize(8);
  for (Packet& p : packets) ASSERT_EQ(receive(p, *pair.inbound), GW_DROP_NONE);
  const BurstResult in = pair.decap.decapsulate(packets, 1);
  EXPECT_EQ(in.passed, 5U);
  EXPECT_EQ(in.dropped, 3U);
  EXPECT_EQ(in.events, kHardPackets);
  EXPECT_EQ(packets[5].drop, GW_DROP_HARD_EXPIRED);
}

// The packet that reaches a limit of bytes is the last one, wherever it is in its burst.
TEST(Lifetime, ByteLimitsAreExactWithinABurstBothWays) {
  SaPair pair({.out_lifetime = {.soft_bytes = 301, .hard_bytes = 701}, .in_lifetime = {.hard_bytes = 500}});
  std::vector<Buffer> buffers;
  std::vector<Packet> packets;
  buffers.reserve(12);
  for (int i = 0; i < 12; ++i) {
    buffers.emplace_back(inner_packet({.size = 100}));
    buffers.back().packet.out = pair.outbound.get();
    packets.push_back(buffers.back().packet);
  }
  const BurstResult out = pair.encap.encapsulate(packets, 1);
  EXPECT_EQ(out.passed, 8U);
  EXPECT_EQ(out.events, kSoftBytes | kHardBytes);
  EXPECT_EQ(packets[8].drop, GW_DROP_HARD_EXPIRED);
  packets.resize(8);
  for (Packet& p : packets) ASSERT_EQ(receive(p, *pair.inbound), GW_DROP_NONE);
  const BurstResult in = pair.decap.decapsulate(packets, 1);
  EXPECT_EQ(in.passed, 5U);
  EXPECT_EQ(in.events, kHardBytes);
  EXPECT_EQ(packets[5].drop, GW_DROP_HARD_EXPIRED);
  EXPECT_EQ(counters_of(pair.in_record).bytes, 500U);
}

TEST(Lifetime, ForgedPacketsDoNotAgeAnInboundSa) {
  SaPair pair({.in_lifetime = {.soft_packets = 1, .hard_packets = 2}});
  Bytes bad = pair.seal(inner_packet({}));
  bad.back() ^= 1;
  for (int i = 0; i < 5; ++i) {
    const auto opened = pair.open(bad);
    EXPECT_EQ(opened.drop, GW_DROP_ICV);
    EXPECT_EQ(opened.result.events, 0);
  }
  EXPECT_EQ(pair.open(pair.seal(inner_packet({}))).result.events, kSoftPackets);
}

TEST(Lifetime, GoesOnWithTheRecordOfAnEarlierProcess) {
  SaPair first({.out_lifetime = {.hard_packets = 3}});
  send(first, GW_DROP_NONE);
  send(first, GW_DROP_NONE);
  SaPair second({.out_lifetime = {.hard_packets = 3}});
  second.out_record = first.out_record;
  EXPECT_EQ(send(second, GW_DROP_NONE), kHardPackets);
  EXPECT_EQ(send(second, GW_DROP_HARD_EXPIRED), 0);
}

TEST(Lifetime, AnSaThatBeginsBehindItsHardLimitSaysSoOnce) {
  SaPair pair({.out_lifetime = {.hard_packets = 3}, .in_lifetime = {.hard_packets = 3}});
  const Bytes sealed = pair.seal(inner_packet({}));
  pair.out_record.packets = 3;
  pair.in_record.packets = 3;
  EXPECT_EQ(send(pair, GW_DROP_HARD_EXPIRED), kHardPackets);
  EXPECT_EQ(send(pair, GW_DROP_HARD_EXPIRED), 0);
  const auto opened = pair.open(sealed);
  EXPECT_EQ(opened.drop, GW_DROP_HARD_EXPIRED);
  EXPECT_EQ(opened.result.events, kHardPackets);
  EXPECT_EQ(pair.open(sealed).result.events, 0);
}

TEST(Lifetime, AnEventThatCouldNotBeToldIsRaisedAgain) {
  SaPair pair({.out_lifetime = {.soft_packets = 1, .hard_packets = 2}});
  EXPECT_EQ(send(pair, GW_DROP_NONE), kSoftPackets);
  pair.outbound->not_told(kSoftPackets);
  EXPECT_EQ(send(pair, GW_DROP_NONE), kSoftPackets | kHardPackets);
  pair.outbound->not_told(kHardPackets);
  EXPECT_EQ(send(pair, GW_DROP_HARD_EXPIRED), kHardPackets);
}

}  // namespace
}  // namespace gw::esp::test
