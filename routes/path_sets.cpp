#include "routes/path_sets.hpp"

#include <algorithm>

namespace gw::routes {

PathSets::PathSets() { items_.emplace_back(); }

PathSetId PathSets::acquire(std::span<const Path> sorted) {
  if (sorted.empty()) return kNoPaths;
  std::uint64_t hash = sorted.size();
  for (const Path& p : sorted) hash = (hash ^ p.source ^ hash_value(p.next_hop) << 1) * 0x9e3779b97f4a7c15U;
  const std::uint32_t folded = fold_hash(hash);
  const auto same = [&](std::uint32_t id) { return std::ranges::equal(items_[id].paths, sorted); };
  if (const std::uint32_t id = index_.find(folded, same); id != kNoId) {
    ++items_[id].users;
    return id;
  }
  PathSetId id = static_cast<PathSetId>(items_.size());
  if (free_.empty()) {
    items_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  items_[id] = {{sorted.begin(), sorted.end()}, 1, folded};
  index_.insert(folded, id);
  return id;
}

void PathSets::release(PathSetId id) {
  if (id == kNoPaths || --items_[id].users > 0) return;
  index_.erase(items_[id].hash, id);
  items_[id].paths.clear();
  free_.push_back(id);
}

}  // namespace gw::routes
