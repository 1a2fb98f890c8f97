// Messages are built here byte by byte as the RFCs draw them; bgp_frr_test reads a real bgpd.
#include "bgp/bmp.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using test::ip;
using test::net;
using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes u8(unsigned v) { return {static_cast<std::uint8_t>(v)}; }
Bytes u16(unsigned v) { return u8(v >> 8) + u8(v); }
Bytes u32(std::uint32_t v) { return u16(v >> 16) + u16(v & 0xffff); }
Bytes raw(const IpAddress& a) { return {a.bytes().begin(), a.bytes().end()}; }
Bytes nlri(std::string_view text) {
  const Prefix p = net(text);
  Bytes address = raw(p.address());
  address.resize((p.length() + 7) / 8);
  return u8(p.length()) + address;
}
Bytes attribute(unsigned type, const Bytes& value) {
  return u8(0x50) + u8(type) + u16(static_cast<unsigned>(value.size())) + value;
}

const Bytes kOriginIgp = attribute(1, {0});
const Bytes kPath = attribute(2, Bytes{2, 2} + u32(65021) + u32(4200000000));
const Bytes kHop = attribute(3, {169, 254, 21, 2});

Bytes update(const Bytes& withdrawn, const Bytes& attributes, const Bytes& announced) {
  const Bytes body = u16(static_cast<unsigned>(withdrawn.size())) + withdrawn +
                     u16(static_cast<unsigned>(attributes.size())) + attributes + announced;
  return Bytes(16, 0xff) + u16(static_cast<unsigned>(19 + body.size())) + u8(2) + body;
}

Bytes bmp(unsigned type, const Bytes& body) {
  return u8(3) + u32(static_cast<std::uint32_t>(6 + body.size())) + u8(type) + body;
}
Bytes peer_header(unsigned flags = 0, unsigned peer_type = 0) {
  return u8(peer_type) + u8(flags) + Bytes(8, 0) + Bytes(12, 0) + raw(ip("169.254.21.2")) + u32(65021) +
         raw(ip("198.51.100.1")) + Bytes(8, 0);
}
Bytes monitoring(const Bytes& message, unsigned flags = 0) { return bmp(0, peer_header(flags) + message); }
Bytes peer_up() { return bmp(3, peer_header() + Bytes(12, 0) + raw(ip("169.254.21.1")) + Bytes(4, 0)); }
Bytes peer_down(unsigned reason, const Bytes& data = {}) { return bmp(2, peer_header() + u8(reason) + data); }

std::vector<BmpEvent> events(const Bytes& stream) {
  BmpSession session;
  session.feed(stream);
  std::vector<BmpEvent> out;
  for (;;) {
    auto event = session.next();
    EXPECT_TRUE(event) << event.error().describe();
    if (!event || !*event) return out;
    out.push_back(std::move(**event));
  }
}

Bytes link_header(std::string_view router_id, std::uint32_t asn = 65021) {
  return u8(0) + u8(0x80) + Bytes(8, 0) + raw(ip("fe80::2")) + u32(asn) + raw(ip(router_id)) + Bytes(8, 0);
}
Bytes link_up(std::string_view router_id, std::string_view local) {
  return bmp(3, link_header(router_id) + raw(ip(local)) + Bytes(4, 0));
}
Bytes link_says(std::string_view router_id, std::string_view prefix) {
  return bmp(0, link_header(router_id) + update({}, kOriginIgp + kPath + kHop, nlri(prefix)));
}

ParsedUpdate parsed(const Bytes& message, AsnWidth width = AsnWidth::kFour) {
  auto u = parse_update(message, width);
  EXPECT_TRUE(u) << u.error().describe();
  return u ? std::move(*u) : ParsedUpdate{};
}

