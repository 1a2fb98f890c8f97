#include "tests/bench/raw_ipsec_mb.hpp"

#include <algorithm>
#include <array>

#ifdef __x86_64__
#include <intel-ipsec-mb.h>
#endif

namespace gw::bench {

std::string_view to_string(RawCall call) {
  switch (call) {
    case RawCall::kDirect: return "direct";
    case RawCall::kJob: return "job";
    case RawCall::kBurst: return "burst";
  }
  return "?";
}

#ifdef __x86_64__
namespace {

constexpr std::uint32_t kAadBytes = 12;
constexpr std::uint32_t kIcvBytes = 16;

class Raw final : public RawIpsecMb {
 public:
  explicit Raw(IMB_MGR* mgr) : mgr_(mgr) {
    std::array<std::uint8_t, 32> key{};
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i);
    IMB_AES256_GCM_PRE(mgr_, key.data(), &key_);
    // The burst API finds its functions by ids that a full parameter setup yields; once per direction.
    for (const auto direction : {IMB_DIR_ENCRYPT, IMB_DIR_DECRYPT}) {
      IMB_JOB& session = sessions_[direction == IMB_DIR_ENCRYPT ? 0 : 1];
      fill(session, {}, direction);
      imb_set_session(mgr_, &session);
    }
  }
  ~Raw() override { free_mb_mgr(mgr_); }

  void encrypt(RawCall call, std::span<const RawPacket> packets) override { run(call, packets, IMB_DIR_ENCRYPT); }
  void decrypt(RawCall call, std::span<const RawPacket> packets) override { run(call, packets, IMB_DIR_DECRYPT); }

 private:
  void run(RawCall call, std::span<const RawPacket> packets, IMB_CIPHER_DIRECTION direction) {
    switch (call) {
      case RawCall::kDirect: direct(packets, direction); break;
      case RawCall::kJob: jobs(packets, direction); break;
      case RawCall::kBurst: bursts(packets, direction); break;
    }
  }

  void direct(std::span<const RawPacket> packets, IMB_CIPHER_DIRECTION direction) {
    const auto call = direction == IMB_DIR_ENCRYPT ? mgr_->gcm256_enc : mgr_->gcm256_dec;
    for (const RawPacket& p : packets)
      call(&key_, &context_, p.text, p.text, p.length, p.nonce, p.aad, kAadBytes, p.icv, kIcvBytes);
  }

  void fill(IMB_JOB& job, const RawPacket& p, IMB_CIPHER_DIRECTION direction) {
    job.cipher_mode = IMB_CIPHER_GCM;
    job.hash_alg = IMB_AUTH_AES_GMAC;
    job.cipher_direction = direction;
    job.chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job.enc_keys = &key_;
    job.dec_keys = &key_;
    job.key_len_in_bytes = 32;
    job.src = p.text;
    job.dst = p.text;
    job.iv = p.nonce;
    job.iv_len_in_bytes = 12;
    job.u.GCM.aad = p.aad;
    job.u.GCM.aad_len_in_bytes = kAadBytes;
    job.cipher_start_src_offset_in_bytes = 0;
    job.hash_start_src_offset_in_bytes = 0;
    job.msg_len_to_cipher_in_bytes = p.length;
    job.msg_len_to_hash_in_bytes = p.length;
    job.auth_tag_output = p.icv;
    job.auth_tag_output_len_in_bytes = kIcvBytes;
    const IMB_JOB& session = sessions_[direction == IMB_DIR_ENCRYPT ? 0 : 1];
    std::ranges::copy(session.suite_id, job.suite_id);
    job.session_id = session.session_id;
  }

  void jobs(std::span<const RawPacket> packets, IMB_CIPHER_DIRECTION direction) {
    for (const RawPacket& p : packets) {
      fill(*IMB_GET_NEXT_JOB(mgr_), p, direction);
      IMB_JOB* done = IMB_SUBMIT_JOB_NOCHECK(mgr_);
      while (done != nullptr) done = IMB_GET_COMPLETED_JOB(mgr_);
    }
    while (IMB_FLUSH_JOB(mgr_) != nullptr) {
    }
  }

  void bursts(std::span<const RawPacket> packets, IMB_CIPHER_DIRECTION direction) {
    std::array<IMB_JOB*, 64> slots;
    while (!packets.empty()) {
      const auto n = static_cast<std::uint32_t>(std::min(packets.size(), slots.size()));
      while (IMB_GET_NEXT_BURST(mgr_, n, slots.data()) < n) IMB_FLUSH_BURST(mgr_, n, slots.data());
      for (std::uint32_t i = 0; i < n; ++i) fill(*slots[i], packets[i], direction);
      IMB_SUBMIT_BURST_NOCHECK(mgr_, n, slots.data());
      packets = packets.subspan(n);
    }
  }

  IMB_MGR* mgr_;
  std::array<IMB_JOB, 2> sessions_{};
  alignas(64) gcm_key_data key_{};
  alignas(64) gcm_context_data context_{};
};

}  // namespace

Result<std::unique_ptr<RawIpsecMb>> RawIpsecMb::create() {
  IMB_MGR* mgr = alloc_mb_mgr(0);
  if (mgr == nullptr) return fail(Errc::kLimit, "intel-ipsec-mb: out of memory");
  init_mb_mgr_auto(mgr, nullptr);
  if (const int err = imb_get_errno(mgr); err != 0) {
    free_mb_mgr(mgr);
    return fail(Errc::kUnsupported, imb_get_strerror(err));
  }
  return std::make_unique<Raw>(mgr);
}
#else
Result<std::unique_ptr<RawIpsecMb>> RawIpsecMb::create() {
  return fail(Errc::kUnsupported, "the reference, intel-ipsec-mb, exists on x86-64 only");
}
#endif

}  // namespace gw::bench
