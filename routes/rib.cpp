#include "routes/rib.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace gw::routes {
namespace {

std::uint32_t to_ticks(MonoTime t) {
  return static_cast<std::uint32_t>(std::chrono::duration_cast<Tick>(t.time_since_epoch()).count());
}

constexpr std::size_t kBlock = 32;

bool is_local(const Source& source) { return source.type == PeerType::kLocal; }

}  // namespace

Rib::Rib(PolicyPtr policy, DecisionOptions options, Withdrawals withdrawals)
    : options_(options), withdrawals_(withdrawals), importer_(std::move(policy)) {}

Rib::~Rib() {
  for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i].free_slots();
}

// --- sources ------------------------------------------------------------------------------------------

void Rib::know_source(SourceState& state) const {
  state.peer = &importer_.policy().peer(state.source->name);
  state.prefix_rules = importer_.depends_on_prefix(*state.source);
}

SourceId Rib::put_source(Source source) {
  if (const auto known = find_source(source.name)) {
    SourceState& state = sources_[*known];
    if (*state.source == source) return *known;
    state.source = std::make_shared<const Source>(std::move(source));
    know_source(state);
    ++generation_;  // verdicts that were kept may be this source's
    judge_entries(*known);
    return *known;
  }
  SourceId id = static_cast<SourceId>(sources_.size());
  if (free_sources_.empty()) {
    sources_.emplace_back();
  } else {
    id = free_sources_.back();
    free_sources_.pop_back();
  }
  SourceState& state = sources_[id];
  state.source = std::make_shared<const Source>(std::move(source));
  state.gone = false;
  know_source(state);
  return id;
}

void Rib::remove_source(SourceId source) {
  withdraw_all(source);
  ++generation_;
  sources_[source].gone = true;
  leaving_sources_.push_back(source);
}

std::optional<SourceId> Rib::find_source(std::string_view name) const {
  const auto it =
      std::ranges::find_if(sources_, [&](const SourceState& s) { return !s.gone && s.source->name == name; });
  if (it == sources_.end()) return std::nullopt;
  return static_cast<SourceId>(it - sources_.begin());
}

// --- routes -------------------------------------------------------------------------------------------

std::uint32_t Rib::find_entry(const Prefix& prefix) const {
  return index_.find(fast_hash(prefix), [&](std::uint32_t id) { return entries_[id].prefix == prefix; });
}

std::uint32_t Rib::make_entry(const Prefix& prefix) {
  std::uint32_t id = find_entry(prefix);
  if (id != kNoId) return id;
  if (free_entries_.empty()) {
    id = static_cast<std::uint32_t>(entries_.size());
    entries_.push();
  } else {
    id = free_entries_.back();
    free_entries_.pop_back();
  }
  entries_[id] = {};
  entries_[id].prefix = prefix;
  index_.insert(fast_hash(prefix), id);
  return id;
}

void Rib::mark_dirty(std::uint32_t id) {
  if (entries_[id].dirty) return;
  entries_[id].dirty = 1;
  dirty_.push_back(id);
}

FamilyCount& Rib::family_count(const Prefix& prefix, SourceId source) {
  return sources_[source].count.of_family[std::to_underlying(prefix.family())];
}

void Rib::announce(SourceId source, const AttributesPtr& attributes, std::span<const Prefix> prefixes, MonoTime now) {
  const std::uint32_t ticks = to_ticks(now);
  const std::uint32_t hash = AttributeStore::hash_of(*attributes);
  attributes_.prefetch(hash);
  auto block = prefixes.first(std::min(prefixes.size(), kBlock));
  fetch_ahead(block);
  const std::uint32_t raw = attributes_.acquire(attributes, hash);
  while (!block.empty()) {
    prefixes = prefixes.subspan(block.size());
    for (const Prefix& prefix : block) announce_one(source, raw, prefix, ticks);
    block = prefixes.first(std::min(prefixes.size(), kBlock));
    fetch_ahead(block);
  }
  attributes_.release(raw);
}

// A table of a million prefixes is in no cache: what one prefix waits for, all of a block wait for together.
void Rib::fetch_ahead(std::span<const Prefix> prefixes) {
  std::array<std::uint32_t, kBlock> ids;
  for (const Prefix& prefix : prefixes) index_.prefetch(fast_hash(prefix));
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    ids[i] = index_.guess(fast_hash(prefixes[i]));
    if (ids[i] != kNoId) __builtin_prefetch(&entries_[ids[i]]);
  }
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    if (ids[i] == kNoId) continue;
    const char* slots = reinterpret_cast<const char*>(entries_[ids[i]].slots);
    __builtin_prefetch(slots);
    __builtin_prefetch(slots + 64);
  }
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    if (ids[i] == kNoId) continue;
    for (const Slot& s : entries_[ids[i]].all().first(std::min<std::size_t>(entries_[ids[i]].count, 8))) {
      __builtin_prefetch(&attributes_[s.raw]);
    }
  }
}

