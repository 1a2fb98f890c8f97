#include "ebpf/esp/iv_source.hpp"

#include <openssl/evp.h>
#include <sys/random.h>

#include <cstdlib>
#include <cstring>

#include "base/secret.hpp"

namespace gw::esp {

void IvSource::ContextDeleter::operator()(evp_cipher_ctx_st* c) const { EVP_CIPHER_CTX_free(c); }

IvSource::IvSource() : state_(std::make_unique<State>()), context_(EVP_CIPHER_CTX_new()) {}
IvSource::IvSource(IvSource&&) noexcept = default;
IvSource& IvSource::operator=(IvSource&&) noexcept = default;
IvSource::~IvSource() {
  if (state_) wipe(state_.get(), sizeof *state_);
}

Result<IvSource> IvSource::create() {
  IvSource source;
  if (!source.context_ || EVP_EncryptInit_ex2(source.context_.get(), EVP_aes_256_ctr(), nullptr, nullptr, nullptr) != 1)
    return fail(Errc::kUnsupported, "OpenSSL has no AES-256-CTR");
  // Short requests are never interrupted and fail only on kernels without the call (getrandom(2)).
  auto& key = source.state_->key;
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) return fail_errno("getrandom");
  return source;
}

void IvSource::refill() {
  State& s = *state_;
  if (++refills_ % kRefillsPerSeed == 0) {
    // Mixed in: were it to fail, the stream goes on under the old key, as good as before.
    std::array<std::uint8_t, kKeyBytes> fresh{};
    (void)!::getrandom(fresh.data(), fresh.size(), GRND_NONBLOCK);
    for (std::size_t i = 0; i < fresh.size(); ++i) s.key[i] ^= fresh[i];
    wipe(fresh.data(), fresh.size());
  }
  constexpr std::array<std::uint8_t, 16> kStart{};  // every key is used for one block only
  s.block.fill(0);
  int n = 0;
  if (EVP_EncryptInit_ex2(context_.get(), nullptr, s.key.data(), kStart.data(), nullptr) != 1 ||
      EVP_EncryptUpdate(context_.get(), s.block.data(), &n, s.block.data(), kBlockBytes) != 1)
    std::abort();  // a cipher that was set up, in memory: zeros as IVs would be the alternative
  std::memcpy(s.key.data(), s.block.data(), kKeyBytes);
  wipe(s.block.data(), kKeyBytes);
  used_ = kKeyBytes;
}

void IvSource::take(std::span<std::uint8_t> out) {
  if (kBlockBytes - used_ < out.size()) refill();
  std::uint8_t* from = state_->block.data() + used_;
  std::memcpy(out.data(), from, out.size());
  std::memset(from, 0, out.size());
  used_ += out.size();
}

}  // namespace gw::esp
