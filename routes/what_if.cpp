// Looks at all prefixes once, with the decision that would be beside the one that is.
#include "routes/what_if.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "routes/export.hpp"
#include "routes/rib.hpp"

namespace gw::routes {
namespace {

bool announces_its_own(SourceKind kind) {
  return kind == SourceKind::kVpnTunnel || kind == SourceKind::kBranchVnet || kind == SourceKind::kStaticSite;
}

MoveKind kind_of(const std::vector<Path>& from, const std::vector<Path>& to) {
  if (from.empty()) return MoveKind::kAppears;
  return to.empty() ? MoveKind::kLost : MoveKind::kMoves;
}

void add_move(WhatIf& out, const Prefix& prefix, const std::vector<Path>& from, const std::vector<Path>& to,
              std::size_t most) {
  const MoveKind kind = kind_of(from, to);
  ++(kind == MoveKind::kMoves ? out.moved : kind == MoveKind::kLost ? out.lost : out.appeared);
  if (out.moves.size() < most) out.moves.push_back({prefix, kind, from, to});
}

}  // namespace

WhatIfWalk::WhatIfWalk(const Rib& rib, Scenario scenario) : rib_(rib), scenario_(std::move(scenario)) {
  if (scenario_.policy) other_.emplace(scenario_.policy);
  for (const SourceId id : scenario_.down) names_down_.push_back(rib.source(id).name);
  for (const Addition& addition : scenario_.added) added_[addition.prefix].push_back(&addition);
  if (!scenario_.policy || std::ranges::contains(scenario_.kinds_down, SourceKind::kCircuit)) return;
  for (const Rib::SourceState& state : rib_.sources_)
    if (!state.gone && state.source->kind == SourceKind::kCircuit &&
        !std::ranges::contains(names_down_, state.source->name))
      told_.push_back({*state.source});
}

void WhatIfWalk::count_told(const Prefix& prefix, const Candidate& best, const Policy& policy,
                            Tally Listener::* tally) {
  Attributes as_told;
  for (Listener& told : told_)
    if (apply_export(policy, prefix, best, told.source, as_told).told == Told::kYes)
      ++(told.*tally)[std::to_underlying(prefix.family())];
}

void WhatIfWalk::count_told(const RibEntry& entry, std::span<const Slot> slots, const std::vector<Path>& paths,
                            Tally Listener::* tally) {
  if (told_.empty() || paths.empty()) return;
  const Importer& importer = tally == &Listener::after && other_ ? *other_ : rib_.importer_;
  const Policy& policy = importer.policy();
  // Nearly all of a full table ends here.
  const Cell cell = export_cell(paths.front().original, SourceKind::kCircuit);
  if (cell == Cell::kNo || (cell == Cell::kTransitOnly && policy.transit == Transit::kClosed)) return;
  const auto slot = std::ranges::find(slots, paths.front().source, &Slot::source);
  if (slot == slots.end()) return;
  const Rib::SourceState& source = rib_.sources_[slot->source];
  auto attributes = std::make_shared<Attributes>(*rib_.attributes_[slot->raw].attributes);
  importer.apply(*source.source, entry.prefix, *attributes);
  count_told(entry.prefix, {source.source, std::move(attributes)}, policy, tally);
}

void WhatIfWalk::know_sources() {
  const Importer& importer = other_ ? *other_ : rib_.importer_;
  const std::size_t count = rib_.sources_.size();
  down_.assign(count, false);
  prefix_rules_.assign(count, false);
  after_count_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Source& s = *rib_.sources_[i].source;
    down_[i] = std::ranges::contains(names_down_, s.name) || std::ranges::contains(scenario_.kinds_down, s.kind);
    prefix_rules_[i] = importer.depends_on_prefix(s);
  }
  known_.clear();
}

bool WhatIfWalk::is_gone(const Prefix& prefix, const Slot& slot) const {
  if (down_[slot.source]) return true;
  const Source& source = rib_.source(slot.source);
  // A circuit that is down is down for the other instance, too: what it tells of it goes as well.
  if (source.kind == SourceKind::kPartner && !scenario_.kinds_down.empty() &&
      std::ranges::contains(scenario_.kinds_down, original_kind(source, *rib_.attributes_[slot.raw].attributes)))
    return true;
  if (scenario_.withdrawn.empty()) return false;
  const auto it = scenario_.withdrawn.find(source.name);
  return it != scenario_.withdrawn.end() && it->second.contains(prefix);
}

// As set_policy() would; what is the same for all prefixes of the attributes is judged once.
void WhatIfWalk::judge_anew(const Prefix& prefix, Slot& slot) {
  const Importer& importer = *other_;
  const Source& source = rib_.source(slot.source);
  std::optional<LineId> unsafe;
  if (source.type != PeerType::kLocal) unsafe = importer.check_safe(importer.policy().peer(source.name), prefix);
  PathVerdict v{{}, unsafe.value_or(kLineAccept), Action::kRefuse};
  if (!unsafe) {
    const bool by_prefix = prefix_rules_[slot.source];
    const auto at = by_prefix ? known_.end() : known_.find({slot.raw, slot.source});
    if (at != known_.end()) {
      v = at->second;
    } else {
      Attributes attributes = *rib_.attributes_[slot.raw].attributes;
      const ImportVerdict iv =
          by_prefix ? importer.apply(source, prefix, attributes) : importer.apply_to_path(source, attributes);
      v = {iv.action == Action::kAccept ? merit_of(attributes, source.type) : Merit{}, iv.line, iv.action};
      if (!by_prefix) known_.emplace(std::pair{slot.raw, slot.source}, v);
    }
  }
  slot.set_merit(v.merit);
  v.action == Action::kRefuse ? slot.set_flag(Slot::kRefused) : slot.clear_flag(Slot::kRefused);
}

