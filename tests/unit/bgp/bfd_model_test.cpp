// BFD sessions for bfdd, and which of them bgpd is asked to watch.
#include "bgp/bfd_model.hpp"

#include <gtest/gtest.h>

#include "tests/unit/bgp/intent.hpp"

namespace gw::bgp {
namespace {

using namespace std::chrono_literals;
using test::ip;
using test::joined;

constexpr BfdIntent kFast{100ms, 3};

BgpIntent watched_gateway() {
  BgpIntent g = test::gateway();
  g.peers[0].bfd = kFast;
  return g;
}

TEST(Bfd, ASessionForEveryPeerThatIsToBeWatched) {
  BgpIntent g = watched_gateway();
  PeerIntent off = test::paris();
  off.peer = ip("169.254.21.6");
  PeerIntent disabled = test::paris();
  disabled.peer = ip("169.254.21.10");
  disabled.bfd = kFast;
  disabled.disabled = true;
  g.peers.push_back(std::move(off));
  g.peers.push_back(std::move(disabled));
  const BfdSessions sessions = bfd_sessions(g);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions.at(ip("169.254.21.2")), (BfdSession{ip("169.254.21.1"), "tun1", 0, kFast}));
}

TEST(Bfd, BfddIsToldTheDifference) {
  const BfdSessions one{{ip("169.254.21.2"), {ip("169.254.21.1"), "tun1", 0, kFast}}};
  EXPECT_EQ(joined(bfd_diff({}, one)),
            "bfd\npeer 169.254.21.2 local-address 169.254.21.1 interface tun1\ndetect-multiplier 3\n"
            "receive-interval 100\ntransmit-interval 100\nexit\nexit\n");
  EXPECT_TRUE(bfd_diff(one, one).empty());
  BfdSessions slower = one;
  slower.begin()->second.timers.interval = 300ms;
  EXPECT_EQ(joined(bfd_diff(one, slower)),
            "bfd\npeer 169.254.21.2 local-address 169.254.21.1 interface tun1\ndetect-multiplier 3\n"
            "receive-interval 300\ntransmit-interval 300\nexit\nexit\n");
  // Another device or address is another session of bfdd's.
  BfdSessions moved = one;
  moved.begin()->second.device = "tun2";
  EXPECT_TRUE(joined(bfd_diff(one, moved))
                  .starts_with("bfd\nno peer 169.254.21.2 local-address 169.254.21.1 interface tun1\npeer"));
  EXPECT_EQ(joined(bfd_diff(one, {})), "bfd\nno peer 169.254.21.2 local-address 169.254.21.1 interface tun1\nexit\n");
}

TEST(Bfd, AnUnnumberedPeerIsWatchedWhenItsAddressIsLearned) {
  BgpIntent g = watched_gateway();
  g.peers[0].unnumbered = true;
  g.peers[0].local = g.peers[0].peer = ip("fe80::a");
  std::map<IpAddress, PeerStatus> peers;
  EXPECT_TRUE(possible(bfd_sessions(g, peers), {}).empty());
  peers[ip("fe80::a")].learned = ip("fe80::2");
  const BfdSessions known = possible(bfd_sessions(g, peers), {});
  EXPECT_EQ(joined(bfd_diff({}, known)),
            "bfd\npeer fe80::2 local-address fe80::a interface tun1\ndetect-multiplier 3\n"
            "receive-interval 100\ntransmit-interval 100\nexit\nexit\n");
  // gwd that has just started, or a tunnel that is down: what bfdd has stays.
  EXPECT_EQ(possible(bfd_sessions(g, {}), known), known);
  const BfdStates states = parse_bfd(R"([{"peer":"fe80::2","local":"fe80::a","interface":"tun1","status":"up",
      "type":"configured","transmit-interval":100,"detect-multiplier":3},
      {"peer":"fe80::2","interface":"tun2","status":"down","type":"configured"}])")
                               .value();
  EXPECT_EQ(configured(states), known);
  peers[ip("fe80::a")].state = "Established";
  EXPECT_EQ(joined(attend(g, peers, states)), "router bgp 65515\nneighbor tun1 bfd 3 100 100\nexit\n");
}

TEST(Bfd, APeerBehindTheSitesRouterIsMultihop) {
  const BfdSessions loopback{{ip("10.10.30.254"), {ip("10.0.0.4"), "", 5, kFast}}};
  EXPECT_EQ(joined(bfd_diff({}, loopback)),
            "bfd\npeer 10.10.30.254 multihop local-address 10.0.0.4\ndetect-multiplier 3\nreceive-interval 100\n"
            "transmit-interval 100\nminimum-ttl 250\nexit\nexit\n");
}

