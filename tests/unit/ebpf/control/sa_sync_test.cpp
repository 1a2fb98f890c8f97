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
