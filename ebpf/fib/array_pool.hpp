// Many small arrays in one piece of memory: an array is 8 bytes to its owner, no allocation per array, and
// freed places are used again by arrays of the same size class. Owner's thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gw::fib {

/// Which array of a pool; empty at first.
struct ArrayRef {
  std::uint32_t at = 0;
  std::uint32_t size = 0;
};

template <class T>
class ArrayPool {
 public:
  std::span<T> of(ArrayRef a) { return {memory_.data() + a.at, a.size}; }
  std::span<const T> of(ArrayRef a) const { return {memory_.data() + a.at, a.size}; }

  void insert(ArrayRef& a, std::size_t position, const T& value) {
    if (capacity_of(a.size) < a.size + 1) move_to(a, a.size + 1);
    ++a.size;
    const std::span<T> all = of(a);
    std::copy_backward(all.begin() + static_cast<std::ptrdiff_t>(position), all.end() - 1, all.end());
    all[position] = value;
  }

  void erase(ArrayRef& a, std::size_t position) {
    const std::span<T> all = of(a);
    std::copy(all.begin() + static_cast<std::ptrdiff_t>(position) + 1, all.end(),
              all.begin() + static_cast<std::ptrdiff_t>(position));
    const std::uint32_t size = a.size - 1;
    if (capacity_of(size) < capacity_of(a.size)) move_to(a, size);
    a.size = size;
  }

  std::size_t memory_bytes() const { return memory_.capacity() * sizeof(T); }

 private:
  // Powers of two and the halves between: a third of the places at most is unused.
  static constexpr std::array<std::uint32_t, 19> kCapacity = {0,  1,  2,  3,  4,   6,   8,   12,  16, 24,
                                                              32, 48, 64, 96, 128, 192, 256, 384, 512};
  static std::size_t class_of(std::uint32_t size) {
    return static_cast<std::size_t>(std::ranges::lower_bound(kCapacity, size) - kCapacity.begin());
  }
  static std::uint32_t capacity_of(std::uint32_t size) { return kCapacity[class_of(size)]; }

  /// To the size class of `size`, with as much content as fits.
  void move_to(ArrayRef& a, std::uint32_t size) {
    const std::size_t to = class_of(size);
    std::uint32_t at = 0;
    if (to > 0 && !free_[to].empty()) {
      at = free_[to].back();
      free_[to].pop_back();
    } else if (to > 0) {
      at = static_cast<std::uint32_t>(memory_.size());
      memory_.resize(memory_.size() + kCapacity[to]);
    }
    std::copy_n(memory_.begin() + a.at, std::min(a.size, size), memory_.begin() + at);
    if (const std::size_t from = class_of(a.size); from > 0) free_[from].push_back(a.at);
    a.at = at;
  }

  std::vector<T> memory_;
  std::array<std::vector<std::uint32_t>, kCapacity.size()> free_;
};

}  // namespace gw::fib
