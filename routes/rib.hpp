// Every route of every source as received, what the import policy makes of it, the best set of each prefix, and what
// changed since the last look. An update costs what its prefixes cost, whatever the size of the table.
//
// Sources are sessions and the gateway's own configuration; each has at most one route to a prefix (paths of one
// session, RFC 7911, are a source each). Routes that policy refuses are kept: they can be explained, and are there
// when policy changes. About 100 bytes a route with its attributes (docs/benchmarks.md).
// Who tells the Rib may not tell all (Withdrawals): then what was refused comes into use only when it is told again.
// Owned by gwd's routes loop, one thread. Pure: no I/O, no clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "routes/candidate.hpp"
#include "routes/decide.hpp"
#include "routes/import.hpp"
#include "routes/path_sets.hpp"
#include "routes/rib_store.hpp"
#include "routes/what_if.hpp"

namespace gw::routes {

/// A prefix is forwarded otherwise than it was. The sets can be looked up until the next drain.
struct Change {
  Prefix prefix;
  PathSetId before = kNoPaths;
  PathSetId after = kNoPaths;  // kNoPaths: no route is left
};

/// One route to a prefix and what became of it.
struct Explanation {
  Candidate candidate;  // attributes after policy; of a refused one, as received
  Ranked ranked;
  std::string line;  // of the import policy: "policy paris-lp"
  Action action = Action::kAccept;
  bool stale = false;  // its session is gone, graceful restart keeps the route (RFC 4724)
  MonoTime since{};    // when it last changed, to 100 ms
};

struct FamilyCount {
  std::size_t received = 0;
  std::size_t accepted = 0;
};
struct SourceCount {
  std::array<FamilyCount, 2> of_family{};  // by Family
  std::size_t stale = 0;
  std::size_t held_back = 0;  // refused, because they were not announced again since policy would let them in
  std::size_t accepted() const { return of_family[0].accepted + of_family[1].accepted; }
  std::size_t received() const { return of_family[0].received + of_family[1].received; }
};

/// What the Rib is told of the end of a route that its source's side refused, by the same policy as the Rib's.
enum class Withdrawals : std::uint8_t {
  kAllTold,
  kOfRefusedNotTold,  // bgpd 10.3's BMP
};

class Rib {
 public:
  explicit Rib(PolicyPtr policy = std::make_shared<const Policy>(), DecisionOptions options = {},
               Withdrawals withdrawals = Withdrawals::kAllTold);
  ~Rib();
  Rib(const Rib&) = delete;
  Rib& operator=(const Rib&) = delete;

  /// A new source, or a known one (by name) that is different now: its routes are judged anew.
  SourceId put_source(Source source);
  /// Withdraws what it has. Its number stays its own until the drain after the next: changes may name it.
  void remove_source(SourceId source);
  std::optional<SourceId> find_source(std::string_view name) const;
  const Source& source(SourceId id) const { return *sources_[id].source; }

  /// New or changed routes, all with the same attributes (an UPDATE); not stale any more. What is the same as before
  /// keeps its age.
  void announce(SourceId source, const AttributesPtr& attributes, std::span<const Prefix> prefixes, MonoTime now);
  /// Nothing happens to prefixes that the source has no route to.
  void withdraw(SourceId source, std::span<const Prefix> prefixes);
  void withdraw_all(SourceId source);

  /// Graceful restart (RFC 4724 4.2): the source's session is gone, its routes stay in use until sweep().
  void mark_stale(SourceId source);
  /// Its End-of-RIB for `family` came: what is still stale goes. Returns how many.
  std::size_t sweep(SourceId source, Family family);
  /// The restart timer ran out: both families.
  std::size_t sweep(SourceId source);

  /// Judges every route anew. With kOfRefusedNotTold, what was refused may have been withdrawn unheard: it is held
  /// back, that is refused, until it is announced again. The same until policy_in_force() for what is announced and was
  /// refused by the policy before: its withdrawal would not be told, either.
  void set_policy(PolicyPtr policy);
  /// Whoever announces judges by this policy now, too.
  void policy_in_force() { former_.clear(); }
  /// Withdraws what is held back. Returns how many.
  std::size_t drop_held_back(SourceId source);
  const Importer& importer() const { return importer_; }

