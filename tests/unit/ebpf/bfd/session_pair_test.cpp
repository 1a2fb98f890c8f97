// Two sessions over a path that delays, loses, repeats and ends: whatever the schedule, they come up, stay up while
// enough gets through, notice within the detection time when nothing does, and come back.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <functional>
#include <random>

#include "ebpf/bfd/session.hpp"

namespace gw::bfd {
namespace {

using namespace std::chrono_literals;
constexpr auto kStep = 1ms;

struct Path {
  double loss = 0;
  double repeat = 0;
  std::chrono::milliseconds delay{1};
  bool cut = false;
};

class Pair {
 public:
  Pair(const Settings& a, const Settings& b, unsigned seed)
      : ends_{Session(1001, a, now_), Session(2002, b, now_)}, random_(seed) {}

  void run(std::chrono::milliseconds time, const std::function<void()>& each = [] {}) {
    for (const MonoTime end = now_ + time; now_ < end; now_ += kStep) {
      for (std::size_t i = 0; i < 2; ++i) {
        deliver(i);
        ends_[i].advance(now_);
        int burst = 0;
        while (const auto p = ends_[i].take_packet(now_)) {
          ASSERT_LT(++burst, 4);
          ++sent[i];
          put(1 - i, *p);
        }
        ASSERT_GT(ends_[i].due(), now_) << "what was due was done";
      }
      each();
    }
  }
  Session& operator[](std::size_t i) { return ends_[i]; }
  bool up() const { return ends_[0].state() == State::kUp && ends_[1].state() == State::kUp; }
  MonoTime now() const { return now_; }

  Path path;
  std::array<std::size_t, 2> sent{};

 private:
  struct InFlight {
    MonoTime at;
    std::array<std::uint8_t, kPacketBytes> bytes;
  };
  void put(std::size_t to, const Packet& p) {
    const auto chance = [this](double of) { return std::uniform_real_distribution<>(0, 1)(random_) < of; };
    if (path.cut || chance(path.loss)) return;
    for (int copies = chance(path.repeat) ? 2 : 1; copies > 0; --copies)
      queues_[to].push_back({now_ + path.delay, serialize(p)});
  }
  void deliver(std::size_t to) {
    for (auto& q = queues_[to]; !q.empty() && q.front().at <= now_; q.pop_front()) {
      const auto p = parse(q.front().bytes);
      ASSERT_TRUE(p);
      ASSERT_TRUE(p->your_discriminator == 0 || p->your_discriminator == ends_[to].local_discriminator());
      (void)ends_[to].receive(*p, now_);
    }
  }

  MonoTime now_{1000s};
  std::array<Session, 2> ends_;
  std::array<std::deque<InFlight>, 2> queues_;
  std::mt19937 random_;
};

Settings every(std::chrono::milliseconds interval) {
  return {.desired_min_tx = Interval(interval), .required_min_rx = Interval(interval), .detect_multiplier = 3};
}

TEST(BfdPair, ComesUpAndSendsAtTheSlowerPace) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Pair pair(every(50ms), every(100ms), seed);
    pair.run(4s);
    ASSERT_TRUE(pair.up()) << seed;
    pair.sent = {};
    pair.run(10s);
    for (const std::size_t n : pair.sent) {
      EXPECT_GE(n, 100u);
      EXPECT_LE(n, 136u);
    }
  }
}

TEST(BfdPair, TenMillisecondsWork) {
  Pair pair(every(10ms), every(10ms), 1);
  pair.path.delay = 2ms;
  pair.run(4s);
  ASSERT_TRUE(pair.up());
  pair.path.cut = true;
  pair.run(40ms);
  EXPECT_EQ(pair[0].state(), State::kDown);
  EXPECT_EQ(pair[1].state(), State::kDown);
}

TEST(BfdPair, NoticesWithinTheDetectionTimeAndComesBack) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Pair pair(every(50ms), every(50ms), seed);
    pair.run(4s);
    ASSERT_TRUE(pair.up());
    pair.path.cut = true;
    pair.run(98ms);
    EXPECT_TRUE(pair.up()) << "two intervals without packets are no failure";
    pair.run(56ms);
    EXPECT_EQ(pair[0].state(), State::kDown);
    EXPECT_EQ(pair[1].state(), State::kDown);
    EXPECT_EQ(pair[0].diagnostic(), Diagnostic::kDetectionTimeExpired);
    pair.run(2s);
    pair.path.cut = false;
    pair.run(4s);
    EXPECT_TRUE(pair.up()) << seed;
  }
}

TEST(BfdPair, RepeatedAndLatePacketsDoNoHarm) {
  Pair pair(every(50ms), every(50ms), 7);
  pair.path = {.repeat = 0.5, .delay = 45ms};
  pair.run(5s);
  ASSERT_TRUE(pair.up());
  pair.run(60s, [&] { ASSERT_TRUE(pair.up()); });
}

TEST(BfdPair, TimersChangeWithoutAnInterruptionWhateverTheOrder) {
  std::mt19937 random(3);
  Pair pair(every(50ms), every(50ms), 3);
  pair.run(4s);
  for (int change = 0; change < 200; ++change) {
    const auto interval = std::chrono::milliseconds(std::uniform_int_distribution<>(10, 900)(random));
    Settings s = every(interval);
    s.required_min_rx = Interval(std::chrono::milliseconds(std::uniform_int_distribution<>(10, 900)(random)));
    s.detect_multiplier = static_cast<std::uint8_t>(std::uniform_int_distribution<>(3, 5)(random));
    pair[static_cast<std::size_t>(change % 2)].configure(s, pair.now());
    pair.run(std::chrono::milliseconds(std::uniform_int_distribution<>(0, 3000)(random)),
             [&] { ASSERT_TRUE(pair.up()) << "after change " << change; });
  }
}

TEST(BfdPair, OneThatIsReplacedByACopyGoesOn) {
  Pair pair(every(50ms), every(50ms), 5);
  pair.run(4s);
  for (int move = 0; move < 20; ++move) {
    const Snapshot taken = pair[0].snapshot();
    pair.run(300ms, [&] { ASSERT_TRUE(pair.up()); });
    pair[0] = Session(taken, every(50ms), pair.now());  // a snapshot that is a bit old
    pair.run(300ms, [&] { ASSERT_TRUE(pair.up()) << move; });
  }
}

TEST(BfdPair, LossOfATenthIsNoFailureWithAMultiplierOfTen) {
  Settings s = every(50ms);
  s.detect_multiplier = 10;
  Pair pair(s, s, 11);
  pair.path.loss = 0.1;
  pair.run(20s);
  ASSERT_TRUE(pair.up());
  pair.run(300s, [&] { ASSERT_TRUE(pair.up()); });
}

}  // namespace
}  // namespace gw::bfd
