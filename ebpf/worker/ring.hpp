// A bounded ring from one worker to another, moved in batches: a store and a shared cache line a burst, not a
// packet. One thread pushes, one pops; lock-free; never allocates after construction.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

namespace gw::worker {

template <class T>
class Ring {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// Holds at least `capacity` (rounded up to a power of two).
  explicit Ring(std::size_t capacity)
      : mask_(std::bit_ceil(std::max<std::size_t>(capacity, 2)) - 1), slots_(std::make_unique<T[]>(mask_ + 1)) {}

  /// Takes what there is room for, the first ones; how many.
  std::size_t push(std::span<const T> values) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail + values.size() - cached_head_ > mask_ + 1) cached_head_ = head_.load(std::memory_order_acquire);
    const std::size_t n = std::min(values.size(), mask_ + 1 - (tail - cached_head_));
    for (std::size_t i = 0; i < n; ++i) slots_[(tail + i) & mask_] = values[i];
    if (n > 0) tail_.store(tail + n, std::memory_order_release);
    return n;
  }

  /// The oldest, at most out.size(); how many.
  std::size_t pop(std::span<T> out) {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (cached_tail_ - head < out.size()) cached_tail_ = tail_.load(std::memory_order_acquire);
    const std::size_t n = std::min(out.size(), cached_tail_ - head);
    for (std::size_t i = 0; i < n; ++i) out[i] = slots_[(head + i) & mask_];
    if (n > 0) head_.store(head + n, std::memory_order_release);
    return n;
  }

  /// The popping thread: nothing waits at this moment.
  bool empty() const { return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_acquire); }
  std::size_t capacity() const { return mask_ + 1; }

 private:
  static constexpr std::size_t kLine = 64;  // pushing and popping side must not share a cache line
  const std::size_t mask_;
  std::unique_ptr<T[]> slots_;
  alignas(kLine) std::atomic<std::size_t> head_{0};
  std::size_t cached_tail_ = 0;  // the popping side's
  alignas(kLine) std::atomic<std::size_t> tail_{0};
  std::size_t cached_head_ = 0;  // the pushing side's
};

}  // namespace gw::worker
