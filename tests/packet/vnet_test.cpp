// The vnet program: which frames go to the worker. The forwarding table is the real one, in the
// program's own maps.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <tuple>

#include "ebpf/esp/rewrite.hpp"
#include "ebpf/fib/table.hpp"
#include "ebpf/fib/view.hpp"
#include "ebpf/xdp/programs.hpp"
#include "ebpf/xdp/tc_programs.hpp"
#include "packets.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

struct Row {
  const char* what;
  Bytes frame;
  bool redirected;  // else left to the kernel
};

constexpr std::size_t kMtu = 200;

Bytes v4(std::string_view dst, Ipv4 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv4{}.src ? ip("10.1.0.10") : h.src;
  h.dst = ip(dst);
  return ethernet(kIpv4Type) + ipv4(h, Bytes(payload, 0));
}
Bytes v6(std::string_view dst, Ipv6 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv6{}.src ? ip("fd00:1::10") : h.src;
  h.dst = ip(dst);
  return ethernet(kIpv6Type) + ipv6(h, Bytes(payload, 0));
}

std::vector<Row> rows() {
  return {
      {"behind a tunnel", v4("198.51.100.9"), true},
      {"behind a tunnel, IPv6", v6("2001:db8:9::1"), true},
      {"longer prefix to the kernel", v4("198.51.100.200"), false},
      {"host route to the tunnel inside it", v4("198.51.100.201"), true},
      {"IPv6 host route to the kernel", v6("2001:db8:9::dead"), false},
      {"no route", v4("203.0.113.1"), false},
      {"no route, IPv6", v6("2001:db8:a::1"), false},
      {"vnet next hop", v4("10.1.0.77"), false},
      {"our own address", v4("198.51.100.1"), false},
      {"TTL 2", v4("198.51.100.9", {.ttl = 2}), true},
      {"TTL 1", v4("198.51.100.9", {.ttl = 1}), false},
      {"TTL 0", v4("198.51.100.9", {.ttl = 0}), false},
      {"hop limit 1", v6("2001:db8:9::1", {.hop_limit = 1}), false},
      {"IP options", v4("198.51.100.9", {.options = 4}), false},
      {"hop-by-hop options", v6("2001:db8:9::1", {.next_header = 0}), false},
      {"a fragment is forwarded", v4("198.51.100.9", {.fragment = 0x2000}), true},
      {"above the tunnel's MTU: the worker cuts or refuses", v4("198.51.100.9", {}, kMtu - 19), true},
      {"above the tunnel's MTU, IPv6", v6("2001:db8:9::1", {}, kMtu - 39), true},
      {"all that a frame takes", v4("198.51.100.9", {}, GW_XDP_MAX_PACKET - 20), true},
      {"more than a frame takes", v4("198.51.100.9", {}, GW_XDP_MAX_PACKET - 19), false},
      {"all that a frame takes, IPv6", v6("2001:db8:9::1", {}, GW_XDP_MAX_PACKET - 40), true},
      {"more than a frame takes, IPv6", v6("2001:db8:9::1", {}, GW_XDP_MAX_PACKET - 39), false},
      {"Ethernet padding does not count", v4("198.51.100.9", {}, kMtu - 20) + Bytes(20, 0), true},
      {"multicast", v4("224.0.0.5"), false},
      {"broadcast", v4("255.255.255.255"), false},
      {"multicast, IPv6", v6("ff02::1"), false},
      {"link-local, IPv6", v6("fe80::1"), false},
      {"source is loopback", v4("198.51.100.9", {.src = ip("127.0.0.1")}), false},
      {"source is unspecified, IPv6", v6("2001:db8:9::1", {.src = ip("::")}), false},
      {"not our MAC",
       ethernet(kIpv4Type, kPeerMac) + ipv4({.src = ip("10.1.0.10"), .dst = ip("198.51.100.9")}, Bytes(40, 0)), false},
      {"VLAN",
       ethernet(kVlanType) + vlan(kIpv4Type) + ipv4({.src = ip("10.1.0.10"), .dst = ip("198.51.100.9")}, Bytes(40, 0)),
       false},
      {"ARP", ethernet(0x0806) + Bytes(28, 0), false},
  };
}

class VnetTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_run()) GTEST_SKIP();
    auto maps = Maps::create({.max_sas = 4, .fib = kSmallFib});
    ASSERT_TRUE(maps) << maps.error().describe();
    maps_.emplace(std::move(*maps));
    auto loaded = VnetProgram::load(*maps_);
    ASSERT_TRUE(loaded) << loaded.error().describe();
    program_.emplace(std::move(*loaded));
    program_->set_mac(kOurMac);
    ASSERT_TRUE(program_->set_socket(0, socket_.get()));
    const FibArrays a = maps_->fib();
    table_.emplace(fib::Memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops}, [] {});
    const fib::NextHop tunnel{GW_NEXT_HOP_TUNNELS, {{7, 0, kMtu}}, {}};
    const fib::NextHop kernel{GW_NEXT_HOP_KERNEL, {}, {}};
    const auto prefix = [](std::string_view text) { return Prefix::parse(text).value(); };
    ASSERT_TRUE(table_->update(std::vector<fib::Route>{{prefix("198.51.100.0/24"), tunnel},
                                                       {prefix("198.51.100.200/29"), kernel},
                                                       {prefix("198.51.100.201/32"), tunnel},
                                                       {prefix("224.0.0.0/4"), tunnel},
                                                       {prefix("10.1.0.0/24"), {GW_NEXT_HOP_VNET, {}, {}}},
                                                       {prefix("2001:db8:9::/48"), tunnel},
                                                       {prefix("2001:db8:9::dead/128"), kernel},
                                                       {prefix("fe80::/10"), tunnel},
                                                       {prefix("ff00::/8"), tunnel}},
                               {}));
    ASSERT_TRUE(table_->set_local(std::vector{ip("198.51.100.1")}));
  }
  std::optional<Maps> maps_;
  std::optional<VnetProgram> program_;
  Fd socket_ = unbound_xsk();
  std::optional<fib::Table> table_;
};

TEST_F(VnetTest, VerdictAndCounter) {
  for (const Row& row : rows()) {
    const Counters before = maps_->vnet_counters();
    EXPECT_EQ(run(program_->program_fd(), row.frame), row.redirected ? XDP_REDIRECT : XDP_PASS) << row.what;
    const Counters after = maps_->vnet_counters();
    for (std::size_t i = 0; i < after.size(); ++i) {
      const std::size_t expected = row.redirected ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
      EXPECT_EQ(after[i] - before[i], i == expected ? 1u : 0u) << row.what << ", counter " << i;
    }
  }
}

// The program's own lookup against the workers', over nested random prefixes of every length.
TEST_F(VnetTest, LookupAgreesWithTheWorkers) {
  std::mt19937 random(20263);
  const auto number = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
  const auto address_in = [&](bool is_v4) {
    static constexpr std::array<std::uint8_t, 4> kBytes = {0x00, 0x01, 0x80, 0xff};
    std::array<std::uint8_t, 16> b{0x20, 0x01, 0x0d, 0xb8};
    if (is_v4) b = {100, 64};
    for (std::size_t i = is_v4 ? 2 : 4; i < b.size(); ++i)
      b[i] = number(3) == 0 ? static_cast<std::uint8_t>(number(256)) : kBytes[number(4)];
    return IpAddress::from_bytes(std::span<const std::uint8_t>(b).first(is_v4 ? 4 : 16)).value();
  };
  for (unsigned i = 0; i < 150; ++i) {
    const bool is_v4 = i % 2 == 0;
    const unsigned length = is_v4 ? 17 + number(16) : 33 + number(40);
    const fib::NextHop hop = number(2) == 0 ? fib::NextHop{GW_NEXT_HOP_TUNNELS, {{7, 0, kMtu}}, {}}
                                            : fib::NextHop{GW_NEXT_HOP_KERNEL, {}, {}};
    const Status done =
        table_->update(std::vector<fib::Route>{{Prefix::make(address_in(is_v4), length).value(), hop}}, {});
    EXPECT_TRUE(done || done.error().code == Errc::kLimit);  // the tables of this test are small
  }
  const FibArrays a = maps_->fib();
  const fib::Memory memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops};
  unsigned redirected = 0;
  for (unsigned i = 0; i < 2000; ++i) {
    const IpAddress dst = address_in(i % 2 == 0);
    const bool tunnels = a.next_hops[fib::lookup(memory, dst)].kind == GW_NEXT_HOP_TUNNELS;
    const Bytes packet = dst.is_v4() ? v4(dst.to_string()) : v6(dst.to_string());
    EXPECT_EQ(run(program_->program_fd(), packet), tunnels ? XDP_REDIRECT : XDP_PASS) << dst.to_string();
    redirected += tunnels;
  }
  EXPECT_GT(redirected, 100u);
  EXPECT_LT(redirected, 1900u);
}

