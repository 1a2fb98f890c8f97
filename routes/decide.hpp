// Which of several routes to one prefix is used, and which step decided.
//
// Mirrors bgpd's order (FRR `bgp_path_info_cmp`, which refines RFC 4271 9.1.2.2), restricted to what this
// gateway renders to FRR, so that gwd and FRR always agree. The ladder:
//    1 weight                  higher wins (source class: circuit over VPN)
//    2 local preference        higher wins; RFC 8326: GRACEFUL_SHUTDOWN makes it 0, as FRR's route-map does
//    3 locally originated      wins
//    4 AS-path length          shorter wins
//    5 origin                  IGP over EGP over incomplete
//    6 MED                     lower wins, absent is 0; only within one neighbour AS (deterministic) unless asked
//    7 eBGP over iBGP
//    -- routes equal up to here form the ECMP set (AS paths of equal length: multipath-relax) --
//    8 router id               lower wins (bgp bestpath compare-routerid: no "oldest")
//    9 peer address            lower wins
// Deviation from RFC 4271 9.1.2.2 e: no IGP metric; every next hop is a tunnel or on link.
// Pure, any thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "routes/candidate.hpp"

namespace gw::routes {

enum class Step : std::uint8_t {
  kOnlyRoute = 0,  // nothing to decide
  kWeight = 1,
  kLocalPreference = 2,
  kLocallyOriginated = 3,
  kAsPathLength = 4,
  kOrigin = 5,
  kMed = 6,
  kEbgpOverIbgp = 7,
  kRouterId = 8,
  kPeerAddress = 9,
  kEqual = 10,  // the same session twice: cannot happen in a Rib
};
/// "AS-path length", for explanations.
std::string_view to_string(Step step);

enum class MedScope : std::uint8_t { kSameNeighbourAs, kAlways };

struct DecisionOptions {
  MedScope med = MedScope::kSameNeighbourAs;
  std::size_t maximum_paths = 8;  // FRR `maximum-paths 8`, for eBGP and iBGP
};

struct Comparison {
  std::strong_ordering order = std::strong_ordering::equal;  // less: the first is preferred
  Step step = Step::kEqual;
};
Comparison compare(const Candidate& a, const Candidate& b, const DecisionOptions& options);

enum class Place : std::uint8_t { kBest, kMultipath, kNotUsed };
std::string_view to_string(Place place);

struct Ranked {
  Place place = Place::kNotUsed;
  /// kBest: the step by which it won over the runner-up; otherwise the step by which it lost.
  Step step = Step::kOnlyRoute;
};

struct Decision {
  std::size_t best = 0;               // index; meaningless when there were no candidates
  std::vector<std::size_t> selected;  // indices of the ECMP set, best first
  std::vector<Ranked> ranked;         // one per candidate, in the order given
};
/// Does not depend on the order of the candidates.
Decision decide(std::span<const Candidate> candidates, const DecisionOptions& options);

}  // namespace gw::routes
