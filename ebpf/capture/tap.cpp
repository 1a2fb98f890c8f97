#include "ebpf/capture/tap.hpp"

#include <algorithm>
#include <cstring>

namespace gw::capture {

Result<std::unique_ptr<Lane>> Lane::make(const Wanted& wanted, std::size_t ring_bytes) {
  auto lane = std::make_unique<Lane>();
  lane->wanted = wanted;
  GW_TRY_ASSIGN(lane->ring, Ring::make(ring_bytes));
  if ((wanted.points & bit(Point::kDrops)) != 0) {
    GW_TRY_ASSIGN(lane->kept, Pages::make(std::min(Tap::kKept * std::size_t{wanted.snap_bytes}, Tap::kMostKeptBytes)));
  }
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
  const std::span<std::uint8_t> room = lane_->kept.bytes();
  if (i == 0) kept_bytes_ = 0;
  const std::size_t captured =
      std::min({bytes.size(), std::size_t{lane_->wanted.snap_bytes}, room.size() - kept_bytes_});
  kept_[i] = {kept_bytes_, static_cast<std::uint32_t>(bytes.size()), static_cast<std::uint32_t>(captured)};
  std::ranges::copy(bytes.first(captured), room.begin() + static_cast<std::ptrdiff_t>(kept_bytes_));
  kept_bytes_ += captured;
}

void Tap::put_kept(const Mark& mark, std::span<const std::uint8_t> front, std::size_t i) {
  const Kept& kept = kept_[i];
  write(mark, front, {lane_->kept.bytes().subspan(kept.at, kept.captured), kept.length});
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