// Two routers of the same link-local address behind two tunnels: this side's addresses tell them apart.
TEST(BmpSession, LinkLocalPeersAreNamedByThisSide) {
  const Bytes streams = link_up("198.51.100.1", "fe80::a") + link_up("198.51.100.2", "fe80::b") +
                        link_says("198.51.100.2", "10.2.0.0/16") + link_says("198.51.100.1", "10.1.0.0/16");
  const auto all = events(streams + bmp(2, link_header("198.51.100.1") + u8(2)));
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(std::get<BmpPeerUp>(all[0]).peer.address, ip("fe80::a"));
  EXPECT_EQ(std::get<BmpRoutes>(all[2]).peer.address, ip("fe80::b"));
  EXPECT_EQ(std::get<BmpRoutes>(all[3]).peer.address, ip("fe80::a"));
  EXPECT_EQ(std::get<BmpPeerDown>(all[4]).peer.address, ip("fe80::a"));
}

TEST(BmpSession, ALinkLocalPeerThatIsNotUpIsNobody) {
  EXPECT_TRUE(events(link_says("198.51.100.1", "10.1.0.0/16")).empty());
  // A router that comes back with another id is the same link's.
  const auto all = events(link_up("198.51.100.1", "fe80::a") + link_up("198.51.100.9", "fe80::a") +
                          link_says("198.51.100.9", "10.2.0.0/16"));
  EXPECT_EQ(std::get<BmpRoutes>(all.back()).announced, std::vector{net("10.2.0.0/16")});
  // A PEER DOWN without AS number and id, of the only one and of one of two.
  const Bytes anonymous = bmp(2, link_header("0.0.0.0", 0) + u8(2));
  EXPECT_EQ(events(link_up("198.51.100.1", "fe80::a") + anonymous).size(), 2U);
  EXPECT_EQ(events(link_up("198.51.100.1", "fe80::a") + link_up("198.51.100.2", "fe80::b") + anonymous).size(), 2U);
}

// bgpd 10.3's BMP: an IPv4 route with an IPv6 next hop (RFC 8950) comes without any; it is the session's address.
TEST(BgpUpdate, Ipv4WithoutNextHopOverIpv6) {
  const IpAddress session = ip("fd00:21::2");
  const auto u = parse_update(update({}, kOriginIgp + kPath, nlri("10.20.0.0/16")), AsnWidth::kFour, session);
  ASSERT_TRUE(u);
  EXPECT_EQ(u->malformed, "");
  ASSERT_EQ(u->announced, std::vector{net("10.20.0.0/16")});
  EXPECT_EQ(u->attributes->next_hop, session);
  EXPECT_EQ(parsed(update({}, kOriginIgp + kPath, nlri("10.20.0.0/16"))).malformed, "NEXT_HOP is missing");
}

TEST(BgpUpdate, Ipv4) {
  const Bytes attributes = kOriginIgp + kPath + kHop + attribute(4, u32(50)) + attribute(5, u32(200)) +
                           attribute(8, u32(0xffff0000) + u32(0xfde80001)) + attribute(200, {1, 2, 3});
  const ParsedUpdate u = parsed(update(nlri("10.9.0.0/16"), attributes, nlri("10.20.0.0/16") + nlri("10.30.1.0/24")));
  EXPECT_EQ(u.malformed, "");
  EXPECT_EQ(u.withdrawn, std::vector{net("10.9.0.0/16")});
  EXPECT_EQ(u.announced, (std::vector{net("10.20.0.0/16"), net("10.30.1.0/24")}));
  ASSERT_TRUE(u.attributes);
  EXPECT_EQ(u.attributes->as_path.to_string(), "65021 4200000000");
  EXPECT_EQ(u.attributes->next_hop, ip("169.254.21.2"));
  EXPECT_EQ(u.attributes->med, 50U);
  EXPECT_EQ(u.attributes->local_preference, 200U);
  EXPECT_TRUE(u.attributes->has_community(routes::kGracefulShutdown));
}

