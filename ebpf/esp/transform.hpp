// The ESP transforms as data: what the SA, the codec and both crypto backends have to know of each. RFC 4106
// (AES-GCM), 7634 (ChaCha20-Poly1305), 3602 (AES-CBC), 2451 (3DES-CBC), 2404 and 4868 (HMAC), 2410 (NULL).
// A table; a Transform is compared by address. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace gw::esp {

enum class Cipher : std::uint8_t { kNull, k3DesCbc, kAesCbc, kAesGcm, kChaCha20Poly1305 };

enum class Integrity : std::uint8_t {
  kCombined,  // the cipher's own
  kHmacSha1,
  kHmacSha256,
  kHmacSha384,
  kHmacSha512,
};

enum class IvPolicy : std::uint8_t {
  kNone,           // none on the wire
  kUnique,         // never twice under a key: nonce.hpp (RFC 4106 3.1, RFC 7634 2)
  kUnpredictable,  // random: iv_source.hpp (RFC 3602 3)
};

enum class Standing : std::uint8_t {
  kGood,
  kLegacy,  // broken in principle, for devices that have nothing else; wants an explicit permission
  kTest,    // no confidentiality; wants an explicit permission that no configuration gives
};

/// What an administrator has allowed beside the good ones.
struct TransformPermissions {
  bool legacy = false;
  bool test = false;
  bool allow(Standing s) const {
    return s == Standing::kGood || (s == Standing::kLegacy && legacy) || (s == Standing::kTest && test);
  }
};

struct Transform {
  std::string_view name;  // "AES_GCM_16-256", "AES_CBC-256/HMAC_SHA2_256_128": charon's words
  Cipher cipher;
  Integrity integrity;
  IvPolicy iv_policy;
  Standing standing;
  std::uint8_t key_bytes;            // of the cipher
  std::uint8_t salt_bytes;           // behind the key in the keying material; goes into the nonce
  std::uint8_t integrity_key_bytes;  // 0 when combined
  std::uint8_t iv_bytes;             // on the wire
  std::uint8_t block_bytes;          // the ciphertext's length is a multiple (RFC 4303 2.4: 4 at least)
  std::uint8_t icv_bytes;

  bool combined() const { return integrity == Integrity::kCombined; }
};

inline constexpr std::uint32_t kMaxKeyBytes = 32;
inline constexpr std::uint32_t kMaxIvBytes = 16;
inline constexpr std::uint32_t kMaxBlockBytes = 16;
inline constexpr std::uint32_t kMaxIcvBytes = 32;
inline constexpr std::uint32_t kMaxIntegrityKeyBytes = 64;

std::span<const Transform> transforms();

struct TransformId {
  Cipher cipher = Cipher::kAesGcm;
  Integrity integrity = Integrity::kCombined;
  std::size_t key_bytes = 32;  // of the cipher, without salt
  std::size_t icv_bytes = 16;
};
/// Null if there is no such transform.
const Transform* find_transform(const TransformId& id);
const Transform* find_transform(std::string_view name);

/// AES-GCM with a 256-bit key and the full ICV.
const Transform& default_transform();

}  // namespace gw::esp
