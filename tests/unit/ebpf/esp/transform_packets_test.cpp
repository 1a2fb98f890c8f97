// Whole packets under every transform: damage, truncation, authentic misfits, and the wrap of extended numbers.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

class EveryTransform : public testing::TestWithParam<std::string_view> {
 protected:
  const Transform& transform() const { return *find_transform(GetParam()); }
};

TEST_P(EveryTransform, EveryDamagedByteOfTheEspPacketIsADropAndMovesNothing) {
  for (const SequenceMode mode : {SequenceMode::k32Bit, SequenceMode::kExtended})
    for (const BackendChoice receiver : all_backends()) {
      SaPair pair({.mode = mode, .transform = GetParam(), .receiver = receiver});
      ASSERT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_NONE);
      const Bytes wire = pair.seal(inner_packet({}));
      const RuntimeRecord before = pair.in_record;
      for (std::size_t i = 24; i < wire.size(); ++i) {
        Bytes bad = wire;
        bad[i] ^= 0x40;
        EXPECT_EQ(pair.open(bad).drop, GW_DROP_ICV) << "byte " << i << " of " << wire.size();
        ASSERT_EQ(std::memcmp(&before, &pair.in_record, sizeof before), 0) << "byte " << i;
      }
      EXPECT_EQ(pair.open(wire).drop, GW_DROP_NONE);
    }
}

TEST_P(EveryTransform, TruncationAtEveryLength) {
  SaPair pair({.transform = GetParam()});
  const Bytes wire = pair.seal(inner_packet({}));
  const std::size_t least = 28 + transform().iv_bytes + kTrailerBytes + transform().icv_bytes;
  for (std::size_t n = wire.size() - 1; n > 24; --n) {
    Bytes cut(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(n));
    store_be(&cut[2], static_cast<std::uint16_t>(n));
    fix_ipv4_checksum(cut.data());
    const gw_drop drop = pair.open(cut).drop;
    const std::size_t text = n - 28 - transform().iv_bytes - transform().icv_bytes;
    const bool whole_blocks = transform().block_bytes == 4 || text % transform().block_bytes == 0;
    EXPECT_EQ(drop, n >= least && whole_blocks ? GW_DROP_ICV : GW_DROP_TRUNCATED) << n;
  }
  EXPECT_EQ(pair.in_record.replay_top, 0U);
}

TEST_P(EveryTransform, AuthenticMisfits) {
  const std::size_t block = transform().block_bytes;
  const Bytes v4 = inner_packet({.from_peer = true});
  Bytes long_pad = with_trailer(v4, 4, block);
  long_pad[long_pad.size() - 2] = 0xff;
  Bytes wrong_pad = with_trailer(inner_packet({.size = 99, .from_peer = true}), 4, block);
  wrong_pad[99] ^= 1;
  Bytes tfc = v4;
  tfc.resize(400, 0xee);
  struct Row {
    const char* what;
    Bytes text;
    gw_drop want;
  };
  const Row rows[] = {
      {"good", with_trailer(v4, 4, block), GW_DROP_NONE},
      {"with TFC padding", with_trailer(tfc, 4, block), GW_DROP_NONE},
      {"pad length 0xff", long_pad, GW_DROP_PAD},
      {"pad bytes", wrong_pad, GW_DROP_PAD},
      {"dummy", with_trailer(Bytes(60, 0), kNextHeaderNone, block), GW_DROP_DUMMY},
      {"transport mode", with_trailer(v4, 6, block), GW_DROP_NEXT_HEADER},
      {"other family", with_trailer(v4, 41, block), GW_DROP_MALFORMED_INNER},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    SaPair pair({.transform = GetParam()});
    const Bytes wire = pair.forge(row.text, 7);
    const auto opened = pair.open(wire);
    EXPECT_EQ(opened.drop, row.want);
    if (row.want == GW_DROP_NONE) {
      EXPECT_EQ(opened.inner, v4);
    }
    EXPECT_EQ(pair.in_record.replay_top, 7U);
    EXPECT_EQ(pair.open(wire).drop, GW_DROP_REPLAY);
  }
}

// RFC 4303 appendix A2: the high half steps with the low one's wrap, and is part of what is authenticated.
TEST_P(EveryTransform, ExtendedNumbersWrap) {
  SaPair pair({.transform = GetParam()});
  constexpr std::uint64_t kWrap = std::uint64_t{1} << 32;
  pair.out_record.next_sequence = 3 * kWrap - 4;
  pair.in_record.replay_top = 3 * kWrap - 5;
  std::vector<Bytes> wires;
  for (int i = 0; i < 8; ++i) wires.push_back(pair.seal(inner_packet({})));
  std::ranges::reverse(wires);  // the newest first: those before the wrap come when it is over
  for (const Bytes& wire : wires) EXPECT_EQ(pair.open(wire).drop, GW_DROP_NONE);
  EXPECT_EQ(pair.in_record.replay_top, 3 * kWrap + 3);
  for (const Bytes& wire : wires) EXPECT_EQ(pair.open(wire).drop, GW_DROP_REPLAY);
  // The same low half one subspace earlier is another packet.
  const std::uint64_t low = 3 * kWrap + 10;
  EXPECT_EQ(pair.open(pair.forge(with_trailer(inner_packet({}), 4, transform().block_bytes), low - kWrap)).drop,
            GW_DROP_ICV);
}

std::vector<std::string_view> names() {
  std::vector<std::string_view> all;
  for (const Transform& t : transforms()) all.push_back(t.name);
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, EveryTransform, testing::ValuesIn(names()),
                         [](const auto& test) { return test_name(test.param); });

}  // namespace
}  // namespace gw::esp::test
