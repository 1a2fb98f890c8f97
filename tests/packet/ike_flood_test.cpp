// How many new IKE SAs a source may ask for, and what may be said by all together that are no tunnel's peer: the same
// limits in the XDP and the tcx program, over the same maps.
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <chrono>
#include <format>
#include <thread>

#include "ebpf/xdp/dry_run.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;
using namespace std::chrono_literals;

constexpr std::uint8_t kInitiator = 0x08;  // RFC 7296 3.1
constexpr std::uint8_t kResponse = 0x20;

struct Ike {
  std::uint8_t responder_spi = 0;  // its last byte
  std::uint8_t flags = kInitiator;
};
Bytes ike(const Ike& m = {}) {
  constexpr std::uint8_t kSaInit = 34;
  return Bytes(8, 0xaa) + Bytes(7, 0) + Bytes{m.responder_spi, 33, 0x20, kSaInit, m.flags} + be32(0) + be32(128) +
         Bytes(100, 0x11);
}
Bytes on_500(const Bytes& message) { return udp({.src = 500, .dst = 500}, message); }
Bytes on_4500(const Bytes& message) { return udp({}, be32(0) + message); }

class IkeFloodTest : public WanTest {
 protected:
  /// How many of `n` pass; the others are counted.
  int passed(const Bytes& frame, int n) {
    const Counters before = maps_->wan_counters();
    int count = 0;
    for (int i = 0; i < n; ++i) count += run(program_->program_fd(), frame) == XDP_PASS ? 1 : 0;
    const Counters delta = counted_since(before);
    EXPECT_EQ(delta[GW_XDP_PASSED], static_cast<std::uint64_t>(count));
    EXPECT_EQ(delta[GW_XDP_DROP_IKE_FLOOD], static_cast<std::uint64_t>(n - count));
    return count;
  }
  /// From so many sources, that nobody knows, one message each.
  int passed_of_strangers(const Bytes& payload, int n) {
    const Counters before = maps_->wan_counters();
    int count = 0;
    for (int i = 0; i < n; ++i) {
      const auto source = ip(std::format("100.64.{}.{}", i / 256, i % 256).c_str());
      count += run(program_->program_fd(), wan_v4(payload, 17, {.src = source})) == XDP_PASS ? 1 : 0;
    }
    EXPECT_EQ(counted_since(before)[GW_XDP_DROP_IKE_FLOOD], static_cast<std::uint64_t>(n - count));
    return count;
  }
  void exhaust(const Bytes& frame) { EXPECT_LT(passed(frame, 3 * GW_IKE_BURST), 2 * GW_IKE_BURST); }
};

TEST_F(IkeFloodTest, ABurstThenOneEveryInterval) {
  const Bytes frame = wan_v4(on_500(ike()), 17);
  const auto start = std::chrono::steady_clock::now();
  const int count = passed(frame, 3 * GW_IKE_BURST);
  const auto intervals = (std::chrono::steady_clock::now() - start) / std::chrono::nanoseconds(GW_IKE_INTERVAL_NS);
  EXPECT_GE(count, GW_IKE_BURST);
  EXPECT_LE(count, GW_IKE_BURST + intervals + 1);
  std::this_thread::sleep_for(2 * std::chrono::nanoseconds(GW_IKE_INTERVAL_NS));
  EXPECT_GE(passed(frame, 1), 1) << "time heals";
}

TEST_F(IkeFloodTest, OtherSourcesAndOtherMessagesGoOn) {
  exhaust(wan_v4(on_500(ike()), 17));
  EXPECT_LT(passed(wan_v4(on_4500(ike()), 17), 10), 10) << "a source is a source on both ports";
  EXPECT_EQ(passed(wan_v4(on_500(ike()), 17, {.src = ip("203.0.113.10")}), 20), 20) << "its neighbour, a stranger";
  EXPECT_EQ(passed(wan_v4(on_500(ike({.responder_spi = 1})), 17), 300), 300) << "an IKE SA that exists: DPD, rekeys";
  EXPECT_EQ(passed(wan_v4(on_500(ike({.flags = kResponse})), 17), 300), 300) << "a cookie for our own request";
  EXPECT_EQ(passed(wan_v4(on_500(ike()), 17, {.dst = ip("198.51.100.7")}), 300), 300) << "for somebody else";
  EXPECT_EQ(run(program_->program_fd(), wan_v4(esp(kKnown), 50)), XDP_REDIRECT) << "its ESP";
}

TEST_F(IkeFloodTest, AnIpv6SourceIsItsNetwork) {
  const auto from = [](const char* source) { return wan_v6(on_4500(ike()), 17, {.src = ip(source)}); };
  exhaust(from("2001:db8:9:1::1"));
  EXPECT_LT(passed(from("2001:db8:9:1:ffff::2"), 10), 10) << "the same /64";
  EXPECT_EQ(passed(from("2001:db8:9:2::1"), 20), 20) << "another one";
}

TEST_F(IkeFloodTest, OfAStrangerEveryMessageCounts) {
  const auto from = ip("203.0.113.66");
  const Bytes exists = wan_v4(on_4500(ike({.responder_spi = 1})), 17, {.src = from});
  exhaust(exists);
  EXPECT_LT(passed(wan_v4(on_500(ike()), 17, {.src = from}), 10), 10);
  EXPECT_LT(passed(wan_v4(on_500(Bytes(4, 1)), 17, {.src = from}), 10), 10) << "what is no IKE message, too";
  ASSERT_TRUE(maps_->add_peer(from));
  EXPECT_EQ(passed(exists, 300), 300) << "a tunnel's peer now";
  maps_->remove_peer(from);
  EXPECT_LT(passed(exists, 10), 10);
}

