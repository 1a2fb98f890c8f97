// Packet buffers. FrameMemory is one area for all workers, cut into frames; AF_XDP may register it (xsk::Umem),
// nothing here knows. FramePool is one worker's stack of free frames in it. A frame has a home: the pool it was
// cut for. A packet that was handed over is sent by another worker, whose pool gives the frame back to its home
// through a ring as large as the home, so that none is ever lost and no pool runs dry for good.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/worker/ring.hpp"

namespace gw::worker {

// 2048 is the smallest power of two with room for a 1500-byte packet and the headers around it; the
// kernel leaves XDP_PACKET_HEADROOM (256) in front of what it receives, which encapsulation grows into.
inline constexpr std::uint32_t kFrameBytes = 2048;
inline constexpr std::uint32_t kHeadroom = 256;
// Ports with a larger MTU (jumbo): a page is the largest frame that AF_XDP takes, and what does not fit one comes in
// several. It is put together in a large frame, which only we use.
inline constexpr std::uint32_t kPageFrameBytes = 4096;
inline constexpr std::uint32_t kLargeFrameBytes = 16384;

/// Position of a worker; 0 is the first.
using WorkerIndex = std::uint8_t;
inline constexpr std::size_t kMaxWorkers = 64;

/// Offset in the FrameMemory. Of a frame: a multiple of its size.
using FrameAddress = std::uint64_t;
/// In place of a frame: the bytes belong to a port and are valid until its next receive().
inline constexpr FrameAddress kBorrowed = ~FrameAddress{0};

struct FrameGeometry {
  std::uint32_t frames = 0;
  std::uint32_t frame_bytes = kFrameBytes;
  std::uint32_t large_frames = 0;  // kLargeFrameBytes each
  /// Whether another process is to go on with them: only memory of our own may come in huge pages by itself.
  enum class Sharing : std::uint8_t { kNone, kWithSuccessor };
  Sharing sharing = Sharing::kNone;
};

class FrameMemory {
 public:
  static Result<std::unique_ptr<FrameMemory>> create(const FrameGeometry& geometry);
  /// The same memory as another process has, by its fd(). kInvalidArgument: it is of another size.
  static Result<std::unique_ptr<FrameMemory>> share(const FrameGeometry& geometry, Fd fd);
  static Result<std::unique_ptr<FrameMemory>> create(std::uint32_t frames) {
    return create(FrameGeometry{.frames = frames});
  }
  ~FrameMemory();
  FrameMemory(const FrameMemory&) = delete;
  FrameMemory& operator=(const FrameMemory&) = delete;

  std::uint8_t* at(FrameAddress address) const { return bytes_.data() + address; }
  /// The frame that this address is in.
  FrameAddress frame_of(FrameAddress address) const {
    return is_large(address) ? large_begin_ + ((address - large_begin_) & ~FrameAddress{kLargeFrameBytes - 1})
                             : address & ~FrameAddress{frame_bytes_ - 1};
  }
  FrameAddress address_of(const std::uint8_t* data) const { return static_cast<FrameAddress>(data - bytes_.data()); }
  /// In the part with large frames; not for kBorrowed.
  bool is_large(FrameAddress address) const { return address >= large_begin_; }
  /// Of a frame.
  std::uint32_t capacity(FrameAddress frame) const { return is_large(frame) ? kLargeFrameBytes : frame_bytes_; }
  std::uint32_t frame_bytes() const { return frame_bytes_; }
  std::uint32_t frames() const { return static_cast<std::uint32_t>(large_begin_ / frame_bytes_); }
  std::uint32_t large_frames() const {
    return static_cast<std::uint32_t>((bytes_.size() - large_begin_) / kLargeFrameBytes);
  }
  FrameAddress large_begin() const { return large_begin_; }
  /// A memfd, by which another process of ours can go on with these frames; -1: Sharing::kNone.
  int fd() const { return fd_.get(); }
  /// All frames but the large ones: what AF_XDP gets.
  std::span<std::uint8_t> frame_area() const { return bytes_.first(large_begin_); }

 private:
  FrameMemory(Fd fd, std::span<std::uint8_t> bytes, const FrameGeometry& geometry);
  const Fd fd_;
  const std::span<std::uint8_t> bytes_;
  const std::uint32_t frame_bytes_;
  const FrameAddress large_begin_;
};

/// One thread at a time, its worker's once that runs.
class FramePool {
 public:
  FrameMemory& memory() const { return memory_; }
  std::uint8_t* at(FrameAddress address) const { return memory_.at(address); }
  /// False when none is left; the caller counts the drop (GW_DROP_NO_FRAME).
  bool take(FrameAddress& frame) {
    if (free_.empty()) return false;
    frame = free_.back();
    free_.pop_back();
    return true;
  }
  /// A frame with room for a packet of `bytes`, kHeadroom before and the codec's tailroom behind it. False: none.
  bool take_for(std::uint32_t bytes, FrameAddress& frame);
  /// A frame of whatever home. Nothing happens for kBorrowed.
  void give(FrameAddress frame) {
    if (frame - first_ < size_) [[likely]]
      free_.push_back(frame);
    else
      give_other(frame);
  }
  /// Only these are free. No frame of any pool is in use by anybody but the kernel, nor on its way home.
  void set_free(const std::vector<bool>& free);
  /// Marks those that are.
  void mark_free(std::vector<bool>& free) const;

  std::size_t free_frames() const { return free_.size(); }
  std::size_t free_large_frames() const { return large_free_.size(); }

  /// Once a round: sends strangers home, takes back our own. Calls `wake(home)` for each that got some.
  template <class Wake>
  void exchange(Wake wake) {
    for (std::size_t home = 0; home < away_.size(); ++home) {
      send_home(home);
      if (std::exchange(sent_[home], Sent::kNothing) == Sent::kUnannounced) wake(static_cast<WorkerIndex>(home));
    }
    collect();
  }
  /// Frames of ours wait in a ring.
  bool has_returned() const;

 private:
  friend class FramePools;
  FramePool(FrameMemory& memory, std::size_t index, std::size_t pools);
  void give_other(FrameAddress frame);
  void send_home(std::size_t home);
  void collect();

  FrameMemory& memory_;
  FrameAddress size_;   // bytes of one pool; all are equal
  FrameAddress first_;  // of ours
  std::vector<FrameAddress> free_;
  FrameAddress large_size_;
  FrameAddress large_first_;
  std::vector<FrameAddress> large_free_;
  std::vector<std::vector<FrameAddress>> away_;               // by home: not sent yet
  std::vector<std::shared_ptr<Ring<FrameAddress>>> to_home_;  // by home; null: ourselves
  std::vector<std::shared_ptr<Ring<FrameAddress>>> from_;     // by pool that returns; null: ourselves
  // By home. Full batches leave at once, between two calls of exchange(): the home may sleep, and has to hear of them.
  enum class Sent : std::uint8_t { kNothing, kUnannounced };
  std::vector<Sent> sent_;
};

/// Cuts a memory into equal pools, one for each worker, with the rings between them.
class FramePools {
 public:
  /// The memory outlives the pools.
  static std::vector<std::unique_ptr<FramePool>> cut(FrameMemory& memory, std::size_t pools);
};

}  // namespace gw::worker
