// A bounded ring of records of any length, from one worker to the thread that sends a capture: one thread writes, one
// reads, neither waits. A record lies in one piece.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"
#include "ebpf/capture/pages.hpp"

namespace gw::capture {

class Ring {
 public:
  /// `bytes`: a power of two, at least two pages.
  static Result<std::unique_ptr<Ring>> make(std::size_t bytes);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// The writer. Room for a record of `bytes`, which commit() hands over; null: there is none now.
  std::uint8_t* reserve(std::uint32_t bytes);
  void commit();

  /// The reader. The oldest record, until pop(); empty: there is none.
  std::span<const std::uint8_t> front();
  void pop();

  std::size_t capacity() const { return memory_.size(); }

 private:
  explicit Ring(Pages pages) : pages_(std::move(pages)), memory_(pages_.bytes()) {}
  static constexpr std::size_t kLine = 64;        // writer and reader must not share a cache line
  static constexpr std::size_t kLengthBytes = 8;  // in front of each record, which begins at a multiple of it

  std::size_t at(std::uint64_t position) const { return static_cast<std::size_t>(position) & (memory_.size() - 1); }

  const Pages pages_;
  const std::span<std::uint8_t> memory_;
  // The reader's line: what it has read up to, and the last it knows of tail_.
  alignas(kLine) std::atomic<std::uint64_t> head_{0};
  std::uint64_t cached_tail_ = 0;
  std::uint64_t next_head_ = 0;  // behind front()
  // The writer's line: what it has committed up to, and the last it knows of head_.
  alignas(kLine) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t cached_head_ = 0;
  std::uint64_t next_tail_ = 0;  // behind reserve()
};

}  // namespace gw::capture
