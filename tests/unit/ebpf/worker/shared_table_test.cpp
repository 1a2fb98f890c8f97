// The table that workers read while the control thread changes it.
#include "ebpf/worker/shared_table.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "ebpf/worker/sa_key.hpp"

namespace gw::worker {
namespace {

struct Key {
  std::uint64_t value = 0;
  friend bool operator==(const Key&, const Key&) = default;
};
std::size_t hash_value(const Key& key) { return key.value; }

using Table = SharedTable<Key, int>;

/// All in one chain.
struct Crowded {
  std::uint64_t value = 0;
  friend bool operator==(const Crowded&, const Crowded&) = default;
};
std::size_t hash_value(const Crowded&) { return 0; }

TEST(SharedTable, FindsWhatIsInIt) {
  Table table(100);
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_NE(table.insert({i}, static_cast<int>(i)), nullptr);
  EXPECT_TRUE(table.full());
  EXPECT_EQ(table.insert({100}, 0), nullptr) << "bounded";
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_NE(table.find({i}), nullptr);
    EXPECT_EQ(*table.find({i}), static_cast<int>(i));
  }
  EXPECT_EQ(table.find({100}), nullptr);
}

TEST(SharedTable, AnErasedPlaceIsUsedAgainOnlyAfterReclaim) {
  Table table(2);
  table.insert({1}, 1);
  int* const two = table.insert({2}, 2);
  EXPECT_TRUE(table.erase({2}));
  EXPECT_FALSE(table.erase({2}));
  EXPECT_EQ(table.find({2}), nullptr);
  EXPECT_EQ(*two, 2) << "a reader may still be at it";
  EXPECT_TRUE(table.full());
  table.reclaim();
  EXPECT_FALSE(table.full());
  EXPECT_NE(table.insert({3}, 3), nullptr);
}

TEST(SharedTable, ARefusedValueStaysWithItsOwner) {
  SharedTable<Key, std::unique_ptr<int>> table(1);
  ASSERT_NE(table.insert({1}, std::make_unique<int>(1)), nullptr);
  auto refused = std::make_unique<int>(2);
  EXPECT_EQ(table.insert({2}, std::move(refused)), nullptr);
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(*refused, 2);
}

TEST(SharedTable, AReplacementHidesTheOldValueAtOnce) {
  Table table(4);
  table.insert({1}, 1);
  table.insert({1}, 2);
  EXPECT_EQ(*table.find({1}), 2);
  EXPECT_TRUE(table.erase({1})) << "the older one goes";
  EXPECT_EQ(*table.find({1}), 2);
}

TEST(SharedTable, ReclaimFreesWhatTheValueOwns) {
  SharedTable<Key, std::shared_ptr<int>> table(4);
  auto owned = std::make_shared<int>(7);
  table.insert({1}, std::shared_ptr<int>(owned));
  table.erase({1});
  EXPECT_EQ(owned.use_count(), 2);
  table.reclaim();
  EXPECT_EQ(owned.use_count(), 1);
}

// A reader goes along a chain while the writer takes pieces out of its middle.
TEST(SharedTable, ReadersSeeAllThatStaysWhileOthersComeAndGo) {
  SharedTable<Crowded, int> table(64);
  constexpr std::uint64_t kStays = 7;
  table.insert({kStays}, 7);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> rounds{0};  // grace: the reader is past what it held
  std::atomic<std::uint64_t> missed{0};
  std::thread reader([&] {
    while (!stop.load()) {
      const int* found = table.find({kStays});
      if (!found || *found != 7) ++missed;
      for (std::uint64_t i = 100; i < 110; ++i)
        if (const int* other = table.find({i}); other && *other != static_cast<int>(i)) ++missed;
      rounds.fetch_add(1);
    }
  });
  for (int round = 0; round < 300; ++round) {
    for (std::uint64_t i = 100; i < 110; ++i) table.insert({i}, static_cast<int>(i));
    for (std::uint64_t i = 100; i < 110; ++i) table.erase({i});
    const std::uint64_t seen = rounds.load();
    while (rounds.load() < seen + 2) std::this_thread::yield();
    table.reclaim();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(missed.load(), 0U);
}

TEST(SaKeyHash, ConsecutiveSpisSpread) {
  SharedTable<SaKey, int> table(1024);
  const IpAddress dst = IpAddress::from_v4(0xcb00710a);
  std::vector<std::size_t> per_bucket(4096);
  std::size_t most = 0;
  for (std::uint32_t spi = 0xc0000000; spi < 0xc0000000 + 1024; ++spi)
    most = std::max(most, ++per_bucket.at(table.bucket({spi, dst})));
  EXPECT_LE(most, 6U);
}

}  // namespace
}  // namespace gw::worker
