#include "ebpf/gso/checksum.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "ebpf/esp/checksum.hpp"

namespace gw::gso {
namespace {

using Sum = std::uint16_t (*)(std::uint8_t*, const std::uint8_t*, std::size_t);

class ChecksumTest : public testing::TestWithParam<Sum> {
 protected:
  void SetUp() override {
    if (GetParam() == detail::avx2 && !detail::has_avx2()) GTEST_SKIP() << "this CPU has no AVX2";
  }
};

TEST_P(ChecksumTest, IsThePlainSumAtEveryLengthAndAlignment) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> bytes(700);
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
  for (std::size_t at = 0; at < 9; ++at)
    for (std::size_t length = 0; length + at <= 600; ++length) {
      const std::uint16_t expected = esp::fold16(esp::sum16(&bytes[at], length));
      ASSERT_EQ(GetParam()(nullptr, &bytes[at], length), expected) << length << " bytes at " << at;
    }
}

TEST_P(ChecksumTest, CopiesExactlyTheBytes) {
  std::mt19937 random(8);
  std::vector<std::uint8_t> from(2000);
  for (auto& b : from) b = static_cast<std::uint8_t>(random());
  for (const std::size_t length : {0u, 1u, 7u, 8u, 9u, 63u, 64u, 65u, 127u, 128u, 1399u, 1400u, 1401u}) {
    std::vector<std::uint8_t> to(2000, 0xaa);
    EXPECT_EQ(GetParam()(&to[3], &from[5], length), esp::fold16(esp::sum16(&from[5], length)));
    EXPECT_TRUE(std::equal(&to[3], &to[3] + length, &from[5])) << length;
    EXPECT_EQ(to[2], 0xaa);
    EXPECT_EQ(to[3 + length], 0xaa) << length;
  }
}

TEST_P(ChecksumTest, LargestSumsDoNotOverflow) {
  const std::vector<std::uint8_t> ones(65535, 0xff);
  EXPECT_EQ(GetParam()(nullptr, ones.data(), 65534), 0xffff);
  EXPECT_EQ(GetParam()(nullptr, ones.data(), 65535), 0xff00);  // the padded last byte is half a word
}

TEST_P(ChecksumTest, OnlyZerosAreZero) {
  std::vector<std::uint8_t> bytes(300);
  EXPECT_EQ(GetParam()(nullptr, bytes.data(), bytes.size()), 0);
  bytes[256] = 0xff;
  bytes[257] = 0xff;
  EXPECT_EQ(GetParam()(nullptr, bytes.data(), bytes.size()), 0xffff);
}

INSTANTIATE_TEST_SUITE_P(All, ChecksumTest, testing::Values(detail::portable, detail::avx2),
                         [](const auto& row) { return row.param == detail::avx2 ? "avx2" : "portable"; });

}  // namespace
}  // namespace gw::gso
