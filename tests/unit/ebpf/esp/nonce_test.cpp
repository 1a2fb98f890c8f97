// The rule that may never break: no (key, IV) twice. Here the pure rule; with processes that are killed:
// runtime_store_test.cpp.
#include "ebpf/esp/nonce.hpp"

#include <set>

#include "ebpf/esp/runtime_rules.hpp"
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

constexpr std::uint64_t kLast32 = last_sequence(SequenceMode::k32Bit);

TEST(Nonce, IvIsInstanceEpochCounter) {
  EXPECT_EQ(make_iv(0, 1, 0), 0x0000'0100'0000'0000U);
  EXPECT_EQ(make_iv(15, 0xfffff, kIvCounters - 1), UINT64_MAX);
  EXPECT_EQ(make_iv(10, 0x12345, 0x0102030405), 0xa123'4501'0203'0405U);
}

TEST(Nonce, AFreshKeyBeginsAtEpochOneSequenceOne) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_record(r, Direction::kOutbound, {.origin = KeyOrigin::kFresh, .instance = 2}));
  Reservation n{};
  ASSERT_EQ(reserve(r, kLast32, n), ReserveFault::kNone);
  EXPECT_EQ(n.sequence, 1U);
  EXPECT_EQ(n.iv, make_iv(2, 1, 0));
  ASSERT_EQ(reserve(r, kLast32, n), ReserveFault::kNone);
  EXPECT_EQ(n.sequence, 2U);
  EXPECT_EQ(n.iv, make_iv(2, 1, 1));
}

TEST(Nonce, AReplayedKeyWithoutRecordNeedsRekeyInBothDirections) {
  for (const Direction d : {Direction::kOutbound, Direction::kInbound}) {
    RuntimeRecord r{};
    const Status s = begin_record(r, d, {.origin = KeyOrigin::kReplayed});
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, Errc::kNeedsRekey);
    EXPECT_EQ(r.iv_epoch, 0U);
  }
}

// The process may die after any store; whatever state the record is in, the next adoption takes an epoch that
// nobody used.
TEST(Nonce, DyingAtAnyPointNeverRepeatsAnIv) {
  std::set<std::uint64_t> used;
  std::mt19937 random(3);
  RuntimeRecord record{};
  ASSERT_TRUE(begin_outbound(record, 1));
  std::uint64_t top_sequence = 0;
  for (int life = 0; life < 150; ++life) {
    const std::uint64_t packets = random() % 50;
    for (std::uint64_t i = 0; i < packets; ++i) {
      Reservation n{};
      ASSERT_EQ(reserve(record, kLast32, n), ReserveFault::kNone);
      ASSERT_TRUE(used.insert(n.iv).second) << "IV repeated in life " << life;
      ASSERT_GT(n.sequence, top_sequence);
      top_sequence = n.sequence;
    }
    // Stores may have been lost in any combination within one adoption: epoch stored and counter not, or
    // the adoption done and repeated before any use.
    RuntimeRecord half = record;
    if (life % 3 == 0) half.iv_epoch = record.iv_epoch + 1;
    ASSERT_TRUE(resume_outbound(half, 1, 0));
    if (life % 5 == 0) {
      ASSERT_TRUE(resume_outbound(half, 1, 0));
    }
    EXPECT_GT(half.iv_epoch, record.iv_epoch);
    EXPECT_EQ(half.next_counter, 0U);
    EXPECT_EQ(half.next_sequence, record.next_sequence);
    record = half;
  }
}

TEST(Nonce, AHalfBegunRecordIsNotUsed) {
  RuntimeRecord r{};
  r.iv_epoch = 1;  // died before next_sequence was stored
  EXPECT_EQ(resume_outbound(r, 0, 0).error().code, Errc::kNeedsRekey);
  RuntimeRecord zero{};  // not even standby
  EXPECT_EQ(resume_outbound(zero, 0, 0).error().code, Errc::kNeedsRekey);
}

