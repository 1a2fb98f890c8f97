// The rule that may never break: no (key, IV) is ever used twice (docs/architecture.md, Nonces and sequence
// numbers). The 8-byte explicit IV is 4 bits instance, 20 bits epoch, 40 bits counter. The epoch belongs to
// the key: every time a process takes a key into use it records a new epoch first, so what an earlier
// process may have used up to its last instant does not matter. An epoch is a block (12 bits) and a restart within it
// (8 bits). Block 0 is the instance's that negotiated the key; every other one is granted by the other instance, once
// (grants.hpp, ADR 14). Pure: all state is in the RuntimeRecord.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

inline constexpr std::uint32_t kMaxInstance = 15;
inline constexpr std::uint32_t kIvEpochs = 1U << 20;  // valid: 1..kIvEpochs-1; 0 is "none"
inline constexpr std::uint32_t kRestartBits = 8;
inline constexpr std::uint32_t kRestarts = 1U << kRestartBits;        // of a block; valid: 1..kRestarts-1
inline constexpr std::uint32_t kEpochBlocks = kIvEpochs / kRestarts;  // granted ones: 1..kEpochBlocks-1
inline constexpr std::uint64_t kIvCounters = std::uint64_t{1} << 40;  // valid: 0..kIvCounters-1
/// Soft expiry comes this many packets before a sequence or IV counter ends: 179 s at 1.5 Mpps, the highest
/// rate measured for one worker, so more than the 165 s after which charon gives up a rekey exchange.
inline constexpr std::uint64_t kExhaustionMargin = std::uint64_t{1} << 28;

inline constexpr std::uint64_t kMaxSequenceJump = std::uint64_t{1} << 30;

enum class SequenceMode : std::uint8_t {
  k32Bit,
  kExtended,  // RFC 4303 2.2.1
};

/// Was the key just made by an IKE exchange, or does it come back from somebody's table?
enum class KeyOrigin : std::uint8_t {
  kFresh,
  kReplayed,
  kSynced,  // from the other instance, which negotiated it or has it from us
};

constexpr std::uint32_t block_of(std::uint32_t epoch) { return epoch >> kRestartBits; }
constexpr std::uint32_t first_epoch_of(std::uint32_t block) { return block << kRestartBits | 1; }

/// The last sequence number that may be sent: a counter never cycles (RFC 4303 3.3.3).
constexpr std::uint64_t last_sequence(SequenceMode mode) {
  return mode == SequenceMode::kExtended ? UINT64_MAX - 1 : UINT32_MAX;
}

constexpr std::uint64_t make_iv(std::uint32_t instance, std::uint32_t epoch, std::uint64_t counter) {
  return std::uint64_t{instance} << 60 | std::uint64_t{epoch} << 40 | counter;
}

/// A key without any record, fresh from IKE: epoch 1, counter 0, sequence 1.
Status begin_outbound(RuntimeRecord& record, std::uint32_t instance);

/// A key of the other instance: installed, and not to be sent with before a block of epochs was granted.
Status begin_standby(RuntimeRecord& record, std::uint32_t instance);

/// Whether anything may be sent with the key; if not, only a grant or a new key helps.
inline bool may_send(const RuntimeRecord& record) { return load_field(record.iv_epoch) != 0; }

/// A key with a record: the next epoch is recorded before this returns; counter 0; the sequence goes on
/// `jump` after the recorded one (0 when the record was written before every transmission, as local ones are).
/// When the restarts of a block are used up it is the first of the granted one. A standby record stays one.
/// kNeedsRekey when the epochs are used up or the record belongs to another instance.
Status resume_outbound(RuntimeRecord& record, std::uint32_t instance, std::uint64_t jump);

/// What one packet is sent with.
struct Reservation {
  std::uint64_t sequence;
  std::uint64_t iv;
};

enum class ReserveFault : std::uint8_t { kNone, kSequence, kIv };

/// Whether these are left.
constexpr ReserveFault fault_of(std::uint64_t sequence, std::uint64_t counter, std::uint64_t last_seq) {
  if (sequence > last_seq) return ReserveFault::kSequence;
  return counter >= kIvCounters ? ReserveFault::kIv : ReserveFault::kNone;
}

/// Takes the next sequence number and IV: both are stored to the record before the caller has them. The
/// caller orders those stores before transmission (publish_reservations) once per burst.
inline ReserveFault reserve(RuntimeRecord& record, std::uint64_t last_seq, Reservation& out) {
  const std::uint64_t sequence = load_field(record.next_sequence);
  const std::uint64_t counter = load_field(record.next_counter);
  if (const ReserveFault fault = fault_of(sequence, counter, last_seq); fault != ReserveFault::kNone) [[unlikely]]
    return fault;
  store_field(record.next_sequence, sequence + 1);
  store_field(record.next_counter, counter + 1);
  out = {sequence, make_iv(record.iv_instance, record.iv_epoch, counter)};
  return ReserveFault::kNone;
}

/// No packet reserved before this call may be encrypted before it: the record is then in the shared page.
inline void publish_reservations() { std::atomic_thread_fence(std::memory_order_release); }

/// True when a rekey should start: fewer than kExhaustionMargin (+ jump) numbers are left. jump is at most
/// kMaxSequenceJump.
inline bool near_exhaustion(const RuntimeRecord& record, std::uint64_t last_seq, std::uint64_t jump) {
  return load_field(record.next_sequence) > last_seq - kExhaustionMargin - jump ||
         load_field(record.next_counter) > kIvCounters - kExhaustionMargin;
}

}  // namespace gw::esp
