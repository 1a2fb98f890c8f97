// RFC 4303 3.4.3 and appendix A2: the window against a model that simply remembers everything.
#include <set>

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

constexpr std::uint64_t kWrap = std::uint64_t{1} << 32;

// What the RFC says in words: the highest accepted number, and the set of those accepted.
struct Model {
  std::uint32_t size;
  std::uint64_t top = 0;
  std::set<std::uint64_t> seen{};

  bool acceptable(std::uint64_t s) const { return s != 0 && (s > top || (top - s < size && !seen.contains(s))); }
  void accept(std::uint64_t s) {
    seen.insert(s);
    top = std::max(top, s);
  }
};

TEST(ReplayWindow, SizeIsRoundedUpToAMultipleOf64Within64And4096) {
  const auto size = [](std::uint32_t asked) { return ReplayWindow(asked, SequenceMode::kExtended).size(); };
  EXPECT_EQ(size(0), 64U);
  EXPECT_EQ(size(1), 64U);
  EXPECT_EQ(size(64), 64U);
  EXPECT_EQ(size(65), 128U);
  EXPECT_EQ(size(1000), 1024U);
  EXPECT_EQ(size(4095), 4096U);
  EXPECT_EQ(size(4096), 4096U);
  EXPECT_EQ(size(UINT32_MAX), 4096U);
}

TEST(ReplayWindow, EdgesForEverySize) {
  for (std::uint32_t w = 64; w <= 4096; w += 64) {
    const ReplayWindow window(w, SequenceMode::kExtended);
    for (const std::uint64_t top : {std::uint64_t{w} + 7, kWrap - 1, kWrap + 5, kWrap * 9 + w}) {
      SCOPED_TRACE(testing::Message() << "window " << w << " top " << top);
      RuntimeRecord r{};
      EXPECT_FALSE(window.acceptable(r, 0));
      EXPECT_TRUE(window.accept(r, top));
      EXPECT_FALSE(window.acceptable(r, top)) << "the top itself";
      EXPECT_TRUE(window.acceptable(r, top - 1));
      EXPECT_TRUE(window.acceptable(r, top - w + 1)) << "left edge";
      EXPECT_FALSE(window.acceptable(r, top - w)) << "one left of it";
      EXPECT_TRUE(window.accept(r, top - w + 1));
      EXPECT_FALSE(window.accept(r, top - w + 1));
      EXPECT_TRUE(window.accept(r, top + 1)) << "moves the left edge by one";
      EXPECT_FALSE(window.acceptable(r, top - w + 1));
      EXPECT_TRUE(window.acceptable(r, top - w + 2));
      EXPECT_FALSE(window.acceptable(r, top));
      // A jump that leaves exactly one old number in the window, then one that leaves none.
      EXPECT_TRUE(window.accept(r, top + w));
      EXPECT_FALSE(window.acceptable(r, top + 1));
      EXPECT_TRUE(window.acceptable(r, top + 2));
      EXPECT_TRUE(window.accept(r, top + w + 100 * w));
      for (std::uint64_t s = top + 100 * w + 1; s < top + 101 * w; ++s) ASSERT_TRUE(window.acceptable(r, s)) << s;
    }
  }
}

TEST(ReplayWindow, AgreesWithTheModelOnRandomTraffic) {
  std::mt19937_64 random(11);
  for (const std::uint32_t w : {64U, 128U, 192U, 960U, 1024U, 4032U, 4096U}) {
    for (const std::uint64_t start : {std::uint64_t{1}, kWrap - 3 * w, std::uint64_t{5} << 40}) {
      const ReplayWindow window(w, SequenceMode::kExtended);
      RuntimeRecord r{};
      Model model{w};
      ASSERT_TRUE(window.accept(r, start));
      model.accept(start);
      for (int i = 0; i < 20'000; ++i) {
        std::uint64_t s = model.top;
        switch (random() % 8) {
          case 0: s += random() % (2 * w); break;                                // ahead, sometimes beyond the window
          case 1: s -= std::min(s, random() % (w + 8)); break;                   // behind, sometimes too far
          case 2: s -= std::min<std::uint64_t>(s, w - 2 + random() % 4); break;  // around the edge
          default: s += 1 + random() % 3;
        }
        ASSERT_EQ(window.acceptable(r, s), model.acceptable(s)) << "w " << w << " top " << model.top << " s " << s;
        const bool forged = random() % 10 == 0;  // a forged packet is looked at and never accepted
        if (forged) continue;
        ASSERT_EQ(window.accept(r, s), model.acceptable(s));
        if (model.acceptable(s)) model.accept(s);
        ASSERT_EQ(r.replay_top, model.top);
      }
    }
  }
}

TEST(ReplayWindow, ThirtyTwoBitNumbersAreTakenAsTheyAre) {
  const ReplayWindow window(64, SequenceMode::k32Bit);
  RuntimeRecord r{};
  ASSERT_TRUE(window.accept(r, UINT32_MAX));
  EXPECT_EQ(window.infer(r, 5), 5U);
  EXPECT_FALSE(window.acceptable(r, 5)) << "a 32-bit counter never cycles";
}

