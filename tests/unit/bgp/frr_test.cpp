// The vty client, the rendering and the BMP reader against stock bgpd, zebra and BIRD (frr_lab.hpp draws them).
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <format>

#include "bgp/endpoint_routes.hpp"
#include "bgp/leftovers.hpp"
#include "routes/policy.hpp"
#include "tests/unit/bgp/frr_lab.hpp"

namespace gw::bgp {
namespace {

using gw::test::await;
using gw::test::Process;
using gw::test::run_until;
using test::berlin;
using test::ip;
using test::net;

TEST_F(FrrTest, RoutesOfBothFamiliesGoBothWays) {
  bring_up();
  // In: what a site may say is in the kernel, what it may not is not.
  ASSERT_TRUE(
      wait([&] { return kernel_has("10.20.0.0/16") && kernel_has("2001:db8:20::/48") && kernel_has("10.30.0.0/16"); }));
  for (const char* refused : {"10.0.5.0/24", "169.254.99.0/24", "default"})
    EXPECT_FALSE(kernel_has(refused)) << refused;
  // Out: the VNet and the other site, never a default, never back.
  EXPECT_TRUE(wait([&] { return site_has("paris", "10.0.0.0/16") && site_has("paris", "2001:db8:10::/48"); }));
  EXPECT_FALSE(site_has("berlin", "0.0.0.0/0"));
  EXPECT_FALSE(site_has("berlin", "10.0.5.0/24"));
  EXPECT_FALSE(site_has("paris", "10.20.0.0/16"));

  // BMP shows everything before policy; gwd's own policy comes to the same result as FRR's.
  ASSERT_TRUE(wait([&] { return knows("169.254.21.2", "0.0.0.0/0") && knows("169.254.21.2", "169.254.99.0/24"); }));
  std::set<std::string> accepted;
  for (const auto& [key, attributes] : learned_) {
    if (!routes::check_import(intent_.policy->safe, key.second, attributes->as_path))
      accepted.insert(key.second.to_string());
  }
  EXPECT_EQ(accepted, (std::set<std::string>{"10.20.0.0/16", "10.30.0.0/16", "2001:db8:20::/48", "2001:db8:30::/48"}));
  const auto& route = *learned_.at({ip("169.254.21.2"), net("10.20.0.0/16")});
  EXPECT_EQ(route.as_path.to_string(), "65021");
  EXPECT_EQ(route.next_hop, ip("169.254.21.2"));
  EXPECT_EQ(route.local_preference, std::nullopt);
  EXPECT_EQ(peers_up_, 2);
  EXPECT_TRUE(wait([&] { return all_told(); }));

  // A collector that comes back (gwd restarted) gets everything again, and the End-of-RIBs.
  const std::uint16_t port = bmp_.port();
  bmp_.close();
  const auto known = learned_.size();
  learned_.clear();
  BmpServer again(io_.get_executor(),
                  {.connected = {}, .disconnected = {}, .event = [this](const BmpEvent& e) { on_event(e); }});
  const Status listening = again.listen(port);
  ASSERT_TRUE(listening) << listening.error().describe();
  EXPECT_TRUE(wait([&] { return ends_.size() == 4; })) << ends_.size();
  EXPECT_EQ(learned_.size(), known);
}

TEST_F(FrrTest, StatusAndTheCloudsColumns) {
  bring_up();
  auto peers = sessions();
  const auto neighbors = await(io_, vty_.show(kShowNeighbors, 5s));
  ASSERT_TRUE(neighbors);
  ASSERT_TRUE(add_neighbors(*neighbors, peers));
  const PeerStatus& paris = peers.at(ip("169.254.21.2"));
  EXPECT_EQ(paris.local, ip("169.254.21.1"));
  EXPECT_EQ(paris.asn, 65021U);
  EXPECT_GT(paris.messages_received, 0U);
  EXPECT_EQ(paris.received_v4, 1U);
  ASSERT_TRUE(wait([&] { return site_has("paris", "2001:db8:10::/48") && site_has("paris", "2001:db8:30::/48"); }));
  const auto received = await(io_, vty_.show(show_received(paris.peer.to_string(), Family::kV4), 5s));
  ASSERT_TRUE(received);
  const auto rows = parse_routes(*received, paris, Direction::kReceived);
  ASSERT_TRUE(rows) << *received;
  EXPECT_EQ(rows->size(), 4U) << "before policy";
  const auto advertised = await(io_, vty_.show(show_advertised(paris.peer.to_string(), Family::kV6), 5s));
  ASSERT_TRUE(advertised);
  const auto told = parse_routes(*advertised, paris, Direction::kAdvertised);
  ASSERT_TRUE(told);
  ASSERT_EQ(told->size(), 2U) << *advertised;
  EXPECT_EQ((*told)[0].network, net("2001:db8:10::/48"));
  EXPECT_EQ((*told)[0].origin, "Network");
  EXPECT_EQ((*told)[1].as_path, "65515 65022") << "as the peer sees it";
}

TEST_F(FrrTest, EveryRenderedCommandIsTakenAndApplyingAgainFlapsNothing) {
  start_bgpd(Secret(std::string_view("frr defaults traditional\n")));
  configure(render(intent_));
  ASSERT_TRUE(wait([&] { return established(2); }));
  ASSERT_TRUE(wait([&] { return site_has("paris", "10.30.0.0/16"); }));
  const auto before = gw::test::run("birdc -r -s " + control("paris") + " show protocols gw");
  downs_.clear();
  configure(render(intent_));
  wait([] { return false; }, 1500ms);
  EXPECT_TRUE(established(2));
  EXPECT_EQ(gw::test::run("birdc -r -s " + control("paris") + " show protocols gw"), before);  // same "Since"
  EXPECT_TRUE(downs_.empty());
  // What is running is what the file says: bgpd's own words, with the password only there.
  const auto running = await(io_, vty_.show("show running-config", 5s));
  ASSERT_TRUE(running);
  for (const char* line : {"bgp route-map delay-timer 0", "neighbor 169.254.21.2 maximum-prefix 4000 80 restart 5",
                           "bmp monitor ipv6 unicast pre-policy", "bgp graceful-restart preserve-fw-state",
                           "no bgp network import-check", "bgp graceful-restart select-defer-time 30"}) {
    EXPECT_TRUE(running->contains(line)) << line << "\n" << *running;
  }
}

TEST_F(FrrTest, ADifferenceTouchesOnlyItsPeer) {
  bring_up();
  const auto paris = gw::test::run("birdc -r -s " + control("paris") + " show protocols gw");
  BgpIntent without = intent_for(bmp_.port());
  without.peers.pop_back();
  configure(diff(intent_, without));
  ASSERT_TRUE(wait([&] { return established(1) && sessions().size() == 1; }));
  ASSERT_TRUE(wait([&] { return !site_has("paris", "10.30.0.0/16") && !downs_.empty(); }));
  configure(diff(without, intent_));
  ASSERT_TRUE(wait([&] { return established(2) && site_has("paris", "10.30.0.0/16"); }));
  EXPECT_EQ(gw::test::run("birdc -r -s " + control("paris") + " show protocols gw"), paris);
}

TEST_F(FrrTest, PolicyThatChangesIsAppliedAtOnce) {
  bring_up();
  ASSERT_TRUE(wait([&] { return kernel_has("10.20.0.0/16"); }));
  BgpIntent wider = intent_for(bmp_.port());
  test::change_policy(wider, [](routes::Policy& p) { p.safe.vnet_prefixes.push_back(net("10.20.0.0/16")); });
  configure(diff(intent_, wider));
  EXPECT_TRUE(wait([&] { return !kernel_has("10.20.0.0/16"); }));
  configure(diff(wider, intent_));
  EXPECT_TRUE(wait([&] { return kernel_has("10.20.0.0/16"); }));
  EXPECT_TRUE(established(2));
}

// gwd was away while its configuration changed: bgpd ends as if it had been started with the new one.
TEST_F(FrrTest, WhatIsLeftOfAnEarlierConfigurationGoes) {
  BgpIntent old = intent_for(bmp_.port());
  PeerIntent lyon = berlin();
  lyon.name = lyon.site = "lyon";
  lyon.local = ip("169.254.21.9");
  lyon.peer = ip("169.254.21.10");
  old.peers.push_back(std::move(lyon));
  old.peers[1].md5 = Secret("gone");
  old.peers[1].disabled = true;
  old.peers[1].multihop = 5;
  test::set_vnet(old, {net("10.0.0.0/16"), net("10.9.0.0/16"), net("2001:db8:10::/48")});
  test::change_policy(old, [](routes::Policy& p) {
    routes::PeerPolicy& berlin = p.peers["berlin-ce1/gw-a"];
    berlin.as_override = routes::AsOverride::kYes;
    berlin.private_asns = routes::PrivateAsns::kRemove;
    p.peers["paris-ce1/gw-a"].max_routes = 7;
    p.import_rules = {{.name = "berlin-lp", .match = {.site = "berlin"}, .set = {.local_preference = 150}}};
  });
  test::change_policy(intent_, [](routes::Policy& p) { p.peers["paris-ce1/gw-a"].max_routes = 0; });
  intent_.peers[0].kind = routes::SourceKind::kBranchVnet;  // another group
  start_bgpd(render_file(old));
  const auto configured = await(io_, vty_.show(kShowConfigured, 5s));
  ASSERT_TRUE(configured);
  EXPECT_FALSE(configured->contains("password") || configured->contains("gone"));
  Leftovers left = leftovers(*configured, intent_);
  configure(std::move(left.before));
  configure(render(intent_));
  configure(std::move(left.after));
  const auto changed = await(io_, vty_.show("show running-config", 5s));
  ASSERT_TRUE(changed);
  const auto again = await(io_, vty_.show(kShowConfigured, 5s));
  ASSERT_TRUE(again);
  EXPECT_EQ(leftovers(*again, intent_).found, 0U);
  vty_.close();
  bgpd_.end(SIGKILL);
  start_bgpd(render_file(intent_));
  const auto fresh = await(io_, vty_.show("show running-config", 5s));
  ASSERT_TRUE(fresh);
  EXPECT_EQ(*changed, *fresh);
}

// Berlin is a provider's router, which says a prefix of ours-to-be and is told paris' by nobody.
TEST_F(FrrTest, TheWanIsToldEndpointsAndTeachesNothing) {
  intent_.peers[1].kind = routes::SourceKind::kWan;
  intent_.peers[1].name = "wan:berlin/gw-a";
  intent_.peers[1].site.clear();
  const IpAddress endpoint = ip("203.0.113.10");
  intent_.endpoints = {{endpoint}, {ip("203.0.113.11")}};
  ASSERT_TRUE(validate(intent_));
  start_bgpd(render_file(intent_));
  ASSERT_TRUE(wait([&] { return established(2) && knows("169.254.21.2", "10.20.0.0/16"); }));
  const auto route = [] {
    return gw::test::run(std::format("birdc -r -s {} 'show route all 203.0.113.10/32' || true", control("berlin")));
  };
  configure(in_transaction(claim_maps({med_of_claim(0x10), med_of_claim(0x21)})));
  configure(announce(intent_.asn, {endpoint, med_of_claim(0x10)}));
  ASSERT_TRUE(wait([&] { return route().contains("BGP.med: 3999999984"); })) << route();
  configure(announce(intent_.asn, {endpoint, med_of_claim(0x21)}));
  configure(remove_claim_maps({med_of_claim(0x10)}));
  const auto maps = await(io_, vty_.show(kShowClaimMaps, 5s));
  ASSERT_TRUE(maps);
  EXPECT_EQ(read_claim_maps(*maps), std::set<std::uint32_t>{med_of_claim(0x21)});
  ASSERT_TRUE(wait([&] { return route().contains("BGP.med: 3999999967"); })) << route();
  EXPECT_FALSE(route().contains("community")) << route();
  wait([] { return false; }, 1500ms);  // whatever else there is to say has been said
  for (const char* prefix : {"10.0.0.0/16", "10.20.0.0/16", "2001:db8:10::/48", "2001:db8:20::/48", "203.0.113.11/32"})
    EXPECT_FALSE(site_has("berlin", prefix)) << prefix;
  EXPECT_FALSE(site_has("paris", "203.0.113.10/32"));
  EXPECT_FALSE(site_has("paris", "10.30.0.0/16"));
  EXPECT_FALSE(knows("169.254.21.6", "10.30.0.0/16"));
  EXPECT_FALSE(kernel_has("10.30.0.0/16"));
  configure(announce(intent_.asn, {endpoint, med_of_claim(0x21)}));  // as after a connect
  const auto kept = await(io_, vty_.show(kShowConfigured, 5s));
  ASSERT_TRUE(kept);
  EXPECT_EQ(leftovers(*kept, intent_).found, 0U);
  configure(withdraw(intent_.asn, endpoint));
  EXPECT_TRUE(wait([&] { return !route().contains("BGP.med"); })) << route();
}

TEST_F(FrrTest, AWrongMd5KeepsTheSessionDown) {
  intent_.peers[0].md5 = Secret("battery-staple");
  start_bgpd(render_file(intent_));
  ASSERT_TRUE(wait([&] { return established(1); }));
  wait([] { return false; }, 3s);
  EXPECT_FALSE(sessions().at(ip("169.254.21.2")).established());
  configure(diff(intent_, intent_for(bmp_.port())));
  EXPECT_TRUE(wait([&] { return established(2); }));
}

TEST_F(FrrTest, KilledBgpdLeavesTheRoutesAndComesBack) {
  bring_up();
  ASSERT_TRUE(wait([&] { return kernel_has("10.20.0.0/16") && kernel_has("2001:db8:20::/48") && all_told(); }));
  bool closed = false;
  vty_.on_closed([&](const Error&) { closed = true; });
  ASSERT_TRUE(await(io_, vty_.connect("/run/frr/bgpd.vty", 1s)));
  bgpd_.end(SIGKILL);
  ASSERT_TRUE(wait([&] { return closed && disconnects_ == 1; }, 2s));
  EXPECT_EQ(await(io_, vty_.show("show version", 1s)).error().code, Errc::kClosed);
  EXPECT_TRUE(kernel_has("10.20.0.0/16"));
  EXPECT_TRUE(site_has("paris", "10.0.0.0/16")) << "the site keeps our routes stale (RFC 4724)";
  learned_.clear();
  ends_.clear();
  bool site_lost = false;
  std::chrono::steady_clock::duration gap{};  // in the kernel
  auto seen = std::chrono::steady_clock::now();
  start_bgpd(render_file(intent_));
  ASSERT_TRUE(wait([&] {
    site_lost = site_lost || !site_has("paris", "10.0.0.0/16");
    const auto now = std::chrono::steady_clock::now();
    if (kernel_has("10.20.0.0/16"))
      seen = now;
    else
      gap = std::max(gap, now - seen);
    return established(2) && all_told() && kernel_has("10.20.0.0/16");
  }));
  EXPECT_FALSE(site_lost);
  // bgpd ends its deferral when the sessions that are up have told all; zebra then sweeps what other sites have not
  // told yet. gwd and the fast path hold their routes by BMP and are not touched by this.
  EXPECT_LT(gap, 3s);
  EXPECT_TRUE(knows("169.254.21.2", "10.20.0.0/16"));
  EXPECT_TRUE(wait([&] { return connects_ == 2; }));
}

// Nobody says End-of-RIB of a family that the session has not: neither the BMP stream, at its end or before, nor bgpd.
TEST_F(FrrTest, ASiteWithoutIpv6HasToldAllWithItsIpv4) {
  birds_.pop_back();
  Site berlin = kBerlin;
  berlin.routes6 = "";
  start_bird(berlin);
  start_bgpd(render_file(intent_));
  ASSERT_TRUE(wait([&] { return established(2) && knows("169.254.21.6", "10.30.0.0/16"); }));
  EXPECT_EQ(families_[ip("169.254.21.2")], (std::set{Family::kV4, Family::kV6}));
  EXPECT_EQ(families_[ip("169.254.21.6")], std::set{Family::kV4});
  bmp_.reopen({Errc::kClosed, "test", {}, {}});
  ASSERT_TRUE(wait([&] { return connects_ == 2 && ends_.contains({ip("169.254.21.2"), Family::kV6}); }));
  ASSERT_TRUE(wait([&] { return ends_.contains({ip("169.254.21.6"), Family::kV4}); }));
  auto peers = sessions();
  ASSERT_TRUE(add_neighbors(await(io_, vty_.show(kShowNeighbors, 5s)).value(), peers));
  EXPECT_TRUE(peers.at(ip("169.254.21.6")).end_of_rib_v4);
  EXPECT_FALSE(peers.at(ip("169.254.21.6")).end_of_rib_v6);
  EXPECT_FALSE(ends_.contains({ip("169.254.21.6"), Family::kV6}));
}

TEST_F(FrrTest, RefusalsComeWithFrrsWordsAndTheConnectionGoesOn) {
  start_bgpd(render_file(intent_));
  Commands commands;
  commands.emplace_back("router bgp 65515");
  commands.emplace_back("neighbor nonsense");
  commands.emplace_back("exit");
  const Status refused = await(io_, vty_.configure(std::move(commands), 5s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kRefused);
  EXPECT_TRUE(refused.error().message.contains("neighbor nonsense")) << refused.error().message;
  Commands secret;
  secret.emplace_back("router bgp 65515");
  secret.emplace_back("neighbor 169.254.21.2 password ", Secret("two words"));
  secret.emplace_back("exit");
  const Status silent = await(io_, vty_.configure(std::move(secret), 5s));
  ASSERT_FALSE(silent);
  EXPECT_FALSE(silent.error().message.contains("two words")) << "FRR echoes what it refuses";
  EXPECT_TRUE(silent.error().message.contains("unknown command")) << silent.error().message;
  const auto version = await(io_, vty_.show("show version", 5s));
  ASSERT_TRUE(version) << version.error().describe();
  EXPECT_TRUE(version->contains("FRRouting"));
}

TEST_F(FrrTest, AStoppedBgpdIsATimeout) {
  start_bgpd(render_file(intent_));
  bgpd_.signal(SIGSTOP);
  const auto answer = await(io_, vty_.show("show version", 200ms));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kTimeout);
  EXPECT_FALSE(vty_.is_open());
  bgpd_.signal(SIGCONT);
  EXPECT_TRUE(wait([&] { return await(io_, vty_.connect("/run/frr/bgpd.vty", 1s)).has_value(); }));
}

}  // namespace
}  // namespace gw::bgp