TEST(BgpUpdate, Ipv6) {
  const Bytes prefix = nlri("2001:db8:20::/48");
  const Bytes link_local = Bytes(16, 0) + raw(ip("fe80::2"));
  const Bytes reach = u16(2) + u8(1) + u8(32) + link_local + u8(0) + prefix;
  const ParsedUpdate u = parsed(update({}, kOriginIgp + kPath + attribute(14, reach), {}));
  EXPECT_EQ(u.announced, std::vector{net("2001:db8:20::/48")});
  EXPECT_EQ(u.attributes->next_hop, ip("fe80::2"));
  const Bytes mapped = Bytes(10, 0) + Bytes{0xff, 0xff, 169, 254, 21, 2};
  const Bytes over_v4 = u16(2) + u8(1) + u8(16) + mapped + u8(0) + prefix;
  EXPECT_EQ(parsed(update({}, kOriginIgp + kPath + attribute(14, over_v4), {})).attributes->next_hop,
            ip("169.254.21.2"));
  const ParsedUpdate gone = parsed(update({}, attribute(15, u16(2) + u8(1) + prefix), {}));
  EXPECT_EQ(gone.withdrawn, std::vector{net("2001:db8:20::/48")});
}

TEST(BgpUpdate, EndOfRib) {
  EXPECT_EQ(parsed(update({}, {}, {})).end_of_rib, Family::kV4);
  EXPECT_EQ(parsed(update({}, attribute(15, u16(2) + u8(1)), {})).end_of_rib, Family::kV6);
  EXPECT_EQ(parsed(update({}, attribute(15, u16(25) + u8(70)), {})).end_of_rib, std::nullopt);  // EVPN
}

TEST(BgpUpdate, TwoByteAsNumbersAreMerged) {
  const Bytes path = attribute(2, Bytes{2, 3} + u16(65021) + u16(23456) + u16(65022));
  const Bytes as4 = attribute(17, Bytes{2, 2} + u32(4200000000) + u32(65022));
  const ParsedUpdate u = parsed(update({}, kOriginIgp + path + kHop + as4, nlri("10.20.0.0/16")), AsnWidth::kTwo);
  EXPECT_EQ(u.attributes->as_path.to_string(), "65021 4200000000 65022");
}

// RFC 7606: these cost the routes, not the session.
TEST(BgpUpdate, TreatAsWithdraw) {
  struct Row {
    const char* what;
    Bytes attributes;
  };
  const std::vector<Row> rows{
      {"ORIGIN is missing", kPath + kHop},
      {"AS_PATH is missing", kOriginIgp + kHop},
      {"NEXT_HOP is missing", kOriginIgp + kPath},
      {"ORIGIN is none", attribute(1, {7}) + kPath + kHop},
      {"ORIGIN is none", attribute(1, {}) + kPath + kHop},
      {"AS_PATH segment of type 9", kOriginIgp + attribute(2, {9, 1, 0, 0, 0, 1}) + kHop},
      {"empty AS_PATH segment", kOriginIgp + attribute(2, {2, 0}) + kHop},
      {"cut short", kOriginIgp + attribute(2, {2, 5, 0, 0, 0, 1}) + kHop},
      {"NEXT_HOP is no IPv4 address", kOriginIgp + kPath + attribute(3, {1, 2, 3})},
      {"MULTI_EXIT_DISC of 3 bytes", kOriginIgp + kPath + kHop + attribute(4, {0, 0, 1})},
      {"COMMUNITIES are not four bytes each", kOriginIgp + kPath + kHop + attribute(8, {1, 2, 3})},
      {"attributes are cut short", kOriginIgp + kPath + kHop + Bytes{0x40, 4, 200}},
  };
  for (const Row& row : rows) {
    const ParsedUpdate u = parsed(update({}, row.attributes, nlri("10.20.0.0/16")));
    EXPECT_EQ(u.malformed, row.what);
    EXPECT_EQ(u.withdrawn, std::vector{net("10.20.0.0/16")}) << row.what;
    EXPECT_TRUE(u.announced.empty());
    EXPECT_FALSE(u.attributes);
  }
}

