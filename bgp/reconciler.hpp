// Compares where gwd and FRR would send each prefix. The two learn it on different ways and at different speeds, so a
// prefix is judged when it has been quiet on both sides for a second, and when everything has been (a full table takes
// FRR far longer than gwd), or when it has been left alone for a minute. Where FRR may differ for a while (routes that
// are held for a session), what differs then is judged anew when that has ended. Pure: time is told. One thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"

namespace gw::bgp {

/// Interface indexes that packets leave by, sorted, each once. Empty: no route.
using Exits = std::vector<std::uint32_t>;

enum class DifferenceKind : std::uint8_t {
  kMissing,    // gwd has a route, FRR has not
  kExtra,      // FRR has a route, gwd has not
  kDifferent,  // by other devices
};
const char* to_string(DifferenceKind kind);  // "missing"

struct Difference {
  DifferenceKind kind = DifferenceKind::kMissing;
  Exits ours;
  Exits theirs;
  MonoTime since{};
  MonoTime excused{};     // when it was last expected; zero: never
  bool standing = false;  // nothing excuses it, and it is for people
};

class Reconciler {
 public:
  static constexpr std::chrono::seconds kQuiet{1};
  static constexpr std::chrono::seconds kPatience{60};  // under a storm of other prefixes' changes
  /// FRR's `maximum-paths`: of a larger set of ours it has this many.
  static constexpr std::size_t kFrrPaths = 8;

  void set_ours(const Prefix& prefix, Exits exits, MonoTime now);
  void set_theirs(const Prefix& prefix, Exits exits, MonoTime now);
  /// FRR's side is not known any more; nothing differs until it is told again.
  void forget_theirs();
  /// From now on what FRR did not tell it does not have.
  void begin_theirs(MonoTime now);

  /// Judges what has been quiet long enough; true when the differences are others than before.
  bool check(MonoTime now);
  /// Says which differences are expected for now. What is not stands, when the last change of either side and the end
  /// of what was expected have been over for kQuiet: FRR acts on what ended it, too.
  void excuse(const std::function<bool(const Prefix&)>& expected, MonoTime now);
  /// Something that made differences expected is over, also those that were not judged yet.
  void excuse_ended(MonoTime now) { excuse_ended_ = now; }
  /// When to check again; absent: after the next change.
  std::optional<MonoTime> next_check() const;

  const std::map<Prefix, Difference>& differences() const { return differences_; }
  std::size_t our_count() const { return ours_count_; }
  std::size_t their_count() const { return theirs_count_; }

 private:
  using ExitsId = std::uint32_t;  // 0: no route
  struct Row {
    ExitsId ours = 0;
    ExitsId theirs = 0;
    MonoTime changed{};
    bool queued = false;
  };
  ExitsId id_of(Exits exits);
  void touch(const Prefix& prefix, Row& row, MonoTime now);
  bool judge(const Prefix& prefix);
  bool agree(const Exits& ours, const Exits& theirs) const;

  std::unordered_map<Prefix, Row> rows_;
  std::deque<std::pair<Prefix, MonoTime>> queue_;  // each prefix once, and since when it waits
  std::map<Exits, ExitsId> ids_;
  std::vector<Exits> exits_{Exits{}};
  std::map<Prefix, Difference> differences_;
  std::size_t ours_count_ = 0;
  std::size_t theirs_count_ = 0;
  MonoTime last_change_{};
  MonoTime excuse_ended_{};  // zero: never
  bool known_ = false;       // FRR's side
};

}  // namespace gw::bgp
