#include "ebpf/esp/grants.hpp"

#include <algorithm>

namespace gw::esp {

std::optional<std::uint32_t> grant_block(RuntimeRecord& record) {
  const std::uint32_t block = load_field(record.peer_blocks_end);
  if (block == 0 || block >= kEpochBlocks) return std::nullopt;
  store_field(record.peer_blocks_end, block + 1);
  publish_reservations();
  return block;
}

void learn_peer_blocks(RuntimeRecord& record, std::uint32_t blocks_end) {
  if (blocks_end == 0 || blocks_end > kEpochBlocks) return;
  store_field(record.peer_blocks_end, std::max(load_field(record.peer_blocks_end), blocks_end));
  publish_reservations();
}

bool accept_grant(RuntimeRecord& record, std::uint32_t block) {
  const std::uint32_t epoch = load_field(record.iv_epoch);
  if (block == 0 || block >= kEpochBlocks || block <= load_field(record.granted_block)) return false;
  if (epoch != 0) {
    if (block <= block_of(epoch)) return false;
    store_field(record.granted_block, block);
    publish_reservations();
    return true;
  }
  // The epoch before the counter: a process that dies in between has a record that resume_outbound() moves on.
  store_field(record.iv_epoch, first_epoch_of(block));
  publish_reservations();
  store_field(record.next_counter, std::uint64_t{0});
  publish_reservations();
  return true;
}

void forget_epochs(RuntimeRecord& record) {
  // The epoch first: a process that dies in between leaves a record that resume_outbound() keeps from sending.
  store_field(record.iv_epoch, std::uint32_t{0});
  publish_reservations();
  store_field(record.next_counter, kIvCounters);
  store_field(record.granted_block, std::uint32_t{0});
  store_field(record.peer_blocks_end, std::uint32_t{0});
  publish_reservations();
}

}  // namespace gw::esp
