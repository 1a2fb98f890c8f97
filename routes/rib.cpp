#include "routes/rib.hpp"

#include <algorithm>
#include <utility>

namespace gw::routes {

void Rib::upsert(const Prefix& prefix, Candidate candidate) {
  Entry& entry = table_[prefix];
  const std::string& name = candidate.source->name;
  SourceCount& count = counts_[name];
  const auto same = [&](const Candidate& c) { return c.source->name == name; };
  if (const auto it = std::ranges::find_if(entry.candidates, same); it != entry.candidates.end()) {
    if (it->stale) --count.stale;
    if (candidate.stale) ++count.stale;
    *it = std::move(candidate);
  } else {
    ++count.routes;
    if (candidate.stale) ++count.stale;
    by_source_[name].insert(prefix);
    entry.candidates.push_back(std::move(candidate));
  }
  dirty_.insert(prefix);
}

void Rib::erase_candidate(Entry& entry, std::size_t index) {
  SourceCount& count = counts_[entry.candidates[index].source->name];
  --count.routes;
  if (entry.candidates[index].stale) --count.stale;
  entry.candidates.erase(entry.candidates.begin() + static_cast<std::ptrdiff_t>(index));
}

void Rib::withdraw(const Prefix& prefix, std::string_view source) {
  const auto entry = table_.find(prefix);
  if (entry == table_.end()) return;
  auto& candidates = entry->second.candidates;
  const auto it = std::ranges::find_if(candidates, [&](const Candidate& c) { return c.source->name == source; });
  if (it == candidates.end()) return;
  if (const auto of = by_source_.find(source); of != by_source_.end()) of->second.erase(prefix);
  erase_candidate(entry->second, static_cast<std::size_t>(it - candidates.begin()));
  dirty_.insert(prefix);
}

void Rib::withdraw_all(std::string_view source) {
  const auto of = by_source_.find(source);
  if (of == by_source_.end()) return;
  for (const Prefix& prefix : std::exchange(of->second, {})) withdraw(prefix, source);
}

void Rib::mark_stale(std::string_view source) {
  const auto of = by_source_.find(source);
  if (of == by_source_.end()) return;
  for (const Prefix& prefix : of->second) {
    for (Candidate& c : table_.at(prefix).candidates) {
      if (c.source->name == source) c.stale = true;
    }
  }
  SourceCount& count = counts_.find(source)->second;
  count.stale = count.routes;
}

std::size_t Rib::sweep_if(std::string_view source, std::optional<Family> family) {
  const auto of = by_source_.find(source);
  if (of == by_source_.end()) return 0;
  std::vector<Prefix> gone;
  for (const Prefix& prefix : of->second) {
    if (family && prefix.family() != *family) continue;
    const auto& candidates = table_.at(prefix).candidates;
    if (std::ranges::any_of(candidates, [&](const Candidate& c) { return c.stale && c.source->name == source; })) {
      gone.push_back(prefix);
    }
  }
  for (const Prefix& prefix : gone) withdraw(prefix, source);
  return gone.size();
}

std::size_t Rib::sweep(std::string_view source, Family family) { return sweep_if(source, family); }
std::size_t Rib::sweep(std::string_view source) { return sweep_if(source, std::nullopt); }

BestSet Rib::best_of(const Entry& entry) const {
  BestSet set;
  for (const std::size_t i : decide(entry.candidates, options_).selected) set.paths.push_back(entry.candidates[i]);
  return set;
}

std::vector<Change> Rib::drain_changes() {
  std::vector<Prefix> order(dirty_.begin(), dirty_.end());
  dirty_.clear();
  std::ranges::sort(order);
  std::vector<Change> changes;
  for (const Prefix& prefix : order) {
    const auto it = table_.find(prefix);
    if (it == table_.end()) continue;
    Entry& entry = it->second;
    BestSet now = best_of(entry);
    std::vector<Path> paths;
    paths.reserve(now.paths.size());
    for (const Candidate& c : now.paths) paths.push_back({c.source->name, c.attributes->next_hop});
    const bool changed = paths != entry.published;
    entry.published = std::move(paths);
    if (entry.candidates.empty()) table_.erase(it);
    if (!changed) continue;
    if (now.paths.empty())
      changes.push_back({prefix, std::nullopt});
    else
      changes.push_back({prefix, std::move(now)});
  }
  return changes;
}

BestSet Rib::best(const Prefix& prefix) const {
  const auto it = table_.find(prefix);
  return it == table_.end() ? BestSet{} : best_of(it->second);
}

std::vector<Explanation> Rib::explain(const Prefix& prefix) const {
  const auto it = table_.find(prefix);
  if (it == table_.end()) return {};
  const Decision d = decide(it->second.candidates, options_);
  std::vector<Explanation> out;
  out.reserve(d.ranked.size());
  for (std::size_t i = 0; i < d.ranked.size(); ++i) out.push_back({it->second.candidates[i], d.ranked[i]});
  // A route that lost at a later step came closer.
  std::ranges::stable_sort(out, [](const Explanation& a, const Explanation& b) {
    if (a.ranked.place != b.ranked.place) return a.ranked.place < b.ranked.place;
    if (a.ranked.step != b.ranked.step) return a.ranked.step > b.ranked.step;
    return a.candidate.source->name < b.candidate.source->name;
  });
  return out;
}

std::optional<Prefix> Rib::longest_match(const IpAddress& address) const {
  for (int length = static_cast<int>(address_bits(address.family())); length >= 0; --length) {
    const auto prefix = Prefix::make(address, static_cast<unsigned>(length));
    if (!prefix) return std::nullopt;
    const auto it = table_.find(*prefix);
    if (it != table_.end() && !it->second.candidates.empty()) return *prefix;
  }
  return std::nullopt;
}

std::vector<Prefix> Rib::prefixes() const {
  std::vector<Prefix> out;
  for (const auto& [prefix, entry] : table_) {
    if (!entry.candidates.empty()) out.push_back(prefix);
  }
  std::ranges::sort(out);
  return out;
}

SourceCount Rib::count(std::string_view source) const {
  const auto it = counts_.find(source);
  return it == counts_.end() ? SourceCount{} : it->second;
}

}  // namespace gw::routes
