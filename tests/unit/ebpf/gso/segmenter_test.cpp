#include "ebpf/gso/segmenter.hpp"

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/ebpf/gso/packets.hpp"

namespace gw::gso {
namespace {

using test::Bytes;
using test::PacketSpec;

VnetHeader header_for(const PacketSpec& s, std::uint16_t size) {
  VnetHeader h{};
  h.flags = kVnetNeedsChecksum;
  const bool v4 = s.family == Family::kV4;
  h.gso_type = kVnetUdp;
  if (s.protocol == 6) h.gso_type = v4 ? kVnetTcp4 : kVnetTcp6;
  h.gso_size = size;
  h.csum_start = v4 ? 20 : 40;
  h.csum_offset = s.protocol == 6 ? 16 : 6;
  return h;
}

std::vector<Bytes> segments_of(const VnetHeader& h, Bytes& p) {
  const auto s = parse_superpacket(h, p);
  if (!s) return {};
  const Segmenter segmenter(*s);
  std::vector<Bytes> out;
  for (std::uint32_t i = 0; i < segmenter.count(); ++i) {
    Bytes b(segmenter.length(i));
    segmenter.write(i, b.data());
    out.push_back(std::move(b));
  }
  return out;
}

struct Case {
  Family family;
  std::uint8_t protocol;
};
class SegmenterTest : public testing::TestWithParam<Case> {};

TEST_P(SegmenterTest, SegmentsAreWhatTheSenderWouldHaveSent) {
  const auto [family, protocol] = GetParam();
  for (const auto size : std::to_array<std::uint16_t>({1, 8, 100, 1399, 1400})) {
    for (const std::uint32_t last : {1u, 2u, 1u * size}) {
      if (last > size) continue;
      constexpr std::uint32_t kSegments = 5;
      PacketSpec whole{.family = family, .protocol = protocol, .id = 0xfffd, .tos = 0x28, .sequence = 0xffffff00};
      if (protocol == 6) whole.options = Bytes{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
      whole.flags = test::kAck | test::kPsh | test::kFin;
      whole.payload = static_cast<std::uint16_t>((kSegments - 1) * size + last);
      Bytes p = test::make(whole);
      const std::size_t header = p.size() - whole.payload;
      const Bytes payload(p.begin() + static_cast<long>(header), p.end());
      test::leave_checksum(p, family);

      const auto segments = segments_of(header_for(whole, size), p);
      ASSERT_EQ(segments.size(), kSegments);
      for (std::uint32_t i = 0; i < kSegments; ++i) {
        PacketSpec one = whole;
        one.payload = static_cast<std::uint16_t>(i + 1 == kSegments ? last : size);
        one.id = static_cast<std::uint16_t>(whole.id + i);
        one.sequence = whole.sequence + i * size;
        one.flags = i + 1 == kSegments ? whole.flags : std::uint8_t{test::kAck};
        Bytes expected = test::make(one);
        std::copy_n(payload.begin() + i * size, one.payload, expected.begin() + static_cast<long>(header));
        test::finish(expected, family);
        ASSERT_EQ(segments[i], expected) << "segment " << i << " of size " << size;
      }
    }
  }
}

TEST_P(SegmenterTest, OneSegmentOnly) {
  const auto [family, protocol] = GetParam();
  const PacketSpec spec{.family = family, .protocol = protocol, .payload = 700};
  const Bytes whole = test::make(spec);
  Bytes p = whole;
  test::leave_checksum(p, family);
  const auto segments = segments_of(header_for(spec, 1400), p);
  ASSERT_EQ(segments.size(), 1);
  EXPECT_EQ(segments[0], whole);
}

INSTANTIATE_TEST_SUITE_P(All, SegmenterTest,
                         testing::Values(Case{Family::kV4, 6}, Case{Family::kV6, 6}, Case{Family::kV4, 17},
                                         Case{Family::kV6, 17}),
                         [](const auto& row) {
                           return std::string(row.param.protocol == 6 ? "tcp" : "udp") +
                                  (row.param.family == Family::kV4 ? "4" : "6");
                         });

TEST(Segmenter, CwrIsSentOnce) {
  PacketSpec spec{.payload = 300, .flags = test::kAck | test::kCwr | test::kEce};
  Bytes p = test::make(spec);
  VnetHeader h = header_for(spec, 100);
  h.gso_type |= kVnetEcn;
  const auto segments = segments_of(h, p);
  ASSERT_EQ(segments.size(), 3);
  EXPECT_EQ(segments[0][33], test::kAck | test::kCwr | test::kEce);
  EXPECT_EQ(segments[1][33], test::kAck | test::kEce);
  EXPECT_EQ(segments[2][33], test::kAck | test::kEce);
  for (const Bytes& s : segments) EXPECT_TRUE(test::checksum_right(s, Family::kV4));
}

TEST(Segmenter, IpOptionsAreRepeated) {
  Bytes p = test::make({.payload = 300});
  p.insert(p.begin() + 20, {7, 4, 4, 0});  // record route, no room: 4 bytes
  p[0] = 0x46;
  store_be(&p[2], static_cast<std::uint16_t>(p.size()));
  store_be(&p[10], std::uint16_t{0});
  store_be(&p[10], static_cast<std::uint16_t>(~esp::fold16(esp::sum16(p.data(), 24))));
  VnetHeader h = header_for({}, 100);
  h.csum_start = 24;
  const auto segments = segments_of(h, p);
  ASSERT_EQ(segments.size(), 3);
  for (const Bytes& s : segments) {
    EXPECT_EQ(s.size(), 24 + 20 + 100);
    EXPECT_EQ(esp::fold16(esp::sum16(s.data(), 24)), 0xffff);
    const std::uint64_t pseudo = esp::sum16(&s[12], 8) + 6 + 120;
    EXPECT_EQ(esp::fold16(pseudo + esp::sum16(&s[24], 120)), 0xffff);
  }
}

TEST(Segmenter, UdpWithoutChecksumStaysSo) {
  const PacketSpec spec{.protocol = 17, .payload = 250};
  Bytes p = test::make(spec);
  store_be(&p[26], std::uint16_t{0});
  VnetHeader h = header_for(spec, 100);
  h.flags = 0;
  const auto segments = segments_of(h, p);
  ASSERT_EQ(segments.size(), 3);
  for (const Bytes& s : segments) EXPECT_EQ(load_be<std::uint16_t>(&s[26]), 0);
  EXPECT_EQ(load_be<std::uint16_t>(&segments[2][24]), 58);
}

}  // namespace
}  // namespace gw::gso
