#include "base/wire.hpp"

#include <gtest/gtest.h>

#include <array>

namespace gw {
namespace {

TEST(Wire, BigEndianAtAnyAlignment) {
  std::array<std::uint8_t, 16> b{};
  for (unsigned off = 0; off < 8; ++off) {
    store_be<std::uint32_t>(b.data() + off, 0x01020304);
    EXPECT_EQ(b[off], 1);
    EXPECT_EQ(b[off + 3], 4);
    EXPECT_EQ(load_be<std::uint32_t>(b.data() + off), 0x01020304U);
  }
  store_be<std::uint64_t>(b.data(), 0x0102030405060708ULL);
  EXPECT_EQ(b[7], 8);
  EXPECT_EQ(load_be<std::uint16_t>(b.data() + 6), 0x0708);
}

}  // namespace
}  // namespace gw
