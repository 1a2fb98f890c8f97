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
  static bool first_after_takeover(RuntimeRecord& record);
  void clear_range(RuntimeRecord& record, std::uint64_t first, std::uint64_t last) const;

  std::uint32_t size_;
  std::uint32_t ring_mask_;  // bits of the ring - 1: a power of two, at least size_
  SequenceMode mode_;
};

// Inline: each runs for every packet; as calls they cost a tenth of the decapsulation of a small one.

inline std::optional<std::uint64_t> ReplayWindow::infer(const RuntimeRecord& record, std::uint32_t low) const {
  if (mode_ == SequenceMode::k32Bit) return low;
  const std::uint64_t top = load_field(record.replay_top);
  const auto top_low = static_cast<std::uint32_t>(top);
  const std::uint64_t top_high = top >> 32;
  const std::uint32_t bottom_low = top_low - size_ + 1;  // modulo 2^32, as RFC 4303 A2.2 has it
  std::uint64_t high = top_high;
  if (top_low >= size_ - 1) {      // case A: the window lies within one subspace
    if (low < bottom_low) ++high;  // then it is of the next one
  } else if (low >= bottom_low) {  // case B: the window reaches back into the one before
    if (top_high == 0) return std::nullopt;
    --high;
  }
  if (high > UINT32_MAX) return std::nullopt;
  return high << 32 | low;
}

inline bool ReplayWindow::acceptable(const RuntimeRecord& record, std::uint64_t sequence) const {
  if (sequence == 0) return false;  // RFC 4303 3.3.3: the first is 1
  const std::uint64_t top = load_field(record.replay_top);
  if (sequence > top) return true;
  if (top - sequence >= size_) return false;
  const std::uint64_t bit = sequence & ring_mask_;
  return (load_field(record.replay_bitmap[bit / 64]) >> (bit % 64) & 1) == 0;
}

inline bool ReplayWindow::accept(RuntimeRecord& record, std::uint64_t sequence) const {
  if (!acceptable(record, sequence)) return false;
  const std::uint64_t top = load_field(record.replay_top);
  if (sequence > top) {
    // The top first. If the process dies before the bits are cleared, stale bits refuse packets that were
    // never seen (a loss); the other order would accept packets a second time.
    store_field(record.replay_top, sequence);
    std::atomic_thread_fence(std::memory_order_release);
    const std::uint64_t ring = std::uint64_t{ring_mask_} + 1;
    if (load_field(record.resync) != 0) [[unlikely]]
      return first_after_takeover(record);
    // What was skipped; the usual step by one skips nothing.
    clear_range(record, sequence - top >= ring ? sequence - ring + 1 : top + 1, sequence - 1);
  }
  const std::uint64_t bit = sequence & ring_mask_;
  std::uint64_t& word = record.replay_bitmap[bit / 64];
  store_field(word, word | std::uint64_t{1} << (bit % 64));
  return true;
}

}  // namespace gw::esp
