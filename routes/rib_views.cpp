// What people and other packages see of a Rib: routes with their reasons, prefixes. See rib.hpp.
#include <algorithm>
#include <chrono>
#include <utility>

#include "routes/rib.hpp"

namespace gw::routes {

PathSetId Rib::published(const Prefix& prefix) const {
  const std::uint32_t id = find_entry(prefix);
  return id == kNoId ? kNoPaths : entries_[id].published;
}

std::vector<Explanation> Rib::explain(const Prefix& prefix) const {
  const std::uint32_t id = find_entry(prefix);
  if (id == kNoId) return {};
  std::vector<Explanation> out;
  std::vector<Candidate> accepted;
  for (const Slot& slot : entries_[id].all()) {
    Explanation e;
    const SourceState& state = sources_[slot.source];
    Attributes attributes = *attributes_[slot.raw].attributes;
    ImportVerdict v = importer_.apply(*state.source, prefix, attributes);
    if (slot.held_back()) v = {kLineHeldBack, Action::kRefuse};
    const bool refused = v.action == Action::kRefuse;
    e.candidate = {state.source, refused ? attributes_[slot.raw].attributes
                                         : std::make_shared<const Attributes>(std::move(attributes))};
    e.line = importer_.line(v.line);
    e.action = v.action;
    e.stale = slot.stale();
    e.since = MonoTime(std::chrono::duration_cast<MonoTime::duration>(Tick(slot.since)));
    if (!refused) accepted.push_back(e.candidate);
    out.push_back(std::move(e));
  }
  const Decision d = decide(accepted, options_);
  std::size_t next = 0;
  for (Explanation& e : out) e.ranked = e.action == Action::kAccept ? d.ranked[next++] : Ranked{};
  // A route that lost at a later step came closer.
  std::ranges::stable_sort(out, [](const Explanation& a, const Explanation& b) {
    if (a.action != b.action) return a.action < b.action;
    if (a.ranked.place != b.ranked.place) return a.ranked.place < b.ranked.place;
    if (a.ranked.step != b.ranked.step) return a.ranked.step > b.ranked.step;
    return compare(a.candidate, b.candidate).order < 0;
  });
  return out;
}

std::optional<Prefix> Rib::longest_match(const IpAddress& address) const {
  for (int length = static_cast<int>(address_bits(address.family())); length >= 0; --length) {
    const auto prefix = Prefix::make(address, static_cast<unsigned>(length));
    if (!prefix) return std::nullopt;
    const std::uint32_t id = find_entry(*prefix);
    if (id == kNoId) continue;
    if (std::ranges::any_of(entries_[id].all(), [](const Slot& s) { return !s.refused(); })) return *prefix;
  }
  return std::nullopt;
}

std::vector<Prefix> Rib::prefixes() const {
  std::vector<Prefix> out;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].count > 0) out.push_back(entries_[i].prefix);
  }
  std::ranges::sort(out);
  return out;
}

std::vector<Prefix> Rib::prefixes(SourceId source) const {
  std::vector<Prefix> out;
  out.reserve(sources_[source].entries.size());
  for (const std::uint32_t id : sources_[source].entries) out.push_back(entries_[id].prefix);
  return out;
}

}  // namespace gw::routes
