// The engine with a bfdd, a peer and a kernel made of function calls.
#include "ebpf/bfd/engine.hpp"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

namespace gw::bfd {
namespace {

using namespace std::chrono_literals;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

constexpr int kTun1 = 7, kTun2 = 8;

struct Sent {
  SessionKey key;
  Packet packet;
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : engine_([this](const SessionKey& key) { return open(key); }) {
    engine_.on_change([this](const Engine::Entry& e) { changes_.emplace_back(e.key, e.session.state()); });
    engine_.on_end([this](const Engine::Entry& e) { ended_.push_back(e.key); });
  }

  class TestLink final : public Link {
   public:
    TestLink(EngineTest& test, SessionKey key, int ifindex) : test_(test), key_(std::move(key)), ifindex_(ifindex) {}
    bool send(std::span<const std::uint8_t> bytes) override {
      if (test_.broken_) return false;
      test_.sent_.push_back({key_, parse(bytes).value_or(Packet{})});
      return true;
    }
    int ifindex() const override { return ifindex_; }

   private:
    EngineTest& test_;
    SessionKey key_;
    int ifindex_;
  };
  Result<std::unique_ptr<Link>> open(const SessionKey& key) {
    ++opened_;
    if (broken_) return fail(Errc::kIo, "no such device");
    return std::make_unique<TestLink>(*this, key, key.device.empty() ? 0 : key.device == "tun1" ? kTun1 : kTun2);
  }

  static AddSession tunnel_session(std::uint32_t id, const char* device = "tun1") {
    AddSession s{.id = DplaneId{id},
                 .key = {.peer = ip("169.254.1.2"), .local = ip("169.254.1.1"), .device = device},
                 .settings = {},
                 .min_ttl = 255,
                 .refused = {}};
    return s;
  }

  /// As the peer's packet arrives.
  void hear(const Packet& packet, const Received& place) {
    const auto bytes = serialize(packet);
    Received r = place;
    r.bytes = bytes;
    engine_.receive(r, now_);
  }
  static Received on_tun1() {
    return {.source = ip("169.254.1.2"), .local = ip("169.254.1.1"), .ifindex = kTun1, .ttl = 255};
  }
  static Packet from_peer(State state, std::uint32_t yours) {
    return {.state = state,
            .my_discriminator = 99,
            .your_discriminator = yours,
            .desired_min_tx = Interval(50ms),
            .required_min_rx = Interval(50ms)};
  }
  void run_for(std::chrono::milliseconds time) {
    for (const MonoTime end = now_ + time; now_ < end; now_ += 1ms) engine_.run(now_);
  }
  const Engine::Entry& only() {
    EXPECT_EQ(engine_.all().size(), 1u);
    return *engine_.all().begin()->second;
  }
  void bring_up(std::uint32_t id) {
    ASSERT_TRUE(engine_.add(tunnel_session(id), now_));
    hear(from_peer(State::kDown, 0), on_tun1());
    hear(from_peer(State::kInit, only().session.local_discriminator()), on_tun1());
    ASSERT_EQ(only().session.state(), State::kUp);
  }

