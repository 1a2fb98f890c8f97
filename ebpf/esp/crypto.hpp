// Encryption and integrity of ESP packets behind one interface with two implementations, chosen at start:
// intel-ipsec-mb (x86-64) and OpenSSL EVP. Both know every transform of transform.hpp. A backend object and the
// keys made by it belong to one thread at a time; make one backend per worker. Nothing here allocates after
// make_key().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "ebpf/esp/iv_source.hpp"
#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/transform.hpp"

namespace gw::esp {

inline constexpr std::uint32_t kEspHeaderBytes = 8;  // SPI, sequence number
inline constexpr std::uint32_t kAeadIvBytes = 8;
inline constexpr std::uint32_t kAeadSaltBytes = 4;
inline constexpr std::uint32_t kAeadNonceBytes = kAeadSaltBytes + kAeadIvBytes;

/// What an SA's keys are made of; lengths as the transform says.
struct KeyMaterial {
  const Transform* transform = nullptr;
  SequenceMode mode = SequenceMode::kExtended;
  std::span<const std::uint8_t> cipher;  // key, then salt, as IKE derives them (RFC 4106 8.1)
  std::span<const std::uint8_t> integrity;
};

/// kUnsupported, field `key` or `integrity_key`, unless the lengths are the transform's.
Status check_key_lengths(const KeyMaterial& material);

/// Expanded keys of an SA; their memory is wiped on destruction. Used only with the backend that made them.
class KeySchedule {
 public:
  virtual ~KeySchedule() = default;
  KeySchedule(const KeySchedule&) = delete;
  KeySchedule& operator=(const KeySchedule&) = delete;

 protected:
  KeySchedule() = default;
};

/// One packet's work, in place. `text` lies behind the ESP header and the IV, which are filled in, and before
/// room for the ICV: [SPI, sequence number][IV][text][ICV].
struct CryptoOp {
  KeySchedule* key = nullptr;
  std::uint8_t* text = nullptr;  // plaintext to ciphertext, or back
  std::uint32_t length = 0;      // of text: a multiple of the transform's block
  bool ok = false;               // result. After a failed decrypt text and ICV are garbage
  std::uint64_t sequence = 0;    // all 64 bits: with ESN the high ones are authenticated, not sent
};

class CryptoBackend {
 public:
  virtual ~CryptoBackend() = default;
  /// For people: "intel-ipsec-mb 2.0.0 (avx512)", "openssl 3.5.4".
  virtual std::string_view name() const = 0;
  virtual Result<std::unique_ptr<KeySchedule>> make_key(const KeyMaterial& material) = 0;
  /// Any mix of keys and transforms; packets of one transform next to each other are fastest.
  virtual void encrypt(std::span<CryptoOp> ops) = 0;
  /// `ok` only if the ICV is right; compared in constant time.
  virtual void decrypt(std::span<CryptoOp> ops) = 0;

  /// Random IVs for the transforms that want them.
  IvSource& ivs() { return ivs_; }

 protected:
  explicit CryptoBackend(IvSource ivs) : ivs_(std::move(ivs)) {}

 private:
  IvSource ivs_;
};

enum class BackendChoice : std::uint8_t {
  kAuto,     // intel-ipsec-mb where it was built in and the CPU can run it, else OpenSSL
  kIpsecMb,  // kUnsupported elsewhere
  kOpenssl,
};

/// "auto", "ipsec-mb", "openssl".
Result<BackendChoice> parse_backend(std::string_view name);
Result<std::unique_ptr<CryptoBackend>> make_backend(BackendChoice choice);

}  // namespace gw::esp
