#include "ebpf/worker/gateway_rate.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace gw::worker {
namespace {

using namespace std::chrono_literals;

constexpr MonoTime kStart{1000s};

TEST(GatewayRate, NoLimit) {
  GatewayRate rate;
  GatewayPurse purse;
  EXPECT_FALSE(rate.limits());
  EXPECT_TRUE(purse.has(rate, 1u << 30, kStart));
  purse.pay(rate, 1u << 30, kStart);
  EXPECT_TRUE(purse.has(rate, 1u << 30, kStart));
}

// Four workers, uneven: two greedy, two that send now and then. What passes is the rate, the burst and what purses
// hold.
TEST(GatewayRate, WorkersTogetherGetTheRate) {
  for (const std::uint64_t per_second : {8'000'000ull, 125'000'000ull, 12'500'000'000ull}) {
    GatewayRate rate;
    rate.set({per_second, per_second / 10});
    std::array<GatewayPurse, 4> purses;
    const std::uint32_t size = 1400;
    const auto gap = std::chrono::nanoseconds(size * 1'000'000'000ull / per_second / 4 + 1);  // 4 times the rate each
    constexpr auto kTime = 500ms;
    std::uint64_t bytes = 0;
    std::uint64_t round = 0;
    for (std::chrono::nanoseconds at{}; at < kTime; at += gap, ++round)
      for (std::size_t w = 0; w < purses.size(); ++w) {
        if (w >= 2 && round % 50 != 0) continue;
        if (!purses[w].has(rate, size, kStart + at)) continue;
        purses[w].pay(rate, size, kStart + at);
        bytes += size;
      }
    const std::uint64_t ideal = per_second / 2 + per_second / 10;
    const std::uint64_t held = purses.size() * (rate.draw_bytes() + size);
    EXPECT_LE(bytes, ideal + held) << per_second;
    EXPECT_GE(bytes + held + ideal / 1000, ideal) << per_second;
  }
}

TEST(GatewayRate, DrawnByThreadsAtOnceIsNeverMoreThanThereIs) {
  GatewayRate rate;
  rate.set({1'000'000, 10'000'000});
  std::atomic<std::uint64_t> drawn{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        while (rate.draw(1000, kStart)) drawn += 1000;
      });
  }
  EXPECT_EQ(drawn, 10'000'000u);
}

TEST(GatewayRate, WhatNothingMayStopIsPaidLater) {
  GatewayRate rate;
  rate.set({1'000'000, 100'000});
  GatewayPurse purse;
  while (purse.has(rate, 1000, kStart)) purse.pay(rate, 1000, kStart);
  for (int i = 0; i < 50; ++i) purse.pay(rate, 1000, kStart);
  EXPECT_FALSE(purse.has(rate, 1000, kStart + 30ms));
  EXPECT_TRUE(purse.has(rate, 1000, kStart + 80ms));
  for (int i = 0; i < 1'000'000; ++i) purse.pay(rate, 1000, kStart + 80ms);
  EXPECT_TRUE(purse.has(rate, 1000, kStart + 300ms)) << "debt is bounded";
}

TEST(GatewayRate, AChangeKeepsWhoIsBelow) {
  GatewayRate rate;
  rate.set({2'000'000, 200'000});
  GatewayPurse purse;
  MonoTime now = kStart;
  for (int i = 0; i < 10'000; ++i) {
    now += 1ms;
    if (i % 10 == 0) rate.set(i % 20 == 0 ? ip::ByteRate{1'100'000, 262'144} : ip::ByteRate{50'000'000, 5'000'000});
    ASSERT_TRUE(purse.has(rate, 1000, now)) << i;
    purse.pay(rate, 1000, now);
  }
}

}  // namespace
}  // namespace gw::worker
