// One endpoint as one instance sees it: its state, and the rules by which that changes (docs/ha.md has the table).
// hear() and the like are for what is said once; step() looks at the View and the time, as often as one likes.
// Owner: Machine; thread: its caller's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ha/action.hpp"
#include "ha/machine.hpp"
#include "ha/view.hpp"

namespace gw::ha {

class EndpointFsm {
 public:
  EndpointFsm(Endpoint endpoint, View& view, std::vector<Action>& out);

  const IpAddress& address() const { return endpoint_.address; }
  State state() const { return state_; }
  Claim claim() const;
  Snapshot::Endpoint snapshot() const;
  void set_endpoint(const Endpoint& endpoint) {
    endpoint_ = endpoint;
    removed_ = false;
  }
  Instance preferred() const { return view_.config().preferred_for(endpoint_); }
  const std::string& move_failure() const { return move_failure_; }
  const std::string& action_failure() const { return action_failure_; }
  /// Nobody is known to send for it, since then.
  std::optional<MonoTime> vacant_since() const { return vacant_since_; }
  /// Another instance that claims what we own.
  std::optional<Instance> rival() const;

  /// Follows what is known and what time it is; true: something has changed, and it wants to look again.
  bool step();

  // --- said once
  void note_epoch(Epoch epoch) { seen_ = std::max(seen_, epoch); }
  void hear(Instance from, const Message& message);
  void lost(Epoch epoch);
  void adopt(Epoch epoch);
  /// The fast path is new or there for the first time: it is told everything again.
  void reinstate();
  void done(const OwnDone& event);
  void done(const ReleaseDone& event);
  void done(const ReadyDone& event);
  void sites_moved();
  void action_failed(const std::string& what) { action_failure_ = what; }
  void granted(const LeaseGranted& event);
  void denied(const LeaseDenied& event);
  void renewed(const LeaseRenewed& event);
  void lease_lost(const LeaseLost& event);
  void lease_holder(const LeaseHolder& event);
  /// It tells everything anew, and what it told before may have been lost (a restored backup).
  void lease_service_back();
  /// A new connection: what was said in the old one may be lost.
  void reconnected(Instance peer);

  // --- the operator
  Status move(Instance to);
  Status takeover();
  void undrained();
  /// Embedded instead of etcd, or the reverse.
  void other_lease();
  /// Mode or preferred instance changed: it moves without waiting for its failback time, and wherever an operator has
  /// put it before, whose newer word this is.
  void rebalance() {
    rebalance_ = true;
    stay_ = Stay::kUntilPreferred;
  }
  /// Not in the document any more; gone() when nothing is left to do.
  void remove();
  bool gone() const { return removed_ && state_ == State::kStandby; }

 private:
  enum class Why : std::uint8_t { kDrain, kFailback, kAsked, kNoIke };

  // Rules of a state (endpoint_rules.cpp).
  void step_standby();
  void step_waiting();
  void step_receiving();
  void step_owner();
  void step_preparing();
  void step_releasing();
  void step_handed_over();
  void standby_embedded();
  void standby_etcd();
  void vacant_embedded(const PeerView& peer);
  std::optional<std::string> takeover_cause(const PeerView& owner) const;
  bool yields();
  bool lease_ended();
  void hand_over_if_unfit();
  void give_back();
  void follow_wish();

  // Messages (endpoint_messages.cpp).
  void on(Instance from, const Prepare& m);
  void on(Instance from, const Ready& m);
  void on(Instance from, const HandOver& m);
  void on(Instance from, const Taken& m);
  void on(Instance from, const Cancel& m);
  void on(Instance from, const Refuse& m);
  void on(Instance from, const Request& m);
  Reason refusal_of(Instance from, const Prepare& m) const;
  Reason refusal_of(Instance from, const HandOver& m) const;

  // What changes a state (endpoint_fsm.cpp).
  void note_grant(Instance holder, Epoch epoch);
  void go(State to, std::string cause);
  void tell(Instance to, Message message) { out_.push_back(Tell{to, std::move(message)}); }
  void refuse(Instance to, Epoch epoch, Reason reason) { tell(to, Refuse{address(), epoch, reason}); }
  void take(Handover how, std::optional<Instance> from, std::string cause);
  void own(Handover how, std::optional<Instance> from);
  void ask(std::optional<Epoch> succeeds, std::string cause);
  void plan(Instance target, Why why);
  void begin_release(std::optional<Instance> target, std::string cause);
  void give_up_plan(const std::string& cause);
  void take_back(const std::string& cause);
  void move_failed(std::string words);
  void stand_by(ReleaseCause cause, std::string why);
  void released(Handover how);

  std::optional<Instance> owner() const;
  bool etcd() const { return view_.config().lease == LeaseKind::kEtcd; }
  Instance self() const { return view_.config().self; }
  std::string name(Instance id) const { return view_.config().name_of(id); }
  std::string situation() const;
  std::optional<Instance> best_target() const;
  bool could_receive(const PeerView& peer) const {
    return view_.unfit(peer) == Reason::kNone && peer.report.in_sync == Link::kUp;
  }

  Endpoint endpoint_;
  View& view_;
  std::vector<Action>& out_;

  State state_ = State::kStandby;
  MonoTime since_{};
  std::string cause_ = "start";
  Epoch epoch_ = 0;  // of our own claim, the last one
  Epoch seen_ = 0;   // the highest of anybody's
  Stay stay_ = Stay::kUntilPreferred;
  std::optional<MonoTime> vacant_since_;
  MonoTime not_before_{};  // of the next attempt after one that failed

  // A move: with whom, and how far it is.
  std::optional<Instance> partner_;
  Why why_ = Why::kDrain;
  bool partner_ready_ = false;
  bool sites_moved_ = false;
  bool had_it_ = false;  // kHandedOver: we sent for it before (else only consented)
  Handover handed_how_ = Handover::kPlanned;
  Stay partner_stay_ = Stay::kUntilPreferred;

  std::optional<Stay> wish_;            // the operator wants it here
  std::optional<MonoTime> wish_until_;  // none: until it is
  bool rebalance_ = false;
  bool removed_ = false;

  // The lease, when others give it.
  std::optional<MonoTime> until_;
  std::optional<LeaseHolder> lease_;
  Epoch lease_seen_ = 0;     // of news from the lease service
  bool asked_back_ = false;  // kWaiting: for what nobody took from us
  bool adopting_ = false;    // kWaiting: for what our fast path has already

  std::string move_failure_;  // for an alarm that ends after a while: the operator has seen it, or it is tried again
  MonoTime move_failed_at_{};
  std::string action_failure_;
};

}  // namespace gw::ha
