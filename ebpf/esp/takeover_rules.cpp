#include "ebpf/esp/takeover_rules.hpp"

namespace gw::esp {
namespace {

std::uint64_t ns_of(MonoTime t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

}  // namespace

void hand_on(RuntimeRecord& record, Direction direction, MonoTime now) {
  const bool outbound = direction == Direction::kOutbound;
  store_field(record.synced_position, load_field(outbound ? record.next_sequence : record.replay_top));
  store_field(record.synced_at_ns, ns_of(now));
}

TakenOver take_outbound(RuntimeRecord& record, Report report, SequenceMode mode, MonoTime now) {
  const std::uint64_t since = load_field(record.synced_at_ns);
  if (since == 0) return may_send(record) ? TakenOver::kYes : TakenOver::kNeedsRekey;
  const std::uint64_t seen = std::max(load_field(record.next_sequence), load_field(record.synced_position));
  const std::chrono::nanoseconds age(ns_of(now) > since ? ns_of(now) - since : 0);
  const std::uint64_t wanted = report == Report::kExact ? kPlannedJump : takeover_jump(age);
  const std::uint64_t jump = std::min(wanted, kMaxSequenceJump);
  const std::uint64_t last = last_sequence(mode);
  const bool fits = seen <= last && jump <= last - seen;
  store_field(record.next_sequence, fits ? seen + jump : last + 1);
  publish_reservations();
  store_field(record.synced_at_ns, std::uint64_t{0});
  return may_send(record) && fits && wanted <= kMaxSequenceJump ? TakenOver::kYes : TakenOver::kNeedsRekey;
}

void take_inbound(RuntimeRecord& record) {
  if (load_field(record.synced_at_ns) == 0) return;
  const std::uint64_t top = std::max(load_field(record.replay_top), load_field(record.synced_position));
  // All of it counts as seen before the top moves, in whatever order the process dies.
  for (std::uint64_t& word : record.replay_bitmap) store_field(word, UINT64_MAX);
  store_field(record.resync, std::uint32_t{1});
  publish_reservations();
  store_field(record.replay_top, top);
  publish_reservations();
  store_field(record.synced_at_ns, std::uint64_t{0});
}

}  // namespace gw::esp
