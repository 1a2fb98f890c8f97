// What other instances say about an endpoint: the steps of a planned move, from both sides (message.hpp has the
// drawing). Every message may come late, twice, or in a state that it does not belong to; epochs say which claim it is
// about.
#include <format>
#include <utility>

#include "ha/endpoint_fsm.hpp"

namespace gw::ha {

void EndpointFsm::hear(Instance from, const Message& message) {
  std::visit([&](const auto& m) { on(from, m); }, message);
}

// --- as the target -----------------------------------------------------------------------------------------

Reason EndpointFsm::refusal_of(Instance from, const Prepare& m) const {
  if (removed_) return Reason::kUnknownEndpoint;
  if (m.epoch < seen_) return Reason::kOutdated;
  if (owns(state_) || state_ == State::kReleasing) return Reason::kOutdated;
  if (partner_ && partner_ != from) return Reason::kBusy;
  if (view_.lease_service == Link::kDown) return Reason::kLeaseService;
  if (view_.fault_now() != Reason::kNone) return view_.fault_now();
  return view_.drained == Switch::kOn ? Reason::kDrained : Reason::kNone;
}

void EndpointFsm::on(Instance from, const Prepare& m) {
  if (const Reason reason = refusal_of(from, m); reason != Reason::kNone) return refuse(from, m.epoch, reason);
  seen_ = m.epoch;
  partner_ = from;
  out_.push_back(GetReady{address(), m.epoch, from});
  go(State::kReceiving, std::format("{} prepares to hand it over", name(from)));
}

void EndpointFsm::on(Instance from, const Cancel& m) {
  if (state_ != State::kReceiving || partner_ != from || m.epoch < seen_) return;
  go(State::kStandby, std::format("{} keeps it", name(from)));
}

Reason EndpointFsm::refusal_of(Instance from, const HandOver& m) const {
  const PeerView* peer = view_.peer(from);
  if (removed_) return Reason::kUnknownEndpoint;
  if (m.epoch < seen_) return Reason::kOutdated;
  if (peer == nullptr || !view_.sync_alive(*peer)) return Reason::kTooLate;  // it lay somewhere
  const bool open = state_ == State::kStandby || (state_ == State::kReceiving && partner_ == from) ||
                    (state_ == State::kWaiting && (!etcd() && partner_ == from));
  if (!open) return Reason::kTooLate;
  if (view_.fault_now() != Reason::kNone) return view_.fault_now();
  return view_.drained == Switch::kOn ? Reason::kDrained : Reason::kNone;
}

void EndpointFsm::on(Instance from, const HandOver& m) {
  if (owns(state_) && m.epoch < epoch_) return tell(from, Taken{address(), epoch_});  // heard twice
  if (const Reason reason = refusal_of(from, m); reason != Reason::kNone) {
    refuse(from, m.epoch, reason);
    if (state_ == State::kReceiving && partner_ == from) go(State::kStandby, std::string(to_string(reason)));
    return;
  }
  seen_ = m.epoch;
  stay_ = m.stay;
  handed_how_ = m.how;
  const std::string cause = std::format("{} handed it over", name(from));
  if (etcd()) {
    partner_ = from;
    return ask(m.epoch, cause);
  }
  partner_.reset();
  take(m.how, from, cause);
  tell(from, Taken{address(), epoch_});
}

// --- as the owner --------------------------------------------------------------------------------------------

void EndpointFsm::on(Instance from, const Ready& m) {
  if (state_ == State::kPreparing && partner_ == from && m.epoch == epoch_) partner_ready_ = true;
}

void EndpointFsm::on(Instance from, const Taken& m) {
  note_epoch(m.epoch);
  if (state_ != State::kHandedOver || partner_ != from || m.epoch < epoch_) return;
  move_failure_.clear();
  note_grant(from, m.epoch);
  go(State::kStandby, std::format("{} has taken it", name(from)));
}

void EndpointFsm::on(Instance from, const Refuse& m) {
  const std::string words(to_string(m.reason));
  if (partner_ == from) {
    if (state_ == State::kPreparing && m.epoch == epoch_) return give_up_plan(words);
    if (state_ == State::kHandedOver) return take_back(words);
    if (state_ == State::kWaiting && !etcd()) {
      not_before_ = view_.now() + view_.timing().lease_retry;
      return go(State::kStandby, std::format("{} says no: {}", name(from), words));
    }
  }
  // To a Request of the operator's: what passes is asked again.
  if (!wish_ || state_ != State::kStandby) return;
  if (m.reason == Reason::kBusy || m.reason == Reason::kNotInSync) return;
  // It has not heard yet that we are not any more.
  if (m.reason == Reason::kDrained && view_.drained == Switch::kOff) return;
  wish_.reset();
  move_failed(std::format("not moved here: {} says: {}", name(from), words));
}

/// The owner is asked to hand over; anybody else, to consent.
void EndpointFsm::on(Instance from, const Request& m) {
  const PeerView* peer = view_.peer(from);
  if (peer == nullptr) return;
  note_epoch(m.epoch);
  if (removed_) return refuse(from, m.epoch, Reason::kUnknownEndpoint);
  if (state_ == State::kOwned) {
    if (!could_receive(*peer)) {
      const Reason unfit = view_.unfit(*peer);
      return refuse(from, m.epoch, unfit != Reason::kNone ? unfit : Reason::kNotInSync);
    }
    partner_stay_ = m.stay;
    return plan(from, Why::kAsked);
  }
  if (partner_ == from && state_ != State::kWaiting && state_ != State::kReceiving && state_ != State::kHandedOver)
    return;  // that is what we are doing
  if (owns(state_) || state_ == State::kReleasing) return refuse(from, m.epoch, Reason::kBusy);
  const std::optional<Instance> who = owner();
  if (etcd() || (who && *who != from)) return refuse(from, m.epoch, Reason::kNotOwner);
  // Both ask: the lower number goes first.
  if (state_ == State::kWaiting && number(self()) < number(from)) return refuse(from, m.epoch, Reason::kContested);
  had_it_ = state_ == State::kHandedOver && had_it_;
  partner_ = from;
  partner_stay_ = m.stay;
  tell(from, HandOver{address(), seen_, Handover::kTakeover, m.stay});
  go(State::kHandedOver, std::format("{} may have it", name(from)));
}

}  // namespace gw::ha
