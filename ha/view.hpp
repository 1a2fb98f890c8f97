// What one instance knows about itself and the others, and what follows from it and the time: who is alive, who is fit.
// Every comparison with the time goes through due(), which so collects when the next look is needed.
// Owner: Machine; thread: its caller's.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ha/config.hpp"
#include "ha/event.hpp"

namespace gw::ha {

struct PeerView {
  Instance id{};
  // Sync channel. The last report is kept when the connection is gone: it is the best that is known.
  Link channel = Link::kDown;
  MonoTime channel_since{};
  std::optional<MonoTime> report_at;  // in this connection
  MonoTime sync_heard{};              // in any; zero: never
  Report report;
  // Data path, as our gw-fastpath hears it.
  Link data = Link::kDown;
  Link forwarding = Link::kDown;
  MonoTime forwarding_since{};  // since when it is as it is
  Link control = Link::kUp;     // its gwd is there, as its gw-fastpath says
  MonoTime control_since{};
  MonoTime data_heard{};
  std::vector<Claim> data_claims;
  // State that we hold for it.
  Link complete = Link::kDown;
  std::optional<MonoTime> fit_since;
};

class View {
 public:
  View(Configuration configuration, MonoTime now);

  const Configuration& config() const { return config_; }
  const Timing& timing() const { return config_.timing; }
  void set_config(Configuration configuration);

  // --- time
  MonoTime now() const { return now_; }
  /// At the beginning of an event. A long pause was ours: what is known is old, and silence counts from now.
  void advance(MonoTime now);
  /// Whether `at` has come; if not, next_look() is not later.
  bool due(MonoTime at) const;
  MonoTime next_look() const { return next_look_; }
  MonoTime started() const { return started_; }
  /// Our fast path has been there, and has listened to the data path, since then.
  MonoTime fastpath_since() const { return fastpath_since_; }

  // --- this instance
  void set_health(const LocalHealth& health);
  /// It has spoken, so that what was said of it before is over.
  void fastpath_spoke();
  const std::optional<LocalHealth>& health() const { return health_; }
  /// At this moment, faults of a millisecond too: such an instance takes nothing.
  Reason fault_now() const;
  /// Faults that outlasted the grace, or drained: such an instance gives away what it has.
  Reason unfit() const;
  /// What the others are told: unfit(), or that an endpoint is better there than here.
  Reason reported() const;
  bool ike_away() const { return health_ && health_->ike == Link::kDown; }
  /// Something is heard at all: silence of another instance says something about that instance.
  bool hearing() const { return health_ && health_->hearing == Link::kUp; }
  bool fit_to_take() const { return fault_now() == Reason::kNone && drained == Switch::kOff; }
  Switch drained = Switch::kOff;
  Link lease_service = Link::kDown;  // up with the embedded lease
  std::string lease_words;

  // --- the others
  std::vector<PeerView>& peers() { return peers_; }
  const std::vector<PeerView>& peers() const { return peers_; }
  PeerView* peer(Instance id);
  const PeerView* peer(Instance id) const;
  /// Its gwd is heard.
  bool sync_alive(const PeerView& peer) const;
  /// Since when it is not; `started` if it never was.
  MonoTime sync_silent_since(const PeerView& peer) const;
  /// Its gw-fastpath is heard (by ours, which must be there for that).
  bool data_alive(const PeerView& peer) const;
  bool ever_heard(const PeerView& peer) const;
  /// Nothing is heard on either path, and a fast path that was frozen has stopped by itself.
  bool dead(const PeerView& peer) const;
  /// kNone: it could own endpoints.
  Reason unfit(const PeerView& peer) const;
  /// The claim that it is known to send by: from the paths that are alive, or the last known when none is.
  std::optional<Epoch> owned_claim(const PeerView& peer, const IpAddress& address) const;
  /// The instance's place among those that could take the endpoint, 0: first. The preferred one leads.
  unsigned rank(Instance id, Instance preferred) const;

  std::string describe(const PeerView& peer) const;

 private:
  MonoTime fault_since() const { return fault_since_; }
  MonoTime silent_at(MonoTime heard) const;
  MonoTime dead_at(MonoTime heard, MonoTime awake) const;

  Configuration config_;
  MonoTime now_;
  MonoTime started_;
  MonoTime awake_since_;     // started, or woke up
  MonoTime asleep_since_{};  // the last pause of this process: what had been silent before it stays so
  MonoTime awake_before_;    // awake_since_ of before that pause
  mutable MonoTime next_look_;
  std::optional<LocalHealth> health_;
  MonoTime fastpath_since_{};
  MonoTime fault_since_{};
  MonoTime ports_since_{};  // both ports are alive; what was not heard before, could not be
  std::vector<PeerView> peers_;
};

}  // namespace gw::ha
