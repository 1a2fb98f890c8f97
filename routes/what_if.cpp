// Walks all prefixes once with the decision that would be, beside the one that is.
#include "routes/what_if.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "routes/rib.hpp"

namespace gw::routes {
namespace {

struct SiteCount {
  std::size_t before = 0;
  std::size_t lost = 0;
};

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

WhatIf Rib::what_if(const Scenario& scenario) const {
  const std::optional<Importer> other = scenario.policy ? std::optional<Importer>(scenario.policy) : std::nullopt;
  const Importer& importer = other ? *other : importer_;

  std::vector<bool> down(sources_.size());
  std::vector<bool> prefix_rules(sources_.size());
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Source& s = *sources_[i].source;
    down[i] = std::ranges::contains(scenario.down, i) || std::ranges::contains(scenario.kinds_down, s.kind);
    prefix_rules[i] = importer.depends_on_prefix(s);
  }

  // A circuit that is down is down for the other instance, too: what it tells of it goes as well.
  const auto is_down = [&](const Slot& slot) {
    const Source& source = *sources_[slot.source].source;
    return down[slot.source] ||
           (source.kind == SourceKind::kPartner && !scenario.kinds_down.empty() &&
            std::ranges::contains(scenario.kinds_down, original_kind(source, *attributes_[slot.raw].attributes)));
  };

  // Verdicts of the other policy for attributes, as set_policy() would keep them: by (attributes, source).
  std::map<std::pair<std::uint32_t, SourceId>, PathVerdict> known;
  const auto judge_anew = [&](const Prefix& prefix, Slot& slot) {
    const Source& source = *sources_[slot.source].source;
    std::optional<LineId> unsafe;
    if (source.type != PeerType::kLocal) unsafe = importer.check_safe(importer.policy().peer(source.name), prefix);
    PathVerdict v{{}, unsafe.value_or(kLineAccept), Action::kRefuse};
    if (!unsafe) {
      const auto at = prefix_rules[slot.source] ? known.end() : known.find({slot.raw, slot.source});
      if (at != known.end()) {
        v = at->second;
      } else {
        Attributes attributes = *attributes_[slot.raw].attributes;
        const ImportVerdict iv = prefix_rules[slot.source] ? importer.apply(source, prefix, attributes)
                                                           : importer.apply_to_path(source, attributes);
        v = {iv.action == Action::kAccept ? merit_of(attributes, source.type) : Merit{}, iv.line, iv.action};
        if (!prefix_rules[slot.source]) known.emplace(std::pair{slot.raw, slot.source}, v);
      }
    }
    slot.set_merit(v.merit);
    v.action == Action::kRefuse ? slot.set_flag(Slot::kRefused) : slot.clear_flag(Slot::kRefused);
  };

  WhatIf out;
  std::vector<std::array<std::size_t, 2>> after_count(sources_.size());
  std::map<std::string, SiteCount> sites;
  std::vector<Slot> slots;
  std::vector<Path> before;
  std::vector<Path> after;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const RibEntry& entry = entries_[i];
    if (entry.count == 0) continue;
    ++out.prefixes;
    const auto family = static_cast<std::size_t>(std::to_underlying(entry.prefix.family()));
    slots.clear();
    for (Slot slot : entry.all()) {
      if (is_down(slot)) continue;
      if (other) judge_anew(entry.prefix, slot);
      if (!slot.refused()) ++after_count[slot.source][family];
      slots.push_back(slot);
    }
    choose(entry.all(), before);
    choose(slots, after);
    if (before != after) add_move(out, entry.prefix, before, after, scenario.most_moves);
    if (before.empty()) continue;
    std::set<std::string_view> here;
    for (const Slot& slot : entry.all()) {
      const Source& s = *sources_[slot.source].source;
      if (slot.refused() || s.site.empty() || !announces_its_own(s.kind)) continue;
      if (!here.insert(s.site).second) continue;
      SiteCount& count = sites[s.site];
      ++count.before;
      if (after.empty()) ++count.lost;
    }
  }

  std::ranges::sort(out.moves, {}, &Move::prefix);
  for (const auto& [site, count] : sites) {
    if (count.lost > 0) out.cut_off.push_back({site, count.before, count.lost});
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].gone || sources_[i].source->type == PeerType::kLocal) continue;
    const std::uint32_t limit = importer.policy().peer(sources_[i].source->name).max_routes;
    const std::uint32_t limit_now = importer_.policy().peer(sources_[i].source->name).max_routes;
    for (const Family family : {Family::kV4, Family::kV6}) {
      const auto f = static_cast<std::size_t>(std::to_underlying(family));
      const std::size_t was = sources_[i].count.of_family[f].accepted;
      const LimitState state = check_limit(after_count[i][f], limit);
      if (state <= check_limit(was, limit_now)) continue;
      out.limits.push_back({static_cast<SourceId>(i), family, was, after_count[i][f], limit, state});
    }
  }
  return out;
}

}  // namespace gw::routes
