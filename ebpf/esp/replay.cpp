#include "ebpf/esp/replay.hpp"

#include <algorithm>
#include <bit>

namespace gw::esp {

ReplayWindow::ReplayWindow(std::uint32_t packets, SequenceMode mode)
    : size_(std::clamp((std::min(packets, kMaxReplayWindow) + 63) / 64 * 64, kMinReplayWindow, kMaxReplayWindow)),
      ring_mask_(std::bit_ceil(size_) - 1),
      mode_(mode) {}

std::optional<std::uint64_t> ReplayWindow::infer(const RuntimeRecord& record, std::uint32_t low) const {
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

bool ReplayWindow::acceptable(const RuntimeRecord& record, std::uint64_t sequence) const {
  if (sequence == 0) return false;  // RFC 4303 3.3.3: the first is 1
  const std::uint64_t top = load_field(record.replay_top);
  if (sequence > top) return true;
  if (top - sequence >= size_) return false;
  const std::uint64_t bit = sequence & ring_mask_;
  return (load_field(record.replay_bitmap[bit / 64]) >> (bit % 64) & 1) == 0;
}

// Clears the bits of sequence numbers first..last, fewer than the ring has.
void ReplayWindow::clear_range(RuntimeRecord& record, std::uint64_t first, std::uint64_t last) const {
  while (first <= last) {
    const std::uint64_t bit = first & ring_mask_;
    const std::uint64_t count = std::min<std::uint64_t>(64 - bit % 64, last - first + 1);
    const std::uint64_t ones = count == 64 ? UINT64_MAX : (std::uint64_t{1} << count) - 1;
    std::uint64_t& word = record.replay_bitmap[bit / 64];
    store_field(word, word & ~(ones << (bit % 64)));
    first += count;
  }
}

bool ReplayWindow::accept(RuntimeRecord& record, std::uint64_t sequence) const {
  if (!acceptable(record, sequence)) return false;
  const std::uint64_t top = load_field(record.replay_top);
  if (sequence > top) {
    // The top first. If the process dies before the bits are cleared, stale bits refuse packets that were
    // never seen (a loss); the other order would accept packets a second time.
    store_field(record.replay_top, sequence);
    std::atomic_thread_fence(std::memory_order_release);
    const std::uint64_t ring = std::uint64_t{ring_mask_} + 1;
    clear_range(record, sequence - top >= ring ? sequence - ring + 1 : top + 1, sequence);
  }
  const std::uint64_t bit = sequence & ring_mask_;
  std::uint64_t& word = record.replay_bitmap[bit / 64];
  store_field(word, word | std::uint64_t{1} << (bit % 64));
  return true;
}

}  // namespace gw::esp