TEST(BgpUpdate, APrefixThatIsNoneIsAnError) {
  EXPECT_FALSE(parse_update(update({}, {}, {33, 1, 2, 3, 4, 5}), AsnWidth::kFour));
  EXPECT_FALSE(parse_update(update({24, 1, 2}, {}, {}), AsnWidth::kFour));
  const Bytes reach = u16(2) + u8(1) + u8(16) + Bytes(16, 0) + u8(0) + Bytes{129, 1};
  EXPECT_FALSE(parse_update(update({}, attribute(14, reach), {}), AsnWidth::kFour));
  EXPECT_FALSE(parse_update(update({}, attribute(15, {0}), {}), AsnWidth::kFour));
}

TEST(BgpUpdate, TruncatedAtEveryByteAndFlippedNeverCrashes) {
  const Bytes reach = u16(2) + u8(1) + u8(16) + raw(ip("fe80::2")) + u8(0) + nlri("2001:db8:20::/48");
  const Bytes whole =
      update(nlri("10.9.0.0/16"), kOriginIgp + kPath + kHop + attribute(8, u32(1)) + attribute(14, reach), {});
  for (std::size_t n = 0; n < whole.size(); ++n) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<long>(n));
    EXPECT_FALSE(parse_update(cut, AsnWidth::kFour)) << n;
    if (n < 19) continue;
    cut[16] = static_cast<std::uint8_t>(n >> 8);
    cut[17] = static_cast<std::uint8_t>(n);
    (void)parse_update(cut, AsnWidth::kFour);  // lengths inside do not agree: no crash
  }
  std::mt19937 random(7);  // NOLINT: the same bytes every time
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = whole;
    for (int flips = 0; flips < 4; ++flips)
      bytes[18 + random() % (bytes.size() - 18)] = static_cast<std::uint8_t>(random());
    const auto u = parse_update(bytes, i % 2 == 0 ? AsnWidth::kFour : AsnWidth::kTwo);
    if (u && !u->announced.empty()) {
      EXPECT_TRUE(u->attributes);
    }
  }
}

TEST(Bmp, ASession) {
  const Bytes initiation =
      bmp(4, u16(1) + u16(4) + Bytes{'F', 'R', 'R', '\n'} + u16(2) + u16(4) + Bytes{'g', 'w', '-', 'a'});
  const auto all =
      events(initiation + peer_up() + monitoring(update({}, kOriginIgp + kPath + kHop, nlri("10.20.0.0/16"))) +
             monitoring(update({}, {}, {})) + bmp(1, peer_header() + u32(0)) +
             peer_down(3, Bytes(16, 0xff) + u16(21) + u8(3) + Bytes{6, 2}) + bmp(5, u16(1) + u16(2) + u16(0)));
  ASSERT_EQ(all.size(), 6U);
  EXPECT_EQ(std::get<BmpInitiation>(all[0]).description, "FRR?");
  EXPECT_EQ(std::get<BmpInitiation>(all[0]).system_name, "gw-a");
  EXPECT_EQ(std::get<BmpPeerUp>(all[1]).peer.address, ip("169.254.21.2"));
  EXPECT_EQ(std::get<BmpPeerUp>(all[1]).peer.asn, 65021U);
  EXPECT_EQ(std::get<BmpPeerUp>(all[1]).local_address, ip("169.254.21.1"));
  EXPECT_EQ(std::get<BmpRoutes>(all[2]).announced.size(), 1U);
  EXPECT_EQ(std::get<BmpEndOfRib>(all[3]).family, Family::kV4);
  EXPECT_EQ(std::get<BmpPeerDown>(all[4]).text, "the peer closed the session: administrative shutdown");
  EXPECT_EQ(std::get<BmpTermination>(all[5]).reason, 0);
}

Bytes open(std::uint32_t asn) {
  const Bytes capability = Bytes{65, 4} + u32(asn);
  const Bytes parameters = Bytes{2, 2, 2, 0} + u8(2) + u8(static_cast<unsigned>(capability.size())) + capability;
  const Bytes body = u8(4) + u16(asn > 65535 ? 23456 : asn) + u16(180) + raw(ip("203.0.113.10")) +
                     u8(static_cast<unsigned>(parameters.size())) + parameters;
  return Bytes(16, 0xff) + u16(static_cast<unsigned>(19 + body.size())) + u8(1) + body;
}

