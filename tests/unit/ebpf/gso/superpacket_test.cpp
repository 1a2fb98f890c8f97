#include "ebpf/gso/superpacket.hpp"

#include <gtest/gtest.h>

#include <random>

#include "ebpf/gso/segmenter.hpp"
#include "tests/unit/ebpf/gso/packets.hpp"

namespace gw::gso {
namespace {

using test::Bytes;
using test::PacketSpec;

VnetHeader tso4(std::uint16_t size) {
  VnetHeader h{};
  h.flags = kVnetNeedsChecksum;
  h.gso_type = kVnetTcp4;
  h.hdr_len = 40;
  h.gso_size = size;
  h.csum_start = 20;
  h.csum_offset = 16;
  return h;
}

TEST(Superpacket, FindsEverythingInThePacket) {
  Bytes p = test::make({.payload = 5000, .options = Bytes(12, 1)});
  VnetHeader h = tso4(1400);
  h.hdr_len = 9999;  // "performance hint" (VIRTIO 1.2 5.1.6.2): not used
  const auto s = parse_superpacket(h, p);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->offload, Offload::kTcp);
  EXPECT_EQ(s->l4_offset, 20);
  EXPECT_EQ(s->header_length, 52);
  EXPECT_EQ(s->segments, 4);
  EXPECT_EQ(s->longest(), 1452);
}

TEST(Superpacket, PlainPacketIsCutToItsLength) {
  Bytes p = test::make({.payload = 10});
  const std::size_t length = p.size();
  p.resize(60);
  const auto s = parse_superpacket({}, p);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->bytes.size(), length);
  EXPECT_EQ(s->segments, 1);
}

struct Lie {
  const char* what;
  void (*tell)(VnetHeader&, Bytes&);
};

class SuperpacketLies : public testing::TestWithParam<Lie> {};

TEST_P(SuperpacketLies, AreRefused) {
  Bytes p = test::make({.payload = 5000});
  VnetHeader h = tso4(1400);
  ASSERT_TRUE(parse_superpacket(h, p)) << "right before the lie";
  GetParam().tell(h, p);
  const auto s = parse_superpacket(h, p);
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error(), GW_DROP_MALFORMED_INNER);
}

void refinish(Bytes& p) { test::finish(p, Family::kV4); }

INSTANTIATE_TEST_SUITE_P(
    All, SuperpacketLies,
    testing::Values(Lie{"no_segment_size", [](VnetHeader& h, Bytes&) { h.gso_size = 0; }},
                    Lie{"ipv6_type", [](VnetHeader& h, Bytes&) { h.gso_type = kVnetTcp6; }},
                    Lie{"udp_type", [](VnetHeader& h, Bytes&) { h.gso_type = kVnetUdp; }},
                    Lie{"ufo_type", [](VnetHeader& h, Bytes&) { h.gso_type = kVnetUfo; }},
                    Lie{"unknown_type", [](VnetHeader& h, Bytes&) { h.gso_type = 0x7f; }},
                    Lie{"checksum_start", [](VnetHeader& h, Bytes&) { h.csum_start = 24; }},
                    Lie{"checksum_offset", [](VnetHeader& h, Bytes&) { h.csum_offset = 6; }},
                    Lie{"no_checksum", [](VnetHeader& h, Bytes&) { h.flags = 0; }},
                    Lie{"longer_than_ip_says", [](VnetHeader&, Bytes& p) { p.resize(p.size() + 1); }},
                    Lie{"shorter_than_ip_says", [](VnetHeader&, Bytes& p) { p.resize(p.size() - 1); }},
                    Lie{"ip_checksum", [](VnetHeader&, Bytes& p) { p[10] ^= 1; }},
                    Lie{"fragment",
                        [](VnetHeader&, Bytes& p) {
                          p[6] = 0x20;
                          refinish(p);
                        }},
                    Lie{"tcp_header_too_short", [](VnetHeader&, Bytes& p) { p[32] = 0x40; }},
                    Lie{"tcp_header_beyond_packet",
                        [](VnetHeader&, Bytes& p) {
                          p.resize(50);
                          p[32] = 0xf0;
                          refinish(p);
                        }},
                    Lie{"no_payload",
                        [](VnetHeader&, Bytes& p) {
                          p.resize(40);
                          refinish(p);
                        }},
                    Lie{"empty", [](VnetHeader&, Bytes& p) { p.clear(); }}),
    [](const auto& row) { return row.param.what; });

