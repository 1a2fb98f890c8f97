#include "ebpf/bfd/packet.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace gw::bfd {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Up, detect multiplier 3, discriminators 1 and 2, 50 ms both ways.
Bytes up_packet() {
  return {0x20, 0xc0, 3, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0};
}

TEST(BfdPacket, ReadsEveryField) {
  Bytes b = up_packet();
  b[0] = 0x20 | 1;
  b[1] = 0x80 | 0x20 | 0x08 | 0x02;
  b[23] = 9;
  const auto p = parse(b);
  ASSERT_TRUE(p);
  EXPECT_EQ(*p, (Packet{.diagnostic = Diagnostic::kDetectionTimeExpired,
                        .state = State::kInit,
                        .poll = true,
                        .control_plane_independent = true,
                        .demand = true,
                        .detect_multiplier = 3,
                        .my_discriminator = 1,
                        .your_discriminator = 2,
                        .desired_min_tx = Interval(50'000),
                        .required_min_rx = Interval(50'000),
                        .required_min_echo_rx = Interval(9)}));
}

TEST(BfdPacket, WhatIsWrittenReadsBackTheSame) {
  for (unsigned flags = 0; flags < 16; ++flags) {
    for (const State state : {State::kAdminDown, State::kDown, State::kInit, State::kUp}) {
      const Packet p{.diagnostic = Diagnostic::kPathDown,
                     .state = state,
                     .poll = (flags & 1) != 0,
                     .final = (flags & 2) != 0,
                     .control_plane_independent = (flags & 4) != 0,
                     .demand = (flags & 8) != 0,
                     .detect_multiplier = 255,
                     .my_discriminator = 0xdeadbeef,
                     .your_discriminator = 0xfeedf00d,
                     .desired_min_tx = Interval(0xffffffff),
                     .required_min_rx = Interval(1),
                     .required_min_echo_rx = Interval(0)};
      const auto back = parse(serialize(p));
      ASSERT_TRUE(back);
      EXPECT_EQ(*back, p);
    }
  }
}

TEST(BfdPacket, WhatIsWrongIsRefusedByName) {
  struct Row {
    std::string what;
    std::function<void(Bytes&)> spoil;
    Refusal refusal;
  };
  const std::vector<Row> rows = {
      {"empty", [](Bytes& b) { b.clear(); }, Refusal::kTruncated},
      {"a byte too short", [](Bytes& b) { b.pop_back(); }, Refusal::kTruncated},
      {"says more than came", [](Bytes& b) { b[3] = 25; }, Refusal::kTruncated},
      {"version 0", [](Bytes& b) { b[0] = 0; }, Refusal::kVersion},
      {"version 2", [](Bytes& b) { b[0] = 0x40; }, Refusal::kVersion},
      {"length 0", [](Bytes& b) { b[3] = 0; }, Refusal::kLength},
      {"length 23", [](Bytes& b) { b[3] = 23; }, Refusal::kLength},
      {"authenticated, without room for it", [](Bytes& b) { b[1] |= 0x04; }, Refusal::kLength},
      {"authenticated",
       [](Bytes& b) {
         b[1] |= 0x04;
         b.insert(b.end(), {1, 4, 1, 'x'});
         b[3] = 28;
       },
       Refusal::kAuthentication},
      {"multiplier 0", [](Bytes& b) { b[2] = 0; }, Refusal::kMultiplier},
      {"multipoint", [](Bytes& b) { b[1] |= 0x01; }, Refusal::kMultipoint},
      {"my discriminator 0", [](Bytes& b) { b[7] = 0; }, Refusal::kDiscriminator},
      {"your discriminator 0, up", [](Bytes& b) { b[11] = 0; }, Refusal::kNoYours},
      {"your discriminator 0, init",
       [](Bytes& b) {
         b[11] = 0;
         b[1] = 0x80;
       },
       Refusal::kNoYours},
  };
  for (const Row& row : rows) {
    Bytes b = up_packet();
    row.spoil(b);
    const auto p = parse(b);
    ASSERT_FALSE(p) << row.what;
    EXPECT_EQ(p.error(), row.refusal) << row.what << ": " << to_string(p.error());
  }
}

TEST(BfdPacket, WithoutYoursItMayBeDownOrAdminDown) {
  for (const std::uint8_t state : Bytes{0x00, 0x40}) {
    Bytes b = up_packet();
    b[1] = state;
    b[11] = 0;
    EXPECT_TRUE(parse(b));
  }
}

TEST(BfdPacket, WhatIsBehindThePacketIsNotRead) {
  Bytes b = up_packet();
  b.resize(100, 0xff);
  EXPECT_EQ(parse(b), parse(up_packet()));
}

}  // namespace
}  // namespace gw::bfd