TEST(Nonce, JumpCoversALaggingRecordAndSaturates) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_outbound(r, 0));
  r.next_sequence = 1000;
  ASSERT_TRUE(resume_outbound(r, 0, 5000));
  EXPECT_EQ(r.next_sequence, 6000U);
  r.next_sequence = UINT64_MAX - 10;
  ASSERT_TRUE(resume_outbound(r, 0, 5000));
  EXPECT_EQ(r.next_sequence, UINT64_MAX);
  Reservation n{};
  EXPECT_EQ(reserve(r, last_sequence(SequenceMode::kExtended), n), ReserveFault::kSequence);
}

TEST(Nonce, AnotherInstancesRecordNeedsRekey) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_outbound(r, 3));
  EXPECT_EQ(resume_outbound(r, 4, 0).error().code, Errc::kNeedsRekey);
  EXPECT_EQ(resume_outbound(r, 16, 0).error().field, "instance");
  EXPECT_EQ(begin_outbound(r, 16).error().field, "instance");
  EXPECT_EQ(r.iv_epoch, 1U);
}

TEST(Nonce, EpochsRunOut) {
  RuntimeRecord r{};
  ASSERT_TRUE(begin_outbound(r, 0));
  r.iv_epoch = kRestarts - 2;
  ASSERT_TRUE(resume_outbound(r, 0, 0));
  EXPECT_EQ(r.iv_epoch, kRestarts - 1);
  EXPECT_EQ(resume_outbound(r, 0, 0).error().code, Errc::kNeedsRekey);
  EXPECT_EQ(r.iv_epoch, kRestarts - 1) << "a refusal changes nothing";
  r.granted_block = 7;
  ASSERT_TRUE(resume_outbound(r, 0, 0));
  EXPECT_EQ(r.iv_epoch, first_epoch_of(7));
  r.iv_epoch = kIvEpochs - 1;
  r.granted_block = kEpochBlocks - 1;
  EXPECT_EQ(resume_outbound(r, 0, 0).error().code, Errc::kNeedsRekey);
}

struct ExhaustionRow {
  const char* what;
  SequenceMode mode;
  std::uint64_t next_sequence;
  std::uint64_t next_counter;
  gw_drop want;
  std::uint8_t event;
};

TEST(Exhaustion, TypedDropsAndEarlySoftSignal) {
  const auto k32 = SequenceMode::k32Bit;
  const auto kEsn = SequenceMode::kExtended;
  const ExhaustionRow rows[] = {
      {"32-bit, plenty", k32, UINT32_MAX - kExhaustionMargin - 2, 0, GW_DROP_NONE, 0},
      {"32-bit, soft", k32, UINT32_MAX - kExhaustionMargin, 0, GW_DROP_NONE, kSoftSequence},
      {"32-bit, last", k32, UINT32_MAX, 0, GW_DROP_NONE, kSoftSequence},
      {"32-bit, none left", k32, std::uint64_t{UINT32_MAX} + 1, 0, GW_DROP_SEQ_EXHAUSTED, kHardSequence},
      {"ESN crosses 2^32", kEsn, std::uint64_t{UINT32_MAX} + 1, 0, GW_DROP_NONE, 0},
      {"ESN, soft", kEsn, UINT64_MAX - kExhaustionMargin, 0, GW_DROP_NONE, kSoftSequence},
      {"ESN, last", kEsn, UINT64_MAX - 1, 0, GW_DROP_NONE, kSoftSequence},
      {"ESN, none left", kEsn, UINT64_MAX, 0, GW_DROP_SEQ_EXHAUSTED, kHardSequence},
      {"IV, soft", kEsn, 1, kIvCounters - kExhaustionMargin, GW_DROP_NONE, kSoftSequence},
      {"IV, last", kEsn, 1, kIvCounters - 1, GW_DROP_NONE, kSoftSequence},
      {"IV, none left", kEsn, 1, kIvCounters, GW_DROP_IV_EXHAUSTED, kHardSequence},
  };
  for (const ExhaustionRow& row : rows) {
    SCOPED_TRACE(row.what);
    SaPair pair({.mode = row.mode});
    pair.out_record.next_sequence = row.next_sequence;
    pair.out_record.next_counter = row.next_counter;
    const RuntimeRecord before = pair.out_record;
    Buffer b(inner_packet({}));
    b.packet.out = pair.outbound.get();
    const BurstResult r = pair.encap.encapsulate({&b.packet, 1}, 1);
    EXPECT_EQ(b.packet.drop, row.want);
    EXPECT_EQ(r.events, row.event);
    EXPECT_EQ(pair.outbound->take_events(), row.event);
    if (row.want == GW_DROP_NONE) {
      EXPECT_EQ(pair.out_record.next_sequence, before.next_sequence + 1);
    } else {
      EXPECT_EQ(std::memcmp(&before, &pair.out_record, sizeof before), 0) << "a refusal changes nothing";
      EXPECT_EQ(pair.encap.encapsulate({&b.packet, 1}, 1).events, 0) << "told once";
    }
  }
}

