// Who may use which block of a key's epochs, when two instances have the key (ADR 14). Each instance's record of the
// key holds what the *other* one may have used: blocks below peer_blocks_end. It is raised, in the record, before a
// grant leaves; so a block is granted once, whatever becomes of the answer. An instance that does not know what the
// other one has used (its record is younger than the key) grants nothing until the other, whose own record never was
// lost, tells it. Pure: the two records and who says so are arguments. Owner of the record's thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "ebpf/esp/nonce.hpp"
#include "ebpf/esp/runtime_record.hpp"

namespace gw::esp {

/// A store of records, as the other instance knows it. The id is random; the generation grows, in the file, before
/// every report of positions and every grant that is told, and by nothing else: a store that comes with a lower
/// generation than was heard has been rolled back, and no number of attempts to connect hides it.
struct StoreName {
  std::array<std::uint8_t, 16> id{};
  std::uint64_t generation = 0;
  std::uint64_t connection = 0;  // random: what is of an earlier one is late
  friend bool operator==(const StoreName&, const StoreName&) = default;
};

/// The first block that this instance has never used, and never will without another grant; 0: not known here.
inline std::uint32_t own_blocks_end(const RuntimeRecord& record) {
  const std::uint32_t epoch = load_field(record.iv_epoch);
  if (epoch == 0) return 0;
  return std::max(block_of(epoch), load_field(record.granted_block)) + 1;
}

/// It cannot send, or will not be able to after some more restarts.
inline bool wants_grant(const RuntimeRecord& record) {
  const std::uint32_t epoch = load_field(record.iv_epoch);
  if (epoch == 0) return true;
  return epoch % kRestarts >= kRestarts / 2 && load_field(record.granted_block) <= block_of(epoch);
}

/// A block for the other instance, recorded as granted when this returns; none: not known what it has used, or all are.
std::optional<std::uint32_t> grant_block(RuntimeRecord& record);

/// The other instance, from a record that was never lost, says what it has used itself.
void learn_peer_blocks(RuntimeRecord& record, std::uint32_t blocks_end);

/// A grant that answers a request of this store has come. False: it is not above all that was used here; nothing
/// has changed. A record without an epoch can be sent with from now on.
bool accept_grant(RuntimeRecord& record, std::uint32_t block);

/// Owner's thread, and nothing is sent meanwhile. The store was rolled back: what this record says about either
/// instance's epochs may be old. Nothing is sent with the key until a grant comes.
void forget_epochs(RuntimeRecord& record);

}  // namespace gw::esp
