// Packet buffers. FrameMemory is one area for all workers, cut into frames; AF_XDP may register it (xsk::Umem),
// nothing here knows. FramePool is one worker's stack of free frames in it; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace gw::worker {

// 2048 is the smallest power of two with room for a 1500-byte packet and the headers around it; the
// kernel leaves XDP_PACKET_HEADROOM (256) in front of what it receives, which encapsulation grows into.
inline constexpr std::uint32_t kFrameBytes = 2048;
inline constexpr std::uint32_t kHeadroom = 256;

/// Offset in the FrameMemory. Of a frame: a multiple of its size.
using FrameAddress = std::uint64_t;
/// In place of a frame: the bytes belong to a port and are valid until its next receive().
inline constexpr FrameAddress kBorrowed = ~FrameAddress{0};

class FrameMemory {
 public:
  static Result<std::unique_ptr<FrameMemory>> create(std::uint32_t frames);
  ~FrameMemory();
  FrameMemory(const FrameMemory&) = delete;
  FrameMemory& operator=(const FrameMemory&) = delete;

  std::uint8_t* at(FrameAddress address) const { return bytes_.data() + address; }
  /// The frame that this address is in.
  FrameAddress frame_of(FrameAddress address) const { return address & ~FrameAddress{frame_bytes() - 1}; }
  FrameAddress address_of(const std::uint8_t* data) const { return static_cast<FrameAddress>(data - bytes_.data()); }
  std::uint32_t frame_bytes() const { return kFrameBytes; }
  std::uint32_t frames() const { return static_cast<std::uint32_t>(bytes_.size() / frame_bytes()); }
  std::span<std::uint8_t> bytes() const { return bytes_; }

 private:
  explicit FrameMemory(std::span<std::uint8_t> bytes) : bytes_(bytes) {}
  std::span<std::uint8_t> bytes_;
};

class FramePool {
 public:
  /// All frames of the memory.
  explicit FramePool(FrameMemory& memory);

  FrameMemory& memory() const { return memory_; }
  std::uint8_t* at(FrameAddress address) const { return memory_.at(address); }
  /// False when none is left; the caller counts the drop (GW_DROP_NO_FRAME).
  bool take(FrameAddress& frame) {
    if (free_.empty()) return false;
    frame = free_.back();
    free_.pop_back();
    return true;
  }
  /// Nothing happens for kBorrowed.
  void give(FrameAddress frame) {
    if (frame != kBorrowed) free_.push_back(frame);
  }
  std::size_t free_frames() const { return free_.size(); }

 private:
  FrameMemory& memory_;
  std::vector<FrameAddress> free_;
};

}  // namespace gw::worker
