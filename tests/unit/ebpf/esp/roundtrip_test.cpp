// Through encapsulation and back: families, UDP, ESN, backends, sizes, bursts of several SAs.
#include <tuple>

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

using Combination = std::tuple<std::string_view, Family, Family, Encapsulation, SequenceMode>;

class RoundTrip : public testing::TestWithParam<Combination> {};

TEST_P(RoundTrip, EverySizeComesBack) {
  const auto [transform, outer, inner, encapsulation, mode] = GetParam();
  SaPair pair({.outer = outer,
               .encapsulation = encapsulation,
               .mode = mode,
               .transform = transform,
               .sender = all_backends().front(),
               .receiver = BackendChoice::kOpenssl});
  for (std::size_t size = inner == Family::kV4 ? 20 : 40; size <= 1600; size += size < 120 ? 1 : 73) {
    SCOPED_TRACE(size);
    const Bytes plain = inner_packet({.family = inner, .size = size, .tos = 0xb8});
    const Bytes wire = pair.seal(plain);
    EXPECT_EQ(wire.size(), outer_length(*pair.outbound, static_cast<std::uint32_t>(size)));
    const bool readable = !std::ranges::search(wire, std::span(plain).subspan(12, 8)).empty();
    EXPECT_EQ(readable, transform.starts_with("NULL")) << "plaintext on the wire";
    const auto opened = pair.open(wire);
    ASSERT_EQ(opened.drop, GW_DROP_NONE);
    EXPECT_EQ(opened.inner, plain);
  }
  EXPECT_EQ(pair.out_record.packets, pair.in_record.packets);
  EXPECT_EQ(pair.out_record.bytes, pair.in_record.bytes);
}

std::vector<std::string_view> transform_names() {
  std::vector<std::string_view> names;
  for (const Transform& t : transforms()) names.push_back(t.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(AllCombinations, RoundTrip,
                         testing::Combine(testing::ValuesIn(transform_names()),
                                          testing::Values(Family::kV4, Family::kV6),
                                          testing::Values(Family::kV4, Family::kV6),
                                          testing::Values(Encapsulation::kNative, Encapsulation::kUdp),
                                          testing::Values(SequenceMode::k32Bit, SequenceMode::kExtended)));

TEST(OuterHeader, IPv4UdpChecksumIsZeroAndIpv6OneIsRight) {
  SaPair v4({.encapsulation = Encapsulation::kUdp});
  const Bytes wire4 = v4.seal(inner_packet({}));
  EXPECT_EQ(load_be<std::uint16_t>(&wire4[26]), 0);
  EXPECT_EQ(load_be<std::uint16_t>(&wire4[24]), wire4.size() - 20);
  SaPair v6({.outer = Family::kV6, .encapsulation = Encapsulation::kUdp});
  for (std::size_t size = 40; size < 80; ++size) {
    const Bytes wire = v6.seal(inner_packet({.size = size}));
    EXPECT_NE(load_be<std::uint16_t>(&wire[46]), 0);
    const std::uint64_t sum = sum16(&wire[8], 32) + sum16(&wire[40], wire.size() - 40) + (wire.size() - 40) + 17;
    EXPECT_EQ(fold16(sum), 0xffff) << "RFC 8200 8.1";
  }
}

TEST(OuterHeader, CopiesDscpAndEcnSetsDfAndTtl) {
  for (const Family inner : {Family::kV4, Family::kV6}) {
    for (int tos = 0; tos < 256; ++tos) {
      SaPair v4({});
      const Bytes wire = v4.seal(inner_packet({.family = inner, .tos = static_cast<std::uint8_t>(tos)}));
      EXPECT_EQ(wire[1], tos);
      EXPECT_EQ(wire[6] & 0xe0, 0x40);
      EXPECT_EQ(wire[8], 64);
      EXPECT_TRUE(ipv4_checksum_ok(wire.data(), 20));
      if (tos % 37 != 0) continue;
      SaPair v6({.outer = Family::kV6});
      const Bytes wire6 = v6.seal(inner_packet({.family = inner, .tos = static_cast<std::uint8_t>(tos)}));
      EXPECT_EQ((wire6[0] & 0xf) << 4 | wire6[1] >> 4, tos);
      EXPECT_EQ(wire6[7], 64);
    }
  }
}

TEST(Bursts, OfSeveralSasAnyLengthInOrder) {
  SaPair a({.window = 1024, .spi = 0x1001});
  SaPair b({.outer = Family::kV6,
            .mode = SequenceMode::k32Bit,
            .transform = "AES_GCM_16-128",
            .window = 1024,
            .spi = 0x1002});
  for (const std::size_t n : {1U, 63U, 64U, 65U, 257U}) {
    std::vector<Buffer> buffers;
    std::vector<Packet> packets;
    std::vector<Bytes> plain;
    buffers.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
      plain.push_back(inner_packet({.size = 40 + i % 90}));
      buffers.emplace_back(plain.back());
      buffers.back().packet.out = i % 3 == 0 ? b.outbound.get() : a.outbound.get();
      packets.push_back(buffers.back().packet);
    }
    EXPECT_EQ(a.encap.encapsulate(packets, 1).passed, n);
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_EQ(receive(packets[i], i % 3 == 0 ? *b.inbound : *a.inbound), GW_DROP_NONE);
    }
    EXPECT_EQ(a.decap.decapsulate(packets, 1).passed, n);
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_EQ(Bytes(packets[i].bytes().begin(), packets[i].bytes().end()), plain[i]) << i << " of " << n;
  }
}