constexpr std::string_view kBfdd = R"([
  {"multihop":false,"peer":"169.254.21.2","local":"169.254.21.1","vrf":"default","interface":"tun1","status":"up",
   "uptime":7,"diagnostic":"ok","type":"configured","receive-interval":100,"transmit-interval":100,"detect-multiplier":3},
  {"multihop":true,"peer":"10.10.30.254","local":"10.0.0.4","minimum-ttl":250,"status":"down","downtime":9,
   "diagnostic":"control detection time expired","type":"dynamic","transmit-interval":100,"detect-multiplier":3},
  {"peer":"nonsense"}, 7])";

TEST(Bfd, WhatBfddSaysIsRead) {
  const auto states = parse_bfd(kBfdd);
  ASSERT_TRUE(states) << states.error().describe();
  ASSERT_EQ(states->size(), 2U);
  const BfdStatus& up = states->at(ip("169.254.21.2"));
  EXPECT_TRUE(up.up);
  EXPECT_EQ(up.since, 7s);
  const BfdStatus& down = states->at(ip("10.10.30.254"));
  EXPECT_FALSE(down.up);
  EXPECT_EQ(down.since, 9s);
  EXPECT_EQ(down.diagnostic, "control detection time expired");
  EXPECT_EQ(down.session.multihop, 5);
  // What bgpd alone asked for is no configuration of ours.
  EXPECT_EQ(configured(*states), (BfdSessions{{ip("169.254.21.2"), {ip("169.254.21.1"), "tun1", 0, kFast}}}));
}

TEST(Bfd, WhatIsNoListIsAnError) {
  EXPECT_FALSE(parse_bfd("{}"));
  EXPECT_FALSE(parse_bfd("% Unknown command"));
}

struct AttendRow {
  const char* what;
  const char* state;
  bool watched;
  bool answers;
  bool wanted;
  const char* expected;
};

class Attend : public testing::TestWithParam<AttendRow> {};

TEST_P(Attend, BgpdWatchesWhatIsUpAndAnswers) {
  const AttendRow& row = GetParam();
  BgpIntent g = watched_gateway();
  if (!row.wanted) g.peers[0].bfd.reset();
  PeerStatus session{.peer = ip("169.254.21.2"), .state = row.state};
  if (row.watched) session.watched = kFast;
  BfdStates states;
  states[ip("169.254.21.2")].up = row.answers;
  const std::string commands = joined(attend(g, {{session.peer, session}}, states));
  const std::string line = row.expected;
  EXPECT_EQ(commands, line.empty() ? "" : "router bgp 65515\n" + line + "\nexit\n");
}

constexpr const char* kOn = "neighbor 169.254.21.2 bfd 3 100 100";
constexpr const char* kOff = "no neighbor 169.254.21.2 bfd";
INSTANTIATE_TEST_SUITE_P(Rows, Attend,
                         testing::Values(AttendRow{"AnswersNow", "Established", false, true, true, kOn},
                                         AttendRow{"AlreadyWatched", "Established", true, true, true, ""},
                                         AttendRow{"DoesNotAnswer", "Established", false, false, true, ""},
                                         AttendRow{"FailsJustNow", "Established", true, false, true,
                                                   ""},  // bgpd sees to it
                                         AttendRow{"WentDown", "Idle", true, false, true, kOff},
                                         AttendRow{"DownAlthoughItAnswers", "Active", true, true, true, kOff},
                                         AttendRow{"NotYetUp", "Connect", false, true, true, ""},
                                         AttendRow{"SwitchedOff", "Established", true, true, false, kOff},
                                         AttendRow{"NeverAsked", "Established", false, true, false, ""}),
                         [](const auto& row) { return row.param.what; });

TEST(Bfd, OtherTimersAreHandedOn) {
  BgpIntent g = watched_gateway();
  g.peers[0].bfd->interval = 300ms;
  PeerStatus session{.peer = ip("169.254.21.2"), .state = "Established", .watched = kFast};
  BfdStates states;
  states[session.peer].up = true;
  EXPECT_EQ(joined(attend(g, {{session.peer, session}}, states)),
            "router bgp 65515\nneighbor 169.254.21.2 bfd 3 300 300\nexit\n");
}

TEST(Bfd, APathIsDeadThatWasAliveAndIsNotHeard) {
  const auto status = [](bool up, std::string diagnostic, int since) {
    return BfdStatus{
        .session = {}, .up = up, .since = std::chrono::seconds(since), .diagnostic = std::move(diagnostic)};
  };
  EXPECT_TRUE(status(false, "control detection time expired", 0).path_died());
  EXPECT_FALSE(status(true, "control detection time expired", 9).path_died()) << "of the time before";
  EXPECT_FALSE(status(false, "neighbor signaled session down", 1).path_died());
  EXPECT_TRUE(status(false, "neighbor signaled session down", 2).path_died());
  EXPECT_FALSE(status(false, "ok", 100).path_died()) << "never answered";
}

}  // namespace
}  // namespace gw::bgp
