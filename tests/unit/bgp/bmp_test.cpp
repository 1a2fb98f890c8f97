// BMP and UPDATE parsing: whole messages, every truncation, RFC 7606's cases, bgpd's habits.
#include "bgp/bmp.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/wire.hpp"

namespace gw::bgp {
namespace {

using Bytes = std::vector<std::uint8_t>;
using ::testing::ElementsAre;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes be16(std::size_t v) { return {static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}; }
Bytes be32(std::size_t v) { return be16(v >> 16) + be16(v & 0xffff); }
Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }
IpAddress ip(std::string_view t) { return IpAddress::parse(t).value(); }

Bytes attribute(std::uint8_t flags, std::uint8_t type, const Bytes& value) {
  return Bytes{flags, type, static_cast<std::uint8_t>(value.size())} + value;
}
const Bytes kOriginIgp = attribute(0x40, 1, {0});
const Bytes kPath = attribute(0x40, 2, Bytes{2, 2} + be32(65021) + be32(4200000001));
const Bytes kHop = attribute(0x40, 3, {169, 254, 21, 2});
const Bytes kNet = {16, 10, 21};  // 10.21.0.0/16

Bytes update(const Bytes& withdrawn, const Bytes& attributes, const Bytes& nlri) {
  const Bytes body = be16(withdrawn.size()) + withdrawn + be16(attributes.size()) + attributes + nlri;
  return Bytes(16, 0xff) + be16(19 + body.size()) + Bytes{2} + body;
}

Bytes peer_header(std::uint8_t flags = 0, std::uint8_t type = 0) {
  return Bytes{type, flags} + Bytes(8, 0) + Bytes(12, 0) + Bytes{169, 254, 21, 2} + be32(65021) + Bytes{10, 21, 0, 1} + Bytes(8, 0);
}
Bytes bmp(std::uint8_t type, const Bytes& body) { return Bytes{3} + be32(6 + body.size()) + Bytes{type} + body; }
Bytes peer_up() { return bmp(3, peer_header() + Bytes(12, 0) + Bytes{169, 254, 21, 1} + be16(179) + be16(40000) + Bytes(58, 0)); }
Bytes monitoring(const Bytes& message, std::uint8_t flags = 0) { return bmp(0, peer_header(flags) + message); }

std::vector<BmpEvent> events(const Bytes& stream) {
  BmpSession session;
  session.feed(stream);
  std::vector<BmpEvent> out;
  for (;;) {
    auto event = session.next();
    EXPECT_TRUE(event) << event.error().message;
    if (!event || !*event) return out;
    out.push_back(std::move(**event));
  }
}

TEST(ParseUpdate, ReadsAttributesAndBothLists) {
  const auto med = attribute(0x80, 4, be32(50));
  const auto communities = attribute(0xc0, 8, be32(0xffff0000));
  const auto u = parse_update(update({8, 172}, kOriginIgp + kPath + kHop + med + communities, kNet + Bytes{32, 10, 21, 0, 9}), AsnWidth::kFour);
  ASSERT_TRUE(u);
  EXPECT_THAT(u->withdrawn, ElementsAre(pfx("172.0.0.0/8")));
  EXPECT_THAT(u->announced, ElementsAre(pfx("10.21.0.0/16"), pfx("10.21.0.9/32")));
  EXPECT_EQ(u->attributes->as_path.to_string(), "65021 4200000001");
  EXPECT_EQ(u->attributes->next_hop, ip("169.254.21.2"));
  EXPECT_EQ(u->attributes->med, 50U);
  EXPECT_TRUE(u->attributes->has_community(routes::kGracefulShutdown));
  EXPECT_EQ(u->malformed, "");
}

TEST(ParseUpdate, Ipv6ComesInMultiprotocolAttributes) {
  const Bytes hop = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const auto reach = attribute(0x80, 14, be16(2) + Bytes{1, 32} + hop + hop + Bytes{0} + Bytes{48, 0x20, 1, 0xd, 0xb8, 0, 0x21});
  const auto unreach = attribute(0x80, 15, be16(2) + Bytes{1} + Bytes{32, 0x20, 1, 0xd, 0xb8});
  const auto u = parse_update(update({}, kOriginIgp + kPath + reach + unreach, {}), AsnWidth::kFour);
  ASSERT_TRUE(u);
  EXPECT_THAT(u->announced, ElementsAre(pfx("2001:db8:21::/48")));
  EXPECT_THAT(u->withdrawn, ElementsAre(pfx("2001:db8::/32")));
  EXPECT_EQ(u->attributes->next_hop, ip("2001:db8::1"));
}

TEST(ParseUpdate, TwoByteAsNumbersWhenTheFlagSaysSo) {
  const auto path = attribute(0x40, 2, Bytes{2, 2} + be16(65021) + be16(65022));
  const auto u = parse_update(update({}, kOriginIgp + path + kHop, kNet), AsnWidth::kTwo);
  ASSERT_TRUE(u);
  EXPECT_EQ(u->attributes->as_path.to_string(), "65021 65022");
}

TEST(ParseUpdate, EndOfRib) {
  EXPECT_EQ(parse_update(update({}, {}, {}), AsnWidth::kFour)->end_of_rib, Family::kV4);
  const auto v6 = attribute(0x80, 15, be16(2) + Bytes{1});
  EXPECT_EQ(parse_update(update({}, v6, {}), AsnWidth::kFour)->end_of_rib, Family::kV6);
  EXPECT_FALSE(parse_update(update(kNet, {}, {}), AsnWidth::kFour)->end_of_rib);
}

TEST(ParseUpdate, MalformedAttributesAreWithdrawals) {  // RFC 7606 7
  const struct {
    const char* what;
    Bytes attributes;
  } kCases[] = {
      {"ORIGIN 3", attribute(0x40, 1, {3}) + kPath + kHop},
      {"ORIGIN of two bytes", attribute(0x40, 1, {0, 0}) + kPath + kHop},
      {"AS_PATH cut off", kOriginIgp + attribute(0x40, 2, Bytes{2, 2} + be32(65021)) + kHop},
      {"AS_PATH of an unknown type", kOriginIgp + attribute(0x40, 2, Bytes{5, 1} + be32(65021)) + kHop},
      {"AS_PATH with an empty segment", kOriginIgp + attribute(0x40, 2, {2, 0}) + kHop},
      {"NEXT_HOP of three bytes", kOriginIgp + kPath + attribute(0x40, 3, {1, 2, 3})},
      {"MED of three bytes", kOriginIgp + kPath + kHop + attribute(0x80, 4, {1, 2, 3})},
      {"COMMUNITIES of five bytes", kOriginIgp + kPath + kHop + attribute(0xc0, 8, {1, 2, 3, 4, 5})},
      {"no ORIGIN", kPath + kHop},
      {"no AS_PATH", kOriginIgp + kHop},
      {"no NEXT_HOP", kOriginIgp + kPath},
      {"ORIGIN marked optional", attribute(0xc0, 1, {0}) + kPath + kHop},
      {"an attribute beyond the end", kOriginIgp + kPath + kHop + Bytes{0xc0, 8, 200}},
  };
  for (const auto& c : kCases) {
    const auto u = parse_update(update({}, c.attributes, kNet), AsnWidth::kFour);
    ASSERT_TRUE(u) << c.what;
    EXPECT_NE(u->malformed, "") << c.what;
    EXPECT_TRUE(u->announced.empty()) << c.what;
    EXPECT_THAT(u->withdrawn, ElementsAre(pfx("10.21.0.0/16"))) << c.what;
  }
}

TEST(ParseUpdate, UnreadableRoutesAreAnError) {
  EXPECT_FALSE(parse_update(update({}, kOriginIgp + kPath + kHop, {33, 1, 2, 3, 4, 5}), AsnWidth::kFour));
  EXPECT_FALSE(parse_update(update({}, kOriginIgp + kPath + kHop, {24, 1, 2}), AsnWidth::kFour));
  const auto reach = attribute(0x80, 14, be16(2) + Bytes{1, 4, 1, 2, 3, 4, 0});
  EXPECT_FALSE(parse_update(update({}, kOriginIgp + kPath + reach + reach, {}), AsnWidth::kFour)) << "two MP_REACH";
}

TEST(ParseUpdate, ASecondAttributeOfAKindIsIgnored) {
  const auto u = parse_update(update({}, kOriginIgp + kPath + kHop + attribute(0x40, 1, {2}), kNet), AsnWidth::kFour);
  ASSERT_TRUE(u);
  EXPECT_EQ(u->attributes->origin, routes::Origin::kIgp);
}

TEST(ParseUpdate, NoTruncationReadsBeyondTheEnd) {
  const Bytes whole = update({8, 172}, kOriginIgp + kPath + kHop, kNet);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    // On the heap, so that ASan sees one byte too far; once with the old length, once with its own.
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    cut.shrink_to_fit();
    EXPECT_FALSE(parse_update(cut, AsnWidth::kFour)) << n;
    if (n >= 18) {
      store_be(cut.data() + 16, static_cast<std::uint16_t>(n));
      (void)parse_update(cut, AsnWidth::kFour);
    }
  }
}

