// What one instance learned, told to the other: the same there, also after anything that is not as it should be.
#include "gwd/sync/learned.hpp"

#include <gtest/gtest.h>

#include <format>
#include <random>

namespace gw::gwd::sync {
namespace {

using namespace std::chrono_literals;

Prefix pfx(std::string_view t) { return Prefix::parse(t).value(); }
IpAddress ip(std::string_view t) { return IpAddress::parse(t).value(); }

routes::AttributesPtr attributes(std::uint32_t asn) {
  routes::Attributes out;
  out.next_hop = ip("169.254.21.2");
  out.as_path = routes::AsPath(
      {{routes::AsSegment::Type::kSequence, {65021, asn}}, {routes::AsSegment::Type::kSet, {4200000000U, 1}}});
  out.origin = routes::Origin::kIncomplete;
  out.med = asn;
  out.communities = {0xfe010007U, 0xffff0000U};
  return std::make_shared<const routes::Attributes>(std::move(out));
}

bgp::BmpRoutes update(routes::AttributesPtr attributes, std::vector<Prefix> announced,
                      std::vector<Prefix> withdrawn = {}) {
  return {{}, std::move(attributes), std::move(announced), std::move(withdrawn), ""};
}

class LearnedTest : public ::testing::Test {
 protected:
  LearnedExport::Send wire() {
    return [this](std::string message) {
      ++messages;
      largest = std::max(largest, message.size());
      const Status done = to.apply(message);
      EXPECT_TRUE(done) << done.error().message;
    };
  }
  void expect_same(const std::string& tunnel) const {
    const Learned* a = from.find(tunnel);
    const Learned* b = to.find(tunnel);
    ASSERT_EQ(a == nullptr, b == nullptr) << tunnel;
    if (a == nullptr) return;
    EXPECT_EQ(a->router_id, b->router_id);
    EXPECT_EQ(a->offered.restart_time, b->offered.restart_time);
    EXPECT_EQ(a->offered.families, b->offered.families);
    ASSERT_EQ(a->routes.size(), b->routes.size());
    for (const auto& [prefix, attributes] : a->routes) {
      ASSERT_TRUE(b->routes.contains(prefix)) << prefix.to_string();
      EXPECT_EQ(*attributes, *b->routes.at(prefix));
    }
  }
  /// A change by hand, for what an export never says.
  static std::string routes_message(auto change) {
    ha::v1::LearnedMessage message;
    ha::v1::LearnedRoutes& routes = *message.mutable_routes();
    routes.set_tunnel("ce1/gw-a");
    routes.mutable_attributes()->set_next_hop(ip("169.254.21.2").bytes_string());
    ha::v1::RoutePrefix& prefix = *routes.add_announced();
    prefix.set_address(ip("10.22.0.0").bytes_string());
    prefix.set_length(16);
    change(routes, prefix);
    return message.SerializeAsString();
  }