bool WhatIfWalk::step(std::size_t prefixes) {
  know_sources();
  for (; prefixes > 0 && next_ < rib_.entries_.size(); --prefixes, ++next_)
    if (const RibEntry& entry = rib_.entries_[next_]; entry.count > 0) look_at(entry);
  return next_ < rib_.entries_.size();
}

void WhatIfWalk::look_at(const RibEntry& entry) {
  ++out_.prefixes;
  const auto family = static_cast<std::size_t>(std::to_underlying(entry.prefix.family()));
  slots_.clear();
  for (Slot slot : entry.all()) {
    if (is_gone(entry.prefix, slot)) continue;
    if (other_) judge_anew(entry.prefix, slot);
    if (!slot.refused()) ++after_count_[slot.source][family];
    slots_.push_back(slot);
  }
  rib_.choose(entry.all(), before_);
  rib_.choose(slots_, after_);
  count_told(entry, entry.all(), before_, &Listener::before);
  const auto added = added_.extract(entry.prefix);
  const bool arrives = added && arrive(added.mapped());
  if (!arrives) count_told(entry, slots_, after_, &Listener::after);
  if (!arrives && before_ != after_) add_move(out_, entry.prefix, before_, after_, scenario_.most_moves);
  if (!before_.empty()) count_sites(entry, !arrives && after_.empty() ? Fate::kLost : Fate::kKept);
}

void WhatIfWalk::count_sites(const RibEntry& entry, Fate fate) {
  std::set<std::string_view> here;
  for (const Slot& slot : entry.all()) {
    const Source& s = rib_.source(slot.source);
    if (slot.refused() || s.site.empty() || !announces_its_own(s.kind)) continue;
    if (!here.insert(s.site).second) continue;
    SiteCount& count = sites_[s.site];
    ++count.before;
    if (fate == Fate::kLost) ++count.lost;
  }
}

// As good as the best one is in use with it.
bool WhatIfWalk::arrive(const std::vector<const Addition*>& added) {
  bool any = false;
  for (const auto* addition : added) {
    Attributes attributes;
    const Importer& importer = other_ ? *other_ : rib_.importer_;
    if (importer.apply(addition->source, addition->prefix, attributes).action == Action::kRefuse) continue;
    const Merit merit = merit_of(attributes, addition->source.type);
    if (std::ranges::any_of(slots_, [&](const Slot& s) { return !s.refused() && s.merit() < merit; })) continue;
    out_.arrivals.push_back({addition->prefix, addition->source.name, before_});
    if (!any)
      count_told(addition->prefix,
                 {std::make_shared<const Source>(addition->source), std::make_shared<const Attributes>(attributes)},
                 importer.policy(), &Listener::after);
    any = true;
  }
  if (any) ++(before_.empty() ? out_.appeared : out_.moved);
  return any;
}

WhatIf WhatIfWalk::finish() {
  know_sources();
  slots_.clear();
  before_.clear();
  for (const auto& [prefix, added] : added_) arrive(added);
  std::ranges::sort(out_.moves, {}, &Move::prefix);
  std::ranges::stable_sort(out_.arrivals, {}, &Arrival::prefix);
  for (const auto& [site, count] : sites_) {
    if (count.lost > 0) out_.cut_off.push_back({site, count.before, count.lost});
  }
  const Policy& policy = other_ ? other_->policy() : rib_.importer_.policy();
  for (std::size_t i = 0; i < rib_.sources_.size(); ++i) {
    const Rib::SourceState& state = rib_.sources_[i];
    if (state.gone || state.source->type == PeerType::kLocal) continue;
    const std::uint32_t limit = policy.peer(state.source->name).max_routes;
    const std::uint32_t limit_now = rib_.importer_.policy().peer(state.source->name).max_routes;
    for (const Family family : {Family::kV4, Family::kV6}) {
      const auto f = static_cast<std::size_t>(std::to_underlying(family));
      const std::size_t was = state.count.of_family[f].accepted;
      add_limit({.source = static_cast<SourceId>(i),
                 .family = family,
                 .before = was,
                 .after = after_count_[i][f],
                 .limit = limit},
                limit_now);
    }
  }
  for (const Listener& told : told_) {
    const auto source = rib_.find_source(told.source.name);
    for (const Family family : {Family::kV4, Family::kV6})
      if (const auto f = static_cast<std::size_t>(std::to_underlying(family)); source)
        add_limit({.source = *source,
                   .of = LimitOf::kTold,
                   .family = family,
                   .before = told.before[f],
                   .after = told.after[f],
                   .limit = kToldToCircuit},
                  kToldToCircuit);
  }
  return std::move(out_);
}

void WhatIfWalk::add_limit(LimitBreak found, std::uint32_t limit_now) {
  found.state = check_limit(found.after, found.limit);
  if (found.state > check_limit(found.before, limit_now)) out_.limits.push_back(found);
}

WhatIf Rib::what_if(const Scenario& scenario) const {
  WhatIfWalk walk(*this, scenario);
  while (walk.step(entries_.size())) {
  }
  return walk.finish();
}

}  // namespace gw::routes
