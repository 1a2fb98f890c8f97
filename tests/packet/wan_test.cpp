// The wan program: (description, frame, verdict, counter) rows, and every truncation of every row.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <array>
#include <format>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "ebpf/xdp/programs.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "packets.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

constexpr std::uint32_t kKnown = 0x1001;
constexpr std::uint32_t kUnknown = 0x9999;

struct Row {
  const char* what;
  Bytes frame;
  int verdict;
  gw_xdp_counter counter;
};

// BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
constexpr std::size_t kShortestFrame = 14;

// A byte of the IP header that says something else.
struct Lie {
  std::size_t at = SIZE_MAX;
  std::uint8_t value = 0;
};

Bytes tell(Bytes frame, const Lie& lie) {
  if (lie.at != SIZE_MAX) frame[kShortestFrame + lie.at] = lie.value;
  return frame;
}
Bytes v4(const Bytes& payload, std::uint8_t protocol, Ipv4 h = {}, const Lie& lie = {}) {
  h.protocol = protocol;
  return tell(ethernet(kIpv4Type) + ipv4(h, payload), lie);
}
Bytes v6(const Bytes& payload, std::uint8_t protocol, Ipv6 h = {}, const Lie& lie = {}) {
  h.next_header = protocol;
  return tell(ethernet(kIpv6Type) + ipv6(h, payload), lie);
}

constexpr int kRedirect = XDP_REDIRECT;
constexpr gw_xdp_counter kRedirected = GW_XDP_REDIRECTED;

