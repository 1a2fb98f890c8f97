// Two passes: how long the circuit's prefixes are, then every prefix with what covers it.
#include "routes/survey.hpp"

#include <algorithm>

namespace gw::routes {
namespace {

/// The AS that the route comes from; 0: the path does not say.
std::uint32_t origin_as(const AsPath& path) {
  if (path.segments().empty()) return 0;
  const AsSegment& last = path.segments().back();
  return last.type == AsSegment::Type::kSequence && !last.asns.empty() ? last.asns.back() : 0;
}

std::size_t index_of(Family family) { return static_cast<std::size_t>(std::to_underlying(family)); }

}  // namespace

bool SurveyWalk::is_circuit(const Slot& slot) const {
  const Source& source = rib_.source(slot.source);
  if (source.kind == SourceKind::kCircuit) return true;
  return source.kind == SourceKind::kPartner &&
         original_kind(source, *rib_.attributes_[slot.raw].attributes) == SourceKind::kCircuit;
}

bool SurveyWalk::is_vpn(const Slot& slot) const {
  const SourceKind kind = rib_.source(slot.source).kind;
  return kind == SourceKind::kVpnTunnel || kind == SourceKind::kBranchVnet || kind == SourceKind::kStaticSite;
}

bool SurveyWalk::step(std::size_t prefixes) {
  for (; prefixes > 0 && next_ < rib_.entries_.size(); --prefixes, ++next_) {
    const RibEntry& entry = rib_.entries_[next_];
    if (entry.count == 0) continue;
    if (pass_ == Pass::kLengths)
      note_lengths(entry);
    else
      look_at(entry);
  }
  if (next_ < rib_.entries_.size()) return true;
  if (pass_ == Pass::kRoutes) return false;
  pass_ = Pass::kRoutes;
  next_ = 0;
  return rib_.entries_.size() > 0;
}

void SurveyWalk::note_lengths(const RibEntry& entry) {
  auto& lengths = circuit_lengths_[index_of(entry.prefix.family())];
  if (lengths.test(entry.prefix.length())) return;
  if (std::ranges::any_of(entry.all(), [&](const Slot& s) { return !s.refused() && is_circuit(s); }))
    lengths.set(entry.prefix.length());
}

void SurveyWalk::look_at(const RibEntry& entry) {
  ++out_.prefixes;
  if (out_.sample.size() < limits_.sample) out_.sample.push_back(entry.prefix);
  const std::span<const Path> best = rib_.path_sets_[entry.published];
  const auto in_use = [&](const Slot& slot) { return std::ranges::contains(best, slot.source, &Path::source); };
  bool usable = false;
  bool circuit_usable = false;
  bool circuit_used = false;
  for (const Slot& slot : entry.all()) {
    if (slot.refused()) continue;
    usable = true;
    if (!is_circuit(slot)) continue;
    circuit_usable = true;
    circuit_used = circuit_used || in_use(slot);
  }
  for (const Slot& slot : entry.all()) {
    if (slot.refused()) continue;
    SourceSurvey& source = out_.sources[rib_.source(slot.source).name];
    const bool used = in_use(slot);
    if (used) ++source.best;
    if (!is_vpn(slot)) continue;
    if (!used && circuit_used) ++source.behind_circuit;
    if (used && circuit_usable && !circuit_used) ++source.over_circuit;
    if (used && !circuit_usable) look_for_cover(entry, slot);
  }
  for (const Slot& slot : entry.all()) {
    if (!slot.refused()) continue;
    if (slot.line == kLineOwnAsn && !usable) add_refused(entry, slot, RefusedFor::kOwnAsn);
    const AsPath& path = rib_.attributes_[slot.raw].attributes->as_path;
    // Of the partner and of a VNet router it is no claim: they have the VNet's prefixes, too.
    if ((slot.line == kLineVnetPrefix || slot.line == kLineInsideVnet) && (is_vpn(slot) || is_circuit(slot)) &&
        !path.contains(rib_.importer_.policy().safe.gateway_asn))
      add_refused(entry, slot, RefusedFor::kVnetPrefix);
  }
}

// The longest prefix of the circuit around this one. Everything is inside the default route, that says nothing.
void SurveyWalk::look_for_cover(const RibEntry& entry, const Slot& route) {
  const auto& lengths = circuit_lengths_[index_of(entry.prefix.family())];
  for (unsigned length = entry.prefix.length(); length-- > 1;) {
    if (!lengths.test(length)) continue;
    const std::uint32_t id = rib_.find_entry(*Prefix::make(entry.prefix.address(), length));
    if (id == kNoId) continue;
    const Slot* cover = nullptr;  // our own session's rather than the partner's word
    for (const Slot& slot : rib_.entries_[id].all()) {
      if (slot.refused() || !is_circuit(slot) || !same_origin(route, slot)) continue;
      if (cover == nullptr || rib_.source(slot.source).kind == SourceKind::kCircuit) cover = &slot;
    }
    if (cover == nullptr) continue;
    ++out_.more_specific_count;
    if (out_.more_specific.size() < limits_.more_specific)
      out_.more_specific.push_back(
          {entry.prefix, rib_.source(route.source).name, rib_.entries_[id].prefix, rib_.source(cover->source).name});
    return;
  }
}

bool SurveyWalk::same_origin(const Slot& route, const Slot& cover) const {
  const AsPath& of_cover = rib_.attributes_[cover.raw].attributes->as_path;
  const std::uint32_t origin = origin_as(of_cover);
  const bool hidden = origin == 0 || origin == of_cover.neighbour_as();  // the circuit's own AS is all there is
  return hidden || origin == origin_as(rib_.attributes_[route.raw].attributes->as_path);
}

void SurveyWalk::add_refused(const RibEntry& entry, const Slot& slot, RefusedFor reason) {
  const std::string& name = rib_.source(slot.source).name;
  RefusedGroup& group = refused_[{name, reason}];
  group.source = name;
  group.reason = reason;
  ++group.count;
  if (group.routes.size() < limits_.refused)
    group.routes.push_back({entry.prefix, rib_.attributes_[slot.raw].attributes->as_path.to_string()});
}

Survey SurveyWalk::finish() {
  std::ranges::sort(out_.sample);
  for (auto& [key, group] : refused_) out_.refused.push_back(std::move(group));
  return std::move(out_);
}

}  // namespace gw::routes