  /// Prefixes that are forwarded otherwise than at the last drain, in the order of their first update. Not mentioned:
  /// what came and went in between, and what forwards the same way (same sources, same next hops).
  std::vector<Change> drain();
  /// Sorted by source.
  std::span<const Path> paths(PathSetId id) const { return path_sets_[id]; }

  /// What exactly this prefix is forwarded by, as of the last drain.
  PathSetId published(const Prefix& prefix) const;
  /// Every route to exactly this prefix, best first, each with its deciding step; refused ones last.
  std::vector<Explanation> explain(const Prefix& prefix) const;
  /// The longest prefix that has a usable route for `address`.
  std::optional<Prefix> longest_match(const IpAddress& address) const;
  /// All prefixes that have a route, refused ones included, sorted.
  std::vector<Prefix> prefixes() const;
  /// Those that this source has a route to, in no order.
  std::vector<Prefix> prefixes(SourceId source) const;

  SourceCount count(SourceId source) const { return sources_[source].count; }
  /// Prefixes known, including those that the next drain reports as gone.
  std::size_t size() const { return index_.size(); }
  std::size_t attribute_sets() const { return attributes_.size(); }

  /// What would be if. Touches nothing; costs a look at every route, which WhatIfWalk takes in slices.
  WhatIf what_if(const Scenario& scenario) const;

 private:
  friend class WhatIfWalk;
  friend class SurveyWalk;

  struct SourceState {
    SourcePtr source;  // stays until the number is free
    bool gone = false;
    SourceCount count;
    std::vector<std::uint32_t> entries;  // that it has a route to; a Slot knows its position
    const PeerPolicy* peer = nullptr;    // of importer_'s policy
    bool prefix_rules = false;           // policy looks at prefixes for this source
  };

  std::uint32_t find_entry(const Prefix& prefix) const;
  std::uint32_t make_entry(const Prefix& prefix);
  void mark_dirty(std::uint32_t id);
  void fetch_ahead(std::span<const Prefix> prefixes);
  void announce_one(SourceId source, std::uint32_t raw, const Prefix& prefix, std::uint32_t now);
  void erase_slot(std::uint32_t entry, Slot* slot);
  void leave_list(SourceState& source, std::uint32_t position);
  void know_source(SourceState& state) const;
  void judge_entries(SourceId source);
  enum class Heard : std::uint8_t { kNow, kBefore };
  /// Judges a slot; whether anything became different.
  bool judge(const Prefix& prefix, Slot& slot, Heard heard);
  /// `slot` still is what it was before the judgement.
  bool is_to_be_held_back(const Prefix& prefix, const Slot& slot, Heard heard) const;
  bool former_policy_refuses(const Prefix& prefix, const Slot& slot) const;
  void set_held_back(Slot& slot, bool held);
  PathVerdict verdict(const Prefix& prefix, const Slot& slot);
  void choose(std::span<const Slot> slots, std::vector<Path>& out) const;
  template <class Condition>
  std::size_t erase_if(SourceId source, Condition condition);
  FamilyCount& family_count(const Prefix& prefix, SourceId source);

  DecisionOptions options_;
  Withdrawals withdrawals_;
  Importer importer_;
  std::vector<Importer> former_;  // policies that whoever announces may still judge by
  std::uint32_t generation_ = 1;  // of the policy
  ChunkedVector<RibEntry> entries_;
  std::vector<std::uint32_t> free_entries_;
  IdIndex index_;
  AttributeStore attributes_;
  PathSets path_sets_;
  std::vector<SourceState> sources_;
  std::vector<SourceId> free_sources_;
  std::vector<SourceId> leaving_sources_;  // their last changes are not told yet
  std::vector<SourceId> told_sources_;     // they are: free with the next drain
  std::vector<PathSetId> leaving_sets_;    // of the last drain's changes
  std::vector<std::uint32_t> dirty_;
  std::vector<Path> scratch_;
};

}  // namespace gw::routes
