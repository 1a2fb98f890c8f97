// Which lines of the IPv6 memory are free: a buddy allocator of blocks of 1 to 32 lines, whose parts find
// together again when they are freed. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "ebpf/abi/fib.h"

namespace gw::fib {

/// 2^width lines from `first` on.
struct LineBlock {
  std::uint32_t first = 0;
  unsigned width = 0;
};

class LineAllocator {
 public:
  /// Whoever makes room may use the last blocks: taking a route out can need a new node for a moment.
  enum class Need : std::uint8_t { kGrow, kShrink };

  explicit LineAllocator(std::size_t lines);

  std::optional<LineBlock> allocate(unsigned width, Need need);
  void free(const LineBlock& block);

  std::size_t size() const { return state_.size(); }
  std::size_t free_lines() const { return free_lines_; }
  std::size_t memory_bytes() const { return state_.capacity() + links_.capacity() * sizeof(Link); }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::size_t kReserve = std::size_t{4} << GW_FIB_V6_MAX_WIDTH;
  struct Link {
    std::uint32_t next = kNone;
    std::uint32_t previous = kNone;
  };
  void push(const LineBlock& block);
  void take_out(const LineBlock& block);

  std::vector<std::uint8_t> state_;  // width + 1 where a free block begins, else 0
  std::vector<Link> links_;          // between the free blocks of a width
  std::array<std::uint32_t, GW_FIB_V6_MAX_WIDTH + 1> heads_;
  std::size_t free_lines_ = 0;
};

}  // namespace gw::fib
