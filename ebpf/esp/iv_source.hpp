// Unpredictable IVs for CBC (RFC 3602 3: "randomly chosen", never a counter): AES-256-CTR key stream under a key
// from the kernel, with fast key erasure: every block of output begins with the next key, and what was handed out
// is wiped, so that nobody can compute earlier IVs from a stolen memory image. A fresh key from the kernel
// every kRefillsPerSeed blocks. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"

struct evp_cipher_ctx_st;

namespace gw::esp {

class IvSource {
 public:
  static Result<IvSource> create();
  IvSource(IvSource&&) noexcept;
  IvSource& operator=(IvSource&&) noexcept;
  ~IvSource();

  /// 16 bytes at most. Allocates nothing; calls the kernel every 261,000 IVs of 16 bytes.
  void take(std::span<std::uint8_t> out);

 private:
  static constexpr std::size_t kKeyBytes = 32;
  static constexpr std::size_t kBlockBytes = 4096;
  static constexpr unsigned kRefillsPerSeed = 1024;
  struct State {
    std::array<std::uint8_t, kKeyBytes> key;
    std::array<std::uint8_t, kBlockBytes> block;
  };
  struct ContextDeleter {
    void operator()(evp_cipher_ctx_st* c) const;
  };
  IvSource();
  void refill();

  std::unique_ptr<State> state_;
  std::unique_ptr<evp_cipher_ctx_st, ContextDeleter> context_;
  std::size_t used_ = kBlockBytes;
  unsigned refills_ = 0;
};

}  // namespace gw::esp
