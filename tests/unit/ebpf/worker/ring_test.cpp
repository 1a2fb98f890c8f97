// The ring between two workers: order, bounds, and two threads at once (for TSan).
#include "ebpf/worker/ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <numeric>
#include <thread>

namespace gw::worker {
namespace {

TEST(Ring, GivesInOrderAndTakesNoMoreThanItHolds) {
  Ring<int> ring(4);
  const std::array<int, 6> in{1, 2, 3, 4, 5, 6};
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.push(in), 4U) << "the first four";
  EXPECT_EQ(ring.push(in), 0U);
  std::array<int, 3> out{};
  EXPECT_EQ(ring.pop(out), 3U);
  EXPECT_EQ(out, (std::array{1, 2, 3}));
  EXPECT_EQ(ring.push(std::span(in).subspan(4)), 2U) << "room again, across the end";
  EXPECT_EQ(ring.pop(out), 3U);
  EXPECT_EQ(out, (std::array{4, 5, 6}));
  EXPECT_EQ(ring.pop(out), 0U);
  EXPECT_TRUE(ring.empty());
}

TEST(Ring, TwoThreadsLoseNothing) {
  constexpr std::uint64_t kCount = 200'000;
  Ring<std::uint64_t> ring(64);
  std::thread producer([&] {
    std::array<std::uint64_t, 17> batch;
    for (std::uint64_t next = 0; next < kCount;) {
      const std::size_t n = std::min<std::uint64_t>(batch.size(), kCount - next);
      std::iota(batch.begin(), batch.end(), next);
      const std::size_t pushed = ring.push(std::span(batch).first(n));
      next += pushed;
      if (pushed == 0) std::this_thread::yield();
    }
  });
  std::uint64_t expected = 0;
  std::array<std::uint64_t, 13> out;
  while (expected < kCount) {
    const std::size_t n = ring.pop(out);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], expected++);
    if (n == 0) std::this_thread::yield();
  }
  producer.join();
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace gw::worker
