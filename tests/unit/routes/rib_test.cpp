#include "routes/rib.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/unit/routes/build.hpp"

namespace gw::routes {
namespace {

using namespace std::chrono_literals;
using test::Build;
using test::ip;
using test::net;

class RibTest : public ::testing::Test {
 protected:
  SourceId tunnel(std::string name, std::string_view address = "169.254.21.2") {
    Build b;
    b.source.name = std::move(name);
    b.source.peer_address = ip(address);
    return rib.put_source(b.source);
  }
  void announce(SourceId source, std::string_view prefix, Build b = {}) {
    b.attributes.next_hop = rib.source(source).peer_address;
    const Prefix p = net(prefix);
    rib.announce(source, b.shared(), {&p, 1}, now);
  }
  void withdraw(SourceId source, std::string_view prefix) {
    const Prefix p = net(prefix);
    rib.withdraw(source, {&p, 1});
  }
  std::vector<std::string> names(PathSetId id) const {
    std::vector<std::string> out;
    for (const Path& p : rib.paths(id)) out.push_back(rib.source(p.source).name);
    return out;
  }

  Rib rib;
  MonoTime now{1s};
};
using Names = std::vector<std::string>;

TEST_F(RibTest, TellsOnlyWhatChanged) {
  const SourceId a = tunnel("a");
  const SourceId b = tunnel("b", "169.254.21.6");
  announce(a, "10.2.0.0/16");
  announce(a, "10.1.0.0/16");
  announce(a, "2001:db8::/32");
  auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].prefix, net("10.2.0.0/16"));
  EXPECT_EQ(changes[0].before, kNoPaths);
  EXPECT_EQ(changes[2].prefix, net("2001:db8::/32"));
  EXPECT_TRUE(rib.drain().empty());

  announce(b, "10.1.0.0/16");
  changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(names(changes[0].before), (Names{"a"}));
  EXPECT_EQ(names(changes[0].after), (Names{"a", "b"}));
}

TEST_F(RibTest, ARouteThatCameAndWentIsNotMentioned) {
  const SourceId a = tunnel("a");
  announce(a, "10.1.0.0/16");
  withdraw(a, "10.1.0.0/16");
  EXPECT_TRUE(rib.drain().empty());
  EXPECT_EQ(rib.size(), 0U);
  announce(a, "10.1.0.0/16");
  rib.drain();
  withdraw(a, "10.1.0.0/16");
  announce(a, "10.1.0.0/16");
  EXPECT_TRUE(rib.drain().empty());
  EXPECT_EQ(rib.attribute_sets(), 1U);
}

TEST_F(RibTest, ALosingRouteOrANewCommunityIsNoChangeANewNextHopIs) {
  const SourceId a = tunnel("a");
  const SourceId b = tunnel("b");
  announce(a, "10.1.0.0/16");
  rib.drain();
  Build loser;
  loser.attributes.local_preference = 50;
  announce(b, "10.1.0.0/16", loser);
  Build tagged;
  tagged.attributes.communities = {1};
  announce(a, "10.1.0.0/16", tagged);
  EXPECT_TRUE(rib.drain().empty());
  const Prefix p = net("10.1.0.0/16");
  rib.announce(a, Build().shared(), {&p, 1}, now);  // the attributes' own next hop, the same address
  EXPECT_TRUE(rib.drain().empty());
  Build moved;
  moved.attributes.next_hop = ip("169.254.21.10");
  rib.announce(a, moved.shared(), {&p, 1}, now);
  EXPECT_EQ(rib.drain().size(), 1U);
}

TEST_F(RibTest, TheLastRouteGone) {
  const SourceId a = tunnel("a");
  announce(a, "10.1.0.0/16");
  rib.drain();
  withdraw(tunnel("nobody"), "10.1.0.0/16");
  EXPECT_TRUE(rib.drain().empty());
  rib.withdraw_all(a);
  const auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].after, kNoPaths);
  EXPECT_EQ(names(changes[0].before), (Names{"a"}));
  EXPECT_EQ(rib.count(a).received(), 0U);
  EXPECT_EQ(rib.attribute_sets(), 0U);
}

TEST_F(RibTest, GracefulRestartKeepsUntilSwept) {
  const SourceId a = tunnel("a");
  announce(a, "10.1.0.0/16");
  announce(a, "10.2.0.0/16");
  announce(a, "2001:db8::/32");
  rib.drain();
  rib.mark_stale(a);
  EXPECT_EQ(rib.count(a).stale, 3U);
  EXPECT_TRUE(rib.drain().empty());  // goes on in use
  now += 60s;
  announce(a, "10.1.0.0/16");
  EXPECT_EQ(rib.count(a).stale, 2U);
  EXPECT_EQ(rib.explain(net("10.1.0.0/16"))[0].since, MonoTime(1s)) << "the same route is as old as it was";
  EXPECT_EQ(rib.sweep(a, Family::kV4), 1U);
  const auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].prefix, net("10.2.0.0/16"));
  EXPECT_EQ(rib.sweep(a), 1U);
  EXPECT_EQ(rib.count(a).received(), 1U);
  EXPECT_EQ(rib.count(a).stale, 0U);
}

