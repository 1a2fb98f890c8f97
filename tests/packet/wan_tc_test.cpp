// The wan guard of a gso port (tcx): it decides as the XDP program does, about socket buffers and trains.
#include <linux/pkt_cls.h>

#include <format>
#include <string>
#include <string_view>
#include <tuple>

#include "ebpf/xdp/tc_programs.hpp"
#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

class WanTcTest : public WanTest {
 protected:
  void SetUp() override {
    WanTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto loaded = WanTcProgram::load(*maps_);
    ASSERT_TRUE(loaded) << loaded.error().describe();
    tc_.emplace(std::move(*loaded));
  }
  int verdict_of(const SkbInput& input) { return run_skb(tc_->program_fd(), input).verdict; }
  std::optional<WanTcProgram> tc_;
};

/// What XDP redirects goes up the stack here, to our sockets.
int tc_verdict(int xdp_verdict) { return xdp_verdict == XDP_DROP ? TC_ACT_SHOT : TC_ACT_OK; }

// The kernel takes the outermost tag off before tcx sees the packet; an inner one is still in it.
TEST_F(WanTcTest, VerdictAndCounter) {
  for (const WanRow& row : wan_rows()) {
    const bool tagged_itself = std::string_view(row.what).contains("VLAN");
    for (const auto& with : kTagStacks) {
      if (tagged_itself && !with.empty()) continue;
      const std::string what = std::format("{}, {} more tags", row.what, with.size());
      const Counters before = maps_->wan_counters();
      const SkbOutput out = run_skb(tc_->program_fd(), {.frame = tag(row.frame, with), .mark = 77});
      EXPECT_EQ(out.verdict, tc_verdict(row.verdict)) << what;
      EXPECT_EQ(out.mark, 77u) << what << ": the mark is others'";
      EXPECT_EQ(counted_since(before), only(row.counter)) << what;
    }
  }
}

TEST_F(WanTcTest, TruncatedAtEveryLength) {
  for (const WanRow& row : wan_rows()) {
    for (const auto& with : kTagStacks) {
      const Bytes frame = tag(row.frame, with);
      for (std::size_t length = shortest_skb(frame); length + row.padding < frame.size(); ++length) {
        const std::string what = std::format("{}, {} more tags, cut to {}", row.what, with.size(), length);
        const Counters before = maps_->wan_counters();
        const Bytes cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_EQ(verdict_of({.frame = cut}), TC_ACT_OK) << what;
        EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED)) << what;
      }
    }
  }
}

// GRO: of a train the first datagram is looked at, all of it counts.
TEST_F(WanTcTest, ATrainCountsItsDatagrams) {
  for (const auto& [spi, verdict, counter] :
       {std::tuple{kKnown, TC_ACT_OK, GW_XDP_REDIRECTED}, std::tuple{kUnknown, TC_ACT_SHOT, GW_XDP_DROP_UNKNOWN_SPI}}) {
    const Bytes content = esp(spi, 40) + esp(spi, 40) + esp(spi, 40);
    for (const Bytes& train : {wan_v4(udp({}, content), 17), wan_v6(udp({}, content), 17)}) {
      const Counters before = maps_->wan_counters();
      EXPECT_EQ(verdict_of({.frame = train, .gso_segs = 3, .gso_size = 48}), verdict);
      EXPECT_EQ(counted_since(before), only(counter, 3));
    }
  }
}

// What the kernel merged for itself (TCP) counts by its segments, too.
TEST_F(WanTcTest, ASuperpacketOfTheKernelsCountsItsSegments) {
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(verdict_of({.frame = wan_v4(Bytes(20 + 2'800, 0), 6), .gso_segs = 4, .gso_size = 700}), TC_ACT_OK);
  EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED, 4));
}

TEST_F(WanTcTest, UnknownSpiIsReportedOnceInAWhile) {
  const Bytes frame = wan_v6(udp({.src = 40001}, esp(kUnknown)), 17);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(verdict_of({.frame = frame}), TC_ACT_SHOT);
  std::vector<UnknownSpi> seen;
  maps_->consume([&](const UnknownSpi& u) { seen.push_back(u); });
  ASSERT_GE(seen.size(), 1u);
  EXPECT_LE(seen.size(), 2u) << "one per 100 ms";
  EXPECT_EQ(seen[0].spi, kUnknown);
  EXPECT_EQ(seen[0].src, ip("2001:db8:ffff::9"));
  EXPECT_EQ(seen[0].dst, ip("2001:db8::1"));
  EXPECT_EQ(seen[0].src_port, 40001);
}

TEST_F(WanTcTest, ARemovedSpiIsUnknown) {
  maps_->remove_spi(kKnown, ip("2001:db8::1"));
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(verdict_of({.frame = wan_v6(esp(kKnown), 50)}), TC_ACT_SHOT);
  EXPECT_EQ(counted_since(before), only(GW_XDP_DROP_UNKNOWN_SPI));
  EXPECT_EQ(verdict_of({.frame = wan_v4(esp(kKnown), 50)}), TC_ACT_OK) << "the other family's is still there";
}

}  // namespace
}  // namespace gw::xdp