TEST_F(VnetTest, TruncatedAtEveryLengthIsTheKernels) {
  for (const Row& row : rows()) {
    const bool padded = std::string_view(row.what).starts_with("Ethernet padding");
    for (std::size_t length = 14; length + (padded ? 20 : 0) < row.frame.size(); ++length) {
      const Counters before = maps_->vnet_counters();
      EXPECT_EQ(run(program_->program_fd(),
                    Bytes(row.frame.begin(), row.frame.begin() + static_cast<std::ptrdiff_t>(length))),
                XDP_PASS);
      EXPECT_EQ(maps_->vnet_counters()[GW_XDP_PASSED], before[GW_XDP_PASSED] + 1) << row.what << " cut to " << length;
    }
  }
}

TEST_F(VnetTest, OnlyOurVlansTakeTheFastWay) {
  const auto tags = [](std::initializer_list<std::pair<std::uint16_t, std::uint16_t>> stack) {
    Bytes b(12);
    std::ranges::copy(kOurMac, b.begin());
    std::ranges::copy(kPeerMac, b.begin() + 6);
    for (const auto& [type, tag] : stack) b = b + be16(type) + be16(tag);
    return b;
  };
  const Bytes packet = be16(kIpv4Type) + ipv4({.src = ip("10.1.0.9"), .dst = ip("198.51.100.9")}, Bytes(40, 0));
  const std::array<std::uint64_t, 2> keys = {gw_vlan_key(0x8100, 100),
                                             gw_vlan_key(0x88a8, 200) << 32 | gw_vlan_key(0x8100, 30)};
  program_->set_vlans(keys);
  struct Tagged {
    const char* what;
    Bytes frame;
    bool fast;
  };
  for (const Tagged& row : {Tagged{"ours", tags({{0x8100, 100}}), true},
                            {"ours, with priority", tags({{0x8100, 0xe064}}), true},
                            {"another", tags({{0x8100, 101}}), false},
                            {"another type", tags({{0x88a8, 100}}), false},
                            {"ours, QinQ", tags({{0x88a8, 200}, {0x8100, 30}}), true},
                            {"QinQ, another inner", tags({{0x88a8, 200}, {0x8100, 31}}), false},
                            {"QinQ, another outer", tags({{0x88a8, 201}, {0x8100, 30}}), false},
                            {"ours within another", tags({{0x88a8, 7}, {0x8100, 100}}), false},
                            {"the outer one alone", tags({{0x88a8, 200}}), false},
                            {"three tags", tags({{0x88a8, 200}, {0x8100, 30}, {0x8100, 1}}), false},
                            {"id 0 is no VLAN of ours", tags({{0x8100, 0}}), false}})
    EXPECT_EQ(run(program_->program_fd(), row.frame + packet), row.fast ? XDP_REDIRECT : XDP_PASS) << row.what;
  program_->set_vlans({});
  EXPECT_EQ(run(program_->program_fd(), tags({{0x8100, 100}}) + packet), XDP_PASS);
}

TEST_F(VnetTest, FollowsTheTableAtOnce) {
  const Bytes frame = v4("198.51.100.9");
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_REDIRECT);
  ASSERT_TRUE(table_->update({}, std::vector{Prefix::parse("198.51.100.0/24").value()}));
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_PASS);
}

