#include "ebpf/gso/trains.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace gw::gso {
namespace {

using Queue = std::vector<Datagram>;
constexpr Lane kA{1, 0};
constexpr Lane kB{2, 0};
constexpr Lane kMarked{1, 3};

TEST(Trains, NothingIsNoTrain) { EXPECT_EQ(train_length({}), 0); }
TEST(Trains, EqualSizesGoTogether) { EXPECT_EQ(train_length(Queue(10, {kA, 1000})), 10); }
TEST(Trains, AShorterOneEndsTheTrain) { EXPECT_EQ(train_length(Queue{{kA, 100}, {kA, 100}, {kA, 99}, {kA, 99}}), 3); }
TEST(Trains, ALongerOneStartsTheNext) { EXPECT_EQ(train_length(Queue{{kA, 100}, {kA, 101}}), 1); }
TEST(Trains, OtherLanesStartTheNext) {
  EXPECT_EQ(train_length(Queue{{kA, 100}, {kB, 100}}), 1);
  EXPECT_EQ(train_length(Queue{{kA, 100}, {kMarked, 100}}), 1);
}
TEST(Trains, AtMost64) { EXPECT_EQ(train_length(Queue(100, {kA, 80})), kMaxTrainSegments); }
TEST(Trains, AtMost65000Bytes) {
  EXPECT_EQ(train_length(Queue(64, {kA, 1300})), 50);
  EXPECT_EQ(train_length(Queue(64, {kA, 1301})), 49);
}

TEST(TrainsProperty, EveryDatagramInOneTrainThatTheKernelTakes) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    Queue queue(random() % 200);
    for (Datagram& d : queue)
      d = {{random() % 8 == 0 ? 2u : 1u, static_cast<std::uint8_t>(random() % 8 == 0)},
           static_cast<std::uint32_t>(random() % 4 ? 1400 : 60 + random() % 1340)};
    std::size_t at = 0;
    while (at < queue.size()) {
      const std::size_t n = train_length(std::span(queue).subspan(at));
      ASSERT_GE(n, 1);
      ASSERT_LE(n, kMaxTrainSegments);
      std::size_t bytes = 0;
      for (std::size_t i = at; i < at + n; ++i) {
        ASSERT_EQ(queue[i].lane, queue[at].lane);
        ASSERT_TRUE(queue[i].length == queue[at].length || (i + 1 == at + n && queue[i].length < queue[at].length));
        bytes += queue[i].length;
      }
      ASSERT_LE(bytes, kMaxTrainBytes);
      at += n;
    }
    ASSERT_EQ(at, queue.size());
  }
}

}  // namespace
}  // namespace gw::gso