TEST_F(IkeFloodTest, StrangersHaveOneLimitTogetherAndPeersDoNotShareIt) {
  for (const Bytes& message : {on_500(ike()), on_4500(ike({.responder_spi = 1}))}) {
    const auto start = std::chrono::steady_clock::now();
    const int count = passed_of_strangers(message, 5 * GW_IKE_STRANGERS_BURST);
    const auto intervals =
        (std::chrono::steady_clock::now() - start) / std::chrono::nanoseconds(GW_IKE_STRANGERS_INTERVAL_NS);
    EXPECT_LE(count, GW_IKE_STRANGERS_BURST + intervals + 1);
  }
  EXPECT_LT(passed_of_strangers(on_500(ike()), 100), 100) << "nothing is left";
  EXPECT_EQ(passed(wan_v4(on_500(ike()), 17), GW_IKE_BURST), GW_IKE_BURST) << "a peer's new IKE SAs";
  EXPECT_EQ(passed(wan_v6(on_4500(ike({.responder_spi = 1})), 17), 300), 300) << "a peer's IKE SA that exists";
}

TEST_F(IkeFloodTest, WhatAPeerSaysOfItsSasHasALimitOfItsOwn) {
  const Bytes exists = wan_v4(on_4500(ike({.responder_spi = 1})), 17);
  const auto start = std::chrono::steady_clock::now();
  const int count = passed(exists, 2 * GW_IKE_PEER_BURST);
  const auto intervals = (std::chrono::steady_clock::now() - start) / std::chrono::nanoseconds(GW_IKE_PEER_INTERVAL_NS);
  EXPECT_GE(count, GW_IKE_PEER_BURST);
  EXPECT_LE(count, GW_IKE_PEER_BURST + intervals + 1);
  EXPECT_EQ(passed(wan_v6(on_4500(ike({.responder_spi = 1})), 17), 300), 300) << "another peer";
  EXPECT_EQ(passed(wan_v4(on_4500(ike()), 17), GW_IKE_BURST), GW_IKE_BURST) << "its new IKE SAs";
}

TEST_F(IkeFloodTest, OneStrangerDoesNotUseUpWhatAllHave) {
  exhaust(wan_v4(on_500(ike()), 17, {.src = ip("203.0.113.66")}));
  EXPECT_GE(passed_of_strangers(on_500(ike()), GW_IKE_STRANGERS_BURST), GW_IKE_STRANGERS_BURST - 2 * GW_IKE_BURST);
}

TEST_F(IkeFloodTest, ADryRunIsAlwaysTheFirst) {
  const Bytes frame = wan_v4(on_500(ike()), 17);
  exhaust(frame);
  constexpr std::uint32_t kMaxPacket = 1500;
  DryRun dry(*maps_, kMaxPacket);
  const Bytes stranger = wan_v4(on_500(ike()), 17, {.src = ip("203.0.113.66")});
  const Counters before = maps_->wan_counters();
  for (int i = 0; i < 3 * GW_IKE_STRANGERS_BURST; ++i) {
    const auto outcome = dry.guard(std::span(i % 2 == 0 ? frame : stranger).subspan(ETH_HLEN));
    ASSERT_TRUE(outcome) << outcome.error().describe();
    ASSERT_EQ(*outcome, GW_XDP_PASSED) << "trace " << i;
  }
  EXPECT_EQ(counted_since(before), Counters{}) << "nothing of it is counted";
}

TEST_F(IkeFloodTest, TheTcxProgramHasTheSameLimit) {
  auto tc = WanTcProgram::load(*maps_);
  ASSERT_TRUE(tc) << tc.error().describe();
  const Bytes frame = wan_v4(on_4500(ike()), 17);
  int ok = 0;
  for (int i = 0; i < 3 * GW_IKE_BURST; ++i) ok += run_skb(tc->program_fd(), {.frame = frame}).verdict == TC_ACT_OK;
  EXPECT_GE(ok, GW_IKE_BURST);
  EXPECT_LT(ok, 2 * GW_IKE_BURST);
  EXPECT_LT(passed(frame, 10), 10) << "one map for both";
}

// UDP_GRO makes one buffer of many requests; only the first is looked at, and pays for all.
TEST_F(IkeFloodTest, ATrainIsAsManyAsItHas) {
  auto tc = WanTcProgram::load(*maps_);
  ASSERT_TRUE(tc) << tc.error().describe();
  const SkbInput train{.frame = wan_v4(on_4500(ike()), 17), .gso_segs = 40, .gso_size = 60};
  const Counters before = maps_->wan_counters();
  int ok = 0;
  for (int i = 0; i < 10; ++i) ok += run_skb(tc->program_fd(), train).verdict == TC_ACT_OK;
  EXPECT_EQ(ok, GW_IKE_BURST / 40);
  EXPECT_EQ(counted_since(before)[GW_XDP_DROP_IKE_FLOOD], 40u * static_cast<unsigned>(10 - ok));
}

}  // namespace
}  // namespace gw::xdp
