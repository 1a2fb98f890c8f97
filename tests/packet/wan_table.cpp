#include "wan_table.hpp"

namespace gw::packet_test {
namespace {

Bytes v4(const Bytes& payload, std::uint8_t protocol, Ipv4 h = {}, const Lie& lie = {}) {
  h.protocol = protocol;
  return tell(ethernet(kIpv4Type) + ipv4(h, payload), lie);
}
Bytes v6(const Bytes& payload, std::uint8_t protocol, Ipv6 h = {}, const Lie& lie = {}) {
  h.next_header = protocol;
  return tell(ethernet(kIpv6Type) + ipv6(h, payload), lie);
}

constexpr int kRedirect = XDP_REDIRECT;
constexpr gw_xdp_counter kRedirected = GW_XDP_REDIRECTED;

}  // namespace

Bytes wan_v4(const Bytes& payload, std::uint8_t protocol, Ipv4 h) { return v4(payload, protocol, h); }
Bytes wan_v6(const Bytes& payload, std::uint8_t protocol, Ipv6 h) { return v6(payload, protocol, h); }

std::vector<WanRow> wan_rows() {
  const Bytes known = esp(kKnown);
  const Bytes ike = be32(0) + Bytes(28, 1);
  const Ipv4 elsewhere = {.dst = ip("198.51.100.7")};
  const Ipv6 elsewhere6 = {.dst = ip("2001:db8:7::1")};
  return {
      {"ESP, known SPI", v4(known, 50), kRedirect, kRedirected},
      {"ESP, known SPI, IP options", v4(known, 50, {.options = 8}), kRedirect, kRedirected},
      {"ESP, known SPI, VLAN", ethernet(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), kRedirect,
       kRedirected},
      {"ESP, known SPI, two VLAN tags",
       ethernet(0x88a8) + vlan(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), kRedirect, kRedirected},
      {"ESP, three VLAN tags",
       ethernet(0x88a8) + vlan(0x88a8) + vlan(kVlanType) + vlan(kIpv4Type) + ipv4({.protocol = 50}, known), XDP_PASS,
       GW_XDP_PASSED},
      {"ESP over IPv6, known SPI", v6(known, 50), kRedirect, kRedirected},
      {"ESP in UDP, known SPI", v4(udp({}, known), 17), kRedirect, kRedirected},
      {"ESP in UDP, source port of a NAT", v4(udp({.src = 40001}, known), 17), kRedirect, kRedirected},
      {"ESP in UDP over IPv6", v6(udp({}, known), 17), kRedirect, kRedirected},
      {"known SPI, another destination of ours", v4(known, 50, {.dst = ip("192.0.2.2")}), XDP_DROP,
       GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP, unknown SPI", v4(esp(kUnknown), 50), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP in UDP, unknown SPI", v4(udp({}, esp(kUnknown)), 17), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP over IPv6, unknown SPI", v6(esp(kUnknown), 50), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"ESP for somebody else", v4(esp(kUnknown), 50, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"first fragment", v4(known, 50, {.fragment = 0x2000}), kRedirect, kRedirected},
      {"later fragment", v4(known, 50, {.fragment = 0x0010}), kRedirect, kRedirected},
      {"fragment for somebody else", v4(known, 50, {.dst = ip("198.51.100.7"), .fragment = 0x2000}), XDP_PASS,
       GW_XDP_PASSED},
      {"later fragment for somebody else", v4(known, 50, {.dst = ip("198.51.100.7"), .fragment = 0x0010}), XDP_PASS,
       GW_XDP_PASSED},
      {"first fragment of ESP in UDP", v4(udp({}, known), 17, {.fragment = 0x2000}), XDP_PASS, GW_XDP_PASSED},
      {"later fragment of UDP: of ESP in UDP, of IKE, of DNS", v4(Bytes(16, 1), 17, {.fragment = 0x0010}), XDP_PASS,
       GW_XDP_PASSED},
      {"first fragment of IKE", v4(udp({}, ike), 17, {.fragment = 0x2000}), XDP_PASS, GW_XDP_PASSED},
      {"fragment of TCP", v4(Bytes(24, 0), 6, {.fragment = 0x2000}), XDP_PASS, GW_XDP_PASSED},
      {"fragment of ICMP", v4(Bytes(24, 0), 1, {.fragment = 0x0010}), XDP_PASS, GW_XDP_PASSED},
      {"DF is no fragment", v4(known, 50, {.fragment = 0x4000}), kRedirect, kRedirected},
      {"IPv6, first fragment", v6(Bytes{50, 0, 0, 1} + be32(7) + known, 44), kRedirect, kRedirected},
      {"IPv6, later fragment", v6(Bytes{50, 0, 0, 8} + be32(7) + known, 44), kRedirect, kRedirected},
      {"IPv6, first fragment of ESP in UDP", v6(Bytes{17, 0, 0, 1} + be32(7) + udp({}, known), 44), XDP_PASS,
       GW_XDP_PASSED},
      {"IPv6, later fragment of UDP", v6(Bytes{17, 0, 0, 8} + be32(7) + Bytes(16, 1), 44), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, fragment of TCP", v6(Bytes{6, 0, 0, 1} + be32(7) + Bytes(24, 0), 44), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, fragment for somebody else", v6(Bytes{50, 0, 0, 1} + be32(7) + known, 44, {.dst = ip("2001:db8:7::1")}),
       XDP_PASS, GW_XDP_PASSED},
      {"IKE on 500", v4(udp({.src = 500, .dst = 500}, Bytes(28, 1)), 17), XDP_PASS, GW_XDP_PASSED},
      {"IKE on 4500", v4(udp({}, ike), 17), XDP_PASS, GW_XDP_PASSED},
      {"IKE on 4500 over IPv6", v6(udp({}, ike), 17), XDP_PASS, GW_XDP_PASSED},
      {"NAT keepalive", v4(udp({}, {0xff}), 17), XDP_DROP, GW_XDP_DROP_NAT_KEEPALIVE},
      {"NAT keepalive over IPv6", v6(udp({}, {0xff}), 17), XDP_DROP, GW_XDP_DROP_NAT_KEEPALIVE},
      {"NAT keepalive for somebody else", v4(udp({}, {0xff}), 17, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"one byte that is no keepalive", v4(udp({}, {0x01}), 17), XDP_PASS, GW_XDP_PASSED},
      {"empty datagram on 4500", v4(udp({}, {}), 17), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP of 7 bytes", v4(udp({}, {0, 0, 0x10, 1, 0, 0, 0}), 17), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"ESP of 7 bytes", v4({0, 0, 0x10, 1, 0, 0, 0}, 50), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"Ethernet padding is not ESP", v4({0, 0, 0x10, 1}, 50) + Bytes(20, 0), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED, 20},
      {"ESP of 7 bytes for somebody else", v4({0, 0, 0x10, 1, 0, 0, 0}, 50, elsewhere), XDP_PASS, GW_XDP_PASSED},
      {"ESP of 8 bytes, known SPI", v4(esp(kKnown, 0), 50), kRedirect, kRedirected},
      {"ESP of nothing", v4({}, 50), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"ESP, known SPI, 40 bytes of options", v4(known, 50, {.options = 40}), kRedirect, kRedirected},
      {"ESP in UDP, options", v4(udp({}, known), 17, {.options = 12}), kRedirect, kRedirected},
      {"ESP, TTL 1: it has arrived", v4(known, 50, {.ttl = 1}), kRedirect, kRedirected},
      {"ESP, hop limit 0", v6(known, 50, {.hop_limit = 0}), kRedirect, kRedirected},
      {"the known SPI of IPv4 at an IPv6 address", v6(known, 50, {.dst = ip("2001:db8::2")}), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind hop-by-hop options", v6(Bytes{50, 0, 1, 4, 0, 0, 0, 0} + known, 0), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind destination options", v6(Bytes{50, 0, 1, 4, 0, 0, 0, 0} + known, 60), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind a routing header", v6(Bytes{50, 0, 4, 0, 0, 0, 0, 0} + known, 43), XDP_PASS, GW_XDP_PASSED},
      {"ESP behind an authentication header", v6(Bytes{50, 1, 0, 0} + be32(1) + be32(2) + known, 51), XDP_PASS,
       GW_XDP_PASSED},
      {"IPv6, an atomic fragment", v6(Bytes{50, 0, 0, 0} + be32(7) + known, 44), kRedirect, kRedirected},
      {"IPv6, half a fragment header", v6(Bytes{50, 0, 0, 1}, 44), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, ESP for somebody else", v6(esp(kUnknown), 50, elsewhere6), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, ESP of 7 bytes", v6({0, 0, 0x10, 1, 0, 0, 0}, 50), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"IPv6, ESP of 7 bytes for somebody else", v6({0, 0, 0x10, 1, 0, 0, 0}, 50, elsewhere6), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, ESP of 8 bytes, known SPI", v6(esp(kKnown, 0), 50), kRedirect, kRedirected},
      {"IPv6, ESP in UDP, unknown SPI", v6(udp({}, esp(kUnknown)), 17), XDP_DROP, GW_XDP_DROP_UNKNOWN_SPI},
      {"IPv6, ESP in UDP for somebody else", v6(udp({}, known), 17, elsewhere6), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, an SPI alone", v6(udp({}, be32(kKnown)), 17), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"IPv6, a marker alone", v6(udp({}, be32(0)), 17), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, UDP length 0", v6(udp({}, {}, -8), 17), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, UDP length beyond the packet", v6(udp({}, known, 1), 17), XDP_PASS, GW_XDP_PASSED},
      {"IPv6, half a UDP header", v6(Bytes{0x11, 0x94, 0x11, 0x94}, 17), XDP_PASS, GW_XDP_PASSED},
      {"no next header", v6({}, 59), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP to 500", v4(udp({.src = 4500, .dst = 500}, known), 17), XDP_PASS, GW_XDP_PASSED},
      {"ESP in UDP from 4500 only", v4(udp({.src = 4500, .dst = 4501}, known), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length beyond the packet", v4(udp({}, known, 1), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length short of the packet", v4(udp({}, known + Bytes(9, 0), -9), 17), kRedirect, kRedirected},
      {"UDP length 7", v4(udp({}, {}, -1), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length 0", v4(udp({}, {}, -8), 17), XDP_PASS, GW_XDP_PASSED},
      {"UDP length of a keepalive, ESP behind it", v4(udp({}, Bytes{0xff} + known, -48), 17), XDP_DROP,
       GW_XDP_DROP_NAT_KEEPALIVE},
      {"half a UDP header", v4(Bytes{0x11, 0x94, 0x11, 0x94}, 17), XDP_PASS, GW_XDP_PASSED},
      {"two bytes that begin like a keepalive", v4(udp({}, {0xff, 0xff}), 17), XDP_PASS, GW_XDP_PASSED},
      {"three bytes on 4500", v4(udp({}, {0, 0, 0x10}), 17), XDP_PASS, GW_XDP_PASSED},
      {"a marker alone", v4(udp({}, be32(0)), 17), XDP_PASS, GW_XDP_PASSED},
      {"an SPI alone", v4(udp({}, be32(kKnown)), 17), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED},
      {"a keepalive in a fragment", v4(udp({}, {0xff}), 17, {.fragment = 0x2000}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 header of 16 bytes", v4(known, 50, {}, {0, 0x44}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 header longer than the packet", v4({}, 50, {}, {0, 0x4f}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length 19", v4(known, 50, {}, {3, 19}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length 0", v4(known, 50, {}, {3, 0}), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 total length beyond the frame", v4(known, 50, {}, {2, 1}), XDP_PASS, GW_XDP_PASSED},
      {"IPv6 payload length beyond the frame", v6(known, 50, {}, {4, 1}), XDP_PASS, GW_XDP_PASSED},
      {"IPv6 payload length 0", v6(known, 50, {}, {5, 0}), XDP_DROP, GW_XDP_DROP_ESP_TRUNCATED, known.size()},
      {"IPv6 where IPv4 is said", ethernet(kIpv4Type) + ipv6({.next_header = 50}, known), XDP_PASS, GW_XDP_PASSED},
      {"IPv4 where IPv6 is said", ethernet(kIpv6Type) + ipv4({.protocol = 50}, known), XDP_PASS, GW_XDP_PASSED},
      {"AH", v4(known, 51), XDP_PASS, GW_XDP_PASSED},
      {"IP in IP", v4(ipv4({.protocol = 50}, known), 4), XDP_PASS, GW_XDP_PASSED},
      {"ND, neighbour solicitation", v6(Bytes{135, 0} + Bytes(22, 0), 58, {.hop_limit = 255}), XDP_PASS, GW_XDP_PASSED},
      {"LLDP", ethernet(0x88cc) + Bytes(40, 0), XDP_PASS, GW_XDP_PASSED},
      {"an 802.3 length", ethernet(0x0040) + Bytes(64, 0), XDP_PASS, GW_XDP_PASSED},
      {"TCP", v4(Bytes(20, 0), 6), XDP_PASS, GW_XDP_PASSED},
      {"ARP", ethernet(0x0806) + Bytes(28, 0), XDP_PASS, GW_XDP_PASSED},
      {"ICMPv6", v6(Bytes(8, 0), 58), XDP_PASS, GW_XDP_PASSED},
  };
}

void WanTest::SetUp() {
  if (!can_run()) GTEST_SKIP() << "needs root";
  auto maps = xdp::Maps::create({.max_sas = 64, .fib = kSmallFib});
  ASSERT_TRUE(maps) << maps.error().describe();
  maps_.emplace(std::move(*maps));
  auto loaded = xdp::WanProgram::load(*maps_);  // the verifier is the first test
  ASSERT_TRUE(loaded) << loaded.error().describe();
  program_.emplace(std::move(*loaded));
  ASSERT_TRUE(maps_->set_local(std::vector{ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")}));
  for (const IpAddress& peer : {Ipv4{}.src, Ipv6{}.src}) ASSERT_TRUE(maps_->add_peer(peer));
  ASSERT_TRUE(maps_->add_spi(kKnown, ip("192.0.2.1"), {}));
  ASSERT_TRUE(maps_->add_spi(kKnown, ip("2001:db8::1"), {}));
  ASSERT_TRUE(program_->set_socket(0, socket_.get()));
}

xdp::Counters WanTest::counted_since(const xdp::Counters& before) const {
  xdp::Counters now = maps_->wan_counters();
  for (std::size_t i = 0; i < now.size(); ++i) now[i] -= before[i];
  return now;
}

}  // namespace gw::packet_test
