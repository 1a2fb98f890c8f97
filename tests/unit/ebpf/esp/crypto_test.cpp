// Damage on each backend; the backends against each other on random packets of every transform.
#include "tests/unit/ebpf/esp/crypto_support.hpp"

namespace gw::esp::test {
namespace {

class CryptoBackends : public testing::TestWithParam<BackendChoice> {};

// --- damage -------------------------------------------------------------------------------------------

struct Keyed {
  const Transform* transform;
  SequenceMode mode;
  Bytes cipher;
  Bytes integrity;
  KeyMaterial material() const { return {transform, mode, cipher, integrity}; }
};

Keyed random_key(std::mt19937& random, const Transform& t) {
  return {&t, random() % 2 == 0 ? SequenceMode::k32Bit : SequenceMode::kExtended,
          random_bytes(random, std::size_t{t.key_bytes} + t.salt_bytes), random_bytes(random, t.integrity_key_bytes)};
}

EspPacket random_packet(std::mt19937& random, const Transform& t, std::size_t max_bytes) {
  EspPacket p(t, static_cast<std::uint32_t>(random()), std::uint64_t{random()} << 32 | random());
  p.set_iv(random_bytes(random, t.iv_bytes));
  p.set_text(random_bytes(random, (1 + random() % (max_bytes / t.block_bytes)) * t.block_bytes));
  return p;
}

TEST_P(CryptoBackends, EveryBitOfEveryPacketCounts) {
  const auto crypto = backend(GetParam());
  std::mt19937 random(11);
  for (const Transform& t : transforms()) {
    SCOPED_TRACE(t.name);
    for (const SequenceMode mode : {SequenceMode::k32Bit, SequenceMode::kExtended}) {
      Keyed k = random_key(random, t);
      k.mode = mode;
      const auto key = key_for(*crypto, k.material());
      EspPacket good = random_packet(random, t, 48);
      ASSERT_TRUE(good.encrypt(*crypto, *key));
      for (std::size_t bit = 0; bit < good.bytes.size() * 8; ++bit) {
        EspPacket bad = good;
        bad.bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        if (bit / 8 >= 4 && bit / 8 < 8) bad.sequence ^= std::uint64_t{1} << (8 * (7 - bit / 8) + bit % 8);
        EXPECT_FALSE(bad.decrypt(*crypto, *key)) << "bit " << bit;
      }
      EspPacket other_half = good;
      other_half.sequence ^= std::uint64_t{1} << 32;
      EXPECT_EQ(other_half.decrypt(*crypto, *key), mode == SequenceMode::k32Bit);
      EXPECT_TRUE(good.decrypt(*crypto, *key));
    }
  }
}

TEST_P(CryptoBackends, WrongKeyLengthsAreRefusedByName) {
  const auto crypto = backend(GetParam());
  for (const Transform& t : transforms()) {
    SCOPED_TRACE(t.name);
    const Bytes cipher(std::size_t{t.key_bytes} + t.salt_bytes);
    const Bytes integrity(t.integrity_key_bytes);
    for (const std::size_t n : {0U, 1U, 15U, 16U, 17U, 19U, 20U, 24U, 28U, 32U, 35U, 36U, 37U, 64U}) {
      if (n != cipher.size()) {
        const auto key = crypto->make_key({&t, SequenceMode::k32Bit, Bytes(n), integrity});
        ASSERT_FALSE(key) << n;
        EXPECT_EQ(key.error().code, Errc::kUnsupported);
        EXPECT_EQ(key.error().field, "key");
      }
      if (n != integrity.size()) {
        const auto key = crypto->make_key({&t, SequenceMode::k32Bit, cipher, Bytes(n)});
        ASSERT_FALSE(key) << n;
        EXPECT_EQ(key.error().field, "integrity_key");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CryptoBackends, testing::ValuesIn(all_backends()), backend_name);

// --- the backends against each other --------------------------------------------------------------------

/// A burst of packets, the same for both sides, with a key of each backend for each.
struct Twins {
  std::vector<EspPacket> plain, first, second;
  std::vector<std::unique_ptr<KeySchedule>> first_keys, second_keys;
  std::vector<CryptoOp> ops(std::vector<EspPacket>& packets, std::span<const std::unique_ptr<KeySchedule>> keys) {
    std::vector<CryptoOp> ops;
    for (std::size_t i = 0; i < packets.size(); ++i) ops.push_back(packets[i].op(*keys[i]));
    return ops;
  }
};

// Property: for any key, sequence number and length both make the same bytes and accept each other's, in bursts of
// any mix of transforms, longer than the jobs that the library has in flight.
TEST(CryptoAgainstEachOther, RandomBurstsOfAllTransforms) {
  const auto first = backend(all_backends().front());
  const auto second = backend(BackendChoice::kOpenssl);
  std::mt19937 random(20240601);  // fixed: a failure can be repeated
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    Twins t;
    const std::size_t burst = 1 + random() % 200;
    const Transform* one = round % 2 == 0 ? &transforms()[random() % transforms().size()] : nullptr;
    for (std::size_t i = 0; i < burst; ++i) {
      const Transform& transform = one != nullptr ? *one : transforms()[random() % transforms().size()];
      const Keyed k = random_key(random, transform);
      t.first_keys.push_back(key_for(*first, k.material()));
      t.second_keys.push_back(key_for(*second, k.material()));
      t.plain.push_back(random_packet(random, transform, i % 3 == 0 ? 2000 : 96));
    }
    t.first = t.second = t.plain;
    auto first_ops = t.ops(t.first, t.first_keys);
    auto second_ops = t.ops(t.second, t.second_keys);
    first->encrypt(first_ops);
    second->encrypt(second_ops);
    for (std::size_t i = 0; i < burst; ++i) {
      ASSERT_TRUE(first_ops[i].ok && second_ops[i].ok) << t.plain[i].transform->name;
      ASSERT_EQ(t.first[i].bytes, t.second[i].bytes) << t.plain[i].transform->name;
    }
    std::swap(t.first, t.second);
    const std::size_t bad = random() % burst;
    t.first[bad].bytes[random() % t.first[bad].bytes.size()] ^= 1;
    t.second[bad].bytes.back() ^= 0x80;
    first_ops = t.ops(t.first, t.first_keys);
    second_ops = t.ops(t.second, t.second_keys);
    first->decrypt(first_ops);
    second->decrypt(second_ops);
    for (std::size_t i = 0; i < burst; ++i) {
      EXPECT_EQ(second_ops[i].ok, i != bad) << t.plain[i].transform->name;
      if (i == bad) continue;
      EXPECT_TRUE(first_ops[i].ok) << t.plain[i].transform->name;
      EXPECT_EQ(t.first[i].text(), t.plain[i].text()) << t.plain[i].transform->name;
      EXPECT_EQ(t.second[i].text(), t.plain[i].text()) << t.plain[i].transform->name;
    }
  }
}

TEST(CryptoChoice, NamesAndDefaults) {
  EXPECT_EQ(parse_backend("auto").value(), BackendChoice::kAuto);
  EXPECT_EQ(parse_backend("ipsec-mb").value(), BackendChoice::kIpsecMb);
  EXPECT_EQ(parse_backend("openssl").value(), BackendChoice::kOpenssl);
  EXPECT_EQ(parse_backend("qat").error().field, "crypto");
  EXPECT_TRUE(backend(BackendChoice::kOpenssl)->name().starts_with("openssl 3."));
#ifdef __x86_64__
  EXPECT_TRUE(backend(BackendChoice::kAuto)->name().starts_with("intel-ipsec-mb 2."))
      << backend(BackendChoice::kAuto)->name();
#endif
}

}  // namespace
}  // namespace gw::esp::test
