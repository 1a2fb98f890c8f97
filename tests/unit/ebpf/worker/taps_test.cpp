// What a capture has of packets that have left: their own bytes, whoever's the frames are by then.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "ebpf/capture/tap.hpp"
#include "tests/support/worker_rig.hpp"

namespace gw::worker {
namespace {

using namespace std::chrono_literals;
using test::Bytes;
using test::MemoryPort;
using test::WorkerRig;

constexpr auto kPatience = 20s;  // sanitizers on a busy machine

class TapsTest : public testing::TestWithParam<MemoryPort::Lending> {
 protected:
  TapsTest() {
    for (WorkerIndex w = 0; w < 2; ++w) {
      lanes_.push_back(
          capture::Lane::make({.points = bit(capture::Point::kOuter), .snap_bytes = 2000}, std::size_t{1} << 20)
              .value());
      rig_.workers()[w].call([&](DataPath& d) { d.tap().attach(*lanes_.back()); });
    }
  }
  ~TapsTest() override {
    for (WorkerIndex w = 0; w < 2; ++w) rig_.workers()[w].call([](DataPath& d) { d.tap().detach(); });
  }
  std::vector<Bytes> sent(std::size_t wanted) {
    std::vector<Bytes> all;
    for (const auto end = std::chrono::steady_clock::now() + kPatience;
         all.size() < wanted && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms))
      for (std::size_t w = 0; w < 2; ++w) std::ranges::move(rig_.wan(w).take_sent(), std::back_inserter(all));
    return all;
  }
  std::vector<Bytes> captured() {
    std::vector<Bytes> all;
    for (const auto& lane : lanes_)
      for (auto front = lane->ring->front(); !front.empty(); lane->ring->pop(), front = lane->ring->front())
        all.emplace_back(front.begin() + sizeof(capture::Record), front.end());
    return all;
  }
  std::vector<std::unique_ptr<capture::Lane>> lanes_;  // outlive the rig
  WorkerRig rig_{{.lending = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(Memory, TapsTest,
                         testing::Values(MemoryPort::Lending::kFrames, MemoryPort::Lending::kBorrowed),
                         [](const auto& test) {
                           return test.param == MemoryPort::Lending::kFrames ? "frames" : "borrowed";
                         });

TEST_P(TapsTest, WhatLeavesIsSeenBeforeItsFrameIsAnothers) {
  constexpr std::size_t kRounds = 4;
  constexpr std::size_t kEach = 8 * 16;
  std::vector<Bytes> left;
  for (std::size_t round = 0; round < kRounds; ++round) {
    std::vector<Bytes> packets;  // half of them are handed over
    for (std::uint32_t i = 0; i < kEach; ++i) packets.push_back(rig_.to_site(i % 8, i, 100 + i));
    rig_.vnet(round % 2).inject(packets);
    std::ranges::move(sent(kEach), std::back_inserter(left));
  }
  ASSERT_EQ(left.size(), kRounds * kEach);
  for (WorkerIndex w = 0; w < 2; ++w) rig_.workers()[w].call([](DataPath&) {});  // the last burst is done
  std::vector<Bytes> seen = captured();
  std::ranges::sort(left);
  std::ranges::sort(seen);
  EXPECT_EQ(seen.size(), left.size());
  EXPECT_TRUE(seen == left) << "byte by byte";
  EXPECT_TRUE(rig_.all_frames_are_free());
}

}  // namespace
}  // namespace gw::worker
