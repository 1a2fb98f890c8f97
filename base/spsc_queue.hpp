// A bounded single-producer single-consumer ring: control thread to worker and back. Lock-free; never
// allocates after construction. push and pop may each be called from one thread at a time.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace gw {

template <class T>
class SpscQueue {
 public:
  /// Holds at least `capacity` elements (rounded up to a power of two).
  explicit SpscQueue(std::size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? 2 : capacity) - 1),
        slots_(std::make_unique<std::optional<T>[]>(mask_ + 1)) {}

  /// False when full: the caller counts the drop or tries again; `value` is then untouched.
  bool push(T&& value) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - cached_head_ > mask_) {
      cached_head_ = head_.load(std::memory_order_acquire);
      if (tail - cached_head_ > mask_) return false;
    }
    slots_[tail & mask_].emplace(std::move(value));
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  std::optional<T> pop() {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (head == cached_tail_) {
      cached_tail_ = tail_.load(std::memory_order_acquire);
      if (head == cached_tail_) return std::nullopt;
    }
    std::optional<T> value = std::move(slots_[head & mask_]);
    slots_[head & mask_].reset();
    head_.store(head + 1, std::memory_order_release);
    return value;
  }

  std::size_t capacity() const { return mask_ + 1; }

 private:
  // 64: the cache line of every CPU we run on; producer and consumer must not share one.
  static constexpr std::size_t kLine = 64;
  const std::size_t mask_;
  std::unique_ptr<std::optional<T>[]> slots_;
  alignas(kLine) std::atomic<std::size_t> head_{0};
  std::size_t cached_tail_ = 0;  // consumer's
  alignas(kLine) std::atomic<std::size_t> tail_{0};
  std::size_t cached_head_ = 0;  // producer's
};

}  // namespace gw
