// The wan program: the rows of wan_table, and every truncation of every row.
#include <format>
#include <string>
#include <string_view>

#include "wan_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

// BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
constexpr std::size_t kShortestFrame = 14;

// More than two tags are the kernel's.
TEST_F(WanTest, VerdictAndCounter) {
  for (const WanRow& row : wan_rows()) {
    const bool tagged_itself = std::string_view(row.what).contains("VLAN");
    for (const auto& with : kTagStacks) {
      if (tagged_itself && !with.empty()) continue;
      const std::string what = std::format("{}, {} more tags", row.what, with.size());
      const Counters before = maps_->wan_counters();
      EXPECT_EQ(run(program_->program_fd(), tag(row.frame, with)), row.verdict) << what;
      EXPECT_EQ(counted_since(before), only(row.counter)) << what;
    }
  }
}

// At any length, with tags and without: a verdict, one counter, and never a redirect of what is not whole.
TEST_F(WanTest, TruncatedAtEveryLength) {
  for (const WanRow& row : wan_rows()) {
    for (const auto& with : kTagStacks) {
      const Bytes frame = tag(row.frame, with);
      for (std::size_t length = kShortestFrame; length + row.padding < frame.size(); ++length) {
        const std::string what = std::format("{}, {} more tags, cut to {}", row.what, with.size(), length);
        const Counters before = maps_->wan_counters();
        const int verdict =
            run(program_->program_fd(), Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)));
        // The IP length says that bytes are missing: nothing goes to a socket, and nobody is blamed for it.
        EXPECT_EQ(verdict, XDP_PASS) << what;
        EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED)) << what;
      }
    }
  }
}

TEST_F(WanTest, UnknownSpiIsReportedOnceInAWhile) {
  const Bytes frame = wan_v4(udp({.src = 40001}, esp(kUnknown)), 17);
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
  const Bytes frame = wan_v4(esp(kKnown), 50);
  maps_->remove_spi(kKnown, ip("192.0.2.1"));
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_DROP);
  EXPECT_EQ(counted_since(before), only(GW_XDP_DROP_UNKNOWN_SPI));
}

TEST_F(WanTest, AQueueWithoutSocketDropsAndCounts) {
  auto other = WanProgram::load(*maps_);
  ASSERT_TRUE(other);
  const Counters before = maps_->wan_counters();
  EXPECT_EQ(run(other->program_fd(), wan_v4(esp(kKnown), 50)), XDP_DROP);
  EXPECT_EQ(counted_since(before), only(GW_XDP_DROP_NO_SOCKET));
}

// A jumbo frame is in pages: only its headers can be read in place.
TEST_F(WanTest, JumboFramesAreWholeInTheirPages) {
  for (const std::size_t rest : {3'000u, 8'900u, 20'000u}) {
    EXPECT_EQ(run(program_->program_fd(), wan_v4(esp(kKnown, rest), 50)), XDP_REDIRECT) << rest;
    EXPECT_EQ(run(program_->program_fd(), wan_v6(udp({}, esp(kKnown, rest)), 17)), XDP_REDIRECT) << rest;
    Bytes cut = wan_v4(esp(kKnown, rest), 50);
    cut.pop_back();
    EXPECT_EQ(run(program_->program_fd(), cut), XDP_PASS) << rest;
  }
}

TEST_F(WanTest, TheSpiMapHasItsLimit) {
  for (std::uint32_t spi = 0x2000; spi < 0x2000 + 62; ++spi) ASSERT_TRUE(maps_->add_spi(spi, ip("192.0.2.1"), {}));
  EXPECT_EQ(maps_->add_spi(0x3000, ip("192.0.2.1"), {}).error().code, Errc::kLimit);
}

}  // namespace
}  // namespace gw::xdp
