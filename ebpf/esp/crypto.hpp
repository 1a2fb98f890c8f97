// AES-GCM behind one interface with two implementations, chosen at start: intel-ipsec-mb (x86-64) and
// OpenSSL EVP. Keys: 16, 24 or 32 bytes; nonce 12, ICV 16 (RFC 4106). A backend object and the keys made by
// it belong to one thread at a time; make one backend per worker. Nothing here allocates after make_key().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"

namespace gw::esp {

inline constexpr std::size_t kIcvBytes = 16;
inline constexpr std::size_t kNonceBytes = 12;

/// An expanded key; its memory is wiped on destruction. Used only with the backend that made it.
class KeySchedule {
 public:
  virtual ~KeySchedule() = default;
  KeySchedule(const KeySchedule&) = delete;
  KeySchedule& operator=(const KeySchedule&) = delete;

 protected:
  KeySchedule() = default;
};

/// One packet's work, in place.
struct CryptoOp {
  KeySchedule* key = nullptr;
  std::uint8_t* text = nullptr;  // plaintext to ciphertext, or back
  std::uint8_t* icv = nullptr;   // kIcvBytes: written by encrypt, compared by decrypt
  std::uint32_t length = 0;      // of text
  std::uint8_t aad_length = 0;   // 8, or 12 with ESN (RFC 4106 5)
  bool ok = false;               // result; after a failed decrypt `text` is garbage
  std::array<std::uint8_t, kNonceBytes> nonce;
  std::array<std::uint8_t, 12> aad;
};

class CryptoBackend {
 public:
  virtual ~CryptoBackend() = default;
  /// For people: "intel-ipsec-mb 2.0.0 (avx512)", "openssl 3.5.4".
  virtual std::string_view name() const = 0;
  /// kUnsupported for any other length than 16, 24, 32.
  virtual Result<std::unique_ptr<KeySchedule>> make_key(std::span<const std::uint8_t> key) = 0;
  virtual void encrypt(std::span<CryptoOp> ops) = 0;
  virtual void decrypt(std::span<CryptoOp> ops) = 0;

 protected:
  CryptoBackend() = default;
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
