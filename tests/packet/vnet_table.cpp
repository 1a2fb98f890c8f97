#include "vnet_table.hpp"

namespace gw::packet_test {
namespace {

constexpr Mac kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

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

}  // namespace

Bytes vnet_v4(std::string_view dst, Ipv4 h, std::size_t payload) { return v4(dst, h, payload); }
Bytes vnet_v6(std::string_view dst, Ipv6 h, std::size_t payload) { return v6(dst, h, payload); }

std::vector<VnetRow> vnet_rows() {
  const Bytes packet = ipv4({.src = ip("10.1.0.10"), .dst = ip("198.51.100.9")}, Bytes(40, 0));
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
      {"above the tunnel's MTU: the worker cuts or refuses", v4("198.51.100.9", {}, kTunnelMtu - 19), true},
      {"above the tunnel's MTU, IPv6", v6("2001:db8:9::1", {}, kTunnelMtu - 39), true},
      {"all that a frame takes", v4("198.51.100.9", {}, GW_XDP_MAX_PACKET - 20), true},
      {"more than a frame takes", v4("198.51.100.9", {}, GW_XDP_MAX_PACKET - 19), false},
      {"all that a frame takes, IPv6", v6("2001:db8:9::1", {}, GW_XDP_MAX_PACKET - 40), true},
      {"more than a frame takes, IPv6", v6("2001:db8:9::1", {}, GW_XDP_MAX_PACKET - 39), false},
      {"Ethernet padding does not count", v4("198.51.100.9", {}, 6) + Bytes(20, 0), true, 20},
      {"Ethernet padding does not count, IPv6", v6("2001:db8:9::1", {}, 2) + Bytes(4, 0), true, 4},
      {"hop limit 2", v6("2001:db8:9::1", {.hop_limit = 2}), true},
      {"hop limit 0", v6("2001:db8:9::1", {.hop_limit = 0}), false},
      {"our own address, IPv6", v6("2001:db8:9::5"), false},
      {"60 bytes of header", v4("198.51.100.9", {.options = 40}), false},
      {"a later fragment", v4("198.51.100.9", {.fragment = 0x0010}), true},
      {"DF", v4("198.51.100.9", {.fragment = 0x4000}), true},
      {"a fragment, IPv6", v6("2001:db8:9::1", {.next_header = 44}), true},
      {"a routing header", v6("2001:db8:9::1", {.next_header = 43}), true},
      {"destination options", v6("2001:db8:9::1", {.next_header = 60}), true},
      {"any protocol", v4("198.51.100.9", {.protocol = 253}), true},
      {"ESP of a host behind us", v4("198.51.100.9", {.protocol = 50}), true},
      {"nothing in it", v4("198.51.100.9", {}, 0), true},
      {"nothing in it, IPv6", v6("2001:db8:9::1", {.next_header = 59}, 0), true},
      {"to nobody", v4("0.0.0.7"), false},
      {"to loopback", v4("127.0.0.1"), false},
      {"to a link-local address", v4("169.254.1.1"), false},
      {"to the reserved addresses", v4("240.0.0.1"), false},
      {"from nobody", v4("198.51.100.9", {.src = ip("0.0.0.0")}), false},
      {"from a group", v4("198.51.100.9", {.src = ip("224.0.0.5")}), false},
      {"from everybody", v4("198.51.100.9", {.src = ip("255.255.255.255")}), false},
      {"unspecified, IPv6", v6("::"), false},
      {"loopback, IPv6", v6("::1"), false},
      {"the address after loopback, IPv6", v6("::2"), true},
      {"link-local, the last one, IPv6", v6("febf::1"), false},
      {"what was site-local, IPv6", v6("fec0::1"), true},
      {"source is loopback, IPv6", v6("2001:db8:9::1", {.src = ip("::1")}), false},
      {"source is IPv4-mapped", v6("2001:db8:9::1", {.src = mapped("10.1.0.77")}), false},
      {"source is link-local, IPv6", v6("2001:db8:9::1", {.src = ip("fe80::9")}), false},
      {"source is a group, IPv6", v6("2001:db8:9::1", {.src = ip("ff02::9")}), false},
      {"multicast", v4("224.0.0.5"), false},
      {"broadcast", v4("255.255.255.255"), false},
      {"multicast, IPv6", v6("ff02::1"), false},
      {"link-local, IPv6", v6("fe80::1"), false},
      {"source is loopback", v4("198.51.100.9", {.src = ip("127.0.0.1")}), false},
      {"source is unspecified, IPv6", v6("2001:db8:9::1", {.src = ip("::")}), false},
      {"not our MAC", ethernet(kIpv4Type, kPeerMac) + packet, false},
      {"broadcast MAC", ethernet(kIpv4Type, kBroadcastMac) + packet, false},
      {"the MAC of a group", ethernet(kIpv4Type, {1, 0, 0x5e, 0, 0, 5}) + packet, false},
      {"a MAC that differs in its last bit", ethernet(kIpv4Type, {2, 0, 0, 0, 0, 0}) + packet, false},
      {"header of 16 bytes", tell(v4("198.51.100.9"), {0, 0x44}), false},
      {"header longer than the packet", tell(v4("198.51.100.9", {}, 20), {0, 0x4f}), false},
      {"total length 19", tell(v4("198.51.100.9"), {3, 19}), false},
      {"total length 0", tell(v4("198.51.100.9"), {3, 0}), false},
      {"total length beyond the frame", tell(v4("198.51.100.9"), {3, 61}), false},
      {"total length short of the frame: padding", tell(v4("198.51.100.9"), {3, 20}), true, 40},
      {"payload length beyond the frame, IPv6", tell(v6("2001:db8:9::1"), {5, 41}), false},
      {"payload length 0, IPv6", tell(v6("2001:db8:9::1"), {5, 0}), true, 40},
      {"version 6 where IPv4 is said", tell(v4("198.51.100.9"), {0, 0x65}), false},
      {"version 4 where IPv6 is said", tell(v6("2001:db8:9::1"), {0, 0x45}), false},
      {"802.3 length", ethernet(0x0040) + Bytes(64, 0), false},
      {"ARP", ethernet(0x0806) + Bytes(28, 0), false},
  };
}

