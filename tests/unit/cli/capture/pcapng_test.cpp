// The blocks against the format's own words (draft-ietf-opsawg-pcapng 3, 4), byte by byte. tests/system reads whole
// files with a reader of its own.
#include "cli/capture/pcapng.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace gw::cli::capture {
namespace {

std::uint32_t word(const std::string& block, std::size_t index) {
  std::uint32_t v = 0;
  std::memcpy(&v, block.data() + index * 4, 4);
  return v;
}

void expect_frame(const std::string& block, std::uint32_t type) {
  EXPECT_EQ(word(block, 0), type);
  ASSERT_EQ(block.size() % 4, 0U);
  EXPECT_EQ(word(block, 1), block.size());
  EXPECT_EQ(word(block, block.size() / 4 - 1), block.size());
}

TEST(Pcapng, Section) {
  const std::string block = section_block("gwctl 1");
  expect_frame(block, 0x0a0d0d0a);
  EXPECT_EQ(word(block, 2), 0x1a2b3c4dU);
  EXPECT_EQ(word(block, 3), 1U) << "version 1.0";
  EXPECT_EQ(word(block, 4), 0xffffffffU);
  EXPECT_EQ(word(block, 6), 7U << 16 | 4) << "shb_userappl";
}

TEST(Pcapng, InterfaceOfPacketsThatBeginAtIp) {
  const std::string block = interface_block({.name = "inner", .description = "clear", .snap_bytes = 96});
  expect_frame(block, 1);
  EXPECT_EQ(word(block, 2), 101U) << "LINKTYPE_RAW";
  EXPECT_EQ(word(block, 3), 96U);
  EXPECT_EQ(block.substr(20, 5), "inner");
  EXPECT_EQ(block.substr(block.size() - 16, 5), std::string("\x09\x00\x01\x00\x09", 5)) << "nanoseconds";
}

TEST(Pcapng, PacketIsPaddedAndKeepsItsLength) {
  const std::string data = "abcde";
  const std::string block = packet_block({.interface = 2,
                                          .unix_ns = 0x1122334455667788,
                                          .length = 1400,
                                          .bytes = {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()},
                                          .direction = PacketDirection::kOutbound,
                                          .comment = "dropped: icv"});
  expect_frame(block, 6);
  EXPECT_EQ(word(block, 2), 2U);
  EXPECT_EQ(word(block, 3), 0x11223344U);
  EXPECT_EQ(word(block, 4), 0x55667788U);
  EXPECT_EQ(word(block, 5), 5U);
  EXPECT_EQ(word(block, 6), 1400U);
  EXPECT_EQ(block.substr(28, 8), std::string("abcde\0\0\0", 8));
  EXPECT_EQ(word(block, 9), 4U << 16 | 2) << "epb_flags";
  EXPECT_EQ(word(block, 10), 2U) << "outbound";
  EXPECT_EQ(word(block, 11), 12U << 16 | 1) << "opt_comment";
  EXPECT_EQ(block.substr(48, 12), "dropped: icv");
  EXPECT_EQ(word(block, 15), 0U) << "opt_endofopt";
}

TEST(Pcapng, Statistics) {
  const std::string block =
      statistics_block({.interface = 1, .start_unix_ns = 1, .end_unix_ns = 2, .received = 300, .lost = 7});
  expect_frame(block, 5);
  EXPECT_EQ(word(block, 2), 1U);
  const auto option = [&](std::uint32_t head) {
    for (std::size_t i = 5; i < block.size() / 4; ++i)
      if (word(block, i) == head) return word(block, i + 1);
    return ~0U;
  };
  EXPECT_EQ(option(8U << 16 | 4), 300U) << "isb_ifrecv";
  EXPECT_EQ(option(8U << 16 | 5), 7U) << "isb_ifdrop";
}

TEST(Pcapng, WholeBlocksOfWhatWasWritten) {
  const std::string two = section_block("x") + interface_block({.name = "inner", .description = "", .snap_bytes = 1});
  const std::size_t first = section_block("x").size();
  for (std::size_t n = 0; n <= two.size(); ++n)
    EXPECT_EQ(whole_blocks(two.substr(0, n)), n == two.size() ? n : n >= first ? first : 0U) << n;
  EXPECT_EQ(whole_blocks(std::string(100, '\0')), 0U);
  EXPECT_EQ(whole_blocks(std::string(100, '\xff')), 0U);
}

}  // namespace
}  // namespace gw::cli::capture
