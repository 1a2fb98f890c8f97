// Two links over real TCP and TLS: sessions, two paths, cuts at any byte, slow readers, new certificates.
#include <gmock/gmock.h>

#include <random>

#include "tests/unit/gwd/sync/pair.hpp"

namespace gw::gwd::sync {
namespace {

using std::chrono::milliseconds;

TEST(Link, ConnectsAndCarriesBothWays) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  EXPECT_EQ(pair.at_a.resets, 1);
  EXPECT_EQ(pair.at_b.resets, 1);
  pair.a->send(Kind::kIke, "from a");
  pair.b->send(Kind::kRoutes, std::string(5 * kMaxChunk, 'r'));
  ASSERT_TRUE(pair.until([&] { return !pair.at_b.messages[Kind::kIke].empty(); }));
  ASSERT_TRUE(pair.until([&] { return !pair.at_a.messages[Kind::kRoutes].empty(); }));
  EXPECT_THAT(pair.at_b.messages[Kind::kIke], testing::ElementsAre("from a"));
  EXPECT_THAT(pair.at_a.messages[Kind::kRoutes], testing::ElementsAre(std::string(5 * kMaxChunk, 'r')));
}

TEST(Link, HeartbeatsCarryTheStatusAndAreTimed) {
  Pair pair(2);
  pair.start();
  ASSERT_TRUE(pair.connected());
  pair.a->say("ready");
  ASSERT_TRUE(pair.until([&] { return pair.at_b.last.status == "ready" && pair.at_b.last.round_trip.count() > 0; }));
  EXPECT_LT(pair.at_b.last.loop_age, milliseconds(5000));
  const int before = pair.at_b.heartbeats;
  ASSERT_TRUE(pair.until([&] { return pair.at_b.heartbeats > before + 10; }));
}

TEST(Link, GoesOnByTheOtherPathWithoutLoss) {
  Pair pair(2);
  pair.start();
  ASSERT_TRUE(pair.connected());
  std::vector<std::string> said;
  const auto say = [&](int count) {
    for (int i = 0; i < count; ++i) {
      said.push_back(std::to_string(said.size()));
      pair.a->send(Kind::kControl, said.back());
    }
  };
  say(100);
  pair.wires[0]->set(Wire::Mode::kCut);
  say(100);
  ASSERT_TRUE(pair.until([&] { return pair.at_b.messages[Kind::kControl].size() == said.size(); }));
  EXPECT_FALSE(pair.at_b.paths[0].connected);
  EXPECT_TRUE(pair.at_b.paths[1].connected);
  pair.wires[0]->set(Wire::Mode::kPass);
  ASSERT_TRUE(pair.connected());
  pair.wires[1]->set(Wire::Mode::kCut);
  say(100);
  ASSERT_TRUE(pair.until([&] { return pair.at_b.messages[Kind::kControl].size() == said.size(); }));
  EXPECT_EQ(pair.at_b.messages[Kind::kControl], said);
  EXPECT_EQ(pair.at_b.resets, 1);
}

// Nobody is told that the path is gone: only silence says so.
TEST(Link, LeavesASilentPath) {
  Pair pair(2);
  pair.start();
  ASSERT_TRUE(pair.connected());
  pair.wires[0]->set(Wire::Mode::kSilent);
  pair.a->send(Kind::kControl, "x");
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(pair.until([&] { return !pair.at_b.messages[Kind::kControl].empty(); }));
  // 20 ms x 3, and the machine may be slow; closing the connection would take a second.
  EXPECT_LT(std::chrono::steady_clock::now() - began, milliseconds(900));
  EXPECT_EQ(pair.a->stats().failovers, 1U);
  EXPECT_EQ(pair.at_b.resets, 1);
}

// The only path breaks after any number of bytes, in the middle of frames and TLS records; the session goes on.
TEST(Link, LosesNothingWhereverItBreaks) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  std::mt19937 random(7);
  std::vector<std::string> said;
  for (int round = 0; round < 25; ++round) {
    pair.wires[0]->cut_after(1 + random() % 60'000);
    for (int i = 0; i < 20; ++i) {
      said.push_back(std::format("{}:{}", said.size(), std::string(random() % 6000, 'x')));
      pair.b->send(i % 2 == 0 ? Kind::kFastpath : Kind::kIke, said.back());
    }
    ASSERT_TRUE(pair.until([&] {
      return pair.at_a.messages[Kind::kFastpath].size() + pair.at_a.messages[Kind::kIke].size() == said.size();
    })) << "round "
        << round;
  }
  for (std::size_t i = 0; i < said.size(); ++i)
    EXPECT_EQ(pair.at_a.messages[i % 2 == 0 ? Kind::kFastpath : Kind::kIke][i / 2], said[i]);
  EXPECT_EQ(pair.at_a.resets, 1);
  EXPECT_GT(pair.wires[0]->connections(), 5U);
}

TEST(Link, ANewProcessBeginsANewSession) {
  for (const bool caller : {true, false}) {
    Pair pair(2);
    pair.start();
    ASSERT_TRUE(pair.connected());
    auto& old = caller ? pair.b : pair.a;
    Heard& other = caller ? pair.at_a : pair.at_b;
    const auto before = other.incarnation;
    // Ended without a word, as by kill -9: the kernel closes its connections.
    auto gone = std::exchange(old, nullptr);
    gone->stop();
    ASSERT_TRUE(pair.until([&] { return std::ranges::none_of(other.paths, &PathState::connected); }));
    old = pair.make(caller ? "gw-b" : "gw-a");
    old->start();
    ASSERT_TRUE(pair.until([&] { return other.resets == 2 && pair.all_up(other); }));
    EXPECT_NE(other.incarnation, before);
    (caller ? pair.a : pair.b)->send(Kind::kControl, "to the new one");
    Heard& fresh = caller ? pair.at_b : pair.at_a;
    ASSERT_TRUE(pair.until([&] { return fresh.messages[Kind::kControl].size() == 1; }));
  }
}

// A second machine with the name and certificate of one that is alive.
TEST(Link, RefusesASecondProcessOfAnInstanceThatIsAlive) {
  Pair pair(2);
  pair.start();
  ASSERT_TRUE(pair.connected());
  Heard at_clone;
  LinkSettings settings = pair.settings("gw-b");
  settings.paths.pop_back();
  Link clone(pair.io, pair.clock, settings, at_clone);
  clone.start();
  ASSERT_TRUE(pair.until([&] { return !at_clone.paths.empty() && at_clone.paths[0].refused; }));
  EXPECT_EQ(at_clone.paths[0].problem,
            "it says: another process that is gw-b is connected and alive: a cloned machine?");
  EXPECT_EQ(at_clone.resets, 0);
  EXPECT_TRUE(pair.all_up(pair.at_a));
  EXPECT_EQ(pair.at_a.resets, 1);
  clone.stop();
  pair.io.run_for(milliseconds(50));
}

TEST(Link, ASlowReaderHoldsUpItsOwnStreamOnly) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  pair.at_b.full = true;
  for (std::uint64_t i = 0; i < 2 * kWindow; ++i) pair.a->send(Kind::kRoutes, std::to_string(i));
  ASSERT_TRUE(pair.until([&] { return pair.b->stats().kinds[index_of(Kind::kRoutes)].received_messages == kWindow; }));
  pair.io.run_for(milliseconds(100));
  EXPECT_EQ(pair.b->stats().kinds[index_of(Kind::kRoutes)].received_messages, kWindow);
  EXPECT_GT(pair.a->stats().kinds[index_of(Kind::kRoutes)].lag, milliseconds(50));
  const int before = pair.at_b.heartbeats;
  ASSERT_TRUE(pair.until([&] { return pair.at_b.heartbeats > before + 3; }));
  pair.at_b.full = false;
  ASSERT_TRUE(pair.until([&] { return pair.at_b.messages[Kind::kRoutes].size() == 2 * kWindow; }));
  for (std::uint64_t i = 0; i < 2 * kWindow; ++i) EXPECT_EQ(pair.at_b.messages[Kind::kRoutes][i], std::to_string(i));
  ASSERT_TRUE(pair.until([&] { return pair.a->stats().kinds[index_of(Kind::kRoutes)].lag.count() == 0; }));
  EXPECT_EQ(pair.at_b.resets, 1);
}

