#include <gtest/gtest.h>

#include <format>

#include "routes/rib.hpp"
#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using test::Build;
using test::ip;
using test::net;

// Paris has two tunnels and the circuit, Berlin one tunnel, Lyon is static.
class WhatIfTest : public ::testing::Test {
 protected:
  void SetUp() override {
    circuit = add(SourceKind::kCircuit, "er1", "", "192.168.30.18");
    paris1 = add(SourceKind::kVpnTunnel, "paris-1", "paris", "169.254.21.2");
    paris2 = add(SourceKind::kVpnTunnel, "paris-2", "paris", "169.254.21.6");
    berlin = add(SourceKind::kVpnTunnel, "berlin", "berlin", "169.254.21.10");
    lyon = add(SourceKind::kStaticSite, "static:lyon", "lyon", "0.0.0.0");
    for (const SourceId id : {circuit, paris1, paris2}) announce(id, "10.20.0.0/16");
    for (const SourceId id : {paris1, paris2}) announce(id, "10.21.0.0/16");
    announce(berlin, "10.30.0.0/16");
    announce(berlin, "10.31.0.0/16");
    announce(circuit, "10.31.0.0/16");
    announce(lyon, "10.40.0.0/16");
    rib.drain();
  }
  SourceId add(SourceKind kind, std::string name, std::string site, std::string_view address) {
    return rib.put_source({.kind = kind,
                           .name = std::move(name),
                           .type = kind == SourceKind::kStaticSite ? PeerType::kLocal : PeerType::kEbgp,
                           .router_id = ip("192.0.2.1"),
                           .peer_address = ip(address),
                           .site = std::move(site)});
  }
  void announce(SourceId id, std::string_view prefix) {
    Build b;
    b.attributes.next_hop = rib.source(id).peer_address;
    const Prefix p = net(prefix);
    rib.announce(id, b.shared(), {&p, 1}, {});
  }
  std::vector<SourceId> sources(const std::vector<Path>& paths) const {
    std::vector<SourceId> out;
    for (const Path& p : paths) out.push_back(p.source);
    return out;
  }

  Rib rib;
  SourceId circuit{}, paris1{}, paris2{}, berlin{}, lyon{};
};
using Ids = std::vector<SourceId>;

TEST_F(WhatIfTest, NothingIsNothing) {
  const WhatIf what = rib.what_if({});
  EXPECT_EQ(what.prefixes, 5U);
  EXPECT_EQ(what.moved + what.lost + what.appeared, 0U);
  EXPECT_TRUE(what.limits.empty());
  EXPECT_TRUE(what.cut_off.empty());
}

TEST_F(WhatIfTest, TheCircuitDown) {
  const WhatIf what = rib.what_if({.kinds_down = {SourceKind::kCircuit}});
  ASSERT_EQ(what.moves.size(), 2U);
  EXPECT_EQ(what.moves[0].prefix, net("10.20.0.0/16"));
  EXPECT_EQ(sources(what.moves[0].from), (Ids{circuit}));
  EXPECT_EQ(sources(what.moves[0].to), (Ids{paris1, paris2}));
  EXPECT_EQ(sources(what.moves[1].to), (Ids{berlin}));
  EXPECT_EQ(what.moved, 2U);
  EXPECT_TRUE(what.cut_off.empty());
}

TEST_F(WhatIfTest, TheCircuitDownIsDownForTheOtherInstanceToo) {
  const SourceId other =
      rib.put_source({.kind = SourceKind::kPartner, .name = "instance:gw-b", .type = PeerType::kIbgp});
  Attributes attributes;
  attributes.as_path = AsPath::sequence({12076, 65021});
  attributes.communities = {class_community(SourceKind::kCircuit)};
  const Prefix prefix = net("10.20.0.0/16");
  rib.announce(other, std::make_shared<const Attributes>(attributes), {&prefix, 1}, {});
  const WhatIf what = rib.what_if({.kinds_down = {SourceKind::kCircuit}});
  ASSERT_FALSE(what.moves.empty());
  EXPECT_EQ(what.moves[0].prefix, prefix);
  EXPECT_EQ(sources(what.moves[0].to), (Ids{paris1, paris2})) << "not the other instance's way by the same circuit";
}