void Rib::announce_one(SourceId source, std::uint32_t raw, const Prefix& prefix, std::uint32_t now) {
  const std::uint32_t id = make_entry(prefix);
  RibEntry& entry = entries_[id];
  SourceState& state = sources_[source];
  Slot* slot = entry.find(source);
  if (slot != nullptr) {
    if (slot->stale()) {
      slot->clear_flag(Slot::kStale);
      --state.count.stale;
    }
    if (slot->raw == raw && !slot->held_back()) return;
    attributes_.release(slot->raw);
  } else {
    slot = &entry.add();
    slot->source = source;
    slot->position = static_cast<std::uint32_t>(state.entries.size());
    state.entries.push_back(id);
    FamilyCount& count = family_count(prefix, source);
    ++count.received;
    ++count.accepted;
  }
  ++attributes_[raw].users;
  slot->raw = raw;
  slot->since = now;
  judge(prefix, *slot, Heard::kNow);
  mark_dirty(id);
}

void Rib::leave_list(SourceState& source, std::uint32_t position) {
  const std::uint32_t last = source.entries.back();
  source.entries.pop_back();
  if (position == source.entries.size()) return;
  source.entries[position] = last;
  const auto id = static_cast<SourceId>(&source - sources_.data());
  entries_[last].find(id)->position = position;
}

void Rib::erase_slot(std::uint32_t id, Slot* slot) {
  RibEntry& entry = entries_[id];
  SourceState& state = sources_[slot->source];
  FamilyCount& count = family_count(entry.prefix, slot->source);
  --count.received;
  if (!slot->refused()) --count.accepted;
  if (slot->stale()) --state.count.stale;
  if (slot->held_back()) --state.count.held_back;
  attributes_.release(slot->raw);
  leave_list(state, slot->position);
  entry.remove(slot);
  mark_dirty(id);
}

void Rib::withdraw(SourceId source, std::span<const Prefix> prefixes) {
  for (const Prefix& prefix : prefixes) {
    const std::uint32_t id = find_entry(prefix);
    if (id == kNoId) continue;
    if (Slot* slot = entries_[id].find(source)) erase_slot(id, slot);
  }
}

void Rib::withdraw_all(SourceId source) {
  SourceState& state = sources_[source];
  while (!state.entries.empty()) {
    const std::uint32_t id = state.entries.back();
    erase_slot(id, entries_[id].find(source));
  }
}

void Rib::mark_stale(SourceId source) {
  SourceState& state = sources_[source];
  for (const std::uint32_t id : state.entries) entries_[id].find(source)->set_flag(Slot::kStale);
  state.count.stale = state.entries.size();
}

template <class Condition>
std::size_t Rib::erase_if(SourceId source, Condition condition) {
  SourceState& state = sources_[source];
  std::size_t gone = 0;
  // From the end: what takes the place of an erased one has been looked at.
  for (std::size_t i = state.entries.size(); i-- > 0;) {
    const std::uint32_t id = state.entries[i];
    Slot* slot = entries_[id].find(source);
    if (!condition(entries_[id].prefix, *slot)) continue;
    erase_slot(id, slot);
    ++gone;
  }
  return gone;
}

std::size_t Rib::sweep(SourceId source, Family family) {
  return erase_if(
      source, [family](const Prefix& prefix, const Slot& slot) { return prefix.family() == family && slot.stale(); });
}

std::size_t Rib::sweep(SourceId source) {
  return erase_if(source, [](const Prefix&, const Slot& slot) { return slot.stale(); });
}

// --- policy -------------------------------------------------------------------------------------------

PathVerdict Rib::verdict(const Prefix& prefix, const Slot& slot) {
  const SourceState& state = sources_[slot.source];
  const Source& source = *state.source;
  if (!is_local(source)) {
    if (const auto line = importer_.check_safe(*state.peer, prefix)) return {{}, *line, Action::kRefuse};
  }
  AttributeStore::Item& item = attributes_[slot.raw];
  if (!state.prefix_rules && item.generation == generation_ && item.source == slot.source) return item.verdict;
  Attributes attributes = *item.attributes;
  const ImportVerdict v =
      state.prefix_rules ? importer_.apply(source, prefix, attributes) : importer_.apply_to_path(source, attributes);
  const PathVerdict out{v.action == Action::kAccept ? merit_of(attributes, source.type) : Merit{}, v.line, v.action};
  if (!state.prefix_rules) {
    item.source = slot.source;
    item.generation = generation_;
    item.verdict = out;
  }
  return out;
}

bool Rib::former_policy_refuses(const Prefix& prefix, const Slot& slot) const {
  return std::ranges::any_of(former_, [&](const Importer& former) {
    Attributes attributes = *attributes_[slot.raw].attributes;
    return former.apply(*sources_[slot.source].source, prefix, attributes).action == Action::kRefuse;
  });
}

bool Rib::is_to_be_held_back(const Prefix& prefix, const Slot& slot, Heard heard) const {
  if (withdrawals_ == Withdrawals::kAllTold || is_local(*sources_[slot.source].source)) return false;
  return heard == Heard::kBefore ? slot.refused() : former_policy_refuses(prefix, slot);
}

