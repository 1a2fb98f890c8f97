// Packet buffers registered with AF_XDP (the kernel's word is UMEM), for the sockets of all workers and ports.
// Control thread; the sockets keep what they need.
#pragma once

#include <xdp/xsk.h>

#include <cstdint>
#include <memory>

#include "base/result.hpp"
#include "ebpf/worker/frame_pool.hpp"

namespace gw::xsk {

/// Entries of each ring. A worker takes 64 at a time; 2048 is 1.3 ms at 1.5 Mpps.
inline constexpr std::uint32_t kRingEntries = 2048;

class Umem {
 public:
  /// The memory outlives it.
  /// kOne: what does not fit a frame is dropped by the kernel. kSeveral: it comes, and may be sent, in several frames
  /// (Linux 6.6).
  enum class FramesPerPacket : std::uint8_t { kOne, kSeveral };
  static Result<std::unique_ptr<Umem>> create(worker::FrameMemory& memory, FramesPerPacket per_packet);
  ~Umem();
  Umem(const Umem&) = delete;
  Umem& operator=(const Umem&) = delete;

 private:
  friend class Socket;
  Umem() = default;

  xsk_umem* handle_ = nullptr;
  FramesPerPacket per_packet_ = FramesPerPacket::kOne;
  // libxdp ties these two rings to the first socket that is opened.
  xsk_ring_prod first_fill_{};
  xsk_ring_cons first_completion_{};
  bool first_taken_ = false;
};

}  // namespace gw::xsk
