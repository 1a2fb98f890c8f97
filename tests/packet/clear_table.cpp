#include "clear_table.hpp"

#include <net/if.h>

#include <algorithm>
#include <array>

#include "ebpf/esp/rewrite.hpp"

namespace gw::packet_test {
namespace {

using xdp::Transit;

Bytes from(const Mac& source, std::uint16_t type) {
  Bytes frame = ethernet(type);
  std::ranges::copy(source, frame.begin() + 6);
  return frame;
}

/// Of a VNet host to the far side of the circuit, but for what `h` says.
Bytes out4(std::string_view dst, Ipv4 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv4{}.src ? ip("10.1.0.10") : h.src;
  h.dst = ip(dst);
  return from(kHostMac, kIpv4Type) + ipv4(h, udp({.src = 1000, .dst = 2000}, Bytes(payload, 7)));
}
Bytes out6(std::string_view dst, Ipv6 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv6{}.src ? ip("fd00:1::10") : h.src;
  h.dst = ip(dst);
  return from(kHostMac, kIpv6Type) + ipv6(h, udp({.src = 1000, .dst = 2000}, Bytes(payload, 7)));
}
/// Of a host behind the circuit.
Bytes in4(std::string_view dst, Ipv4 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv4{}.src ? ip("10.40.0.9") : h.src;
  h.dst = ip(dst);
  return from(kRouterMac, kIpv4Type) + ipv4(h, udp({.src = 1000, .dst = 2000}, Bytes(payload, 7)));
}
Bytes in6(std::string_view dst, Ipv6 h = {}, std::size_t payload = 40) {
  h.src = h.src == Ipv6{}.src ? ip("fd00:40::9") : h.src;
  h.dst = ip(dst);
  return from(kRouterMac, kIpv6Type) + ipv6(h, udp({.src = 1000, .dst = 2000}, Bytes(payload, 7)));
}
Bytes by(const Mac& source, Bytes frame) {
  std::ranges::copy(source, frame.begin() + 6);
  return frame;
}

constexpr Mac kSpokeMac = {2, 0, 0, 0, 1, 44};
constexpr Mac kOtherMac = {2, 0, 0, 0, 1, 45};

constexpr auto kForwarded = Fate::kForwarded;
constexpr auto kDropped = Fate::kDropped;
constexpr auto kV = GW_SIDE_VNET;
constexpr auto kC = GW_SIDE_CIRCUIT;
constexpr auto kToV = GW_XDP_FORWARDED_VNET;
constexpr auto kToC = GW_XDP_FORWARDED_CIRCUIT;

std::vector<ClearRow> vnet_side() {
  constexpr auto kSpoofed = GW_XDP_DROP_SPOOFED_SOURCE;
  return {
      {"VNet to circuit", kV, out4("10.40.0.9"), kForwarded, "192.168.30.18", kToC},
      {"VNet to circuit, IPv6", kV, out6("fd00:40::9"), kForwarded, "fd00:30::18", kToC},
      {"IPv4 by an IPv6 gateway", kV, out4("10.44.0.9"), kForwarded, "fe80::44", kToC},
      {"TTL 2", kV, out4("10.40.0.9", {.ttl = 2}), kForwarded, "192.168.30.18", kToC},
      {"TTL 1", kV, out4("10.40.0.9", {.ttl = 1})},
      {"TTL 0", kV, out4("10.40.0.9", {.ttl = 0})},
      {"TTL 255", kV, out4("10.40.0.9", {.ttl = 255}), kForwarded, "192.168.30.18", kToC},
      {"hop limit 1", kV, out6("fd00:40::9", {.hop_limit = 1})},
      {"options", kV, out4("10.40.0.9", {.options = 4})},
      {"hop-by-hop options", kV, out6("fd00:40::9", {.next_header = 0})},
      {"first fragment", kV, out4("10.40.0.9", {.fragment = 0x2000}), kForwarded, "192.168.30.18", kToC},
      {"later fragment", kV, out4("10.40.0.9", {.fragment = 0x0010}), kForwarded, "192.168.30.18", kToC},
      {"fragment, IPv6", kV, out6("fd00:40::9", {.next_header = 44}), kForwarded, "fd00:30::18", kToC},
      {"all that the circuit takes", kV, out4("10.40.0.9", {}, 1500 - 28), kForwarded, "192.168.30.18", kToC},
      {"a byte more", kV, out4("10.40.0.9", {}, 1500 - 27)},
      {"all that it takes, IPv6", kV, out6("fd00:40::9", {}, 1500 - 48), kForwarded, "fd00:30::18", kToC},
      {"a byte more, IPv6", kV, out6("fd00:40::9", {}, 1500 - 47)},
      {"padding does not count", kV, out4("10.40.0.9", {}, 4) + Bytes(14, 0), kForwarded, "192.168.30.18", kToC},
      {"gateway that is asked for", kV, out4("10.42.0.9"), Fate::kAsked, "192.168.30.22", kToC},
      {"gateway that does not answer", kV, out4("10.43.0.9"), kDropped, {}, GW_XDP_DROP_NO_NEIGHBOUR},
      {"gateway that nobody has heard of", kV, out4("10.45.0.9")},
      {"into a VLAN", kV, out4("10.46.0.9"), kForwarded, "192.168.31.1", kToC},
      {"into QinQ", kV, out4("10.47.0.9"), kForwarded, "192.168.32.1", kToC},
      {"to a spoke", kV, out4("10.2.0.9"), kForwarded, "10.1.0.44", kToV},
      {"back to whom it came from", kV, by(kSpokeMac, out4("10.2.0.9")), kDropped, {}, GW_XDP_DROP_HAIRPIN},
      {"to another instance", kV, out4("10.60.0.9"), kForwarded, "10.1.0.45", kToV},
      {"back to the other instance", kV, by(kOtherMac, out4("10.60.0.9")), kDropped, {}, GW_XDP_DROP_HAIRPIN},
      {"what came from it, on", kV, by(kOtherMac, out4("10.40.0.9")), kForwarded, "192.168.30.18", kToC},
      {"to a host on link", kV, by(kSpokeMac, out4("10.1.0.10")), kForwarded, "10.1.0.10", kToV},
      {"to itself", kV, out4("10.1.0.10"), kDropped, {}, GW_XDP_DROP_HAIRPIN},
      {"to a host that nobody has heard of", kV, out4("10.1.0.77")},
      {"to all of the VNet", kV, out4("10.1.0.255")},
      {"to us", kV, out4("10.1.0.1")},
      {"tunnels", kV, out4("198.51.100.9"), Fate::kTunnel},
      {"from loopback", kV, out4("10.40.0.9", {.src = ip("127.0.0.1")}), kDropped, {}, kSpoofed},
      {"from a group", kV, out4("10.40.0.9", {.src = ip("224.0.0.1")}), kDropped, {}, kSpoofed},
      {"from link-local", kV, out4("10.40.0.9", {.src = ip("169.254.9.9")}), kDropped, {}, kSpoofed},
      {"from link-local, IPv6", kV, out6("fd00:40::9", {.src = ip("fe80::9")}), kDropped, {}, kSpoofed},
      {"from an IPv4-mapped address", kV, out6("fd00:40::9", {.src = mapped("10.1.0.77")}), kDropped, {}, kSpoofed},
      {"from nobody, IPv6", kV, out6("fd00:40::9", {.src = ip("::")}), kDropped, {}, kSpoofed},
      {"a martian with TTL 1", kV, out4("10.40.0.9", {.src = ip("127.0.0.1"), .ttl = 1}), kDropped, {}, kSpoofed},
      {"to a group", kV, out4("224.0.0.5")},
      {"total length beyond the frame", kV, tell(out4("10.40.0.9"), {3, 200})},
      {"header of 16 bytes", kV, tell(out4("10.40.0.9"), {0, 0x44})},
  };
}

std::vector<ClearRow> circuit_side() {
  constexpr auto kSpoofed = GW_XDP_DROP_SPOOFED_SOURCE;
  constexpr auto kTransit = GW_XDP_DROP_TRANSIT_CLOSED;
  return {
      {"circuit to a host", kC, in4("10.1.0.10"), kForwarded, "10.1.0.10", kToV},
      {"circuit to a host, IPv6", kC, in6("fd00:1::10"), kForwarded, "fd00:1::10", kToV},
      {"circuit to a spoke", kC, in4("10.2.0.9"), kForwarded, "10.1.0.44", kToV},
      {"host in a VLAN", kC, in4("10.1.0.99"), kForwarded, "10.1.0.99", kToV},
      {"host that is asked for by the kernel", kC, in4("10.1.0.77")},
      {"host that does not answer", kC, in4("10.1.0.66"), kDropped, {}, GW_XDP_DROP_NO_NEIGHBOUR},
      {"TTL 1", kC, in4("10.1.0.10", {.ttl = 1})},
      {"too big for the VNet", kC, in4("10.1.0.50", {}, 100)},
      {"fits exactly", kC, in4("10.1.0.50", {}, 72), kForwarded, "10.1.0.50", kToV},
      {"to us: BGP, BFD, ping", kC, in4("10.1.0.1")},
      {"to all of the VNet", kC, in4("10.1.0.255"), kDropped, {}, GW_XDP_DROP_MULTICAST},
      {"from the VNet's addresses", kC, in4("10.1.0.10", {.src = ip("10.1.0.77")}), kDropped, {}, kSpoofed},
      {"from a spoke's addresses", kC, in4("10.1.0.10", {.src = ip("10.2.0.77")}), kDropped, {}, kSpoofed},
      {"from our address", kC, in4("10.1.0.10", {.src = ip("10.1.0.1")}), kDropped, {}, kSpoofed},
      {"from the VNet, IPv6", kC, in6("fd00:1::10", {.src = ip("fd00:1::77")}), kDropped, {}, kSpoofed},
      {"from the VNet, IPv4-mapped", kC, in6("fd00:1::10", {.src = mapped("10.1.0.77")}), kDropped, {}, kSpoofed},
      {"from what another instance reaches", kC, in4("10.1.0.10", {.src = ip("10.60.0.9")}), kForwarded, "10.1.0.10",
       kToV},
      {"from a tunnel's site", kC, in4("10.1.0.10", {.src = ip("198.51.100.9")}), kForwarded, "10.1.0.10", kToV},
      {"from where there is no route", kC, in4("10.1.0.10", {.src = ip("203.0.113.5")}), kForwarded, "10.1.0.10", kToV},
      {"from loopback", kC, in4("10.1.0.10", {.src = ip("127.9.9.9")}), kDropped, {}, kSpoofed},
      {"from link-local", kC, in4("10.1.0.10", {.src = ip("169.254.9.9")}), kDropped, {}, kSpoofed},
      {"back into the circuit", kC, in4("10.40.7.7"), kDropped, {}, GW_XDP_DROP_HAIRPIN},
      {"into another instance's circuit", kC, in4("10.61.0.9"), kDropped, {}, GW_XDP_DROP_HAIRPIN},
      {"transit closed", kC, in4("198.51.100.9"), kDropped, {}, kTransit},
      {"transit closed, IPv6", kC, in6("2001:db8:9::9"), kDropped, {}, kTransit},
      {"transit closed, TTL 1", kC, in4("198.51.100.9", {.ttl = 1}), kDropped, {}, kTransit},
      {"transit closed, options", kC, in4("198.51.100.9", {.options = 4}), kDropped, {}, kTransit},
      {"transit closed, another instance's tunnel", kC, in4("10.60.0.9"), kDropped, {}, kTransit},
      {"transit open", kC, in4("198.51.100.9"), Fate::kTunnel, {}, GW_XDP_PASSED, Transit::kOpen},
      {"transit open, another instance's tunnel", kC, in4("10.60.0.9"), kForwarded, "10.1.0.45", kToV, Transit::kOpen},
      {"transit open, spoofed all the same",
       kC,
       in4("198.51.100.9", {.src = ip("10.1.0.77")}),
       kDropped,
       {},
       kSpoofed,
       Transit::kOpen},
      {"no route", kC, in4("203.0.113.5")},
      {"not our MAC", kC, by(kRouterMac, ethernet(kIpv4Type, kPeerMac) + Bytes(40, 0))},
      {"ARP", kC, by(kRouterMac, ethernet(0x0806) + Bytes(28, 0))},
  };
}

fib::Route route(std::string_view prefix, fib::NextHop hop) { return {Prefix::parse(prefix).value(), std::move(hop)}; }
fib::NextHop vnet(std::string_view gateway, gw_zone behind) { return {GW_NEXT_HOP_VNET, {}, {ip(gateway)}, behind}; }
fib::NextHop circuit(std::string_view gateway) { return {GW_NEXT_HOP_CIRCUIT, {}, {ip(gateway)}}; }

std::vector<fib::Route> routes() {
  const fib::NextHop tunnel{GW_NEXT_HOP_TUNNELS, {{7, 3, 1400}}, {}};
  const fib::NextHop link{GW_NEXT_HOP_VNET, {}, {}};
  return {route("10.1.0.0/24", link),
          route("fd00:1::/64", link),
          route("10.2.0.0/16", vnet("10.1.0.44", GW_ZONE_VNET)),
          route("10.60.0.0/16", vnet("10.1.0.45", GW_ZONE_TUNNELS)),
          route("10.61.0.0/16", vnet("10.1.0.45", GW_ZONE_CIRCUIT)),
          route("10.40.0.0/16", circuit("192.168.30.18")),
          route("10.42.0.0/16", circuit("192.168.30.22")),
          route("10.43.0.0/16", circuit("192.168.30.23")),
          route("10.44.0.0/16", circuit("fe80::44")),
          route("10.45.0.0/16", circuit("192.168.30.24")),
          route("10.46.0.0/16", circuit("192.168.31.1")),
          route("10.47.0.0/16", circuit("192.168.32.1")),
          route("fd00:40::/32", circuit("fd00:30::18")),
          route("198.51.100.0/24", tunnel),
          route("2001:db8:9::/48", tunnel)};
}

}  // namespace

std::vector<ClearRow> clear_rows() {
  std::vector<ClearRow> rows = vnet_side();
  std::ranges::move(circuit_side(), std::back_inserter(rows));
  return rows;
}

std::vector<ClearNeighbour> clear_neighbours() {
  constexpr auto kKnown = GW_NEIGHBOUR_KNOWN;
  return {{kV, "10.1.0.10", kKnown, kHostMac},
          {kV, "fd00:1::10", kKnown, kHostMac},
          {kV, "10.1.0.44", kKnown, kSpokeMac},
          {kV, "10.1.0.45", kKnown, kOtherMac},
          {kV, "10.1.0.50", kKnown, {2, 0, 0, 0, 1, 50}, 100},
          {kV, "10.1.0.99", kKnown, {2, 0, 0, 0, 1, 99}, 1500, {kVlanType}},
          {kV, "10.1.0.66", GW_NEIGHBOUR_FAILED},
          {kV, "10.1.0.255", GW_NEIGHBOUR_BROADCAST},
          {kC, "192.168.30.18", kKnown, kRouterMac},
          {kC, "fd00:30::18", kKnown, kRouterMac},
          {kC, "fe80::44", kKnown, {2, 0, 0, 0, 3, 44}},
          {kC, "192.168.30.22", GW_NEIGHBOUR_UNRESOLVED},
          {kC, "192.168.30.23", GW_NEIGHBOUR_FAILED},
          {kC, "192.168.31.1", kKnown, {2, 0, 0, 0, 3, 31}, 1500, {kVlanType}},
          {kC, "192.168.32.1", kKnown, {2, 0, 0, 0, 3, 32}, 1500, {kVlanProviderType, kVlanType}}};
}

Bytes link_header(const ClearNeighbour& neighbour) {
  Bytes header(neighbour.mac.begin(), neighbour.mac.end());
  header.insert(header.end(), kOurMac.begin(), kOurMac.end());
  for (const std::uint16_t type : neighbour.tags) header = header + be16(type) + be16(100);
  return header;
}

Bytes one_hop_on(Bytes packet) {
  const Family family = packet[0] >> 4 == 4 ? Family::kV4 : Family::kV6;
  EXPECT_TRUE(esp::decrement_ttl(packet, family));
  return packet;
}

void ClearTest::SetUp() {
  if (!can_run()) GTEST_SKIP() << "needs root";
  auto maps = xdp::Maps::create({.max_sas = 4, .fib = {.v4_groups = 16, .v6_lines = 256, .next_hops = 64}});
  ASSERT_TRUE(maps) << maps.error().describe();
  maps_.emplace(std::move(*maps));
  const int device = static_cast<int>(::if_nametoindex("lo"));  // a test run sends nothing for real
  for (const gw_side side : {GW_SIDE_VNET, GW_SIDE_CIRCUIT}) {
    auto program = xdp::VnetProgram::load(*maps_, side);
    ASSERT_TRUE(program) << program.error().describe();
    auto tc = xdp::VnetTcProgram::load(*maps_, side);
    ASSERT_TRUE(tc) << tc.error().describe();
    program->set_mac(kOurMac);
    tc->set_data_device(4711);
    xdp_[side].emplace(std::move(*program));
    tc_[side].emplace(std::move(*tc));
    ASSERT_TRUE(maps_->set_out_port(side, device));
    maps_->set_frames(side, GW_XDP_FRAMES_PIECES);
  }
  ASSERT_TRUE(xdp_[GW_SIDE_VNET]->set_socket(0, socket_.get()));
  const xdp::FibArrays a = maps_->fib();
  table_.emplace(fib::Memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops}, [] {});
  ASSERT_TRUE(table_->update(routes(), {}));
  ASSERT_TRUE(table_->set_local(std::vector{ip("10.1.0.1"), ip("192.168.30.17")}));
  for (const ClearNeighbour& n : clear_neighbours()) {
    gw_neighbour value{.ifindex = static_cast<std::uint32_t>(device), .mtu = n.mtu};
    const Bytes header = link_header(n);
    value.state = static_cast<std::uint8_t>(n.state);
    value.header_bytes = static_cast<std::uint8_t>(header.size() + 2);
    std::ranges::copy(header, value.header);
    ASSERT_TRUE(maps_->put_neighbour({n.side, ip(n.address)}, value)) << n.address;
  }
}

xdp::Counters ClearTest::counters(gw_side side) const {
  return side == GW_SIDE_CIRCUIT ? maps_->circuit_counters() : maps_->vnet_counters();
}

}  // namespace gw::packet_test
