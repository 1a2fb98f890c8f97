// The vnet program: the rows of vnet_table, every truncation of every row, VLANs, the lookup against the workers'.
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <format>
#include <random>
#include <string>

#include "ebpf/fib/view.hpp"
#include "vnet_table.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

// One tag of ours and two of ours; `tag` writes id 100 into every one.
const std::vector<std::uint16_t> kOneTag = {kVlanType};
const std::vector<std::uint16_t> kTwoTags = {kVlanProviderType, kVlanType};
const std::array<std::uint64_t, 2> kOurVlans = {
    gw_vlan_key(kVlanType, 100), gw_vlan_key(kVlanProviderType, 100) << 32 | gw_vlan_key(kVlanType, 100)};

// Tags of ours change nothing about what is in them; others', and a third one, make it the kernel's.
TEST_F(VnetTest, VerdictAndCounter) {
  const std::vector<std::vector<std::uint16_t>> stacks = {
      {}, kOneTag, kTwoTags, {kVlanType, kVlanType}, {kVlanProviderType, kVlanType, kVlanType}};
  program_->set_vlans(kOurVlans);
  for (const VnetRow& row : vnet_rows()) {
    for (const auto& with : stacks) {
      const std::string what = std::format("{}, {} tags", row.what, with.size());
      const bool ours = with.empty() || with == kOneTag || with == kTwoTags;
      const bool redirected = row.redirected && ours;
      const Counters before = maps_->vnet_counters();
      EXPECT_EQ(run(program_->program_fd(), tag(row.frame, with)), redirected ? XDP_REDIRECT : XDP_PASS) << what;
      EXPECT_EQ(counted_since(before), only(redirected ? GW_XDP_REDIRECTED : GW_XDP_PASSED)) << what;
    }
  }
}

TEST_F(VnetTest, TruncatedAtEveryLengthIsTheKernels) {
  program_->set_vlans(kOurVlans);
  for (const VnetRow& row : vnet_rows()) {
    for (const auto& with : {std::vector<std::uint16_t>{}, kOneTag, kTwoTags}) {
      const Bytes frame = tag(row.frame, with);
      for (std::size_t length = 14; length + row.padding < frame.size(); ++length) {
        const Counters before = maps_->vnet_counters();
        EXPECT_EQ(
            run(program_->program_fd(), Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length))),
            XDP_PASS)
            << row.what << ", " << with.size() << " tags, cut to " << length;
        EXPECT_EQ(counted_since(before), only(GW_XDP_PASSED)) << row.what << " cut to " << length;
      }
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
    const fib::NextHop hop = number(2) == 0 ? fib::NextHop{GW_NEXT_HOP_TUNNELS, {{7, 0, kTunnelMtu}}, {}}
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
    const Bytes packet = dst.is_v4() ? vnet_v4(dst.to_string()) : vnet_v6(dst.to_string());
    EXPECT_EQ(run(program_->program_fd(), packet), tunnels ? XDP_REDIRECT : XDP_PASS) << dst.to_string();
    redirected += tunnels;
  }
  EXPECT_GT(redirected, 100u);
  EXPECT_LT(redirected, 1900u);
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
  const Bytes frame = vnet_v4("198.51.100.9");
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_REDIRECT);
  ASSERT_TRUE(table_->update({}, std::vector{Prefix::parse("198.51.100.0/24").value()}));
  EXPECT_EQ(run(program_->program_fd(), frame), XDP_PASS);
}

// The kernel still forwards, into the TUN device.
TEST_F(VnetTest, AQueueWithoutSocketIsTheKernels) {
  auto other = VnetProgram::load(*maps_);
  ASSERT_TRUE(other);
  other->set_mac(kOurMac);
  EXPECT_EQ(run(other->program_fd(), vnet_v4("198.51.100.9")), XDP_PASS);
  EXPECT_EQ(maps_->vnet_counters()[GW_XDP_PASSED], 1u);
}

// Where jumbo packets have room, they take the fast way, too. They are in pages.
TEST_F(VnetTest, AsLargeAsThereIsRoom) {
  constexpr std::uint32_t kRoom = 9'000;
  program_->set_max_packet(kRoom);
  EXPECT_EQ(run(program_->program_fd(), vnet_v4("198.51.100.9", {}, kRoom - 20)), XDP_REDIRECT);
  EXPECT_EQ(run(program_->program_fd(), vnet_v4("198.51.100.9", {}, kRoom - 19)), XDP_PASS);
  EXPECT_EQ(run(program_->program_fd(), vnet_v6("2001:db8:9::1", {}, kRoom - 40)), XDP_REDIRECT);
  EXPECT_EQ(run(program_->program_fd(), vnet_v6("2001:db8:9::1", {}, kRoom - 39)), XDP_PASS);
  Bytes cut = vnet_v4("198.51.100.9", {}, kRoom - 20);
  cut.pop_back();
  EXPECT_EQ(run(program_->program_fd(), cut), XDP_PASS);
}

}  // namespace
}  // namespace gw::xdp