TEST(BmpSession, AWholeSession) {
  const Bytes initiation = bmp(4, be16(2) + be16(4) + Bytes{'g', 'w', '-', 'a'});
  const auto got = events(initiation + peer_up() + monitoring(update({}, kOriginIgp + kPath + kHop, kNet)) + monitoring(update({}, {}, {})) +
                          bmp(2, peer_header() + Bytes{3} + Bytes(19, 0xff) + Bytes{4, 0}));
  ASSERT_EQ(got.size(), 5U);
  EXPECT_EQ(std::get<BmpInitiation>(got[0]).system_name, "gw-a");
  const auto& up = std::get<BmpPeerUp>(got[1]);
  EXPECT_EQ(up.peer.address, ip("169.254.21.2"));
  EXPECT_EQ(up.peer.asn, 65021U);
  EXPECT_EQ(up.peer.router_id, ip("10.21.0.1"));
  EXPECT_EQ(up.local_address, ip("169.254.21.1"));
  EXPECT_THAT(std::get<BmpRoutes>(got[2]).announced, ElementsAre(pfx("10.21.0.0/16")));
  EXPECT_EQ(std::get<BmpEndOfRib>(got[3]).family, Family::kV4);
  const auto& down = std::get<BmpPeerDown>(got[4]);
  EXPECT_EQ(down.reason, 3);
  EXPECT_EQ(down.text, "the peer closed the session: hold timer expired (4/0)");
}

