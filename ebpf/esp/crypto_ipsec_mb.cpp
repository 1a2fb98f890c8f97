// Every transform by intel-ipsec-mb. AES-GCM: the direct call, one per packet, which is as fast as any (tests/bench,
// "raw ipsec-mb"). ChaCha20-Poly1305, and ciphers with HMAC: the job manager, which works on as many packets at
// a time as the CPU's vectors have lanes; whatever the keys, all packets of a call go in before any must come out.
// 3DES is left to OpenSSL: version 2.0 writes one packet's DES output into another's buffer when it has several at a
// time on AVX-512 (intel-ipsec-mb issue 169; crypto_test.cpp finds it).
#include <emmintrin.h>
#include <intel-ipsec-mb.h>

#include <algorithm>
#include <array>
#include <bit>
#include <format>
#include <string>

#include "base/secret.hpp"
#include "ebpf/esp/crypto_backends.hpp"

namespace gw::esp {
namespace {

struct IpsecMbKey : KeySchedule {
  const Transform* transform = nullptr;
  SequenceMode mode = SequenceMode::kExtended;
  enum class Way : std::uint8_t { kDirect, kJob, kForeign } way = Way::kJob;
  std::uint8_t icv_bytes = 0;
  std::uint32_t salt = 0;  // as it lies in the keying material
  ~IpsecMbKey() override { wipe(&salt, sizeof salt); }
};

struct GcmKey final : IpsecMbKey {
  aes_gcm_enc_dec_t encrypt = nullptr;
  aes_gcm_enc_dec_t decrypt = nullptr;
  // The library's assembler loads it aligned; its header says so only where LINUX is defined.
  alignas(64) gcm_key_data data{};
  ~GcmKey() override { wipe(&data, sizeof data); }
};

struct JobKey final : IpsecMbKey {
  IMB_JOB job{};  // every job of the key begins as a copy
  struct Secrets {
    alignas(16) std::array<std::uint8_t, 15 * 16> encrypt;  // AES round keys, or ChaCha's key
    alignas(16) std::array<std::uint8_t, 15 * 16> decrypt;
    alignas(16) std::array<std::uint8_t, 64> inner;  // HMAC: the state after key xor ipad
    alignas(16) std::array<std::uint8_t, 64> outer;
  };
  Secrets secrets{};
  ~JobKey() override { wipe(&secrets, sizeof secrets); }
};

struct ForeignKey final : IpsecMbKey {
  std::unique_ptr<KeySchedule> key;  // of the OpenSSL backend
};

IpsecMbKey& own(KeySchedule* key) { return *static_cast<IpsecMbKey*>(key); }

// Nonce and AAD of the combined modes. Each is one 16-byte store: the library reads them in one load, which two
// narrower stores would delay.
struct alignas(16) AeadInput {
  __m128i nonce;  // salt, IV (RFC 4106 4, RFC 7634 2)
  __m128i aad;    // SPI, sequence number: all of it with ESN (RFC 4106 5)
  std::uint32_t aad_length;