TEST_F(WhatIfTest, APeerDownCutsOffWhatOnlyItReaches) {
  const WhatIf what = rib.what_if({.down = {berlin}});
  ASSERT_EQ(what.moves.size(), 1U);
  EXPECT_EQ(what.moves[0].kind, MoveKind::kLost);
  EXPECT_EQ(what.moves[0].prefix, net("10.30.0.0/16"));
  ASSERT_EQ(what.cut_off.size(), 1U);
  EXPECT_EQ(what.cut_off[0].site, "berlin");
  EXPECT_EQ(what.cut_off[0].prefixes, 2U);
  EXPECT_EQ(what.cut_off[0].lost, 1U) << "10.31.0.0/16 is on the circuit, too";
  const WhatIf both = rib.what_if({.down = {paris1, paris2, berlin}, .kinds_down = {SourceKind::kCircuit}});
  ASSERT_EQ(both.cut_off.size(), 2U);
  EXPECT_EQ(both.cut_off[1].site, "paris");
  EXPECT_EQ(both.cut_off[1].lost, both.cut_off[1].prefixes);
  EXPECT_EQ(rib.what_if({.down = {paris1}}).cut_off.size(), 0U) << "the other tunnel is there";
}

TEST_F(WhatIfTest, AnotherPolicyMovesBreaksLimitsAndTouchesNothing) {
  auto policy = std::make_shared<Policy>();
  policy->weights = class_weights(Prefer::kVpn);
  policy->import_rules = {
      {.name = "no-31", .match = {.prefixes = {{net("10.31.0.0/16"), 16, 16}}}, .action = Action::kRefuse}};
  policy->peers["paris-1"].max_routes = 2;
  policy->safe.vnet_prefixes = {net("10.40.0.0/16")};
  const WhatIf what = rib.what_if({.policy = policy});
  ASSERT_EQ(what.moves.size(), 2U);
  EXPECT_EQ(sources(what.moves[0].to), (Ids{paris1, paris2}));
  EXPECT_EQ(what.moves[1].kind, MoveKind::kLost);
  ASSERT_EQ(what.limits.size(), 1U);
  EXPECT_EQ(what.limits[0].source, paris1);
  EXPECT_EQ(what.limits[0].state, LimitState::kReached);
  EXPECT_EQ(what.limits[0].after, 2U);
  EXPECT_TRUE(rib.drain().empty());
  EXPECT_EQ(rib.explain(net("10.20.0.0/16"))[0].candidate.source->name, "er1");

  // What was said comes true.
  rib.set_policy(policy);
  const auto changes = rib.drain();
  ASSERT_EQ(changes.size(), what.moves.size());
  for (const Move& move : what.moves) {
    const auto change = std::ranges::find(changes, move.prefix, &Change::prefix);
    ASSERT_NE(change, changes.end());
    EXPECT_TRUE(std::ranges::equal(rib.paths(change->after), move.to));
  }
  EXPECT_EQ(rib.what_if({.policy = std::make_shared<Policy>()}).appeared, 1U) << "a refused route is there again";
}

TEST_F(WhatIfTest, ACircuitThatWouldBeToldTooMuch) {
  const Source vnet{
      .kind = SourceKind::kVnet, .name = "vnet", .type = PeerType::kLocal, .router_id = {}, .peer_address = {}};
  std::vector<Addition> added;
  for (unsigned i = 0; i < kToldToCircuit; ++i)
    added.push_back({vnet, net(std::format("10.{}.{}.0/24", 100 + i / 256, i % 256))});
  auto policy = std::make_shared<Policy>();
  const WhatIf what = rib.what_if({.policy = policy, .added = added});
  ASSERT_EQ(what.limits.size(), 1U);
  EXPECT_EQ(what.limits[0].of, LimitOf::kTold);
  EXPECT_EQ(what.limits[0].source, circuit);
  EXPECT_EQ(what.limits[0].before, 0U) << "tunnels are nothing to the circuit";
  EXPECT_EQ(what.limits[0].after, kToldToCircuit);
  EXPECT_EQ(what.limits[0].state, LimitState::kReached);
  EXPECT_TRUE(rib.what_if({.policy = policy, .kinds_down = {SourceKind::kCircuit}, .added = added}).limits.empty());
  added.resize(790);
  EXPECT_TRUE(rib.what_if({.policy = policy, .added = added}).limits.empty());
  // Paris' other prefix, Berlin's and Lyon's, which no circuit announces, make 793 of it; seven more and it is near.
  policy->transit = Transit::kOpen;
  EXPECT_TRUE(rib.what_if({.policy = policy, .added = added}).limits.empty());
  added.resize(790);
  for (unsigned i = 0; i < 7; ++i) added.push_back({vnet, net(std::format("10.99.{}.0/24", i))});
  const WhatIf open = rib.what_if({.policy = policy, .added = added});
  ASSERT_EQ(open.limits.size(), 1U);
  EXPECT_EQ(open.limits[0].after, 800U);
  EXPECT_EQ(open.limits[0].state, LimitState::kNear);
}

TEST_F(WhatIfTest, MovesAreCountedBeyondWhatIsListed) {
  const WhatIf what = rib.what_if({.kinds_down = {SourceKind::kCircuit}, .most_moves = 1});
  EXPECT_EQ(what.moves.size(), 1U);
  EXPECT_EQ(what.moved, 2U);
}

