#include <format>
#include <utility>

#include "ha/action.hpp"
#include "ha/message.hpp"
#include "ha/types.hpp"

namespace gw::ha {

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone: return "fit";
    case Reason::kStarting: return "it is starting";
    case Reason::kFastpathAway: return "its gw-fastpath does not answer";
    case Reason::kNotForwarding: return "its workers do not forward";
    case Reason::kWanDown: return "its wan is dead: no carrier, or nothing is heard there";
    case Reason::kVnetDown: return "its VNet port is dead: no carrier, or nothing is heard there";
    case Reason::kDrained: return "it is drained";
    case Reason::kUnreachable: return "it cannot be reached";
    case Reason::kNotInSync: return "it has not got all SAs and routes yet";
    case Reason::kNotOwner: return "it does not have the endpoint";
    case Reason::kUnknownEndpoint: return "its document has no such endpoint";
    case Reason::kBusy: return "the endpoint is being moved";
    case Reason::kContested: return "another instance asked first";
    case Reason::kTooLate: return "the move was given up before";
    case Reason::kNoAnswer: return "it did not answer in time";
    case Reason::kLeaseHeld: return "another instance holds the lease";
    case Reason::kLeaseService: return "the lease service does not answer";
    case Reason::kOutdated: return "a higher claim is known";
    case Reason::kIkeAway: return "its charon does not answer";
    case Reason::kUnknown: return "it has a fault that this release has no word for";
  }
  std::unreachable();
}

std::string_view to_string(State state) {
  switch (state) {
    case State::kStandby: return "standby";
    case State::kWaiting: return "waiting";
    case State::kReceiving: return "receiving";
    case State::kTaking: return "taking";
    case State::kOwned: return "owned";
    case State::kPreparing: return "preparing";
    case State::kReleasing: return "releasing";
    case State::kHandedOver: return "handed-over";
  }
  std::unreachable();
}

std::string_view to_string(ReleaseCause cause) {
  switch (cause) {
    case ReleaseCause::kHandOver: return "handed over";
    case ReleaseCause::kSuperseded: return "another instance has a higher claim";
    case ReleaseCause::kLeaseLost: return "the lease ended";
    case ReleaseCause::kNotOurs: return "not ours";
    case ReleaseCause::kRemoved: return "not in the document any more";
  }
  std::unreachable();
}

std::string_view to_string(AlarmKind kind) {
  switch (kind) {
    case AlarmKind::kPeerDead: return "HaPeerDead";
    case AlarmKind::kSyncPathDown: return "HaSyncPathDown";
    case AlarmKind::kDataPathDown: return "HaDataPathDown";
    case AlarmKind::kPeerUnfit: return "HaPeerUnfit";
    case AlarmKind::kSelfUnfit: return "HaSelfUnfit";
    case AlarmKind::kSplitBrain: return "HaSplitBrain";
    case AlarmKind::kNoOwner: return "HaNoOwner";
    case AlarmKind::kMoveFailed: return "HaMoveFailed";
    case AlarmKind::kActionFailed: return "HaActionFailed";
    case AlarmKind::kLeaseService: return "HaLeaseService";
  }
  std::unreachable();
}

const IpAddress& address_of(const Message& message) {
  return std::visit([](const auto& m) -> const IpAddress& { return m.address; }, message);
}

namespace {

std::string_view name(const Prepare&) { return "Prepare"; }
std::string_view name(const Ready&) { return "Ready"; }
std::string_view name(const HandOver&) { return "HandOver"; }
std::string_view name(const Taken&) { return "Taken"; }
std::string_view name(const Cancel&) { return "Cancel"; }
std::string_view name(const Refuse&) { return "Refuse"; }
std::string_view name(const Request&) { return "Request"; }

}  // namespace

std::string describe(const Message& message) {
  std::string text = std::visit(
      [](const auto& m) { return std::format("{} {} term {}", name(m), m.address, term(m.epoch)); }, message);
  if (const auto* refuse = std::get_if<Refuse>(&message)) text += std::format(": {}", to_string(refuse->reason));
  return text;
}

}  // namespace gw::ha
