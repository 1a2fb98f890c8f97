#include "gwd/control/site_moves.hpp"

#include <gtest/gtest.h>

namespace gw::gwd {
namespace {

using std::chrono::milliseconds;
using Ids = std::vector<std::uint32_t>;

const IpAddress kOurs = *IpAddress::parse("203.0.113.10");
const IpAddress kTheirs = *IpAddress::parse("203.0.113.11");
const IpAddress kSecond = *IpAddress::parse("203.0.113.12");

enum class Routing : std::uint8_t { kBgp, kStatic };

config::TunnelModel tunnel(const std::string& name, std::uint32_t id, const std::string& site, const IpAddress& local,
                           Routing routing = Routing::kBgp) {
  config::TunnelModel out;
  out.name = name;
  out.tunnel_id = id;
  out.site = site;
  out.local = local;
  out.carrier = "gw-a";
  if (routing == Routing::kBgp) out.bgp.emplace();
  return out;
}

struct WhomToWaitForTest : testing::Test {
  WhomToWaitForTest() {
    model.tunnels = {tunnel("paris/a", 1, "paris", kOurs), tunnel("lyon/a", 2, "lyon", kOurs)};
    model.elsewhere = {tunnel("paris/b", 3, "paris", kTheirs), tunnel("lyon/b", 4, "lyon", kTheirs)};
  }
  Ids waited() const {
    return tunnels_to_wait_for(model, kOurs, leaving, [this](const std::string& name) { return open.contains(name); });
  }
  config::GatewayModel model;
  std::set<IpAddress> leaving{kOurs};
  std::set<std::string> open{"paris/a", "lyon/a", "paris/b"};
};

TEST_F(WhomToWaitForTest, ASiteWithAnOpenSessionAtTheOtherInstance) { EXPECT_EQ(waited(), Ids{1}); }

TEST_F(WhomToWaitForTest, NobodyWhoseOtherTunnelIsOnlyInTheDocument) {
  open.erase("paris/b");
  EXPECT_EQ(waited(), Ids{});
}

TEST_F(WhomToWaitForTest, NobodyWhoDoesNotHearOfTheMove) {
  open.erase("paris/a");
  EXPECT_EQ(waited(), Ids{});
}

TEST_F(WhomToWaitForTest, NoStaticSite) {
  model.tunnels[0].bgp.reset();
  EXPECT_EQ(waited(), Ids{});
}

TEST_F(WhomToWaitForTest, NobodyWhoseOtherTunnelNobodyCarries) {
  model.elsewhere[0].carrier.clear();
  EXPECT_EQ(waited(), Ids{});
}

TEST_F(WhomToWaitForTest, NoDisabledTunnel) {
  model.tunnels[0].disabled = true;
  EXPECT_EQ(waited(), Ids{});
}

TEST_F(WhomToWaitForTest, AnotherEndpointHereCountsUnlessItLeavesToo) {
  model.tunnels.push_back(tunnel("lyon/a2", 5, "lyon", kSecond));
  open.insert("lyon/a2");
  EXPECT_EQ(waited(), (Ids{1, 2}));
  leaving.insert(kSecond);
  EXPECT_EQ(waited(), Ids{1});
}

TEST_F(WhomToWaitForTest, TwoTunnelsOfOneEndpointAreNoOtherWay) {
  model.tunnels.push_back(tunnel("lyon2/a", 5, "lyon", kOurs));
  open.insert("lyon2/a");
  EXPECT_EQ(waited(), Ids{1});
}

struct Counters {
  std::uint64_t in = 0;
  std::uint64_t control = 0;
};

struct SiteMovesTest : testing::Test {
  void look(const Counters& one, const Counters& two = {}) {
    ::gw::fastpath::v1::TunnelList list;
    for (std::uint32_t id = 1; const Counters& c : {one, two}) {
      auto& info = *list.add_tunnels();
      info.set_tunnel_id(id++);
      info.set_in_packets(c.in);
      info.set_slow_path_in_packets(c.control);
    }
    moves.look(list, clock.now());
  }
  bool quiet(const Ids& ids) const { return moves.quiet(ids, clock.now()); }
  ManualClock clock;
  SiteMoves moves;
};

TEST_F(SiteMovesTest, NobodyToWaitForIsQuietAtOnce) { EXPECT_TRUE(quiet({})); }

TEST_F(SiteMovesTest, WhatWasNeverSeenIsNotQuiet) {
  look({});
  clock.advance(SiteMoves::kQuiet);
  EXPECT_FALSE(quiet({7}));
}

TEST_F(SiteMovesTest, BgpAndBfdGoOn) {
  look({.in = 1000, .control = 100});
  clock.advance(SiteMoves::kQuiet - milliseconds(1));
  look({.in = 1020, .control = 120});
  EXPECT_FALSE(quiet({1}));
  clock.advance(milliseconds(1));
  EXPECT_TRUE(quiet({1}));
}

TEST_F(SiteMovesTest, OnePacketOfAHostBeginsItAnew) {
  look({.in = 1000, .control = 100});
  clock.advance(SiteMoves::kQuiet);
  look({.in = 1021, .control = 120});
  EXPECT_FALSE(quiet({1}));
  clock.advance(SiteMoves::kQuiet);
  look({.in = 1031, .control = 130});
  EXPECT_TRUE(quiet({1}));
}

TEST_F(SiteMovesTest, AllOfThem) {
  look({}, {.in = 1});
  clock.advance(SiteMoves::kQuiet);
  look({}, {.in = 2});
  EXPECT_TRUE(quiet({1}));
  EXPECT_FALSE(quiet({1, 2}));
}

TEST_F(SiteMovesTest, ANewFastPathCountsFromZero) {
  look({.in = 1000, .control = 100});
  clock.advance(SiteMoves::kQuiet);
  look({.in = 0, .control = 3});  // two counters, read one after the other
  EXPECT_FALSE(quiet({1}));
}

}  // namespace
}  // namespace gw::gwd
