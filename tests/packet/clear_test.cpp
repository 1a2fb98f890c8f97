// Plain forwarding: the rows of clear_table through XDP and tcx, with VLAN tags, cut at every length; what XDP leaves
// to tcx; superpackets; ECMP as the workers have it; use and failure of neighbours.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <string>

#include "clear_table.hpp"
#include "ebpf/esp/rewrite.hpp"
#include "ebpf/fib/view.hpp"

namespace gw::xdp {
namespace {

using namespace packet_test;

const std::vector<std::uint16_t> kTags[] = {{}, {kVlanType}, {kVlanProviderType, kVlanType}};
const std::array<std::uint64_t, 2> kOurVlans = {
    gw_vlan_key(kVlanType, 100), gw_vlan_key(kVlanProviderType, 100) << 32 | gw_vlan_key(kVlanType, 100)};

Counters difference(Counters now, const Counters& before) {
  for (std::size_t i = 0; i < now.size(); ++i) now[i] -= before[i];
  return now;
}

/// A frame of `row` on its way, as the neighbour gets it from XDP.
Bytes sent(const ClearRow& row) {
  for (const ClearNeighbour& n : clear_neighbours())
    if (n.address == row.next)
      return link_header(n) + Bytes(row.frame.begin() + 12, row.frame.begin() + 14) +
             one_hop_on(Bytes(row.frame.begin() + 14, row.frame.end()));
  return {};
}

/// As tcx hands it to the kernel, which puts the neighbour's MAC in front.
Bytes handed(const ClearRow& row) {
  return Bytes(row.frame.begin(), row.frame.begin() + 14) + one_hop_on(Bytes(row.frame.begin() + 14, row.frame.end()));
}

gw_xdp_counter counter_of(const ClearRow& row) {
  if (row.fate == Fate::kForwarded || row.fate == Fate::kDropped || row.fate == Fate::kAsked) return row.counter;
  return row.fate == Fate::kTunnel ? GW_XDP_REDIRECTED : GW_XDP_PASSED;
}

TEST_F(ClearTest, Xdp) {
  for (auto& program : xdp_) program->set_vlans(kOurVlans);
  for (const ClearRow& row : clear_rows()) {
    maps_->set_transit(row.transit);
    for (const auto& tags : kTags) {
      const std::string what = std::format("{}, {} tags", row.what, tags.size());
      const Counters before = counters(row.side);
      const Bytes frame = tag(row.frame, tags);
      const XdpOutput out = run_xdp(xdp_fd(row.side), frame);
      const bool socket = row.fate == Fate::kTunnel && row.side == GW_SIDE_VNET;  // the circuit's go by tcx
      const bool forwarded = row.fate == Fate::kForwarded;
      EXPECT_EQ(out.verdict, socket || forwarded          ? XDP_REDIRECT
                             : row.fate == Fate::kDropped ? XDP_DROP
                                                          : XDP_PASS)
          << what;
      EXPECT_EQ(out.frame, forwarded ? sent(row) : frame) << what;
      const bool decided = socket || forwarded || row.fate == Fate::kDropped;
      EXPECT_EQ(difference(counters(row.side), before), only(decided ? counter_of(row) : GW_XDP_PASSED)) << what;
    }
  }
}

TEST_F(ClearTest, Tcx) {
  for (auto& program : tc_) program->set_vlans(kOurVlans);
  for (const ClearRow& row : clear_rows()) {
    maps_->set_transit(row.transit);
    for (const auto& tags : kTags) {
      const std::string what = std::format("{}, {} tags", row.what, tags.size());
      const Counters before = counters(row.side);
      const Bytes frame = for_loopback(tag(row.frame, tags));
      const SkbOutput out = run_skb(tc_fd(row.side), {.frame = frame});
      const bool sends = row.fate == Fate::kForwarded || row.fate == Fate::kAsked;
      EXPECT_EQ(out.verdict, sends || row.fate == Fate::kTunnel ? TC_ACT_REDIRECT
                             : row.fate == Fate::kDropped       ? TC_ACT_SHOT
                                                                : TC_ACT_OK)
          << what;
      EXPECT_EQ(out.frame, sends                       ? for_loopback(handed(row))
                           : row.fate == Fate::kTunnel ? for_loopback(row.frame)
                                                       : frame)
          << what;
      EXPECT_EQ(out.mark, row.fate == Fate::kTunnel ? 3u : 0u) << what;
      EXPECT_EQ(difference(counters(row.side), before), only(counter_of(row))) << what;
    }
  }
}

// Cut anywhere, a packet is what it was (Ethernet padding that goes), or the kernel's: never another one, never lost.
TEST_F(ClearTest, TruncatedAtEveryLength) {
  for (const ClearRow& row : clear_rows()) {
    const auto word = [&](std::size_t at) { return static_cast<std::size_t>(row.frame[at] << 8 | row.frame[at + 1]); };
    const std::size_t whole = 14 + (word(12) == kIpv4Type ? word(16) : 40 + word(18));
    for (std::size_t length = 14; length < std::min(row.frame.size(), whole); ++length) {
      const Bytes cut(row.frame.begin(), row.frame.begin() + static_cast<std::ptrdiff_t>(length));
      Counters before = counters(row.side);
      EXPECT_EQ(run(xdp_fd(row.side), cut), XDP_PASS) << row.what << " cut to " << length;
      EXPECT_EQ(difference(counters(row.side), before), only(GW_XDP_PASSED)) << row.what << " cut to " << length;
      if (length < shortest_skb(row.frame)) continue;
      before = counters(row.side);
      EXPECT_EQ(run_skb(tc_fd(row.side), {.frame = for_loopback(cut)}).verdict, TC_ACT_OK)
          << row.what << " cut to " << length;
      EXPECT_EQ(difference(counters(row.side), before), only(GW_XDP_PASSED)) << row.what << " cut to " << length;
    }
  }
}

Bytes to_circuit(const Bytes& packet) {
  Bytes frame = ethernet(packet[0] >> 4 == 4 ? kIpv4Type : kIpv6Type);
  std::ranges::copy(kHostMac, frame.begin() + 6);
  return frame + packet;
}

// A checksum that is left to a card: a driver that sends frames would not complete it.
TEST_F(ClearTest, UnfinishedChecksumsAreNotSentAsFrames) {
  struct Protocol {
    std::uint8_t number;
    std::size_t checksum;
  };
  for (const Protocol protocol : {Protocol{6, 16}, Protocol{17, 6}}) {
    for (const bool v4 : {true, false}) {
      Bytes l4(60, 3);
      const Bytes packet =
          v4 ? ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9"), .protocol = protocol.number}, l4)
             : ipv6({.src = ip("fd00:1::10"), .dst = ip("fd00:40::9"), .next_header = protocol.number}, l4);
      const std::size_t header = v4 ? 20 : 40;
      std::uint64_t sum = protocol.number + l4.size();
      for (std::size_t at = v4 ? 12 : 8; at < header; at += 2)
        sum += static_cast<unsigned>(packet[at] << 8 | packet[at + 1]);
      while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
      for (const unsigned off : {0u, 1u, 0x100u}) {
        Bytes frame = to_circuit(packet);
        const auto value = static_cast<std::uint16_t>(sum + off);
        frame[14 + header + protocol.checksum] = static_cast<std::uint8_t>(value >> 8);
        frame[14 + header + protocol.checksum + 1] = static_cast<std::uint8_t>(value);
        EXPECT_EQ(run_xdp(xdp_fd(GW_SIDE_VNET), frame).verdict, off == 0 ? XDP_PASS : XDP_REDIRECT)
            << "protocol " << int{protocol.number} << (v4 ? ", IPv4" : ", IPv6") << " off by " << off;
        EXPECT_EQ(run_skb(tc_fd(GW_SIDE_VNET), {.frame = for_loopback(frame)}).verdict, TC_ACT_REDIRECT);
      }
    }
  }
  const Bytes sctp = to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9"), .protocol = 132}, Bytes(40, 0)));
  EXPECT_EQ(run(xdp_fd(GW_SIDE_VNET), sctp), XDP_PASS) << "its CRC may be missing, and nothing tells";
}

TEST_F(ClearTest, ADriverThatTakesNoFramesGetsNone) {
  const Bytes frame = to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9")}, udp({}, Bytes(40, 7))));
  const Bytes large = to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9")}, udp({}, Bytes(5000, 7))));
  gw_neighbour jumbo{.mtu = 9000};
  jumbo.state = GW_NEIGHBOUR_KNOWN;
  jumbo.header_bytes = 14;
  ASSERT_TRUE(maps_->put_neighbour({GW_SIDE_CIRCUIT, ip("192.168.30.18")}, jumbo));
  EXPECT_EQ(run_xdp(xdp_fd(GW_SIDE_VNET), large).verdict, XDP_REDIRECT);
  maps_->set_frames(GW_SIDE_CIRCUIT, GW_XDP_FRAMES_WHOLE);
  EXPECT_EQ(run(xdp_fd(GW_SIDE_VNET), large), XDP_PASS) << "it is in pieces";
  EXPECT_EQ(run_xdp(xdp_fd(GW_SIDE_VNET), frame).verdict, XDP_REDIRECT);
  maps_->set_frames(GW_SIDE_CIRCUIT, GW_XDP_FRAMES_NONE);
  EXPECT_EQ(run(xdp_fd(GW_SIDE_VNET), frame), XDP_PASS);
}

TEST_F(ClearTest, WhatXdpPassesIsCountedByTcx) {
  xdp_[GW_SIDE_VNET]->set_tcx_behind();
  const Bytes frame = to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.42.0.9")}, udp({}, Bytes(40, 7))));
  EXPECT_EQ(run(xdp_fd(GW_SIDE_VNET), frame), XDP_PASS);
  EXPECT_EQ(maps_->vnet_counters(), Counters{});
  EXPECT_EQ(run_skb(tc_fd(GW_SIDE_VNET), {.frame = for_loopback(frame)}).verdict, TC_ACT_REDIRECT);
  EXPECT_EQ(maps_->vnet_counters(), only(GW_XDP_FORWARDED_CIRCUIT));
}

// Segments of exactly the MTU go, whatever headers they have; a byte more is the kernel's to refuse.
TEST_F(ClearTest, ASuperpacketIsAsLongAsItsSegments) {
  struct Shape {
    std::uint8_t protocol;
    std::uint32_t header;  // of TCP or UDP
  };
  for (const Shape shape : {Shape{6, 20}, Shape{6, 32}, Shape{6, 60}, Shape{17, 8}}) {
    Bytes l4(shape.header + 3000, 5);
    if (shape.protocol == 6) l4[12] = static_cast<std::uint8_t>(shape.header / 4 << 4);
    const Bytes frame = for_loopback(
        to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9"), .protocol = shape.protocol}, l4)));
    const std::uint32_t room = 1500 - 20 - shape.header;
    const auto verdict = [&](std::uint32_t size) {
      return run_skb(tc_fd(GW_SIDE_VNET), {.frame = frame, .gso_segs = 3, .gso_size = size}).verdict;
    };
    const Counters before = maps_->vnet_counters();
    EXPECT_EQ(verdict(room), TC_ACT_REDIRECT) << "protocol " << int{shape.protocol} << ", header " << shape.header;
    EXPECT_EQ(difference(maps_->vnet_counters(), before), only(GW_XDP_FORWARDED_CIRCUIT, 3));
    EXPECT_EQ(verdict(room + 1), TC_ACT_OK) << "protocol " << int{shape.protocol} << ", header " << shape.header;
  }
}

TEST_F(ClearTest, EcmpAgreesWithTheWorkers) {
  fib::NextHop group{GW_NEXT_HOP_CIRCUIT, {}, {}};
  std::map<IpAddress, Mac> macs;
  for (std::uint8_t n = 1; n <= 5; ++n) {
    const IpAddress gateway = ip(std::format("192.168.40.{}", n));
    group.gateways.push_back(gateway);
    macs[gateway] = {2, 0, 0, 0, 4, n};
    gw_neighbour value{.mtu = 1500};
    value.state = GW_NEIGHBOUR_KNOWN;
    value.header_bytes = 14;
    std::ranges::copy(macs[gateway], value.header);
    ASSERT_TRUE(maps_->put_neighbour({GW_SIDE_CIRCUIT, gateway}, value));
  }
  ASSERT_TRUE(table_->update(std::vector<fib::Route>{{Prefix::parse("203.0.113.0/24").value(), group},
                                                     {Prefix::parse("2001:db8:e::/48").value(), group}},
                             {}));
  const FibArrays a = maps_->fib();
  const fib::Memory memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops};
  std::map<IpAddress, unsigned> seen;
  for (std::uint16_t port = 1000; port < 1200; ++port) {
    const Bytes l4 = udp({.src = port, .dst = 443}, Bytes(20, 9));
    for (const Bytes& packet : {ipv4({.src = ip("10.1.0.10"), .dst = ip("203.0.113.1")}, l4),
                                ipv6({.src = ip("fd00:1::10"), .dst = ip("2001:db8:e::1")}, l4)}) {
      const Family family = packet[0] >> 4 == 4 ? Family::kV4 : Family::kV6;
      const IpAddress dst = ip(family == Family::kV4 ? "203.0.113.1" : "2001:db8:e::1");
      const IpAddress expected =
          fib::gateway_of(memory.next_hops[fib::lookup(memory, dst)], dst, esp::flow_hash(packet, family));
      const XdpOutput out = run_xdp(xdp_fd(GW_SIDE_VNET), to_circuit(packet));
      ASSERT_EQ(out.verdict, XDP_REDIRECT);
      EXPECT_TRUE(std::ranges::equal(macs[expected], std::span(out.frame).first(6))) << "port " << port;
      ++seen[expected];
    }
  }
  EXPECT_EQ(seen.size(), 5u);
}

TEST_F(ClearTest, UseIsNotedOnceUntilItIsTaken) {
  const NeighbourAt router{GW_SIDE_CIRCUIT, ip("192.168.30.18")};
  const NeighbourAt failed{GW_SIDE_CIRCUIT, ip("192.168.30.23")};
  EXPECT_FALSE(maps_->take_used(router));
  (void)run_xdp(xdp_fd(GW_SIDE_VNET),
                to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.40.0.9")}, udp({}, Bytes(9, 7)))));
  EXPECT_TRUE(maps_->take_used(router));
  EXPECT_FALSE(maps_->take_used(router));
  EXPECT_FALSE(maps_->take_used(failed));
  (void)run_xdp(xdp_fd(GW_SIDE_VNET),
                to_circuit(ipv4({.src = ip("10.1.0.10"), .dst = ip("10.43.0.9")}, udp({}, Bytes(9, 7)))));
  EXPECT_TRUE(maps_->take_used(failed)) << "somebody wants it: it is to be asked again";
  maps_->remove_neighbour(router);
  EXPECT_FALSE(maps_->take_used(router));
}

}  // namespace
}  // namespace gw::xdp
