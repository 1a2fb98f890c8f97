// What the doctor wants to know of all routes together: whose are in use, who waits behind the circuit, which routes of
// the VPN take a part out of a prefix of the circuit, and what has no usable route because its routes were refused.
// A look at every route, in slices, as WhatIfWalk. Pure, the Rib's thread.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.hpp"
#include "routes/rib.hpp"

namespace gw::routes {

/// Of one source; a route of the partner counts as what it was at its source.
struct SourceSurvey {
  std::size_t best = 0;            // in use, alone or with others
  std::size_t behind_circuit = 0;  // usable, but the circuit's are in use
  std::size_t over_circuit = 0;    // in use, while the circuit has a usable one, too
};

/// A route of the VPN inside a shorter prefix that the circuit has from the same network: the same AS originates both,
/// or the circuit hides who does. A network of another AS inside a summary is where it should be.
struct MoreSpecific {
  Prefix prefix;
  std::string source;
  Prefix covering;
  std::string covering_source;
};

enum class RefusedFor : std::uint8_t {
  kOwnAsn,      // and there is no other route to the prefix
  kVnetPrefix,  // somebody's own claim of VNet addresses, not our announcement coming back
};

struct RefusedRoute {
  Prefix prefix;
  std::string as_path;
};

struct RefusedGroup {
  std::string source;
  RefusedFor reason = RefusedFor::kOwnAsn;
  std::size_t count = 0;
  std::vector<RefusedRoute> routes;  // the first ones
};

struct Survey {
  std::size_t prefixes = 0;
  std::map<std::string, SourceSurvey> sources;  // by name
  std::vector<MoreSpecific> more_specific;      // the first ones
  std::size_t more_specific_count = 0;
  std::vector<RefusedGroup> refused;
  std::vector<Prefix> sample;  // the first ones, sorted
};

struct SurveyLimits {
  std::size_t more_specific = 100;
  std::size_t sample = 200;
  std::size_t refused = 100;  // of each group
};

class SurveyWalk {
 public:
  /// `rib` must live as long.
  explicit SurveyWalk(const Rib& rib, SurveyLimits limits = {}) : rib_(rib), limits_(limits) {}

  /// Looks at the next `prefixes`. False: there are no more.
  bool step(std::size_t prefixes);
  /// When all have been looked at.
  Survey finish();

 private:
  bool is_circuit(const Slot& slot) const;
  bool is_vpn(const Slot& slot) const;
  void note_lengths(const RibEntry& entry);
  void look_at(const RibEntry& entry);
  void look_for_cover(const RibEntry& entry, const Slot& route);
  bool same_origin(const Slot& route, const Slot& cover) const;
  void add_refused(const RibEntry& entry, const Slot& slot, RefusedFor reason);

  const Rib& rib_;
  SurveyLimits limits_;
  enum class Pass : std::uint8_t { kLengths, kRoutes };
  Pass pass_ = Pass::kLengths;
  std::size_t next_ = 0;
  std::bitset<129> circuit_lengths_[2];  // by Family
  Survey out_;
  std::map<std::pair<std::string, RefusedFor>, RefusedGroup> refused_;
};

}  // namespace gw::routes
