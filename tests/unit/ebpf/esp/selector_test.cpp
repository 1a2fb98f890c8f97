// Traffic selectors and the parser they depend on.
#include "ebpf/esp/selector.hpp"

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

using Way = SelectorSet::Way;

Selector range(std::string_view first, std::string_view last, std::uint8_t protocol = 0, std::uint16_t low = 0,
               std::uint16_t high = 65535) {
  return {ip(first), ip(last), protocol, low, high};
}
const Selector kHere4 = range("10.1.0.0", "10.1.255.255");
const Selector kThere4 = range("10.2.0.0", "10.2.255.255");
const Selector kHere6 = range("2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff");
const Selector kThere6 = range("2001:db8:2::", "2001:db8:2:ffff:ffff:ffff:ffff:ffff");

bool matches(const std::vector<Selector>& local, const std::vector<Selector>& remote, const Bytes& packet, Way way) {
  const auto set = SelectorSet::compile(local, remote);
  EXPECT_TRUE(set);
  return set->matches(packet, packet[0] >> 4 == 4 ? Family::kV4 : Family::kV6, way);
}

TEST(Selectors, AddressesBothWaysAndFamilies) {
  for (const Family f : {Family::kV4, Family::kV6}) {
    const std::vector<Selector> here{kHere4, kHere6}, there{kThere4, kThere6};
    const Bytes out = inner_packet({.family = f});
    const Bytes in = inner_packet({.family = f, .from_peer = true});
    EXPECT_TRUE(matches(here, there, out, Way::kLocalToRemote));
    EXPECT_FALSE(matches(here, there, out, Way::kRemoteToLocal));
    EXPECT_TRUE(matches(here, there, in, Way::kRemoteToLocal));
    EXPECT_FALSE(matches(here, there, in, Way::kLocalToRemote));
  }
  EXPECT_FALSE(matches({kHere6}, {kThere6}, inner_packet({}), Way::kLocalToRemote)) << "no IPv4 selector";
}

TEST(Selectors, RangeEndsAreIncluded) {
  const Bytes p = inner_packet({});  // 10.1.0.5 -> 10.2.0.7
  EXPECT_TRUE(matches({range("10.1.0.5", "10.1.0.5")}, {range("10.2.0.7", "10.2.0.7")}, p, Way::kLocalToRemote));
  EXPECT_FALSE(matches({range("10.1.0.6", "10.1.0.9")}, {kThere4}, p, Way::kLocalToRemote));
  EXPECT_FALSE(matches({range("10.1.0.0", "10.1.0.4")}, {kThere4}, p, Way::kLocalToRemote));
  const Bytes p6 = inner_packet({.family = Family::kV6});
  EXPECT_TRUE(matches({range("2001:db8:1::5", "2001:db8:1::5")}, {kThere6}, p6, Way::kLocalToRemote));
  EXPECT_FALSE(matches({range("2001:db8:1::6", "2001:db8:1::ffff")}, {kThere6}, p6, Way::kLocalToRemote));
  EXPECT_FALSE(matches({range("2001:db8::", "2001:db8:0:ffff::")}, {kThere6}, p6, Way::kLocalToRemote));
}

TEST(Selectors, ProtocolAndPorts) {
  const Bytes udp = inner_packet({.source_port = 1000, .destination_port = 53});
  const Selector dns = range("10.2.0.0", "10.2.255.255", 17, 53, 53);
  EXPECT_TRUE(matches({kHere4}, {dns}, udp, Way::kLocalToRemote));
  EXPECT_FALSE(matches({kHere4}, {dns}, inner_packet({.destination_port = 54}), Way::kLocalToRemote));
  EXPECT_FALSE(matches({kHere4}, {dns}, inner_packet({.protocol = 6, .destination_port = 53}), Way::kLocalToRemote));
  EXPECT_TRUE(matches({kHere4}, {dns}, inner_packet({.source_port = 53, .from_peer = true}), Way::kRemoteToLocal));
  EXPECT_TRUE(matches({range("10.1.0.0", "10.1.255.255", 17, 900, 1000)}, {dns}, udp, Way::kLocalToRemote));
  EXPECT_FALSE(matches({range("10.1.0.0", "10.1.255.255", 17, 900, 999)}, {dns}, udp, Way::kLocalToRemote));
}

TEST(Selectors, IcmpTypeAndCodeAreOnePort) {  // RFC 4301 4.4.1.1
  Bytes echo = inner_packet({.protocol = 1});
  echo[20] = 8;
  echo[21] = 0;
  EXPECT_TRUE(
      matches({kHere4}, {range("10.2.0.0", "10.2.255.255", 1, 8 << 8, 8 << 8 | 255)}, echo, Way::kLocalToRemote));
  EXPECT_FALSE(
      matches({kHere4}, {range("10.2.0.0", "10.2.255.255", 1, 3 << 8, 3 << 8 | 255)}, echo, Way::kLocalToRemote));
}

TEST(Selectors, PortsThatCannotBeSeenMatchOnlyAny) {
  Bytes fragment = inner_packet({.destination_port = 53});
  fragment[7] = 10;  // not the first
  fix_ipv4_checksum(fragment.data());
  const Selector dns = range("10.2.0.0", "10.2.255.255", 17, 53, 53);
  EXPECT_FALSE(matches({kHere4}, {dns}, fragment, Way::kLocalToRemote));
  EXPECT_TRUE(matches({kHere4}, {range("10.2.0.0", "10.2.255.255", 17)}, fragment, Way::kLocalToRemote));
  EXPECT_FALSE(matches({kHere4}, {dns}, inner_packet({.size = 23}), Way::kLocalToRemote)) << "cut before the ports";
}

