#include "ebpf/fib/line_allocator.hpp"

namespace gw::fib {

LineAllocator::LineAllocator(std::size_t lines) : state_(lines), links_(lines) {
  heads_.fill(kNone);
  constexpr std::uint32_t kLargest = 1u << GW_FIB_V6_MAX_WIDTH;
  // The lowest lines are given out first: what is in use stays together.
  for (auto first = static_cast<std::uint32_t>(lines / kLargest * kLargest); first >= kLargest;) {
    first -= kLargest;
    push({first, GW_FIB_V6_MAX_WIDTH});
  }
}

void LineAllocator::push(const LineBlock& b) {
  state_[b.first] = static_cast<std::uint8_t>(b.width + 1);
  links_[b.first] = {heads_[b.width], kNone};
  if (heads_[b.width] != kNone) links_[heads_[b.width]].previous = b.first;
  heads_[b.width] = b.first;
  free_lines_ += std::size_t{1} << b.width;
}

void LineAllocator::take_out(const LineBlock& b) {
  const Link link = links_[b.first];
  if (link.next != kNone) links_[link.next].previous = link.previous;
  if (link.previous != kNone)
    links_[link.previous].next = link.next;
  else
    heads_[b.width] = link.next;
  state_[b.first] = 0;
  free_lines_ -= std::size_t{1} << b.width;
}

std::optional<LineBlock> LineAllocator::allocate(unsigned width, Need need) {
  if (need == Need::kGrow && free_lines_ < kReserve + (std::size_t{1} << width)) return std::nullopt;
  unsigned from = width;
  while (from <= GW_FIB_V6_MAX_WIDTH && heads_[from] == kNone) ++from;
  if (from > GW_FIB_V6_MAX_WIDTH) return std::nullopt;
  const std::uint32_t first = heads_[from];
  take_out({first, from});
  while (from > width) {
    --from;
    push({first + (1u << from), from});
  }
  return LineBlock{first, width};
}

void LineAllocator::free(const LineBlock& block) {
  LineBlock b = block;
  for (; b.width < GW_FIB_V6_MAX_WIDTH; ++b.width) {
    const std::uint32_t buddy = b.first ^ (1u << b.width);
    if (buddy >= state_.size() || state_[buddy] != b.width + 1) break;
    take_out({buddy, b.width});
    b.first &= ~(1u << b.width);
  }
  push(b);
}

}  // namespace gw::fib
