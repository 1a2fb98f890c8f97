// The pure half of RuntimeStore: what a record's identity is, what a file must look like to be trusted, and
// which record may be used for which key. No I/O; any thread.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "ebpf/esp/grants.hpp"
#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

using Fingerprint = std::array<std::uint8_t, 16>;
using StoreSalt = std::array<std::uint8_t, 32>;

struct RecordId {
  std::uint32_t spi = 0;
  IpAddress dst;
  Direction direction = Direction::kOutbound;
  Fingerprint fingerprint{};
};

/// First 16 bytes of HMAC-SHA256(salt, SaParameters::key_identity()). With the salt in a root-only file on
/// tmpfs, it says "same key" and nothing else about the key.
Fingerprint fingerprint_of(std::span<const std::uint8_t> key_identity, const StoreSalt& salt);

/// A store of the other instance.
struct PeerStore {
  std::array<std::uint8_t, 16> id;
  std::uint64_t generation;  // the highest that it came with
};
/// Of earlier lives of the other instance: a snapshot of one of them may come back.
inline constexpr std::size_t kPeerStores = 16;

struct StoreHeader {
  std::array<char, 8> magic;
  std::uint32_t header_version;
  std::uint32_t record_version;
  std::uint32_t record_bytes;
  std::uint32_t capacity;
  StoreSalt salt;
  std::uint64_t checksum;     // FNV-1a of all above
  std::uint32_t high_water;   // slots from here on were never used
  std::uint32_t rolled_back;  // 1: while records are made to forget their epochs
  std::array<std::uint8_t, 16> id;
  std::uint64_t generation;                  // StoreName
  std::uint32_t peer_instance;               // its number + 1; 0: never met
  std::uint32_t shared_endpoints;            // 1: this is one of several instances
  std::array<PeerStore, kPeerStores> peers;  // newest first
};
static_assert(sizeof(StoreHeader) == 72 + 32 + kPeerStores * 24);
inline constexpr std::size_t kStoreHeaderBytes = 4096;  // one page, then the records

constexpr std::size_t store_bytes(std::uint32_t capacity) {
  return kStoreHeaderBytes + std::size_t{capacity} * sizeof(RuntimeRecord);
}
StoreHeader make_header(std::uint32_t capacity, const StoreSalt& salt);
/// Why a file cannot be used (for the log); kUnsupported other version or geometry, kMalformed damaged.
Status check_header(const StoreHeader& header, std::size_t file_bytes, std::uint32_t capacity);

enum class PeerStanding : std::uint8_t {
  kKnown,          // or new: nothing of it is missing, as far as was heard
  kOtherInstance,  // as that, but another instance than the one before: what is known of epochs is not of this one
  kRolledBack,     // it was: this store has gone back in time
};
/// The other instance comes with this store; noted.
PeerStanding note_peer(StoreHeader& header, std::uint32_t instance, const StoreName& name);
/// One that is known has got so far.
void note_progress(StoreHeader& header, const StoreName& name);

void write_identity(RuntimeRecord& record, const RecordId& id);
/// Nothing for a free slot; kMalformed if the identity contradicts itself.
Result<RecordId> read_identity(const RuntimeRecord& record);

struct AdoptOptions {
  KeyOrigin origin = KeyOrigin::kReplayed;
  std::uint32_t instance = 0;
  std::uint64_t sequence_jump = 0;
  std::uint64_t now_ns = 0;  // CLOCK_BOOTTIME; kSynced: since when others may have used it
};

/// A key whose record was found: outbound gets a new epoch, inbound goes on with its window.
Status resume_record(RuntimeRecord& record, Direction direction, const AdoptOptions& options);
/// A key without record: refused with kNeedsRekey unless fresh, or the other instance's (then it waits for a grant).
Status begin_record(RuntimeRecord& record, Direction direction, const AdoptOptions& options);

}  // namespace gw::esp
