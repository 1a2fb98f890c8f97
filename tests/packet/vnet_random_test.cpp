// The decision on the vnet port against a second opinion, of both programs: random changes of good packets, and the
// rules of RFC 1812 5 and RFC 4291 2 in the plainest way over a list of prefixes.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <algorithm>

#include "ebpf/xdp/tc_programs.hpp"
#include "second_opinion.hpp"
#include "vnet_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

/// The longest prefix decides.
bool behind_a_tunnel(const IpAddress& dst) {
  if (dst == ip("198.51.100.1") || dst == ip("2001:db8:9::5")) return false;  // ours
  bool tunnel = false;
  unsigned longest = 0;
  for (const VnetRoute& route : vnet_routes()) {
    const Prefix prefix = Prefix::parse(route.prefix).value();
    if (!prefix.contains(dst) || prefix.length() < longest) continue;
    longest = prefix.length();
    tunnel = route.tunnel;
  }
  return tunnel;
}

bool in(std::string_view prefix, const IpAddress& a) { return Prefix::parse(prefix).value().contains(a); }

bool no_router_forwards(const IpAddress& a) {
  if (a.is_v4()) return in("0.0.0.0/8", a) || in("127.0.0.0/8", a) || in("224.0.0.0/3", a);
  return in("::/127", a) || in("fe80::/10", a) || in("ff00::/8", a);
}

bool ipv4_is_fast(const View& p) {
  if (!p.has(20) || p.u8(0) != 0x45) return false;  // options are the kernel's
  if (p.u16(2) < 20 || !p.has(p.u16(2)) || p.u16(2) > GW_XDP_MAX_PACKET || p.u8(8) <= 1) return false;
  const IpAddress src = p.address(12, 4);
  const IpAddress dst = p.address(16, 4);
  return !no_router_forwards(src) && !no_router_forwards(dst) && !in("169.254.0.0/16", dst) && behind_a_tunnel(dst);
}

bool ipv6_is_fast(const View& p) {
  if (!p.has(40) || p.u8(0) >> 4 != 6) return false;
  const unsigned length = 40 + p.u16(4);
  if (!p.has(length) || length > GW_XDP_MAX_PACKET || p.u8(7) <= 1 || p.u8(6) == 0) return false;
  const IpAddress dst = p.address(24, 16);
  return !no_router_forwards(p.address(8, 16)) && !no_router_forwards(dst) && behind_a_tunnel(dst);
}

bool is_fast(const Bytes& frame) {
  const View f(frame);
  if (!std::equal(kOurMac.begin(), kOurMac.end(), frame.begin())) return false;
  if (f.u16(12) == kIpv4Type) return ipv4_is_fast(f.from(14));
  return f.u16(12) == kIpv6Type && ipv6_is_fast(f.from(14));
}

std::vector<Bytes> good_frames() {
  std::vector<Bytes> frames;
  for (const VnetRow& row : vnet_rows())
    if (row.frame.size() < 300) frames.push_back(row.frame);
  return frames;
}

/// `changed`, and often an address that lies near the edge of a rule.
Bytes changed_address(Bytes frame, std::mt19937& random) {
  static const auto kEdges = std::to_array<IpAddress>({ip("198.51.100.0"),
                                                       ip("198.51.99.255"),
                                                       ip("198.51.100.207"),
                                                       ip("198.51.100.208"),
                                                       ip("0.255.255.255"),
                                                       ip("1.0.0.0"),
                                                       ip("126.255.255.255"),
                                                       ip("128.0.0.0"),
                                                       ip("223.255.255.255"),
                                                       ip("224.0.0.0"),
                                                       ip("255.255.255.255"),
                                                       ip("169.253.255.255"),
                                                       ip("169.254.0.0"),
                                                       ip("169.255.0.0"),
                                                       ip("::"),
                                                       ip("::1"),
                                                       ip("::2"),
                                                       ip("::ff"),
                                                       ip("fe7f:ffff::"),
                                                       ip("fe80::"),
                                                       ip("febf::"),
                                                       ip("fec0::"),
                                                       ip("feff::"),
                                                       ip("ff00::"),
                                                       ip("2001:db8:9::"),
                                                       ip("2001:db8:9:ffff:ffff::1"),
                                                       ip("2001:db8:a::"),
                                                       ip("2001:db8:9::deae")});
  const IpAddress& edge = kEdges[static_cast<std::size_t>(random()) % kEdges.size()];
  const std::size_t at = edge.is_v4() ? 12 : 8;  // the source; the destination is behind it
  const std::size_t place = 14 + at + (random() % 3 == 0 ? 0 : edge.bytes().size());
  const bool fits = frame.size() >= place + edge.bytes().size() && frame[12] == (edge.is_v4() ? 0x08 : 0x86);
  if (fits && random() % 2 == 0) std::ranges::copy(edge.bytes(), frame.begin() + static_cast<std::ptrdiff_t>(place));
  return random() % 2 == 0 ? frame : changed(std::move(frame), random);
}

class VnetRandomTest : public VnetTest {
 protected:
  void agree(const auto& look, int redirect, int pass) {
    const auto frames = good_frames();
    std::mt19937 random(20261122);
    unsigned fast = 0;
    for (int i = 0; i < 8'000; ++i) {
      const Bytes frame = changed_address(frames[static_cast<std::size_t>(random()) % frames.size()], random);
      const bool expected = is_fast(frame);
      const Counters before = maps_->vnet_counters();
      const std::optional<int> verdict = look(frame);
      if (!verdict) continue;
      ASSERT_EQ(*verdict, expected ? redirect : pass) << "frame " << i << ": " << testing::PrintToString(frame);
      ASSERT_EQ(counted_since(before), only(expected ? GW_XDP_REDIRECTED : GW_XDP_PASSED)) << "frame " << i;
      fast += expected;
    }
    EXPECT_GT(fast, 800u);
    EXPECT_LT(fast, 7'200u);
  }
};

TEST_F(VnetRandomTest, XdpAgrees) {
  agree([this](const Bytes& frame) { return std::optional(run(program_->program_fd(), frame)); }, XDP_REDIRECT,
        XDP_PASS);
}

TEST_F(VnetRandomTest, TcxAgrees) {
  auto tc = VnetTcProgram::load(*maps_);
  ASSERT_TRUE(tc) << tc.error().describe();
  tc->set_data_device(4711);
  const auto look = [&](const Bytes& frame) -> std::optional<int> {
    if (frame.size() < shortest_skb(frame)) return std::nullopt;
    return run_skb(tc->program_fd(), {.frame = for_loopback(frame)}).verdict;
  };
  agree(look, TC_ACT_REDIRECT, TC_ACT_OK);
}

}  // namespace
}  // namespace gw::xdp
