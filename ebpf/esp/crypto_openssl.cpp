// Every transform by OpenSSL EVP: for CPUs without intel-ipsec-mb, and the second opinion in tests. A key holds one
// context per direction, made once; a packet only sets its nonce or IV, which allocates nothing.
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <format>
#include <string>

#include "base/secret.hpp"
#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {
namespace {

template <auto kFree>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    kFree(p);  // contexts wipe their key schedules
  }
};
using CipherCtx = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;
using MacCtx = std::unique_ptr<EVP_MAC_CTX, Deleter<EVP_MAC_CTX_free>>;
using CipherPtr = std::unique_ptr<EVP_CIPHER, Deleter<EVP_CIPHER_free>>;
using MacPtr = std::unique_ptr<EVP_MAC, Deleter<EVP_MAC_free>>;

struct OpensslKey final : KeySchedule {
  const Transform* transform = nullptr;
  SequenceMode mode = SequenceMode::kExtended;
  std::array<std::uint8_t, kAeadSaltBytes> salt{};
  CipherCtx encrypt;  // null for NULL
  CipherCtx decrypt;
  MacCtx mac;  // separate integrity
  ~OpensslKey() override { wipe(salt.data(), salt.size()); }
};

OpensslKey& own(KeySchedule* key) { return *static_cast<OpensslKey*>(key); }

const char* cipher_name(const Transform& t) {
  switch (t.cipher) {
    case Cipher::kNull: return nullptr;
    case Cipher::k3DesCbc: return "DES-EDE3-CBC";
    case Cipher::kAesCbc: return t.key_bytes == 16 ? "AES-128-CBC" : t.key_bytes == 24 ? "AES-192-CBC" : "AES-256-CBC";
    case Cipher::kAesGcm: return t.key_bytes == 16 ? "AES-128-GCM" : t.key_bytes == 24 ? "AES-192-GCM" : "AES-256-GCM";
    case Cipher::kChaCha20Poly1305: return "ChaCha20-Poly1305";
  }
  return nullptr;
}

const char* digest_name(Integrity integrity) {
  switch (integrity) {
    case Integrity::kCombined: return nullptr;
    case Integrity::kHmacSha1: return "SHA1";
    case Integrity::kHmacSha256: return "SHA256";
    case Integrity::kHmacSha384: return "SHA384";
    case Integrity::kHmacSha512: return "SHA512";
  }
  return nullptr;
}

// --- combined modes ----------------------------------------------------------------------------------

struct AeadInput {
  std::array<std::uint8_t, kAeadNonceBytes> nonce;  // salt, IV (RFC 4106 4, RFC 7634 2)
  std::array<std::uint8_t, 12> aad;                 // SPI, sequence number: all of it with ESN (RFC 4106 5)
  int aad_length;
};

AeadInput aead_input(const OpensslKey& key, const CryptoOp& op) {
  AeadInput in;
  const std::uint8_t* iv = op.text - kAeadIvBytes;
  std::memcpy(in.nonce.data(), key.salt.data(), kAeadSaltBytes);
  std::memcpy(in.nonce.data() + kAeadSaltBytes, iv, kAeadIvBytes);
  std::memcpy(in.aad.data(), iv - kEspHeaderBytes, 4);
  if (key.mode == SequenceMode::kExtended)
    store_be(in.aad.data() + 4, op.sequence);
  else
    store_be(in.aad.data() + 4, static_cast<std::uint32_t>(op.sequence));
  in.aad_length = key.mode == SequenceMode::kExtended ? 12 : 8;
  return in;
}

bool encrypt_aead(OpensslKey& key, CryptoOp& op) {
  EVP_CIPHER_CTX* ctx = key.encrypt.get();
  const AeadInput in = aead_input(key, op);
  const int length = static_cast<int>(op.length);
  int n = 0;
  return EVP_EncryptInit_ex2(ctx, nullptr, nullptr, in.nonce.data(), nullptr) == 1 &&
         EVP_EncryptUpdate(ctx, nullptr, &n, in.aad.data(), in.aad_length) == 1 &&
         EVP_EncryptUpdate(ctx, op.text, &n, op.text, length) == 1 && n == length &&
         EVP_EncryptFinal_ex(ctx, op.text + n, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, key.transform->icv_bytes, op.text + length) == 1;
}

bool decrypt_aead(OpensslKey& key, CryptoOp& op) {
  EVP_CIPHER_CTX* ctx = key.decrypt.get();
  const AeadInput in = aead_input(key, op);
  const int length = static_cast<int>(op.length);
  int n = 0;
  return EVP_DecryptInit_ex2(ctx, nullptr, nullptr, in.nonce.data(), nullptr) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, key.transform->icv_bytes, op.text + length) == 1 &&
         EVP_DecryptUpdate(ctx, nullptr, &n, in.aad.data(), in.aad_length) == 1 &&
         EVP_DecryptUpdate(ctx, op.text, &n, op.text, length) == 1 && n == length &&
         EVP_DecryptFinal_ex(ctx, op.text + n, &n) == 1;
}

// --- cipher and HMAC ---------------------------------------------------------------------------------

