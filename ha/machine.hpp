// The HA state machine of one instance: who owns which endpoint. Events in, actions out; no sockets, no clock, no
// thread of its own. docs/ha.md has the states, the transitions and the times.
//
// Rules, in this order:
//   1 Of two claims to one endpoint the higher epoch wins: who hears a higher one stops at once.
//   2 An endpoint changes its owner only by
//      a  HandOver of its owner (or the consent of all living others, when nobody owns it),
//      b  silence of its owner on both paths, for so long that a frozen owner's fast path has stopped by itself,
//      c  a living fast path that says it does not own it (or does not forward), when its gwd is not heard,
//      d  the lease service's grant, when there is one; a to c are then only reasons to ask for it,
//      e  the operator's Takeover.
//   3 Only an instance that can forward takes; one that cannot hands over what it has.
//   4 Among several, the preferred one; an endpoint goes back to it by a planned move.
// Owner: HaController; thread: control.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "ha/action.hpp"
#include "ha/config.hpp"
#include "ha/event.hpp"

namespace gw::ha {

/// For `gwctl ha show`.
struct Snapshot {
  struct Peer {
    Instance id{};
    Link sync = Link::kDown;
    std::optional<std::chrono::nanoseconds> sync_age;  // since its last report
    Link data = Link::kDown;
    std::optional<std::chrono::nanoseconds> data_age;
    Reason unfit = Reason::kUnreachable;  // kNone: it could take over
    Link in_sync = Link::kDown;           // it has all of ours
    Link we_are_in_sync = Link::kDown;    // we have all of its
    std::uint64_t incarnation = 0;
  };
  struct Endpoint {
    IpAddress address;
    Instance home{};
    Instance preferred{};
    State state = State::kStandby;
    std::optional<Instance> owner;
    Epoch epoch = 0;
    std::optional<MonoTime> until;      // the lease's end
    std::optional<Instance> moving_to;  // or, while kReceiving, from whom
    Stay stay = Stay::kUntilPreferred;
    MonoTime since{};   // in this state
    std::string cause;  // of the last transition
    std::optional<std::chrono::nanoseconds> failback_in;
  };
  Instance self{};
  Reason unfit = Reason::kStarting;
  Switch drained = Switch::kOff;
  std::vector<Peer> peers;
  std::vector<Endpoint> endpoints;
  Link lease_service = Link::kUp;  // always up when embedded
  std::vector<Alarm> alarms;       // raised now
};

class Machine {
 public:
  /// `incarnation`: a number that no other process of this instance has had. `configuration` has passed check().
  Machine(Configuration configuration, std::uint64_t incarnation, MonoTime now);
  ~Machine();
  Machine(Machine&&) noexcept;
  Machine& operator=(Machine&&) noexcept;

  /// Times must not go back.
  std::vector<Action> handle(MonoTime now, const Event& event);
  /// The operator's words: refused (kRefused, kNotFound) with the reason, or begun.
  Result<std::vector<Action>> command(MonoTime now, const Command& command);
  /// A new document; `self` stays. Endpoints that are not in it any more are released.
  std::vector<Action> reconfigure(MonoTime now, Configuration configuration);

  /// A Tick is due then.
  MonoTime next_deadline() const;
  /// What `peer` is told with every heartbeat.
  Report report(Instance peer) const;
  Snapshot snapshot(MonoTime now) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::ha
