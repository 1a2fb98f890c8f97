// What routers say about our ESP, and what forgers and broken ones say.
#include "ebpf/ip/too_big.hpp"

#include <gtest/gtest.h>

#include "ebpf/ip/icmp_error.hpp"
#include "support.hpp"

namespace gw::ip {
namespace {

using namespace test;

const Bytes kEsp = {0x10, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x2a};  // SPI 0x10000001, sequence 42

Bytes in_udp(const Bytes& payload) {
  Bytes b = {0x11, 0x94, 0x9c, 0x41, 0, 0, 0, 0};  // 4500 -> 40001
  store_be(&b[4], static_cast<std::uint16_t>(8 + payload.size()));
  return b + payload;
}

/// As a router would: its whole packet, then from ICMP on.
Bytes message(const Bytes& about, std::uint32_t mtu) {
  const bool is_v4 = about[0] >> 4 == 4;
  Bytes out(kMaxIcmpError);
  out.resize(write_icmp_error(out, about, {IcmpError::kTooBig, mtu, addr(is_v4 ? "192.0.2.99" : "2001:db8::99")}));
  out.erase(out.begin(), out.begin() + (is_v4 ? 20 : 40));
  return out;
}

void write_checksum(Bytes& m) {
  store_be(&m[2], std::uint16_t{0});
  store_be(&m[2], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(m.data(), m.size()))));
}

TEST(TooBig, NativeAndInUdpOverBothFamilies) {
  for (const bool udp : {false, true}) {
    const Bytes esp = kEsp + counting(1400);
    const std::uint8_t protocol = udp ? 17 : 50;
    const auto t4 =
        parse_too_big(message(v4({.protocol = protocol, .field = 0x4000}, udp ? in_udp(esp) : esp), 1380), Family::kV4);
    ASSERT_TRUE(t4);
    EXPECT_EQ(t4->src, addr("192.0.2.10"));
    EXPECT_EQ(t4->dst, addr("198.51.100.20"));
    const auto t6 = parse_too_big(message(v6({.next_header = protocol}, udp ? in_udp(esp) : esp), 1380), Family::kV6);
    ASSERT_TRUE(t6);
    EXPECT_EQ(t6->src, addr("2001:db8:f::10"));
    EXPECT_EQ(t6->dst, addr("2001:db8:e::20"));
    for (const auto& t : {*t4, *t6}) {
      EXPECT_EQ(t.mtu, 1380u);
      EXPECT_EQ(t.spi, 0x10000001u);
      EXPECT_EQ(t.sequence, 42u);
      EXPECT_EQ(t.src_port, udp ? 4500 : 0);
      EXPECT_EQ(t.dst_port, udp ? 40001 : 0);
    }
  }
}

// RFC 792's 64 bits are enough for native ESP.
TEST(TooBig, TheShortestQuote) {
  Bytes m = message(v4({.field = 0x4000}, kEsp + counting(1400)), 1400);
  m.resize(8 + 20 + 8);
  write_checksum(m);
  EXPECT_TRUE(parse_too_big(m, Family::kV4));
  for (std::size_t n = 0; n < m.size(); ++n) {
    Bytes cut(m.begin(), m.begin() + static_cast<std::ptrdiff_t>(n));
    if (n >= 4) write_checksum(cut);
    EXPECT_FALSE(parse_too_big(cut, Family::kV4)) << n;
  }
}

TEST(TooBig, TruncatedAtEveryLength) {
  for (const bool udp : {false, true}) {
    const Bytes esp = udp ? in_udp(kEsp) : kEsp;
    const Bytes m = message(v6({.next_header = static_cast<std::uint8_t>(udp ? 17 : 50)}, esp), 1400);
    for (std::size_t n = 0; n < m.size(); ++n) EXPECT_FALSE(parse_too_big(std::span(m).first(n), Family::kV6)) << n;
    EXPECT_TRUE(parse_too_big(m, Family::kV6));
  }
}

// RFC 1191 7.1.
TEST(TooBig, ARouterFromBefore) {
  for (const auto& [length, plateau] : {std::pair{1500u, 1492u}, {1492u, 1006u}, {1006u, 508u}, {300u, 296u}}) {
    const Bytes m = message(v4({.field = 0x4000}, kEsp + counting(length - 28)), 0);
    EXPECT_EQ(parse_too_big(m, Family::kV4).value().mtu, plateau) << length;
  }
}

TEST(TooBig, OtherMessages) {
  const Bytes esp4 = v4({.field = 0x4000}, kEsp + counting(100));
  Bytes wrong_sum = message(esp4, 1400);
  wrong_sum[2] ^= 1;
  Bytes other_code = message(esp4, 1400);
  other_code[1] = 3;
  write_checksum(other_code);
  Bytes no_marker = message(v4({.protocol = 17}, in_udp(Bytes(4, 0) + counting(40))), 1400);
  EXPECT_FALSE(parse_too_big(wrong_sum, Family::kV4));
  EXPECT_FALSE(parse_too_big(other_code, Family::kV4));
  EXPECT_FALSE(parse_too_big(no_marker, Family::kV4)) << "IKE";
  EXPECT_FALSE(parse_too_big(message(v4({.protocol = 6}, counting(40)), 1400), Family::kV4)) << "TCP";
  EXPECT_FALSE(parse_too_big(message(v4({.field = 0x0010}, kEsp), 1400), Family::kV4)) << "a later fragment has no SPI";
  EXPECT_FALSE(parse_too_big(message(v6({}, kEsp), 1400), Family::kV4)) << "the other family quoted";
}

TEST(TooBig, OnlyWhatWasSentNotLongAgo) {
  EXPECT_TRUE(recently_sent(100, 100));
  EXPECT_TRUE(recently_sent(1, 100));
  EXPECT_FALSE(recently_sent(0, 100)) << "0 is never sent";
  EXPECT_FALSE(recently_sent(101, 100)) << "not sent yet";
  EXPECT_FALSE(recently_sent(0xffffffff, 100));
  EXPECT_TRUE(recently_sent(0xffffffff, 0x1'0000'0005)) << "the lower half wrapped";
  EXPECT_FALSE(recently_sent(6, 0x1'0000'0005));
  EXPECT_FALSE(recently_sent(1, 0x200000)) << "too long ago";
  EXPECT_FALSE(recently_sent(1, 0));
}

}  // namespace
}  // namespace gw::ip
