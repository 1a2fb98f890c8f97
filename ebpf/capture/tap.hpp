// Where a worker lets a capture look at its packets (ADR 23). Off, a tap costs a test of one byte that is the worker's
// own; on, it copies what was asked for into a ring, never waits, and counts what found no room. The control thread
// attaches and detaches it between two bursts (Worker::call).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "ebpf/abi/drop.h"
#include "ebpf/capture/pages.hpp"
#include "ebpf/capture/ring.hpp"

namespace gw::capture {

enum class Point : std::uint8_t {
  kInner,  // clear: before encapsulation, after decapsulation
  kOuter,  // ESP with its outer header, as it came or left
  kDrops,  // as it was when it was dropped
};
inline constexpr std::size_t kPoints = 3;
constexpr std::uint8_t bit(Point point) { return static_cast<std::uint8_t>(1U << static_cast<unsigned>(point)); }

/// Seen from a tunnel: into the gateway is what comes out of it.
enum class Direction : std::uint8_t { kUnknown, kIn, kOut };

/// Whether the bytes of the outer header are those of the wire.
enum class OuterHeader : std::uint8_t {
  kAsSeen,
  kRebuilt,  // a gso port: the kernel keeps it, and tells addresses, ports and traffic class
};

/// What is known of a packet beside its bytes.
struct Mark {
  Point point = Point::kInner;
  Direction direction = Direction::kUnknown;
  OuterHeader header = OuterHeader::kAsSeen;
  gw_drop reason = GW_DROP_NONE;
  std::uint32_t tunnel = 0;  // its id; 0: none is known
  std::uint32_t spi = 0;     // 0: none is known
  std::int64_t unix_ns = 0;
};

/// As it lies in a ring; the captured bytes follow.
struct Record {
  Mark mark;
  std::uint32_t length = 0;  // of the packet
  std::uint32_t captured = 0;
};

/// Written by the worker, read by others.
struct Counts {
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> lost{0};  // no room in the ring
  static void add(std::atomic<std::uint64_t>& c) {
    c.store(c.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

struct Wanted {
  std::uint8_t points = 0;   // bits
  std::uint32_t tunnel = 0;  // only this one; 0: any
  std::uint32_t snap_bytes = 0;
};

/// What a capture has for one worker. Outlives its being attached.
struct Lane {
  Wanted wanted;
  std::vector<std::uint32_t> tunnel_ids;  // by slot, as they were when it began: for packets of other workers' tunnels
  std::unique_ptr<Ring> ring;
  Pages kept;  // Tap's; of a capture of drops
  std::array<Counts, kPoints> counts;

  static Result<std::unique_ptr<Lane>> make(const Wanted& wanted, std::size_t ring_bytes);
};

/// The control thread's, through Worker::call(), and the worker's.
class Tap {
 public:
  /// Packets that are kept at a time.
  static constexpr std::size_t kKept = 64;
  /// Of all of them: as many of the largest frames (16 KiB). What a kernel port gives in larger ones is kept in part.
  static constexpr std::size_t kMostKeptBytes = std::size_t{1} << 20;

  bool wants(Point point) const { return (points_ & bit(point)) != 0; }
  void attach(Lane& lane);
  void detach();

  /// The packet is `front`, then `bytes`.
  void put(const Mark& mark, std::span<const std::uint8_t> front, std::span<const std::uint8_t> bytes);

  /// What decryption overwrites, until the next time: number `i` of a burst, from 0 on.
  void keep(std::size_t i, std::span<const std::uint8_t> bytes);
  void put_kept(const Mark& mark, std::span<const std::uint8_t> front, std::size_t i);

  std::uint32_t tunnel_id(std::size_t slot) const {
    return slot < lane_->tunnel_ids.size() ? lane_->tunnel_ids[slot] : 0;
  }

 private:
  struct Kept {
    std::size_t at = 0;
    std::uint32_t length = 0;
    std::uint32_t captured = 0;
  };
  struct Piece {
    std::span<const std::uint8_t> bytes;
    std::uint32_t length;  // of which `bytes` may be the first part
  };
  void write(const Mark& mark, std::span<const std::uint8_t> front, const Piece& rest);

  std::uint8_t points_ = 0;
  Lane* lane_ = nullptr;
  std::array<Kept, kKept> kept_{};
  std::size_t kept_bytes_ = 0;
};

}  // namespace gw::capture
