#include "ebpf/esp/replay.hpp"

#include <algorithm>
#include <bit>

namespace gw::esp {

ReplayWindow::ReplayWindow(std::uint32_t packets, SequenceMode mode)
    : size_(std::clamp((std::min(packets, kMaxReplayWindow) + 63) / 64 * 64, kMinReplayWindow, kMaxReplayWindow)),
      ring_mask_(std::bit_ceil(size_) - 1),
      mode_(mode) {}

// The other instance may have delivered anything up to here: all bits stay set (takeover_rules.hpp).
bool ReplayWindow::first_after_takeover(RuntimeRecord& record) {
  for (std::uint64_t& word : record.replay_bitmap) store_field(word, UINT64_MAX);
  publish_reservations();
  store_field(record.resync, std::uint32_t{0});
  return true;
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

}  // namespace gw::esp