TEST_F(RibTest, ExplainsEveryCandidateAndTheLineOfPolicy) {
  auto policy = std::make_shared<Policy>();
  policy->import_rules = {{.name = "b-is-longer", .match = {.source = "c"}, .set = {.prepend = 1}},
                          {.name = "not-d", .match = {.source = "d"}, .action = Action::kRefuse}};
  rib.set_policy(policy);
  announce(tunnel("a"), "10.1.0.0/16");
  announce(tunnel("b", "169.254.21.6"), "10.1.0.0/16");
  announce(tunnel("c"), "10.1.0.0/16");
  announce(tunnel("d"), "10.1.0.0/16");
  const auto why = rib.explain(net("10.1.0.0/16"));
  ASSERT_EQ(why.size(), 4U);
  EXPECT_EQ(why[0].candidate.source->name, "a");
  EXPECT_EQ(why[0].ranked.place, Place::kBest);
  EXPECT_EQ(why[0].ranked.step, Step::kPeerAddress);
  EXPECT_EQ(why[0].line, "accepted: nothing speaks against it");
  EXPECT_EQ(why[1].ranked.place, Place::kMultipath);
  EXPECT_EQ(why[2].candidate.source->name, "c");
  EXPECT_EQ(why[2].ranked.step, Step::kAsPathLength);
  EXPECT_EQ(why[2].line, "policy b-is-longer");
  EXPECT_EQ(why[3].candidate.source->name, "d");
  EXPECT_EQ(why[3].action, Action::kRefuse);
  EXPECT_EQ(why[3].line, "policy not-d");
  EXPECT_TRUE(rib.explain(net("10.9.0.0/16")).empty());
}

TEST_F(RibTest, LongestMatchLeavesOutWhatPolicyRefused) {
  const SourceId a = tunnel("a");
  announce(a, "0.0.0.0/0");
  announce(a, "10.0.0.0/8");
  announce(a, "10.1.2.0/24");
  EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), net("10.1.2.0/24"));
  EXPECT_EQ(rib.longest_match(ip("10.1.3.3")), net("10.0.0.0/8"));
  EXPECT_EQ(rib.longest_match(ip("192.0.2.1")), std::nullopt);
  EXPECT_EQ(rib.longest_match(ip("2001:db8::1")), std::nullopt);
  EXPECT_EQ(rib.prefixes().size(), 3U);
  auto open = std::make_shared<Policy>();
  open->peers["a"].default_route = DefaultRoute::kAllow;
  rib.set_policy(open);
  EXPECT_EQ(rib.longest_match(ip("192.0.2.1")), net("0.0.0.0/0"));
}

TEST_F(RibTest, PrefixesOfASource) {
  const SourceId a = tunnel("a");
  const SourceId b = tunnel("b", "169.254.21.6");
  announce(a, "10.1.0.0/16");
  announce(b, "10.1.0.0/16");
  announce(b, "10.2.0.0/16");
  EXPECT_EQ(rib.prefixes(a), std::vector{net("10.1.0.0/16")});
  EXPECT_EQ(rib.prefixes(b).size(), 2U);
  withdraw(b, "10.1.0.0/16");
  EXPECT_EQ(rib.prefixes(b), std::vector{net("10.2.0.0/16")});
}

TEST_F(RibTest, APolicyChangeMovesOnlyWhatItTouches) {
  const SourceId a = tunnel("a");
  const SourceId b = tunnel("b", "169.254.21.6");
  for (const char* p : {"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"}) {
    announce(a, p);
    announce(b, p);
  }
  rib.drain();
  auto policy = std::make_shared<Policy>();
  policy->import_rules = {{.name = "b-for-2",
                           .match = {.source = "b", .prefixes = {{net("10.2.0.0/16"), 16, 32}}},
                           .set = {.local_preference = 200}}};
  rib.set_policy(policy);
  auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].prefix, net("10.2.0.0/16"));
  EXPECT_EQ(names(changes[0].after), (Names{"b"}));
  EXPECT_EQ(rib.count(b).accepted(), 3U);

  auto vnet = std::make_shared<Policy>();
  vnet->safe.vnet_prefixes = {net("10.3.0.0/16")};
  rib.set_policy(vnet);
  changes = rib.drain();
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(rib.count(b).accepted(), 2U);
  EXPECT_EQ(rib.count(b).received(), 3U);
}

