#include "base/spsc_queue.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace gw {
namespace {

TEST(SpscQueue, FullIsRefusedAndValueKept) {
  SpscQueue<std::unique_ptr<int>> q(2);
  EXPECT_TRUE(q.push(std::make_unique<int>(1)));
  EXPECT_TRUE(q.push(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(q.push(std::move(third)));
  ASSERT_TRUE(third);
  EXPECT_EQ(**q.pop(), 1);
  EXPECT_TRUE(q.push(std::move(third)));
  EXPECT_EQ(**q.pop(), 2);
  EXPECT_EQ(**q.pop(), 3);
  EXPECT_FALSE(q.pop());
}

TEST(SpscQueue, TwoThreadsKeepOrder) {
  constexpr int kCount = 200'000;
  SpscQueue<int> q(64);
  std::jthread producer([&] {
    for (int i = 0; i < kCount;)
      if (int v = i; q.push(std::move(v)))
        ++i;
      else
        std::this_thread::yield();
  });
  for (int expected = 0; expected < kCount;) {
    if (const auto v = q.pop()) {
      ASSERT_EQ(*v, expected);
      ++expected;
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace
}  // namespace gw
