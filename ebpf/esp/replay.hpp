// Anti-replay, RFC 4303 3.4.3 and appendix A2: check before decryption, and check again and advance once
// the ICV is verified. The window lives in the SA's RuntimeRecord. One thread: the SA's owner.
#pragma once

#include <cstdint>
#include <optional>

#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

class ReplayWindow {
 public:
  /// `packets` is rounded up to a multiple of 64 within 64..4096.
  ReplayWindow(std::uint32_t packets, SequenceMode mode);

  std::uint32_t size() const { return size_; }

  /// The full sequence number that the 32 bits on the wire stand for; nothing if it would lie before the
  /// first one (RFC 4303 A2.2). Without ESN the number itself.
  std::optional<std::uint64_t> infer(const RuntimeRecord& record, std::uint32_t low) const;

  /// True if `sequence` is not 0, not left of the window and not marked.
  bool acceptable(const RuntimeRecord& record, std::uint64_t sequence) const;

  /// acceptable(), then marks it and moves the window. Only after the ICV was verified.
  bool accept(RuntimeRecord& record, std::uint64_t sequence) const;

 private:
  void clear_range(RuntimeRecord& record, std::uint64_t first, std::uint64_t last) const;

  std::uint32_t size_;
  std::uint32_t ring_mask_;  // bits of the ring - 1: a power of two, at least size_
  SequenceMode mode_;
};

}  // namespace gw::esp
