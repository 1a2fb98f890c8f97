// The reference of the ESP and path benchmarks: raw ipsec-mb on buffers of the kind the subject has, by its fastest
// call. One thread.
#pragma once

#include <memory>
#include <vector>

#include "base/result.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/raw_ipsec_mb.hpp"

namespace gw::bench {

// As VPP's vectors, with which the ratios are compared (datapath findings); 256 buffers of 2 KiB stay in L2.
inline constexpr std::size_t kPackets = 256;
inline constexpr std::size_t kBufferBytes = 2048;
inline constexpr std::uint32_t kFrontRoom = 256;  // what AF_XDP leaves

/// Packets that a side handles per call: long enough against the timer, short enough that both sides meet the
/// same neighbours.
std::uint64_t rounds_for(std::uint32_t inner_bytes);

/// Buffers on 64-byte boundaries.
class Buffers {
 public:
  explicit Buffers(std::size_t count) : memory_(count * kBufferBytes + 64) {}
  std::uint8_t* at(std::size_t i) {
    const auto start = reinterpret_cast<std::uintptr_t>(memory_.data());
    return memory_.data() + (64 - start % 64) % 64 + i * kBufferBytes;
  }

 private:
  std::vector<std::uint8_t> memory_;
};

class RawSide {
 public:
  /// Texts of the length that an inner packet of this size is encrypted with.
  static Result<std::shared_ptr<RawSide>> create(std::uint32_t inner_bytes);
  explicit RawSide(std::uint32_t inner_bytes);

  std::string name() const;
  Sample encrypt() { return encrypt_by(call_); }
  Sample decrypt();

 private:
  Sample encrypt_by(RawCall call);
  void choose_call();

  std::uint64_t rounds_;
  Buffers buffers_{kPackets};
  std::vector<RawPacket> packets_;
  std::unique_ptr<RawIpsecMb> raw_;
  RawCall call_ = RawCall::kDirect;
};

}  // namespace gw::bench