void Rib::set_held_back(Slot& slot, bool held) {
  if (held == slot.held_back()) return;
  std::size_t& count = sources_[slot.source].count.held_back;
  held ? ++count : --count;
  held ? slot.set_flag(Slot::kHeldBack) : slot.clear_flag(Slot::kHeldBack);
}

bool Rib::judge(const Prefix& prefix, Slot& slot, Heard heard) {
  PathVerdict v = verdict(prefix, slot);
  const bool hold_back = v.action == Action::kAccept && is_to_be_held_back(prefix, slot, heard);
  if (hold_back) v = {{}, kLineHeldBack, Action::kRefuse};
  set_held_back(slot, hold_back);
  const bool refuse = v.action == Action::kRefuse;
  const bool changed = refuse != slot.refused() || v.merit != slot.merit();
  if (refuse != slot.refused()) {
    FamilyCount& count = family_count(prefix, slot.source);
    refuse ? --count.accepted : ++count.accepted;
    refuse ? slot.set_flag(Slot::kRefused) : slot.clear_flag(Slot::kRefused);
  }
  slot.set_merit(v.merit);
  slot.line = v.line;
  return changed;
}

void Rib::judge_entries(SourceId source) {
  for (const std::uint32_t id : sources_[source].entries) {
    judge(entries_[id].prefix, *entries_[id].find(source), Heard::kBefore);
    mark_dirty(id);  // its router id may decide
  }
}

void Rib::set_policy(PolicyPtr policy) {
  const bool knows_routes = std::ranges::any_of(
      sources_, [](const SourceState& s) { return !s.gone && !is_local(*s.source) && !s.entries.empty(); });
  if (withdrawals_ == Withdrawals::kOfRefusedNotTold && knows_routes && importer_.policy() != *policy)
    former_.push_back(std::move(importer_));
  importer_ = Importer(std::move(policy));
  ++generation_;
  for (SourceState& state : sources_) {
    if (!state.gone) know_source(state);
  }
  constexpr std::size_t kAhead = 8;  // entries whose slots, and whose attributes, are fetched before they are needed
  const std::size_t size = entries_.size();
  for (std::size_t i = 0; i < size; ++i) {
    if (i + 2 * kAhead < size) __builtin_prefetch(entries_[i + 2 * kAhead].slots);
    if (i + kAhead < size) {
      for (const Slot& s : entries_[i + kAhead].all()) __builtin_prefetch(&attributes_[s.raw]);
    }
    RibEntry& entry = entries_[i];
    bool changed = false;
    for (Slot& slot : entry.all()) changed |= judge(entry.prefix, slot, Heard::kBefore);
    if (changed) mark_dirty(static_cast<std::uint32_t>(i));
  }
}

std::size_t Rib::drop_held_back(SourceId source) {
  return erase_if(source, [](const Prefix&, const Slot& slot) { return slot.held_back(); });
}

// --- decision -----------------------------------------------------------------------------------------

void Rib::choose(std::span<const Slot> slots, std::vector<Path>& out) const {
  out.clear();
  Merit best{~std::uint64_t{0}, ~std::uint64_t{0}};
  std::size_t equals = 0;
  for (const Slot& s : slots) {
    if (s.refused()) continue;
    const Merit m = s.merit();
    if (m > best) continue;
    equals = m == best ? equals + 1 : 1;
    best = m;
  }
  for (const Slot& s : slots) {
    if (s.refused() || s.merit() != best) continue;
    const Source& source = *sources_[s.source].source;
    out.push_back({s.source, attributes_[s.raw].next_hop, original_kind(source, *attributes_[s.raw].attributes)});
  }
  if (equals > options_.maximum_paths) {
    std::ranges::sort(out, [&](const Path& a, const Path& b) {
      return compare_tie(*sources_[a.source].source, *sources_[b.source].source).order < 0;
    });
    out.resize(options_.maximum_paths);
  }
  std::ranges::sort(out);
}

std::vector<Change> Rib::drain() {
  for (const PathSetId id : leaving_sets_) path_sets_.release(id);
  leaving_sets_.clear();
  std::ranges::move(std::exchange(told_sources_, std::exchange(leaving_sources_, {})),
                    std::back_inserter(free_sources_));
  std::vector<Change> changes;
  changes.reserve(std::min<std::size_t>(dirty_.size(), 64));
  for (const std::uint32_t id : dirty_) {
    RibEntry& entry = entries_[id];
    entry.dirty = 0;
    choose(entry.all(), scratch_);
    const PathSetId before = entry.published;
    if (!std::ranges::equal(scratch_, path_sets_[before])) {
      entry.published = path_sets_.acquire(scratch_);
      changes.push_back({entry.prefix, before, entry.published});
      if (before != kNoPaths) leaving_sets_.push_back(before);
    }
    if (entry.count == 0) {
      index_.erase(fast_hash(entry.prefix), id);
      free_entries_.push_back(id);
    }
  }
  dirty_.clear();
  return changes;
}

}  // namespace gw::routes
