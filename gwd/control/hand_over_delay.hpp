// Which prefixes are not handed over to another instance yet. When this instance loses its circuit (or hears that work
// on it is planned), the other one's route over the same circuit is the best that is left; in most cases the other has
// lost it as well and has not been able to say so: bgpd takes 50 ms for it, and a silent failure is noticed up to a BFD
// interval later. Until then, two instances would send each other the same packets (which drop them as `hairpin`),
// though each has a way of its own: its tunnels. So the best way of our own, even of a lesser class, is used first, for
// a moment. Owner: RouteController; thread: control.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <set>

#include "base/ip.hpp"

namespace gw::gwd {

class HandOverDelay {
 public:
  /// A prefix is held for one to two of these.
  static constexpr std::chrono::milliseconds kTick{150};
  using Release = std::function<void(const Prefix&)>;

  /// `release` is called for each prefix whose time is over.
  HandOverDelay(boost::asio::io_context& io, Release release) : timer_(io), release_(std::move(release)) {}

  void hold(const Prefix& prefix);
  /// Its way has changed: there is nothing to wait for.
  void forget(const Prefix& prefix);
  bool holds(const Prefix& prefix) const { return fresh_.contains(prefix) || ripe_.contains(prefix); }
  void stop() { timer_.cancel(); }

 private:
  void start_timer();

  boost::asio::steady_timer timer_;
  Release release_;
  std::set<Prefix> fresh_;
  std::set<Prefix> ripe_;  // held for a tick already
};

}  // namespace gw::gwd
