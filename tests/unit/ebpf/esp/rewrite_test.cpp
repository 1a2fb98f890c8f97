// TTL, TCP MSS and flow hash. After each change a checksum computed from scratch must agree.
#include "ebpf/esp/rewrite.hpp"

#include <set>

#include "ebpf/esp/inner.hpp"
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

std::uint16_t tcp_checksum(const Bytes& p, std::size_t l4) {
  const bool v4 = p[0] >> 4 == 4;
  std::uint64_t sum = v4 ? sum16(&p[12], 8) : sum16(&p[8], 32);
  Bytes tcp(p.begin() + static_cast<std::ptrdiff_t>(l4), p.end());
  tcp[16] = tcp[17] = 0;
  sum = fold16(sum) + sum16(tcp.data(), tcp.size()) + tcp.size() + 6;
  return static_cast<std::uint16_t>(~fold16(sum));
}

Bytes tcp_packet(Family family, const Bytes& options, std::uint8_t flags = 0x02, std::size_t payload = 0) {
  Bytes padded = options;
  while (padded.size() % 4 != 0) padded.push_back(0);
  const std::size_t l4 = family == Family::kV4 ? 20 : 40;
  Bytes p = inner_packet({.family = family, .size = l4 + 20 + padded.size() + payload, .protocol = 6});
  p[l4 + 12] = static_cast<std::uint8_t>((5 + padded.size() / 4) << 4);
  p[l4 + 13] = flags;
  std::ranges::copy(padded, p.begin() + static_cast<std::ptrdiff_t>(l4 + 20));
  store_be(&p[l4 + 16], tcp_checksum(p, l4));
  return p;
}

std::uint16_t udp_checksum(const Bytes& p, std::size_t l4) {
  const bool v4 = p[0] >> 4 == 4;
  Bytes udp(p.begin() + static_cast<std::ptrdiff_t>(l4), p.end());
  udp[6] = udp[7] = 0;
  const std::uint64_t sum =
      (v4 ? sum16(&p[12], 8) : sum16(&p[8], 32)) + sum16(udp.data(), udp.size()) + udp.size() + 17;
  const auto checksum = static_cast<std::uint16_t>(~fold16(sum));
  return checksum == 0 ? 0xffff : checksum;
}

/// What Linux leaves for the card: the pseudo-header's folded sum.
std::uint16_t partial_checksum(const Bytes& p, std::size_t l4) {
  const bool v4 = p[0] >> 4 == 4;
  return fold16((v4 ? sum16(&p[12], 8) : sum16(&p[8], 32)) + p.size() - l4 + (v4 ? p[9] : p[6]));
}

TEST(Checksum, PartialOnesAreCompleted) {
  for (const Family f : {Family::kV4, Family::kV6}) {
    const std::size_t l4 = f == Family::kV4 ? 20 : 40;
    for (std::size_t size = l4 + 20; size < l4 + 60; ++size) {
      Bytes tcp = inner_packet({.family = f, .size = size, .protocol = 6});
      store_be(&tcp[l4 + 16], partial_checksum(tcp, l4));
      EXPECT_TRUE(complete_checksum(tcp, f));
      EXPECT_EQ(load_be<std::uint16_t>(&tcp[l4 + 16]), tcp_checksum(tcp, l4)) << size;
      Bytes udp = inner_packet({.family = f, .size = size, .protocol = 17});
      store_be(&udp[l4 + 6], partial_checksum(udp, l4));
      EXPECT_TRUE(complete_checksum(udp, f));
      EXPECT_EQ(load_be<std::uint16_t>(&udp[l4 + 6]), udp_checksum(udp, l4)) << size;
    }
  }
}

TEST(Checksum, AUdpChecksumOfZeroIsSentAsAllOnes) {  // RFC 768
  Bytes p = inner_packet({.size = 32, .protocol = 17});
  store_be(&p[26], partial_checksum(p, 20));
  store_be(&p[30], std::uint16_t{0});
  store_be(&p[30], static_cast<std::uint16_t>(~fold16(sum16(&p[20], 12))));
  EXPECT_TRUE(complete_checksum(p, Family::kV4));
  EXPECT_EQ(load_be<std::uint16_t>(&p[26]), 0xffff);
}

