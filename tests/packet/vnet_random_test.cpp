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
  const bool is_mapped = std::ranges::equal(a.bytes().first(12), mapped("0.0.0.0").bytes().first(12));
  return is_mapped || in("::/127", a) || in("fe80::/10", a) || in("ff00::/8", a);
}

enum class Fate : std::uint8_t { kKernel, kTunnel, kSpoofed };

/// A source that no router forwards goes nowhere by us; towards tunnels and everything else the kernel sees to that.
Fate fate_of(const IpAddress& src, const IpAddress& dst, Fate otherwise) {
  const bool link_local = in("169.254.0.0/16", src);
  if (in("10.1.0.0/24", dst)) return no_router_forwards(src) || link_local ? Fate::kSpoofed : Fate::kKernel;
  return no_router_forwards(src) ? Fate::kKernel : otherwise;
}

Fate fate_of_ipv4(const View& p) {
  if (!p.has(20) || p.u8(0) >> 4 != 4) return Fate::kKernel;
  const unsigned header = (p.u8(0) & 15) * 4;
  if (header < 20 || p.u16(2) < header || !p.has(p.u16(2))) return Fate::kKernel;
  const IpAddress dst = p.address(16, 4);
  const bool fast = header == 20 && p.u16(2) <= GW_XDP_MAX_PACKET && p.u8(8) > 1 && !no_router_forwards(dst) &&
                    !in("169.254.0.0/16", dst) && behind_a_tunnel(dst);
  return fate_of(p.address(12, 4), dst, fast ? Fate::kTunnel : Fate::kKernel);
}

Fate fate_of_ipv6(const View& p) {
  if (!p.has(40) || p.u8(0) >> 4 != 6) return Fate::kKernel;
  const unsigned length = 40 + p.u16(4);
  const IpAddress dst = p.address(24, 16);
  const bool fast = p.has(length) && length <= GW_XDP_MAX_PACKET && p.u8(7) > 1 && p.u8(6) != 0 &&
                    !no_router_forwards(dst) && behind_a_tunnel(dst);
  return fate_of(p.address(8, 16), dst, fast ? Fate::kTunnel : Fate::kKernel);
}

Fate fate(const Bytes& frame) {
  const View f(frame);
  if (!std::equal(kOurMac.begin(), kOurMac.end(), frame.begin())) return Fate::kKernel;
  if (f.u16(12) == kIpv4Type) return fate_of_ipv4(f.from(14));
  return f.u16(12) == kIpv6Type ? fate_of_ipv6(f.from(14)) : Fate::kKernel;
}

struct Verdicts {
  int kernel;
  int tunnel;
  int drop;
  int of(Fate f) const { return f == Fate::kTunnel ? tunnel : f == Fate::kSpoofed ? drop : kernel; }
};
gw_xdp_counter counter_of(Fate f) {
  if (f == Fate::kSpoofed) return GW_XDP_DROP_SPOOFED_SOURCE;
  return f == Fate::kTunnel ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
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
                                                       mapped("0.0.0.0"),
                                                       mapped("198.51.100.9"),
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
  void agree(const auto& look, const Verdicts& verdicts) {
    const auto frames = good_frames();
    std::mt19937 random(20261122);
    unsigned fast = 0;
    for (int i = 0; i < 8'000; ++i) {
      const Bytes frame = changed_address(frames[static_cast<std::size_t>(random()) % frames.size()], random);
      const Fate expected = fate(frame);
      const Counters before = maps_->vnet_counters();
      const std::optional<int> verdict = look(frame);
      if (!verdict) continue;
      ASSERT_EQ(*verdict, verdicts.of(expected)) << "frame " << i << ": " << testing::PrintToString(frame);
      ASSERT_EQ(counted_since(before), only(counter_of(expected))) << "frame " << i;
      fast += expected == Fate::kTunnel;
    }
    EXPECT_GT(fast, 800u);
    EXPECT_LT(fast, 7'200u);
  }
};

TEST_F(VnetRandomTest, XdpAgrees) {
  agree([this](const Bytes& frame) { return std::optional(run(program_->program_fd(), frame)); },
        {.kernel = XDP_PASS, .tunnel = XDP_REDIRECT, .drop = XDP_DROP});
}

TEST_F(VnetRandomTest, TcxAgrees) {
  auto tc = VnetTcProgram::load(*maps_);
  ASSERT_TRUE(tc) << tc.error().describe();
  tc->set_data_device(4711);
  const auto look = [&](const Bytes& frame) -> std::optional<int> {
    if (frame.size() < shortest_skb(frame)) return std::nullopt;
    return run_skb(tc->program_fd(), {.frame = for_loopback(frame)}).verdict;
  };
  agree(look, {.kernel = TC_ACT_OK, .tunnel = TC_ACT_REDIRECT, .drop = TC_ACT_SHOT});
}

}  // namespace
}  // namespace gw::xdp
