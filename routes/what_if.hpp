// What would move if policy were another, a peer or the circuit were down, a source had fewer prefixes: computed on the
// live routes, which stay as they are. Pure, the Rib's thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.hpp"
#include "routes/import.hpp"
#include "routes/path_sets.hpp"
#include "routes/policy.hpp"

namespace gw::routes {

/// A prefix that a source of the gateway's own would have.
struct Addition {
  Source source;
  Prefix prefix;
};

struct Scenario {
  PolicyPtr policy{};                                   // null: the present one
  std::vector<SourceId> down{};                         // these sessions are gone
  std::vector<SourceKind> kinds_down{};                 // kCircuit: the circuit is down, here and at the other instance
  std::map<std::string, std::set<Prefix>> withdrawn{};  // by source: of the gateway's own, what a document leaves out
  std::vector<Addition> added{};
  std::size_t most_moves = 1000;  // moves are counted all, but listed only so many
};

enum class MoveKind : std::uint8_t { kMoves, kLost, kAppears };

struct Move {
  Prefix prefix;
  MoveKind kind = MoveKind::kMoves;
  std::vector<Path> from;
  std::vector<Path> to;
};

/// An addition that would be used, alone or with others.
struct Arrival {
  Prefix prefix;
  std::string source;
  std::vector<Path> from;  // empty: nobody has a route to it now
};

enum class LimitOf : std::uint8_t {
  kLearned,  // max_routes of the session
  kTold,     // kToldToCircuit
};

/// A session that comes near its limit, or over it, and was not before.
struct LimitBreak {
  SourceId source = 0;
  LimitOf of = LimitOf::kLearned;
  Family family = Family::kV4;
  std::size_t before = 0;
  std::size_t after = 0;
  std::uint32_t limit = 0;
  LimitState state = LimitState::kNear;
};

/// A site that has announced prefixes (or has static ones) to which no route of anybody is left. Shorter prefixes
/// that cover them do not count: nobody knows whether they lead there.
struct CutOff {
  std::string site;
  std::size_t prefixes = 0;  // that had a route
  std::size_t lost = 0;      // equal: the whole site
};

struct WhatIf {
  std::size_t prefixes = 0;  // looked at
  std::size_t moved = 0;
  std::size_t lost = 0;
  std::size_t appeared = 0;
  std::vector<Move> moves;        // sorted by prefix
  std::vector<Arrival> arrivals;  // sorted by prefix; counted in moved or appeared; in no `moves`
  std::vector<LimitBreak> limits;
  std::vector<CutOff> cut_off;  // sorted by site
};

class Rib;

/// A look at every route, in slices: a full table takes about a second, and whoever owns the Rib has other work. Routes
/// that change in between are seen as they are when their turn comes.
class WhatIfWalk {
 public:
  /// `rib` must live as long.
  WhatIfWalk(const Rib& rib, Scenario scenario);
  WhatIfWalk(const WhatIfWalk&) = delete;
  WhatIfWalk& operator=(const WhatIfWalk&) = delete;

  /// Looks at the next `prefixes`. False: there are no more.
  bool step(std::size_t prefixes);
  /// When all have been looked at.
  WhatIf finish();

 private:
  struct SiteCount {
    std::size_t before = 0;
    std::size_t lost = 0;
  };
  using Tally = std::array<std::size_t, 2>;  // by family
  /// A circuit's router, and how many routes it is told.
  struct Listener {
    Source source;
    Tally before{};
    Tally after{};
  };
  void know_sources();
  void count_told(const Prefix& prefix, const Candidate& best, const Policy& policy, Tally Listener::* tally);
  /// What `slots` are forwarded by, which is `paths`.
  void count_told(const RibEntry& entry, std::span<const Slot> slots, const std::vector<Path>& paths,
                  Tally Listener::* tally);
  /// Unless it was as near to `limit_now`.
  void add_limit(LimitBreak found, std::uint32_t limit_now);
  bool is_gone(const Prefix& prefix, const Slot& slot) const;
  void judge_anew(const Prefix& prefix, Slot& slot);
  void look_at(const RibEntry& entry);
  enum class Fate : std::uint8_t { kKept, kLost };
  void count_sites(const RibEntry& entry, Fate fate);
  /// What of `added` is as good as the best of slots_, or better, arrives. False: nothing does.
  bool arrive(const std::vector<const Addition*>& added);

  const Rib& rib_;
  Scenario scenario_;
  std::optional<Importer> other_;
  std::vector<std::string> names_down_;
  std::map<Prefix, std::vector<const Addition*>> added_;  // into scenario_; not looked at yet
  std::size_t next_ = 0;
  WhatIf out_;
  std::vector<Tally> after_count_;
  std::vector<Listener> told_;  // empty: policy stays, and nobody is told more
  std::map<std::string, SiteCount> sites_;
  // Of this slice: numbers of sources and of attributes are given out anew when they are free.
  std::vector<bool> down_;
  std::vector<bool> prefix_rules_;
  std::map<std::pair<std::uint32_t, SourceId>, PathVerdict> known_;
  std::vector<Slot> slots_;
  std::vector<Path> before_;
  std::vector<Path> after_;
};

}  // namespace gw::routes
