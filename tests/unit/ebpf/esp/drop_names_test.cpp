#include "ebpf/abi/drop_names.hpp"

#include <gtest/gtest.h>

#include <set>

namespace gw {
namespace {

TEST(DropNames, EachReasonHasItsOwnNameAndOneSentence) {
  std::set<std::string_view> names;
  for (int i = 0; i < GW_DROP_COUNT; ++i) {
    const auto reason = static_cast<gw_drop>(i);
    const DropInfo& info = drop_info(reason);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(info.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos) << info.name;
    EXPECT_TRUE(info.meaning.ends_with('.')) << info.name;
    EXPECT_EQ(drop_by_name(info.name), reason);
  }
}

TEST(DropNames, NamesStandBesideTheirNumbers) {
  EXPECT_EQ(drop_info(GW_DROP_NONE).name, "none");
  EXPECT_EQ(drop_info(GW_DROP_UNKNOWN_SPI).name, "unknown_spi");
  EXPECT_EQ(drop_info(GW_DROP_REPLAY).name, "replay");
  EXPECT_EQ(drop_info(GW_DROP_TS_MISMATCH).name, "ts_mismatch");
  EXPECT_EQ(drop_info(GW_DROP_SEQ_EXHAUSTED).name, "seq_exhausted");
  EXPECT_EQ(drop_info(GW_DROP_TTL).name, "ttl");
  EXPECT_EQ(drop_info(GW_DROP_TUN_DOWN).name, "tun_down");
}

TEST(DropNames, UnknownNumbersAndNamesAreHarmless) {
  EXPECT_EQ(drop_info(GW_DROP_COUNT).name, "unknown");
  EXPECT_EQ(drop_by_name("unknown"), std::nullopt);
}

}  // namespace
}  // namespace gw
