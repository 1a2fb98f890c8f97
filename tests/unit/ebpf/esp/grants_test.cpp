// Who may use which block of epochs; every combination of what two records can say. Two instances that crash, reboot
// and go back in time: tests/unit/ebpf/control/sa_sync_test.cpp.
#include "ebpf/esp/grants.hpp"

#include <gtest/gtest.h>

#include <set>

#include "ebpf/esp/runtime_rules.hpp"

namespace gw::esp {
namespace {

constexpr std::uint64_t kLast = last_sequence(SequenceMode::kExtended);

RuntimeRecord born() {
  RuntimeRecord r{};
  EXPECT_TRUE(begin_outbound(r, 0));
  return r;
}
RuntimeRecord standby(std::uint32_t instance = 1) {
  RuntimeRecord r{};
  EXPECT_TRUE(begin_standby(r, instance));
  return r;
}

TEST(Grants, AStandbyKeySendsNothingBeforeItsGrant) {
  RuntimeRecord a = born();
  RuntimeRecord b = standby();
  Reservation n{};
  EXPECT_EQ(reserve(b, kLast, n), ReserveFault::kIv);
  EXPECT_TRUE(wants_grant(b));
  EXPECT_FALSE(may_send(b));
  const auto block = grant_block(a);
  ASSERT_EQ(block, 1U);
  ASSERT_TRUE(accept_grant(b, *block));
  ASSERT_EQ(reserve(b, kLast, n), ReserveFault::kNone);
  EXPECT_EQ(n.iv, make_iv(1, first_epoch_of(1), 0));
  EXPECT_FALSE(wants_grant(b));
  EXPECT_EQ(own_blocks_end(b), 2U);
}

TEST(Grants, ABlockIsGrantedOnceWhateverBecomesOfTheAnswer) {
  RuntimeRecord a = born();
  std::set<std::uint32_t> granted;
  for (std::uint32_t i = 1; i < kEpochBlocks; ++i) {
    const auto block = grant_block(a);
    ASSERT_TRUE(block);
    EXPECT_TRUE(granted.insert(*block).second);
    EXPECT_GT(*block, 0U) << "block 0 is of birth";
    EXPECT_LT(*block, kEpochBlocks);
  }
  EXPECT_FALSE(grant_block(a)) << "all are used up";
}

TEST(Grants, WhoDoesNotKnowGrantsNothingUntilToldByWhoDoes) {
  RuntimeRecord b = standby();
  EXPECT_FALSE(grant_block(b));
  learn_peer_blocks(b, own_blocks_end(standby()));
  EXPECT_FALSE(grant_block(b)) << "the other does not know, either";
  RuntimeRecord a = born();
  learn_peer_blocks(b, own_blocks_end(a));
  EXPECT_EQ(grant_block(b), 1U) << "block 0 is a's own";
  learn_peer_blocks(b, 1);
  EXPECT_EQ(grant_block(b), 2U) << "never back";
  learn_peer_blocks(b, kEpochBlocks + 1);
  EXPECT_EQ(grant_block(b), 3U) << "nonsense is not learned";
}

// All own epochs of interest x all reserves x all grants: accepted if and only if above everything used here.
TEST(Grants, OnlyWhatIsAboveAllThatWasUsedIsAccepted) {
  const std::uint32_t interesting[] = {0, 1, 2, 3, kEpochBlocks - 2, kEpochBlocks - 1, kEpochBlocks, UINT32_MAX};
  for (const std::uint32_t own : {0U, 1U, 2U, kEpochBlocks - 2}) {
    for (const std::uint32_t reserve : {0U, 1U, 2U, 3U, kEpochBlocks - 1}) {
      for (const std::uint32_t block : interesting) {
        RuntimeRecord r = born();
        r.iv_epoch = own << kRestartBits | 9;
        r.granted_block = reserve > own ? reserve : 0;
        const RuntimeRecord before = r;
        const bool wanted = block != 0 && block < kEpochBlocks && block > own && block > before.granted_block;
        EXPECT_EQ(accept_grant(r, block), wanted) << own << " " << reserve << " " << block;
        EXPECT_EQ(r.iv_epoch, before.iv_epoch) << "the block in use goes on";
        EXPECT_EQ(r.granted_block, wanted ? block : before.granted_block);
        EXPECT_EQ(own_blocks_end(r), std::max({own, r.granted_block}) + 1);
      }
    }
  }
}

TEST(Grants, AReserveIsAskedForInTimeAndUsedWhenTheRestartsEnd) {
  RuntimeRecord r = born();
  std::uint32_t asked_at = 0;
  for (std::uint32_t epoch = 1; epoch < kRestarts - 1; ++epoch) {
    if (wants_grant(r) && asked_at == 0) {
      asked_at = epoch;
      ASSERT_TRUE(accept_grant(r, 5));
    }
    ASSERT_TRUE(resume_outbound(r, 0, 0));
  }
  EXPECT_EQ(asked_at, kRestarts / 2);
  ASSERT_TRUE(resume_outbound(r, 0, 0));
  EXPECT_EQ(r.iv_epoch, first_epoch_of(5));
}

// A process may die between any two stores of accept_grant() and of forget_epochs().
TEST(Grants, DyingHalfWayThroughRepeatsNothing) {
  RuntimeRecord half = standby();
  half.iv_epoch = first_epoch_of(3);  // and the counter is not stored
  ASSERT_TRUE(resume_outbound(half, 1, 0));
  EXPECT_EQ(half.iv_epoch, first_epoch_of(3) + 1);
  EXPECT_EQ(half.next_counter, 0U);
  RuntimeRecord r = born();
  r.next_counter = 77;
  r.iv_epoch = 0;  // forgotten, and the counter is not stored
  ASSERT_TRUE(resume_outbound(r, 0, 0));
  Reservation n{};
  EXPECT_EQ(reserve(r, kLast, n), ReserveFault::kIv);
}

TEST(Grants, WhatIsForgottenIsUnknownBothWays) {
  RuntimeRecord r = born();
  (void)grant_block(r);
  forget_epochs(r);
  Reservation n{};
  EXPECT_EQ(reserve(r, kLast, n), ReserveFault::kIv);
  EXPECT_FALSE(grant_block(r));
  EXPECT_EQ(own_blocks_end(r), 0U);
  EXPECT_TRUE(wants_grant(r));
}

StoreName named(std::uint8_t id, std::uint64_t generation) { return {{id}, generation, 0}; }

TEST(Stores, AGenerationBelowWhatWasHeardIsARollback) {
  StoreHeader h = make_header(4, {});
  EXPECT_EQ(note_peer(h, 1, named(1, 5)), PeerStanding::kKnown);
  EXPECT_EQ(note_peer(h, 1, named(1, 6)), PeerStanding::kKnown);
  EXPECT_EQ(note_peer(h, 1, named(1, 6)), PeerStanding::kKnown) << "nothing was heard in between";
  EXPECT_EQ(note_peer(h, 1, named(1, 5)), PeerStanding::kRolledBack);
  EXPECT_EQ(note_peer(h, 1, named(1, 2)), PeerStanding::kRolledBack);
  note_progress(h, named(1, 100));
  EXPECT_EQ(note_peer(h, 1, named(1, 99)), PeerStanding::kRolledBack);
  EXPECT_EQ(note_peer(h, 1, named(2, 1)), PeerStanding::kKnown) << "a new store";
  EXPECT_EQ(note_peer(h, 1, named(1, 99)), PeerStanding::kRolledBack) << "an old life of it";
}

TEST(Stores, AnotherInstanceIsNotTheOneBefore) {
  StoreHeader h = make_header(4, {});
  EXPECT_EQ(note_peer(h, 1, named(1, 5)), PeerStanding::kKnown);
  EXPECT_EQ(note_peer(h, 2, named(3, 5)), PeerStanding::kOtherInstance);
  EXPECT_EQ(note_peer(h, 2, named(3, 6)), PeerStanding::kKnown);
}

TEST(Stores, AStoreThatWasBeingRepairedIsNotUsed) {
  StoreHeader h = make_header(4, {});
  ASSERT_TRUE(check_header(h, store_bytes(4), 4));
  h.rolled_back = 1;
  EXPECT_EQ(check_header(h, store_bytes(4), 4).error().code, Errc::kMalformed);
}

}  // namespace
}  // namespace gw::esp
