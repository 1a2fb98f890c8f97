// Whole packets against an independent implementation: scapy's ESP, frozen in kat.inc by make_kat.py. Our
// encapsulation must produce them to the last bit, outer header and padding included.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

struct Kat {
  const char* name;
  int outer;
  bool udp;
  bool esn;
  std::uint32_t spi;
  std::uint64_t sequence;
  std::uint64_t counter;
  const char* key;
  const char* inner;
  const char* wire;
};

const Kat kKats[] = {
#include "tests/unit/ebpf/esp/kat.inc"
};

SaParameters parameters_of(const Kat& k) {
  SaParameters p = parameters({.outer = k.outer == 4 ? Family::kV4 : Family::kV6,
                               .encapsulation = k.udp ? Encapsulation::kUdp : Encapsulation::kNative,
                               .mode = k.esn ? SequenceMode::kExtended : SequenceMode::k32Bit,
                               .spi = k.spi});
  const Bytes key = unhex(k.key);
  p.transform = find_transform({.key_bytes = key.size() - kAeadSaltBytes});
  p.key = Secret(key);
  return p;
}

class KnownAnswers : public testing::TestWithParam<BackendChoice> {};

TEST_P(KnownAnswers, EncapsulationIsBitExact) {
  const auto crypto = backend(GetParam());
  Codec codec(*crypto);
  for (const Kat& k : kKats) {
    SCOPED_TRACE(k.name);
    RuntimeRecord record{};
    record.next_sequence = k.sequence;
    record.next_counter = k.counter;
    record.iv_epoch = 0x12345;
    record.iv_instance = 3;
    const auto sa = OutboundSa::create(parameters_of(k), *crypto, record).value();
    Buffer b(unhex(k.inner));
    b.packet.out = sa.get();
    const BurstResult r = codec.encapsulate({&b.packet, 1}, 5);
    EXPECT_EQ(r.passed, 1U);
    EXPECT_EQ(b.packet.drop, GW_DROP_NONE);
    EXPECT_EQ(b.bytes(), unhex(k.wire));
  }
}

TEST_P(KnownAnswers, DecapsulationGivesTheInnerPacket) {
  const auto crypto = backend(GetParam());
  Codec codec(*crypto);
  for (const Kat& k : kKats) {
    SCOPED_TRACE(k.name);
    RuntimeRecord record{};
    record.replay_top = k.sequence - 1;  // tells ESN its high half
    const auto sa = InboundSa::create(parameters_of(k), *crypto, record).value();
    Buffer b(unhex(k.wire), 0, 0);
    ASSERT_EQ(receive(b.packet, *sa), GW_DROP_NONE);
    const BurstResult r = codec.decapsulate({&b.packet, 1}, 5);
    EXPECT_EQ(r.passed, 1U);
    EXPECT_EQ(b.packet.drop, GW_DROP_NONE);
    EXPECT_EQ(b.bytes(), unhex(k.inner));
    EXPECT_EQ(record.replay_top, k.sequence);
  }
}

INSTANTIATE_TEST_SUITE_P(All, KnownAnswers, testing::ValuesIn(all_backends()), backend_name);

}  // namespace
}  // namespace gw::esp::test
