// The embedded lease of one instance: until when it may send for the endpoints that it owns, without having asked
// again. Pure: the liveness thread says what it sent, heard and when; what comes out is one time (CLOCK_BOOTTIME),
// which workers compare with before every burst.
//
// An instance that runs extends the lease with each heartbeat it sends, whether anybody answers or not: with both
// paths cut there may be two owners, and nonces are safe all the same (ebpf/esp). One that stood still for longer
// than `hold` may have been replaced meanwhile, so it sends nothing until the peer has answered a heartbeat sent
// after waking (what the answer claims is obeyed first), or nobody has answered for `patience` heartbeats.
// `hold` is less than what the peer waits before it takes over, counted from a heartbeat sent: an instance that
// stops at any moment has stopped sending before the other one begins.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.hpp"

namespace gw::liveness {

struct LeaseSettings {
  std::chrono::milliseconds interval{50};  // of heartbeats
  unsigned multiplier = 3;                 // silent for this many intervals is dead, to the peer
  /// What the peer's patience leaves when a fifth of it is kept for clocks, queues and scheduling: 120 ms.
  std::chrono::milliseconds hold() const { return interval * multiplier * 4 / 5; }
  friend bool operator==(const LeaseSettings&, const LeaseSettings&) = default;
};

class Lease {
 public:
  enum class Standing : std::uint8_t {
    kAsking,  // just started, or woken: nothing is extended
    kHeld,
  };

  explicit Lease(const LeaseSettings& settings) : settings_(settings) {}

  /// A heartbeat with this sequence number is about to be sent; numbers grow. Before anything that waited in sockets
  /// is read: it may have waited while we did not run.
  void on_send(std::uint64_t sequence, MonoTime now);
  /// The peer has seen our heartbeats up to `echo`; its claims have been obeyed.
  void on_answer(std::uint64_t echo, MonoTime now);

  /// It was held by a process before this one, which sent its last heartbeat then. Too long ago: on_send() finds out.
  void go_on(MonoTime last_sent) {
    standing_ = Standing::kHeld;
    last_sent_ = last_sent;
    until_ = last_sent + settings_.hold();
  }
  /// None: not held.
  std::optional<MonoTime> held_since() const { return standing_ == Standing::kHeld ? last_sent_ : std::nullopt; }

  /// Nothing is sent for any endpoint from this time on. MonoTime::min(): not now.
  MonoTime until() const { return until_; }
  Standing standing() const { return standing_; }
  /// The longest that this instance stood still at its last waking; for the log.
  std::chrono::nanoseconds stood_still() const { return stood_still_; }

 private:
  LeaseSettings settings_;
  Standing standing_ = Standing::kAsking;
  std::optional<std::uint64_t> first_question_;  // the sequence number sent first after waking
  unsigned unanswered_ = 0;                      // heartbeats since then
  std::optional<MonoTime> last_sent_;
  MonoTime until_ = MonoTime::min();
  std::chrono::nanoseconds stood_still_{0};
};

}  // namespace gw::liveness
