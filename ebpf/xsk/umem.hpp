// The packet buffers that AF_XDP sockets and the kernel pass to each other: one area (UMEM) for all
// ports, cut into frames; free frames are a stack. Owned by the worker; one thread.
#pragma once

#include <xdp/xsk.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace gw::xsk {

// 2048 is the smallest power of two with room for a 1500-byte packet and the headers around it; the
// kernel leaves XDP_PACKET_HEADROOM (256) in front of what it receives, which encapsulation grows into.
inline constexpr std::uint32_t kFrameBytes = 2048;
inline constexpr std::uint32_t kHeadroom = 256;

/// Offset of a frame in the UMEM; a multiple of kFrameBytes.
using FrameAddress = std::uint64_t;
constexpr FrameAddress frame_of(std::uint64_t address) { return address & ~std::uint64_t{kFrameBytes - 1}; }

/// Entries of each ring. A worker takes 64 at a time; 2048 is 1.3 ms at 1.5 Mpps.
inline constexpr std::uint32_t kRingEntries = 2048;

class Umem {
 public:
  static Result<std::unique_ptr<Umem>> create(std::uint32_t frames);
  ~Umem();
  Umem(const Umem&) = delete;
  Umem& operator=(const Umem&) = delete;

  std::uint8_t* at(std::uint64_t address) const { return memory_.data() + address; }
  /// False when none is left; the caller counts the drop.
  bool take(FrameAddress& frame) {
    if (free_.empty()) return false;
    frame = free_.back();
    free_.pop_back();
    return true;
  }
  void give(FrameAddress frame) { free_.push_back(frame); }
  std::size_t free_frames() const { return free_.size(); }

 private:
  friend class Socket;
  Umem() = default;

  std::span<std::uint8_t> memory_;
  std::vector<FrameAddress> free_;
  xsk_umem* handle_ = nullptr;
  // libxdp ties these two rings to the first socket that is opened.
  xsk_ring_prod first_fill_{};
  xsk_ring_cons first_completion_{};
  bool first_taken_ = false;
};

}  // namespace gw::xsk