TEST_F(WhatIfTest, SlicesSayTheSameAsTheWhole) {
  auto policy = std::make_shared<Policy>();
  policy->weights = class_weights(Prefer::kVpn);
  const Scenario scenario{.policy = policy, .down = {paris1}, .withdrawn = {{"static:lyon", {net("10.40.0.0/16")}}}};
  const WhatIf whole = rib.what_if(scenario);
  WhatIfWalk walk(rib, scenario);
  std::size_t slices = 1;
  for (; walk.step(1); ++slices) {
  }
  const WhatIf sliced = walk.finish();
  EXPECT_GE(slices, whole.prefixes);
  EXPECT_EQ(sliced.prefixes, whole.prefixes);
  EXPECT_EQ(sliced.moved, whole.moved);
  EXPECT_EQ(sliced.lost, whole.lost);
  ASSERT_EQ(sliced.moves.size(), whole.moves.size());
  for (std::size_t i = 0; i < whole.moves.size(); ++i) {
    EXPECT_EQ(sliced.moves[i].prefix, whole.moves[i].prefix);
    EXPECT_EQ(sliced.moves[i].from, whole.moves[i].from);
    EXPECT_EQ(sliced.moves[i].to, whole.moves[i].to);
  }
  EXPECT_EQ(whole.lost, 1U);  // Lyon's, which is withdrawn
}

TEST_F(WhatIfTest, WhatADocumentAddsIsUsedIfItWouldWin) {
  const Source vnet{
      .kind = SourceKind::kVnet, .name = "vnet", .type = PeerType::kLocal, .router_id = {}, .peer_address = {}};
  const Source madrid{.kind = SourceKind::kStaticSite,
                      .name = "static:madrid",
                      .type = PeerType::kLocal,
                      .router_id = {},
                      .peer_address = {}};
  const WhatIf what = rib.what_if({.added = {{madrid, net("10.60.0.0/16")},   // nobody has it
                                             {madrid, net("10.21.0.0/16")},   // paris has it by tunnels: local wins
                                             {madrid, net("10.31.0.0/16")},   // the circuit has it, a better class
                                             {vnet, net("10.31.0.0/16")}}});  // the VNet's own is better than all
  ASSERT_EQ(what.arrivals.size(), 3U);
  EXPECT_EQ(what.arrivals[2].source, "static:madrid");
  EXPECT_TRUE(what.arrivals[2].from.empty());
  EXPECT_EQ(sources(what.arrivals[0].from), (Ids{paris1, paris2}));
  EXPECT_EQ(what.arrivals[1].source, "vnet");
  EXPECT_EQ(sources(what.arrivals[1].from), Ids{circuit});
  EXPECT_EQ(what.appeared, 1U);
  EXPECT_EQ(what.moved, 2U);
  EXPECT_TRUE(what.moves.empty());
}

TEST_F(WhatIfTest, APrefixThatGoesFromOneOfOurSourcesToAnotherIsNotLost) {
  const Source renamed{.kind = SourceKind::kStaticSite,
                       .name = "static:lyon-2",
                       .type = PeerType::kLocal,
                       .router_id = {},
                       .peer_address = {}};
  const WhatIf what =
      rib.what_if({.withdrawn = {{"static:lyon", {net("10.40.0.0/16")}}}, .added = {{renamed, net("10.40.0.0/16")}}});
  ASSERT_EQ(what.arrivals.size(), 1U);
  EXPECT_EQ(sources(what.arrivals[0].from), Ids{lyon});
  EXPECT_EQ(what.moved, 1U);
  EXPECT_EQ(what.lost + what.appeared, 0U);
  EXPECT_TRUE(what.moves.empty());
  EXPECT_TRUE(what.cut_off.empty()) << "its prefix is still reached";
}

TEST_F(WhatIfTest, ARibThatChangesBetweenSlicesIsNoTrouble) {
  auto policy = std::make_shared<Policy>();
  WhatIfWalk walk(rib, {.policy = policy, .down = {berlin}});
  walk.step(1);
  rib.remove_source(paris2);
  rib.drain();
  rib.drain();
  const SourceId fresh = add(SourceKind::kVpnTunnel, "madrid", "madrid", "169.254.21.14");  // has the number of paris-2
  for (int i = 0; i < 200; ++i) announce(fresh, std::format("10.50.{}.0/24", i));
  rib.drain();
  rib.set_policy(policy);
  while (walk.step(7)) {
  }
  const WhatIf what = walk.finish();
  for (const Move& move : what.moves) EXPECT_NE(sources(move.from), Ids{fresh}) << move.prefix.to_string();
  EXPECT_GE(what.prefixes, 200U);
}

}  // namespace
}  // namespace gw::routes
