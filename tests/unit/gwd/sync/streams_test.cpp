// One stream without I/O: what one end gives out, the other takes, over connections that break at any point.
#include <gmock/gmock.h>

#include <random>

#include "gwd/sync/streams.hpp"

namespace gw::gwd::sync {
namespace {

constexpr MonoTime kStart{std::chrono::seconds(1)};

wire::Data to_data(const Outbox::Chunk& chunk) {
  wire::Data out;
  out.set_kind(static_cast<std::uint32_t>(Kind::kRoutes));
  out.set_sequence(chunk.sequence);
  out.set_more(chunk.more);
  out.set_payload(std::string(chunk.payload));
  return out;
}

wire::Data data(std::uint64_t sequence, std::string payload, bool more = false) {
  wire::Data out;
  out.set_sequence(sequence);
  out.set_more(more);
  out.set_payload(std::move(payload));
  return out;
}

wire::Position position(std::uint64_t received, std::uint64_t limit) {
  wire::Position out;
  out.set_received(received);
  out.set_limit(limit);
  return out;
}

std::vector<std::uint64_t> sent_by(Outbox& outbox) {
  std::vector<std::uint64_t> out;
  while (const auto chunk = outbox.next()) out.push_back(chunk->sequence);
  return out;
}

TEST(Outbox, CutsLongMessages) {
  Outbox outbox(Kind::kConfig);
  ASSERT_TRUE(outbox.push(std::string(2 * kMaxChunk, 'a') + "end", kStart));
  ASSERT_TRUE(outbox.push(std::string(kMaxChunk, 'b'), kStart));
  ASSERT_TRUE(outbox.push("", kStart));
  std::vector<std::pair<std::size_t, bool>> seen;
  while (const auto chunk = outbox.next()) seen.emplace_back(chunk->payload.size(), chunk->more);
  EXPECT_THAT(seen, testing::ElementsAre(std::pair(kMaxChunk, true), std::pair(kMaxChunk, true), std::pair(3, false),
                                         std::pair(kMaxChunk, false), std::pair(0, false)));
}

TEST(Outbox, GivesOutNoMoreThanAllowed) {
  Outbox outbox(Kind::kRoutes);
  for (std::uint64_t i = 0; i < kWindow + 10; ++i) ASSERT_TRUE(outbox.push("x", kStart));
  EXPECT_EQ(sent_by(outbox).size(), kWindow);
  EXPECT_FALSE(outbox.waiting());
  ASSERT_TRUE(outbox.acknowledge(position(3, kWindow + 4), kStart).has_value());
  EXPECT_THAT(sent_by(outbox), testing::ElementsAre(kWindow + 1, kWindow + 2, kWindow + 3, kWindow + 4));
}

TEST(Outbox, SendsAgainWhatIsNotAcknowledged) {
  Outbox outbox(Kind::kRoutes);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(outbox.push("x", kStart));
  EXPECT_EQ(sent_by(outbox).size(), 5U);
  ASSERT_TRUE(outbox.acknowledge(position(2, 100), kStart).has_value());
  EXPECT_THAT(sent_by(outbox), testing::IsEmpty());
  outbox.rewind();
  EXPECT_THAT(sent_by(outbox), testing::ElementsAre(3, 4, 5));
  KindCounters counters;
  outbox.count(counters, kStart);
  EXPECT_EQ(counters.repeated_frames, 3U);
  EXPECT_EQ(counters.unacknowledged_bytes, 3U);
}

TEST(Outbox, AnOlderAcknowledgementChangesNothing) {
  Outbox outbox(Kind::kRoutes);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(outbox.push("x", kStart));
  (void)sent_by(outbox);
  ASSERT_TRUE(outbox.acknowledge(position(4, 200), kStart).has_value());
  ASSERT_TRUE(outbox.acknowledge(position(2, 100), kStart).has_value());
  outbox.rewind();
  EXPECT_THAT(sent_by(outbox), testing::ElementsAre(5));
}

TEST(Outbox, RefusesAnAcknowledgementOfWhatWasNeverSent) {
  Outbox outbox(Kind::kRoutes);
  ASSERT_TRUE(outbox.push("x", kStart));
  const auto done = outbox.acknowledge(position(1, 100), kStart);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().reason, wire::REASON_MALFORMED);
  EXPECT_EQ(done.error().message, "acknowledges routes 1, sent were 0");
}

TEST(Outbox, BreaksInsteadOfKeepingWithoutEnd) {
  Outbox outbox(Kind::kRoutes);
  for (std::size_t kept = 0; kept < kMaxUnacknowledged; kept += kMaxChunk)
    ASSERT_TRUE(outbox.push(std::string(kMaxChunk, 'x'), kStart));
  EXPECT_FALSE(outbox.push("x", kStart));
}

TEST(Outbox, KnowsTheLag) {
  Outbox outbox(Kind::kRoutes);
  ASSERT_TRUE(outbox.push("x", kStart));
  ASSERT_TRUE(outbox.push("x", kStart + std::chrono::milliseconds(4)));
  (void)sent_by(outbox);
  KindCounters counters;
  outbox.count(counters, kStart + std::chrono::milliseconds(10));
  EXPECT_EQ(counters.lag, std::chrono::milliseconds(10));
  ASSERT_TRUE(outbox.acknowledge(position(1, 100), kStart + std::chrono::milliseconds(11)).has_value());
  ASSERT_TRUE(outbox.acknowledge(position(2, 100), kStart + std::chrono::milliseconds(12)).has_value());
  counters = {};
  outbox.count(counters, kStart + std::chrono::seconds(9));
  EXPECT_EQ(counters.lag, std::chrono::microseconds(0));
  // 11 ms and 8 ms: up to 20 and up to 10.
  EXPECT_THAT(counters.lag_histogram, testing::ElementsAre(0, 0, 0, 1, 1, 0, 0, 0, 0, 0));
  EXPECT_NEAR(counters.lag_sum_seconds, 0.019, 1e-9);
}

TEST(Inbox, TakesAChunkOnce) {
  Inbox inbox(Kind::kRoutes);
  auto first = data(1, "a");
  EXPECT_EQ(inbox.accept(first).value(), "a");
  auto again = data(1, "a");
  EXPECT_EQ(inbox.accept(again).value(), std::nullopt);
  EXPECT_EQ(inbox.position().received(), 1U);
}

struct BadChunk {
  const char* what;
  wire::Data data;
  wire::Reason reason;
  std::string message;
};

class InboxRefuses : public testing::TestWithParam<BadChunk> {};

TEST_P(InboxRefuses, AndNothingIsTaken) {
  Inbox inbox(Kind::kRoutes);
  auto first = data(1, "a");
  ASSERT_TRUE(inbox.accept(first).has_value());
  auto bad = GetParam().data;
  const auto done = inbox.accept(bad);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().reason, GetParam().reason);
  EXPECT_EQ(done.error().message, GetParam().message);
  EXPECT_EQ(inbox.position().received(), 1U);
}

