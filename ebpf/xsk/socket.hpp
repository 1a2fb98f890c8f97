// One AF_XDP socket: one rx queue of one interface. Frames go in circles: free -> fill ring -> kernel ->
// received -> worker -> free or transmit ring -> kernel -> completion ring -> free. Owned by one worker
// after open(); one thread.
#pragma once

#include <xdp/xsk.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/worker/port.hpp"
#include "ebpf/xsk/umem.hpp"

namespace gw::xsk {

struct QueueId {
  std::string interface;
  std::uint32_t queue = 0;
};

enum class CopyMode : std::uint8_t { kCopy, kZeroCopy };

/// A packet in the UMEM, or a piece of one.
struct Descriptor {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  bool more = false;  // the packet goes on in the next descriptor
};

class Socket {
 public:
  /// Binds to the queue; no XDP program is loaded. Zero copy only if asked for.
  /// `frames`: of the worker that will own the socket; in the memory of `umem`, which outlives the socket.
  static Result<std::unique_ptr<Socket>> open(Umem& umem, worker::FramePool& frames, const QueueId& id, CopyMode mode);
  /// What the rings do not say: how many frames the kernel has.
  struct Held {
    std::uint32_t in_fill = 0;
    std::uint32_t outstanding = 0;
  };
  /// A socket of another process of ours, not to be used before go_on(). libxdp cannot do that: the rings are mapped
  /// here. kIo: it is no such socket.
  static Result<std::unique_ptr<Socket>> adopt(Fd fd, worker::FramePool& frames);
  /// That process has left the rings alone since it asked for held().
  void go_on(const Held& held);
  Held held() const { return {in_fill_, outstanding_}; }
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const { return fd_; }
  /// Any thread.
  worker::Losses losses() const;
  /// What the kernel made of the mode that was asked for.
  CopyMode mode() const;

  /// Takes received packets; their frames are the caller's.
  std::size_t receive(std::span<Descriptor> out);
  /// Hands free frames to the kernel to receive into.
  void refill();

  /// Queues packets; the frames of those taken (the first n, whole packets) are the kernel's. Call flush() after a
  /// burst.
  std::size_t transmit(std::span<const Descriptor> packets);
  /// Tells the kernel to send. True: some could not be sent yet, call again soon.
  bool flush();
  /// Takes back the frames of packets that were sent.
  void reap();

 private:
  explicit Socket(worker::FramePool& frames) : frames_(frames) {}

  worker::FramePool& frames_;
  Status map_rings();

  xsk_socket* handle_ = nullptr;  // null: adopted
  Fd own_fd_;                     // adopted
  std::vector<std::pair<void*, std::size_t>> mappings_;
  int fd_ = -1;
  xsk_ring_cons rx_{};
  xsk_ring_prod tx_{};
  xsk_ring_prod own_fill_{};
  xsk_ring_cons own_completion_{};
  xsk_ring_prod* fill_ = &own_fill_;
  xsk_ring_cons* completion_ = &own_completion_;
  std::uint32_t outstanding_ = 0;  // queued for transmission, not yet completed
  std::uint32_t in_fill_ = 0;      // frames the kernel has for receiving
};

}  // namespace gw::xsk
