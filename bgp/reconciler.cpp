#include "bgp/reconciler.hpp"

#include <algorithm>
#include <utility>

namespace gw::bgp {

const char* to_string(DifferenceKind kind) {
  switch (kind) {
    case DifferenceKind::kMissing: return "missing";
    case DifferenceKind::kExtra: return "extra";
    case DifferenceKind::kDifferent: return "different";
  }
  return "";
}

// Sets are few (one for each way to combine tunnels) and stay: a gateway has them again and again.
Reconciler::ExitsId Reconciler::id_of(Exits exits) {
  if (exits.empty()) return 0;
  const auto [it, inserted] = ids_.try_emplace(exits, static_cast<ExitsId>(exits_.size()));
  if (inserted) exits_.push_back(std::move(exits));
  return it->second;
}

void Reconciler::touch(const Prefix& prefix, Row& row, MonoTime now) {
  row.changed = now;
  last_change_ = now;
  if (!std::exchange(row.queued, true)) queue_.emplace_back(prefix, now);
}

void Reconciler::set_ours(const Prefix& prefix, Exits exits, MonoTime now) {
  const ExitsId id = id_of(std::move(exits));
  const auto found = rows_.find(prefix);
  if (found == rows_.end() && id == 0) return;
  Row& row = found == rows_.end() ? rows_[prefix] : found->second;
  if (row.ours == id) return;
  ours_count_ += static_cast<std::size_t>(row.ours == 0) - static_cast<std::size_t>(id == 0);
  row.ours = id;
  touch(prefix, row, now);
}

void Reconciler::set_theirs(const Prefix& prefix, Exits exits, MonoTime now) {
  const ExitsId id = id_of(std::move(exits));
  const auto found = rows_.find(prefix);
  if (found == rows_.end() && id == 0) return;
  Row& row = found == rows_.end() ? rows_[prefix] : found->second;
  if (row.theirs == id) return;
  theirs_count_ += static_cast<std::size_t>(row.theirs == 0) - static_cast<std::size_t>(id == 0);
  row.theirs = id;
  touch(prefix, row, now);
}

void Reconciler::forget_theirs() {
  known_ = false;
  differences_.clear();
  queue_.clear();
  theirs_count_ = 0;
  for (auto& [prefix, row] : rows_) {
    row.theirs = 0;
    row.queued = false;
  }
}

void Reconciler::begin_theirs(MonoTime now) {
  known_ = true;
  last_change_ = now;
  for (auto& [prefix, row] : rows_) touch(prefix, row, now);
}

bool Reconciler::agree(const Exits& ours, const Exits& theirs) const {
  if (ours == theirs) return true;
  return ours.size() > kFrrPaths && theirs.size() == kFrrPaths && std::ranges::includes(ours, theirs);
}

bool Reconciler::judge(const Prefix& prefix) {
  const auto it = rows_.find(prefix);
  if (it == rows_.end()) return false;
  Row& row = it->second;
  row.queued = false;
  const Exits& ours = exits_[row.ours];
  const Exits& theirs = exits_[row.theirs];
  if (agree(ours, theirs)) {
    if (row.ours == 0 && row.theirs == 0) rows_.erase(it);
    return differences_.erase(prefix) > 0;
  }
  const DifferenceKind kind = theirs.empty() ? DifferenceKind::kMissing
                              : ours.empty() ? DifferenceKind::kExtra
                                             : DifferenceKind::kDifferent;
  const auto [entry, inserted] = differences_.try_emplace(prefix);
  Difference& difference = entry->second;
  if (!inserted && difference.kind == kind && difference.ours == ours && difference.theirs == theirs) return false;
  difference.kind = kind;
  difference.ours = ours;
  difference.theirs = theirs;
  if (inserted) difference.since = row.changed;
  return true;
}

bool Reconciler::check(MonoTime now) {
  if (!known_) return false;
  const bool quiet = now - last_change_ >= kQuiet;
  bool changed = false;
  while (!queue_.empty()) {
    const auto [prefix, queued] = queue_.front();
    if (!quiet && now - queued < kPatience) break;
    queue_.pop_front();
    const MonoTime touched = rows_.at(prefix).changed;
    if (quiet || now - touched >= kPatience)
      changed = judge(prefix) || changed;
    else
      queue_.emplace_back(prefix, touched);
  }
  return changed;
}

void Reconciler::excuse(const std::function<bool(const Prefix&)>& expected, MonoTime now) {
  for (auto& [prefix, difference] : differences_) {
    if (expected(prefix)) {
      difference.excused = now;
      difference.standing = false;
      continue;
    }
    const Row& row = rows_.at(prefix);
    if (difference.standing || row.queued) continue;  // what was told since is judged first
    const MonoTime over = std::max(difference.excused, excuse_ended_);
    difference.standing = over == MonoTime{} || now - std::max(over, last_change_) >= kQuiet ||
                          now - std::max(over, row.changed) >= kPatience;
  }
}

std::optional<MonoTime> Reconciler::next_check() const {
  if (!known_ || queue_.empty()) return std::nullopt;
  return last_change_ + kQuiet;
}

}  // namespace gw::bgp
