// The guard of the wan port against a second opinion: random changes, cuts and extensions of good packets, and a
// classifier that was written from the RFCs in the plainest way. It agrees with both programs about every one.
#include <linux/pkt_cls.h>

#include "ebpf/xdp/tc_programs.hpp"
#include "second_opinion.hpp"
#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

const IpAddress kOurs4 = ip("192.0.2.1");
const IpAddress kOurs6 = ip("2001:db8::1");

gw_xdp_counter esp_is(const View& esp, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  if (!esp.has(8)) return local ? GW_XDP_DROP_ESP_TRUNCATED : GW_XDP_PASSED;
  if (esp.u32(0) == kKnown && local) return GW_XDP_REDIRECTED;
  return local ? GW_XDP_DROP_UNKNOWN_SPI : GW_XDP_PASSED;
}

gw_xdp_counter udp_is(const View& udp, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  if (!udp.has(8) || udp.u16(2) != 4500 || udp.u16(4) <= 8 || !udp.has(udp.u16(4))) return GW_XDP_PASSED;
  const View payload = udp.first(udp.u16(4)).from(8);
  if (payload.size() == 1 && payload.u8(0) == 0xff) return local ? GW_XDP_DROP_NAT_KEEPALIVE : GW_XDP_PASSED;
  if (!payload.has(4) || payload.u32(0) == 0) return GW_XDP_PASSED;
  return esp_is(payload, dst);
}

// Later fragments of UDP do not say what they are of: all of them are the kernel's.
gw_xdp_counter fragment_is(unsigned protocol, const IpAddress& dst) {
  const bool local = dst == kOurs4 || dst == kOurs6;
  return local && protocol == 50 ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
}

gw_xdp_counter ipv4_is(const View& p) {
  if (!p.has(20) || p.u8(0) >> 4 != 4) return GW_XDP_PASSED;
  const std::size_t header = (p.u8(0) & 15) * 4;
  if (header < 20 || p.u16(2) < header || !p.has(p.u16(2))) return GW_XDP_PASSED;
  const IpAddress dst = p.address(16, 4);
  if ((p.u16(6) & 0x3fff) != 0) return fragment_is(p.u8(9), dst);
  const View payload = p.first(p.u16(2)).from(header);
  if (p.u8(9) == 50) return esp_is(payload, dst);
  return p.u8(9) == 17 ? udp_is(payload, dst) : GW_XDP_PASSED;
}

gw_xdp_counter ipv6_is(const View& p) {
  if (!p.has(40) || p.u8(0) >> 4 != 6 || !p.has(40 + p.u16(4))) return GW_XDP_PASSED;
  const IpAddress dst = p.address(24, 16);
  const unsigned next = p.u8(6);
  if (next == 44 && p.has(48)) return fragment_is(p.u8(40), dst);
  const View payload = p.first(40 + p.u16(4)).from(40);
  if (next == 50) return esp_is(payload, dst);
  return next == 17 ? udp_is(payload, dst) : GW_XDP_PASSED;
}

gw_xdp_counter expected(const Bytes& frame) {
  const View f(frame);
  std::size_t at = 12;
  for (int tags = 0; f.has(at + 2); at += 4, ++tags) {
    const unsigned type = f.u16(at);
    if (type == kIpv4Type) return ipv4_is(f.from(at + 2));
    if (type == kIpv6Type) return ipv6_is(f.from(at + 2));
    if ((type != kVlanType && type != kVlanProviderType) || tags == 2) return GW_XDP_PASSED;
  }
  return GW_XDP_PASSED;
}

int xdp_verdict_of(gw_xdp_counter what) {
  if (what == GW_XDP_REDIRECTED) return XDP_REDIRECT;
  return what == GW_XDP_PASSED ? XDP_PASS : XDP_DROP;
}

std::vector<Bytes> good_frames() {
  const Bytes known = esp(kKnown);
  const Bytes unknown = esp(0x9999);
  const Bytes ike = be32(0) + Bytes(28, 1);
  std::vector<Bytes> frames;
  for (const Bytes& content : {known, unknown}) {
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50}, content));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50, .options = 8}, content));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.protocol = 50, .fragment = 0x2000}, content));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 50}, content));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 44}, Bytes{50, 0, 0, 1} + be32(7) + content));
  }
  for (const Bytes& content : {known, unknown, ike, be32(kKnown), Bytes{0xff}}) {
    frames.push_back(ethernet(kIpv4Type) + ipv4({}, udp({}, content)));
    frames.push_back(ethernet(kIpv4Type) + ipv4({.fragment = 0x2000}, udp({}, content)));
    frames.push_back(ethernet(kIpv6Type) + ipv6({}, udp({}, content)));
    frames.push_back(ethernet(kIpv6Type) + ipv6({.next_header = 44}, Bytes{17, 0, 0, 1} + be32(7) + udp({}, content)));
  }
  const std::size_t untagged = frames.size();
  for (std::size_t i = 0; i < untagged; ++i) {
    frames.push_back(tag(frames[i], {kVlanType}));
    frames.push_back(tag(frames[i], {kVlanProviderType, kVlanType}));
  }
  return frames;
}

int tc_verdict_of(gw_xdp_counter what) {
  return what == GW_XDP_REDIRECTED || what == GW_XDP_PASSED ? TC_ACT_OK : TC_ACT_SHOT;
}

class WanRandomTest : public WanTest {
 protected:
  void SetUp() override {
    WanTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(maps_->set_local(std::vector{kOurs4, kOurs6}));
  }

  /// `look` runs the program under test on a frame, or says that it cannot.
  void agree(const auto& look, const auto& verdict_of) {
    const auto frames = good_frames();
    std::mt19937 random(20261121);
    Counters seen{};
    for (int i = 0; i < 8'000; ++i) {
      const Bytes frame = changed(frames[static_cast<std::size_t>(random()) % frames.size()], random);
      const gw_xdp_counter what = expected(frame);
      const Counters before = maps_->wan_counters();
      const std::optional<int> verdict = look(frame);
      if (!verdict) continue;
      ASSERT_EQ(*verdict, verdict_of(what)) << "frame " << i << ": " << testing::PrintToString(frame);
      ASSERT_EQ(counted_since(before), only(what)) << "frame " << i << ": " << testing::PrintToString(frame);
      ++seen[what];
    }
    for (const gw_xdp_counter what : {GW_XDP_REDIRECTED, GW_XDP_PASSED, GW_XDP_DROP_UNKNOWN_SPI,
                                      GW_XDP_DROP_ESP_TRUNCATED, GW_XDP_DROP_NAT_KEEPALIVE})
      EXPECT_GT(seen[what], 5u) << "the mixture reaches every verdict: " << what;
  }
};

TEST_F(WanRandomTest, XdpAgrees) {
  agree([this](const Bytes& frame) { return std::optional(run(program_->program_fd(), frame)); }, xdp_verdict_of);
}

TEST_F(WanRandomTest, TcxAgrees) {
  auto tc = WanTcProgram::load(*maps_);
  ASSERT_TRUE(tc) << tc.error().describe();
  const auto look = [&](const Bytes& frame) -> std::optional<int> {
    if (frame.size() < shortest_skb(frame)) return std::nullopt;
    return run_skb(tc->program_fd(), {.frame = frame}).verdict;
  };
  agree(look, tc_verdict_of);
}

}  // namespace
}  // namespace gw::xdp