TEST(Exhaustion, TheRunUpToTheLastNumberNeverRepeatsIt) {
  SaPair pair({.mode = SequenceMode::k32Bit});
  pair.out_record.next_sequence = UINT32_MAX - 9;
  std::vector<Buffer> buffers;
  std::vector<Packet> packets;
  buffers.reserve(20);
  for (int i = 0; i < 20; ++i) {
    buffers.emplace_back(inner_packet({}));
    buffers.back().packet.out = pair.outbound.get();
    packets.push_back(buffers.back().packet);
  }
  const BurstResult r = pair.encap.encapsulate(packets, 1);
  EXPECT_EQ(r.passed, 10U);
  EXPECT_EQ(r.dropped, 10U);
  EXPECT_EQ(r.events, kSoftSequence | kHardSequence);
  std::set<std::uint64_t> ivs;
  for (const Packet& p : packets) {
    if (p.drop == GW_DROP_NONE) {
      EXPECT_TRUE(ivs.insert(load_be<std::uint64_t>(p.data() + 28)).second);
    } else {
      EXPECT_EQ(p.drop, GW_DROP_SEQ_EXHAUSTED);
    }
  }
}

TEST(Exhaustion, SoftSignalComesEarlierByTheJump) {
  RuntimeRecord r{};
  r.next_sequence = UINT32_MAX - kExhaustionMargin - 100;
  EXPECT_FALSE(near_exhaustion(r, kLast32, 0));
  EXPECT_TRUE(near_exhaustion(r, kLast32, 1000));
}

// The reservation is in the record before the packet is encrypted: a backend that looks sees it.
class WatchingBackend final : public CryptoBackend {
 public:
  WatchingBackend() : CryptoBackend(IvSource::create().value()) {}
  std::string_view name() const override { return "watching"; }
  Result<std::unique_ptr<KeySchedule>> make_key(const KeyMaterial&) override {
    struct Nothing final : KeySchedule {};
    return std::make_unique<Nothing>();
  }
  void encrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) {
      const std::uint64_t iv = load_be<std::uint64_t>(op.text - kAeadIvBytes);
      EXPECT_LT(iv, make_iv(record->iv_instance, record->iv_epoch, record->next_counter));
      EXPECT_LT(op.sequence, record->next_sequence);
      ++seen;
      op.ok = false;  // and a failed encryption is a typed drop
    }
  }
  void decrypt(std::span<CryptoOp>) override {}
  RuntimeRecord* record = nullptr;
  int seen = 0;
};

TEST(Nonce, ReservedBeforeEncryption) {
  RuntimeRecord record{};
  ASSERT_TRUE(begin_outbound(record, 1));
  WatchingBackend crypto;
  crypto.record = &record;
  const auto sa = OutboundSa::create(parameters({}), crypto, record).value();
  Codec codec(crypto);
  std::vector<Buffer> buffers;
  std::vector<Packet> packets;
  buffers.reserve(70);
  for (int i = 0; i < 70; ++i) {
    buffers.emplace_back(inner_packet({}));
    buffers.back().packet.out = sa.get();
    packets.push_back(buffers.back().packet);
  }
  EXPECT_EQ(codec.encapsulate(packets, 1).dropped, 70U);
  EXPECT_EQ(crypto.seen, 70);
  for (const Packet& p : packets) EXPECT_EQ(p.drop, GW_DROP_CRYPTO_FAILED);
}

}  // namespace
}  // namespace gw::esp::test
