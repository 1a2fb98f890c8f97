#include "ebpf/esp/nonce.hpp"

#include <format>

namespace gw::esp {
namespace {

Status check_instance(std::uint32_t instance) {
  if (instance > kMaxInstance)
    return fail_field("instance", std::format("instance id {} is not in 0..{}", instance, kMaxInstance));
  return {};
}

}  // namespace

Status begin_outbound(RuntimeRecord& record, std::uint32_t instance) {
  GW_TRY(check_instance(instance));
  store_field(record.peer_blocks_end, std::uint32_t{1});  // the key is new: the other instance has used nothing
  store_field(record.iv_epoch, std::uint32_t{1});
  store_field(record.iv_instance, instance);
  store_field(record.next_counter, std::uint64_t{0});
  store_field(record.next_sequence, std::uint64_t{1});
  publish_reservations();
  return {};
}

Status begin_standby(RuntimeRecord& record, std::uint32_t instance) {
  GW_TRY(check_instance(instance));
  store_field(record.iv_epoch, std::uint32_t{0});
  store_field(record.iv_instance, instance);
  store_field(record.next_counter, kIvCounters);  // none left: reserve() refuses without another comparison
  store_field(record.next_sequence, std::uint64_t{1});
  publish_reservations();
  return {};
}

Status resume_outbound(RuntimeRecord& record, std::uint32_t instance, std::uint64_t jump) {
  GW_TRY(check_instance(instance));
  // Epochs of another instance id are recorded where that instance is, not here.
  if (load_field(record.iv_instance) != instance)
    return fail(Errc::kNeedsRekey, std::format("the key was used by instance {}, this is instance {}",
                                               load_field(record.iv_instance), instance));
  const std::uint32_t epoch = load_field(record.iv_epoch);
  const std::uint64_t next = load_field(record.next_sequence);
  // Sequence 0: the process died inside begin_outbound, or the record is damaged.
  if (next == 0) return fail(Errc::kNeedsRekey, "the record of the key is incomplete");
  if (epoch == 0) {
    // Standby, or an epoch that was taken away: the counter says so, whatever was stored last.
    store_field(record.next_counter, kIvCounters);
    return {};
  }
  std::uint32_t then = epoch + 1;
  if (block_of(then) != block_of(epoch)) {
    const std::uint32_t granted = load_field(record.granted_block);
    if (granted <= block_of(epoch) || granted >= kEpochBlocks)
      return fail(Errc::kNeedsRekey,
                  std::format("the key was taken up {} times, and there is no other block of nonces", kRestarts - 1));
    then = first_epoch_of(granted);
  }
  // The epoch first: if the process dies between the stores, the next one takes the epoch after it.
  store_field(record.iv_epoch, then);
  publish_reservations();
  store_field(record.next_counter, std::uint64_t{0});
  store_field(record.next_sequence, next > UINT64_MAX - jump ? UINT64_MAX : next + jump);
  publish_reservations();
  return {};
}

}  // namespace gw::esp
