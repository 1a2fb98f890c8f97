// How many routes of a session bgpd has taken (its summary) beside how many gwd has: both judge by one policy, so a
// difference that stays is a route that one of them does not know, or knows although it is gone. Pure: time is told.
// Owner: ReconcileController; thread: control.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "base/clock.hpp"

namespace gw::gwd {

using FamilyCounts = std::array<std::size_t, 2>;  // by Family

class CountWatch {
 public:
  /// bgpd is asked every 0.5 to 5 s, and its answer is of another moment: only a pair of numbers that stays counts.
  static constexpr std::chrono::seconds kPatience{12};

  struct Counts {
    FamilyCounts gwd{};
    FamilyCounts bgpd{};
    friend bool operator==(const Counts&, const Counts&) = default;
  };
  /// What was seen of a session that is up and has been learned. True: it differs for long enough, told once.
  bool see(const std::string& session, const Counts& counts, MonoTime now);
  /// It cannot be compared now.
  void forget(const std::string& session) { seen_.erase(session); }
  /// Sessions that are there no more.
  void keep_only(const std::set<std::string>& sessions);
  /// "bgpd has taken 3 IPv4 and 1 IPv6 routes of paris-ce1/gw-a, gwd 4 and 1 (RoutesDiffer)"; empty: all is well.
  std::string alarm() const;

 private:
  struct Seen {
    Counts counts;
    MonoTime since{};
    bool lasting = false;
  };
  std::map<std::string, Seen> seen_;  // that differ
};

}  // namespace gw::gwd
