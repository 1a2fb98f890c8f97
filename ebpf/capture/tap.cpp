#include "ebpf/capture/tap.hpp"

#include <algorithm>
#include <cstring>

namespace gw::capture {

Result<std::unique_ptr<Lane>> Lane::make(const Wanted& wanted, std::size_t ring_bytes) {
  auto lane = std::make_unique<Lane>();
  lane->wanted = wanted;
  GW_TRY_ASSIGN(lane->ring, Ring::make(ring_bytes));
  // Pages come when they are touched.
  if ((wanted.points & bit(Point::kDrops)) != 0)
    lane->kept = std::make_unique_for_overwrite<std::uint8_t[]>(Tap::kKept * std::size_t{wanted.snap_bytes});
  return lane;
}

void Tap::attach(Lane& lane) {
  lane_ = &lane;
  points_ = lane.wanted.points;
}

void Tap::detach() {
  points_ = 0;
  lane_ = nullptr;
}

void Tap::put(const Mark& mark, std::span<const std::uint8_t> front, std::span<const std::uint8_t> bytes) {
  write(mark, front, {bytes, static_cast<std::uint32_t>(bytes.size())});
}

void Tap::keep(std::size_t i, std::span<const std::uint8_t> bytes) {
  const std::size_t snap = lane_->wanted.snap_bytes;
  kept_[i] = {static_cast<std::uint32_t>(bytes.size()), static_cast<std::uint32_t>(std::min(bytes.size(), snap))};
  std::memcpy(&lane_->kept[i * snap], bytes.data(), kept_[i].captured);
}

void Tap::put_kept(const Mark& mark, std::span<const std::uint8_t> front, std::size_t i) {
  const std::size_t at = i * std::size_t{lane_->wanted.snap_bytes};
  write(mark, front, {{&lane_->kept[at], kept_[i].captured}, kept_[i].length});
}

void Tap::write(const Mark& mark, std::span<const std::uint8_t> front, const Piece& rest) {
  const Wanted& wanted = lane_->wanted;
  if (wanted.tunnel != 0 && mark.tunnel != wanted.tunnel) return;
  Counts& counts = lane_->counts[static_cast<std::size_t>(mark.point)];
  const auto from_front = std::min<std::size_t>(front.size(), wanted.snap_bytes);
  const auto from_rest = std::min<std::size_t>(rest.bytes.size(), wanted.snap_bytes - from_front);
  const Record record{.mark = mark,
                      .length = static_cast<std::uint32_t>(front.size()) + rest.length,
                      .captured = static_cast<std::uint32_t>(from_front + from_rest)};
  std::uint8_t* const to = lane_->ring->reserve(static_cast<std::uint32_t>(sizeof record) + record.captured);
  if (!to) return Counts::add(counts.lost);
  std::memcpy(to, &record, sizeof record);
  if (from_front > 0) std::memcpy(to + sizeof record, front.data(), from_front);
  if (from_rest > 0) std::memcpy(to + sizeof record + from_front, rest.bytes.data(), from_rest);
  lane_->ring->commit();
  Counts::add(counts.taken);
}

}  // namespace gw::capture
