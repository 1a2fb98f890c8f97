// Rules one by one, then the property: what coalesces comes out of segmentation again as it went in.
#include "ebpf/gso/coalescer.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "ebpf/gso/segmenter.hpp"
#include "tests/unit/ebpf/gso/packets.hpp"

namespace gw::gso {
namespace {

using test::Bytes;
using test::PacketSpec;

struct Written {
  VnetHeader header;
  Bytes bytes;
  std::vector<std::size_t> which;
};

std::vector<Written> coalesce(std::vector<Bytes> packets, UdpMerging udp = UdpMerging::kYes) {
  Coalescer c(udp);
  c.begin();
  for (Bytes& p : packets) c.add(p);
  std::vector<Written> all;
  for (const Coalescer::Write& w : c.finish()) {
    Written out;
    std::memcpy(&out.header, w.parts[0].iov_base, sizeof out.header);
    EXPECT_EQ(w.parts[0].iov_len, sizeof out.header);
    for (const iovec& v : w.parts.subspan(1)) {
      const auto* from = static_cast<const std::uint8_t*>(v.iov_base);
      out.bytes.insert(out.bytes.end(), from, from + v.iov_len);
    }
    EXPECT_EQ(out.bytes.size(), w.bytes);
    out.which.assign(w.which.begin(), w.which.end());
    all.push_back(std::move(out));
  }
  return all;
}

/// What arrives behind a card that cuts superpackets apart.
std::vector<Bytes> segment(Written& w) {
  const auto s = parse_superpacket(w.header, w.bytes);
  EXPECT_TRUE(s);
  if (!s) return {};
  if (s->offload == Offload::kNone) {
    complete_checksum(*s);
    return {w.bytes};
  }
  const Segmenter segmenter(*s);
  std::vector<Bytes> out;
  for (std::uint32_t i = 0; i < segmenter.count(); ++i) {
    out.emplace_back(segmenter.length(i));
    segmenter.write(i, out.back().data());
  }
  return out;
}

/// n packets of one flow as a sender with segmentation offload makes them.
std::vector<Bytes> run_of(PacketSpec spec, std::size_t n) {
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < n; ++i) {
    spec.seed = static_cast<std::uint32_t>(i + 1);
    packets.push_back(test::make(spec));
    spec.sequence += spec.payload;
    ++spec.id;
  }
  return packets;
}

TEST(Coalescer, ARunBecomesOneSuperpacketAndItselfAgain) {
  for (const Family family : {Family::kV4, Family::kV6})
    for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
      const auto packets =
          run_of({.family = family, .protocol = protocol, .payload = 1400, .id = 0xfff0, .sequence = 0xfffff000}, 40);
      auto written = coalesce(packets);
      ASSERT_EQ(written.size(), 1);
      EXPECT_EQ(written[0].header.gso_size, 1400);
      EXPECT_EQ(written[0].which.size(), 40);
      EXPECT_EQ(segment(written[0]), packets);
    }
}

TEST(Coalescer, LimitsOfTheKernel) {
  auto written = coalesce(run_of({.payload = 1448}, 64));
  ASSERT_EQ(written.size(), 2);
  EXPECT_LE(written[0].bytes.size(), Coalescer::kMaxBytes);
  EXPECT_GT(written[0].bytes.size(), Coalescer::kMaxBytes - 1448);
  written = coalesce(run_of({.payload = 10}, 64));
  ASSERT_EQ(written.size(), 1);
  EXPECT_EQ(written[0].which.size(), 64);
}