// The sender's number is the one of the three candidates (high - 1, high, high + 1) that the rules choose: the
// only one that is in the window, or the next one ahead of it.
TEST(EsnInference, AgreesWithTheDefinition) {
  std::mt19937_64 random(5);
  for (const std::uint32_t w : {64U, 1024U, 4096U}) {
    const ReplayWindow window(w, SequenceMode::kExtended);
    for (int i = 0; i < 60'000; ++i) {
      RuntimeRecord r{};
      r.replay_top = (random() % 4) * kWrap + (random() % 3 == 0 ? random() % (2 * w) : random() % kWrap);
      const auto low =
          static_cast<std::uint32_t>(random() % 3 == 0 ? r.replay_top + random() % (4 * w) - 2 * w : random());
      // The number with these low bits within [bottom, bottom + 2^32), bottom the window's left edge. Before
      // number 0 there is none.
      const std::int64_t bottom = static_cast<std::int64_t>(r.replay_top) - w + 1;
      std::int64_t candidate = static_cast<std::int64_t>(low);
      while (candidate < bottom) candidate += static_cast<std::int64_t>(kWrap);
      while (candidate >= bottom + static_cast<std::int64_t>(kWrap)) candidate -= static_cast<std::int64_t>(kWrap);
      const auto got = window.infer(r, low);
      if (candidate < 0) {
        ASSERT_EQ(got, std::nullopt) << "top " << r.replay_top << " low " << low;
      } else {
        ASSERT_EQ(got, static_cast<std::uint64_t>(candidate)) << "top " << r.replay_top << " low " << low;
      }
    }
  }
}

TEST(EsnInference, NothingBeforeTheFirstAndNothingAfterTheLast) {
  const ReplayWindow window(64, SequenceMode::kExtended);
  RuntimeRecord r{};
  EXPECT_EQ(window.infer(r, 1), 1U);
  EXPECT_EQ(window.infer(r, UINT32_MAX), std::nullopt);
  r.replay_top = UINT64_MAX - 2;
  EXPECT_EQ(window.infer(r, 0), std::nullopt);
}

// Whole packets across the wrap of the low half, in order and reordered, at both half-windows.
TEST(EsnWrap, PacketsAroundTheWrapInAnyOrder) {
  for (const std::uint32_t w : {64U, 256U, 4096U}) {
    SaPair pair({.window = w});
    pair.out_record.next_sequence = kWrap - w / 2;
    pair.in_record.replay_top = kWrap - w / 2 - 1;
    std::vector<Bytes> wires;
    for (std::uint32_t i = 0; i < w; ++i) wires.push_back(pair.seal(inner_packet({})));
    EXPECT_EQ(pair.out_record.next_sequence, kWrap + w / 2);
    std::mt19937 random(w);
    std::ranges::shuffle(wires, random);
    for (const Bytes& wire : wires) ASSERT_EQ(pair.open(wire).drop, GW_DROP_NONE);
    EXPECT_EQ(pair.in_record.replay_top, kWrap + w / 2 - 1);
    for (const Bytes& wire : wires) ASSERT_EQ(pair.open(wire).drop, GW_DROP_REPLAY);
  }
}

// A packet of the wrong subspace has the wrong AAD: its ICV fails even though its low half is fresh.
TEST(EsnWrap, ThePreviousSubspaceIsAuthenticatedApart) {
  SaPair pair({});
  pair.in_record.replay_top = kWrap + 1000;
  const Bytes wire = pair.forge(with_trailer(inner_packet({}), 4), 2000);  // 0:2000, taken for 1:2000
  EXPECT_EQ(pair.open(wire).drop, GW_DROP_ICV);
  EXPECT_EQ(pair.in_record.replay_top, kWrap + 1000);
}

TEST(ReplayOfPackets, DuplicatesWithinOneBurst) {
  SaPair pair({});
  const Bytes wire = pair.seal(inner_packet({}));
  std::vector<Buffer> buffers;
  std::vector<Packet> packets;
  buffers.reserve(5);
  for (int i = 0; i < 5; ++i) {
    buffers.emplace_back(wire, 0U, 0U);
    ASSERT_EQ(receive(buffers.back().packet, *pair.inbound), GW_DROP_NONE);
    packets.push_back(buffers.back().packet);
  }
  const BurstResult r = pair.decap.decapsulate(packets, 1);
  EXPECT_EQ(r.passed, 1U);
  EXPECT_EQ(r.dropped, 4U);
  EXPECT_EQ(packets[0].drop, GW_DROP_NONE);
  for (int i = 1; i < 5; ++i) EXPECT_EQ(packets[static_cast<std::size_t>(i)].drop, GW_DROP_REPLAY);
  EXPECT_EQ(pair.in_record.packets, 1U);
}

TEST(ReplayOfPackets, AForgedJumpDoesNotMoveTheWindow) {
  SaPair pair({.mode = SequenceMode::k32Bit});
  ASSERT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_NONE);
  Bytes far = pair.forge(with_trailer(inner_packet({}), 4), 4'000'000);
  far.back() ^= 1;
  EXPECT_EQ(pair.open(far).drop, GW_DROP_ICV);
  EXPECT_EQ(pair.in_record.replay_top, 1U);
  EXPECT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_NONE);
}

}  // namespace
}  // namespace gw::esp::test