TEST(Selectors, FaultsNameTheSide) {
  const auto fault = [](const std::vector<Selector>& l, const std::vector<Selector>& r) {
    const auto set = SelectorSet::compile(l, r);
    return set ? std::string("none") : set.error().field;
  };
  EXPECT_EQ(fault({}, {kThere4}), "local");
  EXPECT_EQ(fault({kHere4}, {}), "remote");
  EXPECT_EQ(fault({range("10.1.0.9", "10.1.0.1")}, {kThere4}), "local");
  EXPECT_EQ(fault({kHere4}, {range("10.1.0.9", "::1")}), "remote");
  EXPECT_EQ(fault({kHere4}, {range("10.2.0.0", "10.2.0.9", 6, 9, 8)}), "remote");
}

TEST(Selectors, OfTheSaGuardBothDirections) {
  SaPair pair({.out_local = {kHere4}, .in_local = {range("10.9.0.0", "10.9.255.255")}});
  Buffer b(inner_packet({.from_peer = true}));  // from 10.2.0.7: not ours
  b.packet.out = pair.outbound.get();
  pair.encap.encapsulate({&b.packet, 1}, 1);
  EXPECT_EQ(b.packet.drop, GW_DROP_TS_MISMATCH);
  EXPECT_EQ(pair.out_record.next_sequence, 1U);
  EXPECT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_TS_MISMATCH);
  EXPECT_EQ(pair.in_record.replay_top, 1U) << "authentic: the window moves";
}

// --- the parser -----------------------------------------------------------------------------------

Bytes v6_with(const std::vector<Bytes>& headers, std::uint8_t first, const Bytes& transport) {
  Bytes p = inner_packet({.family = Family::kV6, .size = 40, .protocol = first});
  for (const Bytes& h : headers) p.insert(p.end(), h.begin(), h.end());
  p.insert(p.end(), transport.begin(), transport.end());
  store_be(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  return p;
}
const Bytes kUdpHeader{0x13, 0x88, 0, 53, 0, 8, 0, 0};

TEST(ParseFlow, WalksExtensionHeaders) {
  const Bytes hop{60, 0, 1, 4, 0, 0, 0, 0};
  const Bytes dst{43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Bytes routing{51, 0, 4, 0, 0, 0, 0, 0};
  const Bytes ah{17, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const Bytes p = v6_with({hop, dst, routing, ah}, 0, kUdpHeader);
  const Flow f = parse_flow(p, Family::kV6);
  EXPECT_EQ(f.protocol, 17);
  EXPECT_TRUE(f.has_ports);
  EXPECT_EQ(f.port[0], 5000);
  EXPECT_EQ(f.port[1], 53);
  EXPECT_EQ(f.l4_offset, 40U + 8 + 16 + 8 + 24);
  // Cut anywhere, nothing is read behind the end (ASan) and no ports are invented.
  for (std::size_t n = 40; n < p.size() - 4; ++n) {
    const Bytes cut(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_FALSE(parse_flow(cut, Family::kV6).has_ports) << n;
  }
}

TEST(ParseFlow, Fragments) {
  const Bytes atomic{17, 0, 0, 0, 1, 2, 3, 4};
  const Bytes first{17, 0, 0, 1, 1, 2, 3, 4};
  const Bytes later{17, 0, 0, 8, 1, 2, 3, 4};
  const Flow a = parse_flow(v6_with({atomic}, 44, kUdpHeader), Family::kV6);
  EXPECT_TRUE(a.has_ports && !a.fragment);
  const Flow f = parse_flow(v6_with({first}, 44, kUdpHeader), Family::kV6);
  EXPECT_TRUE(f.has_ports && f.fragment);
  const Flow l = parse_flow(v6_with({later}, 44, kUdpHeader), Family::kV6);
  EXPECT_TRUE(!l.has_ports && l.fragment && l.l4_offset == 0 && l.protocol == 17);
  Bytes v4 = inner_packet({});
  v4[6] = 0x20;
  EXPECT_TRUE(parse_flow(v4, Family::kV4).fragment);
  EXPECT_TRUE(parse_flow(v4, Family::kV4).has_ports);
  v4[6] = 0x40;  // DF alone is no fragment
  EXPECT_FALSE(parse_flow(v4, Family::kV4).fragment);
}

TEST(ParseFlow, RandomBytesStayInBounds) {
  std::mt19937 random(1);
  for (int i = 0; i < 50'000; ++i) {
    Bytes p(40 + random() % 60);
    std::ranges::generate(p, [&] { return static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random()); });
    constexpr std::uint8_t kChain[] = {0, 43, 44, 51, 60};
    p[0] = 0x60;
    p[6] = kChain[random() % 5];
    for (std::size_t at = 40; at < p.size(); at += 8) p[at] = kChain[random() % 5];
    const Flow f = parse_flow(p, Family::kV6);
    EXPECT_LE(f.l4_offset, p.size());
  }
}

}  // namespace
}  // namespace gw::esp::test