TEST(Link, MoreThanIsKeptBeginsANewSession) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  pair.at_b.full = true;
  for (std::size_t size = 0; size <= kMaxUnacknowledged; size += std::size_t{1} << 20)
    pair.a->send(Kind::kRoutes, std::string(std::size_t{1} << 20, 'x'));
  ASSERT_TRUE(pair.until([&] { return pair.at_a.resets == 2 && pair.at_b.resets == 2; }));
  pair.at_b.full = false;
  pair.a->send(Kind::kRoutes, "again from the beginning");
  ASSERT_TRUE(pair.until([&] { return !pair.at_b.messages[Kind::kRoutes].empty(); }));
  EXPECT_THAT(pair.at_b.messages[Kind::kRoutes], testing::ElementsAre("again from the beginning"));
}

// Urgent messages pass a long bulk transfer.
TEST(Link, BulkDoesNotDelayWhatIsUrgent) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  for (int i = 0; i < 24; ++i) pair.a->send(Kind::kRoutes, std::string(std::size_t{1} << 20, 'x'));
  pair.io.run_for(milliseconds(5));
  pair.a->send(Kind::kControl, "urgent");
  ASSERT_TRUE(pair.until([&] { return !pair.at_b.messages[Kind::kControl].empty(); }));
  EXPECT_LT(pair.at_b.messages[Kind::kRoutes].size(), 20U);
  ASSERT_TRUE(pair.until([&] { return pair.at_b.messages[Kind::kRoutes].size() == 24; }));
}

