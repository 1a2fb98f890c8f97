// What an endpoint does because of what is known and what time it is. The numbers are those of machine.hpp's rules.
#include <format>
#include <utility>

#include "ha/endpoint_fsm.hpp"

namespace gw::ha {

bool EndpointFsm::step() {
  const auto before = out_.size();
  if (!move_failure_.empty() && view_.due(move_failed_at_ + view_.timing().failback_delay)) move_failure_.clear();
  switch (state_) {
    case State::kStandby: step_standby(); break;
    case State::kWaiting: step_waiting(); break;
    case State::kReceiving: step_receiving(); break;
    case State::kTaking:
    case State::kOwned: step_owner(); break;
    case State::kPreparing: step_preparing(); break;
    case State::kReleasing: step_releasing(); break;
    case State::kHandedOver: step_handed_over(); break;
  }
  return out_.size() != before;
}

// --- not ours ------------------------------------------------------------------------------------------

void EndpointFsm::step_standby() {
  const bool vacant = etcd() ? lease_ && !lease_->holder : !owner();
  if (!vacant) vacant_since_.reset();
  if (vacant && !vacant_since_) vacant_since_ = view_.now();
  if (owner() == preferred()) rebalance_ = false;  // what the new mode asked for is so
  if (removed_ || !view_.fit_to_take()) return;    // rule 3
  if (etcd()) return standby_etcd();
  standby_embedded();
}

void EndpointFsm::standby_embedded() {
  const std::optional<Instance> who = owner();
  const PeerView& peer = who ? *view_.peer(*who) : view_.peers().front();  // the embedded lease is for two
  if (!who) return vacant_embedded(peer);
  if (std::optional<std::string> cause = takeover_cause(peer)) return take(Handover::kTakeover, who, std::move(*cause));
  follow_wish();
}

/// Rules 2b and 2c: why the owner's word is not waited for.
std::optional<std::string> EndpointFsm::takeover_cause(const PeerView& owner) const {
  const auto age = [&](MonoTime heard) {
    return heard == MonoTime{} ? std::string("never heard")
                               : std::format("silent for {} ms", (view_.now() - heard) / std::chrono::milliseconds(1));
  };
  if (view_.dead(owner))
    return std::format("{} is dead: sync channel {}, data path {}", name(owner.id), age(owner.sync_heard),
                       age(owner.data_heard));
  if (view_.sync_alive(owner) || !view_.data_alive(owner)) return std::nullopt;
  const MonoTime silent = view_.sync_silent_since(owner);
  if (owner.forwarding == Link::kDown &&
      view_.due(std::max(silent, owner.forwarding_since) + view_.timing().fault_grace))
    return std::format("{} does not forward, and its gwd is {}", name(owner.id), age(owner.sync_heard));
  // Its fast path says so: a sync network that is cut is no reason to take from each other what both have.
  if (owner.control == Link::kDown && view_.due(std::max(silent, owner.control_since) + view_.timing().control_grace))
    return std::format("gwd of {} is away, {}", name(owner.id), age(owner.sync_heard));
  return std::nullopt;
}

/// Nobody sends for it. Its preferred instance is to have it; the other one steps in after a moment.
void EndpointFsm::vacant_embedded(const PeerView& peer) {
  const Timing& t = view_.timing();
  const bool ours = preferred() == self();
  if (!view_.due(not_before_)) return;
  if (view_.sync_alive(peer)) {
    // Machines that start together hear each other before their fast paths answer.
    const Reason unfit = view_.unfit(peer);
    const bool starts = unfit == Reason::kStarting || unfit == Reason::kFastpathAway;
    const auto patience = unfit == Reason::kNone ? t.prepare_wait : starts ? t.start_wait : t.fault_grace;
    if (!ours && !view_.due(std::max(*vacant_since_, peer.channel_since) + patience)) return;
    partner_ = peer.id;
    tell(peer.id, Request{address(), seen_, Stay::kUntilPreferred});
    return go(State::kWaiting, std::format("nobody has it; {} is asked", name(peer.id)));
  }
  if (view_.data_alive(peer)) {
    const MonoTime since = std::max(view_.sync_silent_since(peer), *vacant_since_) + t.start_wait;
    if (view_.due(ours ? since : since + t.take_back_wait))
      take(Handover::kTakeover, std::nullopt, "nobody has it, and the other gwd is not heard");
    return;
  }
  if (!view_.dead(peer)) return;
  // After a reboot the other instance is heard within a second or two, when it is there.
  const MonoTime start = view_.started() + (ours ? 3 * t.start_wait : t.foreign_wait);
  if (view_.due(view_.ever_heard(peer) ? *vacant_since_ + (ours ? Timing::ms{0} : t.fault_grace) : start))
    take(Handover::kTakeover, std::nullopt, "nobody has it, and nobody else is there");
}

void EndpointFsm::standby_etcd() {
  const Timing& t = view_.timing();
  if (!lease_ || lease_->holder || view_.lease_service == Link::kDown) return follow_wish();
  if (!view_.due(not_before_)) return;
  const bool ours = preferred() == self();
  MonoTime turn = *vacant_since_ + view_.rank(self(), preferred()) * t.lease_retry;
  // The machine that it belongs to may be starting, too.
  const PeerView* first = ours ? nullptr : view_.peer(preferred());
  if (first != nullptr && !view_.ever_heard(*first)) turn = std::max(turn, view_.started() + t.foreign_wait);
  if (view_.due(turn)) ask(std::nullopt, "the lease is free");
}

/// The operator wants it here: its owner is asked until it begins, or says no.
void EndpointFsm::follow_wish() {
  const std::optional<Instance> who = owner();
  if (wish_ && wish_until_ && view_.due(*wish_until_)) {
    wish_.reset();
    move_failed(std::format("not moved here: {}", to_string(Reason::kNoAnswer)));
  }
  if (!wish_ || !who || *who == self() || !view_.due(not_before_)) return;
  const PeerView* peer = view_.peer(*who);
  if (peer == nullptr || !view_.sync_alive(*peer)) return;
  tell(*who, Request{address(), seen_, *wish_});
  not_before_ = view_.now() + view_.timing().start_wait;
}

void EndpointFsm::step_waiting() {
  const PeerView* peer = partner_ ? view_.peer(*partner_) : nullptr;
  if (!etcd()) {
    const std::optional<Instance> who = owner();
    const bool alone = peer == nullptr || !view_.sync_alive(*peer);
    if (!who && !alone && view_.fit_to_take() && !view_.due(since_ + view_.timing().prepare_wait)) return;
    return go(State::kStandby, who ? std::format("{} has it", name(*who)) : "no consent");
  }
  if (!view_.due(since_ + view_.timing().prepare_wait)) return;
  if (partner_) refuse(*partner_, seen_, Reason::kLeaseService);
  go(State::kStandby, "the lease service does not answer");
}

void EndpointFsm::step_receiving() {
  const Timing& t = view_.timing();
  const PeerView* peer = view_.peer(*partner_);
  const bool reachable = peer != nullptr && view_.sync_alive(*peer);
  const bool late = view_.due(since_ + t.prepare_wait + t.drain_wait + t.release_wait * 2);
  if (reachable && view_.fit_to_take() && !late) return;
  const Instance from = *partner_;
  const Reason fault = view_.fault_now() != Reason::kNone ? view_.fault_now() : Reason::kDrained;
  if (reachable && !late) refuse(from, seen_, fault);
  go(State::kStandby, !reachable ? std::format("{} cannot be reached any more", name(from))
                                 : std::string(to_string(late ? Reason::kNoAnswer : fault)));
}

// --- ours ------------------------------------------------------------------------------------------------

/// Rule 1. The claim of somebody who does not send, but is higher than ours, is answered with a higher one: in a fast
/// path that compares, ours would lose.
bool EndpointFsm::yields() {
  Epoch higher = epoch_;
  for (const PeerView& p : view_.peers())
    if (const std::optional<Epoch> claim = view_.owned_claim(p, address())) higher = std::max(higher, *claim);
  if (higher > epoch_) {
    note_epoch(higher);
    stand_by(ReleaseCause::kSuperseded, std::format("{} has a higher claim", name(claimant(higher))));
    return true;
  }
  if (seen_ > epoch_ && owns(state_) && !etcd()) {
    epoch_ = seen_ = next_epoch(seen_, self());
    own(Handover::kPlanned, self());
    if (state_ == State::kPreparing) tell(*partner_, Prepare{address(), epoch_});
    go(state_ == State::kOwned ? State::kTaking : state_, "an old claim was higher");
    return true;
  }
  return false;
}

/// With a lease service: the fast path has stopped already.
bool EndpointFsm::lease_ended() {
  if (!until_ || !view_.due(*until_)) return false;
  lease_.reset();
  lease_seen_ = 0;
  stand_by(ReleaseCause::kLeaseLost, "the lease ended: it was not renewed in time");
  return true;
}

void EndpointFsm::step_owner() {
  if (yields() || lease_ended()) return;
  hand_over_if_unfit();
  if (state_ == State::kOwned) give_back();
}

std::optional<Instance> EndpointFsm::best_target() const {
  const auto order = [&](const PeerView& p) { return std::pair(!could_receive(p), view_.rank(p.id, preferred())); };
  const PeerView* best = nullptr;
  for (const PeerView& p : view_.peers())
    if (view_.unfit(p) == Reason::kNone && (best == nullptr || order(p) < order(*best))) best = &p;
  return best != nullptr ? std::optional(best->id) : std::nullopt;
}

/// Rule 3: at once, without telling the sites. Nothing comes through here anyway.
void EndpointFsm::hand_over_if_unfit() {
  const Reason unfit = view_.unfit();
  if (unfit == Reason::kNone || unfit == Reason::kDrained || unfit == Reason::kStarting) return;
  const std::optional<Instance> target = best_target();
  // Nobody to hand it to: who hears our fast path, or the lease service, can see that it is free.
  const bool heard = std::ranges::any_of(
      view_.peers(), [&](const PeerView& p) { return !view_.sync_alive(p) && (etcd() || view_.data_alive(p)); });
  if (!target && !heard) return;
  partner_stay_ = Stay::kUntilPreferred;
  begin_release(target, std::string(to_string(unfit)));
}

/// Rule 4, drain, and an instance without IKE: it forwards, so nothing is in a hurry and nothing needs to be lost.
void EndpointFsm::give_back() {
  const Timing& t = view_.timing();
  if (!view_.due(not_before_)) return;
  partner_stay_ = Stay::kUntilPreferred;
  if (view_.drained == Switch::kOn) {
    const std::optional<Instance> target = best_target();
    if (target && could_receive(*view_.peer(*target))) plan(*target, Why::kDrain);
    return;
  }
  if (view_.ike_away()) {
    const std::optional<Instance> target = best_target();
    if (target && could_receive(*view_.peer(*target))) return plan(*target, Why::kNoIke);
  }
  const PeerView* home = view_.peer(preferred());
  if (home == nullptr) {
    stay_ = Stay::kUntilPreferred;
    rebalance_ = false;
    return;
  }
  if (stay_ == Stay::kUntilMoved || !could_receive(*home) || !home->fit_since) return;
  const bool on_its_own = view_.config().failback == Failback::kAutomatic &&
                          view_.due(std::max(*home->fit_since, since_) + t.failback_delay);
  if (rebalance_ || on_its_own) plan(home->id, Why::kFailback);
}

void EndpointFsm::step_preparing() {
  const Timing& t = view_.timing();
  if (yields() || lease_ended()) return;
  const Reason unfit = view_.unfit();
  if (unfit != Reason::kNone && unfit != Reason::kDrained) return hand_over_if_unfit();
  const PeerView* target = view_.peer(*partner_);
  if (target == nullptr || view_.unfit(*target) != Reason::kNone)
    return give_up_plan(std::string(to_string(target ? view_.unfit(*target) : Reason::kUnreachable)));
  if (!partner_ready_) {
    if (view_.due(since_ + t.prepare_wait)) give_up_plan(std::string(to_string(Reason::kNoAnswer)));
    return;
  }
  if (sites_moved_ || view_.due(since_ + t.drain_wait)) begin_release(partner_, "everything is ready for the move");
}

/// The controller does not answer. Its fast path may still send: with a lease service nobody may have it before the
/// deadline; else the target's higher claim stops it.
void EndpointFsm::step_releasing() {
  if (yields()) return;
  const bool late = view_.due(since_ + view_.timing().release_wait);
  if (until_ ? view_.due(*until_) : late) {
    if (until_) return (void)lease_ended();
    released(Handover::kTakeover);
  }
}

void EndpointFsm::step_handed_over() {
  const Timing& t = view_.timing();
  const PeerView* target = view_.peer(*partner_);
  if (target == nullptr) return take_back("it is no member any more");
  const std::optional<Epoch> claim = view_.owned_claim(*target, address());
  if (claim && *claim > epoch_) {
    note_epoch(*claim);
    note_grant(target->id, *claim);
    return go(State::kStandby, std::format("{} has it", name(target->id)));
  }
  if (view_.sync_alive(*target)) {
    // A new connection: what we said in the old one may be lost, and its word now is newer than that.
    if (target->channel_since > since_) return take_back("it does not have it");
    // Should it still come to it, it finds a higher claim.
    if (view_.due(since_ + 2 * t.prepare_wait)) take_back(std::string(to_string(Reason::kNoAnswer)));
    return;
  }
  const MonoTime silent = std::max(view_.sync_silent_since(*target), since_);
  if (view_.dead(*target) || (view_.data_alive(*target) && view_.due(silent + t.take_back_wait)))
    take_back(std::string(to_string(Reason::kNoAnswer)));
}

Snapshot::Endpoint EndpointFsm::snapshot() const {
  Snapshot::Endpoint s{.address = address(),
                       .home = endpoint_.home,
                       .preferred = preferred(),
                       .state = state_,
                       .owner = owner(),
                       .epoch = owns(state_) ? epoch_ : seen_,
                       .until = owns(state_) ? until_ : std::nullopt,
                       .moving_to = partner_,
                       .stay = stay_,
                       .since = since_,
                       .cause = cause_,
                       .failback_in = std::nullopt};
  const PeerView* home = view_.peer(preferred());
  if (state_ == State::kOwned && home != nullptr && stay_ == Stay::kUntilPreferred && could_receive(*home) &&
      home->fit_since && view_.config().failback == Failback::kAutomatic) {
    const MonoTime at = std::max(*home->fit_since, since_) + view_.timing().failback_delay;
    s.failback_in = std::max(std::chrono::nanoseconds{0}, at - view_.now());
  }
  return s;
}

}  // namespace gw::ha