  void fill(const IpsecMbKey& key, const CryptoOp& op) {
    std::uint64_t iv;
    std::uint32_t spi;
    std::memcpy(&iv, op.text - kAeadIvBytes, sizeof iv);
    std::memcpy(&spi, op.text - kAeadIvBytes - kEspHeaderBytes, sizeof spi);
    const auto high = static_cast<long long>(iv >> 32);
    nonce = _mm_set_epi64x(high, static_cast<long long>(iv << 32 | key.salt));
    const std::uint64_t first = key.mode == SequenceMode::kExtended ? op.sequence >> 32 : op.sequence;
    const std::uint64_t first_be = std::byteswap(static_cast<std::uint32_t>(first));
    aad = _mm_set_epi64x(std::byteswap(static_cast<std::uint32_t>(op.sequence)),
                         static_cast<long long>(first_be << 32 | spi));
    aad_length = key.mode == SequenceMode::kExtended ? 12 : 8;
  }
  const std::uint8_t* nonce_bytes() const { return reinterpret_cast<const std::uint8_t*>(&nonce); }
  const std::uint8_t* aad_bytes() const { return reinterpret_cast<const std::uint8_t*>(&aad); }
};

struct MgrDeleter {
  void operator()(IMB_MGR* m) const { free_mb_mgr(m); }
};
using Mgr = std::unique_ptr<IMB_MGR, MgrDeleter>;

IMB_HASH_ALG hash_of(Integrity integrity) {
  switch (integrity) {
    case Integrity::kCombined: return IMB_AUTH_CHACHA20_POLY1305;
    case Integrity::kHmacSha1: return IMB_AUTH_HMAC_SHA_1;
    case Integrity::kHmacSha256: return IMB_AUTH_HMAC_SHA_256;
    case Integrity::kHmacSha384: return IMB_AUTH_HMAC_SHA_384;
    case Integrity::kHmacSha512: return IMB_AUTH_HMAC_SHA_512;
  }
  return IMB_AUTH_NULL;
}

// --- keys --------------------------------------------------------------------------------------------

std::unique_ptr<GcmKey> make_gcm_key(IMB_MGR* mgr, const KeyMaterial& m) {
  auto k = std::make_unique<GcmKey>();
  k->way = IpsecMbKey::Way::kDirect;
  const std::uint8_t* key = m.cipher.data();
  switch (m.transform->key_bytes) {
    case 16:
      k->encrypt = mgr->gcm128_enc;
      k->decrypt = mgr->gcm128_dec;
      mgr->gcm128_pre(key, &k->data);
      break;
    case 24:
      k->encrypt = mgr->gcm192_enc;
      k->decrypt = mgr->gcm192_dec;
      mgr->gcm192_pre(key, &k->data);
      break;
    default:
      k->encrypt = mgr->gcm256_enc;
      k->decrypt = mgr->gcm256_dec;
      mgr->gcm256_pre(key, &k->data);
      break;
  }
  return k;
}

void set_cipher(IMB_MGR* mgr, JobKey& k, const KeyMaterial& m) {
  JobKey::Secrets& s = k.secrets;
  const std::uint8_t* key = m.cipher.data();
  k.job.enc_keys = s.encrypt.data();
  k.job.dec_keys = s.decrypt.data();
  k.job.key_len_in_bytes = m.transform->key_bytes;
  switch (m.transform->cipher) {
    case Cipher::kNull: k.job.cipher_mode = IMB_CIPHER_NULL; break;
    case Cipher::kAesCbc:
      k.job.cipher_mode = IMB_CIPHER_CBC;
      if (m.transform->key_bytes == 16) IMB_AES_KEYEXP_128(mgr, key, s.encrypt.data(), s.decrypt.data());
      if (m.transform->key_bytes == 24) IMB_AES_KEYEXP_192(mgr, key, s.encrypt.data(), s.decrypt.data());
      if (m.transform->key_bytes == 32) IMB_AES_KEYEXP_256(mgr, key, s.encrypt.data(), s.decrypt.data());
      break;
    case Cipher::k3DesCbc:
    case Cipher::kAesGcm: break;  // never a job
    case Cipher::kChaCha20Poly1305:
      k.job.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
      std::memcpy(s.encrypt.data(), key, m.transform->key_bytes);
      k.job.dec_keys = s.encrypt.data();
      break;
  }
}

std::unique_ptr<JobKey> make_job_key(IMB_MGR* mgr, const KeyMaterial& m) {
  auto k = std::make_unique<JobKey>();
  const Transform& t = *m.transform;
  set_cipher(mgr, *k, m);
  k->job.hash_alg = hash_of(t.integrity);
  k->job.iv_len_in_bytes = t.combined() ? kAeadNonceBytes : t.iv_bytes;
  k->job.auth_tag_output_len_in_bytes = t.icv_bytes;
  if (!t.combined()) {
    imb_hmac_ipad_opad(mgr, k->job.hash_alg, m.integrity.data(), m.integrity.size(), k->secrets.inner.data(),
                       k->secrets.outer.data());
    k->job.u.HMAC._hashed_auth_key_xor_ipad = k->secrets.inner.data();
    k->job.u.HMAC._hashed_auth_key_xor_opad = k->secrets.outer.data();
  }
  return k;
}

// --- packets -----------------------------------------------------------------------------------------

class IpsecMb final : public CryptoBackend {
 public:
  struct Parts {
    Mgr mgr;
    std::unique_ptr<CryptoBackend> openssl;
    std::string name;
  };
  IpsecMb(Parts parts, IvSource ivs)
      : CryptoBackend(std::move(ivs)),
        mgr_(std::move(parts.mgr)),
        openssl_(std::move(parts.openssl)),
        name_(std::move(parts.name)) {}
  ~IpsecMb() override { wipe(&context_, sizeof context_); }  // holds key stream of a partial block

  std::string_view name() const override { return name_; }