// bgpd 10.3 shows "65515 65021" for a path of 65021 in the pre-policy view of an eBGP peer.
TEST(Bmp, TheAsThatBgpdPrependsIsTakenOff) {
  const auto path_of = [](std::uint32_t local, const Bytes& path) {
    const Bytes up =
        bmp(3, peer_header() + Bytes(12, 0) + raw(ip("169.254.21.1")) + Bytes(4, 0) + open(local) + open(65021));
    const auto all = events(up + monitoring(update({}, kOriginIgp + attribute(2, path) + kHop, nlri("10.20.0.0/16"))));
    EXPECT_EQ(std::get<BmpPeerUp>(all.at(0)).local_asn, local);
    return std::get<BmpRoutes>(all.at(1)).attributes->as_path.to_string();
  };
  EXPECT_EQ(path_of(65515, Bytes{2, 2} + u32(65515) + u32(65021)), "65021");
  EXPECT_EQ(path_of(4200000000, Bytes{2, 2} + u32(4200000000) + u32(65021)), "65021");
  EXPECT_EQ(path_of(65515, Bytes{2, 1} + u32(65515) + Bytes{1, 1} + u32(7)), "{7}");
  EXPECT_EQ(path_of(65515, Bytes{2, 3} + u32(65515) + u32(65021) + u32(65515)), "65021 65515") << "a loop stays one";
  EXPECT_EQ(path_of(65515, Bytes{2, 1} + u32(65021)), "65021");
  EXPECT_EQ(path_of(65021, Bytes{2, 1} + u32(65021)), "65021") << "iBGP";
}

// RFC 4724 3: flags and time, then AFI, SAFI and flags of each family.
Bytes open_with(const Bytes& capability) {
  const Bytes parameters = Bytes{2} + u8(static_cast<unsigned>(capability.size())) + capability;
  const Bytes body = u8(4) + u16(65021) + u16(180) + raw(ip("203.0.113.10")) +
                     u8(static_cast<unsigned>(parameters.size())) + parameters;
  return Bytes(16, 0xff) + u16(static_cast<unsigned>(19 + body.size())) + u8(1) + body;
}

TEST(Bmp, WhatThePeerPreservesWhenItRestarts) {
  const auto offered = [](const Bytes& capability) {
    const auto all = events(bmp(
        3, peer_header() + Bytes(12, 0) + raw(ip("169.254.21.1")) + Bytes(4, 0) + open(65515) + open_with(capability)));
    return std::get<BmpPeerUp>(all.at(0)).graceful_restart;
  };
  const auto both = offered(Bytes{64, 10, 0x40, 120, 0, 1, 1, 0x80, 0, 2, 1, 0});
  EXPECT_EQ(both.restart_time, std::chrono::seconds(120));
  EXPECT_EQ(both.families, (std::set{Family::kV4, Family::kV6}));
  EXPECT_EQ(offered(Bytes{64, 6, 0, 1, 0, 1, 128, 0}).families, std::set<Family>{}) << "VPNv4 is not ours";
  EXPECT_EQ(offered(Bytes{64, 2, 0, 60}).families, std::set<Family>{}) << "helper only";
  EXPECT_EQ(offered(Bytes{64, 5, 0, 60, 0, 1, 1}).families, std::set<Family>{}) << "cut short";
  EXPECT_EQ(offered(Bytes{65, 4, 0, 0, 0, 1}).restart_time, std::chrono::seconds(0));
}