  LearnedExport from;
  LearnedImport to;
  std::size_t messages = 0;
  std::size_t largest = 0;
};

TEST_F(LearnedTest, TrafficIsWhatWasSaidLast) {
  from.traffic({{"ce1/gw-a", {60, 5, 7}}});
  EXPECT_TRUE(to.traffic().empty()) << "nobody listens yet";
  from.begin(wire());
  from.traffic({{"ce1/gw-a", {60, 5, 7}}, {"ce2/gw-a", {60, 1, 2}}});
  from.traffic({{"ce1/gw-a", {60, 8, 9}}});
  EXPECT_EQ(to.traffic(), (TrafficByTunnel{{"ce1/gw-a", {60, 8, 9}}}));
  to.forget_traffic();
  EXPECT_TRUE(to.traffic().empty());
}

TEST_F(LearnedTest, TrafficOfManyTunnelsIsOneMessageThatIsNotTooLong) {
  TrafficByTunnel all;
  for (int i = 0; i < 1500; ++i) all[std::format("connection-with-a-long-name-{:04}/gw-a", i)] = {60, ~0ULL, ~0ULL};
  from.begin(wire());
  from.traffic(all);
  EXPECT_EQ(to.traffic().size(), LearnedExport::kTunnels);
  EXPECT_LT(largest, 128U * 1024);
}

TEST_F(LearnedTest, TrafficThatIsNotAsItShouldBeChangesNothing) {
  from.begin(wire());
  from.traffic({{"ce1/gw-a", {60, 5, 7}}});
  ha::v1::LearnedMessage message;
  message.mutable_traffic()->add_tunnels();  // without a name
  EXPECT_FALSE(to.apply(message.SerializeAsString()));
  message.mutable_traffic()->mutable_tunnels(0)->set_name(std::string(300, 'x'));
  EXPECT_FALSE(to.apply(message.SerializeAsString()));
  message.mutable_traffic()->clear_tunnels();
  for (std::size_t i = 0; i <= LearnedExport::kTunnels; ++i) message.mutable_traffic()->add_tunnels()->set_name("x");
  EXPECT_FALSE(to.apply(message.SerializeAsString()));
  EXPECT_EQ(to.traffic(), (TrafficByTunnel{{"ce1/gw-a", {60, 5, 7}}}));
}

TEST_F(LearnedTest, EveryChangeArrives) {
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {120s, {Family::kV4}});
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16"), pfx("2001:db8::/32")}));
  expect_same("ce1/gw-a");
  from.routes("ce1/gw-a", update(attributes(2), {pfx("10.21.0.0/16")}, {pfx("10.21.0.0/16"), pfx("2001:db8::/32")}));
  expect_same("ce1/gw-a");
  EXPECT_EQ(to.find("ce1/gw-a")->routes.size(), 1U) << "a prefix in both lists is announced";
  from.routes("ce1/gw-a", update(attributes(3), {pfx("10.22.0.0/16")}));
  from.keep_only("ce1/gw-a", {pfx("10.22.0.0/16")});
  expect_same("ce1/gw-a");
  from.nothing("ce1/gw-a");
  EXPECT_EQ(to.tunnels(), 0U);
}

TEST_F(LearnedTest, WhatIsToldAgainAsItWasIsNotSaidAgain) {
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16"), pfx("10.22.0.0/16")}));
  const std::size_t before = messages;
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16"), pfx("10.22.0.0/16")}));
  EXPECT_EQ(messages, before);
  from.routes("ce1/gw-a", update(attributes(2), {pfx("10.21.0.0/16"), pfx("10.22.0.0/16")}));
  EXPECT_EQ(messages, before + 1);
  expect_same("ce1/gw-a");
}

TEST_F(LearnedTest, WhoComesLaterIsToldAll) {
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16")}));
  from.session("ce2/gw-a", ip("10.21.0.2"), {});
  from.begin(wire());
  expect_same("ce1/gw-a");
  expect_same("ce2/gw-a");
}

TEST_F(LearnedTest, ANewBeginningForgetsWhatIsNotSaidAgain) {
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  from.session("ce2/gw-a", ip("10.21.0.2"), {});
  from.end();
  from.nothing("ce1/gw-a");
  EXPECT_EQ(to.tunnels(), 2U) << "nobody listened";
  from.begin(wire());
  EXPECT_EQ(to.tunnels(), 1U);
  expect_same("ce2/gw-a");
}

TEST_F(LearnedTest, ALargeTableIsSaidInMessagesThatUrgentOnesNeedNotWaitFor) {
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  std::vector<Prefix> prefixes;
  for (std::uint32_t i = 0; i < 10'000; ++i)
    prefixes.push_back(Prefix::make(IpAddress::from_v4(0x0b000000U + (i << 8U)), 24).value());
  from.routes("ce1/gw-a", update(attributes(1), prefixes));
  from.begin(wire());
  expect_same("ce1/gw-a");
  EXPECT_EQ(messages, 2 + prefixes.size() / LearnedExport::kPrefixes);
  EXPECT_LT(largest, 32U << 10U);
}

TEST_F(LearnedTest, ATunnelIsTakenOnce) {
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  EXPECT_TRUE(to.take("ce1/gw-a"));
  EXPECT_FALSE(to.take("ce1/gw-a"));
  EXPECT_FALSE(to.take("ce9/gw-a"));
}

TEST_F(LearnedTest, RoutesOfASessionThatIsNotUpAreNotKept) {
  from.begin(wire());
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16")}));
  EXPECT_EQ(from.find("ce1/gw-a"), nullptr);
  EXPECT_EQ(messages, 1U);
}

TEST_F(LearnedTest, WhatIsNotAsItShouldBeIsRefusedWhole) {
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  from.routes("ce1/gw-a", update(attributes(1), {pfx("10.21.0.0/16")}));
  using Routes = ha::v1::LearnedRoutes;
  using One = ha::v1::RoutePrefix;
  const std::vector<std::string> bad = {
      "no protobuf",
      routes_message([](Routes& r, One&) { r.set_tunnel("ce9/gw-a"); }),
      routes_message([](Routes&, One& p) { p.set_address("abc"); }),
      routes_message([](Routes&, One& p) { p.set_length(33); }),
      routes_message([](Routes&, One& p) { p.set_address(ip("10.22.0.1").bytes_string()); }),
      routes_message([](Routes& r, One&) { r.mutable_attributes()->set_next_hop("1234567"); }),
      routes_message([](Routes& r, One&) { r.mutable_attributes()->set_origin(3); }),
      routes_message([](Routes& r, One&) { r.mutable_attributes()->add_as_path()->set_type(5); }),
      routes_message([](Routes& r, One& p) {
        *r.add_withdrawn() = p;
        r.mutable_withdrawn(0)->set_address(ip("10.21.0.0").bytes_string());
        r.clear_attributes();  // announced without a next hop: and nothing is withdrawn
      })};
  for (const std::string& message : bad) {
    const Status done = to.apply(message);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::kMalformed);
    expect_same("ce1/gw-a");
  }
  EXPECT_TRUE(to.apply("")) << "a message of a newer release";
}

TEST_F(LearnedTest, BytesOfAnyKindDoNoHarm) {
  std::mt19937 random(1);
  const std::string good = routes_message([](auto&, auto&) {});
  from.begin(wire());
  from.session("ce1/gw-a", ip("10.21.0.1"), {});
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good.substr(0, random() % (good.size() + 1));
    for (unsigned n = random() % 4; n > 0 && !bytes.empty(); --n)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    (void)to.apply(bytes);
  }
}

}  // namespace
}  // namespace gw::gwd::sync
