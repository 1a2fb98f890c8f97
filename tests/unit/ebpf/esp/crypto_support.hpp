// What the tests of the crypto backends share: keys, and ESP packets without an IP header.
#pragma once

#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {

inline Bytes repeated(std::size_t count, std::uint8_t value) { return Bytes(count, value); }

inline Bytes random_bytes(std::mt19937& random, std::size_t count) {
  Bytes b(count);
  std::ranges::generate(b, [&] { return static_cast<std::uint8_t>(random()); });
  return b;
}

inline std::unique_ptr<KeySchedule> key_for(CryptoBackend& crypto, const KeyMaterial& material) {
  auto key = crypto.make_key(material);
  EXPECT_TRUE(key) << key.error().describe();
  return std::move(*key);
}

/// An ESP packet in memory, exactly as large as it is: ESP header, IV, text, ICV.
struct EspPacket {
  EspPacket(const Transform& t, std::uint32_t spi, std::uint64_t sequence_number)
      : transform(&t), sequence(sequence_number), bytes(kEspHeaderBytes + t.iv_bytes + t.icv_bytes) {
    store_be(bytes.data(), spi);
    store_be(bytes.data() + 4, static_cast<std::uint32_t>(sequence));
  }
  void set_iv(const Bytes& iv) { std::ranges::copy(iv, bytes.begin() + kEspHeaderBytes); }
  void set_text(const Bytes& text) {
    Bytes all(bytes.begin(), bytes.begin() + text_at());
    all.insert(all.end(), text.begin(), text.end());
    all.resize(all.size() + transform->icv_bytes);
    bytes = std::move(all);
  }
  std::ptrdiff_t text_at() const { return static_cast<std::ptrdiff_t>(kEspHeaderBytes) + transform->iv_bytes; }
  Bytes text() const { return {bytes.begin() + text_at(), bytes.end() - transform->icv_bytes}; }
  Bytes icv() const { return {bytes.end() - transform->icv_bytes, bytes.end()}; }
  CryptoOp op(KeySchedule& key) {
    CryptoOp op{};
    op.key = &key;
    op.text = bytes.data() + text_at();
    op.length = static_cast<std::uint32_t>(text().size());
    op.sequence = sequence;
    return op;
  }
  bool encrypt(CryptoBackend& crypto, KeySchedule& key) {
    CryptoOp one = op(key);
    crypto.encrypt({&one, 1});
    return one.ok;
  }
  bool decrypt(CryptoBackend& crypto, KeySchedule& key) {
    CryptoOp one = op(key);
    one.ok = true;
    crypto.decrypt({&one, 1});
    return one.ok;
  }

  const Transform* transform;
  std::uint64_t sequence;
  Bytes bytes;
};

}  // namespace gw::esp::test
