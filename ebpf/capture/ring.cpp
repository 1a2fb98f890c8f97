#include "ebpf/capture/ring.hpp"

#include <cstdlib>
#include <cstring>

namespace gw::capture {
namespace {

// In place of a length: the rest up to the end of the memory is empty.
constexpr std::uint64_t kWrap = ~std::uint64_t{0};

std::uint64_t load(const std::uint8_t* p) {
  std::uint64_t v = 0;
  std::memcpy(&v, p, sizeof v);
  return v;
}
void store(std::uint8_t* p, std::uint64_t v) { std::memcpy(p, &v, sizeof v); }

}  // namespace

Result<std::unique_ptr<Ring>> Ring::make(std::size_t bytes) {
  constexpr std::size_t kLeast = 8192;
  if (bytes < kLeast || (bytes & (bytes - 1)) != 0) std::abort();
  GW_TRY_ASSIGN(Pages pages, Pages::make(bytes));
  return std::unique_ptr<Ring>(new Ring(std::move(pages)));
}

std::uint8_t* Ring::reserve(std::uint32_t bytes) {
  const std::uint64_t need = kLengthBytes + ((std::uint64_t{bytes} + kLengthBytes - 1) & ~(kLengthBytes - 1));
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  const std::uint64_t to_end = memory_.size() - at(tail);
  const std::uint64_t skip = need > to_end ? to_end : 0;
  if (tail + skip + need - cached_head_ > memory_.size()) {
    cached_head_ = head_.load(std::memory_order_acquire);
    if (tail + skip + need - cached_head_ > memory_.size()) return nullptr;
  }
  if (skip != 0) store(&memory_[at(tail)], kWrap);
  std::uint8_t* const record = &memory_[at(tail + skip)];
  store(record, bytes);
  next_tail_ = tail + skip + need;
  return record + kLengthBytes;
}

void Ring::commit() { tail_.store(next_tail_, std::memory_order_release); }

std::span<const std::uint8_t> Ring::front() {
  std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (head == cached_tail_) {
    cached_tail_ = tail_.load(std::memory_order_acquire);
    if (head == cached_tail_) return {};
  }
  std::uint64_t length = load(&memory_[at(head)]);
  if (length == kWrap) {  // a record follows: both were committed together
    head += memory_.size() - at(head);
    length = load(&memory_[at(head)]);
  }
  next_head_ = head + kLengthBytes + ((length + kLengthBytes - 1) & ~std::uint64_t{kLengthBytes - 1});
  return {&memory_[at(head)] + kLengthBytes, static_cast<std::size_t>(length)};
}

void Ring::pop() { head_.store(next_head_, std::memory_order_release); }

}  // namespace gw::capture
