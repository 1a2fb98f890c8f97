// How an endpoint's state changes, and what the controller and the lease say about it.
#include "ha/endpoint_fsm.hpp"

#include <array>
#include <format>
#include <utility>

namespace gw::ha {

EndpointFsm::EndpointFsm(Endpoint endpoint, View& view, std::vector<Action>& out)
    : endpoint_(std::move(endpoint)), view_(view), out_(out), since_(view.now()) {}

Claim EndpointFsm::claim() const {
  // While the fast path is being stopped it is still ours: nobody may think it free.
  const bool ours = owns(state_) || state_ == State::kReleasing;
  return {address(), ours ? epoch_ : seen_, ours ? Ownership::kOwned : Ownership::kStandby};
}

std::optional<Instance> EndpointFsm::owner() const {
  if (owns(state_) || state_ == State::kReleasing) return self();
  if (state_ == State::kHandedOver) return partner_;
  if (etcd()) return lease_ ? lease_->holder : std::nullopt;
  std::optional<Instance> best;
  Epoch highest = 0;
  for (const PeerView& p : view_.peers()) {
    const std::optional<Epoch> epoch = view_.owned_claim(p, address());
    if (epoch && *epoch > highest) {
      highest = *epoch;
      best = p.id;
    }
  }
  return best;
}

std::optional<Instance> EndpointFsm::rival() const {
  // Right after a move the other's last heartbeat still says that it was its own.
  if (!owns(state_) || !view_.due(since_ + view_.timing().silent)) return std::nullopt;
  for (const PeerView& p : view_.peers())
    if ((view_.sync_alive(p) || view_.data_alive(p)) && view_.owned_claim(p, address())) return p.id;
  return std::nullopt;
}

std::string EndpointFsm::situation() const {
  const std::optional<Instance> who = owner();
  std::string text = std::format("owner {} term {} | self {}{}", who ? name(*who) : "nobody", term(seen_),
                                 to_string(view_.fault_now()), view_.drained == Switch::kOn ? ", drained" : "");
  for (const PeerView& p : view_.peers()) text += " | " + view_.describe(p);
  return text + (etcd() ? std::format(" | etcd {}", view_.lease_service == Link::kUp ? "up" : "down") : " | embedded");
}

void EndpointFsm::go(State to, std::string cause) {
  const State from = std::exchange(state_, to);
  since_ = view_.now();
  cause_ = cause;
  if (to == State::kStandby) {
    // Whatever became of it: the fast path has stopped, or the lease is another's already (then this changes nothing).
    if (etcd() && epoch_ != 0 && from != State::kStandby) out_.push_back(DropLease{address(), epoch_});
    partner_.reset();
    until_.reset();
    stay_ = Stay::kUntilPreferred;
    rebalance_ = false;
  } else {
    vacant_since_.reset();
  }
  out_.push_back(Transition{address(), from, to, std::move(cause), situation()});
}

// --- taking ------------------------------------------------------------------------------------------

void EndpointFsm::own(Handover how, std::optional<Instance> from) {
  out_.push_back(Own{address(), epoch_, how, until_, from});
}

/// The epoch is the next one, or with a lease service the one that it gave (in epoch_).
void EndpointFsm::take(Handover how, std::optional<Instance> from, std::string cause) {
  if (!etcd()) epoch_ = next_epoch(seen_, self());
  seen_ = std::max(seen_, epoch_);
  wish_.reset();
  move_failure_.clear();
  own(how, from);
  go(State::kTaking, std::move(cause));
}

void EndpointFsm::ask(std::optional<Epoch> succeeds, std::string cause) {
  asked_back_ = adopting_ = false;
  out_.push_back(AskLease{address(), seen_, succeeds});
  go(State::kWaiting, std::move(cause));
}

void EndpointFsm::adopt(Epoch epoch) {
  if (state_ != State::kStandby || epoch < seen_) return;
  seen_ = epoch;
  const std::string cause = "gw-fastpath had it when gwd came";
  if (etcd()) {
    // It sends until its deadline whatever becomes of this: the old lease is not ours to drop before that.
    ask(epoch, cause);
    adopting_ = true;
    return;
  }
  epoch_ = epoch;
  own(Handover::kTakeover, std::nullopt);
  go(State::kTaking, cause);
}

void EndpointFsm::reinstate() {
  if (owns(state_)) return own(Handover::kTakeover, std::nullopt);
  // The answer to the first one may have died with the process that was asked.
  if (state_ == State::kReleasing) return out_.push_back(Release{address(), epoch_, ReleaseCause::kHandOver});
  // Nothing that an earlier process left behind stays active, and a new fast path knows whose it is.
  out_.push_back(Release{address(), seen_, ReleaseCause::kNotOurs});
}

void EndpointFsm::move_failed(std::string words) {
  move_failure_ = std::move(words);
  move_failed_at_ = view_.now();
}

// --- giving ------------------------------------------------------------------------------------------

void EndpointFsm::plan(Instance target, Why why) {
  partner_ = target;
  why_ = why;
  partner_ready_ = sites_moved_ = false;
  out_.push_back(GracefulShutdown{address(), Switch::kOn});
  tell(target, Prepare{address(), epoch_});
  constexpr std::array<std::string_view, 4> kWhy{"drained", "it is preferred there", "asked to",
                                                 "charon does not answer here"};
  go(State::kPreparing, std::format("to {}: {}", name(target), kWhy[static_cast<std::size_t>(why)]));
}

void EndpointFsm::give_up_plan(const std::string& cause) {
  move_failed(std::format("not moved to {}: {}", name(*partner_), cause));
  not_before_ = view_.now() + view_.timing().prepare_wait;
  tell(*partner_, Cancel{address(), epoch_});
  out_.push_back(GracefulShutdown{address(), Switch::kOff});
  partner_.reset();
  go(State::kOwned, cause);
}

void EndpointFsm::begin_release(std::optional<Instance> target, std::string cause) {
  partner_ = target;
  out_.push_back(Release{address(), epoch_, ReleaseCause::kHandOver});
  go(State::kReleasing, std::move(cause));
}

/// The fast path does not send any more.
void EndpointFsm::released(Handover how) {
  if (removed_ || !partner_) return go(State::kStandby, removed_ ? "not in the document any more" : "released");
  const PeerView* target = view_.peer(*partner_);
  if (target == nullptr || !view_.sync_alive(*target)) {
    had_it_ = true;
    return take_back(std::format("{} cannot be reached any more", name(*partner_)));
  }
  had_it_ = true;
  handed_how_ = how;
  tell(*partner_, HandOver{address(), epoch_, how, partner_stay_});
  go(State::kHandedOver, std::format("handed over to {}", name(*partner_)));
}

/// The partner does not have it, and will not. Its own claim, should it have made one, is lower than ours.
void EndpointFsm::take_back(const std::string& cause) {
  const Instance target = *std::exchange(partner_, std::nullopt);
  move_failed(std::format("not moved to {}: {}", name(target), cause));
  not_before_ = view_.now() + view_.timing().prepare_wait;
  if (!had_it_ || view_.fault_now() != Reason::kNone) return go(State::kStandby, cause);
  if (etcd()) {
    ask(epoch_, cause);
    asked_back_ = true;
    return;
  }
  seen_ = std::max(seen_, next_epoch(epoch_, target));
  const std::string failure = move_failure_;
  take(handed_how_, self(), cause);
  move_failure_ = failure;
}

/// At once, whatever the state: another instance sends, or nobody may.
void EndpointFsm::stand_by(ReleaseCause cause, std::string why) {
  out_.push_back(Release{address(), seen_, cause});
  go(State::kStandby, std::move(why));
}

void EndpointFsm::lost(Epoch epoch) {
  note_epoch(epoch);
  if ((owns(state_) || state_ == State::kReleasing) && epoch > epoch_)
    stand_by(ReleaseCause::kSuperseded, std::format("gw-fastpath heard {} claim it", name(claimant(epoch))));
}

// --- what the controller has done ----------------------------------------------------------------------

void EndpointFsm::done(const OwnDone& event) {
  if (state_ != State::kTaking || event.epoch != epoch_) return;
  action_failure_.clear();
  go(State::kOwned, "everything is switched");
}

void EndpointFsm::done(const ReleaseDone& event) {
  if (state_ == State::kReleasing && event.epoch == epoch_)
    released(view_.fault_now() == Reason::kFastpathAway ? Handover::kTakeover : Handover::kPlanned);
}

void EndpointFsm::done(const ReadyDone& event) {
  if (state_ != State::kReceiving || event.epoch != seen_) return;
  if (event.refused == Reason::kNone) return tell(*partner_, Ready{address(), event.epoch});
  refuse(*partner_, event.epoch, event.refused);
  go(State::kStandby, std::string(to_string(event.refused)));
}

void EndpointFsm::sites_moved() {
  if (state_ == State::kPreparing) sites_moved_ = true;
}

// --- leases that others give ---------------------------------------------------------------------------

void EndpointFsm::granted(const LeaseGranted& event) {
  note_epoch(event.epoch);
  // The grant may come before the news that it was.
  lease_ = LeaseHolder{address(), self(), event.epoch};
  lease_seen_ = std::max(lease_seen_, event.epoch);
  const std::optional<Instance> from = std::exchange(partner_, std::nullopt);
  // What the fast path has is given away in order, also when it turned out to be faulty meanwhile.
  const bool able = adopting_ || (view_.fault_now() == Reason::kNone && (asked_back_ || from || view_.fit_to_take()));
  if (state_ != State::kWaiting || removed_ || !able) {
    out_.push_back(DropLease{address(), event.epoch});
    if (from) refuse(*from, event.epoch, view_.fault_now());
    if (state_ == State::kWaiting) go(State::kStandby, "not fit any more when the lease was granted");
    return;
  }
  epoch_ = event.epoch;
  until_ = event.until;
  take(from || asked_back_ ? handed_how_ : Handover::kTakeover, from, "the lease was granted");
  if (from) tell(*from, Taken{address(), epoch_});
}

void EndpointFsm::denied(const LeaseDenied& event) {
  note_epoch(event.epoch);
  if (event.holder) lease_holder({address(), event.holder, event.epoch});
  if (state_ != State::kWaiting) return;
  const Reason reason = event.holder ? Reason::kLeaseHeld : Reason::kLeaseService;
  if (partner_) refuse(*std::exchange(partner_, std::nullopt), seen_, reason);
  if (adopting_) out_.push_back(Release{address(), seen_, ReleaseCause::kNotOurs});
  not_before_ = view_.now() + view_.timing().lease_retry;
  go(State::kStandby, std::string(to_string(reason)));
}

void EndpointFsm::renewed(const LeaseRenewed& event) {
  // What is being released is not prolonged: if the fast path does not answer, its deadline is what is left.
  if (!owns(state_) || !until_ || event.epoch != epoch_ || event.until <= *until_) return;
  until_ = event.until;
  out_.push_back(Extend{address(), epoch_, event.until});
}

void EndpointFsm::lease_lost(const LeaseLost& event) {
  if (event.epoch != epoch_) return;
  lease_.reset();
  lease_seen_ = 0;
  if (owns(state_) || state_ == State::kReleasing) stand_by(ReleaseCause::kLeaseLost, "the lease was lost");
}

void EndpointFsm::lease_holder(const LeaseHolder& event) {
  if (event.epoch < lease_seen_) return;  // older than what we know
  lease_seen_ = event.epoch;
  note_epoch(event.epoch);
  lease_ = event;
  if (state_ == State::kHandedOver && event.holder == partner_ && event.epoch > epoch_)
    return go(State::kStandby, std::format("{} has the lease", name(*event.holder)));
  if (!owns(state_) && state_ != State::kReleasing) return;
  if (event.holder != self() || event.epoch != epoch_)
    stand_by(ReleaseCause::kLeaseLost,
             event.holder ? std::format("the lease is {}'s", name(*event.holder)) : "the lease is free");
}

/// Who was handed it over claims it by a grant, which the lease service tells us of only later; until then packets for
/// it would have no way.
void EndpointFsm::note_grant(Instance holder, Epoch epoch) {
  if (!etcd() || epoch < lease_seen_) return;
  lease_ = LeaseHolder{address(), holder, epoch};
  lease_seen_ = epoch;
}

void EndpointFsm::lease_service_back() { lease_seen_ = 0; }

void EndpointFsm::reconnected(Instance peer) {
  if (partner_ != peer) return;
  switch (state_) {
    case State::kPreparing: return give_up_plan(std::string(to_string(Reason::kUnreachable)));
    case State::kReceiving: return go(State::kStandby, "the sync channel began anew");
    case State::kWaiting:
      if (!etcd()) go(State::kStandby, "the sync channel began anew");
      return;                         // else the lease service answers
    case State::kHandedOver: return;  // its first report says whether it has it
    case State::kStandby:
    case State::kTaking:
    case State::kOwned:
    case State::kReleasing: return;
  }
}

// --- the operator ----------------------------------------------------------------------------------------

Status EndpointFsm::move(Instance to) {
  const Stay stay = to == preferred() ? Stay::kUntilPreferred : Stay::kUntilMoved;
  const std::optional<Instance> who = owner();
  if (who == to && to == self()) stay_ = stay;
  if (to == self() && state_ == State::kPreparing) {
    give_up_plan("the operator keeps it here");
    move_failure_.clear();
    return {};
  }
  if (who == to) return fail(Errc::kRefused, std::format("{} is on {} already", address(), name(to)));
  if (to == self()) {
    if (view_.drained == Switch::kOn) return fail(Errc::kRefused, "this instance is drained: gwctl ha undrain");
    if (!view_.fit_to_take())
      return fail(Errc::kRefused, std::format("{} cannot take it: {}", name(to), to_string(view_.fault_now())));
    const PeerView* peer = who ? view_.peer(*who) : nullptr;
    if (peer != nullptr && !view_.sync_alive(*peer))
      return fail(Errc::kRefused, std::format("{} has it and cannot be asked: its gwd is not heard; without asking: "
                                              "gwctl ha takeover {}",
                                              name(*who), address()));
    wish_ = stay;
    wish_until_ = view_.now() + view_.timing().foreign_wait;
    not_before_ = view_.now();
    return {};
  }
  if (state_ != State::kOwned)
    return fail(Errc::kRefused, who && *who != self()
                                    ? std::format("{} has it: run this there", name(*who))
                                    : std::format("{} is being moved ({})", address(), to_string(state_)));
  const PeerView* target = view_.peer(to);
  if (target == nullptr) return fail(Errc::kNotFound, std::format("there is no {}", name(to)));
  if (!could_receive(*target)) {
    const Reason unfit = view_.unfit(*target);
    return fail(Errc::kRefused, std::format("{} cannot take it: {}", name(to),
                                            to_string(unfit != Reason::kNone ? unfit : Reason::kNotInSync)));
  }
  partner_stay_ = stay;
  plan(to, Why::kAsked);
  return {};
}

Status EndpointFsm::takeover() {
  if (owns(state_)) return fail(Errc::kRefused, std::format("{} is here already", address()));
  if (view_.fault_now() != Reason::kNone)
    return fail(Errc::kRefused, std::format("{} cannot take it: {}", name(self()), to_string(view_.fault_now())));
  const std::optional<Instance> who = owner();
  if (etcd()) {
    if (lease_ && lease_->holder)
      return fail(Errc::kRefused, std::format("{} holds the lease of {}: move it there, or stop its gwd and wait for "
                                              "the lease to end",
                                              name(*lease_->holder), address()));
    stay_ = Stay::kUntilMoved;
    if (state_ != State::kWaiting) ask(std::nullopt, "the operator's takeover");
    return {};
  }
  partner_.reset();
  stay_ = Stay::kUntilMoved;
  // Also above what the owner may have claimed since it was last heard.
  if (who && *who != self()) note_epoch(next_epoch(seen_, *who));
  take(Handover::kTakeover, who, "the operator's takeover");
  return {};
}

void EndpointFsm::other_lease() {
  constexpr const char* kCause = "another kind of lease";
  lease_.reset();
  lease_seen_ = 0;
  if (state_ == State::kReleasing || state_ == State::kStandby) return;
  if (!owns(state_)) return go(State::kStandby, kCause);
  if (state_ == State::kPreparing) give_up_plan(kCause);
  if (etcd()) {
    ask(std::nullopt, kCause);
    adopting_ = true;  // the fast path goes on meanwhile
    return;
  }
  until_.reset();
  own(Handover::kPlanned, self());
  go(State::kTaking, kCause);
}

void EndpointFsm::undrained() {
  if (state_ == State::kPreparing && why_ == Why::kDrain) {
    give_up_plan("undrained");
    return move_failure_.clear();  // it is what was wanted
  }
  if (preferred() != self() || owns(state_)) return;
  wish_ = Stay::kUntilPreferred;
  wish_until_.reset();
  not_before_ = view_.now();
}

void EndpointFsm::remove() {
  removed_ = true;
  if (owns(state_)) {
    partner_.reset();
    out_.push_back(Release{address(), epoch_, ReleaseCause::kRemoved});
    return go(State::kReleasing, "not in the document any more");
  }
  if (state_ == State::kStandby || state_ == State::kReleasing) return;
  if (partner_ && !etcd() && state_ == State::kReceiving) refuse(*partner_, seen_, Reason::kUnknownEndpoint);
  go(State::kStandby, "not in the document any more");
}

}  // namespace gw::ha
