// Frames have homes, and come back to them from wherever they were released.
#include "ebpf/worker/frame_pool.hpp"

#include <gtest/gtest.h>

#include <set>

#include "ebpf/esp/packet.hpp"

namespace gw::worker {
namespace {

class FramePoolTest : public testing::Test {
 protected:
  std::unique_ptr<FrameMemory> memory_ =
      FrameMemory::create({.frames = 128, .frame_bytes = kPageFrameBytes, .large_frames = 8}).value();
  std::vector<std::unique_ptr<FramePool>> pools_ = FramePools::cut(*memory_, 2);
};

TEST_F(FramePoolTest, CutsEvenlyAndGivesEachFrameOnce) {
  std::set<FrameAddress> seen;
  for (const auto& pool : pools_) {
    EXPECT_EQ(pool->free_frames(), 64U);
    EXPECT_EQ(pool->free_large_frames(), 4U);
    for (FrameAddress frame = 0; pool->take(frame);) {
      EXPECT_EQ(memory_->frame_of(frame + 100), frame);
      EXPECT_EQ(memory_->capacity(frame), kPageFrameBytes);
      EXPECT_TRUE(seen.insert(frame).second);
    }
  }
  EXPECT_EQ(seen.size(), 128U);
  EXPECT_EQ(memory_->frame_area().size(), 128U * kPageFrameBytes) << "the large ones are not AF_XDP's";
}

TEST_F(FramePoolTest, ALargePacketGetsALargeFrame) {
  FrameAddress frame = 0;
  const std::uint32_t fits = kPageFrameBytes - kHeadroom - esp::kMaxTailroom;
  ASSERT_TRUE(pools_[1]->take_for(fits, frame));
  EXPECT_FALSE(memory_->is_large(frame));
  ASSERT_TRUE(pools_[1]->take_for(fits + 1, frame));
  EXPECT_TRUE(memory_->is_large(frame));
  EXPECT_EQ(memory_->capacity(frame), kLargeFrameBytes);
  EXPECT_EQ(memory_->frame_of(frame + kLargeFrameBytes - 1), frame);
  EXPECT_FALSE(pools_[1]->take_for(kLargeFrameBytes, frame)) << "no room around it";
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pools_[1]->take_for(9000, frame));
  EXPECT_FALSE(pools_[1]->take_for(9000, frame)) << "bounded";
}

TEST_F(FramePoolTest, StrangersGoHomeInOneExchange) {
  FrameAddress small = 0;
  FrameAddress large = 0;
  ASSERT_TRUE(pools_[0]->take(small));
  ASSERT_TRUE(pools_[0]->take_for(9000, large));
  pools_[1]->give(small);
  pools_[1]->give(large);
  EXPECT_EQ(pools_[1]->free_frames(), 64U) << "not this one's";
  EXPECT_FALSE(pools_[0]->has_returned());
  std::vector<WorkerIndex> woken;
  pools_[1]->exchange([&](WorkerIndex home) { woken.push_back(home); });
  EXPECT_EQ(woken, std::vector<WorkerIndex>{0});
  EXPECT_TRUE(pools_[0]->has_returned());
  pools_[0]->exchange([](WorkerIndex) { FAIL() << "nothing is away"; });
  EXPECT_EQ(pools_[0]->free_frames(), 64U);
  EXPECT_EQ(pools_[0]->free_large_frames(), 4U);
}

// Full batches leave at once: also then the home, which may sleep for want of frames, hears of it.
TEST_F(FramePoolTest, AHomeHearsOfExactlyOneBatch) {
  std::vector<FrameAddress> all;
  for (FrameAddress frame = 0; pools_[0]->take(frame);) all.push_back(frame);
  ASSERT_EQ(all.size(), 64U) << "a batch";
  for (const FrameAddress frame : all) pools_[1]->give(frame);
  std::vector<WorkerIndex> woken;
  pools_[1]->exchange([&](WorkerIndex home) { woken.push_back(home); });
  pools_[1]->exchange([&](WorkerIndex home) { woken.push_back(home); });
  EXPECT_EQ(woken, std::vector<WorkerIndex>{0}) << "once";
}

TEST_F(FramePoolTest, AllFramesOfAPoolMayBeAwayAtOnce) {
  std::vector<FrameAddress> all;
  for (FrameAddress frame = 0; pools_[0]->take(frame);) all.push_back(frame);
  for (FrameAddress frame = 0; pools_[0]->take_for(9000, frame);) all.push_back(frame);
  for (const FrameAddress frame : all) pools_[1]->give(frame);
  pools_[1]->exchange([](WorkerIndex) {});
  pools_[0]->exchange([](WorkerIndex) {});
  EXPECT_EQ(pools_[0]->free_frames(), 64U);
  EXPECT_EQ(pools_[0]->free_large_frames(), 4U);
}

TEST_F(FramePoolTest, BorrowedIsNobodys) {
  pools_[0]->give(kBorrowed);
  EXPECT_EQ(pools_[0]->free_frames(), 64U);
  EXPECT_EQ(pools_[0]->free_large_frames(), 4U);
}

}  // namespace
}  // namespace gw::worker
