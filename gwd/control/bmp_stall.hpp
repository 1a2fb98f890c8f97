// When bgpd's BMP stream has to be opened anew. For each route that a session takes with it bgpd 10.3 queues an entry
// for BMP, and what empties that queue goes to sleep at every entry whose session is gone (bmp_wrqueue): what other
// sessions say from then on waits behind them, for ever if nothing else happens (docs/findings/frr.md). A new
// connection begins with an empty queue and the whole table. Pure: time is told. Owner: RouteController.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include "base/clock.hpp"

namespace gw::gwd {

class BmpStall {
 public:
  /// Sessions that die of one cause do so within a BFD interval of each other: one new stream is for all of them.
  static constexpr std::chrono::milliseconds kSettle{150};
  /// bgpd is to have let go of all the routes by then, or the new stream's queue has them, too.
  static constexpr std::chrono::microseconds kPerLostRoute{10};
  /// Between two streams. The whole table is told by each (10 us a route): that may take a tenth of bgpd's time.
  static constexpr std::chrono::seconds kPause{1};
  static constexpr std::chrono::microseconds kPausePerRoute{100};

  /// A session went down; bgpd had so many routes of it.
  void lost(std::size_t routes, MonoTime now);
  /// When to open the stream anew; absent: there is no reason to.
  std::optional<MonoTime> due() const { return due_; }
  /// It is being opened, whoever wanted that; `table`: routes that will be told.
  void reopened(std::size_t table, MonoTime now);

 private:
  std::optional<MonoTime> due_;
  MonoTime not_before_{};
};

}  // namespace gw::gwd
