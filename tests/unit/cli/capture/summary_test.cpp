#include "cli/capture/summary.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/ip_headers.hpp"

namespace gw::cli::capture {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes v4(std::uint8_t protocol, const Bytes& payload, std::uint16_t fragment = 0) {
  const auto total = static_cast<std::uint16_t>(20 + payload.size());
  Bytes p{0x45,
          0,
          static_cast<std::uint8_t>(total >> 8),
          static_cast<std::uint8_t>(total),
          0,
          0,
          static_cast<std::uint8_t>(fragment >> 8),
          static_cast<std::uint8_t>(fragment),
          64,
          protocol,
          0,
          0,
          192,
          0,
          2,
          1,
          192,
          0,
          2,
          2};
  p.insert(p.end(), payload.begin(), payload.end());
  return p;
}

Bytes v6(std::uint8_t next, const Bytes& payload) {
  Bytes p(40);
  p[0] = 0x60;
  p[5] = static_cast<std::uint8_t>(payload.size());
  p[6] = next;
  p[7] = 64;
  p[8] = p[24] = 0xfd;
  p[23] = 1;
  p[39] = 2;
  p.insert(p.end(), payload.begin(), payload.end());
  return p;
}

std::string line(const Bytes& packet) { return summarize(packet, static_cast<std::uint32_t>(packet.size())); }

TEST(CaptureSummary, WhatAnOperatorReads) {
  EXPECT_EQ(line(v4(17, {0x03, 0xe8, 0x07, 0xd0, 0, 12, 0, 0, 1, 2, 3, 4})),
            "192.0.2.1.1000 > 192.0.2.2.2000: UDP, length 4");
  Bytes tcp{0x00, 0x50, 0x30, 0x39, 0, 0, 0, 9, 0, 0, 0, 8, 0x50, 0x12, 0, 0, 0, 0, 0, 0, 'x', 'y'};
  EXPECT_EQ(line(v4(6, tcp)), "192.0.2.1.80 > 192.0.2.2.12345: TCP [S.], seq 9, ack 8, length 2");
  EXPECT_EQ(line(v4(1, {8, 0, 0, 0, 0, 5, 0, 6})), "192.0.2.1 > 192.0.2.2: ICMP echo request, id 5, seq 6, length 8");
  EXPECT_EQ(line(v6(58, {3, 1, 0, 0, 0, 0, 0, 0})), "fd00::1 > fd00::2: ICMPv6 type 3 code 1, length 8");
  EXPECT_EQ(line(v4(50, {0, 1, 0, 1, 0, 0, 0, 0x2a, 9, 9})),
            "192.0.2.1 > 192.0.2.2: ESP(spi=0x00010001,seq=0x2a), length 10");
  EXPECT_EQ(line(v4(17, {0x11, 0x94, 0x11, 0x94, 0, 18, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7, 9, 9})),
            "192.0.2.1.4500 > 192.0.2.2.4500: UDP ESP(spi=0x00010001,seq=0x7), length 10");
  EXPECT_EQ(line(v4(17, {0x11, 0x94, 0x11, 0x94, 0, 12, 0, 0, 0, 0, 0, 0})),
            "192.0.2.1.4500 > 192.0.2.2.4500: UDP IKE, length 4");
  EXPECT_EQ(line(v4(89, {1, 2, 3})), "192.0.2.1 > 192.0.2.2: protocol 89, length 3");
}

TEST(CaptureSummary, Fragments) {
  EXPECT_EQ(line(v4(17, {1, 2, 3, 4, 5, 6, 7, 8}, 0x2010)),
            "192.0.2.1 > 192.0.2.2: fragment of protocol 17 at 128, more follow, length 8");
  EXPECT_EQ(line(v6(kProtocolFragment, {17, 0, 0, 0x88, 0, 0, 0, 1, 1, 2})),
            "fd00::1 > fd00::2: fragment of protocol 17 at 136, length 2");
}

TEST(CaptureSummary, BytesThatAreNoPacket) {
  EXPECT_EQ(summarize({}, 0), "no IP packet, length 0");
  EXPECT_EQ(line({0x50, 1, 2}), "no IP packet, length 3");
  EXPECT_EQ(line(Bytes(19, 0x45)), "no IP packet, length 19");
}

// Whatever a peer sends, cut off anywhere: a line without control characters, and ASan finds nothing.
TEST(CaptureSummary, AnyBytes) {
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    Bytes bytes(random() % 90);
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
    if (bytes.size() > 10 && i % 4 != 0) {
      static constexpr std::array<std::uint8_t, 9> kNext{0, 43, 44, 60, 6, 17, 1, 58, 50};
      bytes[0] = i % 2 == 0 ? 0x45 : 0x60;
      bytes[i % 2 == 0 ? 9 : 6] = kNext[random() % kNext.size()];
    }
    const std::string text = summarize(bytes, 100);
    ASSERT_FALSE(text.empty());
    for (const char c : text) ASSERT_GE(c, ' ');
  }
}

}  // namespace
}  // namespace gw::cli::capture
