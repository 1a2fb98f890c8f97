#include "routes/rib.hpp"

#include <gtest/gtest.h>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;
using test::net;
using test::route;

std::vector<std::string> names(const BestSet& set) {
  std::vector<std::string> out;
  for (const Candidate& c : set.paths) out.push_back(c.source->name);
  return out;
}

TEST(Rib, TellsOnlyWhatChangedInOrderOfPrefix) {
  Rib rib;
  rib.upsert(net("10.2.0.0/16"), route("a"));
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.upsert(net("2001:db8::/32"), route("a"));
  auto changes = rib.drain_changes();
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].prefix, net("10.1.0.0/16"));
  EXPECT_EQ(changes[2].prefix, net("2001:db8::/32"));
  EXPECT_TRUE(rib.drain_changes().empty());

  rib.upsert(net("10.1.0.0/16"), route("b", "169.254.21.6"));
  changes = rib.drain_changes();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(names(*changes[0].best), (std::vector<std::string>{"a", "b"}));
}

TEST(Rib, ARouteThatCameAndWentIsNotMentioned) {
  Rib rib;
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.withdraw(net("10.1.0.0/16"), "a");
  EXPECT_TRUE(rib.drain_changes().empty());
  EXPECT_EQ(rib.size(), 0U);
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.drain_changes();
  rib.withdraw(net("10.1.0.0/16"), "a");
  rib.upsert(net("10.1.0.0/16"), route("a"));
  EXPECT_TRUE(rib.drain_changes().empty());
}

TEST(Rib, ALosingRouteOrANewCommunityIsNoChangeANewNextHopIs) {
  Rib rib;
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.drain_changes();
  Build loser;
  loser.source.name = "b";
  loser.attributes.local_preference = 50;
  rib.upsert(net("10.1.0.0/16"), loser());
  Build tagged;
  tagged.attributes.communities = {1};
  rib.upsert(net("10.1.0.0/16"), tagged());
  EXPECT_TRUE(rib.drain_changes().empty());
  rib.upsert(net("10.1.0.0/16"), route("a", "169.254.21.10"));
  EXPECT_EQ(rib.drain_changes().size(), 1U);
}

TEST(Rib, TheLastRouteGone) {
  Rib rib;
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.drain_changes();
  rib.withdraw(net("10.1.0.0/16"), "nobody");
  EXPECT_TRUE(rib.drain_changes().empty());
  rib.withdraw_all("a");
  const auto changes = rib.drain_changes();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_FALSE(changes[0].best);
  EXPECT_TRUE(rib.best(net("10.1.0.0/16")).paths.empty());
  EXPECT_EQ(rib.count("a").routes, 0U);
}

TEST(Rib, GracefulRestartKeepsUntilSwept) {
  Rib rib;
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.upsert(net("10.2.0.0/16"), route("a"));
  rib.upsert(net("2001:db8::/32"), route("a"));
  rib.drain_changes();
  rib.mark_stale("a");
  EXPECT_EQ(rib.count("a").stale, 3U);
  EXPECT_TRUE(rib.drain_changes().empty());  // goes on in use
  rib.upsert(net("10.1.0.0/16"), route("a"));
  EXPECT_EQ(rib.count("a").stale, 2U);
  EXPECT_EQ(rib.sweep("a", Family::kV4), 1U);
  auto changes = rib.drain_changes();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].prefix, net("10.2.0.0/16"));
  EXPECT_EQ(rib.sweep("a"), 1U);
  EXPECT_EQ(rib.count("a").routes, 1U);
  EXPECT_EQ(rib.count("a").stale, 0U);
  EXPECT_EQ(rib.sweep("nobody"), 0U);
}

TEST(Rib, ExplainsEveryCandidate) {
  Rib rib;
  rib.upsert(net("10.1.0.0/16"), route("a"));
  rib.upsert(net("10.1.0.0/16"), route("b", "169.254.21.6"));
  Build longer;
  longer.source.name = "c";
  longer.attributes.as_path = AsPath::sequence({65021, 65022});
  rib.upsert(net("10.1.0.0/16"), longer());
  const auto why = rib.explain(net("10.1.0.0/16"));
  ASSERT_EQ(why.size(), 3U);
  EXPECT_EQ(why[0].candidate.source->name, "a");
  EXPECT_EQ(why[0].ranked.step, Step::kPeerAddress);
  EXPECT_EQ(why[1].ranked.place, Place::kMultipath);
  EXPECT_EQ(why[2].candidate.source->name, "c");
  EXPECT_EQ(why[2].ranked.step, Step::kAsPathLength);
  EXPECT_TRUE(rib.explain(net("10.9.0.0/16")).empty());
}

TEST(Rib, LongestMatch) {
  Rib rib;
  rib.upsert(net("0.0.0.0/0"), route("a"));
  rib.upsert(net("10.0.0.0/8"), route("a"));
  rib.upsert(net("10.1.2.0/24"), route("a"));
  EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), net("10.1.2.0/24"));
  EXPECT_EQ(rib.longest_match(ip("10.1.3.3")), net("10.0.0.0/8"));
  EXPECT_EQ(rib.longest_match(ip("192.0.2.1")), net("0.0.0.0/0"));
  EXPECT_EQ(rib.longest_match(ip("2001:db8::1")), std::nullopt);
  EXPECT_EQ(rib.prefixes().size(), 3U);
}

}  // namespace
}  // namespace gw::routes
