// The two implementations of CryptoBackend and what they share; private to this package (crypto.cpp chooses).
#pragma once

#include <cstring>
#include <memory>

#include "base/wire.hpp"
#include "ebpf/esp/crypto.hpp"

namespace gw::esp {

/// kUnsupported when the CPU lacks AES-NI or the library's self-test fails.
Result<std::unique_ptr<CryptoBackend>> make_ipsec_mb(IvSource ivs);
Result<std::unique_ptr<CryptoBackend>> make_openssl(IvSource ivs);

/// Constant time: says nothing about where two ICVs differ. `bytes` is a multiple of 4.
inline bool same_icv(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) {
  std::uint32_t differ = 0;
  for (std::size_t i = 0; i < bytes; i += 4) {
    std::uint32_t x;
    std::uint32_t y;
    std::memcpy(&x, a + i, 4);
    std::memcpy(&y, b + i, 4);
    differ |= x ^ y;
  }
  return differ == 0;
}

/// With ESN and a separate integrity algorithm the high half of the sequence number is authenticated behind the
/// ciphertext (RFC 4303 2.2.1).
inline constexpr std::uint32_t kEsnHighBytes = 4;
inline std::uint32_t esn_high(std::uint64_t sequence) { return static_cast<std::uint32_t>(sequence >> 32); }

}  // namespace gw::esp
