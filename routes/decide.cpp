#include "routes/decide.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace gw::routes {
namespace {

/// Whether MED takes part when every pair is compared, or only inside one neighbour AS.
enum class MedRule : std::uint8_t { kCompare, kSkip };

std::uint32_t effective_preference(const Attributes& a) {
  if (a.has_community(kGracefulShutdown)) return 0;  // RFC 8326 4: as FRR's route-map sets it
  return a.local_preference.value_or(kDefaultLocalPreference);
}

/// 0 for what this gateway originates, so that it wins where "lower wins".
int originated_rank(const Candidate& c) { return c.source->type == PeerType::kLocal ? 0 : 1; }
int session_rank(const Candidate& c) { return c.source->type == PeerType::kIbgp ? 1 : 0; }

bool med_comparable(const Candidate& a, const Candidate& b, MedScope scope) {
  if (scope == MedScope::kAlways) return true;
  return a.attributes->as_path.neighbour_as() == b.attributes->as_path.neighbour_as();
}

/// Steps 1 to 7: what must be equal in an ECMP set. The numbers are those of decide.hpp.
Comparison compare_merit(const Candidate& a, const Candidate& b, MedRule med) {
  const Attributes& x = *a.attributes;
  const Attributes& y = *b.attributes;
  // 1
  if (x.weight != y.weight) return {y.weight <=> x.weight, Step::kWeight};
  // 2
  const auto pref_x = effective_preference(x);
  const auto pref_y = effective_preference(y);
  if (pref_x != pref_y) return {pref_y <=> pref_x, Step::kLocalPreference};
  // 3
  if (const auto o = originated_rank(a) <=> originated_rank(b); o != 0) return {o, Step::kLocallyOriginated};
  // 4
  if (const auto o = x.as_path.length() <=> y.as_path.length(); o != 0) return {o, Step::kAsPathLength};
  // 5
  if (x.origin != y.origin) return {std::to_underlying(x.origin) <=> std::to_underlying(y.origin), Step::kOrigin};
  // 6
  if (med == MedRule::kCompare) {
    if (const auto o = x.med.value_or(0) <=> y.med.value_or(0); o != 0) return {o, Step::kMed};
  }
  // 7
  if (const auto o = session_rank(a) <=> session_rank(b); o != 0) return {o, Step::kEbgpOverIbgp};
  return {std::strong_ordering::equal, Step::kEqual};
}

/// Steps 8 and 9: one of equals, the same one everywhere.
Comparison compare_tie(const Candidate& a, const Candidate& b) {
  // 8
  if (const auto o = a.source->router_id <=> b.source->router_id; o != 0) return {o, Step::kRouterId};
  // 9
  if (const auto o = a.source->peer_address <=> b.source->peer_address; o != 0) return {o, Step::kPeerAddress};
  return {a.source->name <=> b.source->name, Step::kEqual};
}

Comparison compare_all(const Candidate& a, const Candidate& b, MedRule med) {
  const Comparison merit = compare_merit(a, b, med);
  return merit.order != 0 ? merit : compare_tie(a, b);
}

MedRule rule_for(const Candidate& a, const Candidate& b, MedScope scope) {
  return med_comparable(a, b, scope) ? MedRule::kCompare : MedRule::kSkip;
}

/// The best of `members` under comparisons that are transitive among them.
std::size_t best_of(std::span<const Candidate> all, const std::vector<std::size_t>& members, MedRule med) {
  return *std::ranges::min_element(
      members, [&](std::size_t i, std::size_t j) { return compare_all(all[i], all[j], med).order < 0; });
}

/// MED is not transitive across neighbour ASes. So, as `bgp deterministic-med` does: first the best of each
/// neighbour AS with MED, then the best of those without it.
std::size_t choose(std::span<const Candidate> all, MedScope scope) {
  std::map<std::uint32_t, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < all.size(); ++i) {
    groups[scope == MedScope::kAlways ? 0 : all[i].attributes->as_path.neighbour_as()].push_back(i);
  }
  std::vector<std::size_t> winners;
  winners.reserve(groups.size());
  for (const auto& [as, members] : groups) winners.push_back(best_of(all, members, MedRule::kCompare));
  return best_of(all, winners, MedRule::kSkip);
}

}  // namespace

std::string_view to_string(Step step) {
  switch (step) {
    case Step::kOnlyRoute: return "only route";
    case Step::kWeight: return "weight";
    case Step::kLocalPreference: return "local preference";
    case Step::kLocallyOriginated: return "locally originated";
    case Step::kAsPathLength: return "AS-path length";
    case Step::kOrigin: return "origin";
    case Step::kMed: return "MED";
    case Step::kEbgpOverIbgp: return "eBGP over iBGP";
    case Step::kRouterId: return "router id";
    case Step::kPeerAddress: return "peer address";
    case Step::kEqual: return "equal";
  }
  return "unknown";
}

std::string_view to_string(Place place) {
  switch (place) {
    case Place::kBest: return "best";
    case Place::kMultipath: return "multipath";
    case Place::kNotUsed: return "not used";
  }
  return "unknown";
}

Comparison compare(const Candidate& a, const Candidate& b, const DecisionOptions& options) {
  return compare_all(a, b, rule_for(a, b, options.med));
}

Decision decide(std::span<const Candidate> candidates, const DecisionOptions& options) {
  Decision d;
  d.ranked.resize(candidates.size());
  if (candidates.empty()) return d;
  d.best = choose(candidates, options.med);

  const Candidate& best = candidates[d.best];
  std::vector<std::size_t> equals;
  std::optional<std::size_t> runner_up;
  const auto preferred = [&](std::size_t i, std::size_t j) {
    return compare(candidates[i], candidates[j], options).order < 0;
  };
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (i == d.best) continue;
    const MedRule med = rule_for(best, candidates[i], options.med);
    if (compare_merit(best, candidates[i], med).order == 0) equals.push_back(i);
    d.ranked[i] = {Place::kNotUsed, compare_all(best, candidates[i], med).step};
    if (!runner_up || preferred(i, *runner_up)) runner_up = i;
  }
  // Only the tie steps are left among equals of the best: a strict order.
  std::ranges::sort(equals,
                    [&](std::size_t i, std::size_t j) { return compare_tie(candidates[i], candidates[j]).order < 0; });
  d.selected.push_back(d.best);
  for (const std::size_t i : equals) {
    if (d.selected.size() >= options.maximum_paths) break;
    d.selected.push_back(i);
    d.ranked[i].place = Place::kMultipath;
  }
  d.ranked[d.best] = {Place::kBest, runner_up ? d.ranked[*runner_up].step : Step::kOnlyRoute};
  return d;
}

}  // namespace gw::routes
