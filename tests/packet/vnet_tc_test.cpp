// The decision of a gso vnet port (tcx): as XDP decides, about socket buffers and superpackets; and the mark that says
// which tunnel, and by that which worker's queue of the data TUN.
#include <linux/pkt_cls.h>

#include <algorithm>
#include <format>
#include <set>
#include <tuple>

#include "ebpf/esp/rewrite.hpp"
#include "ebpf/fib/view.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "vnet_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

class VnetTcTest : public VnetTest {
 protected:
  static constexpr int kDataDevice = 4711;  // a test run redirects nothing for real
  void SetUp() override {
    VnetTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto loaded = VnetTcProgram::load(*maps_);
    ASSERT_TRUE(loaded) << loaded.error().describe();
    tc_.emplace(std::move(*loaded));
    tc_->set_data_device(kDataDevice);
  }
  std::optional<VnetTcProgram> tc_;
};

// The kernel takes the outermost tag off before tcx sees the packet: one that is still there is QinQ's inner one.
TEST_F(VnetTcTest, VerdictAndCounter) {
  for (const VnetRow& row : vnet_rows()) {
    for (const auto& with : {std::vector<std::uint16_t>{}, {kVlanType}, {kVlanProviderType, kVlanType}}) {
      const bool redirected = row.redirected && with.empty();
      const std::string what = std::format("{}, {} tags", row.what, with.size());
      const Counters before = maps_->vnet_counters();
      const SkbOutput out = run_skb(tc_->program_fd(), {.frame = for_loopback(tag(row.frame, with)), .mark = 77});
      EXPECT_EQ(out.verdict, redirected ? TC_ACT_REDIRECT : TC_ACT_OK) << what;
      EXPECT_EQ(out.mark, redirected ? 0u : 77u) << what << ": the slot, or as it was";
      EXPECT_EQ(counted_since(before), only(redirected ? GW_XDP_REDIRECTED : GW_XDP_PASSED)) << what;
    }
  }
}

TEST_F(VnetTcTest, TruncatedAtEveryLengthIsTheKernels) {
  for (const VnetRow& row : vnet_rows()) {
    const Bytes frame = for_loopback(row.frame);
    for (std::size_t length = shortest_skb(frame); length + row.padding < frame.size(); ++length) {
      const Bytes cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
      const Counters before = maps_->vnet_counters();
      const SkbOutput out = run_skb(tc_->program_fd(), {.frame = cut, .mark = 77});
      EXPECT_EQ(out.verdict, TC_ACT_OK) << row.what << " cut to " << length;
      EXPECT_EQ(out.mark, 77u) << row.what << " cut to " << length;
      EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED)) << row.what << " cut to " << length;
    }
  }
}

TEST_F(VnetTcTest, ASuperpacketGoesWhole) {
  const Bytes frame = for_loopback(vnet_v4("198.51.100.9", {.protocol = 6}, 3 * 900 + 20));
  const Counters before = maps_->vnet_counters();
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame, .gso_segs = 3, .gso_size = 900}).verdict, TC_ACT_REDIRECT);
  EXPECT_EQ(maps_->vnet_counters()[GW_XDP_REDIRECTED], before[GW_XDP_REDIRECTED] + 3);
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame}).verdict, TC_ACT_OK) << "one packet of that size";
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame, .gso_segs = 2, .gso_size = 4000}).verdict, TC_ACT_OK)
      << "segments larger than a frame";
}

TEST_F(VnetTcTest, WithoutADataDeviceAllIsTheKernels) {
  tc_->set_data_device(0);
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = for_loopback(vnet_v4("198.51.100.9"))}).verdict, TC_ACT_OK);
}

// The mark is the slot that the worker will choose.
TEST_F(VnetTcTest, EcmpAgreesWithTheWorkers) {
  const fib::NextHop group{GW_NEXT_HOP_TUNNELS, {{7, 3, kTunnelMtu}, {8, 9, kTunnelMtu}, {9, 12, kTunnelMtu}}, {}};
  ASSERT_TRUE(table_->update(std::vector<fib::Route>{{Prefix::parse("203.0.113.0/24").value(), group},
                                                     {Prefix::parse("2001:db8:e::/48").value(), group}},
                             {}));
  const FibArrays a = maps_->fib();
  const fib::Memory memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops};
  std::set<std::uint32_t> seen;
  for (std::uint16_t port = 1000; port < 1100; ++port) {
    for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{6, 17, 1}) {
      Ipv4 h4{.protocol = protocol};
      Ipv6 h6{.next_header = protocol};
      h4.src = ip("10.1.0.10");
      h4.dst = ip("203.0.113.1");
      h6.src = ip("fd00:1::10");
      h6.dst = ip("2001:db8:e::1");
      const Bytes payload = udp({.src = port, .dst = 443}, Bytes(20, 0));
      for (const auto& [type, packet, dst] :
           {std::tuple{kIpv4Type, ipv4(h4, payload), h4.dst}, std::tuple{kIpv6Type, ipv6(h6, payload), h6.dst}}) {
        const std::uint32_t hash = esp::flow_hash(packet, type == kIpv4Type ? Family::kV4 : Family::kV6);
        const auto expected = fib::bucket_of(memory.next_hops[fib::lookup(memory, dst)], hash);
        const SkbOutput out = run_skb(tc_->program_fd(), {.frame = for_loopback(ethernet(type) + packet)});
        EXPECT_EQ(out.mark, expected) << "protocol " << int{protocol} << " port " << port;
        seen.insert(out.mark);
      }
    }
  }
  EXPECT_EQ(seen, (std::set<std::uint32_t>{3, 9, 12}));
}

TEST_F(VnetTcTest, TheQueueIsTheOwners) {
  auto steering = TunSteering::load(*maps_);
  ASSERT_TRUE(steering) << steering.error().describe();
  ASSERT_TRUE(maps_->set_slot_owner(12, 2));
  const Bytes frame = vnet_v4("198.51.100.9");
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 12}).verdict, 2);
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 13}).verdict, 0) << "nobody's yet";
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 0xfffffff}).verdict, 0) << "no slot at all";
}

}  // namespace
}  // namespace gw::xdp
