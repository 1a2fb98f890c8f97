#include "base/secret.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace gw {
namespace {

TEST(Secret, ComparesAndMoves) {
  Secret a(std::string_view("swordfish"));
  const Secret b = a.clone();
  EXPECT_TRUE(a == b);
  EXPECT_FALSE(a == Secret(std::string_view("swordfisj")));
  EXPECT_FALSE(a == Secret(std::string_view("sword")));
  const Secret moved = std::move(a);
  EXPECT_EQ(moved.text(), "swordfish");
}

TEST(Secret, WipeClearsTheWholeBuffer) {
  std::array<unsigned char, 32> key;
  key.fill(0xaa);
  wipe(key.data(), key.size());
  EXPECT_TRUE(std::ranges::all_of(key, [](unsigned char c) { return c == 0; }));
  std::string s(100, 'k');
  wipe(s);
  EXPECT_TRUE(s.empty());
}

}  // namespace
}  // namespace gw
