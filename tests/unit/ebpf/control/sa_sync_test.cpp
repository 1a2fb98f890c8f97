// What two instances that share keys tell each other, case by case: connections that break, machines that reboot or go
// back to a snapshot, strangers. At random: sa_sync_chaos_test.cpp.
#include "tests/unit/ebpf/control/sa_sync_machines.hpp"

namespace gw::control {
namespace {

TEST_F(SaSyncTest, AKeyMayBeSentWithThereOnceItsBlockWasGranted) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  EXPECT_TRUE(a_->send_packet(1, wire_));
  EXPECT_FALSE(b_->send_packet(1, wire_));
  connect();
  deliver_all();
  ASSERT_EQ(a_->sync().state(), SaSync::State::kInSync);
  ASSERT_EQ(b_->sync().state(), SaSync::State::kInSync);
  EXPECT_TRUE(b_->send_packet(1, wire_));
  EXPECT_EQ(esp::block_of(b_->records[1]->iv_epoch), 1U);
  EXPECT_EQ(a_->sync().announced(), 1U);
}

TEST_F(SaSyncTest, EitherHalfMayComeFirst) {
  make();
  connect();
  deliver_all();
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  deliver_all();
  EXPECT_FALSE(b_->send_packet(1, wire_));
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  deliver_all();
  EXPECT_TRUE(b_->send_packet(1, wire_));
  ASSERT_TRUE(a_->install(2, KeyOrigin::kFresh));
  deliver_all();
  ASSERT_TRUE(b_->install(2, KeyOrigin::kSynced));
  deliver_all();
  EXPECT_TRUE(b_->send_packet(2, wire_));
}

TEST_F(SaSyncTest, AReturnAfterARebootNeedsTheOther) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  ASSERT_TRUE(a_->send_packet(1, wire_));
  a_->reboot();
  disconnect();
  ASSERT_FALSE(a_->install(1, KeyOrigin::kReplayed)) << "no record";
  ASSERT_TRUE(a_->install(1, KeyOrigin::kSynced));
  EXPECT_FALSE(a_->send_packet(1, wire_));
  connect();
  deliver_all();
  EXPECT_TRUE(a_->send_packet(1, wire_));
  EXPECT_EQ(a_->records[1]->iv_epoch, esp::first_epoch_of(1)) << "block 0 was its own before";
  b_->reboot();
  disconnect();
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  EXPECT_TRUE(b_->send_packet(1, wire_));
  EXPECT_EQ(b_->records[1]->iv_epoch, esp::first_epoch_of(2));
}

TEST_F(SaSyncTest, WithoutAnyRecordNobodyMaySend) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kSynced));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  EXPECT_FALSE(a_->send_packet(1, wire_));
  EXPECT_FALSE(b_->send_packet(1, wire_));
}

TEST_F(SaSyncTest, PositionsArriveWithinATick) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(a_->send_packet(1, wire_));
  a_->sync().tick();
  clock_.advance(3ms);
  deliver_all();
  EXPECT_EQ(b_->records[1]->synced_position, 701U);
  EXPECT_FALSE(b_->sync().exact(name_of(1)));
  EXPECT_TRUE(b_->sync().awaits_final(kEndpoint));
  EXPECT_EQ(a_->sync().lag().worst, 3ms);
  a_->sync().tell_final(kEndpoint);
  deliver_all();
  EXPECT_TRUE(b_->sync().exact(name_of(1)));
  EXPECT_FALSE(b_->sync().awaits_final(kEndpoint));
}

// Places are used again: what is reported of a key is noted with that key's SA, whichever of the two halves comes and
// goes.
TEST_F(SaSyncTest, PositionsFollowTheirKeys) {
  make();
  a_->owner = true;
  for (const int key : {1, 2, 3}) {
    ASSERT_TRUE(a_->install(key, KeyOrigin::kFresh));
    ASSERT_TRUE(b_->install(key, KeyOrigin::kSynced));
  }
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  const auto send = [&](int key, int packets) {
    for (int i = 0; i < packets; ++i) ASSERT_TRUE(a_->send_packet(key, wire_));
    deliver_all();
  };
  b_->remove(1);
  send(1, 10);                                      // nobody's, there
  ASSERT_TRUE(b_->install(4, KeyOrigin::kSynced));  // in its place
  send(1, 10);
  EXPECT_EQ(b_->records[4]->synced_position, 0U);
  ASSERT_TRUE(a_->install(4, KeyOrigin::kFresh));
  send(4, 5);
  EXPECT_EQ(b_->records[4]->synced_position, 6U);
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  EXPECT_EQ(b_->records[1]->synced_position, 21U) << "what was told before it came counts";
  a_->remove(2);
  deliver_all();
  ASSERT_TRUE(a_->install(5, KeyOrigin::kFresh));  // in the place of 2
  send(5, 7);
  send(3, 3);
  EXPECT_EQ(b_->records[2]->synced_position, 1U);
  EXPECT_EQ(b_->records[3]->synced_position, 4U);
  EXPECT_EQ(b_->records[1]->synced_position, 21U);
}