TEST(BmpSession, RepetitionsAreToldOnce) {
  const Bytes down = bmp(2, peer_header() + Bytes{4});
  const Bytes end = monitoring(update({}, {}, {}));
  EXPECT_EQ(events(down).size(), 0U) << "down before it was up";
  EXPECT_EQ(events(peer_up() + end + end + down + down).size(), 3U);
  EXPECT_EQ(events(peer_up() + end + down + peer_up() + end).size(), 5U) << "a new session has its own End-of-RIB";
}

TEST(BmpSession, OtherViewsAreNotOurs) {
  const Bytes message = update({}, kOriginIgp + kPath + kHop, kNet);
  EXPECT_EQ(events(monitoring(message, 0x40)).size(), 0U) << "post-policy";
  EXPECT_EQ(events(monitoring(message, 0x10)).size(), 0U) << "Adj-RIB-Out";
  EXPECT_EQ(events(bmp(0, peer_header(0, 3) + message)).size(), 0U) << "Loc-RIB";
  EXPECT_EQ(events(bmp(1, peer_header() + be32(0))).size(), 0U) << "statistics";
}

TEST(BmpSession, AnySplitGivesTheSame) {
  const Bytes stream = peer_up() + monitoring(update({}, kOriginIgp + kPath + kHop, kNet)) + monitoring(update(kNet, {}, {}));
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    BmpSession session;
    int count = 0;
    const auto drain = [&] {
      for (;;) {
        const auto event = session.next();
        ASSERT_TRUE(event);
        if (!*event) return;
        ++count;
      }
    };
    session.feed(std::span(stream).first(cut));
    drain();
    session.feed(std::span(stream).subspan(cut));
    drain();
    EXPECT_EQ(count, 3) << cut;
  }
}

TEST(BmpSession, GarbageEndsTheStream) {
  for (const Bytes& bad : {Bytes{2, 0, 0, 0, 6, 4}, Bytes{3, 0, 0, 0, 5, 4}, Bytes{3, 0xff, 0xff, 0xff, 0xff, 0}, bmp(0, Bytes(41, 0)),
                           bmp(3, peer_header()), bmp(2, peer_header()), bmp(4, be16(2) + be16(9))}) {
    BmpSession session;
    session.feed(bad);
    EXPECT_FALSE(session.next());
  }
}

}  // namespace
}  // namespace gw::bgp
