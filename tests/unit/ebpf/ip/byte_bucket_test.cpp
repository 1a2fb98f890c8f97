#include "ebpf/ip/byte_bucket.hpp"

#include <gtest/gtest.h>

namespace gw::ip {
namespace {

using namespace std::chrono_literals;

constexpr MonoTime kStart{1000s};

/// Bytes that pass in `time` if packets of `size` come as fast as they can, each `gap` after the one before.
std::uint64_t passed(ByteBucket& bucket, std::uint32_t size, std::chrono::nanoseconds gap,
                     std::chrono::nanoseconds time) {
  std::uint64_t bytes = 0;
  for (std::chrono::nanoseconds at{}; at < time; at += gap)
    if (bucket.take(size, kStart + at)) bytes += size;
  return bytes;
}

TEST(ByteBucket, WithoutLimitAllPasses) {
  ByteBucket bucket;
  EXPECT_FALSE(bucket.limits());
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.take(65535, kStart));
}

TEST(ByteBucket, TheBurstAndThenTheRateToTheByte) {
  for (const std::uint64_t rate :
       std::initializer_list<std::uint64_t>{8'000, 125'000, 1'250'000'000, kMaxBytesPerSecond}) {
    ByteBucket bucket;
    bucket.set({rate, 100'000}, kStart);
    const std::uint32_t size = 100;
    EXPECT_FALSE(bucket.has(100'001, kStart));
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.take(size, kStart)) << rate << " " << i;
    EXPECT_FALSE(bucket.take(size, kStart)) << rate;
    const std::chrono::nanoseconds earned{(size * 1'000'000'000ull + rate - 1) / rate};
    EXPECT_FALSE(bucket.has(size, kStart + earned - 1ns)) << rate;
    EXPECT_TRUE(bucket.has(size, kStart + earned)) << rate;
  }
}

TEST(ByteBucket, TenTimesTheRateGetsTheRate) {
  ByteBucket bucket;
  bucket.set({1'000'000, 10'000}, kStart);
  // 1,000 bytes every 100 us are 10 MB/s.
  // The last one comes 100 us before the end.
  constexpr std::uint64_t kEarned = 10'000'000 - 100;
  EXPECT_EQ(passed(bucket, 1000, 100us, 10s), (kEarned + 10'000) / 1000 * 1000);
}

TEST(ByteBucket, WhoStaysBelowLosesNothingWhileTheRateChanges) {
  ByteBucket bucket;
  bucket.set({2'000'000, 20'000}, kStart);
  MonoTime now = kStart;
  for (int i = 0; i < 10'000; ++i) {
    now += 1ms;  // 1,000 bytes each: 1 MB/s
    if (i % 10 == 0)
      bucket.set({i % 20 == 0 ? 1'100'000ull : 50'000'000ull, i % 20 == 0 ? 11'000ull : 500'000ull}, now);
    ASSERT_TRUE(bucket.take(1000, now)) << i;
  }
}

TEST(ByteBucket, ALowerRateTakesTheRestOfTheBurstAway) {
  ByteBucket bucket;
  bucket.set({1'000'000'000, 100'000'000}, kStart);
  bucket.set({1'000'000, 10'000}, kStart);
  EXPECT_FALSE(bucket.has(10'001, kStart));
  EXPECT_TRUE(bucket.has(10'000, kStart));
}

TEST(ByteBucket, DebtIsAtMostABucket) {
  ByteBucket bucket;
  bucket.set({10'000, 10'000}, kStart);
  for (int i = 0; i < 1'000'000; ++i) bucket.charge(65535);
  EXPECT_FALSE(bucket.has(1, kStart + 1s));
  EXPECT_TRUE(bucket.has(1, kStart + 1001ms));
}

TEST(ByteBucket, DebtAtTheHighestRate) {
  ByteBucket bucket;
  const ByteRate rate = policed_at(kMaxBytesPerSecond);
  bucket.set(rate, kStart);
  for (int i = 0; i < 20; ++i) bucket.charge(1 << 30);  // two buckets and more
  EXPECT_FALSE(bucket.has(1, kStart + 100ms)) << "a bucket's worth is still missing";
  EXPECT_TRUE(bucket.has(1, kStart + 101ms));
}

TEST(ByteBucket, LongPausesAndClocksThatStandStill) {
  ByteBucket bucket;
  bucket.set({kMaxBytesPerSecond, policed_at(kMaxBytesPerSecond).burst}, kStart);
  bucket.charge(1'000'000'000);
  EXPECT_TRUE(bucket.has(65535, kStart + 100h * 24 * 365));
  EXPECT_TRUE(bucket.has(65535, kStart)) << "a clock that was read earlier takes nothing away";
}

TEST(ByteBucket, TheBurstOfAPolicedRate) {
  EXPECT_EQ(policed_at(1'000'000'000).burst, 100'000'000u);
  EXPECT_EQ(policed_at(1000).burst, 262144u);
}

}  // namespace
}  // namespace gw::ip