INSTANTIATE_TEST_SUITE_P(All, InboxRefuses,
                         testing::Values(BadChunk{"a gap", data(3, "x"), wire::REASON_REORDERED, "routes 3 follows 1"},
                                         BadChunk{"far ahead", data(~0ULL, "x"), wire::REASON_REORDERED,
                                                  "routes 18446744073709551615 follows 1"},
                                         BadChunk{
                                             "long", data(2, std::string(kMaxChunk + 1, 'x')), wire::REASON_OVERSIZED,
                                             "a message of routes has 16385 bytes and more, the limit is 8388608"}),
                         [](const auto& test) { return std::to_string(test.index); });

TEST(Inbox, RefusesAMessageWithoutEnd) {
  Inbox inbox(Kind::kConfig);
  std::uint64_t sequence = 0;
  for (std::size_t size = 0; size < kMaxMessage; size += kMaxChunk) {
    auto chunk = data(++sequence, std::string(kMaxChunk, 'x'), true);
    ASSERT_TRUE(inbox.accept(chunk).has_value()) << sequence;
  }
  auto last = data(++sequence, "x", true);
  const auto done = inbox.accept(last);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().reason, wire::REASON_OVERSIZED);
}

TEST(Inbox, AllowsNoMoreThanIsHandedOn) {
  Inbox inbox(Kind::kRoutes);
  std::uint64_t sequence = 0;
  while (sequence < kWindow) {
    auto chunk = data(++sequence, "x");
    ASSERT_TRUE(inbox.accept(chunk).has_value());
  }
  EXPECT_EQ(inbox.position().limit(), kWindow);
  auto beyond = data(kWindow + 1, "x");
  const auto done = inbox.accept(beyond);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().reason, wire::REASON_CREDIT);
  inbox.handed_on(1);
  EXPECT_EQ(inbox.position().limit(), kWindow + 1);
  EXPECT_TRUE(inbox.accept(beyond).has_value());
}

// Connections break after any number of chunks, acknowledgements get lost, the receiver is slow: every message arrives
// once, whole and in order.
TEST(Stream, LosesNothingOverBrokenConnections) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const auto upto = [&](std::size_t n) { return random() % (n + 1); };
    Outbox outbox(Kind::kRoutes);
    Inbox inbox(Kind::kRoutes);
    std::vector<std::string> said;
    std::vector<std::string> heard;
    std::deque<std::size_t> waiting;  // sizes
    while (heard.size() < 60) {
      if (said.size() < 60) {
        said.push_back(std::string(upto(3) == 0 ? upto(5 * kMaxChunk) : upto(50), static_cast<char>('a' + upto(25))));
        ASSERT_TRUE(outbox.push(said.back(), kStart));
      }
      for (std::size_t budget = upto(6); budget > 0; --budget) {
        const auto chunk = outbox.next();
        if (!chunk) break;
        auto frame = to_data(*chunk);
        auto got = inbox.accept(frame);
        ASSERT_TRUE(got.has_value()) << "seed " << seed << ": " << got.error().message;
        if (!*got) continue;
        waiting.push_back((*got)->size());
        heard.push_back(std::move(**got));
      }
      for (std::size_t n = upto(4); n > 0 && !waiting.empty(); --n) {
        inbox.handed_on(waiting.front());
        waiting.pop_front();
      }
      if (upto(2) == 0) {
        ASSERT_TRUE(outbox.acknowledge(inbox.position(), kStart).has_value());
      }
      if (upto(4) == 0) outbox.rewind();
    }
    EXPECT_EQ(heard, said) << "seed " << seed;
  }
}

}  // namespace
}  // namespace gw::gwd::sync
