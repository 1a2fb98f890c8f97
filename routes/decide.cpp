#include "routes/decide.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace gw::routes {
namespace {

/// Where a step stands in its word of the Merit.
struct Field {
  Step step;
  unsigned bits;
};

// From the most significant bit down; the rest of `low` is always zero.
constexpr Field kHigh[] = {
    {Step::kWeight, 16}, {Step::kLocalPreference, 32}, {Step::kLocallyOriginated, 1}, {Step::kAsPathLength, 15}};
constexpr Field kLow[] = {{Step::kOrigin, 2}, {Step::kMed, 32}, {Step::kEbgpOverIbgp, 1}};

constexpr std::uint64_t kLongestPath = (1U << 15) - 1;  // an extended message (RFC 8654) has room for 16,000 ASes

/// The field that has the highest bit set in `difference`.
Step step_in(std::span<const Field> fields, std::uint64_t difference) {
  unsigned left = static_cast<unsigned>(std::countl_zero(difference));
  for (const Field& f : fields) {
    if (left < f.bits) return f.step;
    left -= f.bits;
  }
  return Step::kEqual;
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

Merit merit_of(const Attributes& a, PeerType session) {
  const bool shutting_down = a.has_community(kGracefulShutdown) && session == PeerType::kEbgp;
  const std::uint32_t preference = shutting_down ? 0 : a.local_preference.value_or(kDefaultLocalPreference);
  const std::uint64_t length = std::min<std::uint64_t>(a.as_path.length(), kLongestPath);
  Merit m;
  m.high = static_cast<std::uint64_t>(0xffff - a.weight) << 48;                     // 1
  m.high |= static_cast<std::uint64_t>(0xffffffff - preference) << 16;              // 2
  m.high |= static_cast<std::uint64_t>(session == PeerType::kLocal ? 0 : 1) << 15;  // 3
  m.high |= length;                                                                 // 4
  m.low = static_cast<std::uint64_t>(std::to_underlying(a.origin)) << 62;           // 5
  m.low |= static_cast<std::uint64_t>(a.med.value_or(0)) << 30;                     // 6
  m.low |= static_cast<std::uint64_t>(session == PeerType::kIbgp ? 1 : 0) << 29;    // 7
  return m;
}

Step deciding_step(const Merit& a, const Merit& b) {
  if (a.high != b.high) return step_in(kHigh, a.high ^ b.high);
  if (a.low != b.low) return step_in(kLow, a.low ^ b.low);
  return Step::kEqual;
}

Comparison compare_tie(const Source& a, const Source& b) {
  // 8
  if (const auto o = a.router_id <=> b.router_id; o != 0) return {o, Step::kRouterId};
  // 9
  if (const auto o = a.peer_address <=> b.peer_address; o != 0) return {o, Step::kPeerAddress};
  return {a.name <=> b.name, Step::kEqual};
}

Comparison compare(const Candidate& a, const Candidate& b) {
  const Merit x = merit_of(*a.attributes, a.source->type);
  const Merit y = merit_of(*b.attributes, b.source->type);
  if (x != y) return {x <=> y, deciding_step(x, y)};
  return compare_tie(*a.source, *b.source);
}

Decision decide(std::span<const Candidate> candidates, const DecisionOptions& options) {
  Decision d;
  d.ranked.resize(candidates.size());
  if (candidates.empty()) return d;
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order,
                    [&](std::size_t i, std::size_t j) { return compare(candidates[i], candidates[j]).order < 0; });
  d.best = order.front();
  d.selected.push_back(d.best);
  for (const std::size_t i : std::span(order).subspan(1)) {
    const Step step = compare(candidates[d.best], candidates[i]).step;
    const bool multipath = step > Step::kEbgpOverIbgp && d.selected.size() < options.maximum_paths;
    if (multipath) d.selected.push_back(i);
    d.ranked[i] = {multipath ? Place::kMultipath : Place::kNotUsed, step};
  }
  d.ranked[d.best] = {Place::kBest, order.size() > 1 ? d.ranked[order[1]].step : Step::kOnlyRoute};
  return d;
}

}  // namespace gw::routes