TEST(Superpacket, UnfinishedChecksumMustLieInThePacket) {
  Bytes p = test::make({.protocol = 17, .payload = 30});
  VnetHeader h{};
  h.flags = kVnetNeedsChecksum;
  h.csum_start = 20;
  h.csum_offset = 36;  // the last two bytes
  EXPECT_TRUE(parse_superpacket(h, p));
  h.csum_offset = 37;
  EXPECT_FALSE(parse_superpacket(h, p));
  h.csum_offset = 0xffff;
  EXPECT_FALSE(parse_superpacket(h, p));
  h = {};
  h.flags = kVnetNeedsChecksum;
  h.csum_start = 10;  // in the IP header
  EXPECT_FALSE(parse_superpacket(h, p));
}

TEST(Superpacket, UnfinishedChecksumIsFinished) {
  for (const Family family : {Family::kV4, Family::kV6})
    for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
      const Bytes whole = test::make({.family = family, .protocol = protocol, .payload = 777});
      Bytes p = whole;
      test::leave_checksum(p, family);
      ASSERT_NE(p, whole);
      VnetHeader h{};
      h.flags = kVnetNeedsChecksum;
      h.csum_start = static_cast<std::uint16_t>(test::ip_header(family));
      h.csum_offset = protocol == 6 ? 16 : 6;
      const auto s = parse_superpacket(h, p);
      ASSERT_TRUE(s);
      complete_checksum(*s);
      EXPECT_EQ(p, whole);
    }
}

TEST(Superpacket, NoHeaderAndNoBytesReadBeyondThem) {
  // Under ASan: every byte string of these lengths, with every kind of header, ends at the end of its memory.
  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    Bytes p(random() % 120);
    for (auto& b : p) b = static_cast<std::uint8_t>(random());
    if (!p.empty() && round % 2) {
      p[0] = random() % 2 ? 0x45 : 0x60;
      if (p.size() >= 20 && p[0] == 0x45) {
        p[9] = random() % 2 ? 6 : 17;
        store_be(&p[6], std::uint16_t{0x4000});
        store_be(&p[2], static_cast<std::uint16_t>(p.size()));
        store_be(&p[10], std::uint16_t{0});
        store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), 20))));
      } else if (p.size() >= 40 && p[0] == 0x60) {
        p[6] = random() % 2 ? 6 : 17;
        store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
      }
    }
    VnetHeader h{};
    h.flags = static_cast<std::uint8_t>(random() % 2);
    constexpr std::uint8_t kTypes[] = {0, 1, 3, 4, 5, 0x81, 0x84};
    h.gso_type = kTypes[random() % std::size(kTypes)];
    h.gso_size = static_cast<std::uint16_t>(random() % 40);
    h.csum_start = static_cast<std::uint16_t>(random() % 2 ? (random() % 2 ? 20 : 40) : random() % 130);
    h.csum_offset = static_cast<std::uint16_t>(random() % 2 ? (random() % 2 ? 16 : 6) : random() % 130);
    const auto s = parse_superpacket(h, p);
    if (!s) continue;
    if (s->offload == Offload::kNone) {
      complete_checksum(*s);
      continue;
    }
    const Segmenter segmenter(*s);
    for (std::uint32_t i = 0; i < segmenter.count(); ++i) {
      Bytes out(segmenter.length(i));
      ASSERT_LE(out.size(), segmenter.longest());
      segmenter.write(i, out.data());
    }
  }
}

}  // namespace
}  // namespace gw::gso
