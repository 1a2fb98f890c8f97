#include "ebpf/ip/token_bucket.hpp"

#include <gtest/gtest.h>

namespace gw::ip {
namespace {

using namespace std::chrono_literals;
constexpr MonoTime kStart{100s};

TEST(TokenBucket, BurstThenRate) {
  TokenBucket b({.per_second = 10, .burst = 5});
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(b.take(kStart));
  EXPECT_FALSE(b.take(kStart));
  EXPECT_FALSE(b.take(kStart + 99ms));
  EXPECT_TRUE(b.take(kStart + 100ms));
  EXPECT_FALSE(b.take(kStart + 100ms));
  int taken = 0;
  for (MonoTime t = kStart + 200ms; t < kStart + 10200ms; t += 1ms) taken += b.take(t);
  EXPECT_EQ(taken, 100);
  taken = 0;
  for (int i = 0; i < 100; ++i) taken += b.take(kStart + 1h);
  EXPECT_EQ(taken, 5) << "a long pause earns no more than a burst";
}

TEST(TokenBucket, TimeThatGoesBackEarnsNothing) {
  TokenBucket b({.per_second = 10, .burst = 1});
  EXPECT_TRUE(b.take(kStart));
  EXPECT_FALSE(b.take(kStart - 10s));
  EXPECT_FALSE(b.take(kStart));
}

TEST(ErrorLimiter, OneReceiverDoesNotSilenceTheOthers) {
  ErrorLimiter limiter;
  const auto noisy = IpAddress::parse("192.0.2.1").value();
  int taken = 0;
  for (int i = 0; i < 10'000; ++i) taken += limiter.take(noisy, kStart);
  EXPECT_EQ(taken, static_cast<int>(ErrorLimiter::kReceiver.burst));
  EXPECT_TRUE(limiter.take(IpAddress::parse("192.0.2.2").value(), kStart));
}

TEST(ErrorLimiter, AllTogetherAreLimited) {
  ErrorLimiter limiter;
  std::uint32_t taken = 0;
  for (std::uint32_t i = 0; i < 100'000; ++i) taken += limiter.take(IpAddress::from_v4(0x0a000000 + i), kStart);
  EXPECT_EQ(taken, ErrorLimiter::kAll.burst);
}

}  // namespace
}  // namespace gw::ip