TEST(Bursts, DroppedPacketsAreLeftAlone) {
  SaPair pair({});
  const Bytes plain = inner_packet({});
  Buffer buffer(plain);
  buffer.packet.drop = GW_DROP_TTL;
  buffer.packet.out = nullptr;
  const BurstResult out = pair.encap.encapsulate({&buffer.packet, 1}, 1);
  const BurstResult in = pair.decap.decapsulate({&buffer.packet, 1}, 1);
  EXPECT_EQ(out.passed + out.dropped + in.passed + in.dropped, 0U);
  EXPECT_EQ(buffer.packet.drop, GW_DROP_TTL);
  EXPECT_EQ(buffer.bytes(), plain);
}

TEST(Encapsulation, EthernetPaddingIsNotSent) {
  SaPair pair({});
  Bytes padded = inner_packet({.size = 30});
  const Bytes plain = padded;
  padded.resize(46);
  EXPECT_EQ(pair.open(pair.seal(padded)).inner, plain);
}

TEST(Encapsulation, TooLittleRoomIsADropThatUsesNoNumbers) {
  for (const auto& [headroom, tailroom] : {std::pair{35U, 24U}, std::pair{64U, 17U}, std::pair{0U, 0U}}) {
    SaPair pair({});
    Buffer b(inner_packet({.size = 102}), headroom, tailroom);  // 102 + 2 is a multiple of 4: 18 bytes behind
    b.packet.out = pair.outbound.get();
    EXPECT_EQ(pair.encap.encapsulate({&b.packet, 1}, 1).dropped, 1U);
    EXPECT_EQ(b.packet.drop, GW_DROP_NO_HEADROOM);
    EXPECT_EQ(pair.out_record.next_sequence, 1U);
    EXPECT_EQ(pair.out_record.next_counter, 0U);
  }
  SaPair pair({});
  Buffer exact(inner_packet({.size = 102}), 36, 18);
  exact.packet.out = pair.outbound.get();
  EXPECT_EQ(pair.encap.encapsulate({&exact.packet, 1}, 1).passed, 1U);
}

TEST(Encapsulation, MalformedAndOversizedInnerPackets) {
  const auto drop_of = [](Bytes inner) {
    SaPair pair({});
    Buffer b(inner);
    b.packet.out = pair.outbound.get();
    pair.encap.encapsulate({&b.packet, 1}, 1);
    EXPECT_EQ(pair.out_record.next_sequence, 1U);
    return b.packet.drop;
  };
  EXPECT_EQ(drop_of({}), GW_DROP_MALFORMED_INNER);
  EXPECT_EQ(drop_of(Bytes(64, 0)), GW_DROP_MALFORMED_INNER);
  Bytes bad_checksum = inner_packet({});
  ++bad_checksum[10];
  EXPECT_EQ(drop_of(bad_checksum), GW_DROP_MALFORMED_INNER);
  EXPECT_EQ(drop_of(inner_packet({.size = 65'500})), GW_DROP_TOO_BIG);
}

}  // namespace
}  // namespace gw::esp::test