TEST(Checksum, EverythingElseIsLeftAlone) {
  const auto untouched = [](Bytes p, Family f = Family::kV4) {
    const Bytes before = p;
    return !complete_checksum(p, f) && p == before;
  };
  Bytes udp = inner_packet({.size = 60, .protocol = 17});
  store_be(&udp[26], udp_checksum(udp, 20));
  EXPECT_TRUE(untouched(udp)) << "right";
  udp[26] ^= 1;
  EXPECT_TRUE(untouched(udp)) << "wrong: the receiver shall see it";
  store_be(&udp[26], std::uint16_t{0});
  EXPECT_TRUE(untouched(udp)) << "none";

  store_be(&udp[26], partial_checksum(udp, 20));
  Bytes fragment = udp;
  fragment[6] |= 0x20;
  EXPECT_TRUE(untouched(fragment));
  Bytes icmp = udp;
  icmp[9] = 1;
  EXPECT_TRUE(untouched(icmp));
  for (std::size_t size = 20; size < 28; ++size)
    EXPECT_TRUE(untouched(Bytes(udp.begin(), udp.begin() + static_cast<std::ptrdiff_t>(size)))) << "cut at " << size;
  Bytes by_chance = tcp_packet(Family::kV4, {}, 0x10, 2);
  store_be(&by_chance[40], std::uint16_t{0});
  store_be(&by_chance[36], partial_checksum(by_chance, 20));
  store_be(&by_chance[40], static_cast<std::uint16_t>(
                               ~fold16(std::uint64_t{partial_checksum(by_chance, 20)} + sum16(&by_chance[20], 22))));
  ASSERT_EQ(load_be<std::uint16_t>(&by_chance[36]), tcp_checksum(by_chance, 20))
      << "right, and looks like a partial one";
  const Bytes before = by_chance;
  (void)complete_checksum(by_chance, Family::kV4);
  EXPECT_EQ(by_chance, before);
}

Bytes mss_option(std::uint16_t mss) {
  return {2, 4, static_cast<std::uint8_t>(mss >> 8), static_cast<std::uint8_t>(mss)};
}
Bytes after(std::size_t nops, Bytes option) {
  option.insert(option.begin(), nops, 1);
  return option;
}

TEST(Mss, ClampedAtEveryAlignmentInBothFamilies) {
  for (const Family f : {Family::kV4, Family::kV6}) {
    const std::size_t l4 = f == Family::kV4 ? 20 : 40;
    const std::uint16_t want = f == Family::kV4 ? 1360 : 1340;
    for (std::size_t nops = 0; nops < 8; ++nops) {
      for (const std::uint16_t mss : std::array<std::uint16_t, 4>{1361, 1460, 8960, 0xffff}) {
        for (const std::uint8_t flags : std::array<std::uint8_t, 3>{0x02, 0x12, 0xc2}) {
          Bytes p = tcp_packet(f, after(nops, mss_option(mss)), flags, 3);
          EXPECT_TRUE(clamp_mss(p, f, 1360));
          EXPECT_EQ(load_be<std::uint16_t>(&p[l4 + 20 + nops + 2]), want);
          EXPECT_EQ(load_be<std::uint16_t>(&p[l4 + 16]), tcp_checksum(p, l4)) << "nops " << nops << " mss " << mss;
        }
      }
    }
  }
}

TEST(Mss, LeftAlone) {
  const auto untouched = [](Bytes p, Family f, std::uint16_t clamp = 1360) {
    const Bytes before = p;
    return !clamp_mss(p, f, clamp) && p == before;
  };
  const Family v4 = Family::kV4;
  EXPECT_TRUE(untouched(tcp_packet(v4, mss_option(1360)), v4)) << "equal";
  EXPECT_TRUE(untouched(tcp_packet(v4, mss_option(536)), v4)) << "lower is never raised";
  EXPECT_TRUE(untouched(tcp_packet(v4, mss_option(1460)), v4, 0)) << "clamping off";
  EXPECT_TRUE(untouched(tcp_packet(v4, mss_option(1460), 0x10), v4)) << "not a SYN";
  EXPECT_TRUE(untouched(tcp_packet(v4, {}), v4)) << "no options";
  EXPECT_TRUE(untouched(tcp_packet(v4, {3, 3, 7, 1, 8, 2}), v4)) << "no MSS among them";
  EXPECT_TRUE(untouched(tcp_packet(v4, {0, 2, 4, 5, 180}), v4)) << "behind the end of options";
  EXPECT_TRUE(untouched(tcp_packet(v4, {1, 1, 2}), v4)) << "zero pads it: option of length 0";
  EXPECT_TRUE(untouched(tcp_packet(v4, {1, 1, 1, 2}), v4)) << "kind without length";
  EXPECT_TRUE(untouched(tcp_packet(v4, {1, 2, 4, 5}), v4)) << "cut by the data offset";
  EXPECT_TRUE(untouched(tcp_packet(v4, {2, 3, 5, 1}), v4)) << "length 3";
  EXPECT_TRUE(untouched(tcp_packet(v4, {2, 40, 5, 180}), v4)) << "length beyond the header";
  EXPECT_TRUE(untouched(tcp_packet(v4, {8, 1, 2, 4, 5, 180}), v4)) << "option of length 1";
  Bytes udp = tcp_packet(v4, mss_option(1460));
  udp[9] = 17;
  EXPECT_TRUE(untouched(udp, v4));
  Bytes fragment = tcp_packet(v4, mss_option(1460));
  fragment[7] = 1;
  EXPECT_TRUE(untouched(fragment, v4)) << "a later fragment has no TCP header";
  Bytes short_header = tcp_packet(v4, mss_option(1460));
  short_header[32] = 0x40;
  EXPECT_TRUE(untouched(short_header, v4)) << "data offset 4";
  Bytes long_header = tcp_packet(v4, mss_option(1460));
  long_header[32] = 0xf0;
  EXPECT_TRUE(untouched(long_header, v4)) << "data offset beyond the packet";
  for (std::size_t n = 20; n < 44; ++n) {
    const Bytes whole = tcp_packet(v4, mss_option(1460));
    EXPECT_TRUE(untouched(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)), v4)) << n;
  }
}

