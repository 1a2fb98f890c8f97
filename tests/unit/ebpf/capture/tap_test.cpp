#include "ebpf/capture/tap.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

namespace gw::capture {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes counting(std::size_t n) {
  Bytes bytes(n);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  return bytes;
}

constexpr std::uint8_t kAll = bit(Point::kInner) | bit(Point::kOuter) | bit(Point::kDrops);

struct Seen {
  Record record;
  Bytes bytes;
};

class TapTest : public testing::Test {
 protected:
  void attach(const Wanted& wanted) {
    lane_ = Lane::make(wanted, 1 << 16).value();
    tap_.attach(*lane_);
  }
  std::vector<Seen> take() {
    std::vector<Seen> all;
    for (auto front = lane_->ring->front(); !front.empty(); front = lane_->ring->front()) {
      Seen seen;
      std::memcpy(&seen.record, front.data(), sizeof seen.record);
      seen.bytes.assign(front.begin() + sizeof seen.record, front.end());
      all.push_back(seen);
      lane_->ring->pop();
    }
    return all;
  }
  const Counts& counts(Point point) const { return lane_->counts[static_cast<std::size_t>(point)]; }
  Tap tap_;
  std::unique_ptr<Lane> lane_;
};

TEST_F(TapTest, WantsNothingButWhatACaptureAsksFor) {
  EXPECT_FALSE(tap_.wants(Point::kInner));
  attach({.points = bit(Point::kOuter), .snap_bytes = 100});
  EXPECT_TRUE(tap_.wants(Point::kOuter));
  EXPECT_FALSE(tap_.wants(Point::kInner));
  EXPECT_FALSE(tap_.wants(Point::kDrops));
  tap_.detach();
  EXPECT_FALSE(tap_.wants(Point::kOuter));
}

TEST_F(TapTest, FrontAndRestAreOnePacket) {
  attach({.points = kAll, .snap_bytes = 100});
  const Mark mark{.point = Point::kOuter, .direction = Direction::kIn, .tunnel = 7, .spi = 0x1234, .unix_ns = 99};
  tap_.put(mark, Bytes{1, 2, 3}, counting(20));
  const auto seen = take();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].record.length, 23U);
  EXPECT_EQ(seen[0].record.captured, 23U);
  EXPECT_EQ(seen[0].record.mark.spi, 0x1234U);
  EXPECT_EQ(seen[0].record.mark.unix_ns, 99);
  Bytes whole{1, 2, 3};
  std::ranges::copy(counting(20), std::back_inserter(whole));
  EXPECT_EQ(seen[0].bytes, whole);
}

TEST_F(TapTest, NoMoreThanTheSnapAndTheRealLength) {
  attach({.points = kAll, .snap_bytes = 10});
  tap_.put({}, {}, counting(1400));
  tap_.put({}, Bytes{9, 9, 9}, counting(1400));
  tap_.put({}, counting(20), counting(1400));
  const auto seen = take();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].record.length, 1400U);
  EXPECT_EQ(seen[0].bytes, counting(10));
  EXPECT_EQ(seen[1].bytes, (Bytes{9, 9, 9, 0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(seen[2].record.length, 1420U);
  EXPECT_EQ(seen[2].bytes, counting(10));
}

TEST_F(TapTest, OnlyOneTunnels) {
  attach({.points = kAll, .tunnel = 7, .snap_bytes = 100});
  for (const std::uint32_t tunnel : {0U, 6U, 7U, 8U}) tap_.put({.tunnel = tunnel}, {}, counting(4));
  EXPECT_EQ(take().size(), 1U);
  EXPECT_EQ(counts(Point::kInner).taken, 1U);
}

TEST_F(TapTest, WhatDecryptionOverwritesIsKept) {
  attach({.points = kAll, .snap_bytes = 64});
  Bytes packet = counting(200);
  tap_.keep(0, Bytes{2});
  tap_.keep(1, packet);
  tap_.keep(2, Bytes{1});
  std::ranges::fill(packet, 0xee);
  tap_.put_kept({.point = Point::kDrops, .reason = GW_DROP_ICV}, Bytes{7, 7}, 1);
  const auto seen = take();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].record.length, 202U);
  ASSERT_EQ(seen[0].bytes.size(), 64U);
  EXPECT_EQ(seen[0].bytes[2], 0);
  EXPECT_EQ(seen[0].bytes[63], 61);
}

TEST_F(TapTest, AWholeBurstOfTheLargestFramesIsKept) {
  constexpr std::size_t kLargest = 16384;
  attach({.points = kAll, .snap_bytes = 65535});
  EXPECT_EQ(lane_->kept.bytes().size(), Tap::kMostKeptBytes);
  Bytes packet = counting(kLargest);
  for (int burst = 0; burst < 2; ++burst)
    for (std::size_t i = 0; i < Tap::kKept; ++i) {
      packet[0] = static_cast<std::uint8_t>(i);
      tap_.keep(i, packet);
    }
  for (const std::size_t i : {std::size_t{0}, Tap::kKept - 1}) {
    tap_.put_kept({.point = Point::kDrops}, {}, i);
    const auto seen = take();
    ASSERT_EQ(seen.size(), 1U);
    packet[0] = static_cast<std::uint8_t>(i);
    EXPECT_EQ(seen[0].bytes, packet);
  }
}

TEST_F(TapTest, WhatDoesNotFitWithTheOthersIsKeptInPart) {
  attach({.points = kAll, .snap_bytes = 65535});
  const Bytes packet = counting(60000);
  for (std::size_t i = 0; i < Tap::kKept; ++i) tap_.keep(i, packet);
  for (const std::size_t i : {std::size_t{17}, Tap::kKept - 1}) {
    tap_.put_kept({.point = Point::kDrops}, {}, i);
    const auto seen = take();
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].record.length, 60000U);
    EXPECT_EQ(seen[0].record.captured, i == 17 ? (std::size_t{1} << 20) - 17 * 60000U : 0U);
  }
}

TEST_F(TapTest, WhatFindsNoRoomIsCounted) {
  attach({.points = kAll, .snap_bytes = 2000});
  const int packets = 100;
  for (int i = 0; i < packets; ++i) tap_.put({.point = Point::kOuter}, {}, counting(2000));
  const std::uint64_t taken = counts(Point::kOuter).taken;
  EXPECT_GT(taken, 25U);
  EXPECT_LT(taken, 33U);
  EXPECT_EQ(taken + counts(Point::kOuter).lost, 100U);
  EXPECT_EQ(take().size(), taken);
}

}  // namespace
}  // namespace gw::capture
