// ICMP errors: field by field, and when there is none (RFC 1812 4.3.2.7, RFC 4443 2.4).
#include "ebpf/ip/icmp_error.hpp"

#include <gtest/gtest.h>

#include "ebpf/esp/inner.hpp"
#include "support.hpp"

namespace gw::ip {
namespace {

using namespace test;

Bytes error_about(const Bytes& packet, const IcmpErrorContent& content) {
  Bytes out(kMaxIcmpError);
  out.resize(write_icmp_error(out, packet, content));
  return out;
}

bool icmp_v6_checksum_ok(const Bytes& p) {
  return esp::fold16(esp::sum16(&p[8], 32) + (p.size() - 40) + 58 + esp::sum16(&p[40], p.size() - 40)) == 0xffff;
}

TEST(IcmpError, V4FragmentationNeeded) {
  const Bytes packet = v4({.protocol = 17, .field = 0x4000}, counting(1400));
  const Bytes e = error_about(packet, {IcmpError::kTooBig, 1322, addr("192.0.2.1")});
  ASSERT_EQ(e.size(), 576u) << "RFC 1812 4.3.2.3";
  ASSERT_TRUE(esp::check_inner(e));
  EXPECT_EQ(e[1], 0xc0);
  EXPECT_EQ(e[9], 1);
  EXPECT_EQ(Bytes(e.begin() + 12, e.begin() + 20), (Bytes{192, 0, 2, 1, 192, 0, 2, 10}));
  EXPECT_EQ(Bytes(e.begin() + 20, e.begin() + 22), (Bytes{3, 4}));
  EXPECT_EQ(load_be<std::uint32_t>(&e[24]), 1322u);
  EXPECT_EQ(esp::fold16(esp::sum16(&e[20], e.size() - 20)), 0xffff);
  EXPECT_TRUE(std::equal(e.begin() + 28, e.end(), packet.begin()));
}

TEST(IcmpError, V6PacketTooBig) {
  const Bytes packet = v6({.next_header = 17}, counting(1400));
  const Bytes e = error_about(packet, {IcmpError::kTooBig, 1322, addr("2001:db8:e::1")});
  ASSERT_EQ(e.size(), 1280u);
  ASSERT_TRUE(esp::check_inner(e));
  EXPECT_EQ(e[6], 58);
  EXPECT_TRUE(std::ranges::equal(addr("2001:db8:e::1").bytes(), std::span(e).subspan(8, 16)));
  EXPECT_TRUE(std::ranges::equal(addr("2001:db8:f::10").bytes(), std::span(e).subspan(24, 16)));
  EXPECT_EQ(Bytes(e.begin() + 40, e.begin() + 42), (Bytes{2, 0}));
  EXPECT_EQ(load_be<std::uint32_t>(&e[44]), 1322u);
  EXPECT_TRUE(icmp_v6_checksum_ok(e));
  EXPECT_TRUE(std::equal(e.begin() + 48, e.end(), packet.begin()));
}

TEST(IcmpError, TypesAndCodes) {
  struct Row {
    IcmpError error;
    std::uint8_t v4_type, v4_code, v6_type, v6_code;
  };
  for (const Row& row : {Row{IcmpError::kTooBig, 3, 4, 2, 0}, Row{IcmpError::kTimeExceeded, 11, 0, 3, 0},
                         Row{IcmpError::kNoRoute, 3, 0, 1, 0}, Row{IcmpError::kUnreachable, 3, 1, 1, 3},
                         Row{IcmpError::kProhibited, 3, 13, 1, 1}}) {
    const Bytes e4 = error_about(v4({}, counting(9)), {row.error, 0, addr("192.0.2.1")});
    EXPECT_EQ(e4.size(), 20u + 8 + 29);
    EXPECT_EQ((Bytes{e4[20], e4[21]}), (Bytes{row.v4_type, row.v4_code}));
    EXPECT_EQ(esp::fold16(esp::sum16(&e4[20], e4.size() - 20)), 0xffff);
    const Bytes e6 = error_about(v6({}, counting(9)), {row.error, 0, addr("2001:db8::1")});
    EXPECT_EQ((Bytes{e6[40], e6[41]}), (Bytes{row.v6_type, row.v6_code}));
    EXPECT_TRUE(icmp_v6_checksum_ok(e6));
  }
}

TEST(IcmpError, WhatIsNeverAnswered) {
  const auto icmp = [](std::uint8_t type) { return Bytes{type, 0, 0, 0, 0, 0, 0, 0}; };
  struct Row {
    const char* what;
    Bytes packet;
    bool answered;
  };
  const std::vector<Row> rows = {
      {"UDP", v4({.protocol = 17}, counting(20)), true},
      {"first fragment", v4({.protocol = 17, .field = 0x2000}, counting(24)), true},
      {"later fragment", v4({.protocol = 17, .field = 0x2001}, counting(24)), false},
      {"last fragment", v4({.protocol = 17, .field = 3}, counting(24)), false},
      {"multicast", v4({.dst = "224.0.0.5", .protocol = 17}, counting(20)), false},
      {"broadcast", v4({.dst = "255.255.255.255", .protocol = 17}, counting(20)), false},
      {"from nobody", v4({.src = "0.0.0.0", .protocol = 17}, counting(20)), false},
      {"from 0/8", v4({.src = "0.1.2.3", .protocol = 17}, counting(20)), false},
      {"from multicast", v4({.src = "224.0.0.1", .protocol = 17}, counting(20)), false},
      {"from loopback", v4({.src = "127.0.0.1", .protocol = 17}, counting(20)), false},
      {"from broadcast", v4({.src = "255.255.255.255", .protocol = 17}, counting(20)), false},
      {"echo", v4({.protocol = 1}, icmp(8)), true},
      {"echo reply", v4({.protocol = 1}, icmp(0)), true},
      {"timestamp", v4({.protocol = 1}, icmp(13)), true},
      {"unreachable", v4({.protocol = 1}, icmp(3)), false},
      {"redirect", v4({.protocol = 1}, icmp(5)), false},
      {"time exceeded", v4({.protocol = 1}, icmp(11)), false},
      {"parameter problem", v4({.protocol = 1}, icmp(12)), false},
      {"ICMP without a type", v4({.protocol = 1}, {}), false},
      {"v6 UDP", v6({.next_header = 17}, counting(20)), true},
      {"v6 echo", v6({.next_header = 58}, icmp(128)), true},
      {"v6 unreachable", v6({.next_header = 58}, icmp(1)), false},
      {"v6 redirect", v6({.next_header = 58}, icmp(137)), false},
      {"v6 error behind an extension header", v6({.next_header = 60}, Bytes{58, 0, 0, 0, 0, 0, 0, 0} + icmp(3)), false},
      {"v6 cut in its extension headers", v6({.next_header = 60}, {17, 9, 0, 0}), false},
      {"v6 multicast", v6({.dst = "ff05::1", .next_header = 17}, counting(20)), false},
      {"v6 from nobody", v6({.src = "::", .next_header = 17}, counting(20)), false},
      {"v6 from multicast", v6({.src = "ff02::1", .next_header = 17}, counting(20)), false},
      {"v6 later fragment", v6_fragment({.next_header = 17}, 1, 9, counting(24)), false},
      {"v6 first fragment", v6_fragment({.next_header = 17}, 1, 1, counting(24)), true},
  };
  for (const Row& row : rows)
    EXPECT_EQ(may_be_answered(row.packet, IcmpError::kTimeExceeded), row.answered) << row.what;
  // RFC 4443 2.4 e.3
  EXPECT_TRUE(may_be_answered(v6({.dst = "ff05::1", .next_header = 17}, counting(20)), IcmpError::kTooBig));
}

}  // namespace
}  // namespace gw::ip