class HeldBackTest : public RibTest {
 protected:
  HeldBackTest() : a(tunnel("a")) {}
  SourceId tunnel(std::string name) {
    Build b;
    b.source.name = std::move(name);
    b.source.peer_address = ip("169.254.21.2");
    return rib.put_source(b.source);
  }
  void announce(std::string_view prefix) {
    const Prefix p = net(prefix);
    rib.announce(a, Build{}.shared(), {&p, 1}, now);
  }
  static PolicyPtr open() { return std::make_shared<const Policy>(); }
  static PolicyPtr closed() {
    auto policy = std::make_shared<Policy>();
    policy->import_rules = {{.name = "closed", .match = {.source = "a"}, .action = Action::kRefuse}};
    return policy;
  }
  bool accepted(std::string_view prefix) const {
    const auto why = rib.explain(net(prefix));
    return why.size() == 1 && why[0].action == Action::kAccept && rib.published(net(prefix)) != kNoPaths;
  }

  Rib rib{closed(), {}, Withdrawals::kOfRefusedNotTold};
  SourceId a = tunnel("a");
};

TEST_F(HeldBackTest, WhatWasRefusedIsAcceptedWhenItIsToldAgain) {
  for (const char* p : {"10.1.0.0/16", "10.2.0.0/16"}) announce(p);
  rib.set_policy(open());
  rib.policy_in_force();
  EXPECT_TRUE(rib.drain().empty());
  EXPECT_EQ(rib.count(a).held_back, 2U);
  EXPECT_EQ(rib.count(a).accepted(), 0U);
  EXPECT_TRUE(rib.explain(net("10.1.0.0/16"))[0].line.starts_with("held back"));
  announce("10.2.0.0/16");
  EXPECT_EQ(rib.drain().size(), 1U);
  EXPECT_TRUE(accepted("10.2.0.0/16"));
  EXPECT_EQ(rib.drop_held_back(a), 1U);
  EXPECT_EQ(rib.count(a).held_back, 0U);
  EXPECT_EQ(rib.count(a).received(), 1U);
}

TEST_F(HeldBackTest, WhatWasAcceptedStays) {
  rib.set_policy(open());
  rib.policy_in_force();
  announce("10.1.0.0/16");
  rib.drain();
  auto longer = std::make_shared<Policy>();
  longer->import_rules = {{.name = "longer", .match = {.source = "a"}, .set = {.prepend = 1}}};
  rib.set_policy(longer);
  rib.drain();
  EXPECT_TRUE(accepted("10.1.0.0/16"));
}

TEST_F(HeldBackTest, WhoAnnouncesMayStillJudgeByThePolicyBefore) {
  announce("10.9.0.0/16");
  rib.set_policy(open());
  announce("10.1.0.0/16");
  rib.drain();
  EXPECT_FALSE(accepted("10.1.0.0/16")) << "bgpd refuses it: its withdrawal would not be told";
  rib.set_policy(open());
  rib.policy_in_force();
  announce("10.1.0.0/16");
  rib.drain();
  EXPECT_TRUE(accepted("10.1.0.0/16"));
}

TEST_F(HeldBackTest, WithdrawnOrRefusedAgainItIsNotHeldBack) {
  for (const char* p : {"10.1.0.0/16", "10.2.0.0/16"}) announce(p);
  rib.set_policy(open());
  const Prefix gone = net("10.1.0.0/16");
  rib.withdraw(a, {&gone, 1});
  EXPECT_EQ(rib.count(a).held_back, 1U);
  rib.set_policy(closed());
  EXPECT_EQ(rib.count(a).held_back, 0U);
  EXPECT_EQ(rib.explain(net("10.2.0.0/16"))[0].line, "policy closed");
}

TEST_F(HeldBackTest, TheGatewaysOwnIsNobodysToTell) {
  Source own;
  own.name = "vnet";
  own.type = PeerType::kLocal;
  const SourceId vnet = rib.put_source(own);
  auto refuse = std::make_shared<Policy>();
  refuse->import_rules = {{.name = "no-vnet", .match = {.source = "vnet"}, .action = Action::kRefuse}};
  rib.set_policy(refuse);
  const Prefix p = net("10.5.0.0/16");
  rib.announce(vnet, std::make_shared<const Attributes>(), {&p, 1}, now);
  rib.set_policy(open());
  EXPECT_EQ(rib.count(vnet).held_back, 0U);
}

