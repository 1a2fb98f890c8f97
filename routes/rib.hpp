// Every route of every source, the best set per prefix, and what changed since the last look.
// Owned by gwd's routes loop, one thread. Pure: no I/O, no clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"
#include "routes/candidate.hpp"
#include "routes/decide.hpp"

namespace gw::routes {

/// The routes to use for one prefix, best first. Equal sets forward equally.
struct BestSet {
  std::vector<Candidate> paths;
};

struct Change {
  Prefix prefix;
  std::optional<BestSet> best;  // absent: no route is left
};

struct Explanation {
  Candidate candidate;
  Ranked ranked;
};

struct SourceCount {
  std::size_t routes = 0;
  std::size_t stale = 0;
};

class Rib {
 public:
  explicit Rib(DecisionOptions options = {}) : options_(options) {}

  /// A new or changed route of `candidate.source`; clears its stale mark unless the candidate has it.
  void upsert(const Prefix& prefix, Candidate candidate);
  /// Nothing happens if the source has no such route.
  void withdraw(const Prefix& prefix, std::string_view source);
  void withdraw_all(std::string_view source);

  /// Graceful restart (RFC 4724 4.2): the source's session is gone, its routes stay in use until sweep().
  void mark_stale(std::string_view source);
  /// Its End-of-RIB for `family` came: what is still stale goes. Returns how many.
  std::size_t sweep(std::string_view source, Family family);
  /// The restart timer ran out: both families.
  std::size_t sweep(std::string_view source);

  /// Prefixes whose best set differs from the last drain, in order of prefix. A route that came and went
  /// in between is not mentioned, nor is a change that forwards the same way (same sources, same next hops).
  std::vector<Change> drain_changes();

  /// The best set of exactly this prefix as of now; empty if there is none.
  BestSet best(const Prefix& prefix) const;
  /// Every candidate of exactly this prefix, best first, each with its deciding step.
  std::vector<Explanation> explain(const Prefix& prefix) const;
  /// The longest prefix that has a route for `address`.
  std::optional<Prefix> longest_match(const IpAddress& address) const;
  /// All prefixes, sorted.
  std::vector<Prefix> prefixes() const;

  SourceCount count(std::string_view source) const;
  /// Prefixes known, including those that the next drain reports as gone.
  std::size_t size() const { return table_.size(); }

 private:
  struct Path {  // what forwarding sees of a candidate
    std::string source;
    IpAddress next_hop;
    friend bool operator==(const Path&, const Path&) = default;
  };
  struct Entry {
    std::vector<Candidate> candidates;
    std::vector<Path> published;
  };
  using Table = std::unordered_map<Prefix, Entry>;

  BestSet best_of(const Entry& entry) const;
  void erase_candidate(Entry& entry, std::size_t index);
  std::size_t sweep_if(std::string_view source, std::optional<Family> family);

  DecisionOptions options_;
  Table table_;
  std::unordered_set<Prefix> dirty_;
  /// Prefixes of each source, so that a lost session costs what it brought and not the whole table.
  std::map<std::string, std::unordered_set<Prefix>, std::less<>> by_source_;
  std::map<std::string, SourceCount, std::less<>> counts_;
};

}  // namespace gw::routes