TEST(Coalescer, PushEndsASuperpacketAndIsKept) {
  auto packets = run_of({}, 6);
  packets[2] = test::make({.id = 3, .sequence = 1200, .flags = test::kAck | test::kPsh, .seed = 3});
  auto written = coalesce(packets);
  ASSERT_EQ(written.size(), 2);
  EXPECT_EQ(written[0].which, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(segment(written[0]), (std::vector<Bytes>{packets[0], packets[1], packets[2]}));
}

TEST(Coalescer, AShorterPacketEndsASuperpacketALongerStartsOne) {
  auto packets = run_of({}, 2);
  packets.push_back(test::make({.payload = 50, .id = 3, .sequence = 1200}));
  packets.push_back(test::make({.payload = 100, .id = 4, .sequence = 1250}));
  packets.push_back(test::make({.payload = 101, .id = 5, .sequence = 1350}));
  const auto written = coalesce(packets);
  ASSERT_EQ(written.size(), 3);
  EXPECT_EQ(written[0].which.size(), 3);
  EXPECT_EQ(written[1].which, std::vector<std::size_t>{3});
  EXPECT_EQ(written[2].which, std::vector<std::size_t>{4});
}

TEST(Coalescer, AWrongChecksumGoesAloneAndUntouched) {
  for (const std::size_t bad : {0u, 1u, 2u}) {
    auto packets = run_of({}, 4);
    packets[bad].back() ^= 1;
    auto written = coalesce(packets);
    bool alone = false;
    for (const Written& w : written)
      if (w.which == std::vector<std::size_t>{bad})
        alone = w.bytes == packets[bad] && w.header.gso_type == 0 && w.header.flags == 0;
    EXPECT_TRUE(alone) << bad;
  }
}

TEST(Coalescer, FlowsInterleavedStayInOrderWithinThemselves) {
  auto a = run_of({.port = 1}, 3);
  auto b = run_of({.port = 2}, 3);
  const auto written = coalesce({a[0], b[0], a[1], b[1], a[2], b[2]});
  ASSERT_EQ(written.size(), 2);
  EXPECT_EQ(written[0].which, (std::vector<std::size_t>{0, 2, 4}));
  EXPECT_EQ(written[1].which, (std::vector<std::size_t>{1, 3, 5}));
}

TEST(Coalescer, NothingOvertakesAFragmentBetweenTheSameHosts) {
  auto packets = run_of({}, 3);
  const Bytes fragment = test::make({.protocol = 17, .fragment = 0x2000});
  auto written = coalesce({packets[0], packets[1], fragment, packets[2]});
  ASSERT_EQ(written.size(), 3);
  EXPECT_EQ(written[1].which, std::vector<std::size_t>{2});
  const Bytes others = test::make({.protocol = 17, .host = 2, .fragment = 0x2000});
  EXPECT_EQ(coalesce({packets[0], packets[1], others, packets[2]}).size(), 2);
}

TEST(Coalescer, AcknowledgementsOfOtherFlowsDoNotDisturb) {
  auto packets = run_of({}, 3);
  const Bytes ack = test::make({.port = 7, .payload = 0});
  EXPECT_EQ(coalesce({packets[0], ack, packets[1], ack, packets[2]}).size(), 3);
}

TEST(Coalescer, UdpOnlyIfTheKernelTakesIt) {
  EXPECT_EQ(coalesce(run_of({.protocol = 17}, 3), UdpMerging::kNo).size(), 3);
  EXPECT_EQ(coalesce(run_of({.protocol = 17}, 3), UdpMerging::kYes).size(), 1);
}

TEST(Coalescer, UdpWithoutChecksumStaysAlone) {
  auto packets = run_of({.protocol = 17}, 3);
  for (Bytes& p : packets) store_be(&p[26], std::uint16_t{0});
  EXPECT_EQ(coalesce(packets).size(), 3);
}

TEST(Coalescer, ConstantIdsWithDontFragmentMerge) {
  PacketSpec spec{.protocol = 17, .id = 0};
  std::vector<Bytes> packets;
  for (spec.seed = 1; spec.seed <= 4; ++spec.seed) packets.push_back(test::make(spec));
  auto written = coalesce(packets);
  ASSERT_EQ(written.size(), 1);
  auto again = segment(written[0]);
  ASSERT_EQ(again.size(), 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(load_be<std::uint16_t>(&again[i][4]), i);  // the documented difference
    store_be(&again[i][4], std::uint16_t{0});
    test::finish(again[i], Family::kV4);
    EXPECT_EQ(again[i], packets[i]);
  }
  for (Bytes& p : packets) {
    p[6] = 0;  // may be fragmented: ids mean something
    test::finish(p, Family::kV4);
  }
  EXPECT_EQ(coalesce(packets).size(), 4);
}

struct Difference {
  const char* what;
  void (*make)(PacketSpec&);
};
class CoalescerDifferences : public testing::TestWithParam<Difference> {};

// The second packet of a run of two differs in one thing only: the two do not merge.
TEST_P(CoalescerDifferences, Part) {
  PacketSpec second{.id = 2, .sequence = 1100, .options = {1, 1, 1, 1}};
  const Bytes first = test::make({.options = {1, 1, 1, 1}});
  ASSERT_EQ(coalesce({first, test::make(second)}).size(), 1);
  GetParam().make(second);
  const auto written = coalesce({first, test::make(second)});
  ASSERT_EQ(written.size(), 2);
  EXPECT_EQ(written[0].bytes, first);
  EXPECT_EQ(written[1].bytes, test::make(second));
}

INSTANTIATE_TEST_SUITE_P(All, CoalescerDifferences,
                         testing::Values(Difference{"id", [](PacketSpec& s) { s.id = 3; }},
                                         Difference{"tos", [](PacketSpec& s) { s.tos = 4; }},
                                         Difference{"ttl", [](PacketSpec& s) { s.ttl = 63; }},
                                         Difference{"df", [](PacketSpec& s) { s.fragment = 0; }},
                                         Difference{"reserved_bit", [](PacketSpec& s) { s.fragment = 0xc000; }},
                                         Difference{"source", [](PacketSpec& s) { s.host = 2; }},
                                         Difference{"port", [](PacketSpec& s) { s.port = 40001; }},
                                         Difference{"gap", [](PacketSpec& s) { s.sequence = 1101; }},
                                         Difference{"overlap", [](PacketSpec& s) { s.sequence = 1099; }},
                                         Difference{"acknowledgement", [](PacketSpec& s) { s.acknowledgement++; }},
                                         Difference{"window", [](PacketSpec& s) { s.window++; }},
                                         Difference{"fin", [](PacketSpec& s) { s.flags |= test::kFin; }},
                                         Difference{"ece", [](PacketSpec& s) { s.flags |= test::kEce; }},
                                         Difference{"cwr", [](PacketSpec& s) { s.flags |= test::kCwr; }},
                                         Difference{"urg", [](PacketSpec& s) { s.flags |= test::kUrg; }},
                                         Difference{"rst", [](PacketSpec& s) { s.flags |= test::kRst; }},
                                         Difference{"syn", [](PacketSpec& s) { s.flags |= test::kSyn; }},
                                         Difference{"option", [](PacketSpec& s) { s.options = {1, 1, 1, 0}; }},
                                         Difference{"option_length", [](PacketSpec& s) { s.options = Bytes(8, 1); }},
                                         Difference{"longer", [](PacketSpec& s) { s.payload = 101; }},
                                         Difference{"empty", [](PacketSpec& s) { s.payload = 0; }}),
                         [](const auto& row) { return row.param.what; });

/// What identifies a flow for the property's order.
Bytes flow_key(const Bytes& p) {
  const bool v4 = p[0] >> 4 == 4;
  Bytes key(p.begin() + (v4 ? 12 : 8), p.begin() + (v4 ? 24 : 44));
  key.push_back(p[v4 ? 9 : 6]);
  return key;
}

// Random bursts of a few flows that mostly, but not always, go on as they should.
TEST(CoalescerProperty, SegmentationGivesBackEveryPacketInOrder) {
  std::size_t merged = 0;
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::vector<PacketSpec> flows(1 + random() % 5);
    for (std::size_t i = 0; i < flows.size(); ++i) {
      flows[i] = {.family = random() % 3 ? Family::kV4 : Family::kV6,
                  .protocol = static_cast<std::uint8_t>(random() % 3 ? 6 : 17),
                  .host = static_cast<std::uint8_t>(random() % 2),
                  .port = static_cast<std::uint16_t>(i),
                  .payload = static_cast<std::uint16_t>(1 + random() % 1400),
                  .id = static_cast<std::uint16_t>(random()),
                  .sequence = static_cast<std::uint32_t>(random())};
      if (flows[i].protocol == 6 && random() % 2) flows[i].options = Bytes(12, 1);
    }
    std::vector<Bytes> packets;
    const std::size_t n = 1 + random() % Coalescer::kMaxPackets;
    while (packets.size() < n) {
      PacketSpec& flow = flows[random() % flows.size()];
      PacketSpec one = flow;
      one.seed = static_cast<std::uint32_t>(random());
      switch (random() % 24) {
        case 0: one.flags |= test::kPsh; break;
        case 1: one.flags = static_cast<std::uint8_t>(random()); break;
        case 2: one.payload = static_cast<std::uint16_t>(random() % 1400); break;
        case 3: flow.sequence += 1; break;
        case 4: one.ttl = 9; break;
        case 5: flow.id += 5; break;
        case 6: one.fragment = static_cast<std::uint16_t>(random()) & 0x7fff; break;
        default: break;
      }
      Bytes p = test::make(one);
      if (random() % 30 == 0) p[p.size() - 1 - random() % 8] ^= 0x10;  // payload or transport header
      packets.push_back(std::move(p));
      flow.sequence += one.payload;
      flow.id += 1;
    }

    std::vector<Bytes> again;
    std::vector<std::size_t> order;
    for (Written& w : coalesce(packets)) {
      merged += w.which.size() > 1 ? w.which.size() : 0;
      order.insert(order.end(), w.which.begin(), w.which.end());
      for (Bytes& p : segment(w)) again.push_back(std::move(p));
    }
    ASSERT_EQ(again.size(), packets.size()) << "seed " << seed;
    std::map<Bytes, std::size_t> newest;
    for (std::size_t i = 0; i < order.size(); ++i) {
      ASSERT_EQ(again[i], packets[order[i]]) << "seed " << seed << " packet " << order[i];
      const Bytes key = flow_key(packets[order[i]]);
      if (const auto it = newest.find(key); it != newest.end()) {
        ASSERT_LT(it->second, order[i]) << "seed " << seed;
      }
      newest[key] = order[i];
    }
  }
  EXPECT_GT(merged, 20000) << "the property must not hold for want of merging";
}

}  // namespace
}  // namespace gw::gso