TEST_F(RibTest, ASourceThatBecomesAnotherIsJudgedAnew) {
  const SourceId a = tunnel("a");
  const SourceId b = tunnel("b", "169.254.21.6");
  announce(a, "10.1.0.0/16");
  announce(b, "10.1.0.0/16");
  rib.drain();
  Source source = rib.source(b);
  source.kind = SourceKind::kCircuit;
  EXPECT_EQ(rib.put_source(source), b);
  const auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(names(changes[0].after), (Names{"b"}));
}

TEST_F(RibTest, ANumberIsGivenAgainOnlyAfterItsChangesWereTold) {
  const SourceId a = tunnel("a");
  announce(a, "10.1.0.0/16");
  rib.drain();
  rib.remove_source(a);
  EXPECT_NE(tunnel("b"), a);
  const auto changes = rib.drain();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(rib.paths(changes[0].before)[0].source, a);
  EXPECT_NE(tunnel("c"), a);
  rib.drain();
  EXPECT_EQ(tunnel("d"), a);
}

// Against the plainest thing that can be written: all candidates in a map, decide() for each prefix.
TEST_F(RibTest, RandomUpdatesAgreeWithAPlainTable) {
  std::mt19937 random(20261121);
  constexpr unsigned kSources = 12;  // more than maximum_paths
  std::vector<SourceId> ids;
  for (unsigned i = 0; i < kSources; ++i) {
    Build b;
    b.source.name = std::format("s{}", i);
    b.source.type = i % 4 == 3 ? PeerType::kIbgp : PeerType::kEbgp;
    b.source.kind = i % 3 == 0 ? SourceKind::kCircuit : SourceKind::kVpnTunnel;
    b.source.router_id = IpAddress::from_v4(0xc0000200 + 13 * i % 7);
    b.source.peer_address = IpAddress::from_v4(0xa9fe1500 + i);
    ids.push_back(rib.put_source(b.source));
  }
  std::map<Prefix, std::map<SourceId, AttributesPtr>> plain;
  std::map<Prefix, PathSetId> forwarded;
  const auto expected = [&](const Prefix& p) {
    std::vector<Candidate> all;
    for (const auto& [id, attributes] : plain[p]) {
      Attributes a = *attributes;
      if (rib.importer().apply(rib.source(id), p, a).action == Action::kRefuse) continue;
      all.push_back({std::make_shared<const Source>(rib.source(id)), std::make_shared<const Attributes>(a)});
    }
    Names out;
    for (const std::size_t i : decide(all, {}).selected) out.push_back(all[i].source->name);
    std::ranges::sort(out);
    return out;
  };
  const auto random_prefix = [&] {
    return Prefix::make(IpAddress::from_v4(0x0a000000 + static_cast<std::uint32_t>(random() % 40 << 8)),
                        random() % 8 == 0 ? 0U : 24U)
        .value();
  };
  for (int turn = 0; turn < 2500; ++turn) {
    const SourceId source = ids[random() % kSources];
    const Prefix prefix = random_prefix();
    if (random() % 3 == 0) {
      rib.withdraw(source, {&prefix, 1});
      plain[prefix].erase(source);
    } else {
      Build b;
      b.attributes.next_hop = rib.source(source).peer_address;
      b.attributes.as_path = AsPath::sequence(std::vector<std::uint32_t>(1 + random() % 2, 65021));
      b.attributes.med = random() % 2 * 10;
      if (random() % 9 == 0) b.attributes.communities = {kGracefulShutdown};
      rib.announce(source, b.shared(), {&prefix, 1}, now);
      plain[prefix][source] = b.shared();
    }
    if (turn % 500 == 499) {
      auto policy = std::make_shared<Policy>();
      policy->weights = class_weights(random() % 2 == 0 ? Prefer::kVpn : Prefer::kCircuit);
      policy->peers["s1"].default_route = random() % 2 == 0 ? DefaultRoute::kAllow : DefaultRoute::kRefuse;
      rib.set_policy(policy);
    }
    if (turn % 997 == 996) {
      rib.withdraw_all(source);
      for (auto& [p, routes] : plain) routes.erase(source);
    }
    if (random() % 5 != 0) continue;
    for (const Change& c : rib.drain()) {
      EXPECT_EQ(forwarded[c.prefix], c.before);
      EXPECT_NE(c.before, c.after);
      forwarded[c.prefix] = c.after;
    }
    for (const auto& [p, id] : forwarded) {
      Names got = names(id);
      std::ranges::sort(got);
      ASSERT_EQ(got, expected(p)) << p.to_string() << " turn " << turn;
    }
  }
  for (const SourceId id : ids) rib.remove_source(id);
  rib.drain();
  EXPECT_EQ(rib.size(), 0U);
  EXPECT_EQ(rib.attribute_sets(), 0U);
}

}  // namespace
}  // namespace gw::routes
