#include "ebpf/worker/parking.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gw::worker {
namespace {

struct Packet {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
};
using Lot = Parking<int, Packet>;
constexpr MonoTime at(int ms) { return MonoTime(std::chrono::milliseconds(ms)); }
std::uint64_t address(const Packet& d) { return d.address; }

TEST(Parking, GivesBackInOrderOfArrivalAndOnlyItsOwn) {
  Lot lot;
  for (std::uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(lot.park(i % 2 == 0 ? 7 : 8, {i, 100}, at(1000)));
  std::array<Packet, 2> out;
  ASSERT_EQ(lot.take(7, out), 2U);
  EXPECT_EQ(address(out[0]), 0U);
  EXPECT_EQ(address(out[1]), 2U);
  ASSERT_EQ(lot.take(7, out), 1U);
  EXPECT_EQ(address(out[0]), 4U);
  EXPECT_EQ(lot.take(7, out), 0U);
  EXPECT_FALSE(lot.empty());
  EXPECT_EQ(lot.take(8, out), 2U);
  EXPECT_EQ(lot.take(8, out), 1U);
  EXPECT_TRUE(lot.empty());
}

TEST(Parking, IsBoundedInAllAndPerSpi) {
  Lot lot;
  std::size_t parked = 0;
  while (lot.park(7, {}, at(1000))) ++parked;
  EXPECT_EQ(parked, Lot::kPlacesPerKey) << "one SPI cannot take all places";
  while (lot.park(static_cast<int>(parked), {}, at(1000))) ++parked;
  EXPECT_EQ(parked, Lot::kPlaces);
}

TEST(Parking, GivesBackWhatIsWanted) {
  Lot lot;
  for (std::uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(lot.park(static_cast<int>(i % 2), {i, 100}, at(1000)));
  std::array<Packet, 8> out;
  const auto old = [](int key, const Packet& p) { return key == 1 && p.address < 4; };
  ASSERT_EQ(lot.take_if(old, out), 2U);
  EXPECT_EQ(address(out[0]), 1U);
  EXPECT_EQ(address(out[1]), 3U);
  EXPECT_EQ(lot.take_if(old, out), 0U);
  EXPECT_EQ(lot.take(1, out), 1U);
  EXPECT_EQ(lot.take(0, out), 3U);
}

TEST(Parking, WhatWaitedTooLongIsDroppedOnce) {
  Lot lot;
  lot.park(7, {1, 0}, at(1000));
  lot.park(7, {2, 0}, at(1500));
  std::vector<std::uint64_t> dropped;
  const auto drop = [&](int, const Packet& d) { dropped.push_back(d.address); };
  lot.expire(at(1000) + Lot::kLongest - std::chrono::milliseconds(1), drop);
  EXPECT_TRUE(dropped.empty());
  lot.expire(at(1000) + Lot::kLongest, drop);
  EXPECT_EQ(dropped, std::vector<std::uint64_t>{1});
  lot.expire(at(1500) + Lot::kLongest, drop);
  EXPECT_EQ(dropped, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_TRUE(lot.empty());
}

}  // namespace
}  // namespace gw::worker
