// kernel-gw's SA table: reservations, identity by (SPI, dst), order, moves, whom to rekey.
#include "ike/plugin/sa_table.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "make_sa.hpp"

namespace gw::kernel_gw_test {
namespace {

class SaTable : public testing::Test {
 protected:
  SaTable() : table_(gw_sa_table_create()) {}
  ~SaTable() override { gw_sa_table_destroy(table_); }

  gw_sa* put(gw_sa_params p) { return gw_sa_table_put(table_, &p, 0); }
  gw_sa* put(std::uint32_t spi, gw_direction direction) { return put(params(spi, direction)); }
  std::vector<std::uint32_t> installed() const {
    std::vector<std::uint32_t> spis;
    for (gw_sa* sa = gw_sa_table_next(table_, nullptr); sa; sa = gw_sa_table_next(table_, sa)) {
      spis.push_back(sa->params.spi);
    }
    return spis;
  }
  std::vector<std::uint32_t> rekeys() const {
    std::array<gw_sa*, 16> picked{};
    const std::size_t count = gw_sa_table_pick_rekeys(table_, picked.data(), picked.size());
    std::vector<std::uint32_t> spis;
    for (std::size_t i = 0; i < count; i++) spis.push_back(picked[i]->params.spi);
    return spis;
  }

  gw_sa_table* table_;
};

TEST_F(SaTable, ReservesAnSpiOnce) {
  EXPECT_TRUE(gw_sa_table_reserve(table_, 0x1000));
  EXPECT_FALSE(gw_sa_table_reserve(table_, 0x1000));
  EXPECT_TRUE(installed().empty());
}

TEST_F(SaTable, DoesNotReserveTheSpiOfAnInstalledSaOfAnyAddress) {
  put(0x1000, GW_OUTBOUND);
  EXPECT_FALSE(gw_sa_table_reserve(table_, 0x1000));
}

TEST_F(SaTable, InboundSaTakesItsReservationOver) {
  gw_sa_table_reserve(table_, 0x1000);
  ASSERT_NE(put(0x1000, GW_INBOUND), nullptr);
  EXPECT_EQ(gw_sa_table_size(table_), 1U);
}

TEST_F(SaTable, OutboundSaOfThePeersChoiceLeavesOurReservationAlone) {
  gw_sa_table_reserve(table_, 0x1000);
  ASSERT_NE(put(0x1000, GW_OUTBOUND), nullptr);
  EXPECT_EQ(gw_sa_table_size(table_), 2U);
  const gw_sa_id outbound = sa_id(0x1000, kPeer);
  EXPECT_EQ(gw_sa_table_remove(table_, &outbound), GW_REMOVED_SA);
  const gw_sa_id reserved = sa_id(0x1000, kUs);
  EXPECT_EQ(gw_sa_table_remove(table_, &reserved), GW_REMOVED_RESERVATION);
  EXPECT_EQ(gw_sa_table_remove(table_, &reserved), GW_REMOVED_NOTHING);
}

TEST_F(SaTable, RefusesASecondSaWithTheSameSpiAndDestination) {
  gw_sa* first = put(0x1000, GW_OUTBOUND);
  EXPECT_EQ(put(0x1000, GW_OUTBOUND), nullptr);
  EXPECT_NE(put(0x1000, GW_INBOUND), nullptr);  // another destination
  const gw_sa_id id = sa_id(0x1000, kPeer);
  EXPECT_EQ(gw_sa_table_find(table_, &id), first);
}

TEST_F(SaTable, PutWipesTheCallersCopyOfTheKeys) {
  gw_sa_params p = params(0x1000, GW_INBOUND);
  std::memset(p.integrity_key, 0x22, GW_INTEGRITY_KEY_MAX);
  gw_sa_table_put(table_, &p, 0);
  EXPECT_EQ(p.key_len, 0U);
  for (std::uint8_t byte : p.key) EXPECT_EQ(byte, 0);
  for (std::uint8_t byte : p.integrity_key) EXPECT_EQ(byte, 0);
  p = params(0x1000, GW_INBOUND);
  ASSERT_EQ(gw_sa_table_put(table_, &p, 0), nullptr);  // refused: wiped all the same
  for (std::uint8_t byte : p.key) EXPECT_EQ(byte, 0);
}

TEST_F(SaTable, KeepsTheOrderOfInstallationAcrossRemovals) {
  put(0x3000, GW_INBOUND);
  gw_sa_table_reserve(table_, 0x9000);
  put(0x1000, GW_INBOUND);
  put(0x2000, GW_INBOUND);
  const gw_sa_id middle = sa_id(0x1000, kUs);
  gw_sa_table_remove(table_, &middle);
  put(0x0500, GW_INBOUND);
  EXPECT_EQ(installed(), (std::vector<std::uint32_t>{0x3000, 0x2000, 0x0500}));
}

TEST_F(SaTable, SpisOfOneBucketDoNotMix) {
  put(0x00001000, GW_INBOUND);
  put(0x00002003, GW_INBOUND);  // 0x1000 ^ 1 and 0x2003 ^ 2 agree in the low 12 bits
  const gw_sa_id first = sa_id(0x00001000, kUs);
  const gw_sa_id second = sa_id(0x00002003, kUs);
  EXPECT_EQ(gw_sa_table_remove(table_, &first), GW_REMOVED_SA);
  EXPECT_EQ(gw_sa_table_find(table_, &first), nullptr);
  EXPECT_NE(gw_sa_table_find(table_, &second), nullptr);
}

TEST_F(SaTable, SerialTellsAnSaFromItsSuccessorWithTheSameId) {
  const std::uint64_t before = put(0x1000, GW_INBOUND)->serial;
  const gw_sa_id id = sa_id(0x1000, kUs);
  gw_sa_table_remove(table_, &id);
  gw_sa* successor = put(0x1000, GW_INBOUND);
  EXPECT_EQ(gw_sa_table_find_serial(table_, 0x1000, before), nullptr);
  EXPECT_EQ(gw_sa_table_find_serial(table_, 0x1000, successor->serial), successor);
}

TEST_F(SaTable, MovesAnSaUnlessAnotherIsThere) {
  gw_sa* sa = put(0x1000, GW_OUTBOUND);
  gw_path path = sa->params.path;
  path.dst = addr(9);
  EXPECT_TRUE(gw_sa_table_move(table_, sa, &path));
  const gw_sa_id old_id = sa_id(0x1000, kPeer);
  const gw_sa_id new_id = sa_id(0x1000, addr(9));
  EXPECT_EQ(gw_sa_table_find(table_, &old_id), nullptr);
  EXPECT_EQ(gw_sa_table_find(table_, &new_id), sa);
  put(0x1000, GW_OUTBOUND);
  path.dst = kPeer;
  EXPECT_FALSE(gw_sa_table_move(table_, sa, &path));
  EXPECT_EQ(gw_sa_table_find(table_, &new_id), sa);
}

TEST_F(SaTable, AddressesOfDifferentFamiliesAreNeverEqual) {
  const gw_addr v4 = {.len = 4, .bytes = {192, 0, 2, 1}};
  const gw_addr v6 = {.len = 16, .bytes = {192, 0, 2, 1}};
  EXPECT_FALSE(gw_addr_equal(&v4, &v6));
}

TEST_F(SaTable, RekeysAPairOnceByItsInboundSa) {
  put(0x1000, GW_OUTBOUND)->lost = true;
  put(0x2000, GW_INBOUND)->lost = true;
  put(0x3000, GW_OUTBOUND)->lost = false;
  EXPECT_EQ(rekeys(), std::vector<std::uint32_t>{0x2000});
}

TEST_F(SaTable, RekeysTheNewestOfTwoPairsAndByTheOutboundSaIfOnlyThatIsLost) {
  put(0x1000, GW_INBOUND)->lost = true;
  put(0x2000, GW_INBOUND)->lost = true;
  gw_sa_params other = params(0x3000, GW_OUTBOUND);
  other.tunnel_id = 8;
  put(other)->lost = true;
  gw_sa_params sibling = params(0x4000, GW_INBOUND);
  sibling.reqid = 2;
  put(sibling)->lost = true;
  EXPECT_EQ(rekeys(), (std::vector<std::uint32_t>{0x2000, 0x4000, 0x3000}));
}

}  // namespace
}  // namespace gw::kernel_gw_test