  Result<std::unique_ptr<KeySchedule>> make_key(const KeyMaterial& m) override {
    GW_TRY(check_key_lengths(m));
    std::unique_ptr<IpsecMbKey> k;
    if (m.transform->cipher == Cipher::kAesGcm) {
      k = make_gcm_key(mgr_.get(), m);
    } else if (m.transform->cipher == Cipher::k3DesCbc) {
      auto foreign = std::make_unique<ForeignKey>();
      foreign->way = IpsecMbKey::Way::kForeign;
      GW_TRY_ASSIGN(foreign->key, openssl_->make_key(m));
      k = std::move(foreign);
    } else {
      k = make_job_key(mgr_.get(), m);
    }
    k->transform = m.transform;
    k->mode = m.mode;
    k->icv_bytes = m.transform->icv_bytes;
    if (m.transform->salt_bytes == kAeadSaltBytes)
      std::memcpy(&k->salt, m.cipher.data() + m.transform->key_bytes, kAeadSaltBytes);
    return k;
  }

  void encrypt(std::span<CryptoOp> ops) override { run<IMB_DIR_ENCRYPT>(ops); }
  void decrypt(std::span<CryptoOp> ops) override { run<IMB_DIR_DECRYPT>(ops); }

 private:
  /// Packets that are worked on together; the manager takes 256 jobs.
  static constexpr std::size_t kJobs = 64;
  /// How many packets before its use a key is fetched: at 64 B, three packets take a memory access's time.
  static constexpr std::size_t kKeysAhead = 3;
  struct Scratch {
    alignas(16) std::array<std::uint8_t, kMaxIcvBytes> received;
    alignas(16) std::array<std::uint8_t, kMaxIcvBytes> computed;
  };

  template <IMB_CIPHER_DIRECTION kWay>
  void run(std::span<CryptoOp> ops) {
    for (; !ops.empty(); ops = ops.subspan(std::min(ops.size(), kJobs)))
      run_chunk<kWay>(ops.first(std::min(ops.size(), kJobs)));
  }

  /// A packet's nonce and AAD are made before the one ahead of it is worked on: a load that follows its store too
  /// soon waits for it.
  template <IMB_CIPHER_DIRECTION kWay>
  void run_chunk(std::span<CryptoOp> ops) {
    fill_aead(ops[0], aead_[0]);
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (i + 1 < ops.size()) fill_aead(ops[i + 1], aead_[i + 1]);
      if (i + kKeysAhead < ops.size()) prefetch_key(ops[i + kKeysAhead], ops[i + kKeysAhead - 1]);
      IpsecMbKey& key = own(ops[i].key);
      switch (key.way) {
        case IpsecMbKey::Way::kDirect: run_gcm<kWay>(static_cast<GcmKey&>(key), ops[i], aead_[i]); break;
        case IpsecMbKey::Way::kJob: submit(static_cast<JobKey&>(key), ops[i], kWay, aead_[i]); break;
        case IpsecMbKey::Way::kForeign: run_foreign<kWay>(static_cast<ForeignKey&>(key), ops[i]); break;
      }
    }
    if (jobs_ != 0) finish_jobs();
  }

  static void fill_aead(const CryptoOp& op, AeadInput& input) {
    if (const IpsecMbKey& key = own(op.key); key.transform->combined()) input.fill(key, op);
  }

  /// With many SAs every packet's key is cold: the round keys and the powers of the hash key that it will use. A run
  /// of one key has them.
  static void prefetch_key(const CryptoOp& op, const CryptoOp& before) {
    if (op.key == before.key) return;
    const IpsecMbKey& key = own(op.key);
    if (key.way != IpsecMbKey::Way::kDirect) return;
    const auto* data = reinterpret_cast<const char*>(&static_cast<const GcmKey&>(key).data);
    constexpr std::uint32_t kLine = 64;
    constexpr std::uint32_t kShortText = 256;
    constexpr std::uint32_t kShortBytes = 8 * kLine;  // round keys, and powers enough for a small packet
    const std::uint32_t bytes = op.length <= kShortText ? kShortBytes : sizeof(gcm_key_data);
    for (std::uint32_t at = 0; at < bytes; at += kLine) _mm_prefetch(data + at, _MM_HINT_T0);
  }

  template <IMB_CIPHER_DIRECTION kWay>
  void run_foreign(ForeignKey& k, CryptoOp& op) {
    op.key = k.key.get();
    if constexpr (kWay == IMB_DIR_ENCRYPT)
      openssl_->encrypt({&op, 1});
    else
      openssl_->decrypt({&op, 1});
    op.key = &k;
  }

