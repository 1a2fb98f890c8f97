// The reference of the ESP benchmarks: intel-ipsec-mb alone on the same kind of buffers, by its direct, job and
// burst calls; the fastest of them counts. AES-256-GCM, 8 or 12 bytes of AAD, 16-byte ICV.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"

namespace gw::bench {

enum class RawCall : std::uint8_t { kDirect, kJob, kBurst };
std::string_view to_string(RawCall call);

struct RawPacket {
  std::uint8_t* text;
  std::uint32_t length;
  std::uint8_t* icv;
  const std::uint8_t* nonce;
  const std::uint8_t* aad;
};

class RawIpsecMb {
 public:
  static Result<std::unique_ptr<RawIpsecMb>> create();
  virtual ~RawIpsecMb() = default;
  virtual void encrypt(RawCall call, std::span<const RawPacket> packets) = 0;
  virtual void decrypt(RawCall call, std::span<const RawPacket> packets) = 0;
};

}  // namespace gw::bench