// The kernel still forwards, into the TUN device.
TEST_F(VnetTest, AQueueWithoutSocketIsTheKernels) {
  auto other = VnetProgram::load(*maps_);
  ASSERT_TRUE(other);
  other->set_mac(kOurMac);
  EXPECT_EQ(run(other->program_fd(), v4("198.51.100.9")), XDP_PASS);
  EXPECT_EQ(maps_->vnet_counters()[GW_XDP_PASSED], 1u);
}

// --- the same decision on a gso port ----------------------------------------------------------------

/// A test run's device is the loopback, whose address is all zero: that is "our MAC" there.
Bytes for_loopback(Bytes frame) {
  if (std::equal(kOurMac.begin(), kOurMac.end(), frame.begin())) std::fill_n(frame.begin(), 6, std::uint8_t{0});
  return frame;
}

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

TEST_F(VnetTcTest, VerdictAndCounter) {
  for (const Row& row : rows()) {
    const Counters before = maps_->vnet_counters();
    const SkbOutput out = run_skb(tc_->program_fd(), {.frame = for_loopback(row.frame), .mark = 77});
    EXPECT_EQ(out.verdict, row.redirected ? TC_ACT_REDIRECT : TC_ACT_OK) << row.what;
    EXPECT_EQ(out.mark, row.redirected ? 0u : 77u) << row.what << ": the slot, or as it was";
    const Counters after = maps_->vnet_counters();
    for (std::size_t i = 0; i < after.size(); ++i) {
      const std::size_t expected = row.redirected ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
      EXPECT_EQ(after[i] - before[i], i == expected ? 1u : 0u) << row.what << ", counter " << i;
    }
  }
}

TEST_F(VnetTcTest, TruncatedAtEveryLengthIsTheKernels) {
  for (const Row& row : rows()) {
    const std::size_t padding = std::string_view(row.what).starts_with("Ethernet padding") ? 20 : 0;
    const std::size_t step = row.frame.size() > 300 ? 97 : 1;
    for (std::size_t length = shortest_skb(row.frame); length + padding < row.frame.size(); length += step) {
      const Bytes cut(row.frame.begin(), row.frame.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = for_loopback(cut)}).verdict, TC_ACT_OK)
          << row.what << " cut to " << length;
    }
  }
}

TEST_F(VnetTcTest, ASuperpacketGoesWhole) {
  const Bytes frame = for_loopback(v4("198.51.100.9", {.protocol = 6}, 3 * 900 + 20));
  const Counters before = maps_->vnet_counters();
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame, .gso_segs = 3, .gso_size = 900}).verdict, TC_ACT_REDIRECT);
  EXPECT_EQ(maps_->vnet_counters()[GW_XDP_REDIRECTED], before[GW_XDP_REDIRECTED] + 3);
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame}).verdict, TC_ACT_OK) << "one packet of that size";
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = frame, .gso_segs = 2, .gso_size = 4000}).verdict, TC_ACT_OK)
      << "segments larger than a frame";
}

TEST_F(VnetTcTest, WithoutADataDeviceAllIsTheKernels) {
  tc_->set_data_device(0);
  EXPECT_EQ(run_skb(tc_->program_fd(), {.frame = for_loopback(v4("198.51.100.9"))}).verdict, TC_ACT_OK);
}

// The mark is the slot that the worker will choose.
TEST_F(VnetTcTest, EcmpAgreesWithTheWorkers) {
  const fib::NextHop group{GW_NEXT_HOP_TUNNELS, {{7, 3, kMtu}, {8, 9, kMtu}, {9, 12, kMtu}}, {}};
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
  const Bytes frame = v4("198.51.100.9");
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 12}).verdict, 2);
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 13}).verdict, 0) << "nobody's yet";
  EXPECT_EQ(run_skb(steering->program_fd(), {.frame = frame, .mark = 0xfffffff}).verdict, 0) << "no slot at all";
}

}  // namespace
}  // namespace gw::xdp
