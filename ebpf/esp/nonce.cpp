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
  store_field(record.iv_epoch, std::uint32_t{1});
  store_field(record.iv_instance, instance);
  store_field(record.next_counter, std::uint64_t{0});
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
  // Epoch or sequence 0: the process died inside begin_outbound, or the record is damaged.
  if (epoch == 0 || next == 0) return fail(Errc::kNeedsRekey, "the record of the key is incomplete");
  if (epoch >= kIvEpochs - 1)
    return fail(Errc::kNeedsRekey, std::format("all {} nonce epochs of the key are used", kIvEpochs - 1));
  // The epoch first: if the process dies between the stores, the next one takes the epoch after it.
  store_field(record.iv_epoch, epoch + 1);
  publish_reservations();
  store_field(record.next_counter, std::uint64_t{0});
  store_field(record.next_sequence, next > UINT64_MAX - jump ? UINT64_MAX : next + jump);
  publish_reservations();
  return {};
}

}  // namespace gw::esp