TEST(Bmp, TheFamiliesOfAPeer) {
  const auto families = [](const Bytes& capabilities) {
    const auto all = events(bmp(3, peer_header() + Bytes(12, 0) + raw(ip("169.254.21.1")) + Bytes(4, 0) + open(65515) +
                                       open_with(capabilities)));
    return std::get<BmpPeerUp>(all.at(0)).families;
  };
  const Bytes v4 = Bytes{1, 4} + u16(1) + u16(1);
  const Bytes v6 = Bytes{1, 4} + u16(2) + u16(1);
  const Bytes multicast = Bytes{1, 4} + u16(2) + u16(2);
  EXPECT_EQ(families(v4 + v6), (std::set{Family::kV4, Family::kV6}));
  EXPECT_EQ(families(v4 + multicast), std::set{Family::kV4});
  EXPECT_EQ(families(v6), std::set{Family::kV6});
  EXPECT_EQ(families(Bytes{65, 4} + u32(65021)), std::set{Family::kV4}) << "without the capability it is IPv4";
}

TEST(Bmp, RepetitionsAreToldOnce) {
  const Bytes eor = monitoring(update({}, {}, {}));
  EXPECT_EQ(events(peer_down(2)).size(), 0U);
  EXPECT_EQ(events(peer_up() + peer_down(2) + peer_down(2)).size(), 2U);
  EXPECT_EQ(events(peer_up() + eor + eor).size(), 2U);
  EXPECT_EQ(events(peer_up() + eor + peer_down(4) + peer_up() + eor).size(), 5U);
}

TEST(Bmp, OtherViewsAreIgnored) {
  const Bytes route = update({}, kOriginIgp + kPath + kHop, nlri("10.20.0.0/16"));
  EXPECT_TRUE(events(monitoring(route, 0x40)).empty());            // post-policy
  EXPECT_TRUE(events(monitoring(route, 0x10)).empty());            // Adj-RIB-Out
  EXPECT_TRUE(events(bmp(0, peer_header(0, 3) + route)).empty());  // Loc-RIB
  EXPECT_EQ(events(monitoring(route)).size(), 1U);
}

TEST(Bmp, OneBadUpdateIsNotTheEndOfTheStream) {
  const auto all = events(monitoring(update({}, {}, {99})) + peer_up());
  ASSERT_EQ(all.size(), 2U);
  EXPECT_FALSE(std::get<BmpRoutes>(all[0]).malformed.empty());
}

TEST(Bmp, AnyCutOfTheStreamWaitsForMore) {
  const Bytes stream =
      peer_up() + monitoring(update({}, kOriginIgp + kPath + kHop, nlri("10.20.0.0/16"))) + peer_down(2);
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    BmpSession session;
    std::size_t count = 0;
    for (const auto& [from, to] : {std::pair{std::size_t{0}, cut}, std::pair{cut, stream.size()}}) {
      session.feed(std::span(stream).subspan(from, to - from));
      for (;;) {
        const auto event = session.next();
        ASSERT_TRUE(event) << cut;
        if (!*event) break;
        ++count;
      }
    }
    EXPECT_EQ(count, 3U) << cut;
  }
}

TEST(Bmp, WhatIsNotBmpEndsTheStream) {
  for (const Bytes& stream :
       {Bytes{'G', 'E', 'T', ' ', '/', ' '}, u8(3) + u32(5) + u8(0), u8(3) + u32(0x7fffffff) + u8(0), bmp(9, {}),
        bmp(0, {1, 2, 3}), bmp(3, peer_header()), bmp(2, peer_header()), bmp(4, u16(1) + u16(99) + u8(1))}) {
    BmpSession session;
    session.feed(stream);
    EXPECT_FALSE(session.next());
  }
}

TEST(Bmp, FlippedBytesNeverCrash) {
  const Bytes stream = peer_up() +
                       monitoring(update(nlri("10.9.0.0/16"), kOriginIgp + kPath + kHop, nlri("10.20.0.0/16"))) +
                       peer_down(1, Bytes(16, 0xff) + u16(21) + u8(3) + Bytes{4, 0});
  std::mt19937 random(3);  // NOLINT: the same bytes every time
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = stream;
    for (int flips = 0; flips < 3; ++flips) bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    BmpSession session;
    session.feed(bytes);
    for (int events_read = 0; events_read < 8; ++events_read) {
      const auto event = session.next();
      if (!event || !*event) break;
    }
  }
}

}  // namespace
}  // namespace gw::bgp