TEST(Link, TakesNewCertificatesWithoutAGap) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  const auto before = pair.wires[0]->connections();
  bool gap = false;
  const auto watch = [&] { gap = gap || !pair.all_up(pair.at_a) || !pair.all_up(pair.at_b); };
  for (const char* instance : {"gw-a", "gw-b"}) {
    const auto now = pair.wires[0]->connections();
    pair.tls.issue(instance, instance);
    ASSERT_TRUE(pair.until([&] { return watch(), pair.wires[0]->connections() > now; })) << instance;
  }
  pair.a->send(Kind::kControl, "x");
  ASSERT_TRUE(pair.until([&] { return watch(), !pair.at_b.messages[Kind::kControl].empty(); }));
  EXPECT_FALSE(gap);
  EXPECT_GE(pair.wires[0]->connections(), before + 2);
  EXPECT_EQ(pair.at_a.resets, 1);
  EXPECT_EQ(pair.at_b.resets, 1);
}

TEST(Link, BrokenNewFilesChangeNothing) {
  Pair pair(1);
  pair.start();
  ASSERT_TRUE(pair.connected());
  pair.tls.write("gw-b.key", "no key\n");
  pair.io.run_for(milliseconds(1500));
  EXPECT_TRUE(pair.all_up(pair.at_a));
  // Also for a connection that has to be made anew.
  pair.wires[0]->close_all();
  ASSERT_TRUE(pair.until([&] { return !pair.all_up(pair.at_a); }));
  ASSERT_TRUE(pair.connected());
}

TEST(Link, SaysWhyWithoutCertificates) {
  Pair pair(1);
  std::filesystem::remove(pair.tls.path() + "/gw-b.crt");
  pair.start();
  ASSERT_TRUE(pair.until([&] { return !pair.at_b.paths.empty(); }));
  EXPECT_EQ(pair.at_b.paths[0].problem, pair.tls.path() + "/gw-b.crt does not exist: gwctl ha init makes it");
  pair.tls.issue("gw-b", "gw-b");
  ASSERT_TRUE(pair.connected());
}

TEST(Link, SaysWhyItsAddressCannotBeUsed) {
  Pair pair(1);
  LinkSettings settings = pair.settings("gw-a");
  settings.paths[0].local = loopback("192.0.2.77");
  pair.a = std::make_unique<Link>(pair.io, pair.clock, settings, pair.at_a);
  settings = pair.settings("gw-b");
  settings.paths[0].local = loopback("192.0.2.77");
  pair.b = std::make_unique<Link>(pair.io, pair.clock, settings, pair.at_b);
  pair.start();
  ASSERT_TRUE(pair.until([&] { return !pair.at_a.paths.empty() && !pair.at_b.paths.empty(); }));
  EXPECT_EQ(
      pair.at_a.paths[0].problem,
      std::format("cannot listen on our address 192.0.2.77, port {}: Cannot assign requested address", pair.port));
  EXPECT_EQ(pair.at_b.paths[0].problem, "cannot use our address 192.0.2.77: Cannot assign requested address");
  EXPECT_FALSE(pair.at_b.paths[0].refused);
}

}  // namespace
}  // namespace gw::gwd::sync