std::vector<Row> rows() {
  const Bytes known = esp(kKnown);
  const Bytes ike = be32(0) + Bytes(28, 1);
  const Ipv4 elsewhere = {.dst = ip("198.51.100.7")};
  return {
      {"ESP, known SPI", v4(known, 50), kRedirect, kRedirected},
      {"ESP, known SPI, IP options", v4(known, 50, {.options = 8}), kRedirect, kRedirected},
      {"ESP, known SPI, VLAN", ethernet(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), kRedirect,
       kRedirected},
      {"ESP, known SPI, two VLAN tags",
       ethernet(0x88a8) + vlan(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), kRedirect, kRedirected},
      {"ESP, three VLAN tags",
       ethernet(0x88a8) + vlan(0x88a8) + vlan(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), XDP_PASS,
       GW_XDP_PASSED},
      {"ESP over IPv6, known SPI", v6(known, 50), kRedirect, kRedirected},
      {"ESP in UDP, known SPI", v4(udp({}, known), 17), kRedirect, kRedirected},
      {"ESP in UDP, source port of a NAT", v4(udp({.src = 40001}, known), 17), kRedirect, kRedirected},
      {"ESP in UDP over IPv6", v6(udp({}, known), 17), kRedirect, kRedirected},
      {"known SPI, another destination of ours", v4(known, 50, {.dst = ip("192.0.2.2")}), XDP_DROP,
       GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP, unknown SPI", v4(esp(kUnknown), 50), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP in UDP, unknown SPI", v4(udp({}, esp(kUnknown)), 17), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP over IPv6, unknown SPI", v6(esp(kUnknown), 50), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP for somebody else", v4(esp(kUnknown), 50, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"first fragment", v4(known, 50, {.fragment = 0x2000}), kRedirect, kRedirected},
      {"later fragment", v4(known, 50, {.fragment = 0x0010}), kRedirect, kRedirected},
      {"fragment for somebody else", v4(known, 50, {.dst = ip("198.51.100.7"), .fragment = 0x2000}), XDP_PASS,
       GW_XDP_PASSED},
      {"later fragment for somebody else", v4(known, 50, {.dst = ip("198.51.100.7"), .fragment = 0x0010}), XDP_PASS,
       GW_XDP_PASSED},
      {"first fragment of ESP in UDP", v4(udp({}, known), 17, {.fragment = 0x2000}), kRedirect, kRedirected},
      {"later fragment of UDP", v4(Bytes(16, 1), 17, {.fragment = 0x0010}), kRedirect, kRedirected},
      {"fragment of IKE: its later ones cannot be told from ESP", v4(udp({}, ike), 17, {.fragment = 0x2000}), kRedirect,
       kRedirected},
      {"fragment of TCP", v4(Bytes(24, 0), 6, {.fragment = 0x2000}), XDP_PASS, GW_XDP_PASSED},
      {"fragment of ICMP", v4(Bytes(24, 0), 1, {.fragment = 0x0010}), XDP_PASS, GW_XDP_PASSED},
      {"DF is no fragment", v4(known, 50, {.fragment = 0x4000}), kRedirect, kRedirected},
      {"IPv6, first fragment", v6(Bytes{50, 0, 0, 1} + be32(7) + known, 44), kRedirect, kRedirected},
      {"IPv6, later fragment", v6(Bytes{50, 0, 0, 8} + be32(7) + known, 44), kRedirect, kRedirected},
      {"IPv6, first fragment of ESP in UDP", v6(Bytes{17, 0, 0, 1} + be32(7) + udp({}, known), 44), kRedirect,
       kRedirected},
      {"IPv6, later fragment of UDP", v6(Bytes{17, 0, 0, 8} + be32(7) + Bytes(16, 1), 44), kRedirect, kRedirected},
      {"IPv6, fragment of TCP", v6(Bytes{6, 0, 0, 1} + be32(7) + Bytes(24, 0), 44), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, fragment for somebody else", v6(Bytes{50, 0, 0, 1} + be32(7) + known, 44, {.dst = ip("2001:db8:7::1")}),
       XDP_PASS, GW_XDP_PASSED},
      {"IKE on 500", v4(udp({.src = 500, .dst = 500}, Bytes(28, 1)), 17), XDP_PASS, GW_XDP_PASSED},
      {"IKE on 4500", v4(udp({}, ike), 17), XDP_PASS, GW_XDP_PASSED},
      {"IKE on 4500 over IPv6", v6(udp({}, ike), 17), XDP_PASS, GW_XDP_PASSED},
      {"NAT keepalive", v4(udp({}, {0xff}), 17), XDP_DROP, GW_XDP_DROP_NAT_KEEPALIVE},
      {"NAT keepalive over IPv6", v6(udp({}, {0xff}), 17), XDP_DROP, GW_XDP_DROP_NAT_KEEPALIVE},
      {"NAT keepalive for somebody else", v4(udp({}, {0xff}), 17, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"one byte that is no keepalive", v4(udp({}, {0x01}), 17), XDP_PASS, GW_XDP_PASSED},
      {"empty datagram on 4500", v4(udp({}, {}), 17), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP of 7 bytes", v4(udp({}, {0, 0, 0x10, 1, 0, 0, 0}), 17), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"ESP of 7 bytes", v4({0, 0, 0x10, 1, 0, 0, 0}, 50), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"Ethernet padding is not ESP", v4({0, 0, 0x10, 1}, 50) + Bytes(20, 0), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"ESP of 7 bytes for somebody else", v4({0, 0, 0x10, 1, 0, 0, 0}, 50, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"ESP of 8 bytes, known SPI", v4(esp(kKnown, 0), 50), kRedirect, kRedirected},
      {"ESP of nothing", v4({}, 50), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"ESP, known SPI, 40 bytes of options", v4(known, 50, {.options = 40}), kRedirect, kRedirected},
      {"ESP in UDP, options", v4(udp({}, known), 17, {.options = 12}), kRedirect, kRedirected},
      {"ESP, TTL 1: it has arrived", v4(known, 50, {.ttl = 1}), kRedirect, kRedirected},
      {"ESP, hop limit 0", v6(known, 50, {.hop_limit = 0}), kRedirect, kRedirected},
      {"the known SPI of IPv4 at an IPv6 address", v6(known, 50, {.dst = ip("2001:db8::2")}), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind hop-by-hop options", v6(Bytes{50, 0, 1, 4, 0, 0, 0, 0} + known, 0), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind destination options", v6(Bytes{50, 0, 1, 4, 0, 0, 0, 0} + known, 60), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind a routing header", v6(Bytes{50, 0, 4, 0, 0, 0, 0, 0} + known, 43), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind an authentication header", v6(Bytes{50, 1, 0, 0} + be32(1) + be32(2) + known, 51), XDP_PASS,
       GW_XDP_PASSED},
      {"IPv6, an atomic fragment", v6(Bytes{50, 0, 0, 0} + be32(7) + known, 44), kRedirect, kRedirected},
      {"no next header", v6({}, 59), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP to 500", v4(udp({.src = 4500, .dst = 500}, known), 17), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP from 4500 only", v4(udp({.src = 4500, .dst = 4501}, known), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length beyond the packet", v4(udp({}, known, 1), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length short of the packet", v4(udp({}, known + Bytes(9, 0), -9), 17), kRedirect, kRedirected},
      {"UDP length 7", v4(udp({}, {}, -1), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length 0", v4(udp({}, {}, -8), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length of a keepalive, ESP behind it", v4(udp({}, Bytes{0xff} + known, -48), 17), XDP_DROP,
       GW_XDP_DROP_NAT_KEEPALIVE},
      {"half a UDP header", v4(Bytes{0x11, 0x94, 0x11, 0x94}, 17), XDP_PASS, GW_XDP_PASSED},
      {"two bytes that begin like a keepalive", v4(udp({}, {0xff, 0xff}), 17), XDP_PASS, GW_XDP_PASSED},
      {"three bytes on 4500", v4(udp({}, {0, 0, 0x10}), 17), XDP_PASS, GW_XDP_PASSED},
      {"a marker alone", v4(udp({}, be32(0)), 17), XDP_PASS, GW_XDP_PASSED},
      {"an SPI alone", v4(udp({}, be32(kKnown)), 17), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"a keepalive in a fragment", v4(udp({}, {0xff}), 17, {.fragment = 0x2000}), kRedirect, kRedirected},
      {"IPv4 header of 16 bytes", v4(known, 50, {}, {0, 0x44}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 header longer than the packet", v4({}, 50, {}, {0, 0x4f}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length 19", v4(known, 50, {}, {3, 19}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length 0", v4(known, 50, {}, {3, 0}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length beyond the frame", v4(known, 50, {}, {2, 1}), XDP_PASS, GW_XDP_PASSED},
      {"IPv6 payload length beyond the frame", v6(known, 50, {}, {4, 1}), XDP_PASS, GW_XDP_PASSED},
      {"IPv6 payload length 0", v6(known, 50, {}, {5, 0}), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"IPv6 where IPv4 is said", ethernet(kIpv4Type) + ipv6({.next_header = 50}, known), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 where IPv6 is said", ethernet(kIpv6Type) + ipv4({.protocol = 50}, known), XDP_PASS, GW_XDP_PASSED},
      {"AH", v4(known, 51), XDP_PASS, GW_XDP_PASSED},
      {"IP in IP", v4(ipv4({.protocol = 50}, known), 4), XDP_PASS, GW_XDP_PASSED},
      {"ND, neighbour solicitation", v6(Bytes{135, 0} + Bytes(22, 0), 58, {.hop_limit = 255}), XDP_PASS, GW_XDP_PASSED},
      {"LLDP", ethernet(0x88cc) + Bytes(40, 0), XDP_PASS, GW_XDP_PASSED},
      {"an 802.3 length", ethernet(0x0040) + Bytes(64, 0), XDP_PASS, GW_XDP_PASSED},
      {"TCP", v4(Bytes(20, 0), 6), XDP_PASS, GW_XDP_PASSED},
      {"ARP", ethernet(0x0806) + Bytes(28, 0), XDP_PASS, GW_XDP_PASSED},
      {"ICMPv6", v6(Bytes(8, 0), 58), XDP_PASS, GW_XDP_PASSED},
  };
}

class WanTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_run()) GTEST_SKIP();
    auto maps = Maps::create({.max_sas = 64, .fib = kSmallFib});
    ASSERT_TRUE(maps) << maps.error().describe();
    maps_.emplace(std::move(*maps));
    auto loaded = WanProgram::load(*maps_);  // the verifier is the first test
    ASSERT_TRUE(loaded) << loaded.error().describe();
    program_.emplace(std::move(*loaded));
    ASSERT_TRUE(maps_->set_local(std::vector{ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")}));
    ASSERT_TRUE(maps_->add_spi(kKnown, ip("192.0.2.1"), {}));
    ASSERT_TRUE(maps_->add_spi(kKnown, ip("2001:db8::1"), {}));
    ASSERT_TRUE(program_->set_socket(0, socket_.get()));
  }
  std::optional<Maps> maps_;
  std::optional<WanProgram> program_;
  Fd socket_ = unbound_xsk();
};

// Each row as it is, with one tag and with two (802.1Q, 802.1ad): tags change nothing about what is in them. More
// than two tags are the kernel's.
TEST_F(WanTest, VerdictAndCounter) {
  const auto tags = std::to_array<std::vector<std::uint16_t>>(
      {{}, {kVlanType}, {kVlanProviderType}, {kVlanProviderType, kVlanType}, {kVlanType, kVlanType}});
  for (const Row& row : rows()) {
    const bool tagged_itself = std::string_view(row.what).find("VLAN") != std::string_view::npos;
    for (const auto& with : tags) {
      if (tagged_itself && !with.empty()) continue;
      const std::string what = std::format("{}, {} more tags", row.what, with.size());
      const Counters before = maps_->wan_counters();
      EXPECT_EQ(run(program_->program_fd(), tag(row.frame, with)), row.verdict) << what;
      const Counters after = maps_->wan_counters();
      for (std::size_t i = 0; i < after.size(); ++i)
        EXPECT_EQ(after[i] - before[i], i == row.counter ? 1u : 0u) << what << ", counter " << i;
    }
  }
}

// At any length: a verdict, one counter, and never a redirect of what is not whole.
TEST_F(WanTest, TruncatedAtEveryLength) {
  for (const Row& row : rows()) {
    for (std::size_t length = kShortestFrame; length < row.frame.size(); ++length) {
      const Counters before = maps_->wan_counters();
      const int verdict = run(program_->program_fd(),
                              Bytes(row.frame.begin(), row.frame.begin() + static_cast<std::ptrdiff_t>(length)));
      EXPECT_TRUE(verdict == XDP_PASS || verdict == XDP_DROP) << row.what << " cut to " << length;
      const Counters after = maps_->wan_counters();
      std::uint64_t counted = 0;
      for (std::size_t i = 0; i < after.size(); ++i) counted += after[i] - before[i];
      EXPECT_EQ(counted, 1u) << row.what << " cut to " << length;
      // The IP length says that bytes are missing: nothing goes to a socket.
      EXPECT_EQ(after[kRedirected], before[kRedirected]) << row.what << " cut to " << length;
    }
  }
}

TEST_F(WanTest, UnknownSpiIsReportedOnceInAWhile) {
  const Bytes frame = v4(udp({.src = 40001}, esp(kUnknown)), 17);
  for (int i = 0; i < 20; ++i) (void)run(program_->program_fd(), frame);
  std::vector<UnknownSpi> seen;
  maps_->consume([&](const UnknownSpi& u) { seen.push_back(u); });
  ASSERT_GE(seen.size(), 1u);
  EXPECT_LE(seen.size(), 2u) << "one per 100 ms";
  EXPECT_EQ(seen[0].spi, kUnknown);
  EXPECT_EQ(seen[0].src, ip("203.0.113.9"));
  EXPECT_EQ(seen[0].dst, ip("192.0.2.1"));
  EXPECT_EQ(seen[0].src_port, 40001);
}

TEST_F(WanTest, ARemovedSpiIsUnknown) {
  const Bytes frame = v4(esp(kKnown), 50);
  maps_->remove_spi(kKnown, ip("192.0.2.1"));
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_DROP);
  EXPECT_EQ(maps_->wan_counters()[GW_XDP_DROP_UNKNOWN_SPI], before[GW_XDP_DROP_UNKNOWN_SPI] + 1);
}

TEST_F(WanTest, AQueueWithoutSocketDropsAndCounts) {
  auto other = WanProgram::load(*maps_);
  ASSERT_TRUE(other);
  EXPECT_EQ(run(other->program_fd(), v4(esp(kKnown), 50)), XDP_DROP);
  EXPECT_EQ(maps_->wan_counters()[GW_XDP_DROP_NO_SOCKET], 1u);
}

TEST_F(WanTest, TheSpiMapHasItsLimit) {
  for (std::uint32_t spi = 0x2000; spi < 0x2000 + 62; ++spi) ASSERT_TRUE(maps_->add_spi(spi, ip("192.0.2.1"), {}));
  EXPECT_EQ(maps_->add_spi(0x3000, ip("192.0.2.1"), {}).error().code, Errc::kLimit);
}

// --- the same guard on a gso port -----------------------------------------------------------------

class WanTcTest : public WanTest {
 protected:
  void SetUp() override {
    WanTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto loaded = WanTcProgram::load(*maps_);
    ASSERT_TRUE(loaded) << loaded.error().describe();
    tc_.emplace(std::move(*loaded));
  }
  std::optional<WanTcProgram> tc_;
};

/// What XDP redirects goes up the stack here, to our sockets.
int tc_verdict(int xdp_verdict) { return xdp_verdict == XDP_DROP ? TC_ACT_SHOT : TC_ACT_OK; }

TEST_F(WanTcTest, VerdictAndCounter) {
  for (const Row& row : rows()) {
    const Counters before = maps_->wan_counters();
    EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = row.frame}).verdict, tc_verdict(row.verdict)) << row.what;
    const Counters after = maps_->wan_counters();
    for (std::size_t i = 0; i < after.size(); ++i)
      EXPECT_EQ(after[i] - before[i], i == row.counter ? 1u : 0u) << row.what << ", counter " << i;
  }
}

TEST_F(WanTcTest, TruncatedAtEveryLength) {
  for (const Row& row : rows()) {
    for (std::size_t length = shortest_skb(row.frame); length < row.frame.size(); ++length) {
      const Counters before = maps_->wan_counters();
      const Bytes cut(row.frame.begin(), row.frame.begin() + static_cast<std::ptrdiff_t>(length));
      const int verdict = run_skb(tc_->program_fd(), {.frame = cut}).verdict;
      EXPECT_TRUE(verdict == TC_ACT_OK || verdict == TC_ACT_SHOT) << row.what << " cut to " << length;
      const Counters after = maps_->wan_counters();
      std::uint64_t counted = 0;
      for (std::size_t i = 0; i < after.size(); ++i) counted += after[i] - before[i];
      EXPECT_EQ(counted, 1u) << row.what << " cut to " << length;
    }
  }
}

// GRO: of a train the first datagram is looked at, all of it counts.
TEST_F(WanTcTest, ATrainCountsItsDatagrams) {
  for (const auto& [spi, verdict, counter] :
       {std::tuple{kKnown, TC_ACT_OK, GW_XDP_REDIRECTED}, std::tuple{kUnknown, TC_ACT_SHOT, GW_XDP_DROP_UNKNOWN_SPI}}) {
    const Bytes train = v4(udp({}, esp(spi, 40) + esp(spi, 40) + esp(spi, 40)), 17);
    const Counters before = maps_->wan_counters();
    EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = train, .gso_segs = 3, .gso_size = 48}).verdict, verdict);
    EXPECT_EQ(maps_->wan_counters()[static_cast<std::size_t>(counter)], before[static_cast<std::size_t>(counter)] + 3);
  }
}

TEST_F(WanTcTest, UnknownSpiIsReported) {
  (void)run_skb(tc_->program_fd(), {.frame = v6(udp({.src = 40001}, esp(kUnknown)), 17)});
  std::vector<UnknownSpi> seen;
  maps_->consume([&](const UnknownSpi& u) { seen.push_back(u); });
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].spi, kUnknown);
  EXPECT_EQ(seen[0].src, ip("2001:db8:ffff::9"));
  EXPECT_EQ(seen[0].src_port, 40001);
}

}  // namespace
}  // namespace gw::xdp