bool run_cipher(EVP_CIPHER_CTX* ctx, const Transform& t, CryptoOp& op) {
  if (ctx == nullptr) return true;  // NULL
  const int length = static_cast<int>(op.length);
  int n = 0;
  return EVP_CipherInit_ex2(ctx, nullptr, nullptr, op.text - t.iv_bytes, -1, nullptr) == 1 &&
         EVP_CipherUpdate(ctx, op.text, &n, op.text, length) == 1 && n == length;
}

bool run_hmac(OpensslKey& key, const CryptoOp& op, std::array<std::uint8_t, EVP_MAX_MD_SIZE>& mac) {
  const std::size_t before = kEspHeaderBytes + key.transform->iv_bytes;
  std::array<std::uint8_t, kEsnHighBytes> high;
  store_be(high.data(), esn_high(op.sequence));
  std::size_t n = 0;
  return EVP_MAC_init(key.mac.get(), nullptr, 0, nullptr) == 1 &&
         EVP_MAC_update(key.mac.get(), op.text - before, before + op.length) == 1 &&
         (key.mode == SequenceMode::k32Bit || EVP_MAC_update(key.mac.get(), high.data(), high.size()) == 1) &&
         EVP_MAC_final(key.mac.get(), mac.data(), &n, mac.size()) == 1;
}

bool encrypt_then_hmac(OpensslKey& key, CryptoOp& op) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> mac;
  if (!run_cipher(key.encrypt.get(), *key.transform, op) || !run_hmac(key, op, mac)) return false;
  std::memcpy(op.text + op.length, mac.data(), key.transform->icv_bytes);
  return true;
}

bool hmac_then_decrypt(OpensslKey& key, CryptoOp& op) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> mac;
  return run_hmac(key, op, mac) && same_icv(mac.data(), op.text + op.length, key.transform->icv_bytes) &&
         run_cipher(key.decrypt.get(), *key.transform, op);
}

// --- keys --------------------------------------------------------------------------------------------

Status set_up_cipher(OpensslKey& k, const KeyMaterial& m) {
  const char* name = cipher_name(*m.transform);
  if (name == nullptr) return {};
  const CipherPtr cipher(EVP_CIPHER_fetch(nullptr, name, nullptr));
  k.encrypt.reset(EVP_CIPHER_CTX_new());
  k.decrypt.reset(EVP_CIPHER_CTX_new());
  // EVP's default nonce length for both combined modes is the 12 bytes that ESP uses.
  if (!cipher || !k.encrypt || !k.decrypt ||
      EVP_EncryptInit_ex2(k.encrypt.get(), cipher.get(), m.cipher.data(), nullptr, nullptr) != 1 ||
      EVP_DecryptInit_ex2(k.decrypt.get(), cipher.get(), m.cipher.data(), nullptr, nullptr) != 1)
    return fail(Errc::kUnsupported, std::format("OpenSSL cannot set up {}", name));
  EVP_CIPHER_CTX_set_padding(k.encrypt.get(), 0);  // ESP has its own
  EVP_CIPHER_CTX_set_padding(k.decrypt.get(), 0);
  return {};
}

Status set_up_hmac(OpensslKey& k, const KeyMaterial& m) {
  const char* name = digest_name(m.transform->integrity);
  if (name == nullptr) return {};
  const MacPtr hmac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr));
  if (hmac) k.mac.reset(EVP_MAC_CTX_new(hmac.get()));
  const std::array params{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>(name), 0),
                          OSSL_PARAM_construct_end()};
  if (!k.mac || EVP_MAC_init(k.mac.get(), m.integrity.data(), m.integrity.size(), params.data()) != 1)
    return fail(Errc::kUnsupported, std::format("OpenSSL cannot set up HMAC-{}", name));
  return {};
}

class Openssl final : public CryptoBackend {
 public:
  Openssl(std::string name, IvSource ivs) : CryptoBackend(std::move(ivs)), name_(std::move(name)) {}

  std::string_view name() const override { return name_; }

  Result<std::unique_ptr<KeySchedule>> make_key(const KeyMaterial& m) override {
    GW_TRY(check_key_lengths(m));
    auto k = std::make_unique<OpensslKey>();
    k->transform = m.transform;
    k->mode = m.mode;
    if (m.transform->salt_bytes == kAeadSaltBytes)
      std::memcpy(k->salt.data(), m.cipher.data() + m.transform->key_bytes, kAeadSaltBytes);
    GW_TRY(set_up_cipher(*k, m));
    GW_TRY(set_up_hmac(*k, m));
    return k;
  }

  void encrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) {
      OpensslKey& key = own(op.key);
      op.ok = key.transform->combined() ? encrypt_aead(key, op) : encrypt_then_hmac(key, op);
    }
  }
  void decrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) {
      OpensslKey& key = own(op.key);
      op.ok = key.transform->combined() ? decrypt_aead(key, op) : hmac_then_decrypt(key, op);
    }
  }

 private:
  std::string name_;
};

}  // namespace

Result<std::unique_ptr<CryptoBackend>> make_openssl(IvSource ivs) {
  return std::make_unique<Openssl>(std::format("openssl {}", OpenSSL_version(OPENSSL_VERSION_STRING)), std::move(ivs));
}

}  // namespace gw::esp
