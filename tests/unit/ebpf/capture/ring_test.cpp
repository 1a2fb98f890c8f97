#include "ebpf/capture/ring.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>

namespace gw::capture {
namespace {

bool push(Ring& ring, const std::string& text) {
  std::uint8_t* const to = ring.reserve(static_cast<std::uint32_t>(text.size()));
  if (!to) return false;
  std::memcpy(to, text.data(), text.size());
  ring.commit();
  return true;
}

std::string front(Ring& ring) {
  const auto bytes = ring.front();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(CaptureRing, RecordsComeOutAsTheyWentIn) {
  auto ring = Ring::make(8192).value();
  EXPECT_TRUE(ring->front().empty());
  ASSERT_TRUE(push(*ring, "first"));
  ASSERT_TRUE(push(*ring, "the second, which is longer"));
  EXPECT_EQ(front(*ring), "first");
  EXPECT_EQ(front(*ring), "first") << "until it is popped";
  ring->pop();
  EXPECT_EQ(front(*ring), "the second, which is longer");
  ring->pop();
  EXPECT_TRUE(ring->front().empty());
}

TEST(CaptureRing, WhatWasNotCommittedIsNotThere) {
  auto ring = Ring::make(8192).value();
  ASSERT_NE(ring->reserve(100), nullptr);
  EXPECT_TRUE(ring->front().empty());
  ASSERT_TRUE(push(*ring, "x"));
  EXPECT_EQ(front(*ring), "x");
}

TEST(CaptureRing, AFullOneRefusesAndTakesAgainWhenRead) {
  auto ring = Ring::make(8192).value();
  const std::string record(1000, 'r');
  int taken = 0;
  while (push(*ring, record)) ++taken;
  EXPECT_EQ(taken, 8) << "1008 bytes each";
  EXPECT_FALSE(push(*ring, record));
  (void)ring->front();
  ring->pop();
  EXPECT_TRUE(push(*ring, record)) << "what was read is room again, around the end";
  EXPECT_FALSE(push(*ring, record));
  EXPECT_EQ(ring->reserve(9000), nullptr) << "never fits";
  EXPECT_EQ(front(*ring), record);
}

// Lengths of all remainders, around the end many times; under TSan the order of memory, too.
TEST(CaptureRing, OneWritesWhileAnotherReads) {
  auto ring = Ring::make(16384).value();
  constexpr int kRecords = 20000;
  const auto record = [](int n) {
    std::string text = std::to_string(n) + ":";
    text.resize(text.size() + static_cast<std::size_t>(n * 37 % 1500), static_cast<char>('a' + n % 26));
    return text;
  };
  std::thread writer([&] {
    for (int n = 0; n < kRecords;)
      if (push(*ring, record(n)))
        ++n;
      else
        std::this_thread::yield();
  });
  for (int n = 0; n < kRecords;) {
    if (ring->front().empty()) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(front(*ring), record(n));
    ring->pop();
    ++n;
  }
  writer.join();
  EXPECT_TRUE(ring->front().empty());
}

}  // namespace
}  // namespace gw::capture