TEST(Mss, BehindExtensionHeaders) {
  Bytes p = tcp_packet(Family::kV6, mss_option(1460));
  const Bytes hop{6, 0, 1, 4, 0, 0, 0, 0};
  p[6] = 0;
  p.insert(p.begin() + 40, hop.begin(), hop.end());
  store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  EXPECT_TRUE(clamp_mss(p, Family::kV6, 1300));
  EXPECT_EQ(load_be<std::uint16_t>(&p[70]), 1280);
  EXPECT_EQ(load_be<std::uint16_t>(&p[64]), tcp_checksum(p, 48));
}

TEST(Ttl, DecrementedWithChecksum) {
  for (int ttl = 0; ttl < 256; ++ttl) {
    for (const std::uint8_t protocol : std::array<std::uint8_t, 5>{0, 1, 6, 17, 255}) {
      Bytes p = inner_packet({.protocol = protocol});
      p[8] = static_cast<std::uint8_t>(ttl);
      fix_ipv4_checksum(p.data());
      const Bytes before = p;
      EXPECT_EQ(decrement_ttl(p, Family::kV4), ttl > 1);
      if (ttl <= 1) {
        EXPECT_EQ(p, before);
        continue;
      }
      EXPECT_EQ(p[8], ttl - 1);
      EXPECT_TRUE(ipv4_checksum_ok(p.data(), 20)) << ttl;
    }
    Bytes p = inner_packet({.family = Family::kV6});
    p[7] = static_cast<std::uint8_t>(ttl);
    EXPECT_EQ(decrement_ttl(p, Family::kV6), ttl > 1);
    EXPECT_EQ(p[7], ttl > 1 ? ttl - 1 : ttl);
  }
}

TEST(Ttl, AnErrorInTheChecksumStaysOne) {
  Bytes p = inner_packet({});
  p[11] ^= 1;
  EXPECT_TRUE(decrement_ttl(p, Family::kV4));
  EXPECT_FALSE(ipv4_checksum_ok(p.data(), 20));
}

TEST(FlowHash, DependsOnTheFlowAlone) {
  for (const Family f : {Family::kV4, Family::kV6}) {
    const std::uint32_t h = flow_hash(inner_packet({.family = f}), f);
    EXPECT_EQ(flow_hash(inner_packet({.family = f, .size = 700, .tos = 0x20}), f), h);
    EXPECT_NE(flow_hash(inner_packet({.family = f, .protocol = 6}), f), h);
    EXPECT_NE(flow_hash(inner_packet({.family = f, .source_port = 1001}), f), h);
    EXPECT_NE(flow_hash(inner_packet({.family = f, .destination_port = 2001}), f), h);
    EXPECT_NE(flow_hash(inner_packet({.family = f, .from_peer = true}), f), h);
  }
}

TEST(FlowHash, AllFragmentsOfADatagramGoOneWay) {
  Bytes first = inner_packet({.source_port = 7});
  first[6] = 0x20;
  Bytes later = inner_packet({.source_port = 99});  // there is payload where the ports would be
  later[6] = 0x20;
  later[7] = 5;
  EXPECT_EQ(flow_hash(first, Family::kV4), flow_hash(later, Family::kV4));
}

TEST(FlowHash, SpreadsOverBuckets) {
  std::array<int, 8> buckets{};
  for (std::uint16_t port = 0; port < 8000; ++port)
    ++buckets[flow_hash(inner_packet({.source_port = port}), Family::kV4) % 8];
  for (const int n : buckets) EXPECT_NEAR(n, 1000, 150);
}

TEST(Checksum, IncrementalUpdateAgreesWithRecomputation) {
  std::mt19937 random(9);
  for (int i = 0; i < 100'000; ++i) {
    Bytes p(20);
    std::ranges::generate(p, [&] { return static_cast<std::uint8_t>(random()); });
    p[0] = 0x45;
    fix_ipv4_checksum(p.data());
    const std::size_t at = 2 * (random() % 5);
    const auto before = load_be<std::uint16_t>(&p[at]);
    auto value = static_cast<std::uint16_t>(random());
    if (at == 0) value = static_cast<std::uint16_t>(0x4500 | (value & 0xff));
    store_be(&p[at], value);
    store_be(&p[10], updated_checksum(load_be<std::uint16_t>(&p[10]), before, value));
    ASSERT_TRUE(ipv4_checksum_ok(p.data(), 20)) << i;
  }
}

}  // namespace
}  // namespace gw::esp::test
