// RFC 6040: figure 4 as a table, on the function and on whole packets of every family combination.
#include "ebpf/esp/ecn.hpp"

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

constexpr int kDrop = -1;

// [inner][outer], both in the order Not-ECT, ECT(0), ECT(1), CE as the figure prints them.
constexpr Ecn kOrder[] = {kNotEct, kEct0, kEct1, kCe};
constexpr int kFigure4[4][4] = {
    {kNotEct, kNotEct, kNotEct, kDrop},
    {kEct0, kEct0, kEct1, kCe},
    {kEct1, kEct1, kEct1, kCe},
    {kCe, kCe, kCe, kCe},
};

TEST(Ecn, Figure4) {
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t o = 0; o < 4; ++o) {
      const auto got = combined_ecn(kOrder[i], kOrder[o]);
      EXPECT_EQ(got ? int{*got} : kDrop, kFigure4[i][o]) << "inner " << i << " outer " << o;
    }
}

TEST(Ecn, OnWholePacketsDscpAndChecksumStayRight) {
  for (const Family outer : {Family::kV4, Family::kV6})
    for (const Family inner : {Family::kV4, Family::kV6})
      for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t o = 0; o < 4; ++o) {
          SCOPED_TRACE(testing::Message() << "inner " << i << " outer " << o);
          SaPair pair({.outer = outer});
          const auto tos = static_cast<std::uint8_t>(0xb8 | kOrder[i]);
          const Bytes plain = inner_packet({.family = inner, .tos = tos, .from_peer = true});
          // The outer DSCP (0x28) was changed on the way: it does not come in (RFC 4301 5.1.2.1).
          const auto outer_tos = static_cast<std::uint8_t>(0x28 | kOrder[o]);
          const auto opened = pair.open(pair.forge(with_trailer(plain, inner == Family::kV4 ? 4 : 41), 1, outer_tos));
          if (kFigure4[i][o] == kDrop) {
            EXPECT_EQ(opened.drop, GW_DROP_ECN);
            continue;
          }
          ASSERT_EQ(opened.drop, GW_DROP_NONE);
          EXPECT_EQ(opened.inner,
                    inner_packet(
                        {.family = inner, .tos = static_cast<std::uint8_t>(0xb8 | kFigure4[i][o]), .from_peer = true}));
        }
}

}  // namespace
}  // namespace gw::esp::test
