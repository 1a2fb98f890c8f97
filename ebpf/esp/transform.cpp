#include "ebpf/esp/transform.hpp"

#include <algorithm>
#include <array>

namespace gw::esp {
namespace {

// RFC 4106 and RFC 7634: 4 bytes of salt, 8 of IV.
constexpr Transform aead(std::string_view name, Cipher cipher, std::uint8_t key, std::uint8_t icv) {
  return {name, cipher, Integrity::kCombined, IvPolicy::kUnique, Standing::kGood, key, 4, 0, 8, 4, icv};
}

// Key and truncated ICV: RFC 2404 3 and 5, RFC 4868 2.1.1 and 2.3.
constexpr Transform with_hmac(Transform t, Integrity integrity) {
  t.integrity = integrity;
  switch (integrity) {
    case Integrity::kCombined: break;
    case Integrity::kHmacSha1: t.integrity_key_bytes = 20, t.icv_bytes = 12; break;
    case Integrity::kHmacSha256: t.integrity_key_bytes = 32, t.icv_bytes = 16; break;
    case Integrity::kHmacSha384: t.integrity_key_bytes = 48, t.icv_bytes = 24; break;
    case Integrity::kHmacSha512: t.integrity_key_bytes = 64, t.icv_bytes = 32; break;
  }
  return t;
}

constexpr Transform aes_cbc(std::string_view name, std::uint8_t key, Integrity integrity) {
  return with_hmac({name, Cipher::kAesCbc, integrity, IvPolicy::kUnpredictable, Standing::kGood, key, 0, 0, 16, 16, 0},
                   integrity);
}
constexpr Transform des3_cbc(std::string_view name, Integrity integrity) {
  return with_hmac({name, Cipher::k3DesCbc, integrity, IvPolicy::kUnpredictable, Standing::kLegacy, 24, 0, 0, 8, 8, 0},
                   integrity);
}
constexpr Transform null(std::string_view name, Integrity integrity) {
  return with_hmac({name, Cipher::kNull, integrity, IvPolicy::kNone, Standing::kTest, 0, 0, 0, 0, 4, 0}, integrity);
}

constexpr auto kTransforms = std::to_array<Transform>({
    aead("AES_GCM_16-256", Cipher::kAesGcm, 32, 16),
    aead("AES_GCM_16-192", Cipher::kAesGcm, 24, 16),
    aead("AES_GCM_16-128", Cipher::kAesGcm, 16, 16),
    aead("AES_GCM_12-256", Cipher::kAesGcm, 32, 12),
    aead("AES_GCM_12-192", Cipher::kAesGcm, 24, 12),
    aead("AES_GCM_12-128", Cipher::kAesGcm, 16, 12),
    aead("AES_GCM_8-256", Cipher::kAesGcm, 32, 8),
    aead("AES_GCM_8-192", Cipher::kAesGcm, 24, 8),
    aead("AES_GCM_8-128", Cipher::kAesGcm, 16, 8),
    aead("CHACHA20_POLY1305", Cipher::kChaCha20Poly1305, 32, 16),
    aes_cbc("AES_CBC-256/HMAC_SHA2_512_256", 32, Integrity::kHmacSha512),
    aes_cbc("AES_CBC-256/HMAC_SHA2_384_192", 32, Integrity::kHmacSha384),
    aes_cbc("AES_CBC-256/HMAC_SHA2_256_128", 32, Integrity::kHmacSha256),
    aes_cbc("AES_CBC-256/HMAC_SHA1_96", 32, Integrity::kHmacSha1),
    aes_cbc("AES_CBC-192/HMAC_SHA2_512_256", 24, Integrity::kHmacSha512),
    aes_cbc("AES_CBC-192/HMAC_SHA2_384_192", 24, Integrity::kHmacSha384),
    aes_cbc("AES_CBC-192/HMAC_SHA2_256_128", 24, Integrity::kHmacSha256),
    aes_cbc("AES_CBC-192/HMAC_SHA1_96", 24, Integrity::kHmacSha1),
    aes_cbc("AES_CBC-128/HMAC_SHA2_512_256", 16, Integrity::kHmacSha512),
    aes_cbc("AES_CBC-128/HMAC_SHA2_384_192", 16, Integrity::kHmacSha384),
    aes_cbc("AES_CBC-128/HMAC_SHA2_256_128", 16, Integrity::kHmacSha256),
    aes_cbc("AES_CBC-128/HMAC_SHA1_96", 16, Integrity::kHmacSha1),
    des3_cbc("3DES_CBC/HMAC_SHA1_96", Integrity::kHmacSha1),
    null("NULL/HMAC_SHA2_512_256", Integrity::kHmacSha512),
    null("NULL/HMAC_SHA2_384_192", Integrity::kHmacSha384),
    null("NULL/HMAC_SHA2_256_128", Integrity::kHmacSha256),
    null("NULL/HMAC_SHA1_96", Integrity::kHmacSha1),
});

constexpr bool fits_limits(const Transform& t) {
  return t.key_bytes <= kMaxKeyBytes && t.iv_bytes <= kMaxIvBytes && t.block_bytes <= kMaxBlockBytes &&
         t.block_bytes >= 4 && t.icv_bytes <= kMaxIcvBytes && t.icv_bytes >= 8 &&
         t.integrity_key_bytes <= kMaxIntegrityKeyBytes;
}
static_assert(std::ranges::all_of(kTransforms, fits_limits));

}  // namespace

std::span<const Transform> transforms() { return kTransforms; }

const Transform* find_transform(const TransformId& id) {
  const auto it = std::ranges::find_if(kTransforms, [&](const Transform& t) {
    return t.cipher == id.cipher && t.integrity == id.integrity && t.key_bytes == id.key_bytes &&
           t.icv_bytes == id.icv_bytes;
  });
  return it == kTransforms.end() ? nullptr : &*it;
}

const Transform* find_transform(std::string_view name) {
  const auto it = std::ranges::find(kTransforms, name, &Transform::name);
  return it == kTransforms.end() ? nullptr : &*it;
}

const Transform& default_transform() { return kTransforms.front(); }

}  // namespace gw::esp
