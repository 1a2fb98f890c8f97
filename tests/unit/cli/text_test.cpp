// Units, escapes and tables.
#include "cli/text.hpp"

#include <gtest/gtest.h>

namespace gw::cli {
namespace {

TEST(HumanBytes, HasOneDecimalAndBinaryUnits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1288490189), "1.2 GiB");
  EXPECT_EQ(human_bytes(1024ULL * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "16.0 EiB");
}

TEST(HumanDuration, HasTheTwoLargestUnits) {
  using std::chrono::seconds;
  EXPECT_EQ(human_duration(seconds(-3)), "0s");
  EXPECT_EQ(human_duration(seconds(59)), "59s");
  EXPECT_EQ(human_duration(seconds(192)), "3m12s");
  EXPECT_EQ(human_duration(seconds(7500)), "2h05m");
  EXPECT_EQ(human_duration(seconds(4 * 86400 + 3 * 3600)), "4d03h");
}

TEST(HumanTime, IsUtc) { EXPECT_EQ(human_time(1'700'000'000'999), "2023-11-14 22:13:20Z"); }

TEST(Printable, TakesTheTerminalFromThePeer) { EXPECT_EQ(printable("a\033[2Jb\nc"), "a?[2Jb?c"); }

TEST(Table, AlignsAndNotes) {
  Table table({{"Name"}, {"Count", Align::kRight}, {"State"}});
  table.row({"a", 1U, Cell("up", Colour::kGood)});
  table.row({"longer", 1234567U, Cell("down", Colour::kBad)});
  table.note("because");
  table.row({"b", "", ""});
  EXPECT_EQ(table.render(Style::kPlain),
            "Name      Count  State\n"
            "a             1  up\n"
            "longer  1234567  down\n"
            "    because\n"
            "b             -  -\n");
  EXPECT_NE(table.render(Style::kColoured).find("\033[32mup\033[0m\n"), std::string::npos);
}

}  // namespace
}  // namespace gw::cli