  MonoTime now_{1000s};
  bool broken_ = false;
  int opened_ = 0;
  std::vector<Sent> sent_;
  std::vector<std::pair<SessionKey, State>> changes_;
  std::vector<SessionKey> ended_;
  Engine engine_;
};

TEST_F(EngineTest, ASessionComesUpUnderBfddsNumberAndBfddIsTold) {
  bring_up(5);
  EXPECT_EQ(only().session.local_discriminator(), 5u);
  EXPECT_EQ(changes_.back().second, State::kUp);
  EXPECT_EQ(only().counts.in_packets, 2u);
}

TEST_F(EngineTest, ABfddThatComesBackFindsTheSessionAsItIs) {
  bring_up(5);
  hear(from_peer(State::kUp, 5), on_tun1());
  engine_.detach_all(now_);
  changes_.clear();
  for (int i = 0; i < 100; ++i) {
    hear(from_peer(State::kUp, 5), on_tun1());
    run_for(50ms);
  }
  EXPECT_TRUE(changes_.empty());
  sent_.clear();
  ASSERT_TRUE(engine_.add(tunnel_session(77), now_));  // with another number
  EXPECT_EQ(changes_.back().second, State::kUp) << "it is told at once";
  EXPECT_EQ(engine_.find(DplaneId{77}), &only());
  run_for(60ms);
  ASSERT_FALSE(sent_.empty());
  for (const Sent& s : sent_) {
    EXPECT_EQ(s.packet.my_discriminator, 5u) << "the peer notices nothing";
    EXPECT_EQ(s.packet.state, State::kUp);
  }
}

TEST_F(EngineTest, WhatBgpdAsksForWithoutADeviceIsTheRunningSession) {
  bring_up(5);
  engine_.detach_all(now_);
  AddSession bgpds = tunnel_session(6, "");
  bgpds.settings.desired_min_tx = Interval(300ms);
  ASSERT_TRUE(engine_.add(bgpds, now_));
  AddSession vague = bgpds;
  vague.id = DplaneId{8};
  vague.key.local = IpAddress();
  ASSERT_TRUE(engine_.add(vague, now_));
  engine_.remove(DplaneId{8}, now_);
  EXPECT_EQ(only().session.settings().desired_min_tx, Interval(50ms)) << "gwd's timers stay";
  ASSERT_TRUE(engine_.add(tunnel_session(7), now_));
  EXPECT_EQ(only().bfdd.size(), 2u);
  engine_.remove(DplaneId{6}, now_);
  EXPECT_EQ(only().session.state(), State::kUp) << "gwd still wants it";
  engine_.remove(DplaneId{7}, now_);
  engine_.run(now_ + Engine::kReturn);
  EXPECT_EQ(only().session.state(), State::kAdminDown);
}

TEST_F(EngineTest, DeletedAndAddedAgainAtOnceItNeverStops) {
  bring_up(5);
  engine_.remove(DplaneId{5}, now_);
  run_for(100ms);
  ASSERT_TRUE(engine_.add(tunnel_session(6), now_));
  for (int i = 0; i < 100; ++i) {
    hear(from_peer(State::kUp, 5), on_tun1());
    run_for(50ms);
  }
  EXPECT_EQ(only().session.state(), State::kUp);
  for (const Sent& s : sent_) EXPECT_NE(s.packet.state, State::kAdminDown);
}

TEST_F(EngineTest, WithoutBfddASessionLastsForMinutes) {
  bring_up(5);
  engine_.detach_all(now_);
  for (const MonoTime end = now_ + Engine::kOrphan - 1s; now_ < end; now_ += 40ms) {
    hear(from_peer(State::kUp, 5), on_tun1());
    engine_.run(now_);
  }
  EXPECT_EQ(only().session.state(), State::kUp);
  run_for(3s);
  EXPECT_TRUE(engine_.all().empty());
  EXPECT_EQ(ended_.size(), 1u);
}

TEST_F(EngineTest, ThePeerIsToldOfTheEnd) {
  bring_up(5);
  run_for(100ms);
  engine_.remove(DplaneId{5}, now_);
  now_ += Engine::kReturn;
  hear(from_peer(State::kUp, 5), on_tun1());
  sent_.clear();
  engine_.run(now_);
  ASSERT_FALSE(sent_.empty());
  EXPECT_EQ(sent_.front().packet.state, State::kAdminDown);
  run_for(4s);
  EXPECT_TRUE(engine_.all().empty());
  EXPECT_EQ(engine_.due(), MonoTime::max());
}

TEST_F(EngineTest, TakenBackBeforeItsEndItStartsAnew) {
  bring_up(5);
  engine_.remove(DplaneId{5}, now_);
  run_for(1500ms);
  EXPECT_EQ(only().session.state(), State::kAdminDown);
  ASSERT_TRUE(engine_.add(tunnel_session(6), now_));
  EXPECT_EQ(only().session.state(), State::kDown);
  run_for(10s);
  EXPECT_EQ(engine_.all().size(), 1u);
}

TEST_F(EngineTest, PacketsFromElsewhereAreRefusedByName) {
  bring_up(5);
  const auto refused = [&](Refusal why, const Packet& p, const Received& r) {
    const auto before = engine_.refused(why);
    hear(p, r);
    EXPECT_EQ(engine_.refused(why), before + 1) << to_string(why);
    EXPECT_EQ(only().session.state(), State::kUp);
  };
  const Packet down = from_peer(State::kDown, 5);
  Received r = on_tun1();
  r.ttl = 254;
  refused(Refusal::kTtl, down, r);
  r = on_tun1();
  r.ifindex = kTun2;
  refused(Refusal::kAnotherPlace, down, r);
  r = on_tun1();
  r.source = ip("169.254.1.6");
  refused(Refusal::kAnotherPlace, down, r);
  r = on_tun1();
  r.local = ip("10.0.0.1");
  refused(Refusal::kAnotherPlace, down, r);
  r = on_tun1();
  r.hops = Hops::kMulti;
  refused(Refusal::kAnotherPlace, down, r);
  refused(Refusal::kUnknownSession, from_peer(State::kDown, 6), on_tun1());
  r = on_tun1();
  r.source = ip("169.254.1.6");
  refused(Refusal::kUnknownSession, from_peer(State::kDown, 0), r);
  Received cut = on_tun1();
  const auto bytes = serialize(down);
  cut.bytes = std::span(bytes).first(23);
  engine_.receive(cut, now_);
  EXPECT_EQ(engine_.refused(Refusal::kTruncated), 1u);
}

TEST_F(EngineTest, MultihopIsJudgedByItsOwnDistance) {
  AddSession far{.id = DplaneId{9},
                 .key = {.peer = ip("2001:db8::2"), .local = ip("2001:db8::1"), .device = {}, .hops = Hops::kMulti},
                 .settings = {},
                 .min_ttl = 250,
                 .refused = {}};
  ASSERT_TRUE(engine_.add(far, now_));
  Received r{.source = far.key.peer, .local = far.key.local, .ifindex = 3, .ttl = 249, .hops = Hops::kMulti};
  hear(from_peer(State::kDown, 0), r);
  EXPECT_EQ(engine_.refused(Refusal::kTtl), 1u);
  r.ttl = 250;
  hear(from_peer(State::kDown, 0), r);
  EXPECT_EQ(only().session.state(), State::kInit);
}

TEST_F(EngineTest, APassiveOneHearsBeforeItSpeaks) {
  AddSession s = tunnel_session(5);
  s.settings.role = Role::kPassive;
  ASSERT_TRUE(engine_.add(s, now_));
  EXPECT_TRUE(sent_.empty());
  hear(from_peer(State::kDown, 0), on_tun1());
  EXPECT_EQ(only().session.state(), State::kInit);
}

TEST_F(EngineTest, ADeviceThatComesLaterIsTriedAgain) {
  broken_ = true;
  ASSERT_TRUE(engine_.add(tunnel_session(5), now_));
  run_for(5s);
  EXPECT_TRUE(sent_.empty());
  EXPECT_LT(opened_, 10) << "not more often than packets are due";
  broken_ = false;
  run_for(2s);
  EXPECT_FALSE(sent_.empty());
  broken_ = true;  // it goes
  run_for(2s);
  broken_ = false;
  sent_.clear();
  run_for(2s);
  EXPECT_FALSE(sent_.empty());
}

TEST_F(EngineTest, TwoTunnelsWithTheSameAddressesAreTwoSessions) {
  ASSERT_TRUE(engine_.add(tunnel_session(5, "tun1"), now_));
  ASSERT_TRUE(engine_.add(tunnel_session(6, "tun2"), now_));
  hear(from_peer(State::kDown, 0), on_tun1());
  EXPECT_EQ(engine_.find(DplaneId{5})->session.state(), State::kInit);
  EXPECT_EQ(engine_.find(DplaneId{6})->session.state(), State::kDown);
}

TEST_F(EngineTest, AnotherInstancesSessionGoesOnWhenItsDeviceIsOurs) {
  SharedSession shared{.key = tunnel_session(0).key,
                       .settings = {},
                       .min_ttl = 255,
                       .snapshot = {.local_discriminator = 1234,
                                    .state = State::kUp,
                                    .remote = {.discriminator = 99,
                                               .state = State::kUp,
                                               .detect_multiplier = 3,
                                               .desired_min_tx = Interval(50ms),
                                               .required_min_rx = Interval(50ms)}}};
  engine_.put_shared(shared);
  run_for(1s);
  EXPECT_TRUE(sent_.empty()) << "not ours yet";
  engine_.adopt("tun2", now_);
  EXPECT_TRUE(engine_.all().empty());
  engine_.adopt("tun1", now_);
  ASSERT_EQ(sent_.size(), 1u) << "at once";
  EXPECT_EQ(sent_[0].packet.state, State::kUp);
  EXPECT_EQ(sent_[0].packet.my_discriminator, 1234u);
  EXPECT_EQ(sent_[0].packet.your_discriminator, 99u);
  hear(from_peer(State::kUp, 1234), on_tun1());
  changes_.clear();
  ASSERT_TRUE(engine_.add(tunnel_session(5), now_));
  EXPECT_EQ(changes_.back().second, State::kUp) << "bfdd, told by gwd a moment later, hears that it is up";
  EXPECT_EQ(only().origin, Origin::kAdopted);
}

TEST_F(EngineTest, BfddMayKnowTheSessionBeforeItsDeviceIsOurs) {
  ASSERT_TRUE(engine_.add(tunnel_session(5), now_));
  SharedSession shared{.key = tunnel_session(0).key,
                       .settings = {},
                       .min_ttl = 255,
                       .snapshot = {.local_discriminator = 5,
                                    .state = State::kUp,
                                    .remote = {.discriminator = 99, .state = State::kUp, .detect_multiplier = 3}}};
  engine_.put_shared(shared);
  engine_.adopt("tun1", now_);
  EXPECT_EQ(only().session.state(), State::kUp);
  EXPECT_EQ(engine_.find(DplaneId{5}), &only());
  EXPECT_EQ(changes_.back().second, State::kUp);
}

TEST_F(EngineTest, WhatWasDownElsewhereStartsAsUsual) {
  engine_.put_shared({.key = tunnel_session(0).key,
                      .settings = {},
                      .min_ttl = 255,
                      .snapshot = {.local_discriminator = 1234, .state = State::kDown, .remote = {}}});
  engine_.adopt("tun1", now_);
  EXPECT_TRUE(engine_.all().empty());
  ASSERT_TRUE(engine_.add(tunnel_session(5), now_));
  EXPECT_EQ(only().session.local_discriminator(), 5u);
  EXPECT_EQ(only().session.state(), State::kDown);
}

TEST_F(EngineTest, ThousandsOfSessionsAreEachOnTime) {
  constexpr int kSessions = 2000;
  for (std::uint32_t i = 0; i < kSessions; ++i) {
    AddSession s = tunnel_session(i + 1);
    s.key.peer = IpAddress::from_v4(0x0a000000 + i);
    ASSERT_TRUE(engine_.add(s, now_));
  }
  sent_.clear();
  run_for(10s);
  EXPECT_GE(sent_.size(), kSessions * 9u);
  EXPECT_LE(sent_.size(), kSessions * 14u);
}

}  // namespace
}  // namespace gw::bfd
