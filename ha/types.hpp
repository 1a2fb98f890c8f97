// The words of active/active: instances, claims, and in which order claims win. Values; pure, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/ip.hpp"
#include "base/result.hpp"

namespace gw::ha {

/// An instance's number: its index in `gateway.instances`, 0 to 15.
enum class Instance : std::uint8_t {};
inline constexpr unsigned number(Instance i) { return static_cast<unsigned>(i); }
inline constexpr unsigned kMaxInstances = 16;

/// Lease epoch of an endpoint: it grows at each change of owner, and the higher claim wins. The low 4 bits are the
/// number of the instance that made the claim, so two claims are never equal and no tie needs a rule. 0: nobody ever.
using Epoch = std::uint64_t;
/// The lowest epoch above `seen` that is `self`'s to claim.
inline constexpr Epoch next_epoch(Epoch seen, Instance self) { return ((seen >> 4) + 1) << 4 | number(self); }
inline constexpr Instance claimant(Epoch epoch) { return static_cast<Instance>(epoch & 15); }
/// As people count: how often the endpoint has changed its owner.
inline constexpr std::uint64_t term(Epoch epoch) { return epoch >> 4; }

enum class Ownership : std::uint8_t { kStandby, kOwned };

/// kOwned: `claimant(epoch)` sends for the address. kStandby: it does not (any more); `epoch` is the highest known.
struct Claim {
  IpAddress address;
  Epoch epoch = 0;
  Ownership ownership = Ownership::kStandby;
  friend bool operator==(const Claim&, const Claim&) = default;
};

/// How an endpoint comes to its new owner. Decides where sequence numbers go on (gw-fastpath's Handover).
enum class Handover : std::uint8_t {
  kTakeover,  // the old owner is gone: well beyond its last report
  kPlanned,   // it has stopped, and its last report is exact
};

enum class Link : std::uint8_t { kDown, kUp };
constexpr Link link(bool up) { return up ? Link::kUp : Link::kDown; }
enum class Switch : std::uint8_t { kOff, kOn };

/// Why an instance cannot own endpoints, or why a move does not happen. kNone: it can, it does.
enum class Reason : std::uint8_t {
  kNone,
  kStarting,       // has not heard its own fast path, or waits for the others
  kFastpathAway,   // gw-fastpath does not answer
  kNotForwarding,  // its workers do not advance
  kWanDown,        // no carrier, or nothing is heard and nobody answers
  kVnetDown,
  kDrained,      // by the operator
  kUnreachable,  // no path to that instance
  kNotInSync,    // it has not got all SAs and routes yet
  kNotOwner,     // whoever was asked does not have the endpoint
  kUnknownEndpoint,
  kBusy,           // the endpoint is being moved
  kContested,      // another instance asked first
  kTooLate,        // the move was given up before
  kNoAnswer,       // in time
  kLeaseHeld,      // by another instance
  kLeaseService,   // etcd does not answer
  kOutdated,       // a higher claim is known
  kIkeAway,        // charon does not answer: it forwards, and nothing is negotiated
  kUnknown = 255,  // heard of another instance, whose release has more of them; never said
};
/// For people: "its workers do not forward".
std::string_view to_string(Reason reason);

enum class Mode : std::uint8_t { kActiveActive, kActiveStandby };
enum class LeaseKind : std::uint8_t { kEmbedded, kEtcd };

/// What an endpoint is to this instance.
enum class State : std::uint8_t {
  kStandby,     // another's, or nobody's
  kWaiting,     // to be ours: asked for the lease, or for the other instances' consent
  kReceiving,   // the owner prepares to hand it over to us
  kTaking,      // ours; fast path, address and IKE are being switched
  kOwned,       // ours, and all of that is done
  kPreparing,   // ours; sites are told to go elsewhere, the target gets ready
  kReleasing,   // still ours by name; the fast path is being stopped
  kHandedOver,  // stopped, and said so; the target has not confirmed
};
std::string_view to_string(State state);
/// The states in which this instance may send for the endpoint.
inline constexpr bool owns(State s) { return s == State::kTaking || s == State::kOwned || s == State::kPreparing; }

}  // namespace gw::ha