  template <IMB_CIPHER_DIRECTION kWay>
  void run_gcm(GcmKey& k, CryptoOp& op, const AeadInput& input) {
    const std::uint32_t icv_bytes = k.icv_bytes;
    std::uint8_t* received = op.text + op.length;
    if constexpr (kWay == IMB_DIR_ENCRYPT) {
      k.encrypt(&k.data, &context_, op.text, op.text, op.length, input.nonce_bytes(), input.aad_bytes(),
                input.aad_length, received, icv_bytes);
      op.ok = true;
    } else {
      alignas(16) std::array<std::uint8_t, 16> icv;
      k.decrypt(&k.data, &context_, op.text, op.text, op.length, input.nonce_bytes(), input.aad_bytes(),
                input.aad_length, icv.data(), icv_bytes);
      op.ok = same_icv(icv.data(), received, icv_bytes);
    }
  }

  void submit(JobKey& key, CryptoOp& op, IMB_CIPHER_DIRECTION way, const AeadInput& input) {
    Scratch& scratch = scratch_[jobs_++];
    op.ok = false;
    IMB_JOB* job = IMB_GET_NEXT_JOB(mgr_.get());
    *job = key.job;
    job->cipher_direction = way;
    job->chain_order = way == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->msg_len_to_cipher_in_bytes = op.length;
    job->dst = op.text;
    job->user_data = &op;
    job->user_data2 = &scratch;
    std::uint8_t* icv = op.text + op.length;
    if (way == IMB_DIR_DECRYPT) std::memcpy(scratch.received.data(), icv, key.icv_bytes);
    job->auth_tag_output = way == IMB_DIR_ENCRYPT ? icv : scratch.computed.data();
    if (key.transform->combined())
      fill_combined(*job, op, input);
    else
      fill_hmac(*job, key, op);
    for (IMB_JOB* done = IMB_SUBMIT_JOB_NOCHECK(mgr_.get()); done != nullptr; done = IMB_GET_COMPLETED_JOB(mgr_.get()))
      complete(*done);
  }

  static void fill_combined(IMB_JOB& job, const CryptoOp& op, const AeadInput& input) {
    job.src = op.text;
    job.msg_len_to_hash_in_bytes = op.length;
    job.iv = input.nonce_bytes();
    job.u.CHACHA20_POLY1305.aad = input.aad_bytes();
    job.u.CHACHA20_POLY1305.aad_len_in_bytes = input.aad_length;
  }

  static void fill_hmac(IMB_JOB& job, const JobKey& key, CryptoOp& op) {
    const std::uint32_t before = kEspHeaderBytes + key.transform->iv_bytes;
    job.src = op.text - before;
    job.iv = op.text - key.transform->iv_bytes;
    job.cipher_start_src_offset_in_bytes = before;
    job.msg_len_to_hash_in_bytes = before + op.length;
    if (key.mode == SequenceMode::kExtended) {
      // RFC 4303 2.2.1: hashed behind the text, where the ICV, of which there is a copy, or no value yet, has its
      // place. The ICV is written last.
      store_be(op.text + op.length, esn_high(op.sequence));
      job.msg_len_to_hash_in_bytes += kEsnHighBytes;
    }
  }

  static void complete(const IMB_JOB& job) {
    CryptoOp& op = *static_cast<CryptoOp*>(job.user_data);
    const Scratch& scratch = *static_cast<const Scratch*>(job.user_data2);
    op.ok = job.status == IMB_STATUS_COMPLETED;
    if (job.cipher_direction == IMB_DIR_DECRYPT && op.ok)
      op.ok = same_icv(scratch.computed.data(), scratch.received.data(), own(op.key).icv_bytes);
  }

  void finish_jobs() {
    while (const IMB_JOB* done = IMB_FLUSH_JOB(mgr_.get())) complete(*done);
    jobs_ = 0;
  }

  Mgr mgr_;
  std::unique_ptr<CryptoBackend> openssl_;
  std::string name_;
  alignas(64) gcm_context_data context_{};
  std::array<AeadInput, kJobs> aead_{};
  std::size_t jobs_ = 0;
  std::array<Scratch, kJobs> scratch_{};
};

}  // namespace

Result<std::unique_ptr<CryptoBackend>> make_ipsec_mb(IvSource ivs) {
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
  GW_TRY_ASSIGN(IvSource unused, IvSource::create());
  GW_TRY_ASSIGN(auto openssl, make_openssl(std::move(unused)));
  std::string name = std::format("intel-ipsec-mb {} ({})", imb_get_version_str(), type);
  return std::make_unique<IpsecMb>(IpsecMb::Parts{std::move(mgr), std::move(openssl), std::move(name)}, std::move(ivs));
}

}  // namespace gw::esp
