// Packets on their way from the worker that received them to the one that owns their tunnel, and who has to be
// woken for them. One bounded ring for each pair of workers; what does not fit is dropped and counted by the
// sender (GW_DROP_HANDOVER_FULL).
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/abi/xdp.h"
#include "ebpf/worker/port.hpp"
#include "ebpf/worker/ring.hpp"

namespace gw::worker {

/// A packet in a frame; the frame goes with it.
struct Handover {
  enum class Way : std::uint8_t {
    kInbound,   // begins at the ESP header of `key`
    kOutbound,  // begins at the inner IP header, checked and cut to its length, for `tunnel`
  };
  FrameAddress frame = 0;
  const std::uint8_t* source = nullptr;  // of esp::Packet, within the frame
  SaKey key;
  MonoTime received{};  // by the worker that hands it over, if its way is timed
  std::uint32_t length = 0;
  std::uint16_t offset = 0;
  std::uint16_t source_port = 0;
  TunnelSlot tunnel = kNoTunnel;
  std::uint8_t traffic_class = 0;
  Way way = Way::kInbound;
  std::uint8_t side = GW_SIDE_VNET;  // enum gw_side; kOutbound: where it came from
};
static_assert(sizeof(Handover) <= 64);

/// 0.7 ms at 1.5 Mpps: what a worker may be late by; a sixth of its frames.
inline constexpr std::size_t kHandoverPlaces = 1024;

/// The rings between all workers, and each one's bell.
class Exchange {
 public:
  static Result<std::unique_ptr<Exchange>> create(std::size_t workers);

  std::size_t workers() const { return seats_.size(); }
  /// Of all rings.
  std::size_t places() const {
    std::size_t places = 0;
    for (const auto& ring : rings_) places += ring->capacity();
    return places;
  }
  Ring<Handover>& ring(WorkerIndex from, WorkerIndex to) { return *rings_[from * seats_.size() + to]; }

  /// Readable when somebody rang.
  int bell(WorkerIndex worker) const { return seats_[worker]->bell.get(); }
  /// Work was put where `worker` looks for it: wakes it if it sleeps. Any thread.
  void wake(WorkerIndex worker) {
    if (seats_[worker]->asleep.exchange(false, std::memory_order_acq_rel)) ring_bell(worker);
  }
  void ring_bell(WorkerIndex worker) {
    const std::uint64_t one = 1;
    (void)!::write(bell(worker), &one, sizeof one);
  }
  void clear_bell(WorkerIndex worker) {
    std::uint64_t value = 0;
    (void)!::read(bell(worker), &value, sizeof value);
  }
  /// Before a worker looks whether it may sleep: whoever puts something there afterwards rings. Both sides do
  /// a read-modify-write on the flag, so one of them sees what the other did.
  void lie_down(WorkerIndex worker) { seats_[worker]->asleep.exchange(true, std::memory_order_acq_rel); }
  void get_up(WorkerIndex worker) { seats_[worker]->asleep.exchange(false, std::memory_order_acq_rel); }

 private:
  struct alignas(64) Seat {
    std::atomic<bool> asleep{false};
    Fd bell;
  };
  std::vector<std::unique_ptr<Seat>> seats_;
  std::vector<std::unique_ptr<Ring<Handover>>> rings_;
};

}  // namespace gw::worker