// No gw-fastpath says so; what it leads to must not be another key's position, or a place that is gone.
TEST_F(SaSyncTest, AKeyUnderTwoIndexesIsTheLaterOne) {
  make();
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  fp::SaSync from_a, from_b;
  ASSERT_TRUE(from_a.ParseFromString(a_->sent.front()) && from_b.ParseFromString(b_->sent.front()));
  deliver_all();
  const auto say = [&](fp::SaSync m) {
    *m.mutable_from() = from_a.from();
    *m.mutable_to() = from_b.from();
    b_->sync().receive(m.SerializeAsString());
  };
  const SyncKey key = name_of(1);
  const auto announce = [&](std::uint32_t index) {
    fp::SaSync m;
    m.mutable_announcements()->add_sas()->set_index(index);
    m.mutable_announcements()->mutable_sas(0)->set_key(key.data(), key.size());
    say(m);
  };
  const auto report = [&](std::uint32_t index, std::uint64_t advance) {
    fp::SaSync m;
    m.mutable_positions()->add_steps(index);
    m.mutable_positions()->add_advances(advance);
    say(m);
  };
  announce(3);
  announce(7);
  report(3, 100);
  EXPECT_EQ(b_->records[1]->synced_position, 0U);
  report(7, 50);
  EXPECT_EQ(b_->records[1]->synced_position, 50U);
  b_->remove(1);
  report(3, 100);
  report(7, 50);
  EXPECT_EQ(b_->sync().state(), SaSync::State::kInSync);
}

// A split brain that heals: both own, both send, both report. An owner's record is its own; who gives up begins there
// where the other one is, also when that sends nothing any more.
TEST_F(SaSyncTest, WhatIsToldWhileBothOwnCountsForWhoGivesUp) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  connect();
  deliver_all();
  for (Machine* m : {a_.get(), b_.get()}) {
    m->owner = true;
    m->sync().ownership_changed();
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a_->send_packet(1, wire_));
    if (i < 50) {
      ASSERT_TRUE(b_->send_packet(1, wire_));
    }
    if (i % 10 == 0) deliver_all();
  }
  deliver_all();
  EXPECT_LT(b_->records[1]->synced_position, 101U);
  b_->owner = false;
  b_->sync().ownership_changed();
  EXPECT_EQ(b_->records[1]->synced_position, 101U);
  EXPECT_FALSE(b_->sync().exact(name_of(1)));
  EXPECT_TRUE(b_->sync().awaits_final(kEndpoint));
  a_->sync().tell_final(kEndpoint);
  deliver_all();
  EXPECT_TRUE(b_->sync().exact(name_of(1)));
}

// Nobody answers: it waits, and tells the newest when somebody does.
TEST_F(SaSyncTest, ReportsThatAreNotAnsweredDoNotPileUp) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a_->send_packet(1, wire_));
    a_->sync().tick();
  }
  EXPECT_LE(a_->sent.size(), SaSync::kMaxInFlight);
  deliver_all();
  EXPECT_EQ(b_->records[1]->synced_position, 101U);
}

TEST_F(SaSyncTest, ARestoredSnapshotIsToldAndSendsNothingOld) {
  make();
  ASSERT_TRUE(a_->install(1, KeyOrigin::kFresh));
  ASSERT_TRUE(b_->install(1, KeyOrigin::kSynced));
  a_->owner = true;
  a_->sync().ownership_changed();
  connect();
  deliver_all();
  a_->save(path("snapshot"));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(a_->send_packet(1, wire_));
  deliver_all();
  a_->restore(path("snapshot"));
  disconnect();
  connect();
  const auto id = a_->store().name().id;
  while (deliver(*a_, *b_) || deliver(*b_, *a_)) {
  }
  EXPECT_NE(a_->store().name().id, id) << "it has a new name";
  deliver_all();
  EXPECT_EQ(a_->sync().state(), SaSync::State::kInSync);
  EXPECT_EQ(esp::block_of(a_->records[1]->iv_epoch), 1U) << "granted by the other";
  EXPECT_TRUE(a_->send_packet(1, wire_));
}

TEST_F(SaSyncTest, OwnNumberOrOwnStoreIsAClone) {
  make();
  Machine clone(0, path("c"), clock_);
  a_->sync().connect();
  clone.sync().connect();
  a_->sync().receive(clone.sent.front());
  EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused);
  EXPECT_NE(a_->sync().why().find("instance 0"), std::string::npos) << a_->sync().why();
  b_->sync().connect();
  b_->save(path("d"));
  Machine copy(2, path("d"), clock_);
  copy.sync().connect();
  b_->sync().receive(copy.sent.front());
  EXPECT_NE(b_->sync().why().find("own store"), std::string::npos) << b_->sync().why();
}

TEST_F(SaSyncTest, NonsenseIsRefusedWithItsReason) {
  fp::SaSync wrong_version, no_id;
  wrong_version.mutable_from()->set_id(std::string(16, 'x'));
  wrong_version.mutable_hello()->set_version(2);
  no_id.mutable_hello()->set_version(1);
  fp::SaSync bad_key, bad_positions, far;
  bad_key.mutable_announcements()->add_sas()->set_key("short");
  bad_positions.mutable_positions()->add_steps(1);
  far.mutable_positions()->add_steps(99999);
  far.mutable_positions()->add_advances(1);
  make();
  for (const std::string& bytes :
       {std::string("\xff\xff\xff"), wrong_version.SerializeAsString(), no_id.SerializeAsString()}) {
    connect();
    deliver_all();
    a_->sync().receive(bytes);
    EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused);
    EXPECT_FALSE(a_->sync().why().empty());
  }
  for (fp::SaSync m : {bad_key, bad_positions, far}) {
    connect();
    deliver_all();
    disconnect();
    connect();
    fp::SaSync theirs, ours;
    ASSERT_TRUE(theirs.ParseFromString(b_->sent.front()) && ours.ParseFromString(a_->sent.front()));
    deliver_all();
    *m.mutable_from() = theirs.from();
    *m.mutable_to() = ours.from();
    a_->sync().receive(m.SerializeAsString());
    EXPECT_EQ(a_->sync().state(), SaSync::State::kRefused) << m.ShortDebugString();
  }
}

}  // namespace
}  // namespace gw::control
