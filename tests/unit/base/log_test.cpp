#include "base/log.hpp"

#include <gtest/gtest.h>

namespace gw::log {
namespace {

TEST(Log, AnEventIsOneLine) {
  EXPECT_EQ(one_line("tunnel 7 (Zürich): carrier up"), "tunnel 7 (Zürich): carrier up");
  EXPECT_EQ(one_line("charon\n2026-01-01 forged"), "charon\\n2026-01-01 forged");
  EXPECT_EQ(one_line("\x1b[31mred\r\t\x7f"), "\\x1b[31mred\\x0d\\x09\\x7f");
  EXPECT_EQ(one_line(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(one_line(""), "");
}

TEST(Log, ALineHasAnEnd) {
  EXPECT_EQ(one_line(std::string(kMaxLine, 'x')), std::string(kMaxLine, 'x'));
  EXPECT_EQ(one_line(std::string(1'000'000, 'x')), std::string(kMaxLine, 'x') + "... (cut)");
  EXPECT_LE(one_line(std::string(1'000'000, '\n')).size(), kMaxLine + 20);
}

}  // namespace
}  // namespace gw::log
