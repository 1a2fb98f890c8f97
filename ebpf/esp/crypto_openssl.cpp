// AES-GCM by OpenSSL EVP: for CPUs without intel-ipsec-mb, and the second opinion in tests. A key holds one
// context per direction, made once; a packet only sets its nonce, which allocates nothing.
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <format>
#include <string>

#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {
namespace {

struct CtxDeleter {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }  // wipes the key schedule
};
using Ctx = std::unique_ptr<EVP_CIPHER_CTX, CtxDeleter>;

struct CipherDeleter {
  void operator()(EVP_CIPHER* c) const { EVP_CIPHER_free(c); }
};
using Cipher = std::unique_ptr<EVP_CIPHER, CipherDeleter>;

struct OpensslKey final : KeySchedule {
  Ctx encrypt{EVP_CIPHER_CTX_new()};
  Ctx decrypt{EVP_CIPHER_CTX_new()};
};

OpensslKey& own(KeySchedule* key) { return *static_cast<OpensslKey*>(key); }

bool encrypt_one(CryptoOp& op) {
  EVP_CIPHER_CTX* ctx = own(op.key).encrypt.get();
  const int length = static_cast<int>(op.length);
  int n = 0;
  return EVP_EncryptInit_ex2(ctx, nullptr, nullptr, op.nonce.data(), nullptr) == 1 &&
         EVP_EncryptUpdate(ctx, nullptr, &n, op.aad.data(), op.aad_length) == 1 &&
         EVP_EncryptUpdate(ctx, op.text, &n, op.text, length) == 1 && n == length &&
         EVP_EncryptFinal_ex(ctx, op.text + n, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, kIcvBytes, op.icv) == 1;
}

bool decrypt_one(CryptoOp& op) {
  EVP_CIPHER_CTX* ctx = own(op.key).decrypt.get();
  const int length = static_cast<int>(op.length);
  int n = 0;
  return EVP_DecryptInit_ex2(ctx, nullptr, nullptr, op.nonce.data(), nullptr) == 1 &&
         EVP_DecryptUpdate(ctx, nullptr, &n, op.aad.data(), op.aad_length) == 1 &&
         EVP_DecryptUpdate(ctx, op.text, &n, op.text, length) == 1 && n == length &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, kIcvBytes, op.icv) == 1 &&
         EVP_DecryptFinal_ex(ctx, op.text + n, &n) == 1;
}

class Openssl final : public CryptoBackend {
 public:
  explicit Openssl(std::string name) : name_(std::move(name)) {}

  std::string_view name() const override { return name_; }

  Result<std::unique_ptr<KeySchedule>> make_key(std::span<const std::uint8_t> key) override {
    const char* algorithm = key.size() == 16   ? "AES-128-GCM"
                            : key.size() == 24 ? "AES-192-GCM"
                            : key.size() == 32 ? "AES-256-GCM"
                                               : nullptr;
    if (algorithm == nullptr)
      return fail_field("key", std::format("an AES key has 16, 24 or 32 bytes, not {}", key.size()),
                        Errc::kUnsupported);
    const Cipher cipher(EVP_CIPHER_fetch(nullptr, algorithm, nullptr));
    auto k = std::make_unique<OpensslKey>();
    // The default nonce length of EVP's GCM is the 12 bytes that RFC 4106 uses.
    if (!cipher || !k->encrypt || !k->decrypt ||
        EVP_EncryptInit_ex2(k->encrypt.get(), cipher.get(), key.data(), nullptr, nullptr) != 1 ||
        EVP_DecryptInit_ex2(k->decrypt.get(), cipher.get(), key.data(), nullptr, nullptr) != 1)
      return fail(Errc::kUnsupported, std::format("OpenSSL cannot set up {}", algorithm));
    return k;
  }

  void encrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) op.ok = encrypt_one(op);
  }
  void decrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) op.ok = decrypt_one(op);
  }

 private:
  std::string name_;
};

}  // namespace

Result<std::unique_ptr<CryptoBackend>> make_openssl() {
  return std::make_unique<Openssl>(std::format("openssl {}", OpenSSL_version(OPENSSL_VERSION_STRING)));
}

}  // namespace gw::esp
