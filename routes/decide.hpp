// Which of several routes to one prefix is used, and which step decided.
//
// Mirrors bgpd's order (FRR 10.3 `bgp_path_info_cmp`, which refines RFC 4271 9.1.2.2), restricted to what this
// gateway renders to FRR, so that gwd and FRR always agree. The ladder, with the number of FRR's own step:
//
//    1  weight (1)               higher wins: the source class, circuit over VPN; 0 for a graceful shutdown: it is last
//    2  local preference (2)     higher wins, absent is 100; 0 for RFC 8326 GRACEFUL_SHUTDOWN of eBGP peers, as in bgpd
//    3  locally originated (3)   wins
//    4  AS-path length (4)       shorter wins; a set counts one, confederation segments nothing
//    5  origin (5)               IGP over EGP over incomplete
//    6  MED (6)                  lower wins, absent is 0; of all neighbour ASes (`bgp always-compare-med`)
//    7  eBGP over iBGP (7)
//       Routes equal up to here form the ECMP set (11; multipath-relax: AS paths of equal length), best first, at most
//       `maximum_paths`.
//    8  router id (13)           lower wins (`bgp bestpath compare-routerid` leaves out 12, "oldest")
//    9  peer address (15)        lower wins, IPv4 before IPv6
//
// Steps 1 to 7 are one number of 99 bits, the Merit: the smaller one wins, and the highest bit that differs names the
// step. So the order is total: no order of arrival, no group of routes changes the outcome.
// Deviation from RFC 4271 9.1.2.2 c: MED is compared across neighbour ASes. Without that, "better" is not transitive,
// and 10.3 sorts routes one by one as they come (its deterministic-med only marks routes): bgpd's own choice would
// depend on the order of arrival.
// Deviation from RFC 4271 9.1.2.2 e: no IGP metric (FRR's 8); every next hop is a tunnel or on link, metric 0.
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

/// Steps 1 to 7 of one route; less is better.
struct Merit {
  std::uint64_t high = 0;  // weight, local preference, locally originated, AS-path length
  std::uint64_t low = 0;   // origin, MED, session
  friend auto operator<=>(const Merit&, const Merit&) = default;
};
Merit merit_of(const Attributes& attributes, PeerType session);
/// The step at which these differ; kEqual when they do not.
Step deciding_step(const Merit& a, const Merit& b);

struct DecisionOptions {
  std::size_t maximum_paths = 8;  // FRR `maximum-paths 8`, for eBGP and iBGP
};

struct Comparison {
  std::strong_ordering order = std::strong_ordering::equal;  // less: the first is preferred
  Step step = Step::kEqual;
};
/// Steps 8 and 9: one of equals, the same one everywhere.
Comparison compare_tie(const Source& a, const Source& b);
Comparison compare(const Candidate& a, const Candidate& b);

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
