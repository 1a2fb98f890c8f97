// Where sequence numbers and replay windows go on when an SA comes to another instance. Repeating a sequence number
// costs a drop at the peer, never a nonce (those are nonce.hpp's and grants.hpp's). Pure; time is an argument. On the
// thread that owns the record.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/clock.hpp"
#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

/// What one SA can send in a second: the highest rate measured for one worker, which an SA belongs to.
inline constexpr std::uint64_t kMaxPacketsPerSecond = 1'500'000;
/// J at least: 1.4 s at that rate, far above any lag of a report that arrived at all.
inline constexpr std::uint64_t kLeastTakeoverJump = std::uint64_t{1} << 21;
/// After a planned move: room for what the old owner sent last, inside the smallest replay window.
inline constexpr std::uint64_t kPlannedJump = 32;

/// J for a position of that age. More than kMaxSequenceJump is no jump but a guess: then a new key is due.
constexpr std::uint64_t takeover_jump(std::chrono::nanoseconds age) {
  const auto ms =
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(age).count()));
  const std::uint64_t sent = ms > kMaxSequenceJump ? kMaxSequenceJump + 1 : ms * (kMaxPacketsPerSecond / 1000);
  return kLeastTakeoverJump + sent;
}

/// Another instance may use the SA from now on.
void hand_on(RuntimeRecord& record, Direction direction, MonoTime now);

/// Its position as the other instance reports it. Not of an SA that is in use here.
inline void note_report(RuntimeRecord& record, std::uint64_t position, MonoTime now) {
  if (position > load_field(record.synced_position)) store_field(record.synced_position, position);
  store_field(record.synced_at_ns, static_cast<std::uint64_t>(now.time_since_epoch().count()));
}

enum class Report : std::uint8_t {
  kLast,   // the newest that came; more was sent since
  kExact,  // the old owner had stopped
};

enum class TakenOver : std::uint8_t {
  kYes,
  kNeedsRekey,  // nothing can be sent with it, or soon not any more
};

/// The SA goes on here. Does nothing for one that nobody else has used.
TakenOver take_outbound(RuntimeRecord& record, Report report, SequenceMode mode, MonoTime now);
void take_inbound(RuntimeRecord& record);

}  // namespace gw::esp
