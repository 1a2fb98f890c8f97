// What an SA must not forget when the process dies: sequence number, IV epoch and counter, replay window,
// counters. Plain data in memory that the caller supplies (a slot of RuntimeStore, or any zeroed record in
// tests). The worker that owns the SA is the only writer; other threads read with counters_of().
// Rules about who may change what, and in which order: nonce.hpp, replay.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace gw::esp {

/// Part of every store file's geometry: a change of RuntimeRecord's layout or meaning is a new version.
inline constexpr std::uint32_t kRecordVersion = 2;
inline constexpr std::uint32_t kMinReplayWindow = 64;
inline constexpr std::uint32_t kMaxReplayWindow = 4096;

enum class Direction : std::uint8_t { kOutbound = 1, kInbound = 2 };

struct alignas(64) RuntimeRecord {
  // Identity, written when the slot is taken (runtime_rules.hpp).
  std::uint32_t state;        // 0 free; written last when taken and first when released
  std::uint32_t spi;          // host order
  std::uint8_t dst[16];       // outer destination, network order
  std::uint8_t dst_family;    // 4 or 6
  std::uint8_t direction;     // Direction
  std::uint8_t reserved0[2];  // zero
  // Outbound: the first epoch block that the other instance has never used nor been granted here; 0: not known, so
  // nothing is granted (grants.hpp).
  std::uint32_t peer_blocks_end;
  std::uint8_t fingerprint[16];  // of the key (never the key)
  // What another instance has used of the SA while this one was standby; the control thread's (takeover_rules.hpp).
  std::uint64_t synced_position;  // outbound: its next sequence number, inbound: its highest; as last reported
  std::uint64_t synced_at_ns;     // when it was as reported, CLOCK_BOOTTIME; 0: nobody else has used the SA

  // One cache line that every packet touches.
  std::uint64_t next_sequence;  // outbound: the next to send; the first is 1 (RFC 4303 3.3.3)
  std::uint64_t next_counter;   // outbound: low 40 bits of the next IV
  std::uint32_t iv_epoch;       // outbound: 1..2^20-1, block and restart; belongs to the key; 0: may not be sent with
  std::uint32_t iv_instance;    // outbound: 0..15
  std::uint64_t replay_top;     // inbound: highest authenticated sequence number; 0 none yet
  std::uint64_t packets;
  std::uint64_t bytes;          // of inner packets
  std::uint64_t last_used_ms;   // Unix time; 0 never
  std::uint32_t granted_block;  // outbound: of the other instance, for when the block in use ends; 0: none
  std::uint32_t resync;         // inbound: 1: what is below the next packet counts as seen (taken over)

  // Inbound: bit s mod ring is set when sequence number s was accepted.
  std::uint64_t replay_bitmap[kMaxReplayWindow / 64];
};

static_assert(std::is_trivially_copyable_v<RuntimeRecord> && std::is_standard_layout_v<RuntimeRecord>);
static_assert(sizeof(RuntimeRecord) == 640 && alignof(RuntimeRecord) == 64);
static_assert(offsetof(RuntimeRecord, spi) == 4 && offsetof(RuntimeRecord, dst) == 8);
static_assert(offsetof(RuntimeRecord, peer_blocks_end) == 28 && offsetof(RuntimeRecord, fingerprint) == 32);
static_assert(offsetof(RuntimeRecord, synced_position) == 48 && offsetof(RuntimeRecord, granted_block) == 120);
static_assert(offsetof(RuntimeRecord, next_sequence) == 64 && offsetof(RuntimeRecord, replay_top) == 88);
static_assert(offsetof(RuntimeRecord, last_used_ms) == 112 && offsetof(RuntimeRecord, replay_bitmap) == 128);

/// Fields have one writer and any number of readers: relaxed atomics, plain moves on every 64-bit CPU.
template <class T>
inline void store_field(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}
template <class T>
inline T load_field(const T& field) {
  // atomic_ref of a const type is C++26; a relaxed load does not write.
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_relaxed);
}

struct SaCounters {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint64_t last_used_ms = 0;
};

/// Any thread.
inline SaCounters counters_of(const RuntimeRecord& r) {
  return {load_field(r.packets), load_field(r.bytes), load_field(r.last_used_ms)};
}

}  // namespace gw::esp
