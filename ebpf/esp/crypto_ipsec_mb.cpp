// AES-GCM by intel-ipsec-mb's direct API: one call per packet, the key schedule and the function for its
// size in the key object. The burst API was measured against it (tests/bench, `raw ipsec-mb`).
#include <intel-ipsec-mb.h>

#include <cstring>
#include <format>
#include <string>

#include "base/secret.hpp"
#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {
namespace {

struct IpsecMbKey final : KeySchedule {
  // The library's assembler loads it aligned; its header says so only where LINUX is defined.
  alignas(64) gcm_key_data data{};
  aes_gcm_enc_dec_t encrypt = nullptr;
  aes_gcm_enc_dec_t decrypt = nullptr;
  ~IpsecMbKey() override { wipe(&data, sizeof data); }
};

IpsecMbKey& own(KeySchedule* key) { return *static_cast<IpsecMbKey*>(key); }

// Constant time: says nothing about where two ICVs differ.
bool same_icv(const std::uint8_t* a, const std::uint8_t* b) {
  std::uint64_t x[2];
  std::uint64_t y[2];
  std::memcpy(x, a, sizeof x);
  std::memcpy(y, b, sizeof y);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

struct MgrDeleter {
  void operator()(IMB_MGR* m) const { free_mb_mgr(m); }
};
using Mgr = std::unique_ptr<IMB_MGR, MgrDeleter>;

class IpsecMb final : public CryptoBackend {
 public:
  IpsecMb(Mgr mgr, std::string name) : mgr_(std::move(mgr)), name_(std::move(name)) {}
  ~IpsecMb() override { wipe(&context_, sizeof context_); }  // holds key stream of a partial block

  std::string_view name() const override { return name_; }

  Result<std::unique_ptr<KeySchedule>> make_key(std::span<const std::uint8_t> key) override {
    auto k = std::make_unique<IpsecMbKey>();
    switch (key.size()) {
      case 16:
        k->encrypt = mgr_->gcm128_enc;
        k->decrypt = mgr_->gcm128_dec;
        mgr_->gcm128_pre(key.data(), &k->data);
        break;
      case 24:
        k->encrypt = mgr_->gcm192_enc;
        k->decrypt = mgr_->gcm192_dec;
        mgr_->gcm192_pre(key.data(), &k->data);
        break;
      case 32:
        k->encrypt = mgr_->gcm256_enc;
        k->decrypt = mgr_->gcm256_dec;
        mgr_->gcm256_pre(key.data(), &k->data);
        break;
      default:
        return fail_field("key", std::format("an AES key has 16, 24 or 32 bytes, not {}", key.size()),
                          Errc::kUnsupported);
    }
    return k;
  }

  void encrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) {
      IpsecMbKey& k = own(op.key);
      k.encrypt(&k.data, &context_, op.text, op.text, op.length, op.nonce.data(), op.aad.data(), op.aad_length, op.icv,
                kIcvBytes);
      op.ok = true;
    }
  }

  void decrypt(std::span<CryptoOp> ops) override {
    for (CryptoOp& op : ops) {
      IpsecMbKey& k = own(op.key);
      std::uint8_t icv[kIcvBytes];
      k.decrypt(&k.data, &context_, op.text, op.text, op.length, op.nonce.data(), op.aad.data(), op.aad_length, icv,
                kIcvBytes);
      op.ok = same_icv(icv, op.icv);
    }
  }

 private:
  Mgr mgr_;
  std::string name_;
  alignas(64) gcm_context_data context_{};
};

}  // namespace

Result<std::unique_ptr<CryptoBackend>> make_ipsec_mb() {
  Mgr mgr(alloc_mb_mgr(0));
  if (!mgr) return fail(Errc::kLimit, "intel-ipsec-mb: out of memory");
  init_mb_mgr_auto(mgr.get(), nullptr);
  if (const int err = imb_get_errno(mgr.get()); err != 0)
    return fail(Errc::kUnsupported, std::format("intel-ipsec-mb: {}", imb_get_strerror(err)));
  constexpr std::uint64_t kWant = IMB_FEATURE_SELF_TEST | IMB_FEATURE_AESNI;
  if ((mgr->features & kWant) != kWant) return fail(Errc::kUnsupported, "intel-ipsec-mb: this CPU has no AES-NI");
  if ((mgr->features & IMB_FEATURE_SELF_TEST_PASS) == 0)
    return fail(Errc::kUnsupported, "intel-ipsec-mb: its self-test failed on this CPU");
  const char* type = nullptr;
  const char* description = nullptr;
  if (imb_get_arch_type_string(mgr.get(), &type, &description) != 0) type = "unknown";
  std::string name = std::format("intel-ipsec-mb {} ({})", imb_get_version_str(), type);
  return std::make_unique<IpsecMb>(std::move(mgr), std::move(name));
}

}  // namespace gw::esp