// What no router forwards is behind a tunnel here: it is not the missing route that stops it.
std::vector<VnetRoute> vnet_routes() {
  return {{"198.51.100.0/24", true}, {"198.51.100.200/29", false}, {"198.51.100.201/32", true},
          {"0.0.0.0/8", true},       {"127.0.0.0/8", true},        {"169.254.0.0/16", true},
          {"224.0.0.0/3", true},     {"2001:db8:9::/48", true},    {"2001:db8:9::dead/128", false},
          {"::/120", true},          {"fe80::/9", true},           {"ff00::/8", true}};
}

void VnetTest::SetUp() {
  if (!can_run()) GTEST_SKIP() << "needs root";
  auto maps = xdp::Maps::create({.max_sas = 4, .fib = kSmallFib});
  ASSERT_TRUE(maps) << maps.error().describe();
  maps_.emplace(std::move(*maps));
  auto loaded = xdp::VnetProgram::load(*maps_);
  ASSERT_TRUE(loaded) << loaded.error().describe();
  program_.emplace(std::move(*loaded));
  program_->set_mac(kOurMac);
  ASSERT_TRUE(program_->set_socket(0, socket_.get()));
  const xdp::FibArrays a = maps_->fib();
  table_.emplace(fib::Memory{a.v4_root, a.v4_groups, a.v6_root, a.v6_lines, a.next_hops}, [] {});
  std::vector<fib::Route> routes = {{Prefix::parse("10.1.0.0/24").value(), {GW_NEXT_HOP_VNET, {}, {}}}};
  for (const VnetRoute& r : vnet_routes())
    routes.push_back({Prefix::parse(r.prefix).value(), r.tunnel
                                                           ? fib::NextHop{GW_NEXT_HOP_TUNNELS, {{7, 0, kTunnelMtu}}, {}}
                                                           : fib::NextHop{GW_NEXT_HOP_KERNEL, {}, {}}});
  ASSERT_TRUE(table_->update(routes, {}));
  ASSERT_TRUE(table_->set_local(std::vector{ip("198.51.100.1"), ip("2001:db8:9::5")}));
}

xdp::Counters VnetTest::counted_since(const xdp::Counters& before) const {
  xdp::Counters now = maps_->vnet_counters();
  for (std::size_t i = 0; i < now.size(); ++i) now[i] -= before[i];
  return now;
}

}  // namespace gw::packet_test
