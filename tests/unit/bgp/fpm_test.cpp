// zebra's FPM stream, byte by byte as RFC 3549 and linux/rtnetlink.h have it, and who may send it.
#include "bgp/fpm.hpp"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cstring>

#include "base/loopback_peer.hpp"
#include "base/wire.hpp"
#include "bgp/loopback_server.hpp"
#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using test::net;
using Bytes = std::vector<std::uint8_t>;

template <class T>
void append(Bytes& out, const T& value) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

Bytes attribute(unsigned short type, Bytes value) {
  Bytes out;
  append(out, rtattr{static_cast<unsigned short>(sizeof(rtattr) + value.size()), type});
  value.resize((value.size() + 3) & ~std::size_t{3});
  out.insert(out.end(), value.begin(), value.end());
  return out;
}

Bytes number(std::uint32_t value) {
  Bytes out;
  append(out, value);
  return out;
}

Bytes hop(int device) {
  Bytes out;
  append(out, rtnexthop{sizeof(rtnexthop), 0, 0, device});
  return out;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Message {
  std::uint16_t type = RTM_NEWROUTE;
  unsigned char family = AF_INET;
  unsigned char length = 16;
  unsigned char table = RT_TABLE_MAIN;
};

Bytes netlink(const Message& m, const Bytes& attributes) {
  rtmsg route{};
  route.rtm_family = m.family;
  route.rtm_dst_len = m.length;
  route.rtm_table = m.table;
  route.rtm_protocol = RTPROT_BGP;
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + sizeof route + attributes.size());
  header.nlmsg_type = m.type;
  Bytes out;
  append(out, header);
  append(out, route);
  return out + attributes;
}

Bytes frame(const Bytes& messages) {
  Bytes out{1, 1, 0, 0};
  store_be(out.data() + 2, static_cast<std::uint16_t>(4 + messages.size()));
  return out + messages;
}

const Bytes kDestination = attribute(RTA_DST, {10, 20, 0, 0});
const Bytes kDestination6 = attribute(RTA_DST, {0x20, 1, 0xd, 0xb8, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});

std::vector<FpmRoute> read(const Bytes& bytes) {
  FpmSession session;
  session.feed(bytes);
  std::vector<FpmRoute> out;
  for (;;) {
    const auto route = session.next();
    EXPECT_TRUE(route) << route.error().describe();
    if (!route || !*route) return out;
    out.push_back(**route);
  }
}

bool refused(const Bytes& bytes) {
  FpmSession session;
  session.feed(bytes);
  return !session.next();
}

TEST(Fpm, ARouteWithOneNextHop) {
  const auto routes = read(frame(netlink({}, kDestination + attribute(RTA_OIF, number(7)))));
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_EQ(routes[0].prefix, net("10.20.0.0/16"));
  EXPECT_EQ(routes[0].protocol, kProtocolBgp);
  EXPECT_EQ(routes[0].devices, (std::vector<std::uint32_t>{7}));
}

TEST(Fpm, SeveralNextHopsAreSortedAndEachOnce) {
  const auto routes = read(frame(
      netlink({.family = AF_INET6, .length = 48}, kDestination6 + attribute(RTA_MULTIPATH, hop(9) + hop(7) + hop(9)))));
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_EQ(routes[0].prefix, net("2001:db8:20::/48"));
  EXPECT_EQ(routes[0].devices, (std::vector<std::uint32_t>{7, 9}));
}

TEST(Fpm, WhatIsGoneHasNoNextHop) {
  const auto routes = read(frame(netlink({.type = RTM_DELROUTE}, kDestination + attribute(RTA_OIF, number(7)))));
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_TRUE(routes[0].devices.empty());
}

TEST(Fpm, TheDefaultRouteComesWithoutADestination) {
  const auto routes = read(frame(netlink({.length = 0}, attribute(RTA_OIF, number(7)))));
  ASSERT_EQ(routes.size(), 1U);
  EXPECT_EQ(routes[0].prefix, net("0.0.0.0/0"));
}

TEST(Fpm, OtherTablesFamiliesAndObjectsAreLeftOut) {
  EXPECT_TRUE(read(frame(netlink({.table = 100}, kDestination))).empty());
  EXPECT_TRUE(read(frame(netlink({}, kDestination + attribute(RTA_TABLE, number(1000))))).empty());
  EXPECT_TRUE(read(frame(netlink({.family = AF_MPLS}, {}))).empty());
  EXPECT_TRUE(read(frame(netlink({.type = RTM_NEWNEXTHOP}, {}))).empty());
  Bytes protobuf{1, 2, 0, 6, 1, 2};  // another kind of frame
  EXPECT_EQ(read(protobuf + frame(netlink({}, kDestination + attribute(RTA_OIF, number(7))))).size(), 1U);
}

TEST(Fpm, FramesArriveInAnyPieces) {
  const Bytes one = netlink({.type = RTM_DELROUTE}, kDestination);
  const Bytes bytes = frame(one + netlink({}, kDestination + attribute(RTA_OIF, number(7)))) + frame(one);
  FpmSession session;
  std::size_t routes = 0;
  for (const std::uint8_t byte : bytes) {
    session.feed(std::span(&byte, 1));
    for (auto route = session.next(); route && *route; route = session.next()) ++routes;
  }
  EXPECT_EQ(routes, 3U);
}

TEST(Fpm, LengthsThatDoNotAgreeEndTheStream) {
  EXPECT_TRUE(refused({2, 1, 0, 8, 0, 0, 0, 0})) << "version";
  EXPECT_TRUE(refused({1, 1, 0, 3})) << "frame";
  EXPECT_TRUE(refused(frame(netlink({}, {3, 0, 1, 0})))) << "attribute shorter than its header";
  EXPECT_TRUE(refused(frame(netlink({}, {40, 0, 1, 0})))) << "attribute longer than the message";
  EXPECT_TRUE(refused(frame(netlink({}, attribute(RTA_DST, {10, 20}))))) << "half an address";
  EXPECT_TRUE(refused(frame(netlink({.length = 33}, kDestination)))) << "prefix length";
  EXPECT_TRUE(refused(frame(netlink({}, attribute(RTA_OIF, {7}))))) << "interface";
  EXPECT_TRUE(refused(frame(netlink({}, attribute(RTA_MULTIPATH, {4, 0, 0, 0, 7, 0, 0, 0}))))) << "next hop";
  Bytes longer = frame(netlink({}, kDestination));
  longer[4] = 200;  // nlmsg_len
  EXPECT_TRUE(refused(longer)) << "message longer than its frame";
}

TEST(LoopbackOwner, IsReadFromTheKernelsTable) {
  constexpr std::string_view kTable =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:2B0B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n"
      "   1: 0100007F:A1B2 0100007F:2B0B 01 00000000:00000000 02:000A2F8C 00000000   101        0 222 2\n"
      "   2: 0100007F:2B0B 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 333 1\n"
      "   3: 0100007F:C001 0100007F:2B0B 01 00000000:00000000\n";
  EXPECT_EQ(owner_of_connection(kTable, 0xA1B2, 0x2B0B), 101U);
  EXPECT_EQ(owner_of_connection(kTable, 0xA1B3, 0x2B0B), std::nullopt);
  EXPECT_EQ(owner_of_connection(kTable, 0xC001, 0x2B0B), std::nullopt) << "a line that is cut short";
}

}  // namespace
}  // namespace gw::bgp
